//! The Simple API: one page for each project, and the list of projects.
//!
//! ```text
//! PageFile ── insert ──▶ ProjectPage ──▶ to_json ──▶ bytes ──▶ from_json ──▶ the same ProjectPage
//!                                   └──▶ to_html
//! ```
//!
//! Rules:
//! 1. A page lists each file once, sorted by version and then by file name; equal pages give equal bytes.
//! 2. A file name, once published, stands for one content: another digest is a [`Insertion::Conflict`]. So is
//!    another spelling of the same project, version, build and tags, between which an installer would choose.
//! 3. A quarantined project offers no file (PEP 792). Its JSON keeps them under a private key (PEP 700 reserves
//!    those with a leading underscore), so that the page can be restored from itself.
//! 4. Of provenance (PEP 740) a page says the digest, under a private key too. The PEP's own key is an absolute URL, which
//!    the page does not know: it is told for tools ([`ProjectPage::to_json_for_tools`]), and never signed.
//! 5. What is read back is what was written: unknown keys, files of another project, wrong `versions` and
//!    values out of their grammar are errors. This is no reader for pages of other servers.
//!
//! The JSON of a page is its state; the HTML is for clients that know no JSON.

mod foreign;
mod html;
mod wire;

pub use foreign::{ForeignFile, ForeignIndex, ForeignPage, Offer};
pub use html::index_html;
pub use wire::{PageError, index_json};

use pep440_rs::Version;

use super::{
    filename::DistributionFilename,
    name::ProjectName,
    values::{FileUrl, FreeText, Sha256Hex, UploadTime},
};

/// The API version of pages without a status and of the project list: 1.1, which added sizes (PEP 700).
const API_VERSION: &str = "1.1";

/// The API version of pages with a file that has provenance (PEP 740).
const API_VERSION_WITH_PROVENANCE: &str = "1.3";

/// The API version of pages with a status (PEP 792).
const API_VERSION_WITH_STATUS: &str = "1.4";

/// One file on a project's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFile {
    /// The file name, which also says of which project and version the file is.
    pub filename: DistributionFilename,
    /// Where the file is fetched from; its metadata is at the same URL with `.metadata` appended (PEP 658).
    pub url: FileUrl,
    /// The digest of the file.
    pub sha256: Sha256Hex,
    /// The size of the file in bytes (PEP 700).
    pub size: u64,
    /// When the file was uploaded (PEP 700).
    pub upload_time: Option<UploadTime>,
    /// `Requires-Python` as the metadata has it, valid or not.
    pub requires_python: Option<FreeText>,
    /// Whether the file is yanked (PEP 592).
    pub yanked: Yanked,
    /// The digest of the metadata file, if one is served (PEP 658, PEP 714).
    pub core_metadata_sha256: Option<Sha256Hex>,
    /// The digest of the provenance object, if one is served at the URL with `.provenance` appended (PEP 740).
    pub provenance_sha256: Option<Sha256Hex>,
}

/// Whether installers should pass over a file (PEP 592).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Yanked {
    /// It is offered.
    No,
    /// It is for those who ask for this version alone, with or without a reason.
    Yes(Option<FreeText>),
}

/// What state a project is in (PEP 792), and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub marker: StatusMarker,
    /// The reason, for people.
    pub reason: Option<FreeText>,
}

/// The states of PEP 792.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusMarker {
    /// The default.
    Active,
    /// No more releases are expected; takes no uploads.
    Archived,
    /// Unsafe; takes no uploads and offers no files.
    Quarantined,
    /// Obsolete, but otherwise as active.
    Deprecated,
}

impl StatusMarker {
    /// Whether new files may be added to the project (PEP 792 "Index semantics"). [`ProjectPage::insert`] does
    /// not ask: that is the caller's part.
    pub fn allows_uploads(self) -> bool {
        matches!(self, Self::Active | Self::Deprecated)
    }

    /// The word PEP 792 has for the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Archived => "archived",
            Self::Quarantined => "quarantined",
            Self::Deprecated => "deprecated",
        }
    }
}

/// What became of a file given to [`ProjectPage::insert`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// The file is on the page now.
    Inserted,
    /// A file of this name and digest was there before; it stays as it was.
    Same,
    /// A file of this name with another content, or another file that installers take for the same (a name
    /// that differs in case alone; the same version, build and tags in another spelling) was there before.
    /// Nothing was changed.
    Conflict {
        /// The name published before.
        filename: DistributionFilename,
        /// The digest published before.
        sha256: Sha256Hex,
    },
    /// The file is of another project. Nothing was changed.
    OtherProject {
        /// The project of the file.
        found: ProjectName,
    },
}

/// The page of a project.
///
/// Invariants: all files are of the project, no two are taken for the same by installers, and they are sorted by
/// version and then by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectPage {
    name: ProjectName,
    /// Grows with every change of the page; `_last-serial` in JSON.
    pub serial: u64,
    /// The state of the project (PEP 792). `None` is active, without saying so.
    pub status: Option<Status>,
    /// The transparency log that the files are in; `_tlog` in JSON. Who relies on it asks for proofs.
    pub log: Option<FreeText>,
    files: Vec<PageFile>,
}

impl ProjectPage {
    /// A page without files.
    pub fn new(name: ProjectName, serial: u64) -> Self {
        Self { name, serial, status: None, log: None, files: Vec::new() }
    }

    /// The project.
    pub fn name(&self) -> &ProjectName {
        &self.name
    }

    /// The files, sorted by version and then by name; with those a quarantine withholds.
    pub fn files(&self) -> &[PageFile] {
        &self.files
    }

    /// The file of this name.
    pub fn file(&self, filename: &str) -> Option<&PageFile> {
        self.files.iter().find(|file| file.filename.as_str() == filename)
    }

    /// The versions, normalised, oldest first, each once (PEP 700).
    pub fn versions(&self) -> Vec<String> {
        let mut versions: Vec<String> =
            self.files.iter().map(|file| file.filename.version().to_string()).collect();
        versions.dedup();
        versions
    }

    /// Adds a file, unless its name is taken.
    pub fn insert(&mut self, file: PageFile) -> Insertion {
        if *file.filename.project() != self.name {
            return Insertion::OtherProject { found: file.filename.project().clone() };
        }
        let alike = |other: &&PageFile| other.filename.is_taken_for(&file.filename);
        match self.files.iter().find(alike) {
            Some(known) if known.filename == file.filename && known.sha256 == file.sha256 => Insertion::Same,
            Some(known) => {
                Insertion::Conflict { filename: known.filename.clone(), sha256: known.sha256.clone() }
            }
            None => {
                let at = self.files.partition_point(|other| sort_key(other) < sort_key(&file));
                self.files.insert(at, file);
                Insertion::Inserted
            }
        }
    }

    /// Takes a file off the page; `false` if there is none of this name.
    pub fn remove(&mut self, filename: &str) -> bool {
        let before = self.files.len();
        self.files.retain(|file| file.filename.as_str() != filename);
        self.files.len() < before
    }

    /// Takes off the page what `keep` does not want.
    pub fn retain(&mut self, keep: impl FnMut(&PageFile) -> bool) {
        self.files.retain(keep);
    }

    /// Says no longer that the metadata of a file is served beside it.
    pub fn withhold_metadata(&mut self, filename: &str) {
        for file in self.files.iter_mut().filter(|file| file.filename.as_str() == filename) {
            file.core_metadata_sha256 = None;
        }
    }

    /// Says no longer that the provenance of a file is served beside it.
    pub fn withhold_provenance(&mut self, filename: &str) {
        for file in self.files.iter_mut().filter(|file| file.filename.as_str() == filename) {
            file.provenance_sha256 = None;
        }
    }

    /// The page for an index that keeps files in `targets/` beside `simple/`, wherever they are now.
    pub fn relocated(mut self) -> Self {
        for file in &mut self.files {
            file.url = FileUrl::below(&file.filename);
        }
        self
    }

    /// Marks a file as yanked (PEP 592), also to change the reason; `false` if there is none of this name.
    pub fn yank(&mut self, filename: &str, reason: Option<FreeText>) -> bool {
        self.set_yanked(filename, &Yanked::Yes(reason))
    }

    /// Takes a yank back; `false` if there is no file of this name.
    pub fn unyank(&mut self, filename: &str) -> bool {
        self.set_yanked(filename, &Yanked::No)
    }

    fn set_yanked(&mut self, filename: &str, yanked: &Yanked) -> bool {
        let mut files = self.files.iter_mut().filter(|file| file.filename.as_str() == filename);
        files.next().map(|file| file.yanked = yanked.clone()).is_some()
    }

    /// The files clients are shown: none if the project is quarantined (PEP 792).
    pub fn offered(&self) -> &[PageFile] {
        if self.is_quarantined() { &[] } else { &self.files }
    }

    /// The files a quarantine withholds.
    fn withheld(&self) -> &[PageFile] {
        if self.is_quarantined() { &self.files } else { &[] }
    }

    fn is_quarantined(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.marker == StatusMarker::Quarantined)
    }

    fn api_version(&self) -> &'static str {
        match &self.status {
            Some(_) => API_VERSION_WITH_STATUS,
            None if self.files.iter().any(|file| file.provenance_sha256.is_some()) => {
                API_VERSION_WITH_PROVENANCE
            }
            None => API_VERSION,
        }
    }
}

/// Equal versions of different spelling (`1.0`, `1.0.0`) are kept apart by their text, so that the versions of
/// a page come out each once.
fn sort_key(file: &PageFile) -> (&Version, String, &str) {
    (file.filename.version(), file.filename.version().to_string(), file.filename.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(filename: &str, digit: &str) -> PageFile {
        PageFile {
            filename: filename.parse().unwrap(),
            url: format!("../../files/{filename}").parse().unwrap(),
            sha256: digit.repeat(64).parse().unwrap(),
            size: 7,
            upload_time: None,
            requires_python: None,
            yanked: Yanked::No,
            core_metadata_sha256: None,
            provenance_sha256: None,
        }
    }

    fn page(filenames: &[&str]) -> ProjectPage {
        let mut page = ProjectPage::new("foo".parse().unwrap(), 1);
        for filename in filenames {
            assert_eq!(page.insert(file(filename, "a")), Insertion::Inserted);
        }
        page
    }

    #[test]
    fn files_are_sorted_whatever_the_order_of_insertion() {
        let sorted = [
            "foo-1.0a1.tar.gz",
            "foo-1.0-py3-none-any.whl",
            "foo-1.0.tar.gz",
            "foo-1.0.0.zip",
            "foo-1.0+cpu-py3-none-any.whl",
            "foo-1.9.tar.gz",
            "foo-1.10.tar.gz",
            "foo-1!0.1.tar.gz",
        ];
        let mut reversed = sorted;
        reversed.reverse();
        let page_of_reversed = page(&reversed);
        let names: Vec<&str> = page_of_reversed.files().iter().map(|file| file.filename.as_str()).collect();
        assert_eq!(names, sorted);
        assert_eq!(page_of_reversed.to_json(), page(&sorted).to_json());
        assert_eq!(page_of_reversed.versions(), ["1.0a1", "1.0", "1.0.0", "1.0+cpu", "1.9", "1.10", "1!0.1"]);
    }

    #[test]
    fn a_name_stands_for_one_content() {
        let mut page = page(&["foo-1.0.tar.gz"]);
        let before = page.clone();
        let conflict = Insertion::Conflict {
            filename: "foo-1.0.tar.gz".parse().unwrap(),
            sha256: "a".repeat(64).parse().unwrap(),
        };
        assert_eq!(page.insert(file("foo-1.0.tar.gz", "a")), Insertion::Same);
        assert_eq!(page.insert(file("foo-1.0.tar.gz", "b")), conflict);
        assert_eq!(page.insert(file("Foo-1.0.tar.gz", "a")), conflict);
        assert_eq!(
            page.insert(file("bar-1.0.tar.gz", "a")),
            Insertion::OtherProject { found: "bar".parse().unwrap() }
        );
        assert_eq!(page, before);
    }

    #[test]
    fn a_file_that_installers_take_for_another_is_a_conflict() {
        for (published, alike) in [
            ("foo-1.0-py3-none-any.whl", "FOO-1.0-py3-none-any.whl"),
            ("foo-1.0-py3-none-any.whl", "foo-1.0.0-py3-none-any.whl"),
            ("foo-1.0-py3-none-any.whl", "foo-1.0-PY3-none-any.whl"),
            ("foo-1.0-py2.py3-none-any.whl", "foo-1.0-py3.py2-none-any.whl"),
            ("foo-1.0-1-py3-none-any.whl", "foo-1.0-01-py3-none-any.whl"),
            ("foo-1.0.tar.gz", "foo-1.0.0.tar.gz"),
            ("foo-1.0.post1.tar.gz", "foo-1.0post1.tar.gz"),
        ] {
            let mut page = page(&[published]);
            let conflict = Insertion::Conflict {
                filename: published.parse().unwrap(),
                sha256: "a".repeat(64).parse().unwrap(),
            };
            assert_eq!(page.insert(file(alike, "b")), conflict, "{alike}");
        }
        let mut long = ProjectPage::new("foo-bar".parse().unwrap(), 1);
        assert_eq!(long.insert(file("foo_bar-1.0-py3-none-any.whl", "a")), Insertion::Inserted);
        assert!(matches!(long.insert(file("foo.bar-1.0-py3-none-any.whl", "b")), Insertion::Conflict { .. }));
        page(&[
            "foo-1.0.tar.gz",
            "foo-1.0.zip",
            "foo-1.0-py3-none-any.whl",
            "foo-1.0-py2.py3-none-any.whl",
            "foo-1.0-1-py3-none-any.whl",
            "foo-1.0-1a-py3-none-any.whl",
            "foo-1.0+cpu-py3-none-any.whl",
        ]);
    }

    #[test]
    fn yanking_can_be_repeated_and_taken_back() {
        let mut page = page(&["foo-1.0.tar.gz"]);
        let reason: FreeText = "broken".parse().unwrap();
        assert!(page.yank("foo-1.0.tar.gz", None));
        assert!(page.yank("foo-1.0.tar.gz", Some(reason.clone())));
        assert_eq!(page.file("foo-1.0.tar.gz").unwrap().yanked, Yanked::Yes(Some(reason)));
        assert!(page.unyank("foo-1.0.tar.gz"));
        assert_eq!(page.file("foo-1.0.tar.gz").unwrap().yanked, Yanked::No);
        assert!(!page.yank("foo-2.0.tar.gz", None));
        assert!(!page.unyank("foo-2.0.tar.gz"));
    }

    #[test]
    fn removing_takes_the_version_along() {
        let mut page = page(&["foo-1.0.tar.gz", "foo-1.1.tar.gz"]);
        assert!(page.remove("foo-1.0.tar.gz"));
        assert!(!page.remove("foo-1.0.tar.gz"));
        assert_eq!(page.versions(), ["1.1"]);
    }
}
