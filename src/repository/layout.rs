//! Where each file lies in the store. The same layout serves TUF clients and, by the plain names, pip.

use super::{RepositoryError, path};
use crate::python::ProjectName;
use crate::store::StorePath;
use crate::tuf::metadata::Version;
use crate::tuf::path::{TargetPath, percent_quote};

/// Folder of all metadata.
pub const METADATA: &str = "metadata";
/// Folder of all target files.
pub const TARGETS: &str = "targets";
/// Folder of the unsigned pages for plain installers.
pub const SIMPLE: &str = "simple";
/// Folder of the transparency log.
pub const LOG: &str = "log";
/// How the name of a proof ends that something was logged.
pub const PROOF: &str = ".tlog-proof";
/// Notes on pages that are still to be written.
pub(super) const PENDING_PAGES: &str = "staging/pages";
/// Where `gc` keeps what it is about to remove, for a moment.
pub(super) const ASIDE: &str = "staging/gc";

/// Folder of the ceremonies under way.
pub(super) const CEREMONIES: &str = "staging/ceremonies";

/// `staging/ceremonies/NAME.json`: a change that waits for signatures.
pub(super) fn ceremony(name: &str) -> Result<StorePath, RepositoryError> {
    path(format!("{CEREMONIES}/{name}.json"))
}

/// Claims that wait for an admin.
pub(super) const WAITING_CLAIMS: &str = "staging/claims";

/// `staging/claims/NAME.json`: a claim that waits for an admin.
pub(super) fn waiting_claim(project: &ProjectName) -> Result<StorePath, RepositoryError> {
    path(format!("{WAITING_CLAIMS}/{project}.json"))
}

/// Folder of files that wait for their maintainers' signatures.
pub(super) const UPLOADS: &str = "staging/uploads";

/// `staging/uploads/PROJECT`.
pub(super) fn staged_for(project: &ProjectName) -> String {
    format!("{UPLOADS}/{project}")
}

/// `staging/uploads/PROJECT/SHA256.FILENAME`.
pub(super) fn staged(
    project: &ProjectName,
    sha256: &str,
    filename: &str,
) -> Result<StorePath, RepositoryError> {
    path(format!("{UPLOADS}/{project}/{sha256}.{filename}"))
}

/// `staging/uploads/PROJECT/SHA256.FILENAME.provenance`, by the hash of that object.
pub(super) fn staged_provenance(
    project: &ProjectName,
    sha256: &str,
    filename: &str,
) -> Result<StorePath, RepositoryError> {
    staged(project, sha256, &format!("{filename}.provenance"))
}

/// `metadata/N.role.json`.
pub(super) fn versioned(role: &str, version: Version) -> Result<StorePath, RepositoryError> {
    path(format!("{METADATA}/{version}.{}.json", percent_quote(role, b"")))
}

/// `metadata/timestamp.json`, the commit point.
pub(super) fn timestamp() -> Result<StorePath, RepositoryError> {
    path(format!("{METADATA}/timestamp.json"))
}

/// `metadata/root.json`: the newest root under a fixed name, for people; clients never ask for it.
pub(super) fn newest_root() -> Result<StorePath, RepositoryError> {
    path(format!("{METADATA}/root.json"))
}

/// `targets/dir/HASH.file`.
pub(super) fn hashed(target: &TargetPath, sha256: &[u8; 32]) -> Result<StorePath, RepositoryError> {
    path(format!("{TARGETS}/{}", target.location(Some(&hex::encode(sha256)))))
}

/// `targets/dir/file`: PEP 458's copy under the original name, for installers that know no TUF.
pub(super) fn plain(target: &TargetPath) -> Result<StorePath, RepositoryError> {
    path(format!("{TARGETS}/{target}"))
}

/// `targets/dir/file.tlog-proof`: the proof that a file is in the log, by its target path.
pub(super) fn file_proof(target: &str) -> Result<StorePath, RepositoryError> {
    path(format!("{TARGETS}/{target}{PROOF}"))
}

/// `metadata/N.snapshot.json.tlog-proof`: the proof that a snapshot is in the tree that its timestamp names.
pub(super) fn snapshot_proof(version: Version) -> Result<StorePath, RepositoryError> {
    path(format!("{METADATA}/{version}.snapshot.json{PROOF}"))
}

/// The target of a distribution file: `project/filename`.
pub(super) fn distribution(project: &ProjectName, filename: &str) -> Result<TargetPath, RepositoryError> {
    Ok(TargetPath::new(format!("{project}/{filename}"))?)
}

/// The target of a project's page: `simple/project/index.json`.
pub(super) fn page(project: &ProjectName) -> Result<TargetPath, RepositoryError> {
    Ok(TargetPath::new(page_path(project))?)
}

/// The same as text.
pub(super) fn page_path(project: &ProjectName) -> String {
    format!("{SIMPLE}/{project}/index.json")
}

/// `simple/project/FILE`, the unsigned page.
pub(super) fn simple(project: &ProjectName, file: &str) -> Result<StorePath, RepositoryError> {
    path(format!("{SIMPLE}/{project}/{file}"))
}
