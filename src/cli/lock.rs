//! `lock`, and `verify --lock`: lock files against what is signed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::str::FromStr;

use clap::{Args, Subcommand};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::Context;
use super::client::{PAGES_AT_ONCE, project_page};
use super::exit::{self, SomeFailed, Usage};
use super::files::{read_file, write_file};
use super::logged::warn_logs;
use super::output::{BAD, FAINT, GOOD, STRONG, styled};
use super::trust::QuorumArg;
use crate::client::{ClientError, Proven, Sitting};
use crate::python::lock::{
    Change, Difference, Format, Judged, Lock, Locked, MAX_LOCK, Origin, Verdict, differences, judge,
    signed_entries, watch,
};
use crate::python::{PageFile, ProjectName, ProjectPage};
use crate::repository::Progress;
use crate::tuf::path::TargetPath;

#[derive(Debug, Subcommand)]
pub(crate) enum LockCommand {
    /// Write a lock file as requirements with hashes, verified
    Export(Export),
    /// What has changed since a lock file was made, or between two of them
    Diff(Diff),
}

/// Write a lock file as requirements with hashes, for `pip install --require-hashes`. Every hash is verified first.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    trust: QuorumArg,
    /// Leave this project out, whatever is wrong with it; may be repeated
    #[arg(long, value_name = "NAME")]
    except: Vec<String>,
    /// Where to write them, if not to standard output
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// uv.lock, pylock.toml, poetry.lock, pdm.lock, Pipfile.lock, or requirements with hashes
    lock: PathBuf,
}

/// What has changed since a lock file was made, or between two of them.
///
/// With one lock: files whose signed hash is another now, that are gone or were yanked, and files of the same version
/// that came later. With two: nobody is asked.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    trust: QuorumArg,
    /// The lock file
    lock: PathBuf,
    /// A newer one
    new: Option<PathBuf>,
}

impl LockCommand {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Export(command) => command.run(context).await,
            Self::Diff(command) => command.run(context).await,
        }
    }
}

/// A lock file with what is signed of its projects.
struct Read {
    lock: Lock,
    /// Of each project from an index: its signed page, if it has one.
    pages: BTreeMap<ProjectName, Option<ProjectPage>>,
    /// Why a signed file is not logged as it should be, by what is said of it.
    unlogged: BTreeMap<String, String>,
}

/// What became of one lock file.
#[derive(Serialize)]
struct Checked<'a> {
    lock: &'a Path,
    packages: usize,
    files: Vec<Judged>,
    /// Projects that were left out.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    except: BTreeSet<String>,
}

impl Read {
    async fn of(path: &Path, sitting: &Sitting<'_>, context: &Context) -> anyhow::Result<Self> {
        let lock = read(path)?;
        let from_index = lock.packages.iter().filter(|package| package.origin == Origin::Index);
        let projects: BTreeSet<_> = from_index.map(|package| package.project.clone()).collect();
        let (bar, total) = (context.out.progress(), u64::try_from(projects.len()).unwrap_or(u64::MAX));
        let ask = async |project| {
            let page = project_page(sitting, &project, context).await?;
            Ok::<_, anyhow::Error>((project, page))
        };
        let mut asked = pin!(stream::iter(projects).map(ask).buffered(PAGES_AT_ONCE));
        let mut pages = BTreeMap::new();
        while let Some((project, page)) = asked.try_next().await? {
            pages.insert(project, page);
            bar.at("asking for projects", u64::try_from(pages.len()).unwrap_or(u64::MAX), total);
        }
        let mut read = Self { lock, pages, unlogged: BTreeMap::new() };
        read.unlogged = read.unlogged(sitting).await?;
        Ok(read)
    }

    /// Asks for the proof of each signed file of the lock.
    async fn unlogged(&self, sitting: &Sitting<'_>) -> anyhow::Result<BTreeMap<String, String>> {
        let from_index = self.lock.packages.iter().filter(|package| package.origin == Origin::Index);
        let files =
            from_index.filter_map(|package| self.page(package).map(|page| signed_entries(package, page)));
        let files: Vec<_> = files.flatten().map(|(name, file)| (name, file.clone())).collect();
        let ask = async |(name, file): (String, PageFile)| (name, logged(&file, sitting).await);
        let mut asked = pin!(stream::iter(files).map(ask).buffer_unordered(PAGES_AT_ONCE));
        let mut unlogged = BTreeMap::new();
        while let Some((name, outcome)) = asked.next().await {
            match outcome {
                Ok(()) => {}
                Err(ClientError::Log(error)) => drop(unlogged.insert(name, error.to_string())),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(unlogged)
    }

    fn page(&self, package: &Locked) -> Option<&ProjectPage> {
        self.pages.get(&package.project).and_then(Option::as_ref)
    }

    fn judged(&self) -> Vec<Judged> {
        let judged = self.lock.packages.iter().flat_map(|package| judge(package, self.page(package)));
        judged
            .map(|mut judged| {
                if let (Verdict::Signed, Some(reason)) = (&judged.verdict, self.unlogged.get(&judged.file)) {
                    judged.verdict = Verdict::Unlogged { reason: reason.clone() };
                }
                judged
            })
            .collect()
    }
}

/// That the file that a page lists was logged, by every repository that agrees on it.
async fn logged(file: &PageFile, sitting: &Sitting<'_>) -> Result<(), ClientError> {
    let unsigned = || ClientError::NotSigned { path: file.filename.to_string() };
    let path = TargetPath::new(format!("{}/{}", file.filename.project(), file.filename));
    let agreed = sitting.find(&path.map_err(|_| unsigned())?).await?;
    let proven = sitting.prove(&agreed).await?;
    let same =
        |one: &Proven| one.target.hashes.sha256.map(hex::encode).as_deref() == Some(file.sha256.as_str());
    if proven.iter().all(same) { Ok(()) } else { Err(unsigned()) }
}

/// Each hash of these lock files against what is signed.
pub(super) async fn verify(
    trust: &QuorumArg,
    locks: &[PathBuf],
    except: &[String],
    context: &Context,
) -> anyhow::Result<()> {
    let quorum = trust.quorum()?;
    let sitting = trust.sit(&quorum, context).await?;
    let except = names(except)?;
    let mut all = Vec::new();
    for path in locks {
        let read = Read::of(path, &sitting, context).await?;
        all.push(Checked {
            lock: path,
            packages: read.lock.packages.len(),
            files: read.judged(),
            except: except.clone(),
        });
    }
    warn_logs(&sitting, context);
    context.out.result(&all, || all.iter().for_each(|checked| checked.show(context)))?;
    require(all.iter().flat_map(Checked::bad))
}

impl Checked<'_> {
    fn bad(&self) -> impl Iterator<Item = &Judged> {
        self.files.iter().filter(|file| !file.verdict.is_good() && !self.except.contains(&file.project))
    }

    fn show(&self, context: &Context) {
        let (name, count) = (self.lock.display(), |of: &Verdict| {
            self.files.iter().filter(|file| file.verdict == *of).count()
        });
        self.bad().for_each(|file| context.out.line(told(file)));
        for file in self.files.iter().filter(|file| !file.verdict.is_good()) {
            if self.except.contains(&file.project) {
                let what = format!("{}: {}", called(file), file.verdict);
                context.out.line(format_args!("{} {what}", styled(FAINT, "left out")));
            }
        }
        let (signed, local) = (count(&Verdict::Signed), count(&Verdict::Local));
        let total = self.files.len() - local;
        let local = if local == 0 { String::new() } else { format!(", local: {local}") };
        let text = format!("{signed} of {total} are as signed; packages: {}{local}", self.packages);
        let verdict = if self.bad().next().is_none() { styled(GOOD, "ok") } else { styled(BAD, "BAD") };
        context.out.line(format_args!("{verdict} {name}: {text}"));
    }
}

/// Fails if there is anything bad, by the worst of it.
fn require<'a>(bad: impl Iterator<Item = &'a Judged>) -> anyhow::Result<()> {
    let (mut count, mut code) = (0_usize, exit::POLICY);
    for judged in bad {
        count += 1;
        if judged.verdict.contradicts() {
            code = exit::INTEGRITY;
        }
    }
    match count {
        0 => Ok(()),
        1 => Err(SomeFailed { text: "1 entry of the lock failed".to_owned(), code }.into()),
        _ => Err(SomeFailed { text: format!("{count} entries of the lock failed"), code }.into()),
    }
}

fn called(file: &Judged) -> String {
    let version = file.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let name = if file.file.is_empty() { String::new() } else { format!(" {}", file.file) };
    format!("{}{version}{name}", file.project)
}

fn told(file: &Judged) -> String {
    let style = match &file.verdict {
        verdict if verdict.is_good() => styled(STRONG, "since"),
        verdict if verdict.contradicts() => styled(BAD, "BAD"),
        _ => styled(BAD, "unchecked"),
    };
    format!("{style} {}: {}", called(file), file.verdict)
}

impl Export {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let quorum = self.trust.quorum()?;
        let sitting = self.trust.sit(&quorum, context).await?;
        let (read, except) = (Read::of(&self.lock, &sitting, context).await?, names(&self.except)?);
        let files = read.judged();
        let checked = Checked { lock: &self.lock, packages: read.lock.packages.len(), files, except };
        checked.bad().for_each(|file| context.out.note(told(file)));
        warn_logs(&sitting, context);
        require(checked.bad())?;
        let (wanted, left): (Vec<_>, Vec<_>) = read.lock.packages.iter().partition(|package| {
            package.origin == Origin::Index && !checked.except.contains(package.project.as_str())
        });
        for package in left {
            context.out.note(format_args!("{} is left out", package.project));
        }
        let lines: BTreeSet<_> = wanted.into_iter().map(requirement).collect();
        let text = Vec::from_iter(lines).join("\n");
        match &self.out {
            Some(out) => write_file(out, format!("{text}\n").as_bytes())?,
            None => context.out.line(text),
        }
        Ok(())
    }
}

/// One requirement, with the hashes of all its files.
fn requirement(package: &Locked) -> String {
    let version = package.version.as_ref().map(|version| format!("=={version}")).unwrap_or_default();
    let marker = package.marker.as_ref().map(|marker| format!(" ; {marker}")).unwrap_or_default();
    let hashes: BTreeSet<_> = package.artifacts.iter().filter_map(|artifact| artifact.sha256()).collect();
    let mut text = format!("{}{version}{marker}", package.project);
    for hash in hashes {
        text += " \\\n    --hash=sha256:";
        text += hash;
    }
    text
}

impl Diff {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        match &self.new {
            Some(new) => between(&read(&self.lock)?, &read(new)?, context),
            None => self.since(context).await,
        }
    }

    async fn since(&self, context: &Context) -> anyhow::Result<()> {
        let quorum = self.trust.quorum()?;
        let sitting = self.trust.sit(&quorum, context).await?;
        let read = Read::of(&self.lock, &sitting, context).await?;
        let unchanged = |judged: &Judged| matches!(judged.verdict, Verdict::Signed | Verdict::Local);
        let mut news: Vec<_> = read.judged().into_iter().filter(|judged| !unchanged(judged)).collect();
        for package in &read.lock.packages {
            news.extend(read.page(package).into_iter().flat_map(|page| watch(package, page)));
        }
        warn_logs(&sitting, context);
        context.out.result(&news, || {
            for judged in &news {
                context.out.line(told(judged));
            }
            if news.is_empty() {
                context.out.note("nothing has changed since the lock was made");
            }
        })?;
        require(news.iter().filter(|judged| judged.verdict.contradicts()))
    }
}

fn between(old: &Lock, new: &Lock, context: &Context) -> anyhow::Result<()> {
    let all = differences(old, new);
    context.out.result(&all, || {
        for Difference { project, change } in &all {
            for line in shown(change) {
                context.out.line(format_args!("{project}: {line}"));
            }
        }
        if all.is_empty() {
            context.out.note("both pin the same");
        }
    })?;
    match all.iter().filter(|difference| matches!(difference.change, Change::Hash { .. })).count() {
        0 => Ok(()),
        1 => Err(changed("the hash of 1 file is another one, though its name is the same".to_owned())),
        count => {
            Err(changed(format!("the hashes of {count} files are others, though their names are the same")))
        }
    }
}

fn changed(text: String) -> anyhow::Error {
    SomeFailed { text, code: exit::INTEGRITY }.into()
}

fn shown(change: &Change) -> Vec<String> {
    match change {
        Change::Versions { from, to } if from.is_empty() => vec![format!("new, {}", to.join(", "))],
        Change::Versions { from, to } if to.is_empty() => vec![format!("gone, was {}", from.join(", "))],
        Change::Versions { from, to } => vec![format!("{} → {}", from.join(", "), to.join(", "))],
        Change::Hash { file, from, to } => {
            vec![format!("{} {file} was {from}, is {to}", styled(BAD, "hash changed:"))]
        }
        Change::Files { gone, added } => {
            let gone = gone.iter().map(|file| format!("- {file}"));
            gone.chain(added.iter().map(|file| format!("+ {file}"))).collect()
        }
    }
}

pub(super) fn names(except: &[String]) -> anyhow::Result<BTreeSet<String>> {
    let name = |name: &String| ProjectName::from_str(name).map(|name| name.to_string());
    Ok(except.iter().map(name).collect::<Result<_, _>>().map_err(|error| Usage(error.to_string()))?)
}

pub(super) fn read(path: &Path) -> anyhow::Result<Lock> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let format = Format::of(name).map_err(|error| Usage(error.to_string()))?;
    let bytes = read_file(path, MAX_LOCK)?;
    Ok(Lock::read(format, &bytes).map_err(|error| Usage(format!("{}: {error}", path.display())))?)
}
