//! One file of the index: fetched, hashed, held against what the index says of it, and read if it can be.
//!
//! A file that is not what was promised is fetched once more before it is called a conflict: connections are cut off more
//! often than indexes lie. Its metadata file comes first, for it is small: an index that fails fails early.

use std::io::{BufReader, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tempfile::NamedTempFile;
use tokio::time::timeout;

use super::compare::Wanted;
use super::conflict::{Conflict, Fingerprint, Source};
use crate::client::{FetchError, Fetched, Sink};
use crate::crawl::Reader;
use crate::crypto::{Hasher, sha256};
use crate::python::{
    ArchiveLimits, DistributionFilename, FreeText, Inspected, Kind, Offer, Sha256Hex, inspect,
};

/// Time for one file with its metadata, at most: whatever comes slower is given up, and tried again in another round.
const MAX_TIME: Duration = Duration::from_mins(30);

/// Fetches files; any number at once.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    pub(super) reader: Arc<Reader>,
    /// Bytes of a file, at most.
    pub(super) max_file: u64,
    /// Where files lie until they are recorded.
    pub(super) spool: PathBuf,
}

/// What came of a file.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) conflicts: Vec<Conflict>,
    pub(super) fate: Fate,
}

#[derive(Debug)]
pub(super) enum Fate {
    /// It can be recorded.
    Taken(Box<Taken>),
    /// It is not recorded, and will not be as long as the page stays as it is.
    LeftOut(String),
    /// Another round has to try again.
    Waits(String),
}

/// A file whose bytes were seen.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) offer: Offer,
    pub(super) sha256: Sha256Hex,
    pub(super) size: u64,
    pub(super) requires_python: Option<FreeText>,
    /// Its metadata file, hashed, with its bytes.
    pub(super) metadata: Option<(Sha256Hex, Vec<u8>)>,
    /// The bytes.
    pub(super) copy: NamedTempFile,
    /// Why it is recorded by its name, length and hash alone.
    pub(super) unread: Option<String>,
}

/// Bytes on their way to a file, hashed.
struct Spool {
    file: NamedTempFile,
    hasher: Hasher,
    size: u64,
}

/// Bytes that came.
struct Came {
    file: NamedTempFile,
    content: Fingerprint,
    size: u64,
}

/// Why there are none to be used.
enum Missing {
    Absent,
    /// They are not what was promised.
    Wrong(Fingerprint),
    TooLarge,
    /// It is where nothing is fetched from.
    OutOfReach(String),
    Failed(String),
}

impl Fetcher {
    /// Fetches and judges a file.
    pub(super) async fn fetch(&self, wanted: Wanted) -> Outcome {
        let shown = format!("{}: {}", wanted.offer.filename.project(), wanted.offer.filename);
        let mut conflicts = Vec::new();
        let fate = match timeout(MAX_TIME, self.judge(wanted, &mut conflicts)).await {
            Ok(Ok(taken)) => Fate::Taken(Box::new(taken)),
            Ok(Err(Fate::LeftOut(why))) => Fate::LeftOut(format!("{shown}: {why}")),
            Ok(Err(Fate::Waits(why))) => Fate::Waits(format!("{shown}: {why}")),
            Ok(Err(taken)) => taken,
            Err(_) => Fate::Waits(format!("{shown}: it took more than {} s", MAX_TIME.as_secs())),
        };
        Outcome { conflicts, fate }
    }

    async fn judge(&self, wanted: Wanted, conflicts: &mut Vec<Conflict>) -> Result<Taken, Fate> {
        let Wanted { offer, url } = wanted;
        let max = self.max_file;
        let too_large = || Fate::LeftOut(format!("it has more than {max} bytes"));
        if offer.size.is_some_and(|size| size > max) {
            return Err(too_large());
        }
        let listed = self.metadata(&offer, &url, conflicts).await?;
        let came = match self.twice(&url, offer.sha256.as_ref(), offer.size, max).await {
            Ok(came) => came,
            Err(Missing::Wrong(found)) => {
                conflicts.extend(broken_promise(&offer, found));
                return Err(Fate::Waits("its bytes are not what the index says of them".to_owned()));
            }
            Err(Missing::TooLarge) if offer.size.is_none() => return Err(too_large()),
            Err(Missing::TooLarge) => return Err(Fate::Waits(format!("{url} sends more than {max} bytes"))),
            Err(Missing::OutOfReach(why)) => return Err(Fate::LeftOut(why)),
            Err(Missing::Absent) => return Err(Fate::Waits(format!("{url} does not exist"))),
            Err(Missing::Failed(why)) => return Err(Fate::Waits(why)),
        };
        let (inspected, file) = read(offer.filename.clone(), came.file).await.map_err(Fate::Waits)?;
        let mut taken = Taken {
            requires_python: offer.requires_python.clone(),
            sha256: came.content.sha256,
            size: came.size,
            metadata: listed,
            copy: file,
            unread: None,
            offer,
        };
        match inspected {
            Err(why) => taken.unread = Some(why),
            Ok(inspected) => taken.is_read(inspected, conflicts)?,
        }
        Ok(taken)
    }

    /// The metadata file that the page promises, if it is there and is what was promised.
    async fn metadata(
        &self,
        offer: &Offer,
        url: &Url,
        conflicts: &mut Vec<Conflict>,
    ) -> Result<Option<(Sha256Hex, Vec<u8>)>, Fate> {
        let Some(sha256) = &offer.metadata else { return Ok(None) };
        let mut at = url.clone();
        at.set_path(&format!("{}.metadata", url.path()));
        at.set_fragment(None);
        let max = u64::try_from(ArchiveLimits::default().metadata_bytes).unwrap_or(u64::MAX);
        match self.twice(&at, Some(sha256), None, max).await {
            Ok(came) => {
                let bytes =
                    std::fs::read(came.file.path()).map_err(|error| Fate::Waits(error.to_string()))?;
                Ok(Some((came.content.sha256, bytes)))
            }
            Err(Missing::Wrong(found)) => {
                conflicts.push(Conflict::of_metadata(&offer.filename, Source::Bytes, sha256, found));
                Ok(None)
            }
            // What is not there contradicts nothing, and what is too large is nobody's metadata.
            Err(Missing::Absent | Missing::TooLarge | Missing::OutOfReach(_)) => Ok(None),
            Err(Missing::Failed(why)) => Err(Fate::Waits(why)),
        }
    }

    /// Fetches, and once more if it is not what was promised.
    async fn twice(
        &self,
        url: &Url,
        sha256: Option<&Sha256Hex>,
        size: Option<u64>,
        max: u64,
    ) -> Result<Came, Missing> {
        match self.once(url, sha256, size, max).await {
            Err(Missing::Wrong(_)) => self.once(url, sha256, size, max).await,
            done => done,
        }
    }

    async fn once(
        &self,
        url: &Url,
        sha256: Option<&Sha256Hex>,
        size: Option<u64>,
        max: u64,
    ) -> Result<Came, Missing> {
        let mut spool = Spool::new(&self.spool).map_err(|error| Missing::Failed(error.to_string()))?;
        match self.reader.http().file(url.as_str(), max, &mut spool).await {
            Ok(Fetched::Whole) => {}
            Ok(Fetched::Absent) => return Err(Missing::Absent),
            Err(FetchError::TooLarge { .. }) => return Err(Missing::TooLarge),
            Err(error @ (FetchError::BadUrl { .. } | FetchError::OutOfReach { .. })) => {
                return Err(Missing::OutOfReach(error.to_string()));
            }
            Err(error) => return Err(Missing::Failed(error.to_string())),
        }
        let came = spool.finish().map_err(Missing::Failed)?;
        let wrong_hash = sha256.is_some_and(|sha256| *sha256 != came.content.sha256);
        if wrong_hash || size.is_some_and(|size| size != came.size) {
            return Err(Missing::Wrong(came.content));
        }
        Ok(came)
    }
}

impl Taken {
    /// Takes what the archive itself says. A wheel's metadata is what lies in it, whatever the index says.
    fn is_read(&mut self, inspected: Inspected, conflicts: &mut Vec<Conflict>) -> Result<(), Fate> {
        let Inspected { metadata, metadata_bytes } = inspected;
        self.requires_python = metadata.requires_python.map(|requires| requires.text().clone());
        if !matches!(self.offer.filename.kind(), Kind::Wheel { .. }) {
            return Ok(());
        }
        let own = digest(&sha256(&metadata_bytes)).map_err(Fate::Waits)?;
        if let Some(listed) = self.offer.metadata.as_ref().filter(|listed| **listed != own) {
            let length = u64::try_from(metadata_bytes.len()).ok();
            let found = Fingerprint { length, sha256: own.clone() };
            conflicts.push(Conflict::of_metadata(&self.offer.filename, Source::Bytes, listed, found));
        }
        self.metadata = Some((own, metadata_bytes));
        Ok(())
    }
}

/// That the bytes are not those that the page lists. Without a hash the page promises nothing but a length.
fn broken_promise(offer: &Offer, found: Fingerprint) -> Option<Conflict> {
    let sha256 = offer.sha256.clone()?;
    let expected = Fingerprint { length: offer.size, sha256 };
    Some(Conflict::of_file(&offer.filename, Source::Bytes, expected, found))
}

/// What the archive says, or why it is not read, and the file back.
async fn read(
    filename: DistributionFilename,
    mut file: NamedTempFile,
) -> Result<(Result<Inspected, String>, NamedTempFile), String> {
    let reading = tokio::task::spawn_blocking(move || {
        let inspected = match file.as_file_mut().rewind() {
            Ok(()) => inspect(&filename, BufReader::new(file.as_file()), &ArchiveLimits::default())
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        (inspected, file)
    });
    reading.await.map_err(|error| error.to_string())
}

impl Spool {
    fn new(folder: &std::path::Path) -> std::io::Result<Self> {
        Ok(Self { file: NamedTempFile::new_in(folder)?, hasher: Hasher::new(false), size: 0 })
    }

    fn finish(mut self) -> Result<Came, String> {
        self.file.as_file_mut().flush().map_err(|error| error.to_string())?;
        let sha256 = digest(&self.hasher.finish().sha256)?;
        let content = Fingerprint { length: Some(self.size), sha256 };
        Ok(Came { file: self.file, content, size: self.size })
    }
}

impl Sink for Spool {
    fn restart(&mut self) -> std::io::Result<()> {
        self.file.as_file_mut().rewind()?;
        self.file.as_file_mut().set_len(0)?;
        (self.hasher, self.size) = (Hasher::new(false), 0);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.size = self.size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.file.as_file_mut().write_all(bytes)
    }
}

fn digest(bytes: &[u8; 32]) -> Result<Sha256Hex, String> {
    hex::encode(bytes).parse::<Sha256Hex>().map_err(|error| error.to_string())
}
