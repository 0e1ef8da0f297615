//! The delegation tree, with bins and buckets folded: there may be 65,536 of them.

use serde::Serialize;

use super::claims::Family;
use super::claims::names::project_of_role;
use super::claims::tree::prefixes_of;
use super::state::{State, authority};
use super::trail::{Link, Signer};
use super::{Repository, RepositoryError};
use crate::python::ProjectName;
use crate::tuf::metadata::{DelegatedRoles, Delegations, PathSet, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Authority;

/// A role, and those it delegates to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name; of folded ones, of the first and the last.
    pub role: String,
    /// Its version; of folded ones, none.
    pub version: Option<Version>,
    /// How many must sign.
    pub threshold: u64,
    /// The keys that may, by the start of their ids.
    pub keys: Vec<String>,
    /// What it speaks for, in words.
    pub paths: Option<String>,
    /// Whom it delegates to.
    pub children: Vec<Node>,
    /// The same keys in full.
    #[serde(skip)]
    pub signers: Vec<Signer>,
}

/// A bucket of claimed projects, as its delegator speaks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketName {
    /// Its role.
    pub role: String,
    /// How the names of its projects begin. `None`: its patterns are of another kind.
    pub prefixes: Option<Vec<String>>,
}

/// A claimed project in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedProject {
    /// The project.
    pub project: ProjectName,
    /// How many of its keys must sign.
    pub threshold: u64,
    /// Its keys.
    pub keys: Vec<Signer>,
}

/// A bucket, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketView {
    /// The bucket itself.
    pub link: Link,
    /// Its projects, by name.
    pub projects: Vec<ClaimedProject>,
}

impl Repository {
    /// The tree of a state. Read are the roles that top-level targets delegates to, and no others.
    pub async fn tree(&self, state: &State) -> Result<Node, RepositoryError> {
        let mut tops = state.top_links().into_iter().map(|link| Node::of(&link));
        let missing = || RepositoryError::Missing("a top-level role".to_owned());
        let mut root = tops.next().ok_or_else(missing)?;
        root.children.extend(tops);
        let targets = root.children.last_mut().ok_or_else(missing)?;
        let (top, delegations) = (RoleName::targets(), state.targets.delegations.as_ref());
        for name in delegations.iter().flat_map(|delegations| delegations.names()) {
            let name = name?;
            let Ok(authority) = authority(&top, &state.targets, &name) else { continue };
            let content = self.known(state, &name).await?;
            let mut child = Node::of(&Link::new(&content.common, content.signers(), &authority));
            child.paths = delegations.and_then(|delegations| paths_of(delegations, &name));
            child.children.extend(content.delegations.as_ref().and_then(|below| folded(&name, below)));
            targets.children.push(child);
        }
        Ok(root)
    }

    /// The buckets of `claimed` or `recently-claimed`, in the order in which clients ask them.
    pub async fn bucket_names(
        &self,
        state: &State,
        family: Family,
    ) -> Result<Vec<BucketName>, RepositoryError> {
        if !state.claims_enabled() {
            return Ok(Vec::new());
        }
        let delegator = state.family(self.store(), family).await?;
        let Some(DelegatedRoles::Listed(roles)) = delegator.delegations.as_ref().map(|below| &below.roles)
        else {
            return Ok(Vec::new());
        };
        let bucket = |role| BucketName { prefixes: prefixes_of(role), role: role.name.to_string() };
        Ok(roles.iter().map(bucket).collect())
    }

    /// One bucket and its projects. `None`: there is no bucket of that name.
    pub async fn bucket_view(
        &self,
        state: &State,
        bucket: &str,
    ) -> Result<Option<BucketView>, RepositoryError> {
        let Some(family) = Family::BOTH.into_iter().find(|family| family.number(bucket).is_some()) else {
            return Ok(None);
        };
        let buckets = state.buckets(self.store(), family).await?;
        let Some(role) = buckets.into_iter().find(|role| role.as_str() == bucket) else { return Ok(None) };
        let (delegator, said) =
            (RoleName::delegated(family.name())?, state.family(self.store(), family).await?);
        let content = state.bucket(self.store(), family, &role).await?;
        let link = Link::new(&content.common, content.signers(), &authority(&delegator, &said, &role)?);
        let mut projects = Vec::new();
        for name in content.delegations.iter().flat_map(Delegations::names) {
            let name = name?;
            let Some(project) = project_of_role(name.as_str()) else { continue };
            let authority = authority(&role, &content, &name)?;
            projects.push(ClaimedProject {
                project,
                threshold: authority.threshold(),
                keys: keys(&authority),
            });
        }
        projects.sort_by(|a, b| a.project.cmp(&b.project));
        Ok(Some(BucketView { link, projects }))
    }
}

impl State {
    /// How many bins there are.
    pub fn bin_count(&self) -> u64 {
        match self.bins.delegations.as_ref().map(|below| &below.roles) {
            Some(DelegatedRoles::Succinct(bins)) => bins.count(),
            Some(DelegatedRoles::Listed(bins)) => u64::try_from(bins.len()).unwrap_or(u64::MAX),
            None => 0,
        }
    }
}

impl Node {
    fn of(link: &Link) -> Self {
        Self {
            role: link.role.clone(),
            version: Some(link.version),
            threshold: link.threshold,
            keys: short(&link.may_sign),
            paths: None,
            children: Vec::new(),
            signers: link.may_sign.clone(),
        }
    }
}

fn keys(authority: &Authority<'_>) -> Vec<Signer> {
    authority.keys().map(|(id, key)| Signer::new(id, key)).collect()
}

fn short(keys: &[Signer]) -> Vec<String> {
    keys.iter().map(Signer::short).collect()
}

fn paths_of(delegations: &Delegations, name: &RoleName) -> Option<String> {
    let DelegatedRoles::Listed(roles) = &delegations.roles else { return None };
    let role = roles.named(name)?;
    Some(match &role.paths {
        PathSet::Patterns(patterns) if patterns.is_empty() => "no targets yet".to_owned(),
        PathSet::Patterns(patterns) => patterns.join(" "),
        PathSet::HashPrefixes(prefixes) if prefixes.len() == 16 => "all targets".to_owned(),
        PathSet::HashPrefixes(prefixes) => format!("{} hash prefixes", prefixes.len()),
    })
}

/// All bins or buckets as one node.
fn folded(delegator: &RoleName, delegations: &Delegations) -> Option<Node> {
    let mut names: Vec<_> = delegations.names().filter_map(Result::ok).collect();
    names.sort();
    let (first, last) = (names.first()?, names.last()?);
    let authority = delegations.authority(delegator, first)?;
    let claims = Family::BOTH.iter().any(|family| family.name() == delegator.as_str());
    let what = if claims { "bucket(s) of claimed projects by name" } else { "bins by hash of the path" };
    let signers = keys(&authority);
    Some(Node {
        role: format!("{first} … {last}"),
        version: None,
        threshold: authority.threshold(),
        keys: short(&signers),
        paths: Some(format!("{} {what}", names.len())),
        children: Vec::new(),
        signers,
    })
}
