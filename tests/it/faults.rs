//! Every write of every change, lost, done but reported as failed, or the last before a crash.
//!
//! [`FaultStore`] counts the writes of an operation. For each of them the operation is run again with a fault at that
//! write, and afterwards the folder, opened plainly, must verify and show the complete old or the complete new state;
//! the operation, repeated, must succeed, and leave nothing of the fault to be seen.

#![expect(clippy::unwrap_used, reason = "a fault that cannot be set up is a test that cannot run")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::io::AsyncRead;
use wheelseal::repository::{
    CeremonyError, Edit, Edits, Event, EventName, Plan, Repository, RepositoryError, Retention, RoleEdit,
    Subject, Unwatched,
};
use wheelseal::store::{Content, DirStore, Entry, Object, Store, StoreError, StorePath, Tag};
use wheelseal::tuf::metadata::TopLevel;

use crate::scene::{ALL_KEYS, ONLINE, Scene, View, keyring, now, plan, role, wheel_name};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The write is not done, and reported as failed.
    Lost,
    /// The write is done, and reported as failed.
    Done,
    /// The write is not done, nor is anything after it, reads included.
    Crash,
    /// The write is not done, the next one is, and nothing after it: two at once of which one fails before a crash.
    LostThenCrash,
    /// From this write on the disk is full; deleting works.
    Full,
    /// From this write on the disk is read-only.
    ReadOnly,
}

/// Faults that may strike at any write. A read-only disk is so from the first write on, and a disk that runs full is
/// tried where files of any size are written.
const FAULTS: [Fault; 3] = [Fault::Lost, Fault::Done, Fault::Crash];

/// The ceremony under test.
const EVENT: &str = "everything";

/// A store that fails at the write number `at`, counted from zero.
#[derive(Debug)]
pub(crate) struct FaultStore<S> {
    inner: S,
    fault: Fault,
    at: usize,
    writes: AtomicUsize,
    crashed: AtomicBool,
}

impl<S: Store> FaultStore<S> {
    pub(crate) fn new(inner: S, fault: Fault, at: usize) -> Self {
        Self { inner, fault, at, writes: AtomicUsize::new(0), crashed: AtomicBool::new(false) }
    }

    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.crashed.load(Ordering::SeqCst) { Err(failed(std::io::ErrorKind::Other)) } else { Ok(()) }
    }

    /// Does a write, or not, and says so, or not.
    async fn write<T>(
        &self,
        delete: bool,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.alive()?;
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        let (now, since) = (number == self.at, number >= self.at);
        match self.fault {
            Fault::Lost | Fault::LostThenCrash if now => Err(failed(std::io::ErrorKind::Other)),
            Fault::Done if now => work.await.and(Err(failed(std::io::ErrorKind::Other))),
            Fault::LostThenCrash if number > self.at.saturating_add(1) => {
                self.crashed.store(true, Ordering::SeqCst);
                Err(failed(std::io::ErrorKind::Other))
            }
            Fault::Crash if now => {
                self.crashed.store(true, Ordering::SeqCst);
                Err(failed(std::io::ErrorKind::Other))
            }
            Fault::Full if since && !delete => Err(failed(std::io::ErrorKind::StorageFull)),
            Fault::ReadOnly if since => Err(failed(std::io::ErrorKind::ReadOnlyFilesystem)),
            _ => work.await,
        }
    }
}

fn failed(kind: std::io::ErrorKind) -> StoreError {
    StoreError::Io { what: "write", path: "a fault".to_owned(), kind, message: kind.to_string() }
}

#[async_trait]
impl<S: Store> Store for FaultStore<S> {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        self.alive()?;
        self.inner.get(path, max_len).await
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        self.alive()?;
        self.inner.open(path).await
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        self.write(false, self.inner.create(path, content)).await
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        self.write(false, self.inner.swap(path, bytes, expected)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.alive()?;
        self.inner.list(prefix).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.write(true, self.inner.delete(path)).await
    }

    async fn sweep(&self, before: SystemTime) -> Result<usize, StoreError> {
        self.write(true, self.inner.sweep(before)).await
    }
}

async fn two_bins() -> Plan {
    Plan { bin_count: 2, ..plan().await }
}

/// The changes under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Init,
    AddTwoProjects,
    Remove,
    RemoveLast,
    Yank,
    BumpAll,
    /// The old key is at hand.
    RotateTimestamp,
    /// It is not.
    ReplaceTimestamp,
    ReplaceSnapshot,
    ReplaceTargets,
    RotateRoot,
    /// A ceremony gives every role other keys, all online ones included; the old online key is at hand.
    FinishEverything,
    /// The old online key is lost.
    FinishWithoutOnline,
    Collect,
}

impl Operation {
    /// The repository before.
    async fn scene(self) -> Scene {
        if self == Self::Init {
            return Scene::empty();
        }
        let scene = Scene::of(&two_bins().await, &ALL_KEYS).await;
        let first = [scene.add("alpha", "1.0", "one"), scene.add("beta", "1.0", "one")];
        scene.publish(&first).await.unwrap();
        scene.publish(&[scene.add("alpha", "1.1", "two")]).await.unwrap();
        if matches!(self, Self::FinishEverything | Self::FinishWithoutOnline) {
            let but = if self == Self::FinishWithoutOnline { Some(Subject::Root) } else { None };
            let event = everything_new(&scene, but).await;
            scene.open().await.keep(&event).await.unwrap();
        }
        if self == Self::Collect {
            scene.publish(&[Edit::Remove(wheel_name("beta", "1.0"))]).await.unwrap();
            scene.publish(&[Edit::Yank(wheel_name("alpha", "1.0"), None)]).await.unwrap();
        }
        if self == Self::ReplaceSnapshot {
            let (keys, plan) =
                (keyring(&["root-1", "online", "online-2"]).await, role(&["online-2"], 1).await);
            scene.open().await.rotate(&keys, TopLevel::Timestamp, &plan, now()).await.unwrap();
        }
        scene
    }

    async fn run(self, scene: &Scene, store: Arc<dyn Store>) -> Result<(), RepositoryError> {
        if self == Self::Init {
            let (plan, keys) = (two_bins().await, keyring(&ALL_KEYS).await);
            return Repository::init(store, &plan, &keys, now(), &Unwatched).await.map(drop);
        }
        let repository = Repository::open(store).await?;
        let online = keyring(&ONLINE).await;
        let edits = match self {
            Self::AddTwoProjects => vec![scene.add("beta", "2.0", "new"), scene.add("gamma", "1.0", "new")],
            Self::Remove => vec![Edit::Remove(wheel_name("alpha", "1.0"))],
            Self::RemoveLast => vec![Edit::Remove(wheel_name("beta", "1.0"))],
            Self::Yank => vec![Edit::Yank(wheel_name("alpha", "1.1"), None)],
            _ => Vec::new(),
        };
        let rotate = async |role_name: TopLevel, keys: &[&str], to: &str| {
            let plan = role(&[to], 1).await;
            repository.rotate(&keyring(keys).await, role_name, &plan, now()).await.map(drop)
        };
        match self {
            Self::BumpAll => {
                let all = keyring(&ALL_KEYS).await;
                repository.bump(&all, true, now(), &Unwatched).await.map(drop)
            }
            Self::RotateTimestamp => {
                rotate(TopLevel::Timestamp, &["root-1", "online", "online-2"], "online-2").await
            }
            Self::ReplaceTimestamp => rotate(TopLevel::Timestamp, &["root-1", "online-2"], "online-2").await,
            Self::ReplaceSnapshot => {
                rotate(TopLevel::Snapshot, &["root-1", "online-2", "ecdsa"], "ecdsa").await
            }
            Self::ReplaceTargets => {
                rotate(TopLevel::Targets, &["root-1", "online", "targets-2"], "targets-2").await
            }
            Self::RotateRoot => rotate(TopLevel::Root, &["root-1", "root-2"], "root-2").await,
            Self::FinishEverything => finish(&repository, &["online", "online-2"]).await,
            Self::FinishWithoutOnline => finish(&repository, &["online-2"]).await,
            Self::Collect => {
                let retention = Retention { snapshots: 1, grace: Duration::ZERO };
                repository.gc(retention, false, now(), &Unwatched).await.map(drop)
            }
            _ => repository.publish(&online, &edits, now(), &Unwatched).await.map(drop),
        }
    }

    /// Whether clients may fail closed until the next `bump`, when the role's old key is lost.
    fn may_need_a_bump(self) -> bool {
        matches!(self, Self::ReplaceTimestamp | Self::ReplaceSnapshot | Self::ReplaceTargets)
    }

    /// Whether an error of the repeated operation says that it was done before.
    fn was_done(self, error: &RepositoryError) -> bool {
        match self {
            Self::Init => matches!(error, RepositoryError::AlreadyRepository(_)),
            Self::Remove | Self::RemoveLast => matches!(error, RepositoryError::NotPublished(_)),
            Self::FinishEverything | Self::FinishWithoutOnline => {
                matches!(error, RepositoryError::Ceremony(CeremonyError::Unknown(_)))
            }
            _ => false,
        }
    }
}

/// A ceremony in which every role but one gets other keys, signed by all who must.
pub(crate) async fn everything_new(scene: &Scene, but: Option<Subject>) -> Event {
    let subjects = [
        (Subject::Root, "root-2"),
        (Subject::Targets, "targets-2"),
        (Subject::Bins, "targets-2"),
        (Subject::Claimed, "targets-2"),
        (Subject::Timestamp, "online-2"),
        (Subject::Snapshot, "online-2"),
        (Subject::RecentlyClaimed, "online-2"),
        (Subject::BinN, "online-2"),
    ];
    let mut edits = Edits::default();
    for (subject, key) in subjects.into_iter().filter(|(subject, _)| Some(*subject) != but) {
        edits.roles.push((subject, RoleEdit::Keys(role(&[key], 1).await.keys)));
    }
    let name = EventName::new(EVENT).unwrap();
    let mut event = scene.open().await.draft(name, &edits, now()).await.unwrap();
    event.sign_with(&keyring(&["root-1", "root-2", "targets-1", "targets-2"]).await, now()).await.unwrap();
    event.join(keyring(&["online-2"]).await.signers().next().unwrap(), None, now()).await.unwrap();
    event
}

async fn finish(repository: &Repository, keys: &[&str]) -> Result<(), RepositoryError> {
    let event = repository.ceremony(&EventName::new(EVENT).unwrap()).await?;
    repository.finish(&event, &keyring(keys).await, None, now(), &Unwatched).await.map(drop)
}

async fn with_fault(
    scene: &Scene,
    operation: Operation,
    fault: Fault,
    at: usize,
) -> (Result<(), RepositoryError>, usize) {
    let store = DirStore::open(scene.root()).await.unwrap();
    let store = Arc::new(FaultStore::new(store, fault, at));
    let outcome = operation.run(scene, Arc::<FaultStore<DirStore>>::clone(&store)).await;
    (outcome, store.writes())
}

/// Runs an operation with every fault at every write.
async fn survive_every_fault(operation: Operation) {
    let before = operation.scene().await;
    let old = if operation == Operation::Init { None } else { Some(View::of(&before.open().await).await) };
    let clean = before.copy();
    let (outcome, writes) = with_fault(&clean, operation, Fault::None, 0).await;
    assert_eq!(outcome, Ok(()), "{operation:?} without a fault");
    clean.assert_sound("without a fault").await;
    let new = View::of(&clean.open().await).await;
    let large = matches!(operation, Operation::Init | Operation::AddTwoProjects);
    let full = (0..if large { writes } else { 1 }).map(|at| (Fault::Full, at));
    let faults = FAULTS.into_iter().flat_map(|fault| (0..writes).map(move |at| (fault, at)));
    for (fault, at) in faults.chain(full).chain([(Fault::ReadOnly, 0)]) {
        let when = format!("{operation:?}, {fault:?} at write {at} of {writes}");
        let scene = before.copy();
        let (outcome, _) = with_fault(&scene, operation, fault, at).await;
        let is_new = settled(&scene, operation, old.as_ref(), &new, &when).await;
        if outcome.is_ok() {
            assert!(is_new, "{when}: acknowledged, but not visible");
            scene.assert_sound(&when).await;
        }
        let again = operation.run(&scene, scene.store().await).await;
        if let Err(error) = again {
            assert!(is_new && operation.was_done(&error), "{when}: the repeated operation: {error}");
        }
        scene.assert_sound(&format!("{when}, repeated")).await;
        let repeated = View::of(&scene.open().await).await;
        assert_eq!(repeated.content(), new.content(), "{when}, repeated");
    }
}

/// After a fault and nothing else: everything verifies, and is as before or as it should become; which of both?
async fn settled(scene: &Scene, operation: Operation, old: Option<&View>, new: &View, when: &str) -> bool {
    let Some(old) = old else {
        let opened = Repository::open(scene.store().await).await;
        let Ok(repository) = opened else { return false };
        if let Err(error) = repository.state().await {
            assert!(
                matches!(error, RepositoryError::NoRepository(_) | RepositoryError::Missing(_)),
                "{when}: half a repository is none: {error}"
            );
            return false;
        }
        scene.assert_verifies(when).await;
        return View::of(&repository).await == *new;
    };
    if operation == Operation::FinishWithoutOnline && !scene.check().await.problems.is_empty() {
        operation.run(scene, scene.store().await).await.unwrap();
        scene.assert_verifies(&format!("{when}, finished")).await;
        return true;
    }
    if operation.may_need_a_bump() && !scene.check().await.problems.is_empty() {
        let keys = keyring(&["root-1", "targets-2", "online", "online-2", "ecdsa"]).await;
        scene.open().await.bump(&keys, false, now(), &Unwatched).await.unwrap();
        scene.assert_verifies(&format!("{when}, bumped")).await;
        return true;
    }
    scene.assert_verifies(when).await;
    let found = View::of(&scene.open().await).await;
    assert!(found == *old || found == *new, "{when}: neither old nor new: {found:#?}");
    found == *new
}

#[tokio::test]
async fn an_init_survives_every_fault() {
    survive_every_fault(Operation::Init).await;
}

#[tokio::test]
async fn an_add_of_two_projects_survives_every_fault() {
    survive_every_fault(Operation::AddTwoProjects).await;
}

#[tokio::test]
async fn a_remove_survives_every_fault() {
    survive_every_fault(Operation::Remove).await;
}

#[tokio::test]
async fn the_remove_of_a_projects_last_file_survives_every_fault() {
    survive_every_fault(Operation::RemoveLast).await;
}

#[tokio::test]
async fn a_yank_survives_every_fault() {
    survive_every_fault(Operation::Yank).await;
}

#[tokio::test]
async fn a_bump_of_everything_survives_every_fault() {
    survive_every_fault(Operation::BumpAll).await;
}

#[tokio::test]
async fn a_rotation_of_timestamp_with_the_old_key_survives_every_fault() {
    survive_every_fault(Operation::RotateTimestamp).await;
}

/// Here clients may fail closed in between; a `bump` makes it good.
#[tokio::test]
async fn a_replacement_of_a_lost_timestamp_key_survives_every_fault() {
    survive_every_fault(Operation::ReplaceTimestamp).await;
}

#[tokio::test]
async fn a_replacement_of_a_lost_snapshot_key_survives_every_fault() {
    survive_every_fault(Operation::ReplaceSnapshot).await;
}

#[tokio::test]
async fn a_replacement_of_a_lost_targets_key_survives_every_fault() {
    survive_every_fault(Operation::ReplaceTargets).await;
}

#[tokio::test]
async fn a_rotation_of_root_survives_every_fault() {
    survive_every_fault(Operation::RotateRoot).await;
}

#[tokio::test]
async fn a_ceremony_that_replaces_every_key_survives_every_fault() {
    survive_every_fault(Operation::FinishEverything).await;
}

/// Here clients may fail closed in between; finishing again makes it good.
#[tokio::test]
async fn a_ceremony_that_replaces_lost_online_keys_survives_every_fault() {
    survive_every_fault(Operation::FinishWithoutOnline).await;
}

#[tokio::test]
async fn a_collection_survives_every_fault() {
    survive_every_fault(Operation::Collect).await;
}
