//! A large file on its way: it can be read while it comes, but for its end.
//!
//! ```text
//! Arrival::run   server ──▶ spool ──▶ length and hashes right? ──▶ its place
//! Arriving::next              └─ all but the last HELD_BACK bytes ─▶ … and then these
//! ```
//!
//! Nobody gets a complete file that is not what was signed: its last bytes are read only after all of it was checked. What was
//! read before is of no use, and whoever passes it on must end so that this is noticed. After an interruption the file comes
//! anew; then each byte that may have been read must be the same again, or readers would hold a mixture of two files.

use std::fs::File;
use std::io::Seek;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tempfile::NamedTempFile;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::{FileError, Flush, Spool, place, right_hashes, right_length};
use crate::client::source::Sink;
use crate::client::{Client, ClientError, Proven};
use crate::tuf::metadata::TargetFile;

/// Bytes at the end of a file that nobody reads before all of it is checked. Any number keeps it from being complete; this
/// one also keeps back the table at the end of a wheel.
const HELD_BACK: u64 = 64 * 1_024;
/// Bytes that are read at once, at most.
const CHUNK: u64 = 256 * 1_024;

/// What is known of a file.
#[derive(Debug, Clone)]
enum State {
    /// So many of its bytes came.
    Coming(u64),
    /// All came, and were checked.
    Right,
    /// It is not the file, or it did not come.
    Wrong(ClientError),
}

/// Reads a file while it comes, as the module says.
#[derive(Debug)]
pub struct Arriving {
    file: Arc<File>,
    target: TargetFile,
    path: String,
    at: u64,
    state: watch::Receiver<State>,
}

impl Arriving {
    /// Length and hashes that were signed.
    pub fn target(&self) -> &TargetFile {
        &self.target
    }

    /// Another reader of the same, from its first byte. None, if there is no more to come and it is not the file.
    pub fn again(&self) -> Option<Self> {
        let (file, state) = (Arc::clone(&self.file), self.state.clone());
        let over = match &*state.borrow() {
            State::Coming(_) => state.has_changed().is_err(),
            State::Right => false,
            State::Wrong(_) => true,
        };
        (!over).then(|| Self { file, target: self.target.clone(), path: self.path.clone(), at: 0, state })
    }

    /// Waits until there is more to read, or the end is reached. An error says why there will be no more.
    pub async fn more(&mut self) -> Result<(), ClientError> {
        while self.readable()? == self.at && self.at < self.target.length {
            self.changed().await?;
        }
        Ok(())
    }

    /// The next bytes; none at the end. After an error there are no more.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        self.more().await?;
        let count = self.readable()?.saturating_sub(self.at).min(CHUNK);
        if count == 0 {
            return Ok(None);
        }
        let (file, at) = (Arc::clone(&self.file), self.at);
        let read = spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
            file.read_exact_at(&mut bytes, at).map(|()| bytes)
        });
        let bytes = read.await.map_err(|error| self.io(&error))?.map_err(|error| self.io(&error))?;
        self.at = self.at.saturating_add(count);
        Ok(Some(bytes))
    }

    /// How many bytes, from the first, may be read.
    fn readable(&mut self) -> Result<u64, ClientError> {
        let length = self.target.length;
        match &*self.state.borrow_and_update() {
            State::Coming(came) => Ok((*came).min(length.saturating_sub(HELD_BACK))),
            State::Right => Ok(length),
            State::Wrong(error) => Err(error.clone()),
        }
    }

    async fn changed(&mut self) -> Result<(), ClientError> {
        let changed = self.state.changed().await;
        changed.map_err(|_| self.io(&"fetching it was given up"))
    }

    fn io(&self, reason: &impl ToString) -> ClientError {
        let (path, reason) = (self.path.clone(), reason.to_string());
        FileError::Io { what: "reading", path, reason }.into()
    }
}

/// Fetches a file that is read meanwhile.
#[derive(Debug)]
pub struct Arrival {
    client: Client,
    found: Proven,
    consistent: bool,
    file: NamedTempFile,
    state: watch::Sender<State>,
}

impl Arrival {
    pub(in crate::client) fn begin(
        client: &Client,
        found: &Proven,
        consistent: bool,
    ) -> Result<(Arriving, Self), ClientError> {
        let dir = client.cache.spool()?;
        let failed = |error: std::io::Error| FileError::io("spooling to", &dir, &error);
        let file = NamedTempFile::new_in(&dir).map_err(failed)?;
        let (sender, state) = watch::channel(State::Coming(0));
        let arriving = Arriving {
            file: Arc::new(file.as_file().try_clone().map_err(failed)?),
            target: found.target.clone(),
            path: found.path.to_string(),
            at: 0,
            state,
        };
        let (client, found) = (client.clone(), found.clone());
        Ok((arriving, Self { client, found, consistent, file, state: sender }))
    }

    /// Fetches and checks it, and moves it to `to`. `ended` is called once, before any reader learns how it ended.
    pub async fn run(self, to: &Path, ended: impl FnOnce(Option<&ClientError>)) {
        let Self { client, found, consistent, file, state } = self;
        let spool = Spool {
            found: &found,
            file,
            hasher: found.target.hashes.hasher(),
            length: 0,
            count: &AtomicU64::new(0),
        };
        let mut sink = Readable { spool, high: 0, changed: false, state: &state };
        let fetched = client.fetch_target(&found, consistent, &mut sink).await;
        match sink.check(fetched) {
            Err(error) => {
                ended(Some(&error));
                state.send_replace(State::Wrong(error));
            }
            Ok(file) => {
                ended(None);
                state.send_replace(State::Right);
                let to = to.to_owned();
                // Without it, the file is fetched once more when somebody asks again.
                drop(spawn_blocking(move || place(file, &to, Flush::Never)).await);
            }
        }
    }
}

/// A spool that others read from.
struct Readable<'a> {
    spool: Spool<'a>,
    /// So many bytes were there at some time, and may have been read.
    high: u64,
    /// Some of them came otherwise later.
    changed: bool,
    state: &'a watch::Sender<State>,
}

impl Readable<'_> {
    fn check(self, fetched: Result<(), ClientError>) -> Result<NamedTempFile, ClientError> {
        let Spool { found, file, hasher, length, .. } = self.spool;
        if self.changed {
            return Err(FileError::Changed { path: found.path.to_string() }.into());
        }
        fetched?;
        right_length(found, length)?;
        right_hashes(found, &hasher.finish())?;
        Ok(file)
    }

    /// Whether those of the bytes that came before were the same.
    fn same(&self, bytes: &[u8]) -> std::io::Result<bool> {
        let known = usize::try_from(self.high.saturating_sub(self.spool.length)).unwrap_or(usize::MAX);
        let Some(bytes) = bytes.get(..known.min(bytes.len())) else { return Ok(true) };
        let mut before = vec![0; bytes.len()];
        self.spool.file.as_file().read_exact_at(&mut before, self.spool.length)?;
        Ok(before == bytes)
    }
}

impl Sink for Readable<'_> {
    /// What was written stays, for those who read it.
    fn restart(&mut self) -> std::io::Result<()> {
        self.spool.file.as_file_mut().rewind()?;
        self.spool.hasher = self.spool.found.target.hashes.hasher();
        self.spool.length = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if !self.same(bytes)? {
            self.changed = true;
            return Err(std::io::Error::other("other bytes than before"));
        }
        self.spool.write(bytes)?;
        if self.spool.length > self.high {
            self.high = self.spool.length;
            self.state.send_replace(State::Coming(self.high));
        }
        Ok(())
    }
}
