//! What maintainers send to the index: one self-contained file, made and signed on their machines.
//!
//! It holds the project's new role as it will be published, its page, and for claims and changes of keys a statement that
//! binds keys to this project in this repository. Distributions of a release lie beside it. Nothing in it is trusted: the
//! index verifies all of it against its own state, and whoever adds a signature sees what changes first.
//!
//! | field | what |
//! |---|---|
//! | `format` | `wheelseal-project-1` |
//! | `kind` | `claim`, `release` or `keys` |
//! | `project` | normalized name |
//! | `root`, `root_version` | SHA-256 and version of the repository's root |
//! | `base` | version of the project's role that it follows; 0 if there was none |
//! | `keys`, `threshold` | who signs for the project from then on |
//! | `before` | the same before it, for `keys` |
//! | `without` | published files that a claim leaves out |
//! | `proofs` | signatures of the statement |
//! | `role` | the project's metadata as text |
//! | `page` | its page as text, or null |

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::crowd::{is_crowd, values};
use super::names::project_role;
use super::tree::{Owners, project_delegation};
use crate::python::ProjectName;
use crate::repository::commit::refuse_too_large;
use crate::repository::{Keyring, RepositoryError};
use crate::tuf::json::{Json, parse};
use crate::tuf::key::{Key, KeyId};
use crate::tuf::metadata::{DelegatedRoles, Delegations, Extra, Targets, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Draft, Signed, Verified};

/// Bytes of a project's file, at most: clients take a role of 10 MB, which is some 25,000 files; their page has as much.
pub const MAX_PROJECT_FILE: u64 = 32 * 1024 * 1024;
/// Values in it, without those in its role and page, at most: four for each file that a claim leaves out, if it leaves out all.
const MAX_VALUES: usize = 100_000;

const FORMAT: &str = "wheelseal-project-1";

/// What a statement is, so that its signature is never taken for that of a role.
const STATEMENT: &str = "wheelseal-project-statement";

/// What maintainers ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// That the project be theirs.
    Claim,
    /// That its files be these.
    Release,
    /// That others sign for it.
    Keys,
}

/// A request of a project's maintainers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    /// What they ask for.
    pub kind: Kind,
    /// For which project.
    pub project: ProjectName,
    /// Version and SHA-256 of the repository's root.
    pub root: (Version, [u8; 32]),
    /// Version of the project's role that it follows.
    pub base: Version,
    /// Who signs for the project from then on.
    pub owners: Owners,
    /// Who signed for it before, if that changes.
    pub before: Option<Owners>,
    /// Published files that a claim leaves out.
    pub without: BTreeSet<String>,
    /// Signatures of the statement.
    pub proofs: BTreeMap<KeyId, Vec<u8>>,
    /// The project's metadata file.
    pub role: Vec<u8>,
    /// The project's page.
    pub page: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    format: String,
    kind: Kind,
    project: String,
    root: String,
    root_version: Version,
    base: Version,
    keys: Vec<serde_json::Value>,
    threshold: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<WireOwners>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    without: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    proofs: BTreeMap<String, String>,
    role: String,
    page: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireOwners {
    keys: Vec<serde_json::Value>,
    threshold: u64,
}

impl ProjectFile {
    /// The project that one is about, without reading more of it than that.
    pub fn project_of(bytes: &[u8]) -> Result<ProjectName, RepositoryError> {
        #[derive(Deserialize)]
        struct About {
            project: String,
        }
        let malformed = |reason: String| RepositoryError::Plan(format!("this is no project file: {reason}"));
        let about: About = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        ProjectName::from_normalised(&about.project).map_err(|error| malformed(error.to_string()))
    }

    /// Reads one. Nothing is verified but its form.
    pub fn read(bytes: &[u8]) -> Result<Self, RepositoryError> {
        if values(bytes) > MAX_VALUES {
            return Err(refused(&format!("it has more than {MAX_VALUES} values")));
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| refused(&error))?;
        refuse_too_large(&format!("project {}", wire.project), wire.role.as_bytes())?;
        for (what, text) in [("role", Some(&wire.role)), ("page", wire.page.as_ref())] {
            if text.is_some_and(|text| is_crowd(text.as_bytes())) {
                return Err(refused(&format!("its {what} has more values than one of its length can have")));
            }
        }
        if wire.format != FORMAT {
            return Err(refused(&format!("its format is {:?}, expected {FORMAT:?}", wire.format)));
        }
        let project = ProjectName::from_normalised(&wire.project).map_err(|error| refused(&error))?;
        let digest = hex::decode(&wire.root).ok().and_then(|digest| digest.try_into().ok());
        let digest = digest.ok_or_else(|| refused(&"its root is no SHA-256"))?;
        let proof = |(id, sig): (String, String)| {
            let id = KeyId::new(id).map_err(|error| refused(&error))?;
            Ok((id, hex::decode(sig).map_err(|error| refused(&error))?))
        };
        let owners = owners(&wire.keys, wire.threshold)?;
        let before = wire.before.map(|before| owners_of(&before)).transpose()?;
        for owners in [Some(&owners), before.as_ref()].into_iter().flatten() {
            owners.check(&project)?;
        }
        Ok(Self {
            kind: wire.kind,
            project,
            root: (wire.root_version, digest),
            base: wire.base,
            owners,
            before,
            without: wire.without,
            proofs: wire.proofs.into_iter().map(proof).collect::<Result<_, RepositoryError>>()?,
            role: wire.role.into_bytes(),
            page: wire.page,
        })
    }

    /// The file as it is sent.
    pub fn to_text(&self) -> Result<String, RepositoryError> {
        let wire = Wire {
            format: FORMAT.to_owned(),
            kind: self.kind,
            project: self.project.to_string(),
            root: hex::encode(self.root.1),
            root_version: self.root.0,
            base: self.base,
            keys: wire_keys(&self.owners)?,
            threshold: self.owners.threshold,
            before: match &self.before {
                Some(before) => Some(WireOwners { keys: wire_keys(before)?, threshold: before.threshold }),
                None => None,
            },
            without: self.without.clone(),
            proofs: self.proofs.iter().map(|(id, sig)| (id.to_string(), hex::encode(sig))).collect(),
            role: String::from_utf8(self.role.clone()).map_err(|error| refused(&error))?,
            page: self.page.clone(),
        };
        let mut text = serde_json::to_string_pretty(&wire).map_err(|error| refused(&error))?;
        text.push('\n');
        Ok(text)
    }

    /// A request whose role nobody has signed yet.
    pub fn unsigned(self, role: &Draft<Targets>) -> Self {
        Self { role: role.payload().assemble(&[]), ..self }
    }

    /// Signs with every key at hand that is of the project, now or from then on. Returns the ids of these keys.
    pub async fn sign(&mut self, keys: &Keyring) -> Result<Vec<KeyId>, RepositoryError> {
        let teams = [Some(&self.owners), self.before.as_ref()];
        let all = Owners {
            keys: teams.into_iter().flatten().flat_map(|team| team.keys.clone()).collect(),
            threshold: 1,
        };
        let (bucket, role) = (RoleName::targets(), project_role(&self.project)?);
        let delegations = alone(&self.project, &all)?;
        let authority = delegations.authority(&bucket, &role).ok_or_else(|| refused(&"it has no keys"))?;
        let (mut signed, statement) = (Vec::new(), self.statement());
        for (id, signer) in keys.usable(&authority) {
            if self.kind != Kind::Release {
                self.proofs.insert(id.clone(), signer.sign(&statement).await?);
            }
            self.role =
                with_signature(&self.role, id, |message| async move { Ok(signer.sign(&message).await?) })
                    .await?;
            signed.push(id.clone());
        }
        if signed.is_empty() {
            keys.require(&authority)?;
        }
        Ok(signed)
    }

    /// What keys sign to prove that they are held by whom claims them, for this project in this repository.
    pub fn statement(&self) -> Vec<u8> {
        let keys = |owners: &Owners| {
            Json::object(owners.keys.iter().map(|(id, key)| (id.to_string(), key.to_json())))
        };
        let kind = match self.kind {
            Kind::Claim => "claim",
            Kind::Release => "release",
            Kind::Keys => "keys",
        };
        Json::object([
            ("_type", Json::str(STATEMENT)),
            ("base", Json::int(self.base)),
            ("keys", keys(&self.owners)),
            ("kind", Json::str(kind)),
            ("project", Json::str(self.project.to_string())),
            ("root", Json::str(hex::encode(self.root.1))),
            ("root_version", Json::int(self.root.0)),
            ("threshold", Json::int(self.owners.threshold)),
        ])
        .canonical()
    }

    /// The keys of `team` that did not sign the statement.
    pub fn unproven(&self, team: &Owners) -> Vec<KeyId> {
        let statement = self.statement();
        let proven = |id: &KeyId, key: &Key| {
            self.proofs.get(id).is_some_and(|signature| key.verifies(&statement, signature))
        };
        team.keys.iter().filter(|(id, key)| !proven(id, key)).map(|(id, _)| id.clone()).collect()
    }

    /// The role, if `team` signed it.
    pub fn verified(&self, team: &Owners) -> Result<Verified<Targets>, RepositoryError> {
        let (bucket, role) = (RoleName::targets(), project_role(&self.project)?);
        let delegations = alone(&self.project, team)?;
        let authority = delegations.authority(&bucket, &role).ok_or_else(|| refused(&"it has no keys"))?;
        Ok(Signed::new(self.role.clone()).verify(&authority)?)
    }

    /// The role as far as any one key of the project signed it: to be looked at, not to be published.
    pub fn glimpse(&self) -> Result<Verified<Targets>, RepositoryError> {
        let any = |team: &Owners| self.verified(&Owners { threshold: 1, ..team.clone() });
        match (any(&self.owners), &self.before) {
            (Err(_), Some(before)) => any(before),
            (role, _) => role,
        }
    }
}

/// Delegations to one project alone.
pub(crate) fn alone(project: &ProjectName, owners: &Owners) -> Result<Delegations, RepositoryError> {
    let roles = DelegatedRoles::Listed(vec![project_delegation(project, owners)?].into());
    Ok(Delegations { keys: owners.keys.clone(), roles, extra: Extra::new() })
}

/// A metadata file with one signature more; one by the same key is replaced.
async fn with_signature<F: Future<Output = Result<Vec<u8>, RepositoryError>>>(
    file: &[u8],
    id: &KeyId,
    sign: impl FnOnce(Vec<u8>) -> F,
) -> Result<Vec<u8>, RepositoryError> {
    let tree = parse(file).map_err(|error| refused(&error))?;
    let (Some(content), Some(Json::Array(signatures))) = (tree.get("signed"), tree.get("signatures")) else {
        return Err(refused(&"its role is no metadata file"));
    };
    let signature = hex::encode(sign(content.canonical()).await?);
    let own = Json::object([("keyid", Json::str(id.as_str().to_owned())), ("sig", Json::str(signature))]);
    let by_it = |json: &&Json<'_>| json.get("keyid").and_then(Json::as_str) == Some(id.as_str());
    let others = signatures.iter().filter(|other| !by_it(other)).cloned();
    let signatures = Json::Array(others.chain([own]).collect());
    Ok(Json::object([("signatures", signatures), ("signed", content.clone())]).to_text().into_bytes())
}

fn owners_of(wire: &WireOwners) -> Result<Owners, RepositoryError> {
    owners(&wire.keys, wire.threshold)
}

fn owners(keys: &[serde_json::Value], threshold: u64) -> Result<Owners, RepositoryError> {
    let mut read = Vec::new();
    for key in keys {
        let text = key.to_string();
        let json = parse(text.as_bytes()).map_err(|error| refused(&error))?;
        let key = Key::from_json(&json).map_err(|error| refused(&error))?;
        if key.public().is_none() {
            return Err(refused(&"it has a key of an unknown kind"));
        }
        read.push(key);
    }
    let mut publics: Vec<_> = read.iter().map(Key::public).collect();
    publics.sort();
    if publics.array_windows().any(|[a, b]| a == b) {
        return Err(refused(&"it has the same key twice"));
    }
    Ok(Owners::new(read, threshold))
}

fn wire_keys(owners: &Owners) -> Result<Vec<serde_json::Value>, RepositoryError> {
    let value = |key: &Key| serde_json::from_str(&key.to_json().to_text()).map_err(|error| refused(&error));
    owners.keys.values().map(value).collect()
}

fn refused(reason: &impl std::fmt::Display) -> RepositoryError {
    RepositoryError::Plan(format!("this is no project file: {reason}"))
}
