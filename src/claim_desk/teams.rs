//! Whose keys must have signed a claim.

use chrono::{DateTime, Utc};

use super::{DeskError, Trust};
use crate::client::Client;
use crate::python::ProjectName;
use crate::release_claim::ClaimRequest;
use crate::repository::{Owners, Repository};
use crate::tuf::path::{RoleName, TargetPath};

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

impl Teams {
    /// That the keys of its project signed a request, or that nobody knows these.
    pub(super) async fn check(
        &self,
        own: &Repository,
        request: &ClaimRequest,
        now: DateTime<Utc>,
    ) -> Result<Trust, DeskError> {
        let project = request.project();
        let owners = match self {
            Self::Own => own.state().await?.owned(own.store(), project).await?.map(|owned| owned.owners),
            Self::Of(client) => owners_at(client, project, now)
                .await
                .map_err(|reason| DeskError::Team { project: project.clone(), reason })?,
            Self::Unknown => return Ok(Trust::Unchecked),
        };
        let not_claimed = || DeskError::NotClaimed(project.clone());
        let delegations = owners.ok_or_else(not_claimed)?.delegations(project)?;
        let role = role_of(project).map_err(|reason| DeskError::Team { project: project.clone(), reason })?;
        let delegator = RoleName::targets();
        request.verify(&delegations.authority(&delegator, &role).ok_or_else(not_claimed)?)?;
        Ok(Trust::Checked)
    }
}

fn role_of(project: &ProjectName) -> Result<RoleName, String> {
    RoleName::delegated(format!("project-{project}")).map_err(|error| error.to_string())
}

/// The owners of a project in the newest state of another repository.
async fn owners_at(
    client: &Client,
    project: &ProjectName,
    now: DateTime<Utc>,
) -> Result<Option<Owners>, String> {
    let session = client.refresh(now).await.map_err(|error| error.to_string())?;
    let page = TargetPath::new(format!("simple/{project}/index.json")).map_err(|error| error.to_string())?;
    let role = role_of(project)?;
    let chain = session.reach(&page, &role).await.map_err(|error| error.to_string())?;
    // Top-level targets, family, bucket, project.
    let Some([_, _, (_, bucket), _]) = chain.as_deref() else { return Ok(None) };
    Ok(Owners::listed(bucket, &role))
}
