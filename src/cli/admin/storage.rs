//! `fsck`, `backup`, `restore`: what lies on the disk under a repository.

use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::{self, SomeFailed};
use crate::cli::keys::open_repository;
use crate::cli::output::{BAD, FAINT, GOOD, styled};
use crate::cli::{Context, RepoArg};
use crate::repository::{Finding, Fscked, Look, Repair, Repository, RepositoryError, Restored, Source};

/// Name every file that is missing or altered, and every one that nothing refers to.
///
/// With --json, one line of JSON for each, and one with the counts at the end.
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    #[command(flatten)]
    repo: RepoArg,
    /// Read every byte of every file; without it, presence and length
    #[arg(long)]
    hash: bool,
    /// Make good what can be made from what is there: plain copies and pages from hashed files, and those from copies
    #[arg(long)]
    repair: bool,
}

impl Fsck {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let look = if self.hash { Look::Hash } else { Look::Length };
        let repair = if self.repair { Repair::Yes } else { Repair::No };
        let out = &context.out;
        let mut report = |finding: &Finding| match serde_json::to_string(finding) {
            Ok(line) if out.json() => out.line(line),
            _ => out.line(told(finding)),
        };
        let fscked = repository.fsck(look, repair, &out.progress(), &mut report).await?;
        let Fscked { wanted, bad, superseded, repaired, unread, strays, stray_bytes } = fscked;
        if out.json() {
            out.line(serde_json::to_string(&serde_json::json!({"found": "end", "counts": fscked}))?);
        } else {
            let verdict = if bad == 0 { styled(GOOD, "ok") } else { styled(BAD, "bad") };
            out.line(format_args!("{verdict} {wanted} files wanted, {bad} bad, {repaired} repaired"));
            if superseded > 0 {
                out.note(format_args!("{superseded} bad files that only superseded snapshots name"));
            }
            if unread > 0 {
                out.note(format_args!(
                    "{unread} metadata files do not read: what they name was not looked at"
                ));
            }
            if strays > 0 {
                out.note(format_args!("{strays} files, {stray_bytes} bytes, that nothing names"));
            }
        }
        if bad == 0 {
            return Ok(());
        }
        Err(SomeFailed { text: format!("{bad} file(s) missing or altered"), code: exit::INTEGRITY }.into())
    }
}

fn told(finding: &Finding) -> String {
    match finding {
        Finding::Bad { path, what, superseded, repaired, .. } => {
            let mark = if *repaired { styled(GOOD, "repaired") } else { styled(BAD, "bad") };
            let superseded = if *superseded { " (of a superseded snapshot)" } else { "" };
            format!("{mark} {path}: {what}{superseded}")
        }
        Finding::Stray { path, bytes } => format!("{} {path}: {bytes} bytes", styled(FAINT, "stray")),
    }
}

/// Write everything that is signed, but no distributions and no keys, to one file.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    repo: RepoArg,
    /// The file, which must not exist yet; tar in zstd
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

impl Backup {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let done = repository.backup(&self.to, &context.out.progress()).await?;
        context.out.result(&done, || {
            context.out.line(format_args!(
                "{} snapshot {}: {} metadata files, {} pages, {} bytes; read back and verified",
                styled(GOOD, "backed up"),
                done.snapshot,
                done.roles,
                done.pages,
                done.bytes
            ));
        })
    }
}

/// Make a repository again from a backup, and from target files wherever they lie.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The file that `backup` wrote
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    repo: RepoArg,
    /// Where to look for target files, in any layout, beside the repository's own folder; may be given again
    #[arg(long, value_name = "DIR")]
    files: Vec<PathBuf>,
    /// A root.json that you trust: it must be one of the backup's
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
}

impl Restore {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let root = self.root.map(std::fs::read).transpose()?;
        let store = self.repo.repo.create().await?;
        let source = Source { archive: &self.from, files: &self.files, root: root.as_deref() };
        let out = &context.out;
        let mut absent = Vec::new();
        let mut missing = |path: &str| {
            if out.json() {
                absent.push(path.to_owned());
            } else {
                out.line(format_args!("{} {path}", styled(BAD, "missing")));
            }
        };
        let restored = Repository::restore(store, &source, &out.progress(), &mut missing).await?;
        let Restored { snapshot, roles, pages, files, missing, .. } = restored;
        let value = serde_json::json!({"restored": restored, "missing": absent});
        out.result(&value, || {
            out.line(format_args!(
                "{} snapshot {snapshot}: {roles} metadata files, {pages} pages, {files} files",
                styled(GOOD, "restored")
            ));
        })?;
        match open_repository(&self.repo).await?.state().await {
            // It is restored all the same.
            Err(error @ RepositoryError::WentBack { .. }) => {
                out.note(&error);
                out.note(error.hint().unwrap_or_default());
            }
            state => drop(state?),
        }
        if missing == 0 {
            return Ok(());
        }
        Err(SomeFailed { text: format!("{missing} file(s) found nowhere"), code: exit::INTEGRITY }.into())
    }
}
