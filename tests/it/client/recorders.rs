//! Recorders in a trust: so many of them must have the same file in logs of their own.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use wheelseal::client::{
    Announced, ClientError, FetchError, Fetched, LogError, LogTrust, Panel, Recorded, RecorderError,
    Recorders, Since, Sink, Source,
};
use wheelseal::tlog::bundle;
use wheelseal::tlog::evidence::{Evidence, Shows};
use wheelseal::tlog::policy::Policy;
use wheelseal::tuf::path::TargetPath;

use super::log::{Book, CONTENT, FILE, ORIGIN, Scene, file_leaf, parsed, refused};
use crate::simulator::{Answer, Server, User, run};

/// A file that is published in no test before it is recorded.
const LATER: &str = "six/six-2.0-py3-none-any.whl";

/// Somebody who keeps a log of what an index published.
struct Recorder {
    book: Book,
    server: Server,
    since: Option<Since>,
    /// Witnesses that its policy wants.
    of: usize,
}

impl Recorder {
    fn new(scene: &Scene, name: &str, seed: u8) -> Self {
        let book = Book::new(&format!("{name}.example/log"), seed);
        Self { book, server: scene.repo.server.clone(), since: None, of: 2 }
    }

    fn name(&self) -> String {
        self.book.log.key.name().to_string().replace(".example/log", "")
    }

    fn base(&self) -> String {
        format!("https://{}/", self.name())
    }

    fn place(&self, path: &str) -> String {
        format!("{}targets/{path}.tlog-proof", self.base())
    }

    fn record(&mut self, path: &str, content: &[u8]) {
        self.book.leaves.push(file_leaf(path, content));
        self.publish();
    }

    /// Its proofs, entries and tiles, under its newest checkpoint.
    fn publish(&self) {
        let (size, leaves) = (self.book.size(), &self.book.leaves);
        let mut entries = Vec::new();
        for leaf in leaves {
            bundle::push(&mut entries, leaf.as_bytes()).unwrap();
            if let Some((path, _)) = leaf.split_once("\"path\":\"").and_then(|(_, rest)| rest.split_once('"'))
            {
                self.serve(&self.place(path), self.book.proof(leaf, size, self.of).into_bytes());
            }
        }
        let log = format!("{}log/", self.base());
        self.serve(&format!("{log}tile/entries/000.p/{size}"), entries);
        for (path, bytes) in self.book.edge(size).1 {
            self.serve(&format!("{log}{path}"), bytes);
        }
    }

    fn serve(&self, place: &str, bytes: Vec<u8>) {
        self.server.set(place, Answer::Bytes(bytes));
    }

    /// Nobody answers there.
    fn is_down(&self, path: &str) {
        let fails = FetchError::Network { url: self.base(), reason: "connection refused".to_owned() };
        self.server.set(&self.place(path), Answer::Fails(fails));
    }

    fn announced(&self) -> Announced {
        let (name, url) = (self.name(), self.base());
        Announced { name, url, policy: self.book.policy(self.of), claims: None, since: self.since.clone() }
    }
}

/// An index with its log, and recorders that have its only file.
fn scene(recorders: usize) -> (Scene, Vec<Recorder>) {
    let scene = Scene::new(2);
    let names = ["one", "two", "three"].into_iter().zip(50_u8..).take(recorders);
    let mut all: Vec<_> = names.map(|(name, seed)| Recorder::new(&scene, name, seed)).collect();
    for recorder in &mut all {
        recorder.record(FILE, CONTENT);
    }
    (scene, all)
}

/// A trust with these recorders, as a program has it that starts now.
fn trust(scene: &Scene, all: &[Recorder], needed: usize, grace: u32) -> LogTrust {
    let recorders =
        Recorders::new(all.iter().map(Recorder::announced).collect(), Some(needed), grace).unwrap();
    let server = scene.repo.server.clone();
    let open = |base: &str| Ok::<_, RecorderError>(server.source(base.to_owned().leak()).into());
    let panel = Panel::new(&recorders, open).unwrap();
    LogTrust { recorders: Some(Arc::new(panel)), ..scene.user().log }
}

/// What recorders say of a file that is handed out, and what is told by the way.
fn hear(user: &User, path: &str) -> Result<(Recorded, Vec<String>), ClientError> {
    let path = TargetPath::new(path).unwrap();
    user.session(async |session| {
        let found = session.find(&path).await?;
        let proven = session.prove(&found).await?;
        Ok((proven.recorded().unwrap().clone(), session.recorder_warnings()))
    })
}

/// The same, asking nobody.
fn offline(user: &User, path: &str) -> Result<Recorded, ClientError> {
    let path = TargetPath::new(path).unwrap();
    run(async {
        let session = user.client().offline(user.now).await?;
        let found = session.find(&path).await?;
        Ok(session.prove(&found).await?.recorded().unwrap().clone())
    })
}

fn agreed(recorded: &Recorded) -> Vec<&str> {
    recorded.agreed.iter().map(|(name, _)| name.as_str()).collect()
}

/// The evidence that a text names, as somebody sees it who has these policies.
fn shown(text: &str, policies: &[&str]) -> Shows {
    let (_, place) = text.split_once("evidence is in ").unwrap_or_else(|| panic!("{text}"));
    let place = place.split(';').next().unwrap();
    let evidence = Evidence::parse(&std::fs::read(place).unwrap()).unwrap();
    let policies: Vec<Policy> = policies.iter().map(|policy| parsed(policy)).collect();
    evidence.check(&policies).unwrap().shows
}

fn unrecorded(outcome: Result<(Recorded, Vec<String>), ClientError>) -> Vec<String> {
    match refused(outcome) {
        LogError::Unrecorded { said, .. } => said,
        other => panic!("{other}"),
    }
}

fn contradicted(outcome: Result<(Recorded, Vec<String>), ClientError>) -> Vec<String> {
    match refused(outcome) {
        LogError::Contradicted { said, .. } => said,
        other => panic!("{other}"),
    }
}

#[test]
fn a_file_is_handed_out_with_what_recorders_say_of_it_and_they_are_asked_once() {
    let (scene, all) = scene(3);
    let mut user = scene.user();
    user.log = trust(&scene, &all, 2, 0);
    assert_eq!(user.download(FILE), Ok(true));
    let asked = || scene.repo.server.requests().into_iter().filter(|path| path.starts_with("https://"));
    let mut first: Vec<_> = asked().collect();
    first.sort();
    let mut expected: Vec<_> = all.iter().map(|recorder| recorder.place(FILE)).collect();
    expected.sort();
    assert_eq!(first, expected);
    let (recorded, warnings) = hear(&user, FILE).unwrap();
    assert_eq!(agreed(&recorded), ["one", "two", "three"]);
    assert_eq!((recorded.words().as_str(), warnings.len()), ("recorded by one, two, three (2 of 3 must)", 0));
    let (_, inclusion) = &recorded.agreed[1];
    assert_eq!((inclusion.origin.as_str(), inclusion.index, inclusion.size), ("two.example/log", 0, 1));
    assert_eq!(inclusion.witnesses, ["w0", "w1"]);
    user.log = trust(&scene, &all, 2, 0);
    assert_eq!(hear(&user, FILE).unwrap().0.agreed.len(), 3);
    assert_eq!(asked().count(), 0, "their proofs are kept");
}

#[test]
fn one_recorder_that_is_down_or_does_not_have_it_is_told_and_two_are_too_many() {
    let (scene, all) = scene(3);
    let mut user = scene.user();
    all[0].is_down(FILE);
    user.log = trust(&scene, &all, 2, 0);
    let (recorded, warnings) = hear(&user, FILE).unwrap();
    assert_eq!(agreed(&recorded), ["two", "three"]);
    let [(name, said)] = recorded.others.as_slice() else { panic!("{recorded:?}") };
    assert_eq!(name, "one");
    assert!(said.starts_with("did not answer: ") && said.ends_with("connection refused"), "{said}");
    assert_eq!(warnings, Vec::<String>::new());
    scene.repo.server.forget(&all[1].place(FILE));
    user = scene.user();
    user.log = trust(&scene, &all, 2, 0);
    let said = unrecorded(hear(&user, FILE));
    assert!(said[0].starts_with("one: did not answer"), "{said:?}");
    assert_eq!(said[1..], ["two: has no record of it", "three: agrees"]);
    assert_eq!(
        refused(user.download(FILE)).to_string().split(':').next().unwrap(),
        format!("2 of 3 recorders must have recorded {FILE} as it is signed, but")
    );
    assert_eq!(user.downloaded(), []);
}

/// Takes questions, and says nothing.
#[derive(Debug)]
struct Mute;

#[async_trait]
impl Source for Mute {
    async fn fetch(&self, _: &str, _: u64, _: &mut dyn Sink) -> Result<Fetched, FetchError> {
        std::future::pending().await
    }
}

#[test]
fn who_says_nothing_does_not_hold_up_those_who_are_enough() {
    let (scene, all) = scene(3);
    let recorders = Recorders::new(all.iter().map(Recorder::announced).collect(), Some(2), 0).unwrap();
    let server = scene.repo.server.clone();
    let open = |base: &str| {
        let source: Arc<dyn Source> = if base.starts_with("https://one/") {
            Arc::new(Mute)
        } else {
            server.source(base.to_owned().leak()).into()
        };
        Ok::<_, RecorderError>(source)
    };
    let mut user = scene.user();
    user.log.recorders = Some(Arc::new(Panel::new(&recorders, open).unwrap()));
    let (recorded, _) = hear(&user, FILE).unwrap();
    assert_eq!(agreed(&recorded), ["two", "three"]);
    assert_eq!(recorded.others[0].1, "did not answer: it was slower than those who were enough");
}

/// Says nothing to the first question.
#[derive(Debug)]
struct Slow(std::sync::atomic::AtomicBool, Arc<dyn Source>);

#[async_trait]
impl Source for Slow {
    async fn fetch(&self, path: &str, max: u64, sink: &mut dyn Sink) -> Result<Fetched, FetchError> {
        if !self.0.swap(true, std::sync::atomic::Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.1.fetch(path, max, sink).await
    }
}

#[test]
fn who_was_slower_than_others_is_asked_when_others_are_not_enough() {
    let (mut scene, mut all) = scene(3);
    scene.add(LATER, b"two");
    scene.release();
    for recorder in &mut all[..2] {
        recorder.record(LATER, b"two");
    }
    let recorders = Recorders::new(all.iter().map(Recorder::announced).collect(), Some(2), 0).unwrap();
    let server = scene.repo.server.clone();
    let open = |base: &str| {
        let source: Arc<dyn Source> = server.source(base.to_owned().leak()).into();
        let slow =
            base.starts_with("https://one/").then(|| Arc::new(Slow(false.into(), Arc::clone(&source))));
        Ok::<_, RecorderError>(slow.map_or(source, |slow| slow))
    };
    let mut user = scene.user();
    user.log.recorders = Some(Arc::new(Panel::new(&recorders, open).unwrap()));
    assert_eq!(agreed(&hear(&user, FILE).unwrap().0), ["two", "three"]);
    assert_eq!(agreed(&hear(&user, LATER).unwrap().0), ["one", "two"]);
}

#[test]
fn a_recorder_that_forbids_a_file_did_not_say_that_it_has_none() {
    let (scene, all) = scene(1);
    let forbidden = FetchError::Status { url: all[0].base(), status: 403 };
    scene.repo.server.set(&all[0].place(FILE), Answer::Fails(forbidden));
    let mut user = scene.user();
    user.log = trust(&scene, &all, 1, 500);
    let said = unrecorded(hear(&user, FILE));
    assert!(said[0].starts_with("one: did not answer"), "{said:?}");
    all[0].publish();
    assert_eq!(agreed(&hear(&user, FILE).unwrap().0), ["one"], "it is not left alone for that");
}

#[test]
fn a_recorder_that_did_not_answer_is_left_alone_for_a_while() {
    let (mut scene, mut all) = scene(2);
    scene.add(LATER, b"two");
    scene.release();
    for recorder in &mut all {
        recorder.record(LATER, b"two");
    }
    let mut user = scene.user();
    user.log = trust(&scene, &all, 1, 0);
    all[0].is_down(FILE);
    scene.repo.server.requests();
    assert_eq!(agreed(&hear(&user, FILE).unwrap().0), ["two"]);
    assert_eq!(agreed(&hear(&user, LATER).unwrap().0), ["two"]);
    let asked = scene.repo.server.requests();
    let of = |recorder: &Recorder| asked.iter().filter(|path| path.starts_with(&recorder.base())).count();
    assert_eq!([of(&all[0]), of(&all[1])], [1, 2]);
}

#[test]
fn other_content_that_one_recorder_proves_is_evidence_and_is_told() {
    let (scene, mut all) = scene(3);
    all[2].book.leaves.clear();
    all[2].record("six/six-0.9-py3-none-any.whl", b"older");
    all[2].record(FILE, b"what others got");
    let mut user = scene.user();
    user.log = trust(&scene, &all, 2, 0);
    let (recorded, warnings) = hear(&user, FILE).unwrap();
    assert_eq!(agreed(&recorded), ["one", "two"]);
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    let other = hex::encode(wheelseal::crypto::sha256(b"what others got"));
    assert!(warning.starts_with(&format!("{FILE}: recorder three: recorded other content")), "{warning}");
    assert!(warning.contains(&format!("15 bytes with SHA-256 {other}")), "{warning}");
    let shows = shown(warning, &[&scene.book.policy(0), &all[2].book.policy(0)]);
    let origins = [ORIGIN.to_owned(), "three.example/log".to_owned()];
    assert_eq!(shows, Shows::Disagree { origins, path: FILE.to_owned() });
}

#[test]
fn a_swapped_file_is_refused_by_those_who_recorded_the_first_one() {
    let (scene, mut all) = scene(3);
    for recorder in &mut all[1..] {
        recorder.book.leaves.clear();
        recorder.record(FILE, b"what others got");
    }
    let mut user = scene.user();
    user.log = trust(&scene, &all, 2, 0);
    let said = contradicted(hear(&user, FILE));
    assert_eq!(said[0], "one: agrees");
    for (said, recorder) in said[1..].iter().zip(&all[1..]) {
        let shows = shown(said, &[&scene.book.policy(0), &recorder.book.policy(0)]);
        assert!(matches!(shows, Shows::Disagree { .. }), "{shows:?}");
    }
    refused(user.download(FILE));
    assert_eq!(user.downloaded(), []);
}

#[test]
fn who_contradicts_counts_for_more_than_that_others_are_down() {
    let (scene, mut all) = scene(3);
    all[2].book.leaves.clear();
    all[2].record(FILE, b"what others got");
    all[0].is_down(FILE);
    let mut user = scene.user();
    user.log = trust(&scene, &all, 2, 500);
    assert_eq!(contradicted(hear(&user, FILE)).len(), 3);
}

#[test]
fn a_proof_that_is_damaged_or_of_another_file_is_no_agreement() {
    let (scene, mut all) = scene(1);
    let mut user = scene.user();
    all[0].record(LATER, b"two");
    let (leaf, size) = (file_leaf(FILE, CONTENT), all[0].book.size());
    let proof = all[0].book.proof(&leaf, size, 2);
    let other = all[0].book.proof(&file_leaf(LATER, b"two"), size, 2);
    let unwitnessed = all[0].book.proof(&leaf, size, 1);
    let endless = "x".repeat(200_000);
    for (bad, why) in [
        (String::new(), "does not read"),
        (proof.replacen("index 0", "index 1", 1), "does not hold"),
        (other, "does not hold"),
        (unwitnessed, "is no quorum"),
        (proof.replacen("one.example/log", "one.example/lag", 1), "no log of the policy"),
        (endless, "more than the"),
    ] {
        all[0].serve(&all[0].place(FILE), bad.clone().into_bytes());
        user.log = trust(&scene, &all, 1, 500);
        let said = unrecorded(hear(&user, FILE));
        assert!(said[0].starts_with("one: its answer does not hold: ") && said[0].contains(why), "{said:?}");
    }
    all[0].serve(&all[0].place(FILE), proof.into_bytes());
    user.log = trust(&scene, &all, 1, 0);
    assert_eq!(agreed(&hear(&user, FILE).unwrap().0), ["one"]);
}

#[test]
fn entries_that_are_not_those_of_the_proof_accuse_nobody() {
    let (scene, mut all) = scene(1);
    all[0].book.leaves.clear();
    all[0].record(FILE, b"what others got");
    let mut forged = Vec::new();
    bundle::push(&mut forged, file_leaf(FILE, b"forged").as_bytes()).unwrap();
    let place = format!("{}log/tile/entries/000.p/1", all[0].base());
    let mut user = scene.user();
    for entries in [forged, b"\x00\x05no".to_vec(), Vec::new()] {
        all[0].serve(&place, entries);
        user.log = trust(&scene, &all, 1, 0);
        assert!(unrecorded(hear(&user, FILE))[0].contains("its answer does not hold"));
    }
    scene.repo.server.forget(&place);
    user.log = trust(&scene, &all, 1, 0);
    assert!(unrecorded(hear(&user, FILE))[0].contains("its answer does not hold"));
}

#[test]
fn recorders_that_are_younger_than_a_file_are_not_needed_for_it() {
    let (mut scene, mut all) = scene(3);
    let since = |size| Some(Since { origin: ORIGIN.to_owned(), size });
    for recorder in &mut all[1..] {
        scene.repo.server.forget(&recorder.place(FILE));
        recorder.since = since(1);
    }
    let mut user = scene.user();
    user.log = trust(&scene, &all, 2, 0);
    let (recorded, _) = hear(&user, FILE).unwrap();
    assert_eq!((agreed(&recorded), recorded.old_enough), (vec!["one"], 1));
    assert_eq!(recorded.words(), "recorded by one (1 of 3 must: the other recorders are younger than it)");
    assert_eq!(recorded.others[0], ("two".to_owned(), "is younger than the file".to_owned()));
    scene.repo.server.forget(&all[0].place(FILE));
    let mut other = scene.user();
    other.log = trust(&scene, &all, 2, 0);
    assert_eq!(unrecorded(hear(&other, FILE))[0], "one: has no record of it");
    all[0].since = since(1);
    other.log = trust(&scene, &all, 2, 0);
    let (recorded, _) = hear(&other, FILE).unwrap();
    assert_eq!(recorded.words(), "recorded by no recorder (all 3 recorders are younger than it)");
    // What is logged later is not older than any of them.
    scene.add(LATER, b"two");
    scene.release();
    other.log = trust(&scene, &all, 2, 0);
    assert_eq!(unrecorded(hear(&other, LATER)).len(), 3);
    all[0].since = Some(Since { origin: "other.example/log".to_owned(), size: 9 });
    user = scene.user();
    user.log = trust(&scene, &all, 2, 0);
    assert_eq!(unrecorded(hear(&user, FILE))[0], "one: has no record of it", "that is another log");
}

#[test]
fn a_younger_recorder_that_proves_other_content_is_heard() {
    let (scene, mut all) = scene(1);
    all[0].book.leaves.clear();
    all[0].record(FILE, b"what others got");
    all[0].since = Some(Since { origin: ORIGIN.to_owned(), size: 1 });
    let mut user = scene.user();
    user.log = trust(&scene, &all, 1, 0);
    assert_eq!(contradicted(hear(&user, FILE)).len(), 1);
}

#[test]
fn without_a_witnessed_log_of_the_index_nobody_is_younger_and_nothing_fresh() {
    let (mut scene, mut all) = scene(1);
    scene.repo.server.forget(&all[0].place(FILE));
    all[0].since = Some(Since { origin: ORIGIN.to_owned(), size: 9 });
    scene.set_policy(&scene.book.policy(0));
    scene.release();
    let mut user = scene.user();
    user.log = trust(&scene, &all, 1, 500);
    assert_eq!(unrecorded(hear(&user, FILE)), ["one: has no record of it"], "quorum none");
    scene.repo.targets.targets.remove("tlog-policy");
    scene.repo.targets.common.version += 1;
    scene.release();
    user.log = trust(&scene, &all, 1, 500);
    assert_eq!(unrecorded(hear(&user, FILE)), ["one: has no record of it"], "no log");
}

#[test]
fn a_repository_without_a_log_can_have_recorders() {
    let (mut scene, mut all) = scene(1);
    scene.repo.targets.targets.remove("tlog-policy");
    scene.repo.targets.common.version += 1;
    scene.release();
    let mut user = scene.user();
    user.log = trust(&scene, &all, 1, 0);
    assert_eq!(agreed(&hear(&user, FILE).unwrap().0), ["one"]);
    all[0].book.leaves.clear();
    all[0].record(FILE, b"what others got");
    let mut other = scene.user();
    other.log = trust(&scene, &all, 1, 0);
    let said = contradicted(hear(&other, FILE));
    assert!(said[0].ends_with("(no evidence: the index logs nothing)"), "{said:?}");
}

#[test]
fn a_fresh_file_need_not_be_recorded_yet_but_recorders_must_have_said_so() {
    let (scene, all) = scene(3);
    for recorder in &all {
        scene.repo.server.forget(&recorder.place(FILE));
    }
    let mut user = scene.user();
    let at = |seconds: i64, grace| {
        let mut user = scene.user();
        user.now += TimeDelta::seconds(seconds);
        user.log = trust(&scene, &all, 2, grace);
        hear(&user, FILE)
    };
    let (recorded, _) = at(3_599, 1).unwrap();
    assert!(recorded.fresh && recorded.agreed.is_empty());
    assert_eq!(recorded.words(), "recorded by no recorder (so new that recorders need not have it yet)");
    assert_eq!(unrecorded(at(3_600, 1)).len(), 3);
    assert_eq!(unrecorded(at(0, 0)).len(), 3, "no grace was given");
    assert!(at(-3_600, 1).unwrap().0.fresh, "clocks differ");
    assert_eq!(unrecorded(at(-3_601, 1)).len(), 3, "cosigned in a time that is to come");
    all[0].is_down(FILE);
    assert!(at(0, 1).unwrap().0.fresh, "two said that they do not have it");
    all[1].is_down(FILE);
    assert_eq!(unrecorded(at(0, 1)).len(), 3, "no answer is none");
    user.log = trust(&scene, &all, 2, 1);
    assert_eq!(unrecorded(hear(&user, FILE)).len(), 3);
}

#[test]
fn offline_the_proofs_that_are_kept_are_enough_and_others_are_none() {
    let (scene, all) = scene(2);
    let mut user = scene.user();
    user.log = trust(&scene, &all, 2, 0);
    hear(&user, FILE).unwrap();
    scene.repo.server.requests();
    user.log = trust(&scene, &all, 2, 0);
    assert_eq!(agreed(&offline(&user, FILE).unwrap()), ["one", "two"]);
    let mut other = scene.user();
    other.log = scene.user().log;
    other.download(FILE).unwrap();
    scene.repo.server.requests();
    other.log = trust(&scene, &all, 2, 500);
    let LogError::Unrecorded { said, .. } = refused(offline(&other, FILE)) else { panic!() };
    assert!(said[0].contains("its proof is not on this machine"), "{said:?}");
    assert_eq!(scene.repo.server.requests(), Vec::<String>::new());
}

#[test]
fn kept_proofs_are_checked_by_the_policy_that_holds_now() {
    let (scene, mut all) = scene(1);
    let mut user = scene.user();
    user.log = trust(&scene, &all, 1, 0);
    hear(&user, FILE).unwrap();
    let old = std::mem::replace(&mut all[0].book, Book::new("one.example/log", 77));
    user.log = trust(&scene, &all, 1, 0);
    assert!(unrecorded(hear(&user, FILE))[0].contains("does not hold"), "another key, the old proofs");
    all[0].book.leaves = old.leaves;
    all[0].publish();
    user.log = trust(&scene, &all, 1, 0);
    assert_eq!(agreed(&hear(&user, FILE).unwrap().0), ["one"]);
}

#[test]
fn a_recorder_whose_log_forked_does_not_count_and_the_evidence_proves_it() {
    let (mut scene, mut all) = scene(1);
    scene.add(LATER, b"two");
    scene.release();
    all[0].record(LATER, b"two");
    let mut user = scene.user();
    user.log = trust(&scene, &all, 1, 0);
    hear(&user, FILE).unwrap();
    all[0].book.leaves[0] = file_leaf("six/six-9.9.tar.gz", b"hidden");
    all[0].publish();
    user.log = trust(&scene, &all, 1, 0);
    let said = unrecorded(hear(&user, LATER));
    assert!(said[0].contains("its log one.example/log shows two histories"), "{said:?}");
    let forked = Shows::Forked { origin: "one.example/log".to_owned(), size: 2 };
    assert_eq!(shown(&said[0], &[&all[0].book.policy(0)]), forked);
    assert_eq!(agreed(&hear(&user, FILE).unwrap().0), ["one"], "what it proved before it forked");
}

#[test]
fn without_witnesses_a_recorders_log_must_have_grown_by_its_tiles() {
    let (mut scene, mut all) = scene(1);
    all[0].of = 0;
    all[0].publish();
    scene.add(LATER, b"two");
    scene.release();
    let mut user = scene.user();
    user.log = trust(&scene, &all, 1, 0);
    hear(&user, FILE).unwrap();
    all[0].record(LATER, b"two");
    user.log = trust(&scene, &all, 1, 0);
    assert_eq!(agreed(&hear(&user, LATER).unwrap().0), ["one"]);
    for path in [FILE, LATER] {
        hear(&user, path).unwrap();
        user.log = trust(&scene, &all, 1, 0);
        assert_eq!(agreed(&offline(&user, path).unwrap()), ["one"], "{path}");
    }
    // A smaller tree of another history, for the next file.
    scene.add("six/six-3.0.tar.gz", b"three");
    scene.release();
    all[0].book.leaves = vec![file_leaf("six/six-3.0.tar.gz", b"three")];
    all[0].serve(
        &all[0].place("six/six-3.0.tar.gz"),
        all[0].book.proof(&all[0].book.leaves[0], 1, 0).into_bytes(),
    );
    user.log = trust(&scene, &all, 1, 0);
    let said = unrecorded(hear(&user, "six/six-3.0.tar.gz"));
    assert!(said[0].contains("shows two histories"), "{said:?}");
}

#[test]
fn the_index_is_no_recorder_of_itself() {
    let (scene, mut all) = scene(1);
    all[0].book = Book::new(ORIGIN, 100);
    all[0].book.leaves.clone_from(&scene.book.leaves);
    let proof = scene.book.proof(&scene.book.leaves[0], scene.book.size(), 2);
    let announced =
        Announced { name: "own".to_owned(), url: "https://own/".to_owned(), ..all[0].announced() };
    scene
        .repo
        .server
        .set(&format!("https://own/targets/{FILE}.tlog-proof"), Answer::Bytes(proof.into_bytes()));
    let recorders = Recorders::new(vec![announced], None, 0).unwrap();
    let server = scene.repo.server.clone();
    let open = |base: &str| Ok::<_, RecorderError>(server.source(base.to_owned().leak()).into());
    let panel = Panel::new(&recorders, open).unwrap();
    let mut user = scene.user();
    user.log.recorders = Some(Arc::new(panel));
    let said = unrecorded(hear(&user, FILE));
    assert_eq!(said, ["own: its answer does not hold: it answers from the log of the index itself"]);
}

#[test]
fn metadata_is_asked_for_and_pages_are_not() {
    let (mut scene, mut all) = scene(1);
    let (metadata, page) = (format!("{FILE}.metadata"), "simple/six/index.json");
    scene.add(&metadata, b"Name: six");
    scene.repo.add_file("targets", page, b"{}");
    scene.repo.targets.common.version += 1;
    scene.release();
    let mut user = scene.user();
    user.log = trust(&scene, &all, 1, 0);
    assert_eq!(unrecorded(hear(&user, &metadata)), ["one: has no record of it"]);
    all[0].record(&metadata, b"Name: six");
    assert_eq!(agreed(&hear(&user, &metadata).unwrap().0), ["one"]);
    scene.repo.server.requests();
    assert_eq!(user.download(page), Ok(true));
    assert!(scene.repo.server.requests().iter().all(|path| !path.starts_with("https://")));
}
