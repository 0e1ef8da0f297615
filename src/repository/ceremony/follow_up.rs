//! Roles signed online that must change in the same commit as what people signed.

use chrono::{DateTime, Utc};

use super::ProposedRole;
use crate::repository::commit::NewRole;
use crate::repository::state::State;
use crate::repository::{Repository, RepositoryError};

impl Repository {
    /// The roles of projects that follow from `proposals`, with the authorities that must accept them.
    #[expect(clippy::unused_async, reason = "what follows is read from the store")]
    pub(super) async fn claims_follow_up<'a>(
        &self,
        _state: &State,
        _proposals: &[&'a ProposedRole],
        _now: DateTime<Utc>,
    ) -> Result<Vec<NewRole<'a>>, RepositoryError> {
        Ok(Vec::new())
    }
}
