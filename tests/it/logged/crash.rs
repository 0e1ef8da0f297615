//! A crash at every write, two publishers at once, old states put back: the log has no path twice, no version twice, and one
//! history.

#![expect(clippy::unwrap_used, reason = "a fault that cannot be set up is a test that cannot run")]

use std::fs;
use std::sync::Arc;

use wheelseal::log::Log;
use wheelseal::repository::{
    Anchor, Edit, Edits, EventName, LoggingError, Predecessor, Repository, RepositoryError, Source, Unwatched,
};
use wheelseal::store::{DirStore, Store};
use wheelseal::tlog::leaf::Leaf;

use super::{ORIGIN, assert_logged, begun, leaves, log_keys, logging, new_log, signer};
use crate::faults::{Fault, FaultStore};
use crate::scene::{ALL_KEYS, Scene, keyring, now};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Begin,
    Publish,
    Bump,
    Policy,
    Succeed,
}

impl Operation {
    async fn scene(self) -> Scene {
        if self != Self::Begin {
            return begun().await;
        }
        let scene = Scene::new().await;
        scene
            .publish(&[scene.add("alpha", "1.0", "x = 1"), scene.add("beta", "1.0", "x = 2")])
            .await
            .unwrap();
        scene
    }

    async fn run(self, scene: &Scene, store: Arc<dyn Store>) -> Result<(), RepositoryError> {
        let mut repository = Repository::open(store).await?.anchored(memory(scene));
        let keys = log_keys().await;
        match self {
            Self::Begin => {
                let new = new_log("log", ORIGIN, Predecessor::Nothing).await;
                repository.begin_log(&keys, &new, now()).await.map(drop)
            }
            Self::Succeed => {
                let new = new_log("log", "index.example/second", Predecessor::Log).await;
                repository.begin_log(&keys, &new, now()).await.map(drop)
            }
            Self::Publish => {
                let edits = [scene.add("alpha", "2.0", "new"), scene.add("gamma", "1.0", "new")];
                repository.publish(&keys, &edits, now(), &Unwatched).await.map(drop)
            }
            Self::Bump => repository.bump(&keys, true, now(), &Unwatched).await.map(drop),
            Self::Policy => {
                let mut keys = keyring(&ALL_KEYS).await;
                keys.set_log(signer("log").await, Arc::new(wheelseal::log::Unwitnessed));
                let log_policy = Some(new_log("log", ORIGIN, Predecessor::Nothing).await.policy);
                let edits = Edits { log_policy, ..Edits::default() };
                let name = EventName::new("policy").unwrap();
                repository.change(&name, &edits, &keys, None, now(), &Unwatched).await.map(drop)
            }
        }
    }

    /// Whether it was done by then.
    fn may_be_done(self, error: &RepositoryError) -> bool {
        match self {
            Self::Begin => matches!(error, RepositoryError::Logging(LoggingError::Already { .. })),
            Self::Succeed => matches!(error, RepositoryError::Logging(LoggingError::Successor { .. })),
            _ => false,
        }
    }
}

/// What the machine remembers, beside the repository.
fn memory(scene: &Scene) -> Anchor {
    Anchor::new(scene.spool().join("memory.json"))
}

async fn faulty(scene: &Scene, fault: Fault, at: usize) -> Arc<FaultStore<DirStore>> {
    Arc::new(FaultStore::new(DirStore::open(scene.root()).await.unwrap(), fault, at))
}

/// Entries that timestamp names, and those of the newest checkpoint.
async fn sizes(scene: &Scene) -> (u64, u64) {
    let state = scene.open().await.state().await.unwrap();
    let log = Log::new(scene.store().await);
    let published = log.reader().checkpoint().await.unwrap();
    let named = state.timestamp.log.as_ref().map_or(0, |log| log.size);
    (named, published.map_or(0, |checkpoint| checkpoint.claimed().size()))
}

/// A repository whose checkpoint is behind its timestamp: a power cut kept the one and lost the other.
async fn lagging() -> Scene {
    let scene = begun().await;
    let at = scene.root().join("log/checkpoint");
    let older = fs::read(&at).unwrap();
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    fs::remove_file(&at).unwrap();
    fs::write(&at, older).unwrap();
    let (named, published) = sizes(&scene).await;
    assert!(named > published, "{named} {published}");
    scene
}

#[tokio::test]
async fn a_checkpoint_that_a_power_cut_lost_is_published_by_the_next_command() {
    let scene = lagging().await;
    scene.open().await.bump(&log_keys().await, true, now(), &Unwatched).await.unwrap();
    let (named, published) = sizes(&scene).await;
    assert!(named <= published, "{named} {published}");
    assert_logged(&scene).await;
}

#[tokio::test]
async fn a_backup_with_a_checkpoint_behind_its_timestamp_is_restored_and_goes_on() {
    let scene = lagging().await;
    let archive = scene.spool().join("backup");
    scene.open().await.backup(&archive, &Unwatched).await.unwrap();
    let restored = Scene::empty();
    let files = [scene.root().join("targets")];
    let source = Source { archive: &archive, files: &files, root: None };
    Repository::restore(restored.store().await, &source, &Unwatched, &mut |_| {}).await.unwrap();
    let refused = logging(&restored, &[restored.add("gamma", "1.0", "x = 4")]).await;
    assert!(refused.is_err(), "its path is in the log");
    logging(&restored, &[restored.add("delta", "1.0", "x = 5")]).await.unwrap();
    let logged = assert_logged(&restored).await;
    assert_eq!(logged.iter().filter(|leaf| matches!(leaf, Leaf::File(_))).count(), 8);
    restored.assert_sound("restored").await;
}

async fn strike(operation: Operation) {
    let scene = operation.scene().await;
    let counted = {
        let copy = scene.copy();
        let store = faulty(&copy, Fault::None, 0).await;
        operation.run(&copy, Arc::<FaultStore<DirStore>>::clone(&store)).await.unwrap();
        assert_logged(&copy).await;
        store.writes()
    };
    for fault in [Fault::Lost, Fault::Done, Fault::Crash, Fault::LostThenCrash] {
        for at in 0..counted {
            let copy = scene.copy();
            let store = faulty(&copy, fault, at).await;
            let struck = operation.run(&copy, store).await;
            let context = format!("{operation:?} with {fault:?} at write {at} of {counted}: {struck:?}");
            copy.open().await.anchored(memory(&copy)).state().await.unwrap();
            // Before a successor begins, the files of the log before it are put away.
            let (named, published) = sizes(&copy).await;
            assert!(
                operation == Operation::Succeed || named <= published,
                "{context}: timestamp names {named} entries, {published} are published"
            );
            match operation.run(&copy, copy.store().await).await {
                Ok(()) => {}
                Err(error) if operation.may_be_done(&error) => {}
                Err(error) => panic!("{context}, then {error}"),
            }
            copy.assert_sound(&context).await;
            let logged = assert_logged(&copy).await;
            let files = logged.iter().filter(|leaf| matches!(leaf, Leaf::File(_))).count();
            assert_eq!(files, if operation == Operation::Publish { 8 } else { 4 }, "{context}");
        }
    }
}

#[tokio::test]
async fn a_log_that_does_not_come_to_its_beginning_begins_all_the_same() {
    strike(Operation::Begin).await;
}

#[tokio::test]
async fn a_publication_cut_short_is_logged_once() {
    strike(Operation::Publish).await;
}

#[tokio::test]
async fn a_bump_cut_short_is_logged_once() {
    strike(Operation::Bump).await;
}

#[tokio::test]
async fn a_ceremony_for_the_policy_cut_short_is_logged_once() {
    strike(Operation::Policy).await;
}

#[tokio::test]
async fn a_successor_cut_short_begins_all_the_same() {
    strike(Operation::Succeed).await;
}

/// The files of one repository that another does not have.
fn new_files(after: &Scene, before: &Scene) -> Vec<String> {
    let known = before.files();
    after.files().into_keys().filter(|path| !known.contains_key(path)).collect()
}

#[tokio::test]
async fn a_head_that_a_power_cut_left_alone_is_gone_on_from() {
    let scene = begun().await;
    let size = async |scene: &Scene| Log::new(scene.store().await).head().await.unwrap().unwrap().size();
    let before = size(&scene).await;
    let edits = |scene: &Scene| [scene.add("alpha", "2.0", "new"), scene.add("gamma", "1.0", "new")];
    let mut cut = None;
    for at in 0..100 {
        let copy = scene.copy();
        let store = faulty(&copy, Fault::Crash, at).await;
        let repository = Repository::open(store).await.unwrap();
        repository.publish(&log_keys().await, &edits(&copy), now(), &Unwatched).await.unwrap_err();
        if size(&copy).await > before {
            cut = Some(copy);
            break;
        }
    }
    // Its head was swapped together with the names of what was staged; none of these is there.
    let copy = cut.unwrap();
    let staged = new_files(&copy, &scene);
    assert!(staged.iter().any(|path| path.contains("snapshot.json")), "{staged:?}");
    assert!(
        !staged.iter().any(|path| path.starts_with("log/tile") || path.contains("tlog-proof")),
        "{staged:?}"
    );
    for path in staged {
        fs::remove_file(copy.root().join(path)).unwrap();
    }
    let refused = logging(&copy, &[copy.add("gamma", "1.0", "other")]).await;
    assert!(
        matches!(refused, Err(RepositoryError::Logging(LoggingError::OtherContent { .. }))),
        "{refused:?}"
    );
    logging(&copy, &edits(&copy)).await.unwrap();
    let logged = assert_logged(&copy).await;
    assert_eq!(logged.iter().filter(|leaf| matches!(leaf, Leaf::File(_))).count(), 8);
    copy.assert_sound("after a power cut").await;
}

#[tokio::test]
async fn two_publishers_at_once_log_everything_once() {
    let scene = begun().await;
    let (one, other) = (scene.open().await, scene.open().await);
    let keys = log_keys().await;
    for round in 0..5 {
        let edits = |project: &str| -> Vec<Edit> {
            vec![
                scene.add(project, &format!("{round}.0"), "x"),
                scene.add("both", &format!("{round}.0"), "y"),
            ]
        };
        let (a, b) = (edits("gamma"), edits("delta"));
        let (a, b) = tokio::join!(
            one.publish(&keys, &a, now(), &Unwatched),
            other.publish(&keys, &b, now(), &Unwatched)
        );
        assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    }
    let logged = assert_logged(&scene).await;
    assert_eq!(logged.iter().filter(|leaf| matches!(leaf, Leaf::File(_))).count(), 4 + 5 * 3 * 2);
    scene.assert_sound("after two publishers").await;
}

#[tokio::test]
async fn of_two_contents_of_one_path_at_once_one_is_logged() {
    let scene = begun().await;
    let (one, other, keys) = (scene.open().await, scene.open().await, log_keys().await);
    for round in 0..5 {
        let version = format!("{round}.0");
        let (a, b) = ([scene.add("gamma", &version, "x")], [scene.add("gamma", &version, "y")]);
        let (a, b) = tokio::join!(
            one.publish(&keys, &a, now(), &Unwatched),
            other.publish(&keys, &b, now(), &Unwatched)
        );
        assert_eq!(u8::from(a.is_ok()) + u8::from(b.is_ok()), 1, "{a:?} {b:?}");
    }
    assert_logged(&scene).await;
}

/// Replaces the log's files by older ones.
fn put_back(scene: &Scene, older: &Scene) {
    fs::remove_dir_all(scene.root().join("log")).unwrap();
    for path in older.files().into_keys().filter(|path| path.starts_with("log/")) {
        let to = scene.root().join(&path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(older.root().join(path), to).unwrap();
    }
}

#[tokio::test]
async fn an_old_state_of_the_log_that_was_put_back_is_not_gone_on_from() {
    let scene = begun().await;
    let older = scene.copy();
    let before = leaves(&scene).await.len();
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    let after = leaves(&scene).await.len();
    put_back(&scene, &older);
    let refused = logging(&scene, &[scene.add("delta", "1.0", "x = 4")]).await;
    let size = |count: usize| u64::try_from(count).unwrap();
    let who = "the timestamp names";
    let expected = LoggingError::WentBack { found: size(before), known: size(after), who };
    assert_eq!(refused, Err(expected.into()));
    assert_eq!(leaves(&scene).await.len(), before);
}

async fn anchored(scene: &Scene, store: Arc<dyn Store>) -> Repository {
    let anchor = Anchor::new(scene.spool().join("anchor.json"));
    Repository::open(store).await.unwrap().anchored(anchor)
}

/// A copy in which a publication was cut short between its proofs and its commit point, and whether it was.
async fn signed_and_not_published(scene: &Scene, at: usize) -> (Scene, bool) {
    let copy = scene.copy();
    anchored(&copy, copy.store().await).await.state().await.unwrap();
    let (edits, keys) = ([copy.add("gamma", "1.0", "x = 3")], log_keys().await);
    let store = faulty(&copy, Fault::Crash, at).await;
    drop(anchored(&copy, store).await.publish(&keys, &edits, now(), &Unwatched).await);
    let proven = copy.files().contains_key("targets/gamma/gamma-1.0-py3-none-any.whl.tlog-proof");
    let committed = copy.open().await.state().await.unwrap().timestamp.log.as_ref().unwrap().size;
    let head = Log::new(copy.store().await).head().await.unwrap().unwrap();
    (copy, proven && head.size() > committed)
}

#[tokio::test]
async fn this_machine_remembers_what_it_signed_for_and_did_not_publish() {
    let (older, mut at) = (begun().await, 0);
    let scene = loop {
        assert!(at < 100, "a publication has not so many writes");
        match signed_and_not_published(&older, at).await {
            (scene, true) => break scene,
            _ => at += 1,
        }
    };
    put_back(&scene, &older);
    let (edits, keys) = ([scene.add("delta", "1.0", "x = 4")], log_keys().await);
    let refused = anchored(&scene, scene.store().await).await.publish(&keys, &edits, now(), &Unwatched).await;
    let Err(RepositoryError::Logging(LoggingError::WentBack { who, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(who, "this machine remembers");
}

#[tokio::test]
async fn a_timestamp_without_its_log_is_refused_where_the_log_is_known() {
    let scene = Scene::new().await;
    let file = scene.spool().join("anchor.json");
    scene.publish(&[scene.add("alpha", "1.0", "x = 1")]).await.unwrap();
    let mut repository = scene.open().await.anchored(Anchor::new(file.clone()));
    let new = new_log("log", ORIGIN, Predecessor::Nothing).await;
    repository.begin_log(&log_keys().await, &new, now()).await.unwrap();
    let state = repository.state().await.unwrap();
    let mut draft = state.timestamp.draft();
    draft.content.log = None;
    draft.content.common.version += 1;
    let bytes = crate::scene::signed(&draft, &["online"]).await;
    fs::write(scene.root().join("metadata/timestamp.json"), bytes).unwrap();
    let refused = repository.state().await;
    let known = "this machine remembers one";
    assert_eq!(refused.map(drop), Err(LoggingError::Unnamed { known }.into()));
}
