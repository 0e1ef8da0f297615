//! Recorders: independent third parties of which so many must have seen the same file.
//!
//! ```text
//! kept proofs ── enough? ──▶ Recorded
//!      └─ all are asked at once ─▶ agree / nothing there / silent / broken / other content ─▶ Recorded, or refused
//! ```
//!
//! Rules:
//! 1. A recorder agrees by a proof for the same leaf in its own log, accepted by its own policy. Nothing else counts.
//! 2. Needed are so many as the user said, or all that are not younger than the file, if those are fewer. Who is younger is known from
//!    the number of the file's leaf in the index's log, where witnesses cosigned that; without, nobody is.
//! 3. While a file is fresh, recorders need not have it yet: but as many as are needed must have said so, and none may say otherwise.
//! 4. Other content is never passed over: without so many who agree as the user said it refuses, and else it is told.
//! 5. No answer is no agreement.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::LogError;
use super::announced::{Announced, RecorderError, Recorders};
use super::member::{Answer, Member, Question};
use super::patience::{Until, within};
use super::proven::Inclusion;
use crate::client::source::Source;
use crate::client::{CacheError, ClientError};
use crate::crypto::sha256;

/// How long the others are waited for, once enough agree: one of them may have something else to say.
const LINGER: Duration = Duration::from_secs(2);
/// Seconds that the clock of a witness may be ahead of this one, at most.
const MAX_AHEAD: u64 = 3_600;
/// How long an answer is good for within one process: a file is often proven when it is looked up, and when it is there.
const MEMORY: Duration = Duration::from_mins(1);
/// Answers that are remembered, at most; then all are forgotten.
const MAX_REMEMBERED: usize = 4_096;
/// Warnings that are kept until somebody reads them, at most.
const MAX_WARNINGS: usize = 64;

/// What recorders said of a file that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Those that have the same leaf, by name, and where it is in their logs.
    pub agreed: Vec<(String, Inclusion)>,
    /// What the others say, by name.
    pub others: Vec<(String, String)>,
    /// How many must agree, as the user said.
    pub needed: usize,
    /// How many recorders are not younger than the file.
    pub old_enough: usize,
    /// Whether it was accepted because recorders need not have it yet.
    pub fresh: bool,
}

impl Recorded {
    /// In one line.
    pub fn words(&self) -> String {
        let names: Vec<_> = self.agreed.iter().map(|(name, _)| name.as_str()).collect();
        let (by, all) = (names.join(", "), self.agreed.len() + self.others.len());
        let by = if by.is_empty() { "no recorder".to_owned() } else { by };
        let basis = match (self.fresh, self.old_enough.min(self.needed)) {
            (true, _) => "so new that recorders need not have it yet".to_owned(),
            (false, 0) => format!("all {all} recorders are younger than it"),
            (false, needed) if needed < self.needed => {
                format!("{needed} of {all} must: the other recorders are younger than it")
            }
            (false, needed) => format!("{needed} of {all} must"),
        };
        format!("recorded by {by} ({basis})")
    }
}

/// What is asked, and when.
pub(super) struct Asked<'a> {
    pub(super) question: Question<'a>,
    /// When witnesses last cosigned the tree that the index's proof is for, in seconds since the epoch.
    pub(super) cosigned: Option<u64>,
    pub(super) now: DateTime<Utc>,
}

/// The recorders of a trust, with what this process learnt of them.
#[derive(Debug)]
pub struct Panel {
    needed: usize,
    /// In seconds.
    grace: u64,
    members: Vec<Member>,
    /// By hash of the leaf.
    remembered: Mutex<HashMap<[u8; 32], (Until, Recorded)>>,
    warnings: Mutex<BTreeSet<String>>,
}

impl Panel {
    /// The recorders of a trust; `open` makes a source for a base address.
    pub fn new<E: From<RecorderError>>(
        recorders: &Recorders,
        mut open: impl FnMut(&str) -> Result<Arc<dyn Source>, E>,
    ) -> Result<Self, E> {
        recorders.check()?;
        let mut member = |announced: &Announced| {
            let base = announced.url.trim_end_matches('/');
            let (proofs, log) = (open(&format!("{base}/targets/"))?, open(&format!("{base}/log/"))?);
            Ok::<_, E>(Member::new(announced, proofs, log)?)
        };
        let members = recorders.members.iter().map(&mut member).collect::<Result<_, E>>()?;
        let (needed, grace) = (recorders.needed, u64::from(recorders.grace_hours) * 3_600);
        Ok(Self { needed, grace, members, remembered: Mutex::default(), warnings: Mutex::default() })
    }

    /// What recorders said that kept no file back, each once: for who looks after this machine.
    pub(in crate::client) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *warnings).into_iter().collect()
    }

    /// Whether recorders have seen the file as the index signs it.
    pub(super) async fn hear(&self, asked: &Asked<'_>) -> Result<Recorded, ClientError> {
        let key = sha256(asked.question.leaf.to_string().as_bytes());
        if let Some((until, recorded)) = self.remembered().get(&key)
            && !until.is_over()
        {
            return Ok(recorded.clone());
        }
        let recorded = self.judge(asked, &self.answers(asked).await?)?;
        let mut remembered = self.remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, (Until::after(MEMORY), recorded.clone()));
        Ok(recorded)
    }

    /// What each says, in their order; none for those who were not asked, because the kept proofs are enough.
    async fn answers(&self, asked: &Asked<'_>) -> Result<Vec<Option<Answer>>, CacheError> {
        let question = &asked.question;
        let mut answers = Vec::with_capacity(self.members.len());
        for member in &self.members {
            answers.push(member.kept(question).await?);
        }
        if answers.iter().flatten().count() >= self.needed {
            return Ok(answers);
        }
        self.round(question, &mut answers, false).await?;
        if agreed(&answers) < self.needed && answers.contains(&Some(Answer::Late)) {
            // Others are not enough this time: who was slower than they before is waited for.
            answers.iter_mut().filter(|answer| **answer == Some(Answer::Late)).for_each(|late| *late = None);
            self.round(question, &mut answers, true).await?;
        }
        Ok(answers)
    }

    /// Asks those of whom there is no answer yet, all at once.
    async fn round(
        &self,
        question: &Question<'_>,
        answers: &mut [Option<Answer>],
        late: bool,
    ) -> Result<(), CacheError> {
        let mut asking: FuturesUnordered<BoxFuture<'_, _>> = FuturesUnordered::new();
        for (at, (member, answer)) in self.members.iter().zip(answers.iter()).enumerate() {
            if answer.is_none() {
                asking.push(async move { (at, member.ask(question, late).await) }.boxed());
            }
        }
        let mut enough = None;
        while let Some(Some((at, answer))) = within(enough, asking.next()).await {
            answers
                .iter_mut()
                .skip(at)
                .take(1)
                .zip([answer?])
                .for_each(|(slot, answer)| *slot = Some(answer));
            if enough.is_none() && agreed(answers) >= self.needed {
                enough = Some(Until::after(LINGER));
            }
        }
        drop(asking);
        for (member, answer) in self.members.iter().zip(answers) {
            answer.get_or_insert_with(|| member.is_late());
        }
        Ok(())
    }

    fn judge(&self, asked: &Asked<'_>, answers: &[Option<Answer>]) -> Result<Recorded, LogError> {
        let logged = asked.question.logged.map(|(logged, _)| logged);
        let said = || self.members.iter().zip(answers);
        let count =
            |which: fn(&Answer) -> bool| answers.iter().flatten().filter(|answer| which(answer)).count();
        let agreed = count(|answer| matches!(answer, Answer::Agrees(_)));
        let (absent, others) = (count(|a| *a == Answer::Absent), count(|a| matches!(a, Answer::Other(_))));
        let broken = count(|answer| matches!(answer, Answer::Broken(_)));
        let old_enough = self.members.iter().filter(|member| !member.younger_than(logged)).count();
        let needed = self.needed.min(old_enough);
        let fresh =
            agreed < needed && self.is_fresh(asked) && broken == 0 && agreed.saturating_add(absent) >= needed;
        let path = || asked.question.path.to_string();
        let all =
            || said().map(|(member, answer)| (member.name.clone(), words(member, answer.as_ref(), logged)));
        let lines = || all().map(|(name, words)| format!("{name}: {words}")).collect();
        if others > 0 && agreed < self.needed {
            return Err(LogError::Contradicted { path: path(), needed: self.needed, said: lines() });
        }
        if agreed < needed && !fresh {
            return Err(LogError::Unrecorded { path: path(), needed, of: self.members.len(), said: lines() });
        }
        self.warn(&path(), said());
        let mut recorded =
            Recorded { agreed: Vec::new(), others: Vec::new(), needed: self.needed, old_enough, fresh };
        for ((name, words), answer) in all().zip(answers) {
            match answer {
                Some(Answer::Agrees(inclusion)) => recorded.agreed.push((name, inclusion.clone())),
                _ => recorded.others.push((name, words)),
            }
        }
        Ok(recorded)
    }

    /// Whether witnesses saw it logged so short a time ago. A time that is to come, by more than clocks differ, says nothing.
    fn is_fresh(&self, asked: &Asked<'_>) -> bool {
        let now = u64::try_from(asked.now.timestamp()).unwrap_or(0);
        let recent = |cosigned: u64| {
            now.saturating_sub(cosigned) < self.grace && cosigned.saturating_sub(now) <= MAX_AHEAD
        };
        self.grace > 0 && asked.cosigned.is_some_and(recent)
    }

    fn warn<'a>(&self, path: &str, said: impl Iterator<Item = (&'a Member, &'a Option<Answer>)>) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        for (member, answer) in said {
            if let Some(answer @ (Answer::Broken(_) | Answer::Other(_))) = answer
                && warnings.len() < MAX_WARNINGS
            {
                warnings.insert(format!("{path}: recorder {}: {}", member.name, answer.words()));
            }
        }
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Until, Recorded)>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many agree.
fn agreed(answers: &[Option<Answer>]) -> usize {
    answers.iter().flatten().filter(|answer| matches!(answer, Answer::Agrees(_))).count()
}

/// What a recorder says of a file, for people.
fn words(member: &Member, answer: Option<&Answer>, logged: Option<&Inclusion>) -> String {
    match answer {
        None => "was not asked".to_owned(),
        Some(Answer::Absent) if member.younger_than(logged) => "is younger than the file".to_owned(),
        Some(answer) => answer.words(),
    }
}
