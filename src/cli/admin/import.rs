//! `import`: many files at once, from a list or a folder.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::output::{BAD, GOOD, styled};
use crate::cli::{Context, RepoArg};
use crate::repository::{
    Files, Folder, Hashed, Imported, Layout, List, MAX_NAMED, RepositoryError, Run, Unfit,
};

/// Sign many files at once: all of them, or none.
///
/// From a list with `path TAB length TAB sha256` and up to four more columns on each line; the files themselves are not
/// looked at. Or from a folder, whose files are hashed and judged as for `add`. Pages of projects are completed; what is
/// published already stays as it is.
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    how: How,
    /// Check everything, publish nothing
    #[arg(long)]
    dry_run: bool,
}

/// Where files come from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct From {
    /// The list, plain or gzip; `-` is stdin
    #[arg(long, value_name = "FILE")]
    from_tsv: Option<PathBuf>,
    /// A mirror made by bandersnatch, or any folder of wheels and sdists
    #[arg(long, value_name = "DIR")]
    from_dir: Option<PathBuf>,
}

/// What is made of them.
#[derive(Debug, Args)]
struct How {
    /// Paths are target paths as they stand, and no project pages are made
    #[arg(long, conflicts_with = "from_dir")]
    as_is: bool,
    /// Copy the files into the repository too, instead of leaving that to you
    #[arg(long, conflicts_with = "from_tsv")]
    store_files: bool,
    /// Leave out files that cannot be published, and name them, instead of importing nothing
    #[arg(long, conflicts_with = "from_tsv")]
    skip_unfit: bool,
}

impl Import {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let keyring = self.keys.open(&repository, &context.out).await?;
        let run = if self.dry_run { Run::Dry } else { Run::Wet };
        let progress = context.out.progress();
        if let Some(root) = self.from.from_dir {
            let folder = Folder {
                journal: Some(self.repo.repo.journal(&absolute(&root)?)?),
                files: if self.how.store_files { Files::Store } else { Files::Stay },
                unfit: if self.how.skip_unfit { Unfit::LeaveOut } else { Unfit::Refuse },
                root,
            };
            let (hashed, imported) =
                repository.import_folder(&keyring, &folder, run, context.now, &progress).await?;
            return report(context, &imported, Some(&hashed), run);
        }
        let (text, bytes) = open_list(&self.from.from_tsv.unwrap_or_default())?;
        let layout = if self.how.as_is { Layout::AsIs } else { Layout::Pages };
        let list = List { text, bytes, layout, hashes_from: None };
        let imported = repository.import(&keyring, list, run, context.now, &progress).await?;
        report(context, &imported, None, run)
    }
}

/// The one name of a folder, as bytes.
fn absolute(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = |error: std::io::Error| RepositoryError::File {
        what: "importing",
        file: folder.display().to_string(),
        reason: error.to_string(),
    };
    Ok(std::fs::canonicalize(folder).map_err(failed)?.as_os_str().as_encoded_bytes().to_vec())
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

fn report(context: &Context, imported: &Imported, hashed: Option<&Hashed>, run: Run) -> anyhow::Result<()> {
    let mut value = serde_json::to_value(imported)?;
    if let (Some(all), Some(hashed)) = (value.as_object_mut(), hashed) {
        all.insert("files".to_owned(), serde_json::to_value(hashed)?);
    }
    context.out.result(&value, || {
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
        if let Some(hashed) = hashed {
            report_files(context, hashed);
        }
        context.out.note(format_args!("snapshot {}, timestamp {}", imported.snapshot, imported.timestamp));
    })
}

fn report_files(context: &Context, hashed: &Hashed) {
    let (read, remembered) = (hashed.hashed, hashed.remembered);
    context.out.line(format_args!("{read} files were read, {remembered} are as an earlier run saw them"));
    if hashed.unfit > 0 {
        context.out.line(format_args!("{} {} files:", styled(BAD, "left out"), hashed.unfit));
        for named in &hashed.named {
            context.out.line(format_args!("  {named}"));
        }
    }
    if hashed.named.len() == MAX_NAMED {
        context.out.line(format_args!("  and perhaps more: {MAX_NAMED} are named"));
    }
}
