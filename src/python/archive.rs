//! From an archive to its core metadata, without unpacking it.
//!
//! ```text
//! wheel        zip ── listing judged ──▶ {name}-{version}.dist-info/METADATA ─┐
//! sdist .zip   zip ── listing judged ──▶ {dir}/PKG-INFO ──────────────────────┼─▶ CoreMetadata ── agrees
//! sdist .gz    gzip ── tar, entry by entry ──▶ {dir}/PKG-INFO ────────────────┘                with the file name
//! ```
//!
//! Rules:
//! 1. Work is bounded by [`ArchiveLimits`] before it is done, whatever sizes the archive declares.
//! 2. Every entry is looked at, not only the one wanted: a wheel that escapes when unpacked is refused here.
//! 3. Two entries a reader could take for the metadata are refused, as is a zip whose local headers tell
//!    another story than its central directory, and whatever else Python's `zipfile` or `tarfile` and other
//!    readers take in different ways.
//! 4. Name and version in the metadata are those of the file name (PEP 503 and PEP 440 equality).
//!
//! Not checked: the digests in `RECORD`, the tags in `WHEEL`, content other than the metadata file, and the
//! name of an sdist's top directory, which older tools chose freely.

mod budget;
mod entry;
mod layout;
mod sdist;
mod tarball;
mod wheel;
mod zipped;

use std::io::{self, Read, Seek};

use super::{
    filename::{DistributionFilename, Kind, SdistFormat},
    metadata::{CoreMetadata, MetadataError},
};

/// Most bytes of a metadata file: 10 MB. It holds the long description; the largest published are below 2 MB.
const METADATA_BYTES: usize = 10_000_000;

/// Most entries of an archive. The largest wheels in public use list some 50,000.
const ENTRIES: u64 = 200_000;

/// Most bytes inflated while an sdist is searched: 2 GiB. Sdists in public use inflate to some 500 MB.
const INFLATED_BYTES: u64 = 2 << 30;

/// Most bytes read to learn a zip's central directory: 64 MiB, that is 200,000 entries of 330 bytes. It
/// bounds memory before the number of entries is known.
const DIRECTORY_BYTES: u64 = 64 << 20;

/// What inspecting an archive may cost. The default has values with room for what is published today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Bytes of the metadata file.
    pub metadata_bytes: usize,
    /// Entries, of a zip or a tar.
    pub entries: u64,
    /// Bytes a `.tar.gz` may inflate to.
    pub inflated_bytes: u64,
    /// Bytes read to learn a zip's central directory.
    pub directory_bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            metadata_bytes: METADATA_BYTES,
            entries: ENTRIES,
            inflated_bytes: INFLATED_BYTES,
            directory_bytes: DIRECTORY_BYTES,
        }
    }
}

/// Why an archive was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The container is damaged, truncated, of another format, or could not be read.
    #[error("the archive cannot be read: {detail}")]
    Unreadable {
        /// What the zip, gzip or tar reader said.
        detail: String,
    },
    /// A zip's headers contradict each other, or its parts do not fill the file, so that readers would see
    /// different archives.
    #[error("the zip archive contradicts itself: {detail}")]
    Inconsistent {
        /// What is amiss.
        detail: String,
    },
    /// More entries than allowed.
    #[error("the archive has more than {limit} entries")]
    TooManyEntries {
        /// Entries allowed.
        limit: u64,
    },
    /// More bytes to read or inflate than allowed.
    #[error("the archive takes more than {limit} bytes to list; that is the shape of an archive bomb")]
    TooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// One entry has more bytes than allowed.
    #[error("the entry {entry:?} has more than {limit} bytes")]
    EntryTooLarge {
        /// The entry.
        entry: String,
        /// Bytes allowed.
        limit: usize,
    },
    /// An entry would be unpacked outside of the target directory, or by some readers in another place.
    #[error(
        "the entry {entry:?} has an absolute path, a '..', a control character or what readers tidy up in different ways; expected a plain relative path"
    )]
    UnsafeName {
        /// The entry.
        entry: String,
    },
    /// A link leads outside of the target directory, or an entry leads through a link.
    #[error("the entry {entry:?} links to, or leads through, {target:?}; expected a path inside the archive")]
    UnsafeLink {
        /// The entry.
        entry: String,
        /// Where the link leads.
        target: String,
    },
    /// An entry is a device, a pipe or of another kind that no distribution has.
    #[error("the entry {entry:?} is {found}; expected files, directories and links alone")]
    UnexpectedKind {
        /// The entry.
        entry: String,
        /// What it is.
        found: &'static str,
    },
    /// An entry is encrypted.
    #[error("the entry {entry:?} is encrypted; expected a readable archive")]
    Encrypted {
        /// The entry.
        entry: String,
    },
    /// Two entries have one name, or names that are one on some file system.
    #[error("the archive has the entry {entry:?} more than once")]
    DuplicateEntry {
        /// The entry.
        entry: String,
    },
    /// An entry that every distribution has is not there.
    #[error("the archive has no entry {entry:?}")]
    MissingEntry {
        /// The entry.
        entry: String,
    },
    /// A wheel has two `.dist-info` directories, or an sdist two top directories with a `PKG-INFO`.
    #[error("the archive has both {first:?} and {second:?}; expected exactly one")]
    Several {
        /// The first found.
        first: String,
        /// The second found.
        second: String,
    },
    /// The core metadata is refused.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The content is of another project or version than the file name says.
    #[error("{what} is {found:?}; the file name says {expected:?}")]
    Disagrees {
        /// Which statement inside the archive.
        what: &'static str,
        /// What it says.
        found: String,
        /// What the file name says.
        expected: String,
    },
}

/// What the archive of a distribution says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The core metadata, which agrees with the file name.
    pub metadata: CoreMetadata,
    /// The very bytes of the metadata file, to be served beside the distribution (PEP 658).
    pub metadata_bytes: Vec<u8>,
}

/// Reads the core metadata of the distribution `filename` from its archive, and checks that both agree.
///
/// The reader may stand anywhere, and should be buffered. Errors are about the archive's content; those of the
/// reader itself appear as [`ArchiveError::Unreadable`].
pub fn inspect<R: Read + Seek>(
    filename: &DistributionFilename,
    mut reader: R,
    limits: &ArchiveLimits,
) -> Result<Inspected, ArchiveError> {
    reader.rewind().map_err(|error| unreadable(&error))?;
    let metadata_bytes = match filename.kind() {
        Kind::Wheel { .. } => wheel::read_metadata(filename, reader, limits)?,
        Kind::Sdist(SdistFormat::TarGz) => sdist::read_tar_gz(reader, limits)?,
        Kind::Sdist(SdistFormat::Zip) => sdist::read_zip(reader, limits)?,
    };
    let metadata = CoreMetadata::parse(&metadata_bytes, limits.metadata_bytes)?;
    if metadata.name != *filename.project() {
        return Err(disagrees("the name in the metadata", &metadata.name, filename.project()));
    }
    if metadata.version != *filename.version() {
        return Err(disagrees("the version in the metadata", &metadata.version, filename.version()));
    }
    Ok(Inspected { metadata, metadata_bytes })
}

/// A file in a wheel.
pub struct Member<'a> {
    /// Its path: relative, without `..`, with slashes.
    pub path: &'a str,
    /// Bytes, as its header declares; no more can be read.
    pub size: u64,
    /// Its content.
    pub content: &'a mut dyn Read,
}

/// Shows `visit` each file of the wheel `filename`, once its listing was judged; content that is not read is not inflated.
/// Gives the name of its `.dist-info` directory. `visit` may end it with an error of its own.
///
/// The reader may stand anywhere, and should be buffered.
pub fn wheel_members<R: Read + Seek>(
    filename: &DistributionFilename,
    mut reader: R,
    limits: &ArchiveLimits,
    visit: &mut dyn FnMut(Member<'_>) -> io::Result<()>,
) -> Result<String, ArchiveError> {
    reader.rewind().map_err(|error| unreadable(&error))?;
    wheel::each_member(filename, reader, limits, visit)
}

fn disagrees(what: &'static str, found: &impl ToString, expected: &impl ToString) -> ArchiveError {
    ArchiveError::Disagrees { what, found: found.to_string(), expected: expected.to_string() }
}

fn unreadable(error: &impl ToString) -> ArchiveError {
    ArchiveError::Unreadable { detail: error.to_string() }
}

/// Reads an entry to its end, trusting no declared size.
fn read_capped(reader: impl Read, entry: &str, limit: usize) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(one_more).read_to_end(&mut bytes).map_err(|error: io::Error| unreadable(&error))?;
    if bytes.len() > limit {
        return Err(ArchiveError::EntryTooLarge { entry: entry.to_owned(), limit });
    }
    Ok(bytes)
}
