//! What is published of a project, as the verifying client sees it: the ground on which its maintainers sign.

use crate::cli::Context;
use crate::cli::client::{MAX_PAGE, TrustArg};
use crate::client::{Client, ClientError, Session};
use crate::crypto::sha256;
use crate::python::{ProjectName, ProjectPage};
use crate::repository::{Base, LogPolicy, Owners, RepositoryError};
use crate::tuf::metadata::{Role, Targets};
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::Verified;

/// A project as it is published.
pub(super) struct Seen {
    /// Its page and targets.
    pub(super) base: Base,
    /// Who owns it, and below which role, if it is claimed.
    pub(super) owned: Option<Owned>,
    /// Version and SHA-256 of the root.
    pub(super) root: (u64, [u8; 32]),
    /// Version of the snapshot.
    pub(super) snapshot: u64,
    /// What the repository says of its log, if it has one.
    pub(super) policy: Option<LogPolicy>,
}

/// A claimed project.
pub(super) struct Owned {
    /// `claimed` or `recently-claimed`.
    pub(super) by: String,
    pub(super) owners: Owners,
    pub(super) role: Verified<Targets>,
}

impl Seen {
    /// Asks the repository, and verifies all of it.
    pub(super) async fn of(
        trust: &TrustArg,
        client: &Client,
        project: &ProjectName,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let session = trust.session(client, context).await?;
        let page = TargetPath::new(format!("simple/{project}/index.json"))?;
        let role = RoleName::delegated(format!("project-{project}"))?;
        let owned = session.reach(&page, &role).await?.and_then(|chain| Owned::of(&chain, &role));
        let (entry, root, snapshot) = session.with_trusted(|trusted| {
            let (snapshot, root) = (trusted.snapshot(), trusted.root());
            let entry = snapshot.role(role.as_str()).map_or(0, |entry| entry.version);
            (entry, (root.common().version, sha256(root.bytes())), snapshot.common.version)
        });
        let mut base = Base { version: entry, ..Base::default() };
        match session.find(&page).await {
            Ok(found) => base.page = Some(ProjectPage::from_json(&session.read(&found, MAX_PAGE).await?)?),
            Err(ClientError::NotSigned { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match &owned {
            Some(owned) => {
                let targets = owned.role.targets.iter().filter(|(name, _)| *name != page.as_str());
                base.targets = targets.map(|(name, file)| (name.to_owned(), file.clone())).collect();
            }
            None => add_targets(&session, project, &mut base).await?,
        }
        let policy = session.with_trusted(|trusted| LogPolicy::of(trusted.targets()));
        let policy = policy.map_err(RepositoryError::from)?;
        Ok(Self { base, owned, root, snapshot, policy })
    }
}

/// What the bins say of each file on the page.
async fn add_targets(session: &Session, project: &ProjectName, base: &mut Base) -> anyhow::Result<()> {
    for file in base.page.iter().flat_map(ProjectPage::files) {
        let mut paths = vec![TargetPath::new(format!("{project}/{}", file.filename))?];
        if file.core_metadata_sha256.is_some() {
            paths.push(TargetPath::new(format!("{project}/{}.metadata", file.filename))?);
        }
        if file.provenance_sha256.is_some() {
            paths.push(TargetPath::new(format!("{project}/{}.provenance", file.filename))?);
        }
        for path in paths {
            let found = session.find(&path).await?;
            base.targets.insert(path.to_string(), found.target);
        }
    }
    Ok(())
}

impl Owned {
    fn of(chain: &[(RoleName, Verified<Targets>)], role: &RoleName) -> Option<Self> {
        let [_, (by, _), (_, bucket), (_, content)] = chain else { return None };
        let owners = Owners::listed(bucket, role)?;
        Some(Self { by: by.to_string(), owners, role: content.clone() })
    }
}
