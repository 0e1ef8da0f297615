//! `log evidence`: what evidence of a client, a recorder or a monitor proves, to who has the keys of the logs in it.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::exit::Usage;
use super::files::read_file;
use super::log::{read_policy, refused};
use super::output::{BAD, STRONG, styled};
use crate::tlog::evidence::{Evidence, MAX_EVIDENCE_LEN, Seen, Shows, Verdict};

/// Check evidence that a log was rewritten, or that logs contradict each other, without a network.
///
/// Exit code 0: the signatures and proofs in it hold, and what they show is said. 9: they do not. 2: it is no evidence.
#[derive(Debug, Args)]
pub(crate) struct EvidenceCheck {
    /// The evidence, as a client, a recorder or a monitor wrote it
    file: PathBuf,
    /// Policies with the keys of the logs in it (tlog-policy). Get them from elsewhere than the evidence
    #[arg(long, value_name = "FILE", required = true)]
    policy: Vec<PathBuf>,
}

impl EvidenceCheck {
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<()> {
        let policies = self.policy.iter().map(|file| read_policy(file)).collect::<Result<Vec<_>, _>>()?;
        let max = u64::try_from(MAX_EVIDENCE_LEN).unwrap_or(u64::MAX);
        let bytes = read_file(&self.file, max)?;
        let place = self.file.display();
        let evidence = Evidence::parse(&bytes).map_err(|error| Usage(format!("{place}: {error}")))?;
        let verdict = evidence.check(&policies);
        let verdict = verdict.map_err(|error| refused(&format_args!("{place} proves nothing: {error}")))?;
        let value = json(&evidence, &verdict);
        context.out.result(&value, || show(context, &evidence, &verdict))
    }
}

fn json(evidence: &Evidence, verdict: &Verdict) -> serde_json::Value {
    let path = match &verdict.shows {
        Shows::LoggedTwice { path, .. } | Shows::Disagree { path, .. } | Shows::Reported { path, .. } => {
            Some(path)
        }
        Shows::Forked { .. } | Shows::Shrank { .. } | Shows::NotGrown { .. } => None,
    };
    let seen = verdict.seen.iter().zip(leaves(evidence)).map(|(seen, leaf)| {
        serde_json::json!({
            "origin": seen.tree.origin(), "size": seen.tree.size(),
            "root_hash": hex::encode(seen.tree.root().as_bytes()),
            "accepted": seen.witnesses.is_ok(), "cosigned": seen.witnesses.as_ref().ok(), "leaf": leaf,
        })
    });
    serde_json::json!({
        "shows": verdict.shows.name(), "proven": verdict.shows.proven(), "path": path,
        "words": verdict.shows.to_string(), "checkpoints": seen.collect::<Vec<_>>(),
    })
}

/// The leaves of both sides, if it has any.
fn leaves(evidence: &Evidence) -> [Option<serde_json::Value>; 2] {
    match evidence {
        Evidence::TwoTrees { .. } => [None, None],
        Evidence::TwoContents { first, second } => {
            [first, second].map(|exhibit| serde_json::from_str(&exhibit.leaf.to_string()).ok())
        }
    }
}

fn show(context: &Context, evidence: &Evidence, verdict: &Verdict) {
    let title = if verdict.shows.proven() { styled(BAD, "proven") } else { styled(STRONG, "holds") };
    context.out.line(format_args!("{title} {}", verdict.shows));
    for (which, seen) in ["first", "second"].iter().zip(&verdict.seen) {
        let tree = &seen.tree;
        context.out.line(format_args!(
            "{which:>8}: {}, {} entries, root {}; {}",
            tree.origin(),
            tree.size(),
            tree.root(),
            witnesses(seen)
        ));
    }
    match evidence {
        Evidence::TwoContents { first, second } => {
            for (which, exhibit) in [("first", first), ("second", second)] {
                context.out.line(format_args!("{which:>8}: {}", exhibit.leaf));
            }
        }
        Evidence::TwoTrees { timestamp: Some(_), .. } => {
            context
                .out
                .line("The timestamp in it is not checked here: that takes the repository's TUF keys.");
        }
        Evidence::TwoTrees { timestamp: None, .. } => {}
    }
}

fn witnesses(seen: &Seen) -> String {
    match &seen.witnesses {
        Ok(names) if names.is_empty() => "signed by the log".to_owned(),
        Ok(names) => format!("signed by the log, cosigned by {}", names.join(", ")),
        Err(refusal) => format!("signed by the log, but no policy accepts it: {refusal}"),
    }
}
