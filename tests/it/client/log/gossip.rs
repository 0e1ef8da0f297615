//! A log that shows two clients two histories, and how that comes out: through witnesses, by what the two remember, by a recorder.

use std::fs;
use std::sync::Arc;

use wheelseal::client::{Announced, ClientError, RecorderError, Recorders, Source};
use wheelseal::tlog::bundle;
use wheelseal::tlog::evidence::{Evidence, Shows};
use wheelseal::tlog::policy::Refusal;
use wheelseal::tlog::proof_file::ProofFileError;
use wheelseal::tlog::witness::AddCheckpoint;

use super::*;
use crate::shell::Home;
use crate::simulator::run;
use crate::witness::panel::Panel;

const SECOND: &str = "six/six-2.0.tar.gz";
const THIRD: &str = "six/six-3.0.tar.gz";

/// The newest checkpoint of a book as it came back from these witnesses, and what each of them answered.
async fn asked(book: &Book, panel: &Panel) -> (SignedCheckpoint, Vec<u16>) {
    let (size, mut answers) = (book.size(), Vec::new());
    let offered = book.checkpoint(size, 0);
    let mut cosigned = offered.clone();
    for member in 0..panel.members.len() {
        let old = panel.knows(member).await.min(size);
        let hashes = if (1..size).contains(&old) { grown(book, old) } else { Vec::new() };
        let request = AddCheckpoint::new(old, hashes, offered.clone());
        answers.push(panel.ask(member, &request, &mut cosigned).await.status);
    }
    (cosigned, answers)
}

/// That the tree of a book continues what it was at a smaller size.
fn grown(book: &Book, old: u64) -> Vec<Hash> {
    let recipe = Recipe::consistency(old, book.size()).unwrap();
    let (_, files) = book.edge(book.size());
    let mut tiles = Tiles::default();
    recipe.tiles().into_iter().for_each(|id| tiles.insert(id, &files[&id.path()]).unwrap());
    recipe.hashes(&tiles).unwrap()
}

/// Serves the proofs of all under this checkpoint, which is of the newest tree.
fn serve_under(scene: &Scene, checkpoint: &SignedCheckpoint) {
    let proof = |leaf: &str| {
        let proof = ProofFile::parse(scene.book.proof(leaf, scene.book.size(), 0).as_bytes()).unwrap();
        ProofFile::new(proof.index(), proof.hashes().to_vec(), checkpoint.clone()).to_string()
    };
    scene.serve_snapshot_proof(proof(&scene.snapshot_leaf()));
    for leaf in &scene.book.leaves {
        if let Leaf::File(file) = Leaf::parse(leaf.as_bytes()).unwrap() {
            scene.serve_proof(file.path(), proof(leaf));
        }
    }
}

/// Publishes, asks the witnesses, and serves what came of it; their answers.
fn release(scene: &mut Scene, panel: &Panel) -> Vec<u16> {
    scene.release();
    let (checkpoint, answers) = run(asked(&scene.book, panel));
    serve_under(scene, &checkpoint);
    answers
}

#[test]
fn of_two_clients_who_ask_for_the_same_witnesses_one_is_refused_the_other_history() {
    let mut scene = Scene::new(0);
    scene.cosigned = 0;
    let panel = run(Panel::new(&scene.book.log.key, 2));
    scene.set_policy(&panel.policy(2));
    assert_eq!(release(&mut scene, &panel), [200, 200]);
    let (alice, bob) = (scene.user(), scene.user());
    assert_eq!((alice.refresh(), bob.refresh()), (Ok(()), Ok(())));
    let before = scene.book.leaves.clone();
    scene.add(THIRD, b"what everybody gets");
    assert_eq!(release(&mut scene, &panel), [200, 200]);
    assert_eq!(alice.download(THIRD), Ok(true));
    // Whoever has the online keys and the log's key goes on for Bob from what he saw.
    for more in [0, 5] {
        scene.book.leaves.clone_from(&before);
        scene.add(THIRD, b"for Bob alone");
        scene.book.leaves.extend((0..more).map(|number: u8| file_leaf(SECOND, &[number])));
        assert_eq!(release(&mut scene, &panel), [422, 422], "{more} more");
        let refused = refused(bob.refresh());
        let LogError::BadProof { error: ProofFileError::Policy(Refusal::NoQuorum { cosigned }), .. } =
            refused
        else {
            panic!("{refused}")
        };
        assert_eq!(cosigned, [""; 0]);
    }
    for member in &panel.members {
        let told = member.told.lock().unwrap().clone();
        assert!(matches!(told.as_slice(), [one] if one.contains("signed two trees of")), "{told:?}");
    }
}

/// What a user remembers of the log.
fn remembered(user: &User) -> String {
    let name = hex::encode(sha256(ORIGIN.as_bytes()));
    fs::read_to_string(user.metadata_dir().join("log").join("heads").join(name)).unwrap()
}

#[test]
fn two_clients_who_exchange_what_they_remember_have_the_evidence() {
    // No witnesses, and both clients are new: neither can know.
    let mut scene = Scene::new(0);
    let (alice, bob) = (scene.user(), scene.user());
    alice.refresh().unwrap();
    let small = remembered(&alice);
    scene.add(SECOND, b"two");
    scene.release();
    alice.refresh().unwrap();
    let tiles = scene.book.edge(scene.book.size()).1;
    scene.book.leaves = vec![file_leaf(FILE, CONTENT), file_leaf("six/six-9.9.tar.gz", b"hidden")];
    scene.book.leaves.push(file_leaf(SECOND, b"two"));
    scene.release();
    bob.refresh().unwrap();
    let policy = scene.book.policy(0);
    let home = Home::with_repository();
    let (ours, theirs) = (remembered(&alice), remembered(&bob));
    for (name, text) in [("small", &small), ("alice", &ours), ("bob", &theirs), ("policy", &policy)] {
        fs::write(home.work().join(name), text).unwrap();
    }
    let consistency =
        |old, new| home.run(&["log", "consistency", old, new, "--policy", "policy", "--repo", "repo"]);
    let ran = consistency("alice", "bob");
    ran.refused(9, &["keep what was printed, it is the evidence"]);
    assert!(ran.stdout.contains(&ours) && ran.stdout.contains(&theirs), "{}", ran.stdout);
    // Of two sizes, by the tiles that one of them was shown.
    for (path, tile) in tiles {
        let at = home.work().join("repo/log").join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, tile).unwrap();
    }
    assert!(consistency("small", "alice").fine().contains("consistent"));
    // A third person needs the log's key, and believes nobody.
    let [ours, theirs] = [ours, theirs].map(|text| SignedCheckpoint::parse(text.as_bytes()).unwrap());
    let evidence = Evidence::two_trees(ours, theirs, None).unwrap();
    let read = Evidence::parse(evidence.to_string().as_bytes()).unwrap();
    let verdict = read.check(&[parsed(&policy)]).unwrap();
    assert!(verdict.shows.proven() && matches!(verdict.shows, Shows::Forked { .. }), "{}", verdict.shows);
}

#[test]
fn a_history_for_one_client_alone_is_contradicted_by_a_recorder() {
    // The index, its log and all its witnesses are one; the recorder is another.
    let mut scene = Scene::new(2);
    let mut recorder = Book::new("recorder.example/one", 120);
    recorder.leaves.push(file_leaf(FILE, CONTENT));
    let mut entries = Vec::new();
    bundle::push(&mut entries, recorder.leaves[0].as_bytes()).unwrap();
    let proof = recorder.proof(&recorder.leaves[0], 1, 0);
    scene.repo.server.set(&format!("one/targets/{FILE}.tlog-proof"), Answer::Bytes(proof.into_bytes()));
    scene.repo.server.set("one/log/tile/entries/000.p/1", Answer::Bytes(entries));
    let announced = Announced {
        name: "one".to_owned(),
        url: "one".to_owned(),
        policy: recorder.policy(0),
        claims: None,
        since: None,
    };
    let asking = |scene: &Scene| {
        let mut user = scene.user();
        let source = |base: &str| {
            let folder = if base.ends_with("log/") { "one/log/" } else { "one/targets/" };
            Ok::<Arc<dyn Source>, RecorderError>(scene.repo.server.source(folder).into())
        };
        let recorders = Recorders::new(vec![announced.clone()], None, 0).unwrap();
        user.log.recorders = Some(Arc::new(wheelseal::client::Panel::new(&recorders, source).unwrap()));
        user
    };
    assert_eq!(asking(&scene).download(FILE), Ok(true));
    scene.book.leaves.clear();
    scene.add(FILE, b"for one client alone");
    scene.release();
    assert_eq!(scene.user().download(FILE), Ok(true), "who asks no recorder cannot know");
    let user = asking(&scene);
    let error = user.download(FILE).unwrap_err();
    assert!(matches!(error, ClientError::Log(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("recorded other content"), "{text}");
    let kept = user.metadata_dir().join("log/evidence/recorders/one");
    let files: Vec<_> = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let evidence = Evidence::parse(&fs::read(&files[0]).unwrap()).unwrap();
    let policies = [parsed(&scene.book.policy(2)), parsed(&recorder.policy(0))];
    let verdict = evidence.check(&policies).unwrap();
    assert!(matches!(&verdict.shows, Shows::Disagree { path, .. } if path == FILE), "{}", verdict.shows);
}
