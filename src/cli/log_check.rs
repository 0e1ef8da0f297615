//! `log verify` and `log consistency`: what a log says, held against signatures and hashes.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::exit::{SomeFailed, Usage};
use super::files::read_file;
use super::log::{LogArg, Opened, judged, read_policy, refused, witnessed};
use super::output::{GOOD, STRONG, styled};
use super::{Context, exit};
use crate::crypto::Hasher;
use crate::log::LogError;
use crate::python::DistributionFilename;
use crate::release_claim::{ClaimRequest, MAX_REQUEST};
use crate::repository::Progress as _;
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::evidence::Evidence;
use crate::tlog::leaf::{FileLeaf, Leaf, LogLeaf, Role};
use crate::tlog::merkle::Hash;
use crate::tlog::note::MAX_NOTE_LEN;
use crate::tlog::policy::Policy;
use crate::tlog::proof_file::{MAX_PROOF_LEN, ProofFile};

/// Bytes read at once from a file that is hashed.
const CHUNK: usize = 1 << 20;

/// Check the proof that a file is logged, without a network; or, without a proof, the whole log: every entry is read and
/// every tile computed anew, no path may stand in it twice.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    log: LogArg,
    /// A proof, as `log prove` writes it
    #[arg(requires_all = ["file", "policy"])]
    proof: Option<PathBuf>,
    /// The file that it is about: a wheel or sdist under its own name, or its metadata; for a receipt claim.json or embargo.json
    file: Option<PathBuf>,
    /// The logs and witnesses that are trusted (tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl Verify {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        if let (Some(proof), Some(file), Some(policy)) = (&self.proof, &self.file, &policy) {
            return proved(context, proof, file, policy);
        }
        audited(context, &self.log.open().await?, policy.as_ref()).await
    }
}

fn proved(context: &Context, proof: &Path, file: &Path, policy: &Policy) -> anyhow::Result<()> {
    let max = u64::try_from(MAX_PROOF_LEN).unwrap_or(u64::MAX);
    let read = ProofFile::parse(&read_file(proof, max)?);
    let proof = read.map_err(|error| refused(&format_args!("{}: {error}", proof.display())))?;
    if file.extension().is_some_and(|ending| ending == "json") {
        return receipt(context, &proof, file, policy);
    }
    let leaf = leaf_of(file)?;
    let accepted = proof.verify(Leaf::File(leaf.clone()).to_string().as_bytes(), policy);
    let accepted = accepted
        .map_err(|error| refused(&format_args!("{} is not proved to be logged: {error}", leaf.path())))?;
    let (tree, index) = (accepted.checkpoint(), proof.index());
    let value = serde_json::json!({
        "path": leaf.path(), "length": leaf.length(), "sha256": hex::encode(leaf.sha256()),
        "origin": tree.origin(), "index": index, "size": tree.size(),
        "cosigned": accepted.cosigned().iter().map(|(name, _)| name).collect::<Vec<_>>(),
    });
    context.out.result(&value, || {
        let (path, size) = (leaf.path(), tree.size());
        let good = styled(GOOD, "logged");
        context.out.line(format_args!("{good} {path}: entry {index} of {size} in {}", tree.origin()));
        context.out.line(format_args!("       {}", witnessed(&accepted)));
    })
}

/// A receipt: the proof that the commitment to a claim was logged.
fn receipt(context: &Context, proof: &ProofFile, file: &Path, policy: &Policy) -> anyhow::Result<()> {
    let request = ClaimRequest::parse(&read_file(file, u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX))?);
    let request = request.map_err(|error| Usage(format!("{}: {error}", file.display())))?;
    let commitment = request.commitment();
    let accepted = proof.verify(Leaf::Commitment(commitment.leaf()).to_string().as_bytes(), policy);
    let accepted = accepted.map_err(|error| {
        refused(&format_args!("the claim in {} is not proved to be logged: {error}", file.display()))
    })?;
    let (tree, index, project) = (accepted.checkpoint(), proof.index(), request.project());
    let value = serde_json::json!({
        "commitment": commitment.to_hex(), "project": project.as_str(), "claimed_for": request.index(),
        "origin": tree.origin(), "index": index, "size": tree.size(),
        "cosigned": accepted.cosigned().iter().map(|(name, _)| name).collect::<Vec<_>>(),
    });
    context.out.result(&value, || {
        let (good, size) = (styled(GOOD, "logged"), tree.size());
        context
            .out
            .line(format_args!("{good} a claim of {project}: entry {index} of {size} in {}", tree.origin()));
        context.out.line(format_args!("       {}", witnessed(&accepted)));
        context.out.line("       whether the project's keys signed it was not asked");
    })
}

/// What the log would have of a local file.
fn leaf_of(file: &Path) -> anyhow::Result<FileLeaf> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let distribution = name.strip_suffix(".metadata").unwrap_or(name).parse::<DistributionFilename>();
    let distribution = distribution.map_err(|error| Usage(format!("{}: {error}", file.display())))?;
    let (mut hasher, mut length, mut chunk) = (Hasher::new(false), 0, vec![0; CHUNK]);
    let mut opened = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    loop {
        let count = opened.read(&mut chunk).with_context(|| file.display().to_string())?;
        if count == 0 {
            break;
        }
        hasher.update(chunk.get(..count).unwrap_or_default());
        length += u64::try_from(count)?;
    }
    let path = format!("{}/{name}", distribution.project());
    let leaf = FileLeaf::of_target(&path, length, hasher.finish().sha256)?;
    Ok(leaf.ok_or_else(|| Usage(format!("{}: such files are not logged", file.display())))?)
}

async fn audited(context: &Context, opened: &Opened, policy: Option<&Policy>) -> anyhow::Result<()> {
    let checkpoint = opened.checkpoint().await?;
    let (_, words) = judged(&checkpoint, policy)?;
    let tree = checkpoint.claimed();
    let held = opened.held(tree).await?;
    let bar = context.out.progress();
    let audit = opened.reader.audit(tree, &mut |done| bar.at("reading entries", done, tree.size())).await?;
    let value = serde_json::json!({
        "origin": tree.origin(), "size": tree.size(), "root_hash": hex::encode(tree.root().as_bytes()),
        "files": audit.files, "versions": audit.versions, "others": audit.others,
        "snapshot": audit.logged(Role::Snapshot), "targets": audit.logged(Role::Targets),
        "root": audit.logged(Role::Root), "accepted": policy.is_some(), "held": held,
        "continues": audit.continues.as_ref().map(LogLeaf::origin),
    });
    context.out.result(&value, || {
        let good = styled(GOOD, "in order");
        context.out.line(format_args!(
            "{good} {}: all {} entries and their tiles",
            tree.origin(),
            tree.size()
        ));
        context.out.line(format_args!(
            "{} files, each path once; {} versions of metadata, each once",
            audit.files, audit.versions
        ));
        if let Some(before) = &audit.continues {
            context.out.line(format_args!("continues {} from {} entries on", before.origin(), before.size()));
        }
        context.out.line(words);
        for line in &held {
            context.out.line(line);
        }
    })
}

/// Check that the log continues what was signed before: OLD and NEW are sizes, or files with checkpoints.
///
/// Two checkpoints that contradict each other are the proof that the log was rewritten, or that it shows different people
/// different things. Both are printed: keep them, and show them to others.
#[derive(Debug, Args)]
pub(crate) struct Consistency {
    #[command(flatten)]
    log: LogArg,
    /// A size, or a file with a checkpoint
    old: String,
    /// The same, later; without it, the log's newest checkpoint
    new: Option<String>,
    /// The logs and witnesses that are trusted (tlog-policy): both checkpoints must satisfy it
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// One end of the comparison.
enum End {
    Size(u64),
    Signed(Box<SignedCheckpoint>),
}

impl End {
    fn read(text: &str) -> anyhow::Result<Self> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Size(text.parse().with_context(|| text.to_owned())?));
        }
        let max = u64::try_from(MAX_NOTE_LEN).unwrap_or(u64::MAX);
        let read = SignedCheckpoint::parse(&read_file(Path::new(text), max)?);
        Ok(Self::Signed(Box::new(read.map_err(|error| refused(&format_args!("{text}: {error}")))?)))
    }

    fn size(&self) -> u64 {
        match self {
            Self::Size(size) => *size,
            Self::Signed(checkpoint) => checkpoint.claimed().size(),
        }
    }

    fn tree(&self) -> Option<&Checkpoint> {
        match self {
            Self::Size(_) => None,
            Self::Signed(checkpoint) => Some(checkpoint.claimed()),
        }
    }
}

impl Consistency {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        let opened = self.log.open().await?;
        let old = End::read(&self.old)?;
        let new = match &self.new {
            Some(text) => End::read(text)?,
            None => End::Signed(Box::new(opened.checkpoint().await?)),
        };
        for end in [&old, &new] {
            if let (End::Signed(checkpoint), Some(policy)) = (end, &policy) {
                judged(checkpoint, Some(policy))?;
            }
        }
        let (before, after) = (old.size(), new.size());
        let signed = old.tree().zip(new.tree());
        if signed.is_some_and(|(old, new)| old.origin() != new.origin()) {
            return Err(Usage("these are checkpoints of two logs".to_owned()).into());
        }
        let size = tiles_of(&opened, after).await?;
        if before > after {
            return Err(self.smaller(context, &opened, size, (&old, &new)).await?);
        }
        if signed.is_some_and(|(old, new)| before == after && old.root() != new.root()) {
            return Err(self.contradiction(context, &old, &new));
        }
        // Tiles that do not fit together say nothing of either checkpoint.
        let grown = opened.reader.grown(size, before, after).await?;
        if let Some(tree) = new.tree().filter(|tree| *tree.root() != grown.after) {
            return Err(LogError::Root { size: after, found: grown.after, expected: *tree.root() }.into());
        }
        if old.tree().is_some_and(|tree| *tree.root() != grown.before) {
            return Err(self.contradiction(context, &old, &new));
        }
        let checked = policy.is_some() && signed.is_some();
        shown(context, (before, after), (grown.before, grown.after), &grown.proof, checked)
    }

    /// Something smaller came after something larger: typed the wrong way round, an old copy, or a log that went back.
    async fn smaller(
        &self,
        context: &Context,
        opened: &Opened,
        size: u64,
        (old, new): (&End, &End),
    ) -> anyhow::Result<anyhow::Error> {
        if self.new.is_some() {
            let text = format!(
                "OLD has {} entries and NEW has {}: name the smaller one first",
                old.size(),
                new.size()
            );
            return Ok(Usage(text).into());
        }
        let grown = opened.reader.grown(size.max(old.size()), new.size(), old.size()).await;
        // What cannot be read contradicts nothing.
        if let Err(error @ (LogError::Store(_) | LogError::Fetch { .. })) = grown {
            return Err(error.into());
        }
        let lags = grown.is_ok_and(|grown| {
            [(old, grown.after), (new, grown.before)]
                .iter()
                .all(|(end, root)| end.tree().is_some_and(|tree| tree.root() == root))
        });
        if lags {
            let text = format!(
                "this place shows an old checkpoint of {} entries, which the one of {} continues: it lags behind",
                new.size(),
                old.size()
            );
            return Ok(SomeFailed { text, code: exit::ROLLBACK }.into());
        }
        Ok(self.contradiction(context, old, new))
    }

    /// Shows both, for a third person to check. Without a policy nobody knows who signed them.
    fn contradiction(&self, context: &Context, old: &End, new: &End) -> anyhow::Error {
        let (End::Signed(one), End::Signed(other)) = (old, new) else {
            let text = format!("a log of {} entries does not continue one of {}", new.size(), old.size());
            return SomeFailed { text, code: exit::POLICY }.into();
        };
        let checked = self.policy.is_some();
        let evidence = Evidence::two_trees((**one).clone(), (**other).clone(), None);
        let evidence = evidence.ok().filter(|_| checked).map(|evidence| evidence.to_string());
        let value = serde_json::json!({
            "old": one.to_string(), "new": other.to_string(), "accepted": checked, "evidence": evidence,
        });
        let shown = context.out.result(&value, || match &evidence {
            Some(evidence) => context.out.line(evidence.trim_end()),
            None => {
                for (name, checkpoint) in [("old", one), ("new", other)] {
                    context.out.line(format_args!("{}:\n{checkpoint}", styled(STRONG, name)));
                }
            }
        });
        let words = if checked {
            "keep what was printed, it is the evidence: `log evidence` checks it"
        } else {
            "signatures not checked: it is evidence only by a policy, with --policy"
        };
        let text =
            format!("the log of {} entries does not continue the one of {}: {words}", new.size(), old.size());
        shown.err().unwrap_or_else(|| SomeFailed { text, code: exit::POLICY }.into())
    }
}

/// The tree whose tiles are there: the newest one that was signed for, if it is as large.
async fn tiles_of(opened: &Opened, size: u64) -> Result<u64, LogError> {
    let newest = opened.reader.checkpoint().await?;
    Ok(newest.map_or(size, |newest| newest.claimed().size().max(size)))
}

fn shown(
    context: &Context,
    (before, after): (u64, u64),
    roots: (Hash, Hash),
    proof: &[Hash],
    checked: bool,
) -> anyhow::Result<()> {
    let end = |size: u64, root: Hash| serde_json::json!({ "size": size, "root_hash": hex::encode(root.as_bytes()) });
    let value = serde_json::json!({
        "old": end(before, roots.0), "new": end(after, roots.1), "accepted": checked,
        "proof": proof.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    context.out.result(&value, || {
        let good = styled(GOOD, "consistent");
        context.out.line(format_args!("{good}: the log of {after} entries begins with that of {before}"));
        context.out.line(format_args!("{before:>12}  {}", roots.0));
        context.out.line(format_args!("{after:>12}  {}", roots.1));
        if !checked {
            context.out.line("signatures not checked: name a policy with --policy");
        }
    })
}
