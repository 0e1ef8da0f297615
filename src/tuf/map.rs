//! Map files (TAP 4): which repositories must agree on a target.
//!
//! ```text
//! {"repositories": {"index": ["https://index.example/"], "recorder": ["https://recorder.example/"]},
//!  "mapping": [{"paths": ["*/*", "simple/*/*"], "repositories": ["index", "recorder"], "threshold": 2, "terminating": true}]}
//! ```
//!
//! - Mappings are asked in order; one that does not list the path's pattern is passed over. Patterns are those of
//!   delegations: `*` does not cross `/`.
//! - Repositories agree on a target if they sign the same length and the same hashes. `custom` may differ.
//! - A mapping without agreement ends the search if it is terminating; else the next one that matches is asked.
//! - A file is refused whole: an unknown repository, a threshold that cannot be met, a repository named twice.

use super::canonical::{Canonical, Raw};
use super::fields::{Fields, ParseError};
use super::json::quoted;
use super::metadata::{Hashes, TargetFile};
use super::path::{TargetPath, matches_pattern};

/// Bytes of a map file, at most: a person writes it.
pub const MAX_MAP: u64 = 1024 * 1024;

/// Repositories of a map file, at most: each is asked for its metadata.
pub const MAX_REPOSITORIES: usize = 64;

/// A map file. Every repository that a mapping names is one of `repositories`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapFile {
    /// Names, each with the places where it is to be found, in order.
    pub repositories: Vec<(String, Vec<String>)>,
    /// In order of priority.
    pub mappings: Vec<Mapping>,
}

/// Who answers for some paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Patterns of target paths.
    pub paths: Vec<String>,
    /// Names of repositories, in the order in which they are asked; each once.
    pub repositories: Vec<String>,
    /// How many of them must agree: 1 to all.
    pub threshold: usize,
    /// Whether the search ends here if they do not.
    pub terminating: bool,
}

impl MapFile {
    /// Reads a map file. Unknown fields are passed over, as TAP 4 leaves room for them.
    pub fn read(bytes: &[u8]) -> Result<Self, ParseError> {
        let text = Canonical::read(bytes)?;
        let mut fields = Fields::new("a map file", text.value())?;
        let mut repositories = Vec::new();
        for (name, urls) in fields.object("repositories")? {
            repositories.push((name.into_owned(), fields.strings_of("repositories", urls)?));
        }
        if repositories.is_empty() || repositories.len() > MAX_REPOSITORIES {
            let found = format!("{} of them", repositories.len());
            return Err(fields.differs("repositories", found, "1 to 64 repositories"));
        }
        let names: Vec<&str> = repositories.iter().map(|(name, _)| name.as_str()).collect();
        let mappings =
            fields.array("mapping")?.map(|item| Mapping::read(item, &names)).collect::<Result<_, _>>()?;
        Ok(Self { repositories, mappings })
    }

    /// One repository that answers for everything.
    pub fn of_one(name: &str) -> Self {
        Self { repositories: vec![(name.to_owned(), Vec::new())], mappings: vec![Mapping::of_one(name)] }
    }

    /// The mappings that are to be asked for `path`, in order; none after a terminating one.
    pub fn matching<'a>(&'a self, path: &TargetPath) -> impl Iterator<Item = &'a Mapping> {
        let matching = self.mappings.iter().filter(|mapping| mapping.speaks_for(path));
        let mut ended = false;
        matching.take_while(move |mapping| !std::mem::replace(&mut ended, mapping.terminating))
    }
}

impl Mapping {
    fn of_one(name: &str) -> Self {
        let (paths, repositories) = (Vec::new(), vec![name.to_owned()]);
        Self { paths, repositories, threshold: 1, terminating: true }
    }

    /// Without any pattern, it speaks for every path: so a single repository does. A map file always has patterns.
    fn speaks_for(&self, path: &TargetPath) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|pattern| matches_pattern(pattern, path.as_str()))
    }

    fn read(value: Raw<'_>, known: &[&str]) -> Result<Self, ParseError> {
        let mut fields = Fields::new("a mapping", value)?;
        let (paths, repositories) = (fields.strings("paths")?, fields.strings("repositories")?);
        if paths.is_empty() {
            return Err(fields.differs("paths", "an empty array".to_owned(), "one pattern or more"));
        }
        for (at, name) in repositories.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(fields.differs(
                    "repositories",
                    quoted(name),
                    "names that \"repositories\" of the map file has",
                ));
            }
            if repositories.iter().take(at).any(|earlier| earlier == name) {
                return Err(fields.differs(
                    "repositories",
                    format!("{} twice", quoted(name)),
                    "each repository once",
                ));
            }
        }
        let found = fields.positive("threshold")?;
        let threshold = usize::try_from(found).ok().filter(|threshold| *threshold <= repositories.len());
        let threshold = threshold.ok_or_else(|| {
            fields.differs(
                "threshold",
                found.to_string(),
                "no more than there are repositories in the mapping",
            )
        })?;
        Ok(Self { paths, repositories, threshold, terminating: fields.boolean("terminating")? })
    }
}

/// The first of `answers` that `threshold` of them agree with, and who they are, by place.
pub fn agreed(answers: &[&TargetFile], threshold: usize) -> Option<Vec<usize>> {
    let agreeing = |one: &TargetFile| -> Vec<usize> {
        let same = answers.iter().enumerate().filter(|(_, other)| same_file(one, other));
        same.map(|(at, _)| at).collect()
    };
    answers
        .iter()
        .map(|one| agreeing(one))
        .find(|agreeing| !agreeing.is_empty() && agreeing.len() >= threshold)
}

/// Whether two repositories sign the same bytes: the same length, no hash that differs, and one at least in common.
fn same_file(a: &TargetFile, b: &TargetFile) -> bool {
    a.length == b.length && same_hashes(&a.hashes, &b.hashes)
}

fn same_hashes(a: &Hashes, b: &Hashes) -> bool {
    let sha256 = a.sha256.zip(b.sha256).map(|(a, b)| a == b);
    let sha512 = a.sha512.as_ref().zip(b.sha512.as_ref()).map(|(a, b)| a == b);
    let mut compared = sha256.into_iter().chain(sha512).peekable();
    compared.peek().is_some() && compared.all(|same| same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::metadata::Extra;

    const MAP: &str = r#"{
        "repositories": {"index": ["https://a.example/"], "recorder": ["https://b.example/", "https://c.example/"]},
        "mapping": [
            {"paths": ["six/*"], "repositories": ["index", "recorder"], "threshold": 2, "terminating": false},
            {"paths": ["*/*"], "repositories": ["index"], "threshold": 1, "terminating": true, "x-note": "all"},
            {"paths": ["*/*"], "repositories": ["recorder"], "threshold": 1, "terminating": true}
        ]}"#;

    fn file(length: u64, sha256: Option<u8>, sha512: Option<u8>) -> TargetFile {
        let hashes = Hashes {
            sha256: sha256.map(|byte| [byte; 32]),
            sha512: sha512.map(|byte| Box::new([byte; 64])),
            other: Extra::new(),
        };
        TargetFile { length, hashes, extra: Extra::new() }
    }

    #[test]
    fn mappings_are_asked_in_order_and_none_after_a_terminating_one() {
        let map = MapFile::read(MAP.as_bytes()).unwrap();
        let asked = |path: &str| -> Vec<usize> {
            let path = TargetPath::new(path).unwrap();
            map.matching(&path).map(|mapping| mapping.threshold).collect()
        };
        assert_eq!(asked("six/six.whl"), [2, 1]);
        assert_eq!(asked("sax/sax.whl"), [1]);
        assert!(asked("simple/six/index.json").is_empty(), "a star does not cross a slash");
        assert_eq!(map.repositories[1].1.len(), 2);
    }

    #[test]
    fn a_map_that_cannot_be_followed_is_refused_whole() {
        for (from, to, says) in [
            (r#""threshold": 2"#, r#""threshold": 3"#, "no more than there are repositories"),
            (r#""threshold": 2"#, r#""threshold": 0"#, "an integer from 1"),
            (
                r#"["index", "recorder"], "threshold": 2"#,
                r#"["index", "index"], "threshold": 2"#,
                "each repository once",
            ),
            (r#"["recorder"], "threshold""#, r#"["nobody"], "threshold""#, "names that"),
            (r#""paths": ["six/*"]"#, r#""paths": []"#, "one pattern or more"),
            (r#""terminating": false"#, r#""terminating": 0"#, "true or false"),
            (
                r#""repositories": {"index": ["https://a.example/"], "recorder": ["https://b.example/", "https://c.example/"]}"#,
                r#""repositories": {}"#,
                "1 to 64",
            ),
            (r#""mapping": ["#, r#""mapping": 1, "mapping": ["#, "mapping"),
        ] {
            assert!(MAP.contains(from), "{from}");
            let refused = MapFile::read(MAP.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn who_signs_the_same_length_and_hashes_agrees() {
        let (a, b, c) = (file(1, Some(1), None), file(1, Some(1), Some(2)), file(1, None, Some(2)));
        let (longer, other) = (file(2, Some(1), None), file(1, Some(1), Some(3)));
        assert_eq!(agreed(&[&a, &b], 2), Some(vec![0, 1]));
        assert_eq!(agreed(&[&a, &c], 2), None, "no hash in common");
        assert_eq!(agreed(&[&a, &b, &c], 3), Some(vec![0, 1, 2]), "each has one in common with the second");
        assert_eq!(agreed(&[&a, &longer], 2), None);
        assert_eq!(agreed(&[&b, &other], 2), None, "one hash is another");
        assert_eq!(agreed(&[&longer, &a, &a], 2), Some(vec![1, 2]));
        assert_eq!(agreed(&[&longer, &a], 1), Some(vec![0]), "the first in order");
        assert_eq!(agreed(&[], 1), None);
    }
}
