//! `uv.lock`, version 1. Markers stand on the edges between packages; here they are carried to the packages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;

use super::{Artifact, Format, LockError, Locked, Origin, digest_of};

const FORMAT: Format = Format::Uv;

/// Conditions kept for one package, and markers kept in one condition, at most. Beyond that the package counts as
/// always wanted, or a marker is left out: what is exported then installs more, never less.
const MAX_CONDITIONS: usize = 8;

#[derive(Deserialize)]
struct Wire {
    version: u64,
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: Option<String>,
    source: Source,
    sdist: Option<File>,
    #[serde(default)]
    wheels: Vec<File>,
    #[serde(default)]
    dependencies: Vec<Edge>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Edge>>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Vec<Edge>>,
}

#[derive(Deserialize)]
struct Source {
    registry: Option<String>,
    git: Option<String>,
    url: Option<String>,
    path: Option<String>,
    directory: Option<String>,
    editable: Option<String>,
    r#virtual: Option<String>,
}

#[derive(Deserialize)]
struct File {
    url: Option<String>,
    path: Option<String>,
    filename: Option<String>,
    hash: Option<String>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Edge {
    name: String,
    version: Option<String>,
    #[serde(default)]
    extra: BTreeSet<String>,
    marker: Option<String>,
}

pub(super) fn read(text: &str) -> Result<Vec<Locked>, LockError> {
    let wire: Wire = toml::from_str(text).map_err(|error| FORMAT.form(&error.message()))?;
    if wire.version != 1 {
        let found = wire.version.to_string();
        return Err(LockError::Version { format: FORMAT, found, expected: "1" });
    }
    let wanted = Walk::over(&wire.package).wanted();
    wire.package.iter().zip(&wanted).map(|(package, wanted)| package.locked(marker(wanted))).collect()
}

impl Package {
    fn locked(&self, marker: Option<String>) -> Result<Locked, LockError> {
        let (origin, files) = (self.source.origin(), self.sdist.iter().chain(&self.wheels));
        Ok(Locked {
            project: FORMAT.project(&self.name)?,
            version: FORMAT.version(&self.name, self.version.as_deref())?,
            marker,
            artifacts: match &origin {
                Origin::Index => files.map(|file| file.artifact(&self.name)).collect::<Result<_, _>>()?,
                Origin::Local | Origin::Elsewhere(_) => Vec::new(),
            },
            origin,
        })
    }

    /// Everything that this package asks for, under which extra.
    fn edges(&self) -> impl Iterator<Item = (Option<&str>, &Edge)> {
        let always = self.dependencies.iter().map(|edge| (None, edge));
        let extras = self.optional_dependencies.iter();
        let extras = extras.flat_map(|(extra, edges)| edges.iter().map(|edge| (Some(extra.as_str()), edge)));
        always.chain(extras).chain(self.dev_dependencies.values().flatten().map(|edge| (None, edge)))
    }
}

impl Source {
    fn origin(&self) -> Origin {
        let local = self.directory.is_some() || self.editable.is_some() || self.r#virtual.is_some();
        match (&self.registry, self.git.as_ref().or(self.url.as_ref()).or(self.path.as_ref())) {
            (Some(_), _) => Origin::Index,
            (None, Some(place)) => Origin::Elsewhere(place.clone()),
            (None, None) if local => Origin::Local,
            (None, None) => Origin::Elsewhere("a source of an unknown kind".to_owned()),
        }
    }
}

impl File {
    fn artifact(&self, package: &str) -> Result<Artifact, LockError> {
        let place = self.url.as_ref().or(self.path.as_ref());
        let filename = FORMAT.file(package, self.filename.as_ref(), place)?;
        let digest = |hash: &String| {
            let digest = hash.split_once(':').and_then(|(algorithm, digest)| digest_of(algorithm, digest));
            digest.ok_or_else(|| FORMAT.no_hash(package, hash))
        };
        let hashes = self.hash.iter().map(digest).collect::<Result<_, _>>()?;
        Ok(Artifact { filename: Some(filename), size: self.size, hashes })
    }
}

/// Under which conditions packages are wanted, from the projects outwards. A condition is a set of markers that must hold
/// together.
struct Walk<'a> {
    packages: &'a [Package],
    by_name: BTreeMap<&'a str, Vec<usize>>,
    /// For each package: any of these.
    wanted: Vec<Vec<BTreeSet<String>>>,
    /// For each package: the extras that others ask for.
    extras: Vec<BTreeSet<&'a str>>,
    queue: VecDeque<usize>,
}

impl<'a> Walk<'a> {
    fn over(packages: &'a [Package]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, package) in packages.iter().enumerate() {
            by_name.entry(&package.name).or_default().push(at);
        }
        let local = |package: &Package| package.source.origin() == Origin::Local;
        let roots = packages.iter().map(|package| Vec::from_iter(local(package).then(BTreeSet::new)));
        let queue = (0..).zip(packages).filter(|(_, package)| local(package)).map(|(at, _)| at);
        let (wanted, queue) = (roots.collect(), queue.collect());
        Self { packages, by_name, wanted, extras: vec![BTreeSet::new(); packages.len()], queue }
    }

    fn wanted(mut self) -> Vec<Vec<BTreeSet<String>>> {
        while let Some(at) = self.queue.pop_front() {
            self.visit(at);
        }
        self.wanted
    }

    fn visit(&mut self, at: usize) {
        let (Some(package), Some(from), Some(asked)) =
            (self.packages.get(at), self.wanted.get(at).cloned(), self.extras.get(at).cloned())
        else {
            return;
        };
        let all = package.source.origin() == Origin::Local;
        for (extra, edge) in package.edges() {
            if extra.is_none_or(|extra| all || asked.contains(extra)) {
                self.follow(edge, &from);
            }
        }
    }

    fn follow(&mut self, edge: &'a Edge, from: &[BTreeSet<String>]) {
        for child in self.by_name.get(edge.name.as_str()).into_iter().flatten() {
            let (Some(package), Some(wanted), Some(extras)) =
                (self.packages.get(*child), self.wanted.get_mut(*child), self.extras.get_mut(*child))
            else {
                continue;
            };
            if edge.version.is_some() && edge.version != package.version {
                continue;
            }
            let known = extras.len();
            extras.extend(edge.extra.iter().map(String::as_str));
            if widen(wanted, from, edge.marker.as_ref()) || extras.len() > known {
                self.queue.push_back(*child);
            }
        }
    }
}

/// Adds what an edge makes of its parent's conditions; whether that said anything new.
fn widen(to: &mut Vec<BTreeSet<String>>, from: &[BTreeSet<String>], marker: Option<&String>) -> bool {
    // Conflicting extras are written as markers that only uv understands.
    let marker = marker.filter(|marker| !marker.contains("extra =="));
    let mut widened = false;
    for condition in from {
        let mut condition = condition.clone();
        if condition.len() < MAX_CONDITIONS {
            condition.extend(marker.cloned());
        }
        if to.iter().any(|known| known.is_subset(&condition)) {
            continue;
        }
        to.retain(|known| !condition.is_subset(known));
        to.push(condition);
        widened = true;
    }
    if to.len() > MAX_CONDITIONS {
        *to = vec![BTreeSet::new()];
    }
    widened
}

/// One marker for all conditions; none: always.
fn marker(wanted: &[BTreeSet<String>]) -> Option<String> {
    if wanted.is_empty() || wanted.iter().any(BTreeSet::is_empty) {
        return None;
    }
    let one = |condition: &BTreeSet<String>| {
        let markers: Vec<_> = condition.iter().map(|marker| format!("({marker})")).collect();
        markers.join(" and ")
    };
    Some(wanted.iter().map(one).collect::<Vec<_>>().join(" or "))
}
