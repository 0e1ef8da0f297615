//! `import`: many files at once, from a list, a folder or another index.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::exit::{POLICY, SomeFailed};
use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::output::{BAD, GOOD, styled};
use crate::cli::place::Place;
use crate::cli::{Context, RepoArg};
use crate::client::Timing;
use crate::crawl::Crawl;
use crate::repository::{
    Files, Folder, Imported, Keyring, Layout, List, Progress, Repository, RepositoryError, Run, Unfit,
};

/// Pages asked for at once: more would be felt by a small index.
const JOBS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// Sign many files at once: all of them, or none.
///
/// From a list with `path TAB length TAB sha256` and up to four more columns on each line; the files themselves are not
/// looked at. Or from a folder, whose files are hashed and judged as for `add`. Or from another index, whose hashes are
/// taken as its word and marked so. Pages of projects are completed; what is published already stays as it is.
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
    #[arg(long = "from-tsv", value_name = "FILE")]
    tsv: Option<PathBuf>,
    /// A mirror made by bandersnatch, or any folder of wheels and sdists
    #[arg(long = "from-dir", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The list of projects of an index that answers in JSON (PEP 691), such as `https://example.org/simple/`
    #[arg(long = "from-index", value_name = "URL")]
    index: Option<String>,
}

/// What is made of them.
#[derive(Debug, Args)]
struct How {
    /// Paths are target paths as they stand, and no project pages are made
    #[arg(long, conflicts_with_all = ["dir", "index"])]
    as_is: bool,
    /// Copy the files into the repository too, instead of leaving that to you
    #[arg(long, conflicts_with_all = ["tsv", "index"])]
    store_files: bool,
    /// Leave out files that cannot be published, and name them, instead of importing nothing
    #[arg(long, conflicts_with = "tsv")]
    skip_unfit: bool,
    /// Pages asked for at once
    #[arg(long, value_name = "N", default_value_t = JOBS, conflicts_with_all = ["tsv", "dir"])]
    jobs: NonZeroUsize,
}

/// What every source needs.
struct Job<'a> {
    context: &'a Context,
    repository: Repository,
    keyring: Keyring,
    place: &'a Place,
    run: Run,
}

impl Import {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let keyring = self.keys.open(&repository, &context.out).await?;
        let run = if self.dry_run { Run::Dry } else { Run::Wet };
        let job = Job { context, repository, keyring, place: &self.repo.repo, run };
        match self.from {
            From { dir: Some(root), .. } => job.folder(root, &self.how).await,
            From { index: Some(url), .. } => job.index(url, &self.how).await,
            From { tsv, .. } => job.list(&tsv.unwrap_or_default(), &self.how).await,
        }
    }
}

impl Job<'_> {
    async fn list(&self, path: &Path, how: &How) -> anyhow::Result<()> {
        let (text, bytes) = open_list(path)?;
        let layout = if how.as_is { Layout::AsIs } else { Layout::Pages };
        let imported = self.import(List { text, bytes, layout, hashes_from: None }).await?;
        report(self.context, &imported, None, self.run, || {})
    }

    async fn folder(&self, root: PathBuf, how: &How) -> anyhow::Result<()> {
        let folder = Folder {
            journal: Some(self.place.journal(&absolute(&root)?)?.with_extension("tsv")),
            files: if how.store_files { Files::Store } else { Files::Stay },
            unfit: if how.skip_unfit { Unfit::LeaveOut } else { Unfit::Refuse },
            root,
        };
        let (context, progress) = (self.context, self.context.out.progress());
        let importing =
            self.repository.import_folder(&self.keyring, &folder, self.run, context.now, &progress);
        let (hashed, imported) = importing.await?;
        let value = serde_json::to_value(&hashed)?;
        report(context, &imported, Some(("files", value)), self.run, || {
            let (read, remembered) = (hashed.hashed, hashed.remembered);
            let text = format!("{read} files were read, {remembered} are as an earlier run saw them");
            context.out.line(text);
            let left = left_out(hashed.unfit, &hashed.named, "files");
            for line in &left {
                context.out.line(line);
            }
        })
    }

    async fn index(&self, url: String, how: &How) -> anyhow::Result<()> {
        let (context, progress) = (self.context, self.context.out.progress());
        let notes = self.place.journal(url.as_bytes())?;
        let crawl = Crawl { url, notes, jobs: how.jobs, timing: Timing::default() };
        self.repository.refuse_early(&self.keyring).await?;
        let (crawled, lines) = crawl.run(&|done, total| progress.at("reading pages", done, total)).await?;
        let left = left_out(crawled.unfit, &crawled.named, "files or projects");
        if crawled.unfit > 0 && !how.skip_unfit {
            for line in &left {
                context.out.note(line);
            }
            let text = format!("{} files or projects cannot be imported", crawled.unfit);
            let text = format!("{text}; leave them out with --skip-unfit");
            return Err(SomeFailed { text, code: POLICY }.into());
        }
        let hashes_from = Some(crawl.public_url()?);
        let list = List { text: Box::new(lines), bytes: None, layout: Layout::Pages, hashes_from };
        let imported = self.import(list).await?;
        let value = serde_json::to_value(&crawled)?;
        report(context, &imported, Some(("index", value)), self.run, || {
            let (fetched, unchanged) = (crawled.fetched, crawled.unchanged);
            let text = format!("{fetched} pages were read, {unchanged} are as an earlier run saw them");
            context.out.line(text);
            for line in &left {
                context.out.line(line);
            }
        })
    }

    async fn import(&self, list: List) -> anyhow::Result<Imported> {
        let progress = self.context.out.progress();
        Ok(self.repository.import(&self.keyring, list, self.run, self.context.now, &progress).await?)
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

/// What was left out, in lines.
fn left_out(count: u64, named: &[String], what: &str) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    let mut lines = vec![format!("{} {count} {what}:", styled(BAD, "left out"))];
    lines.extend(named.iter().map(|named| format!("  {named}")));
    let more = count.saturating_sub(u64::try_from(named.len()).unwrap_or(u64::MAX));
    lines.extend((more > 0).then(|| format!("  and {more} more")));
    lines
}

/// What was imported, and what its source has to tell of itself.
fn report(
    context: &Context,
    imported: &Imported,
    source: Option<(&str, serde_json::Value)>,
    run: Run,
    people: impl FnOnce(),
) -> anyhow::Result<()> {
    let mut value = serde_json::to_value(imported)?;
    if let (Some(all), Some((name, source))) = (value.as_object_mut(), source) {
        all.insert(name.to_owned(), source);
    }
    context.out.result(&value, || {
        let verb = if run == Run::Dry { "would sign" } else { "signed" };
        let (added, bins) = (imported.added, imported.bins);
        let files = if added == 1 { "file" } else { "files" };
        context.out.line(format_args!("{} {added} {files} in {bins} bins", styled(GOOD, verb)));
        if imported.projects > 0 {
            context.out.line(format_args!("pages of {} projects change", imported.projects));
        }
        let (present, repeated) = (imported.present, imported.repeated);
        if present + repeated > 0 {
            context.out.line(format_args!("{present} were signed already, {repeated} lines repeat others"));
        }
        people();
        context.out.note(format_args!("snapshot {}, timestamp {}", imported.snapshot, imported.timestamp));
    })
}
