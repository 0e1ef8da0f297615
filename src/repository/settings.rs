//! `wheelseal.toml`: what signed metadata does not say. Never a secret: keys are named by URI.

use serde::{Deserialize, Serialize};

use super::siblings::MetadataSettings;
use super::{RepositoryError, path};
use crate::store::{Content, Store};

/// Where the settings lie in the store.
pub(super) const SETTINGS: &str = "wheelseal.toml";
/// The format this version writes and reads.
const FORMAT: u32 = 1;
/// Bytes of the settings file, at most.
const MAX_SETTINGS: u64 = 1024 * 1024;

/// Settings of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Format of this file.
    pub format: u32,
    /// Days until new metadata expires.
    pub expiry: Expiry,
    /// Signing keys that are always at hand.
    #[serde(default)]
    pub keys: Keys,
    /// How metadata is stored.
    #[serde(default, skip_serializing_if = "MetadataSettings::is_default")]
    pub metadata: MetadataSettings,
    /// The transparency log, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSettings>,
}

/// `[log]`: the transparency log. Which witnesses are asked is said by the target `tlog-policy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// Its name, once for ever.
    pub origin: String,
    /// URI of the key that signs its checkpoints.
    pub key: String,
    /// The policy to publish by until top-level targets names one.
    pub policy: String,
}

/// `[keys]`: which keys commands open without being told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// URIs of online keys; `WHEELSEAL_KEYS` replaces them.
    #[serde(default)]
    pub online: Vec<String>,
}

/// `[expiry]`: days until metadata of each kind expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expiry {
    /// Root.
    pub root: u32,
    /// Top-level targets, `claimed` and `bins`: offline roles.
    pub targets: u32,
    /// Bins and other online targets roles.
    pub bin_n: u32,
    /// Snapshot.
    pub snapshot: u32,
    /// Timestamp.
    pub timestamp: u32,
}

/// A choice of expiry dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// For a repository whose admin runs no daemon.
    Default,
    /// PEP 458, "Metadata Expiry Times": a year offline, a day online.
    Pypi,
}

impl Profile {
    /// Its expiry dates.
    pub fn expiry(self) -> Expiry {
        match self {
            Self::Default => Expiry { root: 365, targets: 365, bin_n: 30, snapshot: 14, timestamp: 7 },
            Self::Pypi => Expiry { root: 365, targets: 365, bin_n: 1, snapshot: 1, timestamp: 1 },
        }
    }
}

impl Settings {
    /// Settings with these expiry dates and online keys.
    pub fn new(expiry: Expiry, online: Vec<String>) -> Self {
        Self {
            format: FORMAT,
            expiry,
            keys: Keys { online },
            metadata: MetadataSettings::default(),
            log: None,
        }
    }

    /// For work on a repository whose settings are not written yet.
    pub(super) fn unwritten() -> Self {
        Self::new(Profile::Default.expiry(), Vec::new())
    }

    /// Reads the settings of a repository.
    pub async fn load(store: &dyn Store) -> Result<Self, RepositoryError> {
        let Some(object) = store.get(&path(SETTINGS)?, MAX_SETTINGS).await? else {
            return Err(RepositoryError::NoRepository(SETTINGS.to_owned()));
        };
        let text = String::from_utf8(object.bytes).map_err(|e| RepositoryError::Settings(e.to_string()))?;
        let settings: Self = toml::from_str(&text).map_err(|e| RepositoryError::Settings(e.to_string()))?;
        if settings.format != FORMAT {
            let reason = format!("format {} is not known, only {FORMAT}", settings.format);
            return Err(RepositoryError::Settings(reason));
        }
        Ok(settings)
    }

    /// Writes the settings of a new repository.
    pub(super) async fn create(&self, store: &dyn Store) -> Result<(), RepositoryError> {
        Ok(store.create(&path(SETTINGS)?, Content::Bytes(self.text()?.as_bytes())).await?)
    }

    /// Replaces the settings.
    pub(super) async fn replace(&self, store: &dyn Store) -> Result<(), RepositoryError> {
        let at = path(SETTINGS)?;
        let old = store.get(&at, MAX_SETTINGS).await?.map(|object| object.tag);
        store.swap(&at, self.text()?.as_bytes(), old.as_ref()).await?;
        Ok(())
    }

    fn text(&self) -> Result<String, RepositoryError> {
        toml::to_string(self).map_err(|e| RepositoryError::Settings(e.to_string()))
    }
}
