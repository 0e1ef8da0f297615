//! Which role answers for a target: pre-order depth-first search (specification section 5.6.7); no I/O.
//!
//! The caller drives it: [`Search::step`] says which role it needs next, the caller gets that role accepted by
//! [`Trusted::accept`] and steps again. Nothing is asked for before it is needed.
//!
//! - each (delegator, role) pair is visited once, so cycles end;
//! - a role is asked only if the delegation that leads to it matches the path, so every link of the chain matches;
//! - a terminating delegation ends the search only if its own path matched;
//! - a role that is absent from the snapshot, or fails its checks, ends the search with an error: not found is an
//!   answer, cannot tell is not.

use std::collections::HashSet;
use std::sync::Arc;

use super::metadata::{TargetFile, Targets};
use super::path::{RoleName, TargetPath};
use super::signed::{Authority, Verified};
use super::trusted::{TrustError, Trusted};

/// A delegation that the search has reached: a role, and the chain of roles that led to it.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Shared by all that one delegator leads to.
    chain: Arc<[(RoleName, Verified<Targets>)]>,
    delegator: RoleName,
    role: RoleName,
}

impl Edge {
    /// From a verified delegator to one of its roles, without a search: for checks that visit everything.
    pub fn new(chain: Arc<[(RoleName, Verified<Targets>)]>, role: RoleName) -> Self {
        let delegator = chain.last().map_or_else(RoleName::targets, |(name, _)| name.clone());
        Self { chain, delegator, role }
    }

    /// The role to be asked.
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// The roles from top-level targets down to the delegator.
    pub fn chain(&self) -> &[(RoleName, Verified<Targets>)] {
        &self.chain
    }

    pub(super) fn pair(&self) -> (RoleName, RoleName) {
        (self.delegator.clone(), self.role.clone())
    }

    /// What the delegator says of the role.
    pub fn authority(&self) -> Result<Authority<'_>, TrustError> {
        let delegations = self.chain.last().and_then(|(_, metadata)| metadata.delegations.as_ref());
        delegations
            .and_then(|delegations| delegations.authority(&self.delegator, &self.role))
            .ok_or_else(|| TrustError::NotInSnapshot { role: self.role.to_string() })
    }
}

/// A target and the roles that vouch for it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The path.
    pub path: TargetPath,
    /// Length and hashes.
    pub target: TargetFile,
    /// From top-level targets to the role that lists the target.
    pub chain: Vec<(RoleName, Verified<Targets>)>,
}

/// What the search needs or knows.
#[derive(Debug)]
pub enum Step {
    /// The answer.
    Found(Box<Found>),
    /// No role that may speak for the path lists it.
    NotFound,
    /// Get this role accepted, then step again.
    Need(Edge),
}

/// A search for one target.
#[derive(Debug)]
pub struct Search {
    path: TargetPath,
    stack: Vec<Edge>,
    visited: HashSet<(RoleName, RoleName)>,
    started: bool,
}

impl Search {
    /// A search that has visited nothing.
    pub fn new(path: TargetPath) -> Self {
        Self { path, stack: Vec::new(), visited: HashSet::new(), started: false }
    }

    /// Goes as far as the accepted roles allow.
    pub fn step(&mut self, trusted: &Trusted) -> Result<Step, TrustError> {
        if !self.started {
            self.started = true;
            let top = vec![(RoleName::targets(), trusted.targets().clone())];
            if let Some(found) = self.visit(top, trusted.limits().visited_roles)? {
                return Ok(found);
            }
        }
        let limit = trusted.limits().visited_roles;
        while let Some(edge) = self.stack.pop() {
            if self.visited.contains(&edge.pair()) {
                continue;
            }
            if self.visited.len() >= limit {
                return Err(TrustError::TooManyRoles { limit });
            }
            let Some(metadata) = trusted.delegated(&edge) else {
                self.stack.push(edge.clone());
                return Ok(Step::Need(edge));
            };
            self.visited.insert(edge.pair());
            let mut chain = edge.chain.to_vec();
            chain.push((edge.role, metadata.clone()));
            if let Some(found) = self.visit(chain, limit)? {
                return Ok(found);
            }
        }
        Ok(Step::NotFound)
    }

    /// Looks into the last role of `chain`, and notes whom it delegates the path to.
    fn visit(
        &mut self,
        chain: Vec<(RoleName, Verified<Targets>)>,
        limit: usize,
    ) -> Result<Option<Step>, TrustError> {
        let Some((_, metadata)) = chain.last() else { return Ok(None) };
        if let Some(target) = metadata.targets.get(self.path.as_str()) {
            let found = Found { path: self.path.clone(), target: target.clone(), chain };
            return Ok(Some(Step::Found(Box::new(found))));
        }
        let Some(delegations) = &metadata.delegations else { return Ok(None) };
        let mut matched = delegations.matching(&self.path)?;
        if let Some(end) = matched.iter().position(|matched| matched.terminating) {
            matched.truncate(end + 1);
            self.stack.clear();
        }
        // More than may be visited are not even noted.
        matched.truncate(limit.saturating_add(1));
        let chain: Arc<[_]> = chain.into();
        self.stack
            .extend(matched.into_iter().rev().map(|matched| Edge::new(Arc::clone(&chain), matched.role)));
        Ok(None)
    }
}
