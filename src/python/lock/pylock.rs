//! `pylock.toml` (PEP 751).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Artifact, Format, LockError, Locked, Origin, digest_of};

const FORMAT: Format = Format::Pylock;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wire {
    lock_version: String,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    vcs: Option<Place>,
    directory: Option<Place>,
    archive: Option<Place>,
    sdist: Option<File>,
    #[serde(default)]
    wheels: Vec<File>,
}

#[derive(Deserialize)]
struct Place {
    url: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
struct File {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

pub(super) fn read(text: &str) -> Result<Vec<Locked>, LockError> {
    let wire: Wire = toml::from_str(text).map_err(|error| FORMAT.form(&error.message()))?;
    // PEP 751: a tool must refuse a major version that it does not know.
    if !(wire.lock_version == "1" || wire.lock_version.starts_with("1.")) {
        return Err(LockError::Version { format: FORMAT, found: wire.lock_version, expected: "1.0" });
    }
    wire.packages.iter().map(Package::locked).collect()
}

impl Package {
    fn locked(&self) -> Result<Locked, LockError> {
        let files = self.sdist.iter().chain(&self.wheels);
        Ok(Locked {
            project: FORMAT.project(&self.name)?,
            version: FORMAT.version(&self.name, self.version.as_deref())?,
            origin: self.origin(),
            marker: self.marker.clone(),
            artifacts: files.map(|file| file.artifact(&self.name)).collect::<Result<_, _>>()?,
        })
    }

    fn origin(&self) -> Origin {
        match (&self.vcs, &self.directory, &self.archive) {
            (None, None, None) => Origin::Index,
            (None, Some(_), None) => Origin::Local,
            (vcs, _, archive) => {
                let place = vcs.as_ref().or(archive.as_ref());
                let place = place.and_then(|place| place.url.as_ref().or(place.path.as_ref()));
                Origin::Elsewhere(place.cloned().unwrap_or_default())
            }
        }
    }
}

impl File {
    fn artifact(&self, package: &str) -> Result<Artifact, LockError> {
        let place = self.url.as_ref().or(self.path.as_ref());
        let filename = FORMAT.file(package, self.name.as_ref(), place)?;
        let digest = |(algorithm, digest): (&String, &String)| {
            digest_of(algorithm, digest).ok_or_else(|| FORMAT.no_hash(package, digest))
        };
        let hashes = self.hashes.iter().map(digest).collect::<Result<_, _>>()?;
        Ok(Artifact { filename: Some(filename), size: self.size, hashes })
    }
}
