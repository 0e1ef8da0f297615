//! Since when a file is young. The store dates files, so it is asked what time it is: a file is written there, and its date
//! read.
//!
//! A clock here that is behind would keep too much, one that is ahead would take young files for old, and with them those of
//! a publication under way. So age is counted from the earlier of the two, and a clock here that is far ahead ends it: one of
//! the two is wrong, and the store's may have been when it dated what lies there.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

use super::Retention;
use crate::crypto::random;
use crate::repository::{Repository, RepositoryError, layout, path};
use crate::store::Content;

/// By how much this machine's clock may be ahead of the store's: S3 and Azure refuse requests of clocks that are further off.
const MAX_AHEAD: Duration = Duration::from_mins(15);

impl Repository {
    /// Files last written before this are old. Without a grace period all are, and nobody is asked; nor is for a dry run,
    /// which writes nothing.
    pub(super) async fn old_before(
        &self,
        retention: Retention,
        dry_run: bool,
        now: DateTime<Utc>,
    ) -> Result<SystemTime, RepositoryError> {
        let here = SystemTime::from(now);
        let mut from = here;
        if !retention.grace.is_zero() && !dry_run {
            let store = self.store_time().await?;
            if here > store.checked_add(MAX_AHEAD).unwrap_or(store) {
                return Err(RepositoryError::ClockAhead { here: now, store: store.into() });
            }
            from = here.min(store);
        }
        Ok(from.checked_sub(retention.grace).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// The date that the store gives to what is written now.
    async fn store_time(&self) -> Result<SystemTime, RepositoryError> {
        let at = path(format!("{}/{}/clock", layout::ASIDE, hex::encode(random::<12>()?)))?;
        self.store.create(&at, Content::Bytes(b"")).await?;
        let entry = self.store.stat(&at).await;
        self.store.delete(&at).await?;
        Ok(entry?.ok_or_else(|| RepositoryError::Missing(at.to_string()))?.modified)
    }
}
