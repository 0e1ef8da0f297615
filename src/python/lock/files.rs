//! `poetry.lock` and `pdm.lock`: packages with lists of `{file or url, hash}`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Artifact, Format, LockError, Locked, Origin};

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    package: Vec<Package>,
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    /// Poetry writes `lock-version`, PDM `lock_version`.
    #[serde(alias = "lock_version")]
    lock_version: String,
    /// Before version 2 Poetry kept all files here, by the name of the package.
    #[serde(default)]
    files: BTreeMap<String, Vec<File>>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    #[serde(alias = "marker")]
    markers: Option<Markers>,
    #[serde(default)]
    files: Vec<File>,
    source: Option<Source>,
    git: Option<String>,
    url: Option<String>,
    path: Option<String>,
}

/// Poetry 2 writes one marker, or one for each group.
#[derive(Deserialize)]
#[serde(untagged)]
enum Markers {
    One(String),
    ByGroup(BTreeMap<String, String>),
}

#[derive(Deserialize)]
struct File {
    #[serde(alias = "url")]
    file: String,
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    r#type: Option<String>,
    url: Option<String>,
}

pub(super) fn read(format: Format, text: &str) -> Result<Vec<Locked>, LockError> {
    let wire: Wire = toml::from_str(text).map_err(|error| format.form(&error.message()))?;
    let (major, expected) = match format {
        Format::Pdm => (&["4."][..], "4"),
        _ => (&["1.", "2."][..], "1 or 2"),
    };
    let found = wire.metadata.lock_version;
    if !major.iter().any(|major| found.starts_with(major)) {
        return Err(LockError::Version { format, found, expected });
    }
    let older = wire.metadata.files;
    wire.package.iter().map(|package| package.locked(format, older.get(&package.name))).collect()
}

impl Package {
    fn locked(&self, format: Format, older: Option<&Vec<File>>) -> Result<Locked, LockError> {
        let files = self.files.iter().chain(older.into_iter().flatten());
        let artifact = |file: &File| {
            let filename = format.at_end_of(&self.name, &file.file)?;
            match &file.hash {
                Some(hash) => format.artifact(&self.name, filename, hash),
                None => Ok(Artifact { filename: Some(filename), size: None, hashes: BTreeMap::new() }),
            }
        };
        Ok(Locked {
            project: format.project(&self.name)?,
            version: format.version(&self.name, self.version.as_deref())?,
            origin: self.origin(),
            marker: self.markers.as_ref().and_then(Markers::joined),
            artifacts: match self.origin() {
                Origin::Index => files.map(artifact).collect::<Result<_, _>>()?,
                Origin::Local | Origin::Elsewhere(_) => Vec::new(),
            },
        })
    }

    fn origin(&self) -> Origin {
        let source = self.source.as_ref();
        let kind = source.and_then(|source| source.r#type.as_deref()).unwrap_or("legacy");
        match (kind, &self.path, self.git.as_ref().or(self.url.as_ref())) {
            ("legacy", None, None) => Origin::Index,
            ("directory", ..) | ("legacy", Some(_), _) => Origin::Local,
            (_, _, place) => {
                let place = place.or(source.and_then(|source| source.url.as_ref()));
                Origin::Elsewhere(place.cloned().unwrap_or_default())
            }
        }
    }
}

impl Markers {
    /// One marker for all groups; none if one of them wants it always.
    fn joined(&self) -> Option<String> {
        match self {
            Self::One(marker) => Some(marker.clone()),
            Self::ByGroup(markers) => {
                let all: Vec<_> = markers.values().map(|marker| format!("({marker})")).collect();
                (!all.is_empty()).then(|| all.join(" or "))
            }
        }
    }
}
