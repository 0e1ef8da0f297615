//! Python's own formats: project names, distribution file names, archives, core metadata and the Simple API.
//!
//! Pure: no file system, network, clock or log. Archives arrive as `Read + Seek`, pages as bytes, limits as
//! arguments or named constants. Nothing here says who may publish; that is the business of TUF.
//!
//! | file | what it holds | specification |
//! |---|---|---|
//! | `name` | [`ProjectName`] | PEP 503 "Normalized Names", PEP 508 "Names" |
//! | `filename` | [`DistributionFilename`] | binary distribution format, PEP 625 and what came before it |
//! | `values` | [`Sha256Hex`], [`FileUrl`], [`UploadTime`], [`FreeText`] | PEP 503, 592, 691, 700 |
//! | `metadata` | [`CoreMetadata`] | core metadata; PEP 440 specifiers |
//! | `attestation` | [`Provenance`]: attestations of a file, as far as shape and subject go | PEP 740 |
//! | `dependency` | [`Dependency`], and which machines it and wheels are for | PEP 508, PEP 425 |
//! | `archive` | [`inspect`]: from a wheel or an sdist to its metadata | PEP 658 names the file served |
//! | [`installed`] | what an installer leaves beside a wheel's files | binary distribution format, entry points |
//! | [`lock`] | lock files of pip, uv, Poetry, PDM and Pipenv, against pages | PEP 751, and what the tools write |
//! | `simple` | [`ProjectPage`] and the project list, as JSON and HTML | PEP 503, 592, 658, 691, 700, 714, 792 |
//!
//! Rules:
//! 1. A value of a type of this module obeys its invariants; whoever holds one need not check again.
//! 2. An archive is judged by its listing before any byte of its content is used.
//! 3. Where two readers could disagree (duplicate entries, two names for one entry, repeated headers), the
//!    archive is refused rather than one reading chosen.
//! 4. A page is a function of its files: the same set gives the same bytes.

mod archive;
mod attestation;
mod dependency;
mod filename;
pub mod installed;
pub mod lock;
mod metadata;
mod name;
mod select;
mod simple;
mod values;

pub use archive::{ArchiveError, ArchiveLimits, Inspected, Member, inspect, wheel_members};
pub use attestation::{AttestationError, MAX_ATTESTATIONS, MAX_PROVENANCE, Predicate, Provenance};
pub use dependency::{Dependency, DependencyError, Machine, Platform, Source};
pub use filename::{DistributionFilename, FilenameError, Kind, SdistFormat, has_ending};
pub use metadata::{CoreMetadata, MetadataError, MetadataVersion, RequiresPython};
pub use name::{NameError, ProjectName};
pub use select::{SelectError, files_of, universal};
pub use simple::{
    ForeignFile, ForeignIndex, ForeignPage, Insertion, Offer, PageError, PageFile, ProjectPage, Status,
    StatusMarker, Yanked, index_html, index_json,
};
pub use values::{FileUrl, FreeText, Sha256Hex, UploadTime, ValueError};
