//! `Pipfile.lock`: JSON, one object of packages for each category.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Artifact, Format, LockError, Locked, Origin};

const FORMAT: Format = Format::Pipfile;

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "_meta")]
    meta: Meta,
    /// `default`, `develop` and categories of the user's own.
    #[serde(flatten)]
    categories: BTreeMap<String, BTreeMap<String, Package>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Meta {
    pipfile_spec: u64,
}

#[derive(Deserialize)]
struct Package {
    version: Option<String>,
    markers: Option<String>,
    #[serde(default)]
    hashes: Vec<String>,
    git: Option<String>,
    file: Option<String>,
    path: Option<String>,
}

pub(super) fn read(text: &str) -> Result<Vec<Locked>, LockError> {
    let wire: Wire = serde_json::from_str(text).map_err(|error| FORMAT.form(&error))?;
    if wire.meta.pipfile_spec != 6 {
        let found = wire.meta.pipfile_spec.to_string();
        return Err(LockError::Version { format: FORMAT, found, expected: "6" });
    }
    let all = wire.categories.values().flatten();
    all.map(|(name, package)| package.locked(name)).collect()
}

impl Package {
    fn locked(&self, name: &str) -> Result<Locked, LockError> {
        let hashed = |hash: &String| Artifact::hashed(None, hash).ok_or_else(|| FORMAT.no_hash(name, hash));
        let version = self.version.as_deref().and_then(|version| version.strip_prefix("=="));
        let origin = match (self.git.as_ref().or(self.file.as_ref()), &self.path) {
            (Some(place), _) => Origin::Elsewhere(place.clone()),
            (None, Some(_)) => Origin::Local,
            (None, None) => Origin::Index,
        };
        Ok(Locked {
            project: FORMAT.project(name)?,
            version: FORMAT.version(name, version)?,
            origin,
            marker: self.markers.clone(),
            artifacts: self.hashes.iter().map(hashed).collect::<Result<_, _>>()?,
        })
    }
}
