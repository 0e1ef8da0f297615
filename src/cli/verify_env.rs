//! `verify --env`: what is installed, against verified wheels.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File};
use std::io::BufReader;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::pin;

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::Serialize;

use super::Context;
use super::client::{PAGES_AT_ONCE, project_page};
use super::exit::{self, SomeFailed, client as client_code};
use super::lock::names;
use super::logged::warn_logs;
use super::output::{BAD, FAINT, GOOD, STRONG, styled};
use super::trust::QuorumArg;
use crate::client::trust::cache_home;
use crate::client::{Agreed, ClientError, FileError, OpenFile, Session, Sitting};
use crate::environment::{Compared, Environment, Finding, Installed, Problem, Strangers};
use crate::python::{ArchiveLimits, DistributionFilename, Kind, PageFile, ProjectName, ProjectPage, Yanked};
use crate::repository::Progress;
use crate::tuf::path::TargetPath;

/// Wheels of one version that an installed one is compared with, at most: those with its tags, of which there is one, but for
/// wheels that were renamed.
const MAX_TRIED: usize = 4;
/// Wheels that are fetched at once.
const JOBS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(5);
/// The environment in a project's folder.
const DEFAULT: &str = ".venv";

/// What is verified instead of files.
#[derive(Debug, Args)]
pub(super) struct EnvironmentArg {
    /// What is installed in this environment, file by file: a virtual environment, its python, or site-packages. Without PATH: the one that
    /// is active, or .venv
    #[arg(long, value_name = "PATH", num_args = 0..=1, conflicts_with_all = ["target", "below", "locks", "files"])]
    #[expect(clippy::option_option, reason = "clap's form of an option whose value may be left out")]
    env: Option<Option<PathBuf>>,
    /// With --env: that this package was built from an sdist is no fault, though it cannot be compared; may be repeated
    #[arg(long, value_name = "NAME", requires = "env")]
    allow_built: Vec<ProjectName>,
    /// With --env: bytecode is a fault. Python may run it instead of the source, and it cannot be compared
    #[arg(long, requires = "env")]
    no_bytecode: bool,
    /// With --env: this file in site-packages is no fault, though it belongs to nothing; may be repeated
    #[arg(long, value_name = "FILE", requires = "env")]
    allow_file: Vec<PathBuf>,
    /// With --env: where verified files are kept for the next time
    #[arg(long, value_name = "DIR", env = "WHEELSEAL_CACHE")]
    cache: Option<PathBuf>,
}

impl EnvironmentArg {
    /// Which environment, if one is asked for.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let active = || std::env::var_os("VIRTUAL_ENV").map_or_else(|| DEFAULT.into(), PathBuf::from);
        self.env.as_ref().map(|path| path.clone().unwrap_or_else(active))
    }
}

/// How an installed distribution stands to what is signed.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
enum Verdict {
    /// Every file is the wheel's.
    Verified { wheel: String, yanked: bool },
    /// Some are not.
    Differs {
        wheel: String,
        count: usize,
        findings: Vec<Finding>,
        #[serde(skip)]
        yanked: bool,
    },
    /// No signed wheel of the version has its tags, and there is an sdist.
    Built,
    /// No signed file of this version can be it.
    NotListed,
    /// The index has it in quarantine.
    Quarantined,
    /// The repository has no such project.
    Unknown,
    /// It says to come from a URL or a folder.
    Elsewhere { place: String },
    /// The wheel cannot be had, or read.
    NoWheel { reason: String, code: u8 },
    /// Left out by --except.
    LeftOut,
    /// Nothing is compared, and it is there more than once: one of them may be anybody's.
    Twice,
}

#[derive(Debug, Serialize)]
struct Judged {
    project: String,
    version: String,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Serialize)]
struct Report<'a> {
    environment: &'a Path,
    packages: &'a [Judged],
    /// Files that belong to nothing.
    strangers: &'a [Finding],
    /// How many of them there are.
    strangers_count: usize,
    /// Files of bytecode, which were not compared.
    bytecode: usize,
}

/// A distribution, and the verified wheels that it may come from.
struct Candidate<'a> {
    installed: &'a Installed,
    wheels: Result<Vec<(DistributionFilename, OpenFile)>, Verdict>,
    yanked: BTreeSet<String>,
}

/// Each installed file against what is signed.
pub(super) async fn verify(
    trust: &QuorumArg,
    path: &Path,
    how: &EnvironmentArg,
    except: &[String],
    context: &Context,
) -> anyhow::Result<()> {
    let (environment, except) = (Environment::find(path)?, names(except)?);
    let installed = environment.distributions()?;
    let quorum = trust.quorum()?;
    let sitting = trust.sit(&quorum, context).await?;
    let cache = match &how.cache {
        Some(cache) => std::path::absolute(cache)?,
        None => cache_home()?,
    };
    let (bar, total) = (context.out.progress(), u64::try_from(installed.len()).unwrap_or(u64::MAX));
    let ask = async |installed| candidate(installed, &except, &sitting, &cache, context).await;
    let mut asked = pin!(stream::iter(&installed).map(ask).buffered(PAGES_AT_ONCE));
    let mut candidates = Vec::new();
    while let Some(candidate) = asked.try_next().await? {
        candidates.push(candidate);
        bar.at("asking for wheels", u64::try_from(candidates.len()).unwrap_or(u64::MAX), total);
    }
    let mut compared: Vec<_> =
        candidates.into_par_iter().map(|candidate| compared(&environment, candidate)).collect();
    share_scripts(&environment, &mut compared);
    let (owned, packages) = accounted(&environment, &installed, compared);
    let strangers = environment.strangers(&owned, &how.allow_file)?;
    let strangers = if how.no_bytecode { with_bytecode(strangers) } else { strangers };
    let report = Report {
        environment: environment.path(),
        packages: &packages,
        strangers: &strangers.findings,
        strangers_count: strangers.count,
        bytecode: strangers.bytecode.len(),
    };
    warn_logs(&sitting, context);
    context.out.result(&report, || show(&report, how, context))?;
    if environment.shows_system() {
        context.out.note("the environment shows modules of the system too, which were not looked at");
    }
    require(&packages, &strangers, how)
}

/// The signed wheels that a distribution may come from, fetched and checked.
async fn candidate<'a>(
    installed: &'a Installed,
    except: &BTreeSet<String>,
    sitting: &Sitting<'_>,
    cache: &Path,
    context: &Context,
) -> anyhow::Result<Candidate<'a>> {
    let without = |verdict| Candidate { installed, wheels: Err(verdict), yanked: BTreeSet::new() };
    if except.contains(installed.project.as_str()) {
        return Ok(without(Verdict::LeftOut));
    }
    if let Some(place) = &installed.elsewhere {
        return Ok(without(Verdict::Elsewhere { place: place.clone() }));
    }
    let Some(page) = project_page(sitting, &installed.project, context).await? else {
        return Ok(without(Verdict::Unknown));
    };
    let files = match chosen(&page, installed) {
        Ok(files) => files,
        Err(verdict) => return Ok(without(verdict)),
    };
    let (mut wheels, mut yanked) = (Vec::new(), BTreeSet::new());
    for file in files {
        if file.yanked != Yanked::No {
            yanked.insert(file.filename.to_string());
        }
        match open(&file.filename, sitting, cache).await {
            Ok(open) => wheels.push((file.filename.clone(), open)),
            Err(error) => {
                let (reason, code) = (error.to_string(), client_code(&error));
                return Ok(without(Verdict::NoWheel { reason, code }));
            }
        }
    }
    Ok(Candidate { installed, wheels: Ok(wheels), yanked })
}

/// The wheels of a page with the version and tags of what is installed.
fn chosen<'a>(page: &'a ProjectPage, installed: &Installed) -> Result<Vec<&'a PageFile>, Verdict> {
    if page.offered().is_empty() && !page.files().is_empty() {
        return Err(Verdict::Quarantined);
    }
    let of_version: Vec<_> =
        page.offered().iter().filter(|file| *file.filename.version() == installed.version).collect();
    let wheels = || of_version.iter().copied().filter_map(|file| Some((file, tags(file.filename.kind())?)));
    let mut found: Vec<_> =
        wheels().filter(|(_, tags)| *tags == installed.tags).map(|(file, _)| file).collect();
    if found.is_empty() {
        found =
            wheels().filter(|(_, tags)| !tags.is_disjoint(&installed.tags)).map(|(file, _)| file).collect();
    }
    found.truncate(MAX_TRIED);
    match found.is_empty() {
        false => Ok(found),
        true if of_version.iter().any(|file| tags(file.filename.kind()).is_none()) => Err(Verdict::Built),
        true => Err(Verdict::NotListed),
    }
}

/// The tags of a wheel, each of one Python, ABI and platform (PEP 425 "Compressed Tag Sets").
fn tags(kind: &Kind) -> Option<BTreeSet<String>> {
    let Kind::Wheel { python, abi, platform, .. } = kind else { return None };
    let mut all = BTreeSet::new();
    for python in python.split('.') {
        for abi in abi.split('.') {
            all.extend(
                platform.split('.').map(|platform| format!("{python}-{abi}-{platform}").to_ascii_lowercase()),
            );
        }
    }
    Some(all)
}

/// A wheel, verified through the handle that is given back; from the cache that `exec` fills too.
async fn open(
    file: &DistributionFilename,
    sitting: &Sitting<'_>,
    cache: &Path,
) -> Result<OpenFile, ClientError> {
    let unnamed = || ClientError::NotSigned { path: file.to_string() };
    let path = TargetPath::new(format!("{}/{file}", file.project())).map_err(|_| unnamed())?;
    let agreed = sitting.find(&path).await?;
    let proven = sitting.prove(&agreed).await?.into_iter().next().ok_or_else(unnamed)?;
    let name = proven.target.hashes.name().ok_or_else(unnamed)?;
    let folder = cache.join("files");
    let place = folder.join(&name);
    let io = |what, error: &std::io::Error| {
        let (path, reason) = (place.display().to_string(), error.to_string());
        ClientError::from(FileError::Io { what, path, reason })
    };
    // For this user alone: its files may come from an index that asks for a password.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|error| io("making a folder for", &error))?;
    let wanted: [(Agreed<'_>, PathBuf); 1] = [(agreed, place.clone())];
    sitting.download_all(&wanted, JOBS, &|_, _| {}).await?;
    let open = File::open(&place).map_err(|error| io("opening", &error))?;
    Session::check(&proven, open)
}

/// What comes of a distribution, and the files that are accounted for by a comparison.
fn compared(environment: &Environment, candidate: Candidate<'_>) -> (Judged, BTreeSet<PathBuf>) {
    let Candidate { installed, wheels, yanked } = candidate;
    let judged = |verdict| {
        let (project, version) = (installed.project.to_string(), installed.version.to_string());
        Judged { project, version, verdict }
    };
    let mut best: Option<(DistributionFilename, Compared)> = None;
    let wheels = match wheels {
        Ok(wheels) => wheels,
        Err(verdict) => return (judged(verdict), BTreeSet::new()),
    };
    for (name, wheel) in wheels {
        let wheel = BufReader::new(wheel.into_file());
        match environment.compare(installed, &name, wheel, &ArchiveLimits::default()) {
            Ok(compared) if best.as_ref().is_none_or(|(_, best)| compared.count < best.count) => {
                best = Some((name, compared));
            }
            Ok(_) => {}
            Err(error) => {
                let verdict = Verdict::NoWheel { reason: format!("{name}: {error}"), code: exit::INTEGRITY };
                return (judged(verdict), BTreeSet::new());
            }
        }
    }
    match best {
        None => (judged(Verdict::NotListed), BTreeSet::new()),
        Some((name, Compared { owned, findings, count })) => {
            let (wheel, yanked) = (name.to_string(), yanked.contains(name.as_str()));
            let verdict = match count {
                0 => Verdict::Verified { wheel, yanked },
                _ => Verdict::Differs { wheel, count, findings, yanked },
            };
            (judged(verdict), owned)
        }
    }
}

/// Two packages may have an entry point of one name, and the script is that of the one installed last: it is no fault of the
/// other, if all files of its owner are the wheel's.
fn share_scripts(environment: &Environment, compared: &mut [(Judged, BTreeSet<PathBuf>)]) {
    let verified = |judged: &Judged| matches!(judged.verdict, Verdict::Verified { .. });
    let good: BTreeSet<PathBuf> =
        compared.iter().filter(|(judged, _)| verified(judged)).flat_map(|(_, files)| files.clone()).collect();
    for (judged, _) in compared {
        let Verdict::Differs { wheel, count, findings, yanked } = &mut judged.verdict else { continue };
        let before = findings.len();
        findings.retain(|Finding { path, problem }| {
            *problem != Problem::Script || !good.contains(&environment.path().join(path))
        });
        *count = count.saturating_sub(before.saturating_sub(findings.len()));
        if *count == 0 {
            judged.verdict = Verdict::Verified { wheel: std::mem::take(wheel), yanked: *yanked };
        }
    }
}

/// The files that are accounted for. Who was compared comes first: the others have what is left.
fn accounted(
    environment: &Environment,
    installed: &[Installed],
    compared: Vec<(Judged, BTreeSet<PathBuf>)>,
) -> (BTreeSet<PathBuf>, Vec<Judged>) {
    let held: BTreeSet<PathBuf> = compared.iter().flat_map(|(_, files)| files.clone()).collect();
    let (mut owned, mut packages) = (held.clone(), Vec::new());
    for (installed, (judged, _)) in installed.iter().zip(compared) {
        if !matches!(judged.verdict, Verdict::Verified { .. } | Verdict::Differs { .. }) {
            owned.extend(installed.believed(environment, &held));
        }
        packages.push(judged);
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for Judged { project, .. } in &packages {
        *times.entry(project.clone()).or_default() += 1;
    }
    for judged in &mut packages {
        let twice = times.get(&judged.project).is_some_and(|times| *times > 1);
        if twice && matches!(judged.verdict, Verdict::LeftOut | Verdict::Built) {
            judged.verdict = Verdict::Twice;
        }
    }
    (owned, packages)
}

fn with_bytecode(strangers: Strangers) -> Strangers {
    let Strangers { mut findings, count, bytecode } = strangers;
    let count = count + bytecode.len();
    findings.extend(bytecode.into_iter().map(|path| Finding { path, problem: Problem::Bytecode }));
    Strangers { findings, count, bytecode: Vec::new() }
}

/// The exit code for a package, unless it is well.
fn code(judged: &Judged, how: &EnvironmentArg) -> Option<u8> {
    match &judged.verdict {
        Verdict::Verified { .. } | Verdict::LeftOut => None,
        Verdict::Built if how.allow_built.iter().any(|name| name.as_str() == judged.project) => None,
        Verdict::Differs { .. } | Verdict::NotListed | Verdict::Quarantined | Verdict::Twice => {
            Some(exit::INTEGRITY)
        }
        Verdict::NoWheel { code, .. } => Some(*code),
        Verdict::Built | Verdict::Unknown | Verdict::Elsewhere { .. } => Some(exit::POLICY),
    }
}

fn require(packages: &[Judged], strangers: &Strangers, how: &EnvironmentArg) -> anyhow::Result<()> {
    let mut codes: Vec<u8> = packages.iter().filter_map(|judged| code(judged, how)).collect();
    let failed = codes.len();
    if strangers.count > 0 {
        codes.push(exit::INTEGRITY);
    }
    let worst = codes.iter().find(|code| **code == exit::INTEGRITY).or(codes.first());
    let Some(worst) = worst else { return Ok(()) };
    let text = match (failed, strangers.count) {
        (0, files) => format!("{files} file(s) belong to nothing that was verified"),
        (failed, 0) => format!("{failed} of {} package(s) failed", packages.len()),
        (failed, files) => format!(
            "{failed} of {} package(s) failed, and {files} file(s) belong to nothing that was verified",
            packages.len()
        ),
    };
    Err(SomeFailed { text, code: *worst }.into())
}

fn show(report: &Report<'_>, how: &EnvironmentArg, context: &Context) {
    for judged in report.packages {
        let Judged { project, version, verdict } = judged;
        let style = match code(judged, how) {
            Some(exit::INTEGRITY) => styled(BAD, "BAD"),
            Some(_) => styled(STRONG, "unchecked"),
            None if matches!(verdict, Verdict::LeftOut) => styled(FAINT, "left out"),
            None => styled(GOOD, "ok"),
        };
        context.out.line(format_args!("{style} {project} {version}: {}", verdict.text()));
        if let Verdict::Differs { findings, .. } = verdict {
            tell(findings, context);
        }
    }
    if report.strangers_count > 0 {
        context.out.line(format_args!(
            "{} {} file(s) beside them:",
            styled(BAD, "BAD"),
            report.strangers_count
        ));
        tell(report.strangers, context);
    }
    if report.bytecode > 0 {
        let count = report.bytecode;
        context.out.note(format_args!("{count} file(s) of bytecode were not compared (--no-bytecode)"));
    }
}

fn tell(findings: &[Finding], context: &Context) {
    for Finding { path, problem } in findings {
        let path: String = path.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        context.out.line(format_args!("    {path} {}", problem.text()));
    }
}

impl Verdict {
    fn text(&self) -> String {
        match self {
            Self::Verified { wheel, yanked: false } => format!("is {wheel}"),
            Self::Verified { wheel, yanked: true } => format!("is {wheel}, which was yanked"),
            Self::Differs { wheel, count, .. } => format!("is not {wheel}, in {count} file(s)"),
            Self::Built => "was built here: no signed wheel has its tags".to_owned(),
            Self::NotListed => "no such wheel is signed".to_owned(),
            Self::Quarantined => "the index has it in quarantine".to_owned(),
            Self::Unknown => "the repository has no such project".to_owned(),
            Self::Elsewhere { place } => format!("comes from {place}: no index answers for it"),
            Self::NoWheel { reason, .. } => reason.clone(),
            Self::LeftOut => "as you said".to_owned(),
            Self::Twice => "is there more than once, and compared with nothing".to_owned(),
        }
    }
}
