//! Where a repository's files lie: objects named by path, and one conditional write.
//!
//! A [`Store`] is the whole state of a repository; there is no database beside it. Writers need two
//! promises of it, and everything else is built on these:
//!
//! * [`Store::create`] adds an object and never replaces one. Metadata and distributions are added so;
//! * [`Store::swap`] replaces an object only if it is still the one that was read. `timestamp.json` is
//!   replaced so, which makes it the one commit point.
//!
//! Both are durable when they return, so an object may be named by the next one written.
//!
//! A store is **not trusted**: it does not know what a signature is, and whoever can write to it can give any
//! bytes to its readers. What is read from it is verified by `tuf` and `tlog`.
//!
//! | file | what |
//! |---|---|
//! | `path.rs` | [`StorePath`], the name of an object |
//! | `dir.rs`, `dir/` | [`DirStore`], a folder of the local file system |
//! | `object.rs`, `object/` | [`ObjectStore`], a bucket of S3, Google Cloud Storage or Azure, or memory |
//! | `contract.rs` | the tests that every backend runs |
//!
//! ```no_run
//! # use wheelseal::store::{Content, DirStore, Store, StoreError, StorePath};
//! # async fn example() -> Result<(), StoreError> {
//! let store = DirStore::create("repository").await?;
//! let counter = StorePath::new("counter")?;
//! let first = store.swap(&counter, b"1", None).await?;
//! store.swap(&counter, b"2", Some(&first)).await?;
//! let late = store.swap(&counter, b"3", Some(&first)).await;
//! assert_eq!(late, Err(StoreError::Conflict { path: counter }));
//! # Ok(())
//! # }
//! ```

mod dir;
mod object;
mod path;

#[cfg(test)]
mod contract;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncRead, AsyncReadExt};

pub use dir::DirStore;
pub use object::{EtagQuotes, ObjectStore, Probed, amazon_settings};
pub use path::StorePath;

/// Objects asked for at once, where each is a question of its own: hides the delay of a service.
const READS_AT_ONCE: usize = 32;

/// Objects named by path. Any number of processes may use one store at once.
///
/// What every backend promises (`contract.rs` checks it):
///
/// * A reader sees an object whole or not at all, and never waits for a writer.
/// * An object's bytes change by `swap` and `delete` alone.
/// * A write that returned `Ok` survives a power cut, as does an object reported by [`StoreError::Exists`].
/// * A write that returned [`StoreError::Io`] or [`StoreError::Server`] may have happened all the same: read back before
///   trying again.
/// * A write whose future is dropped may still happen.
///
/// A path is either an object or a folder of objects. Folders are not objects: they appear with the first object
/// in them, and reading one finds nothing.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The whole object, or `None` when there is none; refused when it is longer than `max_len` bytes.
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError>;

    /// Many objects as [`Self::get`] gives them, in the order asked for; the first failure ends it.
    async fn get_all(&self, paths: &[StorePath], max_len: u64) -> Result<Vec<Option<Object>>, StoreError> {
        let mut reads = Vec::with_capacity(paths.len());
        reads.extend(paths.iter().map(|path| self.get(path, max_len)));
        stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
    }

    /// The bytes of many objects as [`Self::get_all`] gives them, without the tags: for those who swap none of them.
    async fn read_all(&self, paths: &[StorePath], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let objects = self.get_all(paths, max_len).await?;
        Ok(objects.into_iter().map(|object| object.map(|object| object.bytes)).collect())
    }

    /// Which of these objects there are, in the order asked for.
    async fn exist(&self, paths: &[StorePath]) -> Result<Vec<bool>, StoreError> {
        let mut opened = Vec::with_capacity(paths.len());
        opened.extend(paths.iter().map(|path| self.open(path)));
        stream::iter(opened).buffered(READS_AT_ONCE).map_ok(|object| object.is_some()).try_collect().await
    }

    /// The object as a stream, for files too large for memory, or `None` when there is none.
    ///
    /// The stream has no limit of its own; the caller counts.
    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError>;

    /// The object as a stream from byte `start` on, which is empty when it is not that long.
    async fn open_at(
        &self,
        path: &StorePath,
        start: u64,
    ) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        let Some(mut stream) = self.open(path).await? else { return Ok(None) };
        let skipped = tokio::io::copy(&mut (&mut stream).take(start), &mut tokio::io::sink()).await;
        skipped.map_err(|error| StoreError::io("read", path, &error))?;
        Ok(Some(stream))
    }

    /// What [`Self::list`] says of one object, or `None` when there is none. The date may be rounded down to the second.
    async fn stat(&self, path: &StorePath) -> Result<Option<Entry>, StoreError> {
        let folder = path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
        Ok(self.list(folder).await?.into_iter().find(|entry| entry.path == *path))
    }

    /// Writes a new object. Of several writers exactly one succeeds; the others get [`StoreError::Exists`], which
    /// says nothing about whether the bytes there are the same. If they are, the object is dated anew: somebody is about
    /// to refer to it, so it must not look old enough to be collected.
    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError>;

    /// Writes many new objects, in any order but copies last, with one outcome each in the order given. All that
    /// succeeded are durable when it returns: backends that can, make them durable together.
    async fn create_all(&self, objects: &[(StorePath, Content<'_>)]) -> Vec<Result<(), StoreError>> {
        let mut outcomes = vec![Ok(()); objects.len()];
        for copies in [false, true] {
            for (outcome, (path, content)) in outcomes.iter_mut().zip(objects) {
                if matches!(content, Content::Copy(_)) == copies {
                    *outcome = self.create(path, *content).await;
                }
            }
        }
        outcomes
    }

    /// Replaces the object if its tag is still `expected` (`None`: if there is no object) and returns the new tag;
    /// otherwise [`StoreError::Conflict`], and nothing is changed.
    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError>;

    /// Many swaps, one outcome each in the order given; each happens or not on its own. No object is named twice.
    async fn swap_all(&self, swaps: &[Swap<'_>]) -> Vec<Result<Tag, StoreError>> {
        let mut outcomes = Vec::with_capacity(swaps.len());
        for swap in swaps {
            outcomes.push(self.swap(swap.path, swap.bytes, swap.expected).await);
        }
        outcomes
    }

    /// [`Self::create_all`], and if every object was created, the swaps one after another up to the first that fails: in fewer
    /// rounds of flushing where a backend can. Nobody sees a swap without what was created and the swaps before it. No object
    /// is named twice, and no copy is of one that is swapped.
    async fn create_then_swap(
        &self,
        objects: &[(StorePath, Content<'_>)],
        swaps: &[Swap<'_>],
        order: Order,
    ) -> Written {
        let _ = order;
        let created = self.create_all(objects).await;
        if created.iter().any(Result::is_err) {
            return Written { created, swapped: None };
        }
        let mut swapped = Vec::with_capacity(swaps.len());
        for swap in swaps {
            let outcome = self.swap(swap.path, swap.bytes, swap.expected).await;
            let failed = outcome.is_err();
            swapped.push(outcome);
            if failed {
                break;
            }
        }
        Written { created, swapped: Some(swapped) }
    }

    /// Shows `visit` what [`Self::list`] would return, in any order, without holding all of it in memory. Ends with the
    /// first error that `visit` returns.
    async fn walk(&self, prefix: &str, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.list(prefix).await?.into_iter().try_for_each(visit)
    }

    /// All objects below the folder `prefix`, at any depth, sorted by path; the empty prefix is the whole store.
    ///
    /// A folder that does not exist has no objects. Objects written meanwhile may or may not be in the list.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;

    /// Whether two paths certainly name the same bytes in the same place, so that reading one tells of both. `false`
    /// says nothing: most backends cannot tell.
    async fn same(&self, one: &StorePath, other: &StorePath) -> Result<bool, StoreError> {
        let _ = (one, other);
        Ok(false)
    }

    /// Makes durable what was read of the object before, which its writer may not have come to. Of what a service gave out
    /// that is taken as given.
    async fn flush(&self, path: &StorePath) -> Result<(), StoreError> {
        let _ = path;
        Ok(())
    }

    /// Removes the object; that there is none is fine.
    async fn delete(&self, path: &StorePath) -> Result<(), StoreError>;

    /// Waits until the others who asked for a turn gave theirs back, for `patience` at most; the turn ends when it is
    /// dropped, or with its process. It guards nothing: it only keeps writers that compete for one object from working
    /// in vain. A backend that knows no turns, or fails at it, grants one at once.
    async fn turn(&self, patience: Duration) -> Turn {
        let _ = patience;
        Turn::default()
    }

    /// Removes what interrupted writes left behind, last touched before `before`; returns how many pieces.
    ///
    /// Leftovers are not objects, so `list` does not show them. A backend that leaves none needs no code here.
    async fn sweep(&self, before: SystemTime) -> Result<usize, StoreError> {
        let _ = before;
        Ok(0)
    }
}

/// A writer's turn, see [`Store::turn`].
#[derive(Debug, Default)]
pub struct Turn {
    /// Locked as long as it lasts, where turns are kept.
    lock: Option<File>,
}

impl Turn {
    /// Whether others wait for its end.
    pub fn is_kept(&self) -> bool {
        self.lock.is_some()
    }
}

/// What [`Store::walk`] calls with each object.
pub type Visit<'a> = dyn FnMut(Entry) -> Result<(), StoreError> + Send + 'a;

/// One of many swaps, see [`Store::swap`].
#[derive(Clone, Copy, Debug)]
pub struct Swap<'a> {
    /// The object.
    pub path: &'a StorePath,
    /// Its new bytes.
    pub bytes: &'a [u8],
    /// The tag it must have; `None`: it must not exist.
    pub expected: Option<&'a Tag>,
}

/// What a power cut in the middle of [`Store::create_then_swap`] may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// No swap without everything that was created before it.
    Kept,
    /// Any of the swaps and of what was created: for a swap that nothing created with it is needed for.
    Open,
}

/// Outcomes of [`Store::create_then_swap`], in the orders given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Of each object.
    pub created: Vec<Result<(), StoreError>>,
    /// Of each swap, up to the first that failed: those behind it were not tried. `None`: nor was any, because some object was
    /// not created.
    pub swapped: Option<Vec<Result<Tag, StoreError>>>,
}

/// An object as read: its bytes, and the tag that a `swap` of it must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// Which version of the object this is.
    pub tag: Tag,
}

/// Which version of an object was read: opaque, comparable, and given out by the backend that made it.
///
/// Equal tags mean equal bytes. The reverse does not hold for every backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// A tag as a backend words it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The backend's own wording.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What `create` writes.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// The same, without a copy for the thread that writes them.
    Shared(&'a Arc<Vec<u8>>),
    /// The bytes of a local file, which must not change meanwhile.
    File(&'a Path),
    /// The bytes of an object already stored, without moving them where the backend can.
    Copy(&'a StorePath),
}

impl Content<'_> {
    /// Bytes that are copied for the thread that writes them.
    fn copied(&self) -> usize {
        if let Self::Bytes(bytes) = self { bytes.len() } else { 0 }
    }
}

/// One object as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub path: StorePath,
    /// Its length in bytes.
    pub len: u64,
    /// By the store's clock, a time not before the object was written here, a copy included, or last found there by a
    /// `create` that was refused.
    pub modified: SystemTime,
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// `create` found an object of that name.
    #[error("{path} exists already, and is never overwritten")]
    Exists {
        /// The object.
        path: StorePath,
    },
    /// `swap` found another version than the one expected.
    #[error("{path} was changed by someone else since it was read")]
    Conflict {
        /// The object.
        path: StorePath,
    },
    /// `get` found more bytes than the caller allows.
    #[error("{path} has {found} bytes, expected at most {max}")]
    TooLarge {
        /// The object.
        path: StorePath,
        /// Its length in bytes.
        found: u64,
        /// The caller's limit in bytes.
        max: u64,
    },
    /// A path that breaks an invariant of [`StorePath`], or that leads over a symbolic link.
    #[error("{path:?} cannot name an object: {reason}")]
    InvalidPath {
        /// The path as given.
        path: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The disk or the service behind the store failed.
    #[error("cannot {what} {path}: {message}")]
    Io {
        /// What was tried: a verb.
        what: &'static str,
        /// The object, or the local file or folder.
        path: String,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The system's wording.
        message: String,
    },
    /// The service that keeps the bucket refused, failed, or is not to be relied upon.
    #[error("cannot {what} {path}: {message}")]
    Server {
        /// What was tried: a verb.
        what: &'static str,
        /// The object or the bucket.
        path: String,
        /// What is wrong.
        fault: Fault,
        /// The service's wording.
        message: String,
    },
}

/// What is wrong with a service or the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such object.
    NoObject,
    /// There is no such bucket or container.
    NoBucket,
    /// It asks for credentials, and there are none that it knows.
    NoCredentials,
    /// These credentials have no right to do this.
    Denied,
    /// The bucket is in another region.
    WrongRegion,
    /// It does not keep the conditions that publishing rests on.
    Unsafe,
    /// Whether the write happened is not known.
    Unknown,
    /// It did not answer, or with an error of its own.
    Failed,
}

impl Fault {
    fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::NoObject => return None,
            Self::NoBucket => "make the bucket first, with the tools of its vendor; or is its name misspelt?",
            Self::NoCredentials => {
                "give credentials in the environment, as the vendor's tools read them: \
                 `wheelseal help environment` names the variables"
            }
            Self::Denied => {
                "these credentials may not do this: reading, writing, listing and deleting are needed, and the clock \
                 must be right"
            }
            Self::WrongRegion => {
                "name the bucket's region in AWS_REGION, or its server in AWS_ENDPOINT_URL_S3"
            }
            Self::Unsafe => {
                "two publishers could undo each other there without a word: use another server, or go past the proxy \
                 in front of it; `wheelseal check-store` tries again"
            }
            Self::Unknown => "look at `wheelseal status` before you repeat the command",
            Self::Failed => "try again; if it persists, ask whoever runs the server",
        })
    }
}

impl StoreError {
    /// What the person running wheelseal can do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        if let Self::Server { fault, .. } = self {
            return fault.hint();
        }
        let Self::Io { kind, .. } = self else { return None };
        match kind {
            io::ErrorKind::ReadOnlyFilesystem => {
                Some("the disk is mounted read-only: mount it writable, or keep the repository elsewhere")
            }
            io::ErrorKind::PermissionDenied => {
                Some("this user has no access: run as the user who owns the repository, or change its owner")
            }
            io::ErrorKind::StorageFull => {
                Some("the disk is full: free some space and run again; nothing published was changed")
            }
            io::ErrorKind::QuotaExceeded => {
                Some("the disk quota is used up: raise it or free some space, then run again")
            }
            _ => None,
        }
    }

    fn io(what: &'static str, path: impl fmt::Display, error: &io::Error) -> Self {
        Self::Io { what, path: path.to_string(), kind: error.kind(), message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_was_found_and_expected() -> Result<(), StoreError> {
        let path = StorePath::new("metadata/timestamp.json")?;
        let full = io::Error::new(io::ErrorKind::StorageFull, "no space left");
        let wording = [
            (
                StoreError::Exists { path: path.clone() },
                "metadata/timestamp.json exists already, and is never overwritten",
            ),
            (
                StoreError::Conflict { path: path.clone() },
                "metadata/timestamp.json was changed by someone else since it was read",
            ),
            (
                StoreError::TooLarge { path: path.clone(), found: 9, max: 8 },
                "metadata/timestamp.json has 9 bytes, expected at most 8",
            ),
            (
                StoreError::InvalidPath { path: "a\n".into(), reason: "it has a control character" },
                r#""a\n" cannot name an object: it has a control character"#,
            ),
            (StoreError::io("write", &path, &full), "cannot write metadata/timestamp.json: no space left"),
        ];
        for (error, text) in wording {
            assert_eq!(error.to_string(), text);
        }
        Ok(())
    }

    #[test]
    fn a_disk_that_refuses_writes_comes_with_a_hint() -> Result<(), StoreError> {
        for (kind, word) in [
            (io::ErrorKind::ReadOnlyFilesystem, "read-only"),
            (io::ErrorKind::PermissionDenied, "no access"),
            (io::ErrorKind::StorageFull, "full"),
            (io::ErrorKind::QuotaExceeded, "quota"),
        ] {
            let hint = StoreError::io("write", "a", &io::Error::from(kind)).hint();
            assert!(hint.is_some_and(|hint| hint.contains(word)), "{kind}: {hint:?}");
        }
        assert_eq!(StoreError::io("write", "a", &io::Error::other("odd")).hint(), None);
        assert_eq!(StoreError::Conflict { path: StorePath::new("a")? }.hint(), None);
        Ok(())
    }
}
