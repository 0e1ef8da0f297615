//! Cosignatures for a log, from the witnesses of its policy.
//!
//! All are asked at once, each with patience of its own, again and again while that can help. It ends when the quorum
//! holds and the others had a moment more; or when it cannot hold any more; or when time is up. Installing needs none of
//! this: what was published has its cosignatures with it.
//!
//! What is remembered from one checkpoint to the next: the size that each witness knows; who failed, and is not waited for in
//! the next few rounds; and what a witness showed that the log's key had signed and that contradicted a checkpoint. Each later one is
//! held against that first, whoever cosigns it, until one continues it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

use super::ask::{Ask, Failed, Said, contradiction};
use crate::client::Http;
use crate::log::{ConsistencyProofs, CosignError, Cosigners};
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::key::{KnownKeys, VerifierKey};
use crate::tlog::note::Signature;
use crate::tlog::policy::{Log, Policy, Refusal, Witness};

/// How long witnesses are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For one request to be answered.
    pub each: Duration,
    /// For all of them together, with everything that is tried again.
    pub whole: Duration,
    /// For the others, once there are enough. Not for those that failed a short while ago.
    pub grace: Duration,
    /// Before a witness is asked again; the pause doubles each time.
    pub pause: Duration,
}

impl Default for Patience {
    /// 10 s for a request, a minute for a publication, a second more for those that are not needed.
    fn default() -> Self {
        Self {
            each: Duration::from_secs(10),
            whole: Duration::from_mins(1),
            grace: Duration::from_secs(1),
            pause: Duration::from_millis(500),
        }
    }
}

/// Pauses grow up to so many times the first one.
const MAX_GROWTH: u32 = 16;

/// Rounds that a witness is not waited for double each time it fails, up to so many times: 15 rounds.
const MAX_DOUBLINGS: u32 = 4;

/// Asks the witnesses of one policy.
#[derive(Debug)]
pub struct Collector {
    policy: Policy,
    http: Http,
    patience: Patience,
    memory: Mutex<Memory>,
}

/// What was found out about witnesses, by their keys as text: as many as the policy has.
#[derive(Debug, Default)]
struct Memory {
    /// The size that a witness cosigned last.
    sizes: HashMap<String, u64>,
    /// Who failed, or was late.
    lapses: HashMap<String, Lapse>,
    /// What those who are asked again said last.
    said: HashMap<String, Said>,
    /// What a witness showed against the log, each signed by the log's key.
    shown: HashMap<String, Checkpoint>,
}

/// That a witness failed.
#[derive(Debug, Default)]
struct Lapse {
    /// Times in a row, as far as they are counted.
    times: u32,
    /// Rounds in which it is not waited for, this one included.
    rounds: u32,
}

impl Memory {
    /// Another checkpoint is to be cosigned.
    fn next_round(&mut self) {
        self.lapses.values_mut().for_each(|lapse| lapse.rounds = lapse.rounds.saturating_sub(1));
    }

    /// Whoever fails again after it was waited for is waited for later still.
    fn failed(&mut self, name: &str) {
        let lapse = self.lapses.entry(name.to_owned()).or_default();
        if lapse.rounds == 0 {
            lapse.times = lapse.times.saturating_add(1).min(MAX_DOUBLINGS);
            lapse.rounds = 1 << lapse.times;
        }
    }

    /// Whether it is worth a moment more.
    fn awaits(&self, name: &str) -> bool {
        self.lapses.get(name).is_none_or(|lapse| lapse.rounds == 0)
    }
}

/// What came of asking one witness.
type Outcome<'a> = (&'a Witness, Result<Vec<Signature>, Failed>);

impl Collector {
    /// A collector that asks the witnesses of a policy that have an address there.
    pub fn new(policy: Policy, http: Http, patience: Patience) -> Self {
        Self { policy, http, patience, memory: Mutex::default() }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Keys by which the log signs.
    fn log_keys(&self, origin: &str) -> Vec<VerifierKey> {
        let logs = self.policy.logs().iter().map(Log::key);
        logs.filter(|key| key.name().as_str() == origin).cloned().collect()
    }

    /// Asks one witness until it cosigns or says something for good.
    async fn ask<'a>(
        &'a self,
        ask: Result<Ask<'a>, Said>,
        witness: &'a Witness,
        failed: &'a Notify,
    ) -> Outcome<'a> {
        let ask = match ask {
            Ok(ask) => ask,
            Err(said) => return (witness, Err(said.into())),
        };
        let name = witness.key().to_string();
        let mut pause = self.patience.pause;
        self.memory(|memory| memory.said.remove(&name));
        loop {
            let thought = self.memory(|memory| memory.sizes.get(&name).copied()).unwrap_or_default();
            let done = ask.cosignature(thought).await;
            self.note(&name, &done, ask.checkpoint.size());
            match &done {
                Err(Failed::Said(said)) if said.may_change() => {
                    failed.notify_one();
                    sleep(pause).await;
                }
                _ => return (witness, done),
            }
            pause = pause.saturating_mul(2).min(self.patience.pause.saturating_mul(MAX_GROWTH));
        }
    }

    fn note(&self, name: &str, done: &Result<Vec<Signature>, Failed>, size: u64) {
        self.memory(|memory| match done {
            Ok(_) => {
                memory.sizes.insert(name.to_owned(), size);
                memory.lapses.remove(name);
            }
            Err(Failed::Said(said)) => {
                memory.failed(name);
                memory.said.insert(name.to_owned(), said.clone());
            }
            Err(Failed::Proven { shown, .. }) => drop(memory.shown.insert(name.to_owned(), shown.clone())),
        });
    }

    fn memory<T>(&self, see: impl FnOnce(&mut Memory) -> T) -> T {
        see(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether one of those who are still asked is worth a moment more.
    fn awaits(&self, pending: &[&Witness]) -> bool {
        self.memory(|memory| pending.iter().any(|one| memory.awaits(&one.key().to_string())))
    }

    /// Whether the quorum could still hold.
    fn can_hold(&self, round: &Round<'_>) -> bool {
        self.policy.is_quorum(|key| {
            round.cosigned.contains(&key) || round.pending.iter().any(|witness| witness.key() == key)
        })
    }

    fn no_quorum(&self, round: &Round<'_>) -> CosignError {
        let said = |witness: &Witness| {
            let last = self.memory(|memory| memory.said.get(&witness.key().to_string()).cloned());
            problem(witness, &last.unwrap_or(Said::Pending))
        };
        let pending = round.pending.iter().map(|witness| said(witness));
        let cosigned = round.cosigned.len();
        let of = self.policy.witnesses().len();
        let first = format!("{cosigned} of {of} witnesses cosigned");
        let problems = std::iter::once(first).chain(round.problems.iter().cloned()).chain(pending);
        CosignError::NoQuorum { problems: problems.collect() }
    }
}

/// How far one checkpoint is.
struct Round<'a> {
    checkpoint: SignedCheckpoint,
    cosigned: Vec<&'a VerifierKey>,
    pending: Vec<&'a Witness>,
    problems: Vec<String>,
}

impl<'a> Round<'a> {
    /// Takes what came of asking one witness. An error if going on would be wrong.
    fn take(&mut self, (witness, done): Outcome<'a>) -> Result<(), CosignError> {
        self.pending.retain(|one| one.key() != witness.key());
        match done {
            Ok(lines) => {
                let own = KnownKeys::new(vec![witness.key().clone()]);
                let merged = own.map(|own| self.checkpoint.merge(lines, &own));
                match merged {
                    Ok(Ok(_)) => self.cosigned.push(witness.key()),
                    Ok(Err(error)) => self.problems.push(problem(witness, &Said::Unsigned(error))),
                    Err(error) => self.problems.push(error.to_string()),
                }
            }
            Err(Failed::Said(said)) => self.problems.push(problem(witness, &said)),
            Err(Failed::Proven { error, .. }) => return Err(error),
        }
        Ok(())
    }
}

#[async_trait]
impl Cosigners for Collector {
    async fn cosign(
        &self,
        checkpoint: SignedCheckpoint,
        proofs: &dyn ConsistencyProofs,
    ) -> Result<SignedCheckpoint, CosignError> {
        let log = KnownKeys::new(self.log_keys(checkpoint.claimed_origin()));
        let log = log.map_err(|error| CosignError::NoQuorum { problems: vec![error.to_string()] })?;
        let content = self.signed(&checkpoint, &log)?;
        self.memory(Memory::next_round);
        self.recall(&content, proofs).await?;
        let (signed, failed) = (checkpoint.clone(), Notify::new());
        let asks = self.policy.witnesses().iter().map(|witness| {
            let url = witness.url().ok_or(Said::NoAddress);
            let ask = url.map(|url| Ask {
                http: &self.http,
                name: witness.name(),
                key: witness.key(),
                url,
                log: &log,
                signed: &signed,
                checkpoint: &content,
                proofs,
                patience: self.patience.each,
            });
            self.ask(ask, witness, &failed)
        });
        let asked: FuturesUnordered<_> = asks.collect();
        let pending = self.policy.witnesses().iter().collect();
        let round = Round { checkpoint, cosigned: Vec::new(), pending, problems: Vec::new() };
        self.collect(round, asked, &failed).await
    }
}

impl Collector {
    /// What is to be cosigned, if the policy's log signed it.
    fn signed(&self, checkpoint: &SignedCheckpoint, log: &KnownKeys) -> Result<Checkpoint, CosignError> {
        match self.policy.check(checkpoint) {
            Ok(_) | Err(Refusal::NoQuorum { .. }) => {}
            Err(refusal) => return Err(CosignError::NoQuorum { problems: vec![refusal.to_string()] }),
        }
        let verified = checkpoint.verify(log).map(|(content, _)| content.clone());
        verified.map_err(|error| CosignError::NoQuorum { problems: vec![error.to_string()] })
    }

    /// Holds a checkpoint against what witnesses have shown. What it continues need not be remembered any more.
    async fn recall(&self, content: &Checkpoint, proofs: &dyn ConsistencyProofs) -> Result<(), CosignError> {
        for witness in self.policy.witnesses() {
            let name = witness.key().to_string();
            let shown = self.memory(|memory| memory.shown.get(&name).cloned());
            let Some(shown) = shown.filter(|shown| shown.origin() == content.origin()) else { continue };
            match contradiction(&witness.name(), &shown, content, proofs).await {
                Ok(None) => drop(self.memory(|memory| memory.shown.remove(&name))),
                Ok(Some(error)) => return Err(error),
                Err(reason) => {
                    let problems = vec![problem(witness, &Said::NoProof(reason))];
                    return Err(CosignError::NoQuorum { problems });
                }
            }
        }
        Ok(())
    }

    async fn collect<'a>(
        &'a self,
        mut round: Round<'a>,
        mut asked: FuturesUnordered<impl Future<Output = Outcome<'a>>>,
        failed: &Notify,
    ) -> Result<SignedCheckpoint, CosignError> {
        let mut whole = pin!(sleep(self.patience.whole));
        let mut grace: Option<std::pin::Pin<Box<Sleep>>> = None;
        loop {
            let holds = self.policy.check(&round.checkpoint).is_ok();
            if holds && !self.awaits(&round.pending) {
                return Ok(round.checkpoint);
            }
            if holds && grace.is_none() {
                grace = Some(Box::pin(sleep(self.patience.grace)));
            }
            if !holds && !self.can_hold(&round) {
                return Err(self.no_quorum(&round));
            }
            let over = async {
                match grace.as_mut() {
                    Some(grace) => grace.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(outcome) = asked.next() => round.take(outcome)?,
                () = failed.notified() => {}
                () = over => {
                    self.memory(|memory| {
                        round.pending.iter().for_each(|one| memory.failed(&one.key().to_string()));
                    });
                    return Ok(round.checkpoint);
                }
                () = &mut whole => {
                    return if holds { Ok(round.checkpoint) } else { Err(self.no_quorum(&round)) };
                }
            }
        }
    }
}

fn problem(witness: &Witness, said: &Said) -> String {
    format!("{}: {said}", witness.name().escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a witness that fails whenever it is waited for is waited for, round by round.
    fn awaited(rounds: usize) -> Vec<bool> {
        let mut memory = Memory::default();
        let round = |_| {
            memory.next_round();
            let awaited = memory.awaits("w");
            memory.failed("w");
            awaited
        };
        (0..rounds).map(round).collect()
    }

    #[test]
    fn who_fails_is_waited_for_again_later_and_later() {
        let rounds = awaited(60);
        let at: Vec<_> =
            rounds.iter().enumerate().filter(|(_, awaited)| **awaited).map(|(at, _)| at).collect();
        assert_eq!(at, [0, 2, 6, 14, 30, 46]);
    }
}
