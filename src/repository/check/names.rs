//! What lies in `metadata/`: files of roles, current or superseded, copies of them that are compressed, and nothing
//! else.

use std::collections::{BTreeMap, BTreeSet};

use super::Checked;
use crate::repository::kept::may_retire;
use crate::repository::{Repository, RepositoryError, layout};
use crate::store::StorePath;
use crate::tuf::path::percent_quote;
use crate::tuf::trusted::Trusted;

/// Endings of what lies beside a metadata file and lives and dies with it: compressed copies, and the proof that a
/// snapshot is logged.
const BESIDE: [&str; 3] = [".json.gz", ".json.zst", ".json.tlog-proof"];

/// How every plain metadata file ends.
const PLAIN: &str = ".json";

/// `N.stem.json` taken apart.
pub(in crate::repository) fn split_name(name: &str) -> Option<(u64, &str)> {
    let (version, rest) = name.split_once('.')?;
    Some((version.parse().ok()?, rest.strip_suffix(PLAIN)?))
}

/// The name of the metadata file that a name belongs to: its own, or that beside which it lies.
pub(in crate::repository) fn plain_name(name: &str) -> &str {
    let stem = BESIDE.iter().find_map(|ending| name.strip_suffix(ending));
    stem.and_then(|stem| name.get(..stem.len() + PLAIN.len())).unwrap_or(name)
}

/// The last segment of a path.
pub(in crate::repository) fn file_name(path: &StorePath) -> &str {
    path.segments().last().unwrap_or_default()
}

impl Repository {
    /// Files in `metadata/` that are not current, or no role's at all.
    pub(super) async fn check_names(
        &self,
        stems: &BTreeSet<String>,
        trusted: &Trusted,
        checked: &mut Checked,
    ) -> Result<(), RepositoryError> {
        let current = current(trusted);
        let (mut odd, mut copies) = (Vec::new(), Vec::new());
        self.store
            .walk(layout::METADATA, &mut |entry| {
                let name = plain_name(file_name(&entry.path));
                let Some((version, stem)) = split_name(name) else {
                    if !matches!(name, "timestamp.json" | "root.json") {
                        odd.push((entry.path, "is no metadata file of this repository"));
                    }
                    return Ok(());
                };
                let known = stems.contains(stem);
                let retired = !known && may_retire(stem) && current.contains_key(stem);
                if !known && !retired {
                    odd.push((entry.path, "belongs to no role of this repository"));
                } else if stem != "root" && (retired || current.get(stem) != Some(&version)) {
                    checked.unreferenced += 1;
                } else if name != file_name(&entry.path) {
                    copies.push(entry.path);
                }
                Ok(())
            })
            .await?;
        odd.sort();
        for (path, what) in odd {
            checked.problem(path.as_str(), &what);
        }
        for copy in copies {
            self.check_sibling(&copy, checked).await?;
        }
        Ok(())
    }
}

/// The current version of each role, by the start of its file's name.
fn current(trusted: &Trusted) -> BTreeMap<String, u64> {
    let snapshot = ("snapshot".to_owned(), trusted.snapshot().common.version);
    let roles = trusted.snapshot().roles().map(|(role, file)| (percent_quote(role, b""), file.version));
    roles.chain([snapshot]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_a_file_belongs_to_it() {
        for (name, plain) in [
            ("3.bins-0.json.gz", "3.bins-0.json"),
            ("timestamp.json.zst", "timestamp.json"),
            ("7.snapshot.json.tlog-proof", "7.snapshot.json"),
            ("3.bins-0.json", "3.bins-0.json"),
            ("readme.gz", "readme.gz"),
            ("3.bins-0.json.gz.gz", "3.bins-0.json.gz.gz"),
        ] {
            assert_eq!(plain_name(name), plain);
        }
        assert_eq!(split_name("3.bins-0.json"), Some((3, "bins-0")));
        assert_eq!(split_name("root.json"), None);
    }
}
