//! The commit protocol under every interleaving: the real code, a store in memory, and a scheduler between the two.
//!
//! | file | what |
//! |---|---|
//! | `model/desk.rs` | the store as a participant sees it: each operation waits for its turn |
//! | `model/world.rs` | one run, and what must hold after each of its steps |
//! | `model/search.rs` | which schedules are tried, and why the others need not be |
//!
//! After every step: versions have only grown, and nothing is missing that the current timestamp leads to, but for a file
//! that is being published again while `gc` removes it. At every end: the whole repository verifies, what was acknowledged
//! is what a real client gets, nobody was refused, and everything is in order, the unsigned pages and their notes included.
//! After a fault the last holds from the next change on, and what a killed `gc` had put aside is back after the next one.
//!
//! **What is bounded.** The repository has two bins and four projects. Objects of one `create_all`, and what `gc` does on
//! several threads, come one after another in the order given, copies last. The clock stands still: what was there in the
//! beginning is old, all else is new, so nobody sleeps for longer than the grace period. Interruptions are *not* bounded:
//!
//! | participants | orders | schedules, when this was written |
//! |---|---|---|
//! | two publications of a wheel | all | 904 |
//! | two publishers that remember the state | all | 422 |
//! | a publication and a `gc` of the same file | all | 768 |
//! | the same with a wheel, so with its metadata | all, deep alone | 8,482 |
//! | two publications and a `gc` | one after another; deep: all, but one publication is not interrupted | |
//! | two publications, or one and a `gc`, with a fault | one after another; deep: all | |
//!
//! There is one fault in a schedule: a participant dies before a write, or a write is done but reported as failed, or somebody
//! sees an old timestamp for a while. `WHEELSEAL_MODEL=deep cargo test --test it model::` tries what is called deep; the last two
//! rows of it take longer than half an hour, and were not seen to their end.
//!
//! **What it was tried on.** Each of these changes to the code makes it fail:
//!
//! | change | fails |
//! |---|---|
//! | `gc/sweep.rs`: no look at the timestamp after the delete | `a_file_that_is…` |
//! | `gc/sweep.rs`: nothing is put back | the same |
//! | `gc/sweep.rs`: deleted without having been put aside | the same |
//! | `gc/mark.rs`: what was committed meanwhile is not marked | the same |
//! | `publish.rs`: no look whether the files are still there after the commit | the same |
//! | `commit.rs`: a copy whose original went away is an error, before the commit or after | the same |
//! | `commit.rs`: the timestamp is swapped whatever it is | `two_publications_lose…` |
//! | `pages.rs`: a state older than the own commit is believed | `a_crash…at_any_point…` |

#![expect(clippy::unwrap_used, reason = "a world that cannot be read is a test that failed")]

mod desk;
mod search;
mod world;

use std::fs;
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
use crate::scene::{ONLINE, archive, keyring, now, wheel, wheel_name};

/// Files younger than this are not collected; the old ones are older.
const RETENTION: Retention = Retention { snapshots: 1, grace: Duration::from_hours(1) };

/// Where every run begins.
struct Stage {
    runtime: Runtime,
    store: MemoryStore,
    spool: TempDir,
    known: Known,
}

/// A source distribution: a target without a second one for its metadata, so that there are few schedules.
const SDIST: &str = "delta-1.0.zip";

impl Stage {
    /// Two projects with a file each, of which everything is old; and two that were removed.
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (store, spool) = (runtime.block_on(MemoryStore::with_repository()), tempfile::tempdir().unwrap());
        let stage = Self { runtime, store, spool, known: Known::default() };
        let publish = |edits: &[Edit]| {
            stage.runtime.block_on(async {
                let keys = keyring(&ONLINE).await;
                stage.store.repository().await.publish(&keys, edits, now(), &Unwatched).await.unwrap()
            });
        };
        publish(&[
            stage.add("alpha", "1.0"),
            stage.add("beta", "1.0"),
            stage.add("gamma", "1.0"),
            stage.sdist(),
        ]);
        publish(&[Edit::Remove(wheel_name("gamma", "1.0")), Edit::Remove(SDIST.parse().unwrap())]);
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

    fn sdist(&self) -> Edit {
        let folder = tempfile::tempdir_in(self.spool.path()).unwrap();
        let (file, text) =
            (folder.path().join(SDIST), "Metadata-Version: 2.1\nName: delta\nVersion: 1.0\n\n");
        fs::write(&file, archive([("delta-1.0/PKG-INFO", text.as_bytes())])).unwrap();
        Edit::Add(Box::new(read_distribution(&file, self.spool.path()).unwrap()))
    }

    /// Tries all schedules of these programs, of which one may be a `gc`.
    fn explore(
        &self,
        limits: Limits,
        programs: &[&dyn Fn(Arc<dyn Store>) -> Program],
        collector: Option<usize>,
    ) -> Explored {
        let start = || {
            let _entered = self.runtime.enter();
            World::new(self.store.copy(), &self.known, programs)
        };
        let _entered = self.runtime.enter();
        explore(start, limits, |world, when| self.check(world, collector, when))
    }

    /// What must hold at every end.
    fn check(&self, world: &World, collector: Option<usize>, when: &str) {
        let when = format!("{when}\n{}{:?}", world.told(), world.outcomes);
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.runtime.block_on(self.check_end(world, collector, &when));
        }));
        assert!(seen.is_ok(), "{when}");
    }

    async fn check_end(&self, world: &World, collector: Option<usize>, when: &str) {
        self.repeat_what_was_killed(world, collector).await;
        let problems = world.store.repository().await.check(now(), &Unwatched).await.unwrap().problems;
        assert!(problems.is_empty(), "{when}: {problems:#?}");
        let reader = Reader::of(&world.store);
        for outcome in world.outcomes.iter().flatten() {
            for shown in &outcome.acknowledged {
                shows(&reader, *shown).await;
            }
            assert!(world.fault().is_some() || outcome.errors.is_empty(), "{when}");
        }
        if world.fault().is_some() {
            // Twice: a note of a commit that never was is followed as soon as there is one with its version.
            for version in ["8.0", "9.0"] {
                let edits = [self.add("beta", version)];
                self.publish_and_collect(world, &edits).await;
            }
        }
        assert_sound(&world.store, when).await;
    }

    /// What an admin does who sees a command that was killed while a `gc` was at work: it is done again.
    async fn repeat_what_was_killed(&self, world: &World, collector: Option<usize>) {
        let Some((hit, collector)) = world.fault().zip(collector) else { return };
        let died = matches!(world.outcomes.get(hit), Some(None));
        if hit == collector {
            world.store.repository().await.gc(RETENTION, false, now(), &Unwatched).await.unwrap();
        } else if died {
            self.publish_and_collect(world, &[self.sdist()]).await;
        }
    }

    async fn publish_and_collect(&self, world: &World, edits: &[Edit]) {
        let (keys, repository) = (keyring(&ONLINE).await, world.store.repository().await);
        repository.publish(&keys, edits, now(), &Unwatched).await.unwrap();
        repository.gc(RETENTION, false, now(), &Unwatched).await.unwrap();
    }
}

async fn shows(reader: &Reader, shown: Shown) {
    match shown {
        Shown::File(project, version) => reader.downloads(now(), [(project, version)]).await.unwrap(),
        Shown::Target(target) => reader.gets(now(), target).await.unwrap(),
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

/// Collects once. What it does on other threads comes one after another, because there is one.
fn collects(store: Arc<dyn Store>) -> Program {
    Box::pin(async move {
        let mut outcome = Outcome { acknowledged: Vec::new(), errors: Vec::new() };
        let collected = async {
            let repository = Repository::open(store).await?;
            repository.gc(RETENTION, false, now(), &Unwatched).await
        };
        outcome.errors.extend(collected.await.err());
        outcome
    })
}

/// Whether to try what takes minutes too.
fn deep() -> bool {
    std::env::var_os("WHEELSEAL_MODEL").is_some_and(|value| value == "deep")
}

/// Runs, at most: far more than there are, not to be endless if something goes wrong.
const LIMITS: Limits = Limits { orders: true, faults: false, whole: None, runs: 2_000_000 };

/// Fails unless so many schedules were tried: a search that is cut short by mistake must not pass.
#[expect(clippy::print_stdout, reason = "how much was tried is what a test that passes has to say")]
fn tried(explored: Explored, schedules: usize) {
    println!("{explored:?}");
    assert!(explored.schedules >= schedules, "{explored:?}");
}

#[test]
fn two_publications_lose_nothing_in_any_order() {
    let stage = Stage::new();
    let one = publish(Arc::new(vec![stage.add("alpha", "1.1")]), Shown::File("alpha", "1.1"));
    let two = publish(Arc::new(vec![stage.add("beta", "1.1")]), Shown::File("beta", "1.1"));
    tried(stage.explore(LIMITS, &[&one, &two], None), 700);
}

#[test]
fn two_publishers_that_remember_the_state_lose_nothing_in_any_order() {
    let stage = Stage::new();
    let all: &[_] = &[("alpha", "first"), ("alpha", "second")];
    let one = yanks(if deep() { all } else { &all[..1] });
    let two = yanks(&[("beta", "third")]);
    tried(stage.explore(LIMITS, &[&one, &two], None), 100);
}

#[test]
fn a_file_that_is_published_again_while_it_is_collected_is_not_lost_in_any_order() {
    let stage = Stage::new();
    let edit = if deep() { stage.add("gamma", "1.0") } else { stage.sdist() };
    let shown = if deep() { Shown::File("gamma", "1.0") } else { Shown::Target("delta/delta-1.0.zip") };
    let again = publish(Arc::new(vec![edit]), shown);
    tried(stage.explore(LIMITS, &[&again, &collects], Some(1)), 100);
}

/// One of the two is not interrupted; in the deep variant it may come anywhere between two steps of the others.
#[test]
fn two_publications_beside_a_collection_lose_nothing() {
    let stage = Stage::new();
    let one = publish(Arc::new(vec![stage.sdist()]), Shown::Target("delta/delta-1.0.zip"));
    let two = yanks(&[("beta", "third")]);
    let limits = Limits { orders: deep(), whole: Some(1), ..LIMITS };
    tried(stage.explore(limits, &[&one, &two, &collects], Some(2)), if deep() { 1000 } else { 1 });
}

/// Faults at every point where one may be; all orders as well only if there is time for it.
fn faults() -> Limits {
    Limits { orders: deep(), faults: true, ..LIMITS }
}

#[test]
fn a_crash_a_lost_answer_or_an_old_timestamp_at_any_point_loses_nothing() {
    let stage = Stage::new();
    let one = yanks(&[("alpha", "first")]);
    let two = publish(Arc::new(vec![stage.sdist()]), Shown::Target("delta/delta-1.0.zip"));
    tried(stage.explore(faults(), &[&one, &two], None), 30);
}

#[test]
fn a_crash_a_lost_answer_or_an_old_timestamp_beside_a_collection_loses_nothing() {
    let stage = Stage::new();
    let again = publish(Arc::new(vec![stage.sdist()]), Shown::Target("delta/delta-1.0.zip"));
    tried(stage.explore(faults(), &[&again, &collects], Some(1)), 30);
    if !deep() {
        tried(stage.explore(faults(), &[&collects, &again], Some(0)), 30);
    }
}
