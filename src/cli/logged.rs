//! What transparency logs and recorders say of a file, as it is shown.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Context;
use super::output::{BAD, STRONG, styled};
use crate::client::{Inclusion, Logging, Recorded, Session, Sitting};

/// What a policy says that asks for no witnesses.
const UNWITNESSED: &str = "quorum none";

/// A place in a transparency log.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Logged {
    origin: String,
    /// Number of the leaf, from 0.
    leaf: u64,
    /// Leaves of the tree that the proof is for.
    size: u64,
    /// Those who cosigned that tree.
    witnesses: Vec<String>,
    /// Whether a quorum of witnesses was asked for; if not, the log alone says so.
    witnessed: bool,
}

impl From<&Inclusion> for Logged {
    fn from(inclusion: &Inclusion) -> Self {
        let Inclusion { origin, index, size, witnesses, unwitnessed } = inclusion.clone();
        Self { origin, leaf: index, size, witnesses, witnessed: !unwitnessed }
    }
}

impl Logged {
    pub(super) fn line(&self) -> String {
        let by = if self.witnessed {
            format!("witnessed by {}", self.witnesses.join(", "))
        } else {
            format!("{}: nobody else vouches for the log", styled(BAD, UNWITNESSED))
        };
        format!("logged as leaf {} of {} in {}, {by}", self.leaf, self.size, self.origin)
    }
}

/// What recorders say of a file.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Heard {
    /// Where those who have the same content have it.
    agreed: BTreeMap<String, Logged>,
    /// What the others say.
    others: BTreeMap<String, String>,
    /// How many must agree.
    needed: usize,
    /// How many are not younger than the file.
    old_enough: usize,
    /// Whether it is so new that they need not have it yet.
    fresh: bool,
    #[serde(skip)]
    words: String,
}

impl From<&Recorded> for Heard {
    fn from(recorded: &Recorded) -> Self {
        let words = recorded.words();
        let Recorded { agreed, others, needed, old_enough, fresh } = recorded.clone();
        let agreed = agreed.iter().map(|(name, inclusion)| (name.clone(), inclusion.into())).collect();
        Self { agreed, others: others.into_iter().collect(), needed, old_enough, fresh, words }
    }
}

impl Heard {
    /// A few words behind a file's name.
    pub(super) fn brief(&self) -> String {
        format!(", {}", self.words)
    }

    /// The whole in a line, and a line for each who does not agree.
    pub(super) fn lines(&self) -> Vec<String> {
        let others = self.others.iter().map(|(name, words)| format!("recorder {name}: {words}"));
        std::iter::once(self.words.clone()).chain(others).collect()
    }
}

/// Says of each log that no witness vouches for it, and what recorders said that kept no file back.
pub(super) fn warn_logs(sitting: &Sitting<'_>, context: &Context) {
    for (repository, log) in sitting.logs() {
        warn_unwitnessed(repository, &log, context);
    }
    for (repository, warning) in sitting.recorder_warnings() {
        warn_recorder(repository, &warning, context);
    }
}

/// The same of one repository.
pub(super) fn warn_log(repository: &str, session: &Session, context: &Context) {
    if let Some(log) = session.log() {
        warn_unwitnessed(repository, &log, context);
    }
    for warning in session.recorder_warnings() {
        warn_recorder(repository, &warning, context);
    }
}

/// Says that no witness vouches for a log, if that is so.
pub(super) fn warn_unwitnessed(repository: &str, log: &Logging, context: &Context) {
    if log.unwitnessed {
        context.out.note(format_args!(
            "{}: the log of {repository}, {}, has no witnesses; that it shows everybody the same is its word alone",
            styled(STRONG, UNWITNESSED),
            log.origin
        ));
    }
}

/// Says what a recorder said that kept no file back.
pub(super) fn warn_recorder(repository: &str, warning: &str, context: &Context) {
    context.out.note(format_args!("{} {repository}: {warning}", styled(BAD, "recorders disagree:")));
}
