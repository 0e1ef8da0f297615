//! Verifies the whole repository as a client would, with the client's own code: every role, every target file, and
//! nothing in `metadata/` that is no role's. If all of that is well, what plain pip reads is compared with it.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::plain::Repair;
use super::{MAX_METADATA, Progress, Repository, RepositoryError, layout, path};
use crate::crypto::Hasher;
use crate::store::{Entry, StorePath};
use crate::tuf::lookup::Edge;
use crate::tuf::metadata::{Delegations, TargetFile, Targets};
use crate::tuf::path::{RoleName, TargetPath, percent_quote};
use crate::tuf::signed::Verified;
use crate::tuf::trusted::{Limits, Request, RootChain, TrustError, Trusted};

/// Bytes of a target file read at once.
const CHUNK: usize = 256 * 1024;

/// Something that a client would refuse, or that does not belong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Role or file.
    pub subject: String,
    /// What is wrong with it.
    pub what: String,
    /// Whether it is only that it has expired.
    pub expired: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Roles that verify.
    pub roles: u64,
    /// Target files that are as signed.
    pub targets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Superseded or left-over files that `gc` may remove; nothing is wrong with them.
    pub unreferenced: u64,
}

impl Checked {
    fn broken(&mut self, subject: &str, error: &RepositoryError) {
        let expired = matches!(error, RepositoryError::Trust(TrustError::Expired { .. }));
        let what = match error {
            RepositoryError::Trust(error) => error.to_string(),
            RepositoryError::Missing(file) => format!("{file} is missing"),
            other => other.to_string(),
        };
        self.problems.push(Problem { subject: subject.to_owned(), what, expired });
    }

    fn problem(&mut self, subject: impl Into<String>, what: &impl ToString) {
        self.problems.push(Problem { subject: subject.into(), what: what.to_string(), expired: false });
    }
}

impl Repository {
    /// Checks everything. Trust starts from the first root, as a client's would that has been there from the start.
    pub async fn check(
        &self,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Checked, RepositoryError> {
        let mut checked = Checked::default();
        let mut trusted = match self.top_level(now, &mut checked).await {
            Ok(trusted) => trusted,
            Err(error @ (RepositoryError::Trust(_) | RepositoryError::Missing(_))) => {
                checked.broken("top-level metadata", &error);
                return Ok(checked);
            }
            Err(error) => return Err(error),
        };
        let mut names: BTreeSet<String> =
            ["root", "timestamp", "snapshot", "targets"].map(ToOwned::to_owned).into();
        let (roles, complete) = self.all_roles(&mut trusted, &mut names, &mut checked, progress).await?;
        let total = u64::try_from(roles.len()).unwrap_or(u64::MAX);
        for (done, (edge, metadata)) in (1..).zip(&roles) {
            for (name, file) in &metadata.targets {
                self.check_target(name, file, edge, &mut checked).await?;
            }
            progress.at("checking files", done, total);
        }
        if !complete {
            return Ok(checked);
        }
        for (role, _) in trusted.snapshot().roles() {
            if !names.contains(&percent_quote(role, b"")) {
                checked.problem(role, &"is in the snapshot, but no role delegates to it");
            }
        }
        self.check_names(&names, &trusted, &mut checked).await?;
        if checked.problems.is_empty() {
            checked.problems = self.check_plain(Repair::No, progress).await?;
        }
        Ok(checked)
    }

    /// The client workflow over the store.
    async fn top_level(&self, now: DateTime<Utc>, checked: &mut Checked) -> Result<Trusted, RepositoryError> {
        let first =
            self.must_fetch(&Request { path: "1.root.json".to_owned(), max_len: MAX_METADATA }).await?;
        let limits = Limits { root_rotations: u32::MAX, ..Limits::default() };
        let mut chain = RootChain::start(first, now, limits)?;
        while let Some(bytes) = self.fetch(&chain.request()?).await? {
            chain.accept(bytes)?;
            checked.roles += 1;
        }
        let timestamp = chain.finish()?;
        let bytes = self.must_fetch(&timestamp.request()).await?;
        let snapshot = timestamp.accept(bytes)?;
        let bytes = self.must_fetch(&snapshot.request()?).await?;
        let targets = snapshot.accept(bytes)?;
        let bytes = self.must_fetch(&targets.request()?).await?;
        checked.roles += 4;
        Ok(targets.accept(bytes)?)
    }

    /// Every delegated role that verifies, depth first; in `names` also those that do not. And whether all roles that
    /// may delegate do: if not, nobody knows which names belong to a role.
    async fn all_roles(
        &self,
        trusted: &mut Trusted,
        names: &mut BTreeSet<String>,
        checked: &mut Checked,
        progress: &dyn Progress,
    ) -> Result<(Vec<(Edge, Verified<Targets>)>, bool), RepositoryError> {
        let mut complete = true;
        let mut stack = edges(&[(RoleName::targets(), trusted.targets().clone())], checked);
        let mut roles = Vec::new();
        let total = u64::try_from(trusted.snapshot().len()).unwrap_or(u64::MAX);
        while let Some(edge) = stack.pop() {
            names.insert(edge.role().file_stem());
            if trusted.delegated(&edge).is_some() {
                continue;
            }
            match self.one_role(trusted, &edge).await {
                Ok(metadata) => {
                    checked.roles += 1;
                    let mut chain = edge.chain().to_vec();
                    chain.push((edge.role().clone(), metadata.clone()));
                    stack.extend(edges(&chain, checked));
                    roles.push((edge, metadata));
                }
                Err(error @ (RepositoryError::Trust(_) | RepositoryError::Missing(_))) => {
                    complete &= edge.chain().len() > 1;
                    checked.broken(edge.role().as_str(), &error);
                }
                Err(error) => return Err(error),
            }
            progress.at("checking roles", checked.roles, total);
        }
        Ok((roles, complete))
    }

    async fn one_role(
        &self,
        trusted: &mut Trusted,
        edge: &Edge,
    ) -> Result<Verified<Targets>, RepositoryError> {
        let bytes = self.must_fetch(&trusted.request(edge)?).await?;
        trusted.accept(edge, bytes)?;
        trusted.delegated(edge).cloned().ok_or_else(|| RepositoryError::Missing(edge.role().to_string()))
    }

    async fn check_target(
        &self,
        name: &str,
        file: &TargetFile,
        edge: &Edge,
        checked: &mut Checked,
    ) -> Result<(), RepositoryError> {
        let target = match TargetPath::new(name) {
            Ok(target) => target,
            Err(error) => {
                checked.problem(edge.role().as_str(), &error);
                return Ok(());
            }
        };
        if !may_speak(edge, &target) {
            checked.problem(name, &format!("role {} lists it, but may not speak for it", edge.role()));
            return Ok(());
        }
        let Some(hash) = file.hashes.name() else {
            checked.problem(name, &"has no hash of a known algorithm");
            return Ok(());
        };
        let at = path(format!("{}/{}", layout::TARGETS, target.location(Some(&hash))))?;
        match self.measure(&at, file).await? {
            Ok(()) => {
                checked.targets += 1;
                checked.bytes += file.length;
            }
            Err(what) => checked.problem(at.as_str(), &what),
        }
        Ok(())
    }

    /// Length and hashes of a stored file against its entry.
    async fn measure(
        &self,
        at: &StorePath,
        file: &TargetFile,
    ) -> Result<Result<(), String>, RepositoryError> {
        let Some(stream) = self.store.open(at).await? else { return Ok(Err("is missing".to_owned())) };
        let (digests, length) = digest(stream, file.hashes.sha512.is_some(), at).await?;
        if length != file.length {
            return Ok(Err(format!("has {length} bytes, signed are {}", file.length)));
        }
        let same = file.hashes.check(&digests);
        Ok(same.map_err(|mismatch| format!("is not the file that was signed: {mismatch}")))
    }

    /// SHA-256 and length of a stored file.
    pub(super) async fn hash_stored(&self, at: &StorePath) -> Result<([u8; 32], u64), RepositoryError> {
        let stream = self.store.open(at).await?.ok_or_else(|| RepositoryError::Missing(at.to_string()))?;
        let (digests, length) = digest(stream, false, at).await?;
        Ok((digests.sha256, length))
    }

    /// Files in `metadata/` that are not current, or no role's at all.
    async fn check_names(
        &self,
        stems: &BTreeSet<String>,
        trusted: &Trusted,
        checked: &mut Checked,
    ) -> Result<(), RepositoryError> {
        let entries: Vec<Entry> = self.store.list(layout::METADATA).await?;
        for entry in entries {
            let name = entry.path.segments().last().unwrap_or_default().to_owned();
            let Some((version, stem)) = split_name(&name) else {
                if !matches!(name.as_str(), "timestamp.json" | "root.json") {
                    checked.problem(entry.path.as_str(), &"is no metadata file of this repository");
                }
                continue;
            };
            if !stems.contains(stem) {
                checked.problem(entry.path.as_str(), &"belongs to no role of this repository");
            } else if stem != "root" && current(trusted, stem) != Some(version) {
                checked.unreferenced += 1;
            }
        }
        Ok(())
    }

    async fn fetch(&self, request: &Request) -> Result<Option<Vec<u8>>, RepositoryError> {
        let at = path(format!("{}/{}", layout::METADATA, request.path))?;
        Ok(self.store.get(&at, request.max_len).await?.map(|object| object.bytes))
    }

    async fn must_fetch(&self, request: &Request) -> Result<Vec<u8>, RepositoryError> {
        self.fetch(request).await?.ok_or_else(|| RepositoryError::Missing(request.path.clone()))
    }
}

async fn digest(
    mut stream: Pin<Box<dyn AsyncRead + Send>>,
    sha512: bool,
    at: &StorePath,
) -> Result<(crate::crypto::Digests, u64), RepositoryError> {
    let mut hasher = Hasher::new(sha512);
    let mut buffer = vec![0; CHUNK];
    let mut length = 0_u64;
    loop {
        let count = stream.read(&mut buffer).await.map_err(|error| RepositoryError::File {
            what: "reading",
            file: at.to_string(),
            reason: error.to_string(),
        })?;
        if count == 0 {
            return Ok((hasher.finish(), length));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        length = length.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// Whether every delegation on the way to the role matches the target.
fn may_speak(edge: &Edge, target: &TargetPath) -> bool {
    let below = edge.chain().iter().skip(1).map(|(role, _)| role).chain([edge.role()]);
    edge.chain().iter().zip(below).all(|((_, delegator), role)| {
        let matching =
            delegator.delegations.as_ref().and_then(|delegations| delegations.matching(target).ok());
        matching.is_some_and(|matching| matching.iter().any(|matched| matched.role == *role))
    })
}

fn edges(chain: &[(RoleName, Verified<Targets>)], checked: &mut Checked) -> Vec<Edge> {
    let Some((role, metadata)) = chain.last() else { return Vec::new() };
    let (mut edges, shared) = (Vec::new(), Arc::from(chain));
    for name in metadata.delegations.iter().flat_map(Delegations::names) {
        match name {
            Ok(name) => edges.push(Edge::new(Arc::clone(&shared), name)),
            Err(error) => checked.problem(role.as_str(), &error),
        }
    }
    edges.reverse();
    edges
}

/// `N.stem.json` taken apart.
pub(super) fn split_name(name: &str) -> Option<(u64, &str)> {
    let (version, rest) = name.split_once('.')?;
    Some((version.parse().ok()?, rest.strip_suffix(".json")?))
}

/// The current version of a role, by its quoted name.
fn current(trusted: &Trusted, stem: &str) -> Option<u64> {
    if stem == "snapshot" {
        return Some(trusted.snapshot().common.version);
    }
    let snapshot = trusted.snapshot();
    let quoted = || snapshot.roles().find(|(role, _)| percent_quote(role, b"") == stem).map(|(_, file)| file);
    snapshot.role(stem).or_else(quoted).map(|file| file.version)
}
