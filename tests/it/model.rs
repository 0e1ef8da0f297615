//! The commit protocol under every interleaving: the real code, a store in memory, and a scheduler between the two.
//!
//! | file | what |
//! |---|---|
//! | `model/desk.rs` | the store as a participant sees it: each operation waits for its turn |
//! | `model/world.rs` | one run, and what must hold after each of its steps |
//! | `model/search.rs` | which schedules are tried, and why the others need not be |
//!
//! After every step: versions have only grown, and nothing is missing that the current timestamp leads to. At every
//! end: the whole repository verifies, what was acknowledged is what a real client gets, and after the next change
//! everything is in order, the unsigned pages and their notes included.
//!
//! **What is bounded.** The repository has two bins and two projects, and there are two participants. One that could go
//! on is interrupted once at most, or never where faults are tried; the first one begins. Collections are not part of it. There is at most one fault in a schedule. Objects of one `create_all` are written one after another
//! in the order given, copies last. The clock stands still: what was there in the beginning is old, all else is new.
//!
//! `WHEELSEAL_MODEL=deep cargo test --test it model::` allows one preemption more; that takes minutes.

#![expect(clippy::unwrap_used, reason = "a world that cannot be read is a test that failed")]

mod desk;
mod search;
mod world;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use wheelseal::repository::{
    Edit, Publisher, Repository, RepositoryError, Retention, Unwatched, read_distribution,
};
use wheelseal::store::{Store, StoreError};

use self::search::{Explored, Limits, explore};
use self::world::{Known, Outcome, Program, Shown, World};
use crate::memory::{MemoryStore, Reader, assert_sound};
use crate::scene::{ONLINE, keyring, now, wheel, wheel_name};

/// Files younger than this are not collected; the old ones are older.
const RETENTION: Retention = Retention { snapshots: 1, grace: Duration::from_hours(1) };

/// Where every run begins.
struct Stage {
    runtime: Runtime,
    store: MemoryStore,
    spool: TempDir,
    known: Known,
}

impl Stage {
    /// Two projects with a file each, of which everything is old; and a third one that was removed.
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (store, spool) = (runtime.block_on(MemoryStore::with_repository()), tempfile::tempdir().unwrap());
        let stage = Self { runtime, store, spool, known: Known::default() };
        let publish = |edits: &[Edit]| {
            stage.runtime.block_on(async {
                let keys = keyring(&ONLINE).await;
                stage.store.repository().await.publish(&keys, edits, now(), &Unwatched).await.unwrap()
            });
        };
        publish(&[stage.add("alpha", "1.0"), stage.add("beta", "1.0"), stage.add("gamma", "1.0")]);
        publish(&[Edit::Remove(wheel_name("gamma", "1.0"))]);
        for object in stage.store.world().objects.values_mut() {
            object.modified = SystemTime::UNIX_EPOCH;
        }
        stage
    }

    fn add(&self, project: &str, version: &str) -> Edit {
        let folder = tempfile::tempdir_in(self.spool.path()).unwrap();
        let file = wheel(folder.path(), project, version, "text");
        Edit::Add(Box::new(read_distribution(&file, self.spool.path()).unwrap()))
    }

    /// Tries all schedules of these programs.
    fn explore(&self, limits: Limits, programs: &[&dyn Fn(Arc<dyn Store>) -> Program]) -> Explored {
        let start = || {
            let _entered = self.runtime.enter();
            World::new(self.store.copy(), &self.known, programs)
        };
        let _entered = self.runtime.enter();
        explore(start, limits, |world, when| self.check(world, when))
    }

    /// What must hold at every end.
    fn check(&self, world: &World, when: &str) {
        let when = format!("{when}\n{}{:?}", world.told(), world.outcomes);
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.runtime.block_on(self.check_end(world, &when));
        }));
        assert!(seen.is_ok(), "{when}");
    }

    async fn check_end(&self, world: &World, when: &str) {
        let problems = world.store.repository().await.check(now(), &Unwatched).await.unwrap().problems;
        assert!(problems.is_empty(), "{when}: {problems:#?}");
        let reader = Reader::of(&world.store);
        for outcome in world.outcomes.iter().flatten() {
            for shown in &outcome.acknowledged {
                shows(&reader, *shown).await;
            }
            assert!(world.had_fault() || outcome.errors.is_empty(), "{when}");
        }
        if world.had_fault() {
            // Twice: a note of a commit that never was is followed as soon as there is one with its version.
            for version in ["8.0", "9.0"] {
                let keys = keyring(&ONLINE).await;
                let repository = world.store.repository().await;
                let edits = [self.add("beta", version)];
                repository.publish(&keys, &edits, now(), &Unwatched).await.unwrap();
                repository.gc(RETENTION, false, now(), &Unwatched).await.unwrap();
            }
        }
        assert_sound(&world.store, when).await;
    }
}

async fn shows(reader: &Reader, shown: Shown) {
    match shown {
        Shown::File(project, version) => reader.downloads(now(), [(project, version)]).await.unwrap(),
        Shown::Yanked(project, reason) => {
            let page = reader.page(now(), project).await.unwrap();
            assert!(page.contains(&format!("\"yanked\":\"{reason}\"")), "{page}");
        }
    }
}

/// Publishes once; if the store failed, once more.
fn publish(edits: Arc<Vec<Edit>>, shown: Shown) -> impl Fn(Arc<dyn Store>) -> Program {
    move |store| {
        let edits = Arc::clone(&edits);
        Box::pin(async move {
            let keys = keyring(&ONLINE).await;
            let mut outcome = Outcome { acknowledged: Vec::new(), errors: Vec::new() };
            for _ in 0..2 {
                let published = async {
                    let repository = Repository::open(Arc::clone(&store)).await?;
                    repository.publish(&keys, &edits, now(), &Unwatched).await
                };
                match published.await {
                    Ok(_) => outcome.acknowledged.push(shown),
                    Err(error @ RepositoryError::Store(StoreError::Io { .. })) => {
                        outcome.errors.push(error);
                        continue;
                    }
                    Err(error) => outcome.errors.push(error),
                }
                break;
            }
            outcome
        })
    }
}

/// A publisher that remembers the state, and yanks one file after another, each with its own reason.
fn yanks(files: &'static [(&'static str, &'static str)]) -> impl Fn(Arc<dyn Store>) -> Program {
    move |store| {
        Box::pin(async move {
            let mut outcome = Outcome { acknowledged: Vec::new(), errors: Vec::new() };
            let publisher = Publisher::start(Repository::open(store).await.unwrap(), keyring(&ONLINE).await);
            for (project, reason) in files {
                for _ in 0..2 {
                    let edit = Edit::Yank(wheel_name(project, "1.0"), Some(reason.parse().unwrap()));
                    match publisher.publish(vec![edit], now()).await {
                        Ok(_) => {
                            // The last word counts.
                            outcome.acknowledged.retain(
                                |shown| !matches!(shown, Shown::Yanked(other, _) if other == project),
                            );
                            outcome.acknowledged.push(Shown::Yanked(project, reason));
                        }
                        Err(error) => {
                            outcome.errors.push(error);
                            continue;
                        }
                    }
                    break;
                }
            }
            outcome
        })
    }
}

/// Far more than there are: not to be endless if something goes wrong.
const RUNS: usize = 50_000;

/// Preemptions in a schedule, at most, unless more are asked for.
fn preemptions(usual: usize) -> usize {
    let deep = std::env::var_os("WHEELSEAL_MODEL").is_some_and(|value| value == "deep");
    usual + usize::from(deep)
}

#[test]
fn two_publications_lose_nothing_in_any_order() {
    let stage = Stage::new();
    let one = publish(Arc::new(vec![stage.add("alpha", "1.1")]), Shown::File("alpha", "1.1"));
    let two = publish(Arc::new(vec![stage.add("beta", "1.1")]), Shown::File("beta", "1.1"));
    let limits = Limits { preemptions: Some(preemptions(1)), runs: RUNS, ..Limits::default() };
    let explored = stage.explore(limits, &[&one, &two]);
    assert!(explored.schedules >= 10 && explored.ends >= 3, "{explored:?}");
}

#[test]
fn two_publishers_that_remember_the_state_lose_nothing_in_any_order() {
    let stage = Stage::new();
    let one = yanks(&[("alpha", "first"), ("alpha", "second")]);
    let two = yanks(&[("beta", "third")]);
    let limits = Limits { preemptions: Some(preemptions(1)), runs: RUNS, ..Limits::default() };
    let explored = stage.explore(limits, &[&one, &two]);
    assert!(explored.schedules >= 10 && explored.ends >= 3, "{explored:?}");
}

#[test]
fn a_crash_a_lost_answer_or_an_old_timestamp_at_any_point_loses_nothing() {
    let stage = Stage::new();
    let one = publish(Arc::new(vec![stage.add("alpha", "1.1")]), Shown::File("alpha", "1.1"));
    let two = publish(Arc::new(vec![stage.add("beta", "1.1")]), Shown::File("beta", "1.1"));
    let limits =
        Limits { preemptions: Some(preemptions(0)), crash: true, lost_answer: true, stale: true, runs: RUNS };
    let explored = stage.explore(limits, &[&one, &two]);
    assert!(explored.schedules >= 30 && explored.ends >= 10, "{explored:?}");
}
