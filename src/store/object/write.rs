//! One conditional write, with its attempts.
//!
//! Every attempt ends in one of five ways, and only the first two are certain at once:
//!
//! | end | what follows |
//! |---|---|
//! | done | the new tag |
//! | the condition failed | refused; but if an earlier attempt's end is unknown, see below |
//! | the server was busy with another write (409), or was not reached | this attempt wrote nothing: try again |
//! | unknown: no answer, or 5xx | try again; it may have been done |
//! | no right, no bucket | an error; if an earlier attempt's end is unknown, see below |
//!
//! **Whose write is there?** Each write draws a number and leaves it with the object, as metadata, before the numbers of
//! the writes that it follows: its *line*. A tag is the line and the server's `ETag`. After a doubt the object is read back.
//! If our number is in its line, our write was done, even if others have followed since. If the number that we expected to
//! follow is in the line and ours is not, our write was never done. Otherwise, more than [`MAX_LINE`] writes came between or
//! the object is gone, and the end is unknown. Ceph needs this daily: of several writers at once it tells the slower ones
//! 500, not 412.

use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use object_store::{
    Attribute, Attributes, GetResult, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};
use tokio::time::{sleep, timeout};

use super::fault::{Context, fault_of, words};
use super::open::Kind;
use super::{EtagQuotes, ObjectStore, Probed};
use crate::store::{Fault, StoreError, StorePath, Tag};

/// Attempts at one write, at most: with the pauses between them about six seconds on a server that answers at once.
const MAX_ATTEMPTS: u32 = 7;

/// The first pause between two attempts; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Time for one attempt, at most: 32 MiB at half a megabyte a second.
const MAX_TIME: Duration = Duration::from_mins(1);

/// Readings of what is there after a write of unknown end, at most: a server that still shows what was before may need
/// a moment.
const MAX_READINGS: u32 = 3;

/// Numbers in a line, at most: 17 bytes each, and S3 takes 2 kB of metadata.
const MAX_LINE: usize = 32;

/// Metadata of an object: its line. Letters alone, as Azure wants it.
const LINE: &str = "wheelsealline";

/// What must be there for the write to happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition<'a> {
    /// Nothing. A refusal is [`StoreError::Exists`].
    Absent,
    /// This version. A refusal is [`StoreError::Conflict`].
    Is(&'a Tag),
}

/// How one attempt ended, if not well.
enum End {
    Refused,
    Busy(StoreError),
    Unknown(StoreError),
    Failed(StoreError),
}

impl ObjectStore {
    /// Writes the object if the condition holds, and returns its new tag.
    pub(super) async fn put(
        &self,
        path: &StorePath,
        payload: &PutPayload,
        condition: Condition<'_>,
        probed: Probed,
    ) -> Result<Tag, StoreError> {
        let number = random();
        let line = match condition {
            Condition::Absent => number.clone(),
            Condition::Is(tag) => {
                let before = line_of(tag).split(',').filter(|before| !before.is_empty());
                [number.as_str()].into_iter().chain(before).take(MAX_LINE).collect::<Vec<_>>().join(",")
            }
        };
        let write = Write { store: self, path, payload, condition, number, line, probed };
        let mut doubt = None;
        let mut last = None;
        for attempt in 0..MAX_ATTEMPTS {
            if let Some(before) = attempt.checked_sub(1) {
                sleep(FIRST_PAUSE * 2_u32.saturating_pow(before)).await;
            }
            match write.attempt().await {
                Ok(tag) => return Ok(tag),
                Err(End::Busy(error)) => last = Some(error),
                Err(End::Unknown(error)) => doubt = Some(error),
                Err(End::Refused) => return write.settle(doubt, condition.refused(path)).await,
                Err(End::Failed(error)) => return write.settle(doubt, error).await,
            }
        }
        let context = Context { what: "write", path: path.as_str() };
        let gave_up = context.because(Fault::Failed, "every attempt failed");
        let last = doubt.clone().or(last).unwrap_or(gave_up);
        write.settle(doubt, last).await
    }
}

impl Condition<'_> {
    fn refused(self, path: &StorePath) -> StoreError {
        match self {
            Self::Absent => StoreError::Exists { path: path.clone() },
            Self::Is(_) => StoreError::Conflict { path: path.clone() },
        }
    }
}

struct Write<'a> {
    store: &'a ObjectStore,
    path: &'a StorePath,
    payload: &'a PutPayload,
    condition: Condition<'a>,
    /// This write's own, on every attempt the same.
    number: String,
    /// The same with those before it.
    line: String,
    probed: Probed,
}

impl Write<'_> {
    async fn attempt(&self) -> Result<Tag, End> {
        let context = Context { what: "write", path: self.path.as_str() };
        let key = self.store.key(self.path.as_str()).map_err(End::Failed)?;
        let put = self.store.inner.writes.put_opts(&key, self.payload.clone(), self.options());
        let late = || context.because(Fault::Failed, &format!("no answer in {} s", MAX_TIME.as_secs()));
        let done = timeout(MAX_TIME, put).await.map_err(|_| End::Unknown(late()))?;
        let done = done.map_err(|error| self.end_of(&error, context))?;
        let tag = self.store.tag(&self.line, done.e_tag, done.version);
        tag.ok_or_else(|| End::Unknown(context.because(Fault::Unsafe, "the server gave no ETag")))
    }

    fn options(&self) -> PutOptions {
        let mode = match self.condition {
            Condition::Absent => PutMode::Create,
            Condition::Is(tag) => {
                let etag = match self.probed.etag_quotes {
                    EtagQuotes::Keep => etag_of(tag),
                    EtagQuotes::Strip => etag_of(tag).trim_matches('"'),
                };
                PutMode::Update(UpdateVersion {
                    e_tag: Some(etag.to_owned()),
                    version: Some(etag_of(tag).to_owned()),
                })
            }
        };
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::ContentType, content_type(self.path).into());
        attributes.insert(Attribute::Metadata(LINE.into()), self.line.clone().into());
        PutOptions { mode, attributes, ..PutOptions::default() }
    }

    fn end_of(&self, error: &object_store::Error, context: Context<'_>) -> End {
        use object_store::Error as E;
        let create = matches!(self.condition, Condition::Absent);
        let amazon = self.store.inner.kind == Kind::Amazon;
        match error {
            E::Precondition { .. } | E::NotModified { .. } => End::Refused,
            // The crate gives this name to 409 too. On S3 that means: busy with another write of this object.
            E::AlreadyExists { source, .. } if amazon && !source.is::<E>() => End::Busy(context.error(error)),
            E::AlreadyExists { .. } if create => End::Refused,
            E::AlreadyExists { .. } => End::Busy(context.error(error)),
            E::NotFound { .. } if !create && fault_of(error) == Fault::NoObject => End::Refused,
            E::Generic { .. } if never_sent(error) => End::Busy(context.error(error)),
            E::Generic { .. } if fault_of(error) == Fault::Failed => End::Unknown(context.error(error)),
            _ => End::Failed(context.error(error)),
        }
    }

    /// The outcome of a write that did not end well, after an attempt in `doubt` if there was one: whose write is there?
    async fn settle(&self, doubt: Option<StoreError>, otherwise: StoreError) -> Result<Tag, StoreError> {
        let Some(doubt) = doubt else { return Err(otherwise) };
        let context = Context { what: "write", path: self.path.as_str() };
        let unknown =
            |message: &str| Err(context.because(Fault::Unknown, &format!("{message}; before: {doubt}")));
        for reading in 0..MAX_READINGS {
            if reading > 0 {
                sleep(FIRST_PAUSE * 4).await;
            }
            let found = match self.read_back().await {
                Ok(found) => found,
                Err(error) => return unknown(&words(&error)),
            };
            // Nothing, or what was there before: the server may show an older state.
            let Some(tag) = found else { continue };
            let has = |number: &str| line_of(&tag).split(',').any(|other| other == number);
            if has(&self.number) {
                return Ok(tag);
            }
            match self.condition {
                Condition::Is(expected) if tag == *expected => {}
                Condition::Is(expected) if has(head_of(expected)) => {
                    return Err(self.condition.refused(self.path));
                }
                Condition::Absent => return Err(self.condition.refused(self.path)),
                Condition::Is(_) => return unknown("an answer was lost, and many others have written since"),
            }
        }
        match otherwise {
            StoreError::Server { .. } => Err(otherwise),
            _ => unknown("an answer was lost, and the server contradicts itself on what is there"),
        }
    }

    /// The tag of what is there now.
    async fn read_back(&self) -> object_store::Result<Option<Tag>> {
        let Ok(key) = self.store.key(self.path.as_str()) else { return Ok(None) };
        match self.store.inner.reads.get(&key).await {
            Ok(found) => Ok(self.store.tag_of(&found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl ObjectStore {
    /// The tag of an object with that line.
    fn tag(&self, line: &str, etag: Option<String>, version: Option<String>) -> Option<Tag> {
        let named = if self.inner.kind == Kind::Google { version } else { etag };
        named.map(|etag| Tag::new(format!("{line} {etag}")))
    }

    /// The tag of an object as it was read. Objects that others put there have no line.
    pub(super) fn tag_of(&self, found: &GetResult) -> Option<Tag> {
        let line = found.attributes.get(&Attribute::Metadata(LINE.into())).map_or("", AsRef::as_ref);
        self.tag(line, found.meta.e_tag.clone(), found.meta.version.clone())
    }
}

fn line_of(tag: &Tag) -> &str {
    tag.as_str().split_once(' ').map_or("", |(line, _)| line)
}

/// The number of the write that a tag stands for; one that no line has, if it has none.
fn head_of(tag: &Tag) -> &str {
    line_of(tag).split(',').next().filter(|head| !head.is_empty()).unwrap_or("-")
}

fn etag_of(tag: &Tag) -> &str {
    tag.as_str().split_once(' ').map_or("", |(_, etag)| etag)
}

/// Whether the server was not even reached.
fn never_sent(error: &object_store::Error) -> bool {
    let mut cause = error.source();
    while let Some(next) = cause {
        if next.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect) {
            return true;
        }
        cause = next.source();
    }
    false
}

/// 64 bits that no other write of the same object is likely to have.
pub(super) fn random() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// By the ending, for buckets that are served as they are.
pub(super) fn content_type(path: &StorePath) -> &'static str {
    match path.as_str().rsplit_once('.') {
        Some((_, "json")) => "application/json",
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "toml" | "metadata")) => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
