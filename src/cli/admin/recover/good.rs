//! `--good`: the last known good state, as people name it.

use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::Usage;
use crate::cli::files::read_file;
use crate::repository::{Good, Keep, Repository};

/// Bytes of a root that is given, at most.
const MAX_ROOT: u64 = 1024 * 1024;

/// The last known good state, and what changed since for good reasons.
#[derive(Debug, Clone, Args)]
pub(super) struct GoodArgs {
    /// The last known good state: the file of a backup, or the version of a snapshot that still lies in the repository. A
    /// thief of the online keys can have written over a snapshot's bins, but not over a backup elsewhere
    #[arg(long, value_name = "FILE|N")]
    good: Option<String>,
    /// The SHA-256 that the good snapshot must have, if somebody wrote it down
    #[arg(long, value_name = "HEX")]
    good_sha256: Option<String>,
    /// A root that the backup must have, byte for byte; without it, one of those that the present root follows
    #[arg(long, value_name = "FILE")]
    good_root: Option<PathBuf>,
    /// What is not a thief's: a target path, a project with all its files, or a role; may be repeated
    #[arg(long, value_name = "PATH|PROJECT|ROLE")]
    keep: Vec<String>,
}

impl GoodArgs {
    /// Opened and verified.
    pub(super) async fn open(&self, repository: &Repository) -> anyhow::Result<Good> {
        let name = self.good.as_deref().ok_or_else(|| {
            Usage("say which state was good: --good FILE, a backup, or --good N, a snapshot".to_owned())
        })?;
        let good = if let Ok(version) = name.parse::<u64>() {
            let digest = self.good_sha256.as_deref().map(digest).transpose()?;
            repository.good_snapshot(version, digest).await?
        } else {
            let root = self.good_root.as_deref().map(|root| read_file(root, MAX_ROOT)).transpose()?;
            repository.good_backup(&PathBuf::from(name), root.as_deref()).await?
        };
        let found = good.snapshot_sha256();
        match &self.good_sha256 {
            Some(expected) if !expected.eq_ignore_ascii_case(&found) => {
                Err(Usage(format!("the good snapshot has SHA-256 {found}, not {expected}")).into())
            }
            _ => Ok(good),
        }
    }

    /// As it is typed, after other words.
    pub(super) fn typed(&self, mut words: Vec<String>) -> Vec<String> {
        words.extend(self.good.iter().flat_map(|good| ["--good".to_owned(), good.clone()]));
        words.extend(self.good_sha256.iter().flat_map(|hex| ["--good-sha256".to_owned(), hex.clone()]));
        let root = self.good_root.iter().map(|root| root.display().to_string());
        words.extend(root.flat_map(|root| ["--good-root".to_owned(), root]));
        words.extend(self.keep.iter().flat_map(|name| ["--keep".to_owned(), name.clone()]));
        words
    }

    /// What is not to be undone.
    pub(super) fn keep(&self) -> Keep {
        Keep::new(self.keep.iter().cloned())
    }
}

fn digest(text: &str) -> Result<[u8; 32], Usage> {
    let mut digest = [0; 32];
    let read = hex::decode_to_slice(text.to_ascii_lowercase(), &mut digest);
    read.map(|()| digest).map_err(|_| Usage(format!("{text:?} is no SHA-256 in hexadecimal")))
}
