//! Contradictions of an index: kept in the store, each once, and never taken back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::RecordError;
use crate::python::{DistributionFilename, Sha256Hex};
use crate::store::{Content, Store, StoreError, StorePath};
use crate::tlog::leaf::{ConflictLeaf, FileLeaf, Leaf, Source as LeafSource};

/// Folder of all conflicts.
pub(super) const CONFLICTS: &str = "conflicts";
/// Conflicts of one project that are kept, at most: an index that invents more of them is known well enough by these.
pub(super) const MAX_KEPT: usize = 1_000;
/// The ending of conflicts.
pub(super) const ENDING: &str = ".json";
/// The ending of evidence, which is the longest of what lies beside a conflict.
pub(super) const EVIDENCE: &str = ".evidence.txt";
/// The ending of what says that it was told.
pub(super) const TOLD: &str = ".told";
/// Bytes of a kept conflict, at most: two fingerprints, a path and a project.
pub(super) const MAX_CONFLICT: u64 = 16 * 1_024;

/// Bytes, by what identifies them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How many, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Their SHA-256.
    pub sha256: Sha256Hex,
}

/// What contradicts what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The bytes that the index gave out, where its page had promised others.
    Bytes,
    /// The maintainers' claim of the release has other bytes than those that the index gave out and that were recorded.
    Claim,
    /// The page of the index, where other bytes were recorded under this path.
    Index,
    /// The log of the index, where other bytes were recorded under this path.
    Log,
}

/// Two contents for one path. Says nothing of when or by whom it was seen: all who see it write the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// What was promised, or recorded before. Fields stand in the order of canonical JSON.
    pub expected: Fingerprint,
    /// What was found instead.
    pub found: Fingerprint,
    /// The target path.
    pub path: String,
    /// The project.
    pub project: String,
    /// What contradicts.
    pub source: Source,
}

/// What became of a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is kept now.
    New,
    /// It was kept before.
    Known,
    /// There are so many of its project that it was not kept.
    TooMany,
    /// Another one has its name: the same content by the same source, where something else was expected.
    Another,
    /// Its path is too long for a name in the store.
    Unfit,
}

impl Source {
    /// As it stands in names.
    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Claim => "claim",
            Self::Index => "index",
            Self::Log => "log",
        }
    }
}

impl Fingerprint {
    fn of(file: &FileLeaf) -> Self {
        Self { length: Some(file.length()), sha256: Sha256Hex::of(file.sha256()) }
    }
}

impl Conflict {
    /// Two contents of a file.
    pub(super) fn of_file(
        filename: &DistributionFilename,
        source: Source,
        expected: Fingerprint,
        found: Fingerprint,
    ) -> Self {
        let project = filename.project().to_string();
        Self { expected, found, path: format!("{project}/{filename}"), project, source }
    }

    /// Two contents of its metadata file, of which pages say no length.
    pub(super) fn of_metadata(
        filename: &DistributionFilename,
        source: Source,
        expected: &Sha256Hex,
        found: Fingerprint,
    ) -> Self {
        let expected = Fingerprint { length: None, sha256: expected.clone() };
        let of_file = Self::of_file(filename, source, expected, found);
        Self { path: format!("{}.metadata", of_file.path), ..of_file }
    }

    /// What was claimed of a file, and what was recorded of it.
    pub(super) fn of_claim(claimed: &FileLeaf, seen: &FileLeaf) -> Self {
        Self {
            expected: Fingerprint::of(claimed),
            found: Fingerprint::of(seen),
            path: claimed.path().to_owned(),
            project: claimed.project().to_owned(),
            source: Source::Claim,
        }
    }

    /// What a log says of it: who had the content that was not recorded. Nothing if its length is not known.
    pub fn leaf(&self) -> Option<Leaf> {
        let (other, source) = self.other();
        let mut sha256 = [0; 32];
        hex::decode_to_slice(other.sha256.as_str(), &mut sha256).ok()?;
        let file = FileLeaf::of_target(&self.path, other.length?, sha256).ok()??;
        Some(Leaf::Conflict(ConflictLeaf { file, source }))
    }

    /// The content that was not recorded, and who had it.
    fn other(&self) -> (&Fingerprint, LeafSource) {
        match self.source {
            Source::Claim => (&self.expected, LeafSource::Claim),
            Source::Bytes | Source::Index | Source::Log => (&self.found, LeafSource::Index),
        }
    }

    /// The bytes that are kept: canonical JSON, for nothing in it needs to be escaped.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Where it is kept in the store. Beside it are, with more endings, the proof that it was logged, and evidence if both contents are.
    pub fn place(&self) -> String {
        format!("{CONFLICTS}/{}.{}.{}{ENDING}", self.path, self.other().0.sha256, self.source.name())
    }

    fn at(&self) -> Result<StorePath, StoreError> {
        self.beside("")
    }

    /// Where something about it is kept, beside it.
    pub(super) fn beside(&self, ending: &str) -> Result<StorePath, StoreError> {
        StorePath::new(format!("{}{ending}", self.place()))
    }

    /// Keeps it. `counts`: those that are kept, by project, as far as they were counted.
    pub(super) async fn keep(
        &self,
        store: &dyn Store,
        counts: &mut BTreeMap<String, usize>,
    ) -> Result<Kept, StoreError> {
        let (Ok(at), Ok(_)) = (self.at(), self.beside(EVIDENCE)) else { return Ok(Kept::Unfit) };
        let text = self.to_json();
        if let Some(object) = store.get(&at, MAX_CONFLICT).await? {
            return Ok(if object.bytes == text.as_bytes() { Kept::Known } else { Kept::Another });
        }
        if !counts.contains_key(&self.project) {
            let kept = store.list(&format!("{CONFLICTS}/{}", self.project)).await?;
            let count = kept.iter().filter(|entry| is_conflict(&entry.path)).count();
            counts.insert(self.project.clone(), count);
        }
        let count = counts.entry(self.project.clone()).or_default();
        if *count >= MAX_KEPT {
            return Ok(Kept::TooMany);
        }
        match store.create(&at, Content::Bytes(text.as_bytes())).await {
            Ok(()) => {
                *count = count.saturating_add(1);
                Ok(Kept::New)
            }
            Err(StoreError::Exists { .. }) => Ok(Kept::Known),
            Err(error) => Err(error),
        }
    }

    /// Notes that it was told: no later run tells it again.
    pub(super) async fn told(&self, store: &dyn Store) -> Result<(), StoreError> {
        match store.create(&self.beside(TOLD)?, Content::Bytes(b"")).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether this is one, and not what lies beside it.
fn is_conflict(path: &StorePath) -> bool {
    path.as_str().strip_suffix(ENDING).is_some()
}

/// Those that are kept and have nothing with this ending beside them, `most` at most.
pub(super) async fn without(
    store: &dyn Store,
    ending: &str,
    most: usize,
) -> Result<Vec<Conflict>, RecordError> {
    let (mut kept, mut having) = (BTreeSet::new(), BTreeSet::new());
    let mut visit = |path: String| match path.strip_suffix(ending) {
        Some(conflict) => {
            having.insert(conflict.to_owned());
        }
        None if path.strip_suffix(ENDING).is_some() => {
            kept.insert(path);
        }
        None => {}
    };
    store
        .walk(CONFLICTS, &mut |entry| {
            visit(entry.path.to_string());
            Ok(())
        })
        .await?;
    let mut conflicts = Vec::new();
    for path in kept.difference(&having).take(most) {
        if let Some(object) = store.get(&StorePath::new(path)?, MAX_CONFLICT).await? {
            let read = serde_json::from_slice::<Conflict>(&object.bytes);
            conflicts.push(read.map_err(|error| RecordError::local("reading", path, &error))?);
        }
    }
    // An older version gave them other names, and what is beside them stands under the new one.
    conflicts.retain(|conflict| !having.contains(&conflict.place()) && conflict.beside(ending).is_ok());
    Ok(conflicts)
}

/// How many are kept.
pub(super) async fn count(store: &dyn Store) -> Result<u64, StoreError> {
    let mut count = 0_u64;
    store
        .walk(CONFLICTS, &mut |entry| {
            count = count.saturating_add(u64::from(is_conflict(&entry.path)));
            Ok(())
        })
        .await?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_canonical_json_without_time_or_address() {
        let content = |digit: &str, length| Fingerprint { length, sha256: digit.repeat(64).parse().unwrap() };
        let filename = "Foo_Bar-1!1.0+x.tar.gz".parse().unwrap();
        let conflict = Conflict::of_file(&filename, Source::Bytes, content("a", None), content("b", Some(7)));
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        assert_eq!(
            conflict.to_json(),
            format!(
                r#"{{"expected":{{"sha256":"{a}"}},"found":{{"length":7,"sha256":"{b}"}},"path":"foo-bar/Foo_Bar-1!1.0+x.tar.gz","project":"foo-bar","source":"bytes"}}"#
            )
        );
        let leaf = conflict.leaf().unwrap().to_string();
        assert_eq!(
            leaf,
            format!(
                r#"{{"length":7,"path":"foo-bar/Foo_Bar-1!1.0+x.tar.gz","project":"foo-bar","sha256":"{b}","source":"index","type":"conflict/v1","version":"1!1.0+x"}}"#
            )
        );
        let (expected, found) = (content("a", None).sha256, content("b", Some(7)));
        let at = Conflict::of_metadata(&filename, Source::Bytes, &expected, found).at().unwrap();
        assert_eq!(at.as_str(), format!("conflicts/foo-bar/Foo_Bar-1!1.0+x.tar.gz.metadata.{b}.bytes.json"));
    }

    #[tokio::test]
    async fn a_conflict_suppresses_no_other_and_one_without_a_place_fails_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::DirStore::create(folder.path()).await.unwrap();
        let content = |digit: &str, length| Fingerprint { length, sha256: digit.repeat(64).parse().unwrap() };
        let mut counts = BTreeMap::new();
        let recorded = content("a", Some(7));
        let conflict = |source, expected, found| {
            let (path, project) = ("six/six-1.0.zip".to_owned(), "six".to_owned());
            Conflict { expected, found, path, project, source }
        };
        let mut kept = Vec::new();
        for conflict in [
            conflict(Source::Claim, content("b", Some(1)), recorded.clone()),
            conflict(Source::Claim, content("c", Some(1)), recorded.clone()),
            conflict(Source::Index, recorded.clone(), content("c", Some(1))),
            conflict(Source::Log, recorded.clone(), content("c", Some(1))),
            conflict(Source::Log, recorded.clone(), content("c", Some(1))),
            conflict(Source::Log, recorded.clone(), content("c", Some(2))),
        ] {
            kept.push(conflict.keep(&store, &mut counts).await.unwrap());
        }
        assert_eq!(kept, [Kept::New, Kept::New, Kept::New, Kept::New, Kept::Known, Kept::Another]);
        let long = |bytes: usize| Conflict {
            path: format!("six/six-1.0-{}.zip.metadata", "x".repeat(bytes.saturating_sub(12))),
            ..conflict(Source::Index, recorded.clone(), content("d", None))
        };
        let fits = long(super::super::compare::MAX_NAME);
        assert_eq!(fits.keep(&store, &mut counts).await, Ok(Kept::New));
        fits.beside(EVIDENCE).unwrap();
        fits.told(&store).await.unwrap();
        assert_eq!(long(300).keep(&store, &mut counts).await, Ok(Kept::Unfit));
        assert_eq!(without(&store, TOLD, 10).await.unwrap().len(), 4);
    }
}
