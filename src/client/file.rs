//! Target files: checked against what was signed, and only then put where the user wants them.

mod arriving;

use std::cmp::Reverse;
use std::fs::{File, Permissions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tempfile::NamedTempFile;
use thiserror::Error;

pub use self::arriving::{Arrival, Arriving};
use super::log::{Inclusion, Proven, Recorded};
use super::source::Sink;
use crate::crypto::{Digests, Hasher};
use crate::tuf::lookup::Found;
use crate::tuf::metadata::{Mismatch, TargetFile};

/// Bytes read from a file at once: they stay in the cache of the core that hashes them.
const CHUNK: usize = 128 * 1024;

/// Why a target file is refused, or could not be put in place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FileError {
    /// Not as long as signed.
    #[error("{path} has {found} bytes, signed are {expected}")]
    WrongLength {
        /// The target path.
        path: String,
        /// What is there.
        found: u64,
        /// What was signed.
        expected: u64,
    },
    /// Not what was signed, or only hashes of unknown algorithms were signed.
    #[error("{path} is not the file that was signed: {mismatch}")]
    WrongHash {
        /// The target path.
        path: String,
        /// How it differs.
        mismatch: Mismatch,
    },
    /// After an interruption other bytes came where some had been given out already.
    #[error("{path} came with other bytes when the server was asked for it again")]
    Changed {
        /// The target path.
        path: String,
    },
    /// No signed hash can name the file on the server.
    #[error("{path} is signed with hashes of unknown algorithms only")]
    NoKnownHash {
        /// The target path.
        path: String,
    },
    /// The repository signed it but does not have it.
    #[error("the repository has no {location}, though it signs {path}")]
    Absent {
        /// The target path.
        path: String,
        /// Below the targets URL.
        location: String,
    },
    /// Larger than the caller takes.
    #[error("{path} has {length} bytes, at most {max} are read")]
    TooLarge {
        /// The target path.
        path: String,
        /// Signed length.
        length: u64,
        /// The limit.
        max: u64,
    },
    /// Two of the files that are wanted have one name.
    #[error("{first} and {second} would both be {place}")]
    OnePlace {
        /// A target path.
        first: String,
        /// Another one.
        second: String,
        /// Where both would go.
        place: String,
    },
    /// A file operation failed.
    #[error("{what} {path}: {reason}")]
    Io {
        /// Verb.
        what: &'static str,
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
}

impl FileError {
    fn io(what: &'static str, path: &Path, error: &std::io::Error) -> Self {
        Self::Io { what, path: path.display().to_string(), reason: error.to_string() }
    }
}

/// A file whose length and hashes are what was signed. There is no other way to make one than to check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedFile {
    path: PathBuf,
    target: TargetFile,
    fetched: bool,
    inclusion: Option<Inclusion>,
    recorded: Option<Recorded>,
}

impl VerifiedFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length and hashes.
    pub fn target(&self) -> &TargetFile {
        &self.target
    }

    /// Whether it was fetched now, or was there already.
    pub fn fetched(&self) -> bool {
        self.fetched
    }

    /// Where it is in the log; none, where no policy asks for a log.
    pub fn inclusion(&self) -> Option<&Inclusion> {
        self.inclusion.as_ref()
    }

    /// What recorders say of it; none, where no recorders are asked.
    pub fn recorded(&self) -> Option<&Recorded> {
        self.recorded.as_ref()
    }
}

/// An open file whose length and hashes are what was signed. There is no other way to make one than to check it, and
/// what is read from it later is the file that was checked, whatever stands under its name by then.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    target: TargetFile,
}

impl OpenFile {
    /// Length and hashes.
    pub fn target(&self) -> &TargetFile {
        &self.target
    }

    /// The file, at its first byte.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// Bytes in memory whose length and hashes are what was signed. There is no other way to make one than to check them.
#[derive(Debug)]
pub struct VerifiedBytes {
    bytes: Vec<u8>,
    target: TargetFile,
}

impl VerifiedBytes {
    /// Length and hashes.
    pub fn target(&self) -> &TargetFile {
        &self.target
    }

    /// All of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Where the repository keeps the target: any one listed hash names it (section 5.7.3).
pub(super) fn location(found: &Found, consistent: bool) -> Result<String, FileError> {
    let Some(hash) = found.target.hashes.name() else {
        return Err(FileError::NoKnownHash { path: found.path.to_string() });
    };
    Ok(found.path.location(consistent.then_some(hash.as_str())))
}

/// The file at `to`, if it is the target already. Its times stay as they are.
pub(super) fn already(target: &Proven, to: &Path) -> Result<Option<VerifiedFile>, FileError> {
    match verify(target, to) {
        Ok(file) => Ok(Some(file)),
        Err(FileError::Io { .. } | FileError::WrongLength { .. } | FileError::WrongHash { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Checks local files, on every core. The results are in the order of the files.
pub(super) fn verify_all(files: &[(Proven, PathBuf)]) -> Vec<Result<VerifiedFile, FileError>> {
    let mut order: Vec<_> = files.iter().enumerate().collect();
    // The largest first, so that no core is left with one of them when the others are done.
    order.sort_by_key(|(_, (target, _))| Reverse(target.target.length));
    let (order, next) = (order.as_slice(), &AtomicUsize::new(0));
    let work = move || {
        let (mut buffer, mut mine) = (vec![0; CHUNK], Vec::new());
        while let Some((at, (target, path))) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            mine.push((*at, verify_with(&mut buffer, target, path)));
        }
        mine
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let joined =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        joined.flatten().collect()
    });
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, verified)| verified).collect()
}

/// Checks a local file.
pub(super) fn verify(target: &Proven, path: &Path) -> Result<VerifiedFile, FileError> {
    verify_with(&mut vec![0; CHUNK], target, path)
}

fn verify_with(buffer: &mut [u8], found: &Proven, path: &Path) -> Result<VerifiedFile, FileError> {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let about = std::fs::metadata(path).map_err(|error| FileError::io("looking at", path, &error))?;
    if !about.is_file() {
        let error = std::io::Error::new(ErrorKind::InvalidInput, "not a regular file");
        return Err(FileError::io("opening", path, &error));
    }
    let mut file = File::open(path).map_err(|error| FileError::io("opening", path, &error))?;
    right_length(found, about.len())?;
    let digests = digests(buffer, found, &mut file);
    right_hashes(found, &digests.map_err(|error| FileError::io("reading", path, &error))?)?;
    let (inclusion, recorded) = (found.inclusion().cloned(), found.recorded().cloned());
    let target = found.target.clone();
    Ok(VerifiedFile { path: path.to_owned(), target, fetched: false, inclusion, recorded })
}

/// Checks an open file, from its first byte to its last.
pub(super) fn check_open(found: &Proven, mut file: File) -> Result<OpenFile, FileError> {
    let failed = |error: std::io::Error| FileError::io("reading", Path::new(found.path.as_str()), &error);
    right_length(found, file.metadata().map_err(failed)?.len())?;
    file.rewind().map_err(failed)?;
    let digests = digests(&mut vec![0; CHUNK], found, &mut file).map_err(failed)?;
    right_hashes(found, &digests)?;
    file.rewind().map_err(failed)?;
    Ok(OpenFile { file, target: found.target.clone() })
}

fn digests(buffer: &mut [u8], found: &Found, file: &mut File) -> std::io::Result<Digests> {
    let mut hasher = found.target.hashes.hasher();
    loop {
        let count = file.read(buffer)?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}

/// Refuses what is signed to be longer than the caller takes.
pub(super) fn within(found: &Found, max: u64) -> Result<(), FileError> {
    let (path, length) = (found.path.to_string(), found.target.length);
    if length > max { Err(FileError::TooLarge { path, length, max }) } else { Ok(()) }
}

/// Checks bytes in memory.
pub(super) fn check(found: &Proven, bytes: Vec<u8>) -> Result<VerifiedBytes, FileError> {
    right_length(found, u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    let path = found.path.to_string();
    found.target.hashes.check_bytes(&bytes).map_err(|mismatch| FileError::WrongHash { path, mismatch })?;
    Ok(VerifiedBytes { bytes, target: found.target.clone() })
}

fn right_length(found: &Found, length: u64) -> Result<(), FileError> {
    let expected = found.target.length;
    if length == expected {
        return Ok(());
    }
    Err(FileError::WrongLength { path: found.path.to_string(), found: length, expected })
}

fn right_hashes(found: &Found, digests: &Digests) -> Result<(), FileError> {
    let path = found.path.to_string();
    found.target.hashes.check(digests).map_err(|mismatch| FileError::WrongHash { path, mismatch })
}

/// What a finished download waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// The disk: the file stays what it is, even if the machine stops.
    Disk,
    /// Nothing.
    Never,
}

impl Flush {
    fn flush(self, file: &File) -> std::io::Result<()> {
        if self == Self::Disk { file.sync_data() } else { Ok(()) }
    }
}

/// A download under way: out of the user's sight until it is whole and checked.
pub(super) struct Spool<'a> {
    found: &'a Found,
    file: NamedTempFile,
    hasher: Hasher,
    length: u64,
    /// Bytes of all downloads together.
    count: &'a AtomicU64,
}

impl<'a> Spool<'a> {
    pub(super) fn new(found: &'a Found, dir: &Path, count: &'a AtomicU64) -> Result<Self, FileError> {
        let file = NamedTempFile::new_in(dir).map_err(|error| FileError::io("spooling to", dir, &error))?;
        Ok(Self { found, file, hasher: found.target.hashes.hasher(), length: 0, count })
    }

    /// Checks what came and moves it to `to`, replacing what is there. The open file is the one that was written.
    pub(super) fn finish(
        self,
        proven: &Proven,
        to: &Path,
        flush: Flush,
    ) -> Result<(VerifiedFile, OpenFile), FileError> {
        right_length(proven, self.length)?;
        right_hashes(proven, &self.hasher.finish())?;
        let failed = |error| FileError::io("writing", to, &error);
        let target = proven.target.clone();
        let open = match place(self.file, to, flush).map_err(failed)? {
            Placed::Moved(mut file) => {
                file.rewind().map_err(failed)?;
                OpenFile { file, target: target.clone() }
            }
            Placed::Copied(file) => check_open(proven, file)?,
        };
        let (inclusion, recorded) = (proven.inclusion().cloned(), proven.recorded().cloned());
        Ok((VerifiedFile { path: to.to_owned(), target, fetched: true, inclusion, recorded }, open))
    }
}

/// How a file came to its place.
enum Placed {
    /// It is the one that was spooled.
    Moved(File),
    /// It is a copy.
    Copied(File),
}

/// Moves the spooled file; across file systems, copies it beside the goal first. It is checked by now.
fn place(spooled: NamedTempFile, to: &Path, flush: Flush) -> std::io::Result<Placed> {
    let folder = match to.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    spooled.as_file().set_permissions(Permissions::from_mode(0o644))?;
    flush.flush(spooled.as_file())?;
    let spooled = match spooled.persist(to) {
        Ok(file) => return Ok(Placed::Moved(file)),
        Err(refused) if refused.error.kind() == ErrorKind::CrossesDevices => refused.file,
        Err(refused) => return Err(refused.error),
    };
    let mut copy = tempfile::Builder::new().prefix(".wheelseal-").tempfile_in(folder)?;
    std::io::copy(&mut spooled.reopen()?, &mut copy)?;
    copy.as_file().set_permissions(Permissions::from_mode(0o644))?;
    flush.flush(copy.as_file())?;
    copy.persist(to).map(Placed::Copied).map_err(|refused| refused.error)
}

impl Sink for Spool<'_> {
    fn restart(&mut self) -> std::io::Result<()> {
        self.file.as_file_mut().set_len(0)?;
        self.file.as_file_mut().rewind()?;
        self.hasher = self.found.target.hashes.hasher();
        self.count.fetch_sub(self.length, Ordering::Relaxed);
        self.length = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.length = self.length.saturating_add(more);
        self.count.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }
}
