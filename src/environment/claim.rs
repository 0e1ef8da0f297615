//! What a distribution may call its own, though it was compared with nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{DIST_INFO, Environment, Installed};

/// Modules that Python runs when it starts, whoever has them.
const AT_START: [&str; 2] = ["sitecustomize", "usercustomize"];

impl Installed {
    /// The files that it says to have, of those that nobody else's code depends on: its notes, and modules of which no
    /// `compared` file has the name. Never what Python runs when it starts.
    pub fn believed(&self, environment: &Environment, compared: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        let taken: BTreeSet<String> =
            compared.iter().filter_map(|file| environment.module_of(file)).collect();
        let own = |file: &PathBuf| {
            file.starts_with(&self.info)
                || environment.module_of(file).is_some_and(|module| !taken.contains(&module))
        };
        self.claimed(environment).into_iter().filter(own).collect()
    }
}

impl Environment {
    /// The name of the module that a file belongs to, in lower case: `a` of `a/b.py` and of `a.abi3.so`. None: no module, or
    /// one that Python runs by itself.
    fn module_of(&self, file: &Path) -> Option<String> {
        let below = self.sites.iter().find_map(|site| file.strip_prefix(site).ok())?;
        let top = below.components().next()?.as_os_str().to_str()?.to_ascii_lowercase();
        let module = top.split('.').next().unwrap_or_default();
        let by_itself =
            top.rsplit_once('.').is_some_and(|(_, end)| end == "pth") || AT_START.contains(&module);
        (!by_itself && !top.ends_with(DIST_INFO) && top != "__pycache__").then(|| module.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::installed::recorded;

    #[test]
    fn who_was_not_compared_owns_what_is_his_alone() {
        let prefix = PathBuf::from("/env");
        let site = prefix.join("lib/python3.11/site-packages");
        let sites = vec![site.clone()];
        let environment = Environment { written: prefix.clone(), scripts: prefix.join("bin"), prefix, sites };
        let record =
            b"own/a.py,,\nown.abi3.so,,\nown-1.dist-info/METADATA,,\nseal/evil.py,,\nwax.so,,\nevil.pth,,\n\
            sitecustomize.py,,\nusercustomize/__init__.py,,\n__pycache__/wax.cpython-311.pyc,,\n\
            seal-1.dist-info/evil.py,,\n../../../bin/own.py,,\n";
        let installed = Installed {
            project: "own".parse().unwrap(),
            version: "1".parse().unwrap(),
            elsewhere: None,
            tags: BTreeSet::new(),
            info: site.join("own-1.dist-info"),
            site: site.clone(),
            record: recorded(record),
        };
        let compared = ["seal/__init__.py", "wax.py"].map(|name| site.join(name)).into_iter().collect();
        let mut believed = installed.believed(&environment, &compared);
        believed.retain(|file| !installed.notes().any(|note| note == *file));
        let expected = ["own-1.dist-info/METADATA", "own.abi3.so", "own/a.py"].map(|name| site.join(name));
        assert_eq!(believed, expected.into_iter().collect());
    }
}
