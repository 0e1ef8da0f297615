//! Whose keys must have signed a claim.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;

use super::DeskError;
use crate::client::{Client, Session};
use crate::python::ProjectName;
use crate::release_claim::ClaimRequest;
use crate::repository::{Owners, Repository};
use crate::tuf::delegations::Delegations;
use crate::tuf::path::{RoleName, TargetPath};

/// So long what another repository said is good for all who ask: a request is not to cost it one as well.
const FRESH: TimeDelta = TimeDelta::seconds(10);

/// Who says which keys a project has.
#[derive(Debug, Clone)]
pub enum Teams {
    /// The repository in whose log the claims are logged: that of the index itself.
    Own,
    /// The repository of the index, asked by a client that verifies it.
    Of(Box<Client>),
    /// Nobody: claims are not checked.
    Unknown,
}

/// When another repository was asked, and what came of it.
type Heard = (DateTime<Utc>, Result<Session, String>);

/// Teams, and what was last heard of another repository.
#[derive(Debug)]
pub(super) struct Roster {
    teams: Teams,
    heard: Mutex<Option<Heard>>,
}

/// The present keys of a project.
pub(super) struct Team {
    project: ProjectName,
    role: RoleName,
    /// None: nobody owns it.
    delegations: Option<Delegations>,
}

impl Team {
    /// That the present keys of the project signed it.
    pub(super) fn verify(&self, request: &ClaimRequest) -> Result<(), DeskError> {
        let delegator = RoleName::targets();
        let delegations = self.delegations.as_ref();
        let authority = delegations.and_then(|owned| owned.authority(&delegator, &self.role));
        let authority = authority.ok_or_else(|| DeskError::NotClaimed(self.project.clone()))?;
        Ok(request.verify(&authority)?)
    }
}

impl Roster {
    pub(super) fn new(teams: Teams) -> Self {
        Self { teams, heard: Mutex::default() }
    }

    /// Whose keys count for a project; none, where nobody says so.
    pub(super) async fn team(
        &self,
        own: &Repository,
        project: &ProjectName,
        now: DateTime<Utc>,
    ) -> Result<Option<Team>, DeskError> {
        let unknown = |reason| DeskError::Team { project: project.clone(), reason };
        let owners = match &self.teams {
            Teams::Own => own.state().await?.owned(own.store(), project).await?.map(|owned| owned.owners),
            Teams::Of(client) => self.owners_at(client, project, now).await.map_err(unknown)?,
            Teams::Unknown => return Ok(None),
        };
        let delegations = owners.map(|owners| owners.delegations(project)).transpose()?;
        Ok(Some(Team { project: project.clone(), role: role_of(project).map_err(unknown)?, delegations }))
    }

    /// The owners of a project in the newest state of another repository.
    async fn owners_at(
        &self,
        client: &Client,
        project: &ProjectName,
        now: DateTime<Utc>,
    ) -> Result<Option<Owners>, String> {
        let page =
            TargetPath::new(format!("simple/{project}/index.json")).map_err(|error| error.to_string())?;
        let role = role_of(project)?;
        let session = self.session(client, now).await?;
        let chain = session.reach(&page, &role).await.map_err(|error| error.to_string())?;
        // Top-level targets, family, bucket, project.
        let Some([_, _, (_, bucket), _]) = chain.as_deref() else { return Ok(None) };
        Ok(Owners::listed(bucket, &role))
    }

    /// Who asks meanwhile waits for the same answer.
    async fn session(&self, client: &Client, now: DateTime<Utc>) -> Result<Session, String> {
        let mut heard = self.heard.lock().await;
        if let Some((_, known)) =
            heard.as_ref().filter(|(then, _)| (TimeDelta::zero()..FRESH).contains(&(now - *then)))
        {
            return known.clone();
        }
        let session = client.refresh(now).await.map_err(|error| error.to_string());
        *heard = Some((now, session.clone()));
        session
    }
}

fn role_of(project: &ProjectName) -> Result<RoleName, String> {
    RoleName::delegated(format!("project-{project}")).map_err(|error| error.to_string())
}
