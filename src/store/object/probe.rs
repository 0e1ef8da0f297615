//! Does the server keep its conditions? Tried out on objects of its own, before anything of value is written.
//!
//! Servers that ignore `If-Match` or `If-None-Match` answer 200 and lose one of two publications without a word. Others
//! look first and write then, which is as bad as soon as two come at once. Both have been seen in servers that claim to
//! speak S3, and in proxies before those that do. So each condition is tried: first alone, then by many at once.
//!
//! Some servers compare an `ETag` with the quotes that it was sent with, some without; that is found out here too.

use std::fs;
use std::path::Path;

use futures_util::future::join_all;
use object_store::PutPayload;
use serde::{Deserialize, Serialize};

use super::fault::Context;
use super::write::{Condition, random};
use super::{Key, ObjectStore, ObjectStoreExt};
use crate::crypto::sha256;
use crate::store::{Fault, Store, StoreError, StorePath, Tag};

/// Where the objects of a probe lie. What a killed one leaves is never listed as an object of the store.
pub(super) const FOLDER: &str = "staging/probe/";

/// Writers at once in a race, and races of each kind: a server that looks first and writes then fails one in two or
/// more of them, as measured, so that eight miss it once in some hundred.
const WRITERS: u8 = 12;
const ROUNDS: u32 = 8;

/// How the `ETag` is written in `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EtagQuotes {
    /// As it came: what the standard says.
    Keep,
    /// Without its quotes, as Ceph 16 and some hosted services want it.
    Strip,
}

/// What a probe found out about a server that keeps its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// How it wants entity tags.
    pub etag_quotes: EtagQuotes,
}

impl Probed {
    /// What an earlier process remembered, if it is readable: otherwise the probe is repeated.
    pub(super) fn recall(memory: &Path) -> Option<Self> {
        toml::from_str(&fs::read_to_string(memory).ok()?).ok()
    }

    fn remember(self, memory: &Path) -> std::io::Result<()> {
        fs::create_dir_all(memory.parent().unwrap_or(Path::new(".")))?;
        fs::write(memory, toml::to_string(&self).map_err(std::io::Error::other)?)
    }
}

/// The name of the file that remembers a server.
pub(super) fn file_name(identity: &str) -> String {
    let digest = sha256(identity.as_bytes()).map(|byte| format!("{byte:02x}")).concat();
    format!("{digest}.toml")
}

impl ObjectStore {
    /// Tries out whether the server keeps the conditions that [`Store::create`] and [`Store::swap`] rest on, and remembers
    /// that it does. [`Fault::Unsafe`] says which condition it does not keep: nothing must be written there.
    pub async fn probe(&self) -> Result<Probed, StoreError> {
        let folder = format!("{FOLDER}{}", random());
        let probe = Probe { store: self, folder };
        let found = probe.all().await;
        probe.clean().await;
        let probed = found?;
        if let Some(memory) = &self.inner.memory {
            let failed = |error| StoreError::io("write", memory.display(), &error);
            probed.remember(memory).map_err(failed)?;
        }
        Ok(probed)
    }
}

struct Probe<'a> {
    store: &'a ObjectStore,
    folder: String,
}

impl Probe<'_> {
    async fn all(&self) -> Result<Probed, StoreError> {
        let path = self.path("alone")?;
        let any = Probed { etag_quotes: EtagQuotes::Keep };
        let first = self.put(&path, "1", Condition::Absent, any).await?;
        self.refused(&path, Condition::Absent, any, "it replaced an object that was to be created").await?;
        let (probed, second) = self.quotes(&path, &first).await?;
        let stale = "it replaced an object that had changed since it was read";
        self.refused(&path, Condition::Is(&first), probed, stale).await?;
        self.reads_back(&path, "2").await?;
        if self.store.get(&path, 100).await?.is_none_or(|object| object.tag != second) {
            return Err(self.fails("it does not keep an object's metadata, or its ETag changes by itself"));
        }

        self.store.delete(&path).await?;
        let absent = "it replaced an object that was not there";
        self.refused(&path, Condition::Is(&first), probed, absent).await?;
        for round in 0..ROUNDS {
            self.race(round, probed).await?;
        }
        Ok(probed)
    }

    /// A swap, and the way of writing an `ETag` in which the server recognises its own.
    async fn quotes(&self, path: &StorePath, tag: &Tag) -> Result<(Probed, Tag), StoreError> {
        for etag_quotes in [EtagQuotes::Keep, EtagQuotes::Strip] {
            let probed = Probed { etag_quotes };
            match self.put(path, "2", Condition::Is(tag), probed).await {
                Ok(tag) => return Ok((probed, tag)),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.fails("it does not recognise the ETag that it gave itself"))
    }

    /// Many creators at once, then many that swap what the winner wrote.
    async fn race(&self, round: u32, probed: Probed) -> Result<(), StoreError> {
        let path = self.path(&format!("race-{round}"))?;
        let several = "it let several writers win who created one object at once";
        let tag = self.one_winner(&path, Condition::Absent, probed, several).await?;
        let several = "it let several writers win who replaced one object at once";
        self.one_winner(&path, Condition::Is(&tag), probed, several).await.map(drop)
    }

    async fn one_winner(
        &self,
        path: &StorePath,
        condition: Condition<'_>,
        probed: Probed,
        several: &'static str,
    ) -> Result<Tag, StoreError> {
        // No bytes twice: an ETag may be a hash of them, and the same bytes again would leave it as it was.
        let writers: Vec<String> = (0..WRITERS).map(|_| random()).collect();
        let raced = join_all(writers.iter().map(|bytes| self.put(path, bytes, condition, probed))).await;
        let mut winner = None;
        for (bytes, outcome) in writers.iter().zip(raced) {
            match outcome {
                Ok(_) if winner.is_some() => return Err(self.fails(several)),
                Ok(tag) => winner = Some((bytes, tag)),
                Err(StoreError::Exists { .. } | StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let (bytes, tag) = winner.ok_or_else(|| self.fails("of several writers at once it let none win"))?;
        self.reads_back(path, bytes).await?;
        Ok(tag)
    }

    async fn refused(
        &self,
        path: &StorePath,
        condition: Condition<'_>,
        probed: Probed,
        otherwise: &'static str,
    ) -> Result<(), StoreError> {
        match self.put(path, "x", condition, probed).await {
            Ok(_) => Err(self.fails(otherwise)),
            Err(StoreError::Exists { .. } | StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn reads_back(&self, path: &StorePath, bytes: &str) -> Result<(), StoreError> {
        let found = self.store.get(path, 100).await?;
        if found.is_some_and(|object| object.bytes == bytes.as_bytes()) {
            return Ok(());
        }
        Err(self.fails("it does not show at once what was written last"))
    }

    async fn put(
        &self,
        path: &StorePath,
        bytes: &str,
        condition: Condition<'_>,
        probed: Probed,
    ) -> Result<Tag, StoreError> {
        self.store.put(path, &PutPayload::from(bytes.as_bytes().to_vec()), condition, probed).await
    }

    fn path(&self, name: &str) -> Result<StorePath, StoreError> {
        StorePath::new(format!("{}/{name}", self.folder))
    }

    fn fails(&self, why: &str) -> StoreError {
        Context { what: "use", path: &self.store.inner.url }.because(Fault::Unsafe, why)
    }

    /// What cannot be removed lies in a folder of its own, and harms nobody.
    async fn clean(&self) {
        let names = (0..ROUNDS).map(|round| format!("race-{round}")).chain(["alone".to_owned()]);
        let keys = names.filter_map(|name| self.store.key(&format!("{}/{name}", self.folder)).ok());
        let keys: Vec<Key> = keys.collect();
        join_all(keys.iter().map(|key| self.store.inner.reads.delete(key))).await;
    }
}
