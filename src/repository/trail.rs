//! Why something is trusted, role by role: what `explain` draws, and what the pages for people show.
//!
//! ```text
//! root ─ timestamp, snapshot ─ targets ─┬ bins ─ one bin
//!                                       └ claimed ─ a bucket ─ project-NAME
//! ```
//!
//! [`Repository::trail`] walks from a state, reads the few roles on the way and no others, and verifies each. Expiry is
//! told, not judged.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::claims::Family;
use super::claims::owner::project_of_target;
use super::plan::bin_of;
use super::state::{BINS, CLAIMED, RECENTLY_CLAIMED, State, authority};
use super::{Repository, RepositoryError, layout};
use crate::python::{ProjectName, ProjectPage};
use crate::tuf::key::{Key, KeyId};
use crate::tuf::metadata::{Common, TargetFile, Targets, TopLevel};
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::{Authority, Verified};

/// A role, who vouches for it, and who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its name.
    pub role: String,
    /// The role that names its keys.
    pub trusted_by: String,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: DateTime<Utc>,
    /// How many different keys must sign.
    pub threshold: u64,
    /// How many keys may.
    pub keys: usize,
    /// The keys whose signatures counted.
    pub signed_by: Vec<Signer>,
    /// The keys that may sign.
    #[serde(skip)]
    pub may_sign: Vec<Signer>,
}

/// A key, for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Signer {
    /// Its id, in full.
    pub keyid: String,
    /// Its signature scheme; empty, if its delegator does not list it any more.
    pub scheme: String,
}

impl Signer {
    /// A key by its id.
    pub fn new(id: &KeyId, key: &Key) -> Self {
        Self { keyid: id.to_string(), scheme: key.scheme_name().to_owned() }
    }

    /// The first eight characters of the id, as [`KeyId::short`] has them.
    pub fn short(&self) -> String {
        self.keyid.chars().take(8).collect()
    }
}

impl Link {
    /// A role whose file has these fields and was signed by `signers`, as `authority` speaks of it.
    pub fn new(common: &Common, signers: &[KeyId], authority: &Authority<'_>) -> Self {
        let may_sign: Vec<_> = authority.keys().map(|(id, key)| Signer::new(id, key)).collect();
        let signer = |id: &KeyId| {
            let known = authority.keys().find(|(known, _)| *known == id);
            let nameless = || Signer { keyid: id.to_string(), scheme: String::new() };
            known.map_or_else(nameless, |(id, key)| Signer::new(id, key))
        };
        Self {
            role: authority.role().to_owned(),
            trusted_by: authority.delegator().to_owned(),
            version: common.version,
            expires: common.expires,
            threshold: authority.threshold(),
            keys: may_sign.len(),
            signed_by: signers.iter().map(signer).collect(),
            may_sign,
        }
    }

    /// How many of the keys that may sign did.
    pub fn counted(&self) -> usize {
        self.signed_by.iter().filter(|signer| self.may_sign.contains(signer)).count()
    }

    /// Whether enough of them did. They did not where a new root named other keys and the role was not signed anew yet.
    pub fn enough(&self) -> bool {
        u64::try_from(self.counted()).unwrap_or(u64::MAX) >= self.threshold
    }
}

/// The roles that answer for a target, and what the last of them says.
#[derive(Debug, Clone)]
pub struct Trail {
    /// The target path.
    pub target: String,
    /// Root, timestamp, snapshot and targets; then from role to role, to the one that answers.
    pub links: Vec<Link>,
    /// Length and hashes, if it lists the target.
    pub listed: Option<TargetFile>,
}

/// A project, as its signed page has it.
#[derive(Debug, Clone)]
pub struct Portrait {
    /// The signed page.
    pub page: ProjectPage,
    /// Why that page is trusted; the last role is who signs for the project.
    pub trail: Trail,
    /// `claimed` or `recently-claimed`, if its maintainers sign for it.
    pub claimed: Option<&'static str>,
}

impl State {
    /// The top-level roles: root, timestamp, snapshot, targets.
    pub fn top_links(&self) -> Vec<Link> {
        let link = |role, common, signers| Link::new(common, signers, &self.root.authority(role));
        vec![
            link(TopLevel::Root, &self.root.common, self.root.signers()),
            link(TopLevel::Timestamp, &self.timestamp.common, self.timestamp.signers()),
            link(TopLevel::Snapshot, &self.snapshot.common, self.snapshot.signers()),
            link(TopLevel::Targets, &self.targets.common, self.targets.signers()),
        ]
    }
}

impl Repository {
    /// The top-level roles, and the roles of the index that targets delegates to.
    pub async fn index_links(&self, state: &State) -> Result<Vec<Link>, RepositoryError> {
        let (mut links, top) = (state.top_links(), RoleName::targets());
        for name in [CLAIMED, RECENTLY_CLAIMED, BINS] {
            let role = RoleName::delegated(name)?;
            let Ok(authority) = authority(&top, &state.targets, &role) else { continue };
            let content = self.known(state, &role).await?;
            links.push(Link::new(&content.common, content.signers(), &authority));
        }
        Ok(links)
    }

    /// A role that targets delegates to, read again only if it has changed.
    pub(super) async fn known(
        &self,
        state: &State,
        role: &RoleName,
    ) -> Result<Verified<Targets>, RepositoryError> {
        match Family::named(role.as_str()) {
            Some(family) => state.family(self.store(), family).await,
            None if role.as_str() == BINS => Ok(state.bins.clone()),
            None => state.delegated(self.store(), role).await,
        }
    }

    /// Who answers for a target in a state.
    async fn trail(&self, state: &State, target: &TargetPath) -> Result<Trail, RepositoryError> {
        let (mut links, top) = (state.top_links(), RoleName::targets());
        let mut link =
            |delegator: &RoleName, said: &Targets, role: &RoleName, content: &Verified<Targets>| {
                let authority = authority(delegator, said, role)?;
                links.push(Link::new(&content.common, content.signers(), &authority));
                Ok::<_, RepositoryError>(())
            };
        let owned = match project_of_target(target) {
            Some(project) => state.owned(self.store(), &project).await?,
            None => None,
        };
        let content = if let Some(owned) = owned {
            let family = RoleName::delegated(owned.family.name())?;
            let said = state.family(self.store(), owned.family).await?;
            let content = state.project(self.store(), &owned).await?;
            link(&top, &state.targets, &family, &said)?;
            link(&family, &said, &owned.bucket, &owned.delegator)?;
            link(&owned.bucket, &owned.delegator, &owned.role, &content)?;
            content
        } else {
            let (bins, bin) = (RoleName::delegated(BINS)?, bin_of(state, target)?);
            let content = state.bin(self.store(), &bin).await?;
            link(&top, &state.targets, &bins, &state.bins)?;
            link(&bins, &state.bins, &bin, &content)?;
            content
        };
        let listed = content.targets.get(target.as_str()).cloned();
        Ok(Trail { target: target.to_string(), links, listed })
    }

    /// A project, if it has a page.
    pub async fn portrait(
        &self,
        state: &State,
        project: &ProjectName,
    ) -> Result<Option<Portrait>, RepositoryError> {
        let target = layout::page(project)?;
        let trail = self.trail(state, &target).await?;
        let Some(file) = &trail.listed else { return Ok(None) };
        let page = self.read_page(project, &target, file).await?;
        let claimed = state.owned(self.store(), project).await?.map(|owned| owned.family.name());
        Ok(Some(Portrait { page, trail, claimed }))
    }

    /// Who answers for a distribution file of a project. Whether it is on the project's page is not looked at.
    pub async fn file_trail(
        &self,
        state: &State,
        project: &ProjectName,
        filename: &str,
    ) -> Result<Trail, RepositoryError> {
        self.trail(state, &layout::distribution(project, filename)?).await
    }

    /// The same repository, for who only looks: what this machine remembers is held against, and nothing is added to it.
    pub fn only_read(self) -> Self {
        let anchor = self.anchor.map(|anchor| anchor.frozen());
        Self { anchor, ..self }
    }

    /// The state as it is now. What `before` has of it already is not read again.
    pub async fn state_since(&self, before: Option<&State>) -> Result<State, RepositoryError> {
        self.state_after(before).await
    }
}
