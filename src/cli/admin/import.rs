//! `import`: many files at once, by their hashes.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::output::{GOOD, styled};
use crate::cli::{Context, RepoArg};
use crate::repository::{Imported, Layout, List, RepositoryError, Run};

/// Sign many files at once, by their lengths and hashes: all of them, or none.
///
/// Each line of the list is `path TAB length TAB sha256`, and up to four more columns for the project's page. The files
/// themselves are not looked at. Pages of projects are completed; what is published already stays as it is.
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// The list, plain or gzip; `-` is stdin
    #[arg(long, value_name = "FILE")]
    from_tsv: PathBuf,
    /// Paths are target paths as they stand, and no project pages are made
    #[arg(long)]
    as_is: bool,
    /// Check everything, publish nothing
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let keyring = self.keys.open(&repository, &context.out).await?;
        let (text, bytes) = open_list(&self.from_tsv)?;
        let layout = if self.as_is { Layout::AsIs } else { Layout::Pages };
        let list = List { text, bytes, layout, hashes_from: None };
        let run = if self.dry_run { Run::Dry } else { Run::Wet };
        let progress = context.out.progress();
        let imported = repository.import(&keyring, list, run, context.now, &progress).await?;
        report(context, &imported, run)
    }
}

/// The list and its length in bytes, if that is known.
fn open_list(path: &Path) -> anyhow::Result<(Box<dyn Read + Send>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let failed = |error: std::io::Error| RepositoryError::File {
        what: "opening",
        file: path.display().to_string(),
        reason: error.to_string(),
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    Ok((Box::new(file), about.is_file().then_some(about.len())))
}

fn report(context: &Context, imported: &Imported, run: Run) -> anyhow::Result<()> {
    context.out.result(imported, || {
        let verb = if run == Run::Dry { "would sign" } else { "signed" };
        let (added, bins) = (imported.added, imported.bins);
        let what = if imported.projects > 0 { "files" } else { "targets" };
        context.out.line(format_args!("{} {added} {what} in {bins} bins", styled(GOOD, verb)));
        if imported.projects > 0 {
            context.out.line(format_args!("pages of {} projects change", imported.projects));
        }
        let (present, repeated) = (imported.present, imported.repeated);
        if present + repeated > 0 {
            context.out.line(format_args!("{present} were signed already, {repeated} lines repeat others"));
        }
        context.out.note(format_args!("snapshot {}, timestamp {}", imported.snapshot, imported.timestamp));
    })
}
