//! What clients type.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use clap::Args;
use pep508_rs::{Requirement, VerbatimUrl, VersionOrUrl};
use serde::Serialize;

use super::Context;
use super::exit::{SomeFailed, Usage, client as client_code};
use super::logged::{Heard, Logged, warn_logs, warn_recorder};
use super::output::{BAD, FAINT, GOOD, STRONG, styled, until};
use super::trust::QuorumArg;
pub(super) use super::trust::{Trust, TrustArg};
use super::verify_env::EnvironmentArg;
use crate::client::{Agreed, ClientError, LogError, Proven, Session, Sitting, VerifiedFile, Vote};
use crate::python::{DistributionFilename, ProjectName, ProjectPage, files_of, universal};
use crate::repository::{Link, Progress};
use crate::tuf::lookup::Found;
use crate::tuf::metadata::{Role, TargetFile, TopLevel};
use crate::tuf::path::TargetPath;
use crate::tuf::signed::{Authority, Verified};
use crate::tuf::trusted::Trusted;

/// Bytes of a project's page, at most: the largest real ones have some 20 MB.
pub(super) const MAX_PAGE: u64 = 64 * 1024 * 1024;
/// Projects that are asked for at once.
pub(super) const PAGES_AT_ONCE: usize = 8;

/// Exit codes that say something about a file; the others say that it could not be judged.
const JUDGEMENTS: [u8; 4] = [3, 4, 5, 6];

/// Download a file, verified.
#[derive(Debug, Args)]
pub(crate) struct Download {
    #[command(flatten)]
    trust: QuorumArg,
    /// Where to put it
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    to: PathBuf,
    /// All files of the version that a requirement means
    #[arg(long)]
    all: bool,
    /// Files to fetch at once
    #[arg(long, value_name = "N", default_value = "6")]
    jobs: NonZeroUsize,
    /// A file name, a target path (project/file), or a requirement such as 'six>=1.16'
    #[arg(required = true, value_name = "TARGET|REQUIREMENT")]
    what: Vec<String>,
}

#[derive(Serialize)]
struct Downloaded {
    target: String,
    path: PathBuf,
    length: u64,
    sha256: Option<String>,
    fetched: bool,
    /// The repositories that sign it.
    agreed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Logged>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorders: Option<Heard>,
}

impl Download {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let quorum = self.trust.quorum()?;
        let sitting = self.trust.sit(&quorum, context).await?;
        let mut wanted = Vec::new();
        for what in &self.what {
            for target in targets_meant(&sitting, what, self.all, context).await? {
                let (agreed, to) = (sitting.find(&target).await?, self.to.join(target.file_name()));
                wanted.push((agreed, to));
            }
        }
        let bar = context.out.progress();
        let told = |done, total| bar.at("downloading", done, total);
        let files = sitting.download_all(&wanted, self.jobs, &told).await?;
        let downloaded: Vec<_> =
            wanted.iter().zip(&files).map(|((agreed, _), file)| downloaded(agreed, file)).collect();
        warn_logs(&sitting, context);
        context.out.result(&downloaded, || {
            for file in &downloaded {
                let how = if file.fetched { "verified" } else { "verified (was there already)" };
                let recorded = file.recorders.as_ref().map(Heard::brief).unwrap_or_default();
                context.out.line(format_args!("{} {}{recorded}", styled(GOOD, how), file.path.display()));
            }
        })
    }
}

fn downloaded(agreed: &Agreed<'_>, file: &VerifiedFile) -> Downloaded {
    Downloaded {
        target: agreed.path.to_string(),
        path: file.path().to_owned(),
        length: file.target().length,
        sha256: file.target().hashes.sha256.map(hex::encode),
        fetched: file.fetched(),
        agreed: agreed.votes.iter().map(|vote| vote.repository.to_owned()).collect(),
        log: file.inclusion().map(Logged::from),
        recorders: file.recorded().map(Heard::from),
    }
}

/// Target paths as they stand; file names by their project; requirements by the project's signed page.
async fn targets_meant(
    sitting: &Sitting<'_>,
    what: &str,
    all: bool,
    context: &Context,
) -> anyhow::Result<Vec<TargetPath>> {
    if let Some(target) = named_target(what)? {
        return Ok(vec![target]);
    }
    let usage =
        |error: String| Usage(format!("{what:?} is no target path, file name or requirement: {error}"));
    let requirement = Requirement::<VerbatimUrl>::from_str(what).map_err(|e| usage(e.to_string()))?;
    let specifiers = match requirement.version_or_url {
        None => pep440_rs::VersionSpecifiers::empty(),
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers,
        Some(VersionOrUrl::Url(_)) => return Err(usage("a URL is not looked up".to_owned()).into()),
    };
    let project = ProjectName::from_str(requirement.name.as_ref()).map_err(|e| usage(e.to_string()))?;
    let Some(page) = project_page(sitting, &project, context).await? else {
        return Err(Usage(format!("the repository has no project {project}")).into());
    };
    let files = files_of(&page, &specifiers)?;
    let files = if all { files } else { vec![universal(&page, &files)?] };
    files.iter().map(|file| Ok(TargetPath::new(format!("{project}/{}", file.filename))?)).collect()
}

/// The page of a project, if it has one, with those files alone that enough repositories list. Says what it leaves out:
/// a newer file that one repository has not got yet, or that only one of them has ever heard of.
pub(super) async fn project_page(
    sitting: &Sitting<'_>,
    project: &ProjectName,
    context: &Context,
) -> anyhow::Result<Option<ProjectPage>> {
    let (votes, threshold) = sitting.each(&TargetPath::new(format!("simple/{project}/index.json"))?).await?;
    let mut pages = Vec::new();
    for Vote { repository, found } in votes {
        let bytes = sitting.session(repository).await?.read(&found, MAX_PAGE).await?;
        pages.push(ProjectPage::from_json(&bytes)?);
    }
    let Some(first) = pages.first() else { return Ok(None) };
    let mut agreed = first.clone();
    for file in first.files() {
        agreed.remove(file.filename.as_str());
    }
    let mut left_out = BTreeSet::new();
    for file in pages.iter().flat_map(ProjectPage::files) {
        let name = file.filename.as_str();
        let same = |page: &&ProjectPage| page.file(name).is_some_and(|other| other.sha256 == file.sha256);
        let count = pages.iter().filter(same).count();
        if count >= threshold {
            agreed.insert(file.clone());
        } else if left_out.insert((name, file.sha256.to_string())) {
            context.out.note(format_args!(
                "{name} is left out: {count} of {} repositories list it as {}, {threshold} must",
                pages.len(),
                file.sha256
            ));
        }
    }
    Ok(Some(agreed))
}

/// A target path or the file name of a distribution; neither: a requirement, perhaps.
fn named_target(what: &str) -> anyhow::Result<Option<TargetPath>> {
    if what.contains('/') {
        return Ok(Some(TargetPath::new(what).map_err(|error| Usage(error.to_string()))?));
    }
    let Ok(filename) = DistributionFilename::from_str(what) else { return Ok(None) };
    Ok(Some(TargetPath::new(format!("{}/{filename}", filename.project()))?))
}

/// Are these local files exactly what the repository signed?
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    trust: QuorumArg,
    /// Take the file for this target, whatever its name is
    #[arg(long = "as", value_name = "TARGET", conflicts_with = "below")]
    target: Option<String>,
    /// The files are a mirror: the path below this folder is the target's. Without FILE: every file in it
    #[arg(long, value_name = "DIR")]
    below: Option<PathBuf>,
    /// Each hash in this lock file: uv.lock, pylock.toml, poetry.lock, pdm.lock, Pipfile.lock, or requirements in a .txt;
    /// may be repeated
    #[arg(long = "lock", value_name = "FILE", conflicts_with_all = ["target", "below", "files"])]
    locks: Vec<PathBuf>,
    /// Leave this project of a lock file or environment out, such as one from another index; may be repeated
    #[arg(long, value_name = "NAME")]
    except: Vec<String>,
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Wheels and sdists
    #[arg(required_unless_present_any = ["below", "locks", "env"], value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Verdict {
    file: PathBuf,
    target: String,
    ok: bool,
    /// Whether anything is known about it; a file that could not be judged is neither good nor bad.
    judged: bool,
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Logged>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorders: Option<Heard>,
}

impl Verdict {
    fn new(file: PathBuf, target: &TargetPath, outcome: &Result<VerifiedFile, ClientError>) -> Self {
        let error = outcome.as_ref().err();
        let about_it = |error: &ClientError| match error {
            // Recorders that do not answer say nothing of the file.
            ClientError::Log(LogError::Unrecorded { .. }) => false,
            ClientError::Log(_) => true,
            error => JUDGEMENTS.contains(&client_code(error)),
        };
        let (judged, reason) = (error.is_none_or(about_it), error.map(ToString::to_string));
        let verified = outcome.as_ref().ok();
        let log = verified.and_then(VerifiedFile::inclusion).map(Logged::from);
        let recorders = verified.and_then(VerifiedFile::recorded).map(Heard::from);
        Self { file, target: target.to_string(), ok: error.is_none(), judged, reason, log, recorders }
    }

    fn line(&self) -> String {
        let file = self.file.display();
        match &self.reason {
            None => {
                let logged = if self.log.is_some() { " and logged" } else { "" };
                let recorded = self.recorders.as_ref().map(Heard::brief).unwrap_or_default();
                format!("{} {file} is what was signed{logged}{recorded}", styled(GOOD, "ok"))
            }
            Some(reason) if !self.judged => format!("{} {file}: {reason}", styled(STRONG, "unknown")),
            Some(reason) => format!("{} {file}: {reason}", styled(BAD, "BAD")),
        }
    }
}

impl Verify {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        if !self.locks.is_empty() {
            return super::lock::verify(&self.trust, &self.locks, &self.except, context).await;
        }
        if let Some(path) = self.environment.path() {
            return super::verify_env::verify(&self.trust, &path, &self.environment, &self.except, context)
                .await;
        }
        if !self.except.is_empty() {
            return Err(Usage("--except goes with --lock or --env".to_owned()).into());
        }
        if self.target.is_some() && self.files.len() > 1 {
            return Err(Usage("--as goes with one file".to_owned()).into());
        }
        let quorum = self.trust.quorum()?;
        let files = self.named()?;
        let sitting = self.trust.sit(&quorum, context).await?;
        let (mut found, mut wanted) = (Vec::new(), Vec::new());
        for (file, target) in files {
            match sitting.find(&target).await {
                Ok(agreed) => {
                    found.push((agreed, file.clone()));
                    wanted.push((file, target, None));
                }
                Err(error) => wanted.push((file, target, Some(error))),
            }
        }
        let mut verified = sitting.verify_all(&found).await.into_iter();
        let (mut verdicts, mut code) = (Vec::new(), 0);
        for (file, target, not_found) in wanted {
            let outcome = match not_found {
                Some(error) => Err(error),
                None => verified.next().context("a file without a verdict")?,
            };
            if let (Err(error), 0) = (&outcome, code) {
                code = client_code(error);
            }
            verdicts.push(Verdict::new(file, &target, &outcome));
        }
        warn_logs(&sitting, context);
        context.out.result(&verdicts, || {
            for verdict in &verdicts {
                context.out.line(verdict.line());
            }
        })?;
        let failed = verdicts.iter().filter(|verdict| !verdict.ok).count();
        match failed {
            0 => Ok(()),
            _ => Err(SomeFailed { text: format!("{failed} of {} failed", verdicts.len()), code }.into()),
        }
    }

    /// The files, and what each should be.
    fn named(&self) -> anyhow::Result<Vec<(PathBuf, TargetPath)>> {
        let all = match &self.below {
            Some(folder) if self.files.is_empty() => files_below(folder)?,
            _ => self.files.clone(),
        };
        let named = all.into_iter().map(|file| {
            if !file.is_file() {
                return Err(Usage(format!("there is no file {}", file.display())).into());
            }
            let target = self.target_of(&file)?;
            Ok((file, target))
        });
        named.collect()
    }

    fn target_of(&self, file: &Path) -> anyhow::Result<TargetPath> {
        if let Some(folder) = &self.below {
            return path_below(folder, file);
        }
        let name = match &self.target {
            Some(target) => target.as_str(),
            None => file.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
        };
        let usage = || {
            Usage(format!("{} is not named like a wheel or sdist; say what it is with --as", file.display()))
        };
        Ok(named_target(name)?.ok_or_else(usage)?)
    }
}

/// Everything in a folder that is no folder. Links are not followed on the way, only to the file itself.
fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        return Err(Usage(format!("there is no file in {}", folder.display())).into());
    }
    Ok(files)
}

fn path_below(folder: &Path, file: &Path) -> anyhow::Result<TargetPath> {
    let outside = || Usage(format!("{} is not below {}", file.display(), folder.display()));
    let path = file.strip_prefix(folder).map_err(|_| outside())?;
    let name = path.to_str().ok_or_else(|| Usage(format!("{} is not UTF-8", file.display())))?;
    Ok(TargetPath::new(name).map_err(|error| Usage(error.to_string()))?)
}

/// Why a file is trusted: which roles, keys, thresholds, versions and expiries. A local file is verified first.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    trust: QuorumArg,
    /// A local file, a file name, or a target path (project/file)
    target: String,
}

#[derive(Serialize)]
pub(super) struct Explained {
    target: String,
    length: u64,
    sha256: Option<String>,
    sha512: Option<String>,
    /// The index whose word the hash is, if the repository did not see the file itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    hashes_from: Option<String>,
    roles: Vec<Link>,
    /// Where it is in the transparency log.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Logged>,
    /// What recorders say of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorders: Option<Heard>,
    /// What is said where it is in none.
    #[serde(skip)]
    unlogged: &'static str,
}

/// The same for one of many files: roles by name, each of them told of once.
#[derive(Serialize)]
pub(super) struct Brief {
    target: String,
    length: u64,
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha512: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hashes_from: Option<String>,
    /// The role that lists it.
    role: String,
    version: u64,
    /// From root to that one; delegated roles as `DELEGATOR/ROLE`.
    roles: Vec<String>,
    /// Where it is in the transparency log.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Logged>,
    /// What recorders say of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorders: Option<Heard>,
}

impl Explained {
    /// In brief, and the roles by the names they have there.
    pub(super) fn in_brief(self) -> (Brief, Vec<(String, Link)>) {
        let name = |link: &Link| match link.trusted_by.as_str() {
            "root" => link.role.clone(),
            delegator => format!("{delegator}/{}", link.role),
        };
        let links: Vec<_> = self.roles.into_iter().map(|link| (name(&link), link)).collect();
        let last = links.last().map(|(_, link)| (link.role.clone(), link.version));
        let (role, version) = last.unwrap_or_default();
        let (target, length, sha256, sha512) = (self.target, self.length, self.sha256, self.sha512);
        let roles = links.iter().map(|(name, _)| name.clone()).collect();
        let (hashes_from, log, recorders) = (self.hashes_from, self.log, self.recorders);
        let brief =
            Brief { target, length, sha256, sha512, hashes_from, role, version, roles, log, recorders };
        (brief, links)
    }
}

impl Explain {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let file = Path::new(&self.target);
        let name = if file.is_file() { file.file_name().and_then(|name| name.to_str()) } else { None };
        let target = named_target(name.unwrap_or(&self.target))?
            .ok_or_else(|| Usage(format!("{:?} is no target path or file name", self.target)))?;
        let quorum = self.trust.quorum()?;
        let sitting = self.trust.sit(&quorum, context).await?;
        let agreed = sitting.find(&target).await?;
        if name.is_some() {
            let local = [(agreed.clone(), file.to_owned())];
            sitting.verify_all(&local).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        let mut all = Vec::new();
        for (vote, proven) in agreed.votes.iter().zip(sitting.prove(&agreed).await?) {
            let session = sitting.session(vote.repository).await?;
            all.push((vote.repository, explained(session, &proven)?));
        }
        for (repository, warning) in sitting.recorder_warnings() {
            warn_recorder(repository, &warning, context);
        }
        if let [(_, only)] = all.as_slice() {
            return context.out.result(only, || lines(context, drawn(only, context)));
        }
        let by_name: BTreeMap<_, _> =
            all.iter().map(|(repository, explained)| (*repository, explained)).collect();
        context.out.result(&by_name, || {
            for (repository, explained) in &all {
                context.out.line(format_args!("{}:", styled(STRONG, repository)));
                lines(context, drawn(explained, context));
            }
            let (count, threshold) = (all.len(), agreed.threshold);
            context.out.line(format_args!("{count} repositories agree, {threshold} must"));
        })
    }
}

fn lines(context: &Context, lines: Vec<String>) {
    for line in lines {
        context.out.line(line);
    }
}

/// What `import --from-index` notes with a target.
fn hashes_from(target: &TargetFile) -> Option<String> {
    let (_, custom) = target.extra.iter().find(|(name, _)| name == "custom")?;
    let from = custom.get("hashes-from")?.as_str()?;
    (!from.contains(char::is_control)).then(|| from.to_owned())
}

/// Why a target is trusted.
pub(super) fn explained(session: &Session, target: &Proven) -> anyhow::Result<Explained> {
    let unlogged = match session.log() {
        None => "in no transparency log that was asked for",
        Some(_) => "not logged itself, as pages and attestations are not; the snapshot that signs it is",
    };
    let (log, recorders) = (target.inclusion().map(Logged::from), target.recorded().map(Heard::from));
    let (found, roles) = (target.found(), session.with_trusted(|trusted| links(trusted, target.found()))?);
    Ok(Explained {
        target: found.path.to_string(),
        length: found.target.length,
        sha256: found.target.hashes.sha256.map(hex::encode),
        sha512: found.target.hashes.sha512.as_ref().map(|digest| hex::encode(digest.as_slice())),
        hashes_from: hashes_from(&found.target),
        roles,
        log,
        recorders,
        unlogged,
    })
}

/// The roles from root to the one that lists a target.
fn links(trusted: &Trusted, found: &Found) -> anyhow::Result<Vec<Link>> {
    let root = trusted.root();
    let mut roles = vec![
        link(root, &root.authority(TopLevel::Root)),
        link(trusted.timestamp(), &root.authority(TopLevel::Timestamp)),
        link(trusted.snapshot(), &root.authority(TopLevel::Snapshot)),
        link(trusted.targets(), &root.authority(TopLevel::Targets)),
    ];
    for pair in found.chain.windows(2) {
        if let [(delegator, metadata), (role, delegated)] = pair {
            let delegations = metadata.delegations.as_ref();
            let authority = delegations.and_then(|delegations| delegations.authority(delegator, role));
            roles.push(link(delegated, &authority.context("a delegation without its delegator")?));
        }
    }
    Ok(roles)
}

fn link<T: Role>(metadata: &Verified<T>, authority: &Authority<'_>) -> Link {
    Link::new(metadata.common(), metadata.signers(), authority)
}

/// The chain as a tree: what vouches for freshness, then what vouches for the file.
fn drawn(explained: &Explained, context: &Context) -> Vec<String> {
    let mut lines = vec![format!("{} is trusted because", styled(STRONG, &explained.target))];
    let text = |link: &Link| {
        let keys = link.signed_by.iter().map(|signer| signer.keyid.chars().take(8).collect::<String>());
        let keys = keys.collect::<Vec<_>>();
        let left = until(link.expires, context.now);
        let (role, version, signed, keys_total) = (&link.role, link.version, link.signed_by.len(), link.keys);
        let signatures =
            format!("{signed}/{keys_total} signed, needs {}: {}", link.threshold, keys.join(" "));
        format!("{} v{version}, {left} left  {}", styled(STRONG, role), styled(FAINT, signatures))
    };
    let mut depth = 0;
    for link in &explained.roles {
        let prefix = match link.role.as_str() {
            "root" => String::new(),
            "timestamp" | "snapshot" => "├─ ".to_owned(),
            _ => {
                depth += 1;
                format!("{}└─ ", "   ".repeat(depth - 1))
            }
        };
        lines.push(format!("{prefix}{}", text(link)));
    }
    let hash = explained.sha256.as_ref().map(|hash| format!("SHA-256\n{hash}"));
    let hash = hash.or_else(|| explained.sha512.as_ref().map(|hash| format!("SHA-512 {hash}")));
    let indent = "   ".repeat(depth);
    lines.push(format!("{indent}└─ {} bytes with {}", explained.length, hash.unwrap_or_default()));
    lines.extend(explained.hashes_from.as_ref().map(|from| format!("{indent}   hash as told by {from}")));
    let log = explained.log.as_ref().map_or_else(|| styled(FAINT, explained.unlogged), Logged::line);
    lines.push(format!("{indent}   {log}"));
    let recorders = explained.recorders.iter().flat_map(Heard::lines);
    lines.extend(recorders.map(|line| format!("{indent}   {line}")));
    lines
}
