//! Where claims of releases are handed in: an index, and each recorder, has one desk for it.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | what is taken, in which order |
//! | `kept` | claims and receipts in the store |
//! | `teams` | whose keys must have signed |
//! | `rates` | how much is taken |
//!
//! ```text
//! is it for this index? ─▶ did the project's keys sign it? ─▶ commitment logged ─▶ claim kept ─▶ receipt kept ─▶ answered
//! ```
//!
//! Rules:
//! 1. A receipt is the proof that the commitment is logged. It is given when that is durable, and kept, so the same request has
//!    the same answer. After a crash in between a commitment may be logged twice, which means nothing.
//! 2. A receipt is kept after its claim: where there is one for a claim that was told, the claim is there as well, or made room for
//!    others when its keys were the project's no longer.
//! 3. Of a commitment alone nothing is kept but its receipt, and how many there were for a hash of the project's name: neither log
//!    nor store has project or version before the claim is told.
//! 4. Where nobody's keys are known, claims are kept apart. They may warn, and never block.

mod kept;
mod rates;
mod teams;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use thiserror::Error;

use self::kept::Book;
pub use self::kept::{Kept, Trust};
pub(crate) use self::rates::Open;
use self::rates::Rates;
pub use self::teams::Teams;
use self::teams::{Roster, Team};
use crate::python::ProjectName;
use crate::release_claim::{ClaimError, ClaimRequest, Told};
use crate::repository::{Keyring, Remark, Repository, RepositoryError};
use crate::store::StoreError;
use crate::tlog::proof_file::{ProofFile, ProofFileError};

/// Claims that nobody's keys vouch for, at most: who fills a desk with them keeps other such claims out, and nothing else.
const MAX_UNCHECKED: usize = 10_000;

/// Why a claim is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeskError {
    /// It is no claim, or its project's keys have not signed it.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// It is for another index.
    #[error("the claim is for the index {found}, this desk is for {expected}")]
    OtherIndex {
        /// The claim's.
        found: String,
        /// The desk's.
        expected: String,
    },
    /// Nobody owns the project.
    #[error("{0} is not claimed at the index, so nobody's keys can sign for it")]
    NotClaimed(ProjectName),
    /// There is nothing to give a receipt from.
    #[error("there is no transparency log here, so no receipt can be given")]
    NoLog,
    /// More than is taken for a while.
    #[error("too many claims: {0}")]
    TooMany(&'static str),
    /// More than is kept.
    #[error("there are as many claims of this {0} as are kept, so another is not taken")]
    Full(&'static str),
    /// The program ends.
    #[error("claims were not read to their end")]
    Stopped,
    /// What says whose keys count cannot be had.
    #[error("whose keys may sign for {project} is not known at the moment: {reason}")]
    Team {
        /// The project.
        project: ProjectName,
        /// What happened.
        reason: String,
    },
    /// A receipt in the store that does not read.
    #[error("a receipt in the store does not read: {0}")]
    Damaged(#[from] ProofFileError),
    /// The repository, or its log.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DeskError {
    /// Whether the sender can do something about it.
    pub fn is_of_the_request(&self) -> bool {
        matches!(
            self,
            Self::Claim(_) | Self::OtherIndex { .. } | Self::NotClaimed(_) | Self::TooMany(_) | Self::Full(_)
        )
    }
}

/// Takes claims for one index.
#[derive(Debug)]
pub struct ClaimDesk {
    repository: Repository,
    keys: Arc<Keyring>,
    index: String,
    teams: Roster,
    rates: Rates,
    /// Claims that nobody's keys vouch for, kept or logged.
    unchecked: AtomicUsize,
    /// One is logged at a time, so that they do not make each other wait for the log's head.
    turn: tokio::sync::Mutex<()>,
    /// Projects and versions of which a claim came since that was last asked; none, where nobody asks.
    news: Mutex<Option<BTreeSet<(ProjectName, String)>>>,
}

impl ClaimDesk {
    /// A desk for claims of the index with this address, which logs with `keys` in the log of `repository` and keeps claims in
    /// its store.
    pub async fn open(
        repository: Repository,
        keys: Arc<Keyring>,
        index: &str,
        teams: Teams,
    ) -> Result<Self, DeskError> {
        crate::release_claim::check_index(index)?;
        let (book, teams) = (Book(repository.store()), Roster::new(teams));
        let told = book.count(Trust::Unchecked).await?;
        let unchecked = AtomicUsize::new(told.saturating_add(book.embargoed().await?));
        let (index, turn, news) = (index.to_owned(), tokio::sync::Mutex::default(), Mutex::default());
        Ok(Self { repository, keys, index, teams, rates: Rates::default(), unchecked, turn, news })
    }

    /// The same for who judges the claims: [`Self::news`] has those that are kept, and those that come.
    pub async fn judged(self) -> Result<Self, DeskError> {
        let news = Mutex::new(Some(Book(self.repository.store()).releases().await?));
        Ok(Self { news, ..self })
    }

    /// The address of the index.
    pub fn index(&self) -> &str {
        &self.index
    }

    /// Counts a request of an address that nothing else is known of.
    pub fn bears(&self, address: IpAddr, now: DateTime<Utc>) -> Result<(), DeskError> {
        self.rates.address(address, now)
    }

    /// A place for what an address sends, until it is dropped.
    pub(crate) fn opens(&self, address: IpAddr) -> Result<Open, DeskError> {
        self.rates.open(address)
    }

    /// Takes a claim or commitment; the receipt. Asked again, it has the same answer.
    pub async fn take(&self, request: &ClaimRequest, now: DateTime<Utc>) -> Result<ProofFile, DeskError> {
        if request.index() != self.index {
            let (found, expected) = (request.index().to_owned(), self.index.clone());
            return Err(DeskError::OtherIndex { found, expected });
        }
        let team = self.teams.team(&self.repository, request.project(), now).await?;
        let trust = if team.is_some() { Trust::Checked } else { Trust::Unchecked };
        team.as_ref().map(|team| team.verify(request)).transpose()?;
        let (book, commitment) = (Book(self.repository.store()), request.commitment());
        let known = book.receipt(&commitment).await?;
        let told = match request {
            ClaimRequest::Told(told) if !book.has(told, trust).await? => Some(told),
            _ => None,
        };
        if let (Some(receipt), None) = (&known, told) {
            return Ok(receipt.clone());
        }
        self.room(request.project(), trust, now)?;
        let kept = self.log_and_keep((request, told), known, team.as_ref(), now).await;
        if kept.is_err() && trust == Trust::Unchecked {
            self.unchecked.fetch_sub(1, Ordering::Relaxed);
        }
        kept
    }

    async fn log_and_keep(
        &self,
        (request, told): (&ClaimRequest, Option<&Told>),
        known: Option<ProofFile>,
        team: Option<&Team>,
        now: DateTime<Utc>,
    ) -> Result<ProofFile, DeskError> {
        let (book, commitment) = (Book(self.repository.store()), request.commitment());
        let trust = if team.is_some() { Trust::Checked } else { Trust::Unchecked };
        if let Some(told) = told {
            book.has_room(told, trust, team).await?;
        }
        let receipt = match known {
            Some(receipt) => receipt,
            None => self.log(request, trust, now).await?,
        };
        if let Some(told) = told {
            book.keep(told, trust).await?;
            let claim = told.claim.unauthenticated();
            let release = (claim.project().clone(), claim.version().to_owned());
            if let Some(news) = &mut *self.news.lock().unwrap_or_else(PoisonError::into_inner) {
                news.insert(release);
            }
        }
        book.keep_receipt(&commitment, receipt).await
    }

    /// Refuses what is more than is taken.
    fn room(&self, project: &ProjectName, trust: Trust, now: DateTime<Utc>) -> Result<(), DeskError> {
        if trust == Trust::Checked {
            return self.rates.project(project, now);
        }
        if self.unchecked.fetch_add(1, Ordering::Relaxed) >= MAX_UNCHECKED {
            self.unchecked.fetch_sub(1, Ordering::Relaxed);
            return Err(DeskError::TooMany("those that nobody's keys vouch for are no longer taken here"));
        }
        Ok(())
    }

    async fn log(
        &self,
        request: &ClaimRequest,
        trust: Trust,
        now: DateTime<Utc>,
    ) -> Result<ProofFile, DeskError> {
        let _turn = self.turn.lock().await;
        if let ClaimRequest::Embargoed(embargo) = request {
            let project = (trust == Trust::Checked).then(|| embargo.project());
            Book(self.repository.store()).count_embargoed(project, now).await?;
        }
        let remark = Remark::Commitment(request.commitment().leaf());
        let proofs = self.repository.remark(&self.keys, &[remark]).await?;
        proofs.and_then(|proofs| proofs.into_iter().next()).ok_or(DeskError::NoLog)
    }

    /// Projects and versions of which a claim came since this was last asked; the first time, all of which there is one.
    pub fn news(&self) -> BTreeSet<(ProjectName, String)> {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Versions of a project for which there are claims.
    pub async fn versions(&self, project: &ProjectName) -> Result<BTreeSet<String>, DeskError> {
        Ok(Book(self.repository.store()).versions(project).await?)
    }

    /// The claims of a version. Those that cannot be read are left out: the store is nobody's word. Those that the project's
    /// present keys did not sign are [`Trust::Unchecked`]: keys are stolen. While nobody can say which these are, what was
    /// checked when it came is good.
    pub async fn claims(
        &self,
        project: &ProjectName,
        version: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<Kept>, DeskError> {
        let team = match self.teams.team(&self.repository, project, now).await {
            Err(DeskError::Team { .. }) => None,
            team => team?,
        };
        Book(self.repository.store()).claims(project, version, team).await
    }
}
