//! Where bytes come from: a folder, or HTTP ([`super::http`]).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use super::http::Credentials;

/// Bytes read from a file at once.
const CHUNK: usize = 64 * 1024;

/// Why something could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The server or the way to it does not work, after all retries.
    #[error("fetching {url}: {reason}")]
    Network {
        /// What was fetched.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The server answered, but not with the file and not with "not found".
    #[error("fetching {url}: the server answered {status}")]
    Status {
        /// What was fetched.
        url: String,
        /// HTTP status code.
        status: u16,
    },
    /// Endless data: more than may come.
    #[error("fetching {url}: more than the {max} bytes expected")]
    TooLarge {
        /// What was fetched.
        url: String,
        /// Bytes allowed.
        max: u64,
    },
    /// Slow retrieval.
    #[error("fetching {url}: {received} bytes in {seconds} s, at least {needed} expected")]
    TooSlow {
        /// What was fetched.
        url: String,
        /// Bytes that came.
        received: u64,
        /// In this time.
        seconds: u64,
        /// Bytes that must come in that time.
        needed: u64,
    },
    /// A compressed body that does not decompress.
    #[error("fetching {url}: the body is no valid {encoding}")]
    Encoding {
        /// What was fetched.
        url: String,
        /// Content-Encoding.
        encoding: String,
    },
    /// Not a URL that can be used.
    #[error("{url:?} is no usable URL: {reason}")]
    BadUrl {
        /// What was given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// An address where nothing is fetched from.
    #[error("fetching {url}: {address} is this machine or in a private network")]
    OutOfReach {
        /// What was to be fetched.
        url: String,
        /// Where it is.
        address: IpAddr,
    },
    /// What came could not be written, or the local folder not read.
    #[error("{what} {path}: {reason}")]
    Local {
        /// Verb.
        what: &'static str,
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
}

impl FetchError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Network { .. } | Self::TooSlow { .. } => {
                Some("check the connection and the proxy variables, or try another mirror")
            }
            Self::TooLarge { .. } => {
                Some("the server sends other data than was signed; do not trust this mirror")
            }
            Self::OutOfReach { .. } => Some("if that is meant, say so with --allow-private"),
            _ => None,
        }
    }
}

/// Whether the file was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// All of it went into the sink.
    Whole,
    /// There is no such file.
    Absent,
}

/// Whether a file is given to who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// It is.
    Yes,
    /// There is none for them.
    No,
    /// To know it, one has to fetch it.
    Unsure,
}

/// Where fetched bytes go.
pub trait Sink: Send {
    /// Forgets what was written: a retry starts anew.
    fn restart(&mut self) -> std::io::Result<()>;
    /// Takes more bytes.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// Takes all bytes there are.
    fn write_whole(&mut self, bytes: Vec<u8>) -> std::io::Result<()> {
        self.write(&bytes)
    }
}

impl Sink for Vec<u8> {
    fn restart(&mut self) -> std::io::Result<()> {
        self.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn write_whole(&mut self, mut bytes: Vec<u8>) -> std::io::Result<()> {
        if self.is_empty() {
            *self = bytes;
        } else {
            self.append(&mut bytes);
        }
        Ok(())
    }
}

/// Files below some base. `path` is relative and `/`-separated; a metadata file's name has its role quoted already
/// (a folder keeps it so), a target's is plain (HTTP quotes it).
#[async_trait]
pub trait Source: Send + Sync + std::fmt::Debug {
    /// Writes the file to `sink`, at most `max_len` bytes: more is [`FetchError::TooLarge`]. One request, unless a
    /// connection fault or a server error is worth a retry. Bytes are not checked in any other way.
    async fn fetch(&self, path: &str, max_len: u64, sink: &mut dyn Sink) -> Result<Fetched, FetchError>;

    /// The same for one who holds an older version of the file: the server may then send what changed alone. Whatever
    /// is odd about such an answer, the whole file is fetched instead, by a second request.
    async fn fetch_newer(
        &self,
        path: &str,
        max_len: u64,
        held: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<Fetched, FetchError> {
        let _ = held;
        self.fetch(path, max_len, sink).await
    }

    /// Whether the file, which has `length` bytes, is given to who asks. Nothing of it is checked.
    async fn gives(&self, path: &str, length: u64) -> Result<Given, FetchError> {
        let _ = (path, length);
        Ok(Given::Unsure)
    }

    /// The same files, asked for with these credentials and with no others. `None`: nobody is asked for any here.
    fn showing(&self, credentials: &Credentials) -> Option<Arc<dyn Source>> {
        let _ = credentials;
        None
    }
}

/// A folder, laid out as the server's.
#[derive(Debug, Clone)]
pub struct DirSource {
    base: PathBuf,
}

impl DirSource {
    /// Files below `base`.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into() }
    }
}

#[async_trait]
impl Source for DirSource {
    async fn fetch(&self, path: &str, max_len: u64, sink: &mut dyn Sink) -> Result<Fetched, FetchError> {
        let full = self.base.join(path);
        let local = |what, error: &std::io::Error| FetchError::Local {
            what,
            path: full.display().to_string(),
            reason: error.to_string(),
        };
        let mut file = match File::open(&full) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Fetched::Absent);
            }
            Err(error) => return Err(local("opening", &error)),
        };
        let mut buffer = vec![0; CHUNK];
        let mut total = 0_u64;
        loop {
            let count = file.read(&mut buffer).map_err(|error| local("reading", &error))?;
            if count == 0 {
                return Ok(Fetched::Whole);
            }
            total = total.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            if total > max_len {
                return Err(FetchError::TooLarge { url: full.display().to_string(), max: max_len });
            }
            sink.write(buffer.get(..count).unwrap_or_default()).map_err(|error| local("spooling", &error))?;
        }
    }

    /// This user may read it, or not; whoever asks, it is this user who reads.
    async fn gives(&self, path: &str, _: u64) -> Result<Given, FetchError> {
        Ok(if self.base.join(path).is_file() { Given::Yes } else { Given::No })
    }
}
