//! Ceremonies: what people sign one after the other is published whole or not at all, and what is wrong is refused.

#![expect(clippy::unwrap_used, reason = "a ceremony that cannot be held is a test that failed")]

use std::fs;
use std::sync::Arc;

use async_trait::async_trait;
use wheelseal::client::trust::{Location, TrustStore};
use wheelseal::client::{Client, Timing};
use wheelseal::keys::{self, Ask, KeyUri};
use wheelseal::repository::{
    BinStyle, CeremonyError, Detail, Edits, Event, EventName, Gate, Keyring, Plan, RepositoryError, RoleEdit,
    Subject, Unwatched,
};
use wheelseal::store::Store;
use wheelseal::tuf::json::{Json, parse};
use wheelseal::tuf::key::Key;
use wheelseal::tuf::metadata::Root;
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::signed::Draft;
use wheelseal::tuf::trusted::Limits;

use crate::claims::{BOB, apply, claim, with_six_promoted};
use crate::faults::everything_new;
use crate::scene::{ALL_KEYS, Scene, View, days_later, example, keyring, now, plan, role, signed};

/// Root signed by two of three; everything else as usual.
async fn scene() -> Scene {
    let plan = Plan { root: role(&["root-1", "root-2", "root-3"], 2).await, ..plan().await };
    let scene = Scene::of(&plan, &["root-1", "root-2", "root-3", "targets-1", "online"]).await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1"), scene.add("beta", "1.0", "x = 2")]).await.unwrap();
    scene
}

async fn key(name: &str) -> Key {
    keys::open_public(&KeyUri::File(example(name)), &Ask).await.unwrap()
}

fn name(text: &str) -> EventName {
    EventName::new(text).unwrap()
}

fn edits(roles: Vec<(Subject, RoleEdit)>) -> Edits {
    Edits { roles, bins: None, log_policy: None }
}

async fn adding(subject: Subject, name: &str) -> Edits {
    edits(vec![(subject, RoleEdit::AddKey(Box::new(key(name).await)))])
}

async fn drafted(scene: &Scene, edits: &Edits) -> Result<Event, RepositoryError> {
    scene.open().await.draft(name("test"), edits, now()).await
}

async fn sign(event: &mut Event, by: &str) -> Result<Vec<String>, RepositoryError> {
    event.sign(keyring(&[by]).await.signers().next().unwrap(), None, now()).await
}

async fn join(event: &mut Event, by: &str) -> Result<(), RepositoryError> {
    event.join(keyring(&[by]).await.signers().next().unwrap(), Some("Dora"), now()).await
}

async fn finish(scene: &Scene, event: &Event, keys: &[&str]) -> Result<(), RepositoryError> {
    finish_with(scene, event, &keyring(keys).await, None).await
}

async fn finish_with(
    scene: &Scene,
    event: &Event,
    keys: &Keyring,
    gate: Option<&dyn Gate>,
) -> Result<(), RepositoryError> {
    scene.open().await.finish(event, keys, gate, now(), &Unwatched).await.map(drop)
}

/// The event's file with this text in place of another, which is in it.
fn altered(event: &Event, from: &str, to: &str) -> Result<Event, CeremonyError> {
    let text = String::from_utf8(event.to_bytes().unwrap()).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    Event::read(text.replacen(from, to, 1).as_bytes())
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, RepositoryError>) -> CeremonyError {
    match outcome.unwrap_err() {
        RepositoryError::Ceremony(error) => error,
        other => panic!("{other}"),
    }
}

/// A client with a folder of its own, that trusts the first root.
fn client(scene: &Scene) -> (tempfile::TempDir, Client) {
    let home = tempfile::tempdir().unwrap();
    let trust = TrustStore::new(home.path().join("config"), home.path().join("state"));
    let root = fs::read(scene.root().join("metadata/1.root.json")).unwrap();
    trust.add("mine", &Location::below(scene.root().to_str().unwrap()), &root).unwrap();
    let client = trust.client("mine", Timing::default(), Limits::default()).unwrap();
    (home, client)
}

// The whole way.

#[tokio::test]
async fn two_of_three_on_two_machines_replace_the_third() {
    let scene = scene().await;
    let old = key("root-3").await.id().to_string();
    let change = edits(vec![
        (Subject::Root, RoleEdit::AddKey(Box::new(key("ecdsa").await))),
        (Subject::Root, RoleEdit::RemoveKey(old[..8].to_owned())),
    ]);
    let mut first = drafted(&scene, &change).await.unwrap();
    let mut second = Event::read(&first.to_bytes().unwrap()).unwrap();
    second.follows(&fs::read(scene.root().join("metadata/1.root.json")).unwrap()).unwrap();
    assert_eq!(sign(&mut first, "root-1").await.unwrap(), ["root"]);
    assert_eq!(sign(&mut second, "root-2").await.unwrap(), ["root"]);
    join(&mut second, "ecdsa").await.unwrap();
    let repository = scene.open().await;
    repository.keep(&first).await.unwrap();
    let both = repository.keep(&second).await.unwrap();
    assert_eq!(repository.ceremonies().await.unwrap(), [name("test")]);
    let review = both.review(Detail::Brief, None).unwrap();
    assert!(review.complete(), "{review:#?}");
    finish(&scene, &both, &[]).await.unwrap();
    assert_eq!(repository.ceremonies().await.unwrap(), []);
    let root = repository.state().await.unwrap().root;
    assert_eq!((root.common.version, root.root.threshold), (2, 2));
    assert!(root.root.keyids.contains(&key("ecdsa").await.id()) && root.root.keyids.len() == 3);
    scene.assert_sound("after the ceremony").await;
    // Finishing it again does nothing.
    let before = scene.files();
    finish(&scene, &both, &[]).await.unwrap();
    assert_eq!(scene.files(), before);
}

#[tokio::test]
async fn every_key_is_replaced_in_one_ceremony_and_no_client_notices() {
    for bin_style in [BinStyle::Succinct, BinStyle::Prefixes] {
        let scene = Scene::of(&Plan { bin_style, bin_count: 16, ..plan().await }, &ALL_KEYS).await;
        scene.publish(&[scene.add("alpha", "1.0", "x"), scene.add("beta", "1.0", "y")]).await.unwrap();
        let (_home, client) = client(&scene);
        let target = |name: &str| TargetPath::new(format!("{name}/{name}-1.0-py3-none-any.whl")).unwrap();
        let session = client.refresh(now()).await.unwrap();
        session.find(&target("alpha")).await.unwrap();
        let event = everything_new(&scene, None).await;
        let before = View::of(&scene.open().await).await;
        finish(&scene, &event, &["online", "online-2"]).await.unwrap();
        session.find(&target("beta")).await.unwrap();
        drop(session);
        let session = client.refresh(now()).await.unwrap();
        session.find(&target("alpha")).await.unwrap();
        assert_eq!(View::of(&scene.open().await).await.content(), before.content());
        let repository = scene.open().await;
        let state = repository.state().await.unwrap();
        let new = key("online-2").await.id();
        for (bin, metadata) in crate::scene::bins(&repository, &state).await {
            assert_eq!(metadata.signers(), std::slice::from_ref(&new), "{bin}");
        }
        // The old keys are good for nothing any more.
        let edit = [scene.add("gamma", "1.0", "z")];
        let with_old = repository.publish(&keyring(&ALL_KEYS).await, &edit, now(), &Unwatched).await;
        assert!(matches!(with_old, Err(RepositoryError::KeysMissing { .. })), "{with_old:?}");
        repository.publish(&keyring(&["online-2"]).await, &edit, now(), &Unwatched).await.unwrap();
        scene.assert_sound("after all").await;
    }
}

#[tokio::test]
async fn lost_online_keys_are_replaced_with_those_of_bins() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "x")]).await.unwrap();
    let event = everything_new(&scene, Some(Subject::Root)).await;
    finish(&scene, &event, &["online-2"]).await.unwrap();
    scene.assert_sound("after the ceremony").await;
    let edit = [scene.add("beta", "1.0", "y")];
    let repository = scene.open().await;
    repository.publish(&keyring(&["online-2"]).await, &edit, now(), &Unwatched).await.unwrap();
    scene.assert_sound("after a publication").await;
}

#[tokio::test]
async fn lost_online_keys_and_all_root_keys_are_not_replaced_in_one_step() {
    let scene = Scene::new().await;
    let event = everything_new(&scene, None).await;
    let before = View::of(&scene.open().await).await;
    let refused = refusal(finish(&scene, &event, &["online-2"]).await).to_string();
    assert!(refused.contains("in a ceremony of its own"), "{refused}");
    assert_eq!(View::of(&scene.open().await).await, before);
    scene.assert_sound("after the refusal").await;
}

#[tokio::test]
async fn a_publication_between_signing_and_finishing_is_kept() {
    let scene = scene().await;
    let mut event = drafted(&scene, &edits(vec![(Subject::Targets, RoleEdit::Renew)])).await.unwrap();
    sign(&mut event, "targets-1").await.unwrap();
    scene.publish(&[scene.add("gamma", "1.0", "new")]).await.unwrap();
    finish(&scene, &event, &["online"]).await.unwrap();
    assert_eq!(View::of(&scene.open().await).await.files.len(), 3);
    scene.assert_sound("after both").await;
}

#[tokio::test]
async fn every_role_can_be_named() {
    let scene = scene().await;
    for subject in Subject::ALL {
        assert_eq!(subject.name().parse(), Ok(subject));
        let renewed = drafted(&scene, &edits(vec![(subject, RoleEdit::Renew)])).await;
        assert_eq!(renewed.is_ok(), !subject.is_online(), "{renewed:?}");
        let other = if subject.is_online() { "online-2" } else { "targets-2" };
        let event = drafted(&scene, &adding(subject, other).await).await.unwrap();
        let delegator = match subject {
            Subject::Bins | Subject::Claimed | Subject::RecentlyClaimed => "targets",
            Subject::BinN => "bins",
            _ => "root",
        };
        assert_eq!(event.roles().collect::<Vec<_>>(), [delegator], "{}", subject.name());
    }
    assert!("bin".parse::<Subject>().is_err());
}

#[tokio::test]
async fn claimed_projects_stay_claimed_when_every_key_is_replaced() {
    let scene = with_six_promoted().await;
    scene.publish(&[scene.add("idna", "3.0", "x = 1")]).await.unwrap();
    apply(&scene, &claim(&scene, "idna", &[BOB], 1, &[]).await, Vec::new()).await.unwrap();
    let claimed = async || scene.open().await.claimed().await.unwrap();
    let before = claimed().await;
    assert_eq!(
        before.iter().map(|claim| (claim.project.as_str(), claim.by)).collect::<Vec<_>>(),
        [("idna", "recently-claimed"), ("six", "claimed"),]
    );
    let event = everything_new(&scene, None).await;
    let roles: Vec<_> = event.roles().collect();
    assert_eq!(roles, ["root", "targets", "bins", "claimed", "claimed-0000"]);
    finish(&scene, &event, &["online", "online-2"]).await.unwrap();
    scene.assert_verifies("after the ceremony").await;
    assert_eq!(claimed().await, before);
    let files = scene.files();
    let newest = |role: &str| {
        let of_role = files.keys().filter_map(|path| {
            let number = path.strip_prefix("metadata/")?.strip_suffix(&format!(".{role}.json"))?;
            number.parse::<u64>().ok()
        });
        let file = &files[&format!("metadata/{}.{role}.json", of_role.max().unwrap())];
        parse(file).unwrap().into_owned()
    };
    for (role, by) in [
        ("claimed", "targets-2"),
        ("claimed-0000", "targets-2"),
        ("recently-claimed", "online-2"),
        ("recently-claimed-0000", "online-2"),
    ] {
        let Json::Array(signatures) = newest(role).get("signatures").unwrap().clone() else {
            panic!("{role}")
        };
        let ids: Vec<_> = signatures.iter().map(|one| one.get("keyid").unwrap().as_str().unwrap()).collect();
        assert!(ids.contains(&key(by).await.id().as_str()), "{role}");
    }
    // Nobody below `recently-claimed` trusts the old online key.
    let text = newest("recently-claimed").to_text();
    assert!(!text.contains(key("online").await.id().as_str()), "{text}");
    let (_home, client) = client(&scene);
    let target = TargetPath::new("idna/idna-3.0-py3-none-any.whl").unwrap();
    client.refresh(now()).await.unwrap().find(&target).await.unwrap();
}

// Signatures that are not good.

#[tokio::test]
async fn a_key_that_nobody_lists_cannot_sign_and_a_key_signs_once() {
    let scene = scene().await;
    let mut event = drafted(&scene, &adding(Subject::Root, "ecdsa").await).await.unwrap();
    let stranger = refusal(sign(&mut event, "online-2").await);
    assert!(matches!(&stranger, CeremonyError::Stranger { role, .. } if role == "root"), "{stranger}");
    sign(&mut event, "root-1").await.unwrap();
    let twice = refusal(sign(&mut event, "root-1").await);
    assert!(matches!(&twice, CeremonyError::SignedBefore { role, .. } if role == "root"), "{twice}");
    // The new key may sign too, which shows that it is held.
    sign(&mut event, "ecdsa").await.unwrap();
    let review = event.review(Detail::Brief, None).unwrap();
    assert!(review.new_keys.iter().all(|key| key.proven));
    assert!(matches!(refusal(join(&mut event, "root-1").await), CeremonyError::Stranger { .. }));
}

#[tokio::test]
async fn a_signature_made_elsewhere_is_verified_before_it_is_taken() {
    let scene = scene().await;
    let mut event = drafted(&scene, &adding(Subject::Root, "targets-2").await).await.unwrap();
    let (root_1, keys) = (key("root-1").await, keyring(&["root-1", "root-2"]).await);
    let signers: Vec<_> = keys.signers().collect();
    let payload = event.payload("root").unwrap().to_vec();
    let mut add = |key: &Key, signature: &[u8]| event.add_signature("root", key, signature, None, now());
    // Over altered bytes, by another key, cut short, for another role.
    let other = signers[0].sign(&[&payload[..], b" "].concat()).await.unwrap();
    let by_another = signers[1].sign(&payload).await.unwrap();
    for bad in [&other, &by_another, &by_another[..10].to_vec()] {
        assert!(matches!(add(&root_1, bad), Err(CeremonyError::BadSignature { .. })));
    }
    let good = signers[0].sign(&payload).await.unwrap();
    let stranger = key("online-2").await;
    assert!(matches!(add(&stranger, &good), Err(CeremonyError::Stranger { .. })));
    add(&root_1, &good).unwrap();
    assert!(matches!(add(&root_1, &good), Err(CeremonyError::SignedBefore { .. })));
    let elsewhere = event.add_signature("targets", &root_1, &good, None, now());
    assert!(matches!(elsewhere, Err(CeremonyError::NotProposed { .. })));
    // A metadata file that carries a signature over another version.
    let mut old = Draft::<Root>::read(&payload).unwrap();
    old.content.common.version = 7;
    let file = signed(&old, &["root-2"]).await;
    let refused = event.add_signature("root", &key("root-2").await, &file, None, now());
    assert_eq!(refused, Err(CeremonyError::OtherVersion { role: "root".into(), found: 7, expected: 2 }));
    let file = signed(&Draft::<Root>::read(&payload).unwrap(), &["root-2"]).await;
    event.add_signature("root", &key("root-2").await, &file, Some("Ben"), now()).unwrap();
    assert_eq!(event.review(Detail::Brief, None).unwrap().roles[0].signatures[0].signed.len(), 2);
}

#[tokio::test]
async fn an_event_that_was_edited_by_hand_is_refused() {
    let scene = scene().await;
    let mut event = drafted(&scene, &adding(Subject::Root, "ecdsa").await).await.unwrap();
    sign(&mut event, "root-1").await.unwrap();
    join(&mut event, "ecdsa").await.unwrap();
    let malformed = |outcome: Result<Event, CeremonyError>| {
        let error = outcome.unwrap_err();
        assert!(matches!(error, CeremonyError::Malformed(_)), "{error}");
    };
    // What was signed is no longer what is proposed.
    let expires = altered(&event, "\"expires\":\"2091-06-01", "\"expires\":\"2092-06-01");
    assert!(matches!(expires, Err(CeremonyError::BadSignature { .. })), "{expires:?}");
    // A statement is bound to its event by name and content.
    let renamed = altered(&event, "\"name\":\"test\"", "\"name\":\"tent\"");
    let joining =
        CeremonyError::BadSignature { role: "joining".into(), key: key("ecdsa").await.id().short() };
    assert_eq!(renamed.unwrap_err(), joining.clone());
    malformed(altered(&event, "\"format\":2", "\"format\":3"));
    malformed(altered(&event, "\"version\":1}", "\"version\":3}"));
    malformed(altered(&event, "\"version\":1}", "\"version\":10}"));
    malformed(altered(&event, "\"role\":\"claimed\"}", "\"role\":\"claimed-0000\"}"));
    malformed(Event::read(b"{\"format\":2}"));
    malformed(Event::read(b"[]"));
    malformed(Event::read(b"not json"));
    // Another form is another proposal, even if it says the same.
    assert_eq!(altered(&event, "\"started\":", "\"started\" :").unwrap_err(), joining);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_unread() {
    let huge = vec![b' '; 256 * 1024 * 1024 + 1];
    assert!(matches!(Event::read(&huge), Err(CeremonyError::TooMany { what: "bytes", .. })));
}

#[tokio::test]
async fn a_large_event_is_compressed_and_its_copies_merge_all_the_same() {
    let plan = Plan { bin_style: BinStyle::Prefixes, bin_count: 8_192, ..plan().await };
    let scene = Scene::of(&plan, &ALL_KEYS).await;
    let change = edits(vec![(Subject::Bins, RoleEdit::Renew), (Subject::Targets, RoleEdit::Renew)]);
    let event = drafted(&scene, &change).await.unwrap();
    let bytes = event.to_bytes().unwrap();
    assert!(bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) && bytes.len() < 300_000, "{}", bytes.len());
    let mut copy = Event::read(&bytes).unwrap();
    sign(&mut copy, "targets-1").await.unwrap();
    let signed = copy.to_bytes().unwrap();
    let (mut merged, mut again) = (event, Event::read(&signed).unwrap());
    assert_eq!((merged.merge_file(&signed), merged.merge_file(&signed)), (Ok(2), Ok(0)));
    assert_eq!(again.merge_file(&bytes), Ok(0));
    assert_eq!(merged.to_bytes(), again.to_bytes());
    for cut in [signed.len() - 1, bytes.len() - 20, 100] {
        assert!(matches!(Event::read(&signed[..cut]), Err(CeremonyError::Malformed(_))), "{cut}");
    }
    let longer = [&signed[..], b"x"].concat();
    assert!(matches!(Event::read(&longer), Err(CeremonyError::Malformed(_))));
    scene.open().await.keep(&merged).await.unwrap();
    finish(&scene, &merged, &["online"]).await.unwrap();
    assert_eq!(scene.open().await.ceremonies().await.unwrap(), []);
}

#[tokio::test]
async fn a_signature_in_the_file_that_is_not_good_is_refused() {
    let scene = scene().await;
    let mut event = drafted(&scene, &adding(Subject::Root, "ecdsa").await).await.unwrap();
    sign(&mut event, "root-1").await.unwrap();
    let (id, other) = (key("root-1").await.id(), key("root-2").await.id());
    let text = String::from_utf8(event.to_bytes().unwrap()).unwrap();
    let tree = parse(text.lines().last().unwrap().as_bytes()).unwrap();
    let sig = tree.get("signatures").unwrap().get("root").unwrap();
    let Json::Array(marks) = sig else { panic!("no signatures") };
    let sig = marks[0].get("sig").unwrap().as_str().unwrap().to_owned();
    let flipped = format!("{}{}", if sig.starts_with('0') { '1' } else { '0' }, &sig[1..]);
    let bad = |outcome: Result<Event, CeremonyError>| {
        assert!(matches!(outcome.unwrap_err(), CeremonyError::BadSignature { .. }));
    };
    bad(altered(&event, &sig, &flipped));
    let by = format!("Z\",\"keyid\":\"{id}\",\"sig\"");
    bad(altered(&event, &by, &format!("Z\",\"keyid\":\"{other}\",\"sig\"")));
    let unknown = altered(&event, &by, "Z\",\"keyid\":\"abc\",\"sig\"").unwrap_err();
    assert!(matches!(unknown, CeremonyError::Stranger { .. }), "{unknown}");
    // The same signature twice in the list.
    let mark = marks[0].to_text();
    let twice = altered(&event, &mark, &format!("{mark},{mark}")).unwrap_err();
    assert!(matches!(twice, CeremonyError::SignedBefore { .. }), "{twice}");
}

#[tokio::test]
async fn another_proposal_of_the_same_name_does_not_merge() {
    let scene = scene().await;
    let repository = scene.open().await;
    let one = drafted(&scene, &adding(Subject::Root, "ecdsa").await).await.unwrap();
    let other = drafted(&scene, &adding(Subject::Root, "targets-2").await).await.unwrap();
    repository.keep(&one).await.unwrap();
    assert_eq!(refusal(repository.keep(&other).await), CeremonyError::Taken("test".into()));
    repository.abandon(one.name()).await.unwrap();
    assert_eq!(refusal(repository.abandon(one.name()).await), CeremonyError::Unknown("test".into()));
    repository.keep(&other).await.unwrap();
}

#[tokio::test]
async fn a_ceremony_of_another_repository_is_not_signed() {
    let (scene, other) = (scene().await, Scene::new().await);
    let event = drafted(&scene, &adding(Subject::Root, "ecdsa").await).await.unwrap();
    let theirs = fs::read(other.root().join("metadata/1.root.json")).unwrap();
    assert_eq!(event.follows(&theirs), Err(CeremonyError::OtherRoot { known: 1, found: 1 }));
    assert!(matches!(event.follows(b"{}"), Err(CeremonyError::Malformed(_))));
}

// Not yet, or no more.

#[tokio::test]
async fn too_few_signatures_publish_nothing() {
    let scene = scene().await;
    let before = scene.files();
    let mut event = drafted(&scene, &adding(Subject::Root, "ecdsa").await).await.unwrap();
    sign(&mut event, "root-1").await.unwrap();
    let unproven = refusal(finish(&scene, &event, &[]).await);
    assert_eq!(unproven, CeremonyError::Unproven(vec![key("ecdsa").await.id().short()]));
    join(&mut event, "ecdsa").await.unwrap();
    let missing = refusal(finish(&scene, &event, &["online"]).await);
    let expected =
        CeremonyError::Unsigned { role: "root".into(), delegator: "root now".into(), needed: 2, found: 1 };
    assert_eq!(missing, expected);
    // A new threshold counts as well as the old one.
    let change = edits(vec![(Subject::Root, RoleEdit::Threshold(3))]);
    let mut event = drafted(&scene, &change).await.unwrap();
    for by in ["root-1", "root-2"] {
        sign(&mut event, by).await.unwrap();
    }
    let missing = refusal(finish(&scene, &event, &[]).await).to_string();
    assert_eq!(missing, "root needs 3 signature(s) by keys that root after it lists, it has 2");
    assert_eq!(scene.files(), before);
}

#[tokio::test]
async fn an_event_older_than_the_repository_is_refused() {
    let scene = scene().await;
    let mut late = drafted(&scene, &adding(Subject::Root, "ecdsa").await).await.unwrap();
    let mut renewal = drafted(&scene, &edits(vec![(Subject::Targets, RoleEdit::Renew)])).await.unwrap();
    let mut first = drafted(&scene, &adding(Subject::Root, "targets-2").await).await.unwrap();
    for by in ["root-1", "root-2", "targets-2"] {
        sign(&mut first, by).await.unwrap();
    }
    finish(&scene, &first, &[]).await.unwrap();
    for by in ["root-1", "root-2", "ecdsa"] {
        sign(&mut late, by).await.unwrap();
    }
    sign(&mut renewal, "targets-1").await.unwrap();
    let before = scene.files();
    let expected = CeremonyError::Stale { name: "test".into(), role: "root".into(), found: 2, expected: 1 };
    assert_eq!(refusal(finish(&scene, &late, &["online"]).await), expected);
    assert_eq!(refusal(scene.open().await.still_current(&late, now()).await), expected);
    assert_eq!(scene.files(), before);
    // What the other ceremony did not touch is current still.
    finish(&scene, &renewal, &["online"]).await.unwrap();
    scene.assert_sound("after both").await;
}

#[tokio::test]
async fn what_has_expired_before_it_is_finished_is_refused() {
    let scene = scene().await;
    let mut event = drafted(&scene, &edits(vec![(Subject::Targets, RoleEdit::Renew)])).await.unwrap();
    sign(&mut event, "targets-1").await.unwrap();
    let keys = keyring(&["online"]).await;
    let late = scene.open().await.finish(&event, &keys, None, days_later(400), &Unwatched).await;
    assert_eq!(refusal(late), CeremonyError::Refused(vec!["targets has expired meanwhile".into()]));
}

// Rules.

#[tokio::test]
async fn changes_that_break_a_rule_are_refused_before_anybody_signs() {
    let scene = scene().await;
    let refused = async |roles: Vec<(Subject, RoleEdit)>| match drafted(&scene, &edits(roles)).await {
        Err(RepositoryError::Ceremony(CeremonyError::Refused(reasons))) => reasons.join("; "),
        other => panic!("{other:?}"),
    };
    let keys = async |names: &[&str]| RoleEdit::Keys(role(names, 1).await.keys);
    let online = refused(vec![(Subject::Root, keys(&["root-1", "root-2", "online"]).await)]).await;
    assert!(online.contains("root cannot have the key") && online.contains("it signs offline"), "{online}");
    let offline = refused(vec![(Subject::BinN, keys(&["targets-1"]).await)]).await;
    assert!(offline.contains("cannot have the key"), "{offline}");
    let twice = refused(vec![(Subject::Root, keys(&["root-1", "root-2", "root-1"]).await)]).await;
    assert!(twice.contains("root is given the same key twice"), "{twice}");
    let many = refused(vec![(Subject::Targets, RoleEdit::Threshold(2))]).await;
    assert_eq!(many, "targets has 1 key(s), so its threshold cannot be 2");
    let none = refused(vec![(Subject::Bins, RoleEdit::Threshold(0))]).await;
    assert_eq!(none, "bins has 1 key(s), so its threshold cannot be 0");
    let soon = refused(vec![(Subject::Root, RoleEdit::Expires(30))]).await;
    assert_eq!(soon, "root would expire on 2090-07-01, sooner than the 365 days of wheelseal.toml");
    let wrong = drafted(&scene, &edits(vec![(Subject::Root, RoleEdit::RemoveKey("abc".into()))])).await;
    assert!(matches!(wrong, Err(RepositoryError::Plan(_))), "{wrong:?}");
    let nothing = drafted(&scene, &Edits::default()).await;
    assert!(matches!(nothing, Err(RepositoryError::Plan(_))), "{nothing:?}");
}

/// Whoever can write to `staging/` can propose anything; the same rules are asked again before each signature.
#[tokio::test]
async fn rules_hold_for_events_that_others_made_up() {
    let scene = scene().await;
    let event = drafted(&scene, &adding(Subject::Root, "ecdsa").await).await.unwrap();
    let refused = |from: &str, to: &str| {
        let review = altered(&event, from, to).unwrap().review(Detail::Brief, None).unwrap();
        review.refusals.join("; ")
    };
    let version = "\"spec_version\":\"1.0.34\",\"version\":2}";
    for other in [1, 3] {
        let refused = refused(version, &version.replace(":2}", &format!(":{other}}}")));
        assert_eq!(refused, format!("version {other} of root does not follow version 1"));
    }
    let loose =
        refused("\"consistent_snapshot\":true,\"expires\"", "\"consistent_snapshot\":false,\"expires\"");
    assert_eq!(loose, "root would give up consistent snapshots");
    // The same key under a second id.
    let (id, json) = (key("ecdsa").await.id().to_string(), key("ecdsa").await.to_json().to_text());
    let other = id.replacen(&id[..1], if id.starts_with('a') { "b" } else { "a" }, 1);
    let entry = format!("\"{id}\":{json}");
    let text = String::from_utf8(event.to_bytes().unwrap()).unwrap();
    let text = text.replacen(&entry, &format!("{entry},\"{other}\":{json}"), 1);
    let text = text.replacen(
        &format!("\"{id}\"],\"threshold\""),
        &format!("\"{id}\",\"{other}\"],\"threshold\""),
        1,
    );
    let review = Event::read(text.as_bytes()).unwrap().review(Detail::Brief, None).unwrap();
    assert!(review.refusals.iter().any(|text| text.contains("the same key twice")), "{:?}", review.refusals);
    // Another key under the id of one that is there already: it is shown, and refused.
    let (theirs, ours) = (key("root-3").await.id(), key("targets-2").await.to_json().to_text());
    let (kept, swapped) = (key("root-3").await.to_json().to_text(), format!("\"{theirs}\":{ours}"));
    let review = altered(&event, &format!("\"{theirs}\":{kept}"), &swapped).unwrap();
    let review = review.review(Detail::Brief, None).unwrap();
    let expected = format!("root lists a new key under the id {}, which is not its own", theirs.short());
    assert!(review.refusals.contains(&expected), "{:?}", review.refusals);
    assert!(review.roles[0].changes.iter().any(|text| text.contains(&format!("key added, {theirs}"))));
    // A field that wheelseal does not know is signed like any other, and shown.
    let review = altered(&event, "\"signed\":{\"_type\"", "\"signed\":{\"-x\":1,\"_type\"").unwrap();
    let review = review.review(Detail::Brief, None).unwrap();
    assert_eq!(review.roles[0].changes[0], "fields change that wheelseal does not know: -x");
}

#[tokio::test]
async fn an_event_cannot_put_a_role_in_anothers_place() {
    let scene = scene().await;
    let event = drafted(&scene, &edits(vec![(Subject::Bins, RoleEdit::Renew)])).await.unwrap();
    let event = altered(
        &event,
        "{\"delegator\":\"targets\",\"role\":\"bins\",\"sig",
        "{\"delegator\":\"bins\",\"role\":\"bins-0\",\"sig",
    );
    let review = event.unwrap().review(Detail::Brief, None).unwrap();
    assert!(
        review.refusals.contains(&"bins-0, delegated by bins, is not a role that people sign".to_owned())
    );
}

#[tokio::test]
async fn targets_without_a_role_that_clients_ask_are_refused() {
    let scene = scene().await;
    let event = drafted(&scene, &edits(vec![(Subject::Targets, RoleEdit::Renew)])).await.unwrap();
    let other = altered(&event, "\"name\":\"claimed\"", "\"name\":\"claimant\"").unwrap();
    let review = other.review(Detail::Brief, None).unwrap();
    assert!(review.refusals.contains(&"targets would no longer delegate to claimed".to_owned()));
    let mut other = other;
    sign(&mut other, "targets-1").await.unwrap();
    assert!(matches!(refusal(finish(&scene, &other, &["online"]).await), CeremonyError::Refused(_)));
}

#[tokio::test]
async fn warnings_tell_of_roles_that_one_key_makes_or_breaks() {
    let scene = scene().await;
    let change = edits(vec![
        (Subject::Root, RoleEdit::Threshold(3)),
        (Subject::Targets, RoleEdit::Keys(role(&["targets-2"], 1).await.keys)),
    ]);
    let review = drafted(&scene, &change).await.unwrap().review(Detail::Brief, None).unwrap();
    let expected = [
        "root needs all of its 3 key(s): one that is lost, and nobody can sign it",
        "targets needs all of its 1 key(s): one that is lost, and nobody can sign it",
        "targets is an offline role, and one key alone can sign it",
    ];
    assert_eq!(review.warnings, expected);
}

// What signers see.

#[tokio::test]
async fn a_review_says_what_changes_and_what_follows() {
    let scene = scene().await;
    let old = key("root-3").await.id();
    let change = Edits {
        roles: vec![
            (Subject::Root, RoleEdit::AddKey(Box::new(key("ecdsa").await))),
            (Subject::Root, RoleEdit::RemoveKey(old.to_string())),
        ],
        bins: Some(8),
        log_policy: None,
    };
    let mut event = drafted(&scene, &change).await.unwrap();
    join(&mut event, "ecdsa").await.unwrap();
    sign(&mut event, "root-1").await.unwrap();
    let review = event.review(Detail::Brief, None).unwrap();
    let new = key("ecdsa").await.id();
    let [root, bins] = review.roles.as_slice() else { panic!("{review:#?}") };
    let expected = [
        format!("root: key added, Dora, {new} (ECDSA P-256), whose holder joined on 2090-06-01"),
        format!("root: key removed, {old} (Ed25519)"),
        "it expires on 2091-06-01, as before".to_owned(),
    ];
    assert_eq!(root.changes, expected);
    let text = "root: after this, it takes any 2 of these 3 key(s) to replace the root; up to 1 may be lost; \
                with one more lost nobody can";
    assert_eq!(root.consequences, [text]);
    assert_eq!(bins.changes, ["8 bins (succinct) instead of 4", "it expires on 2091-06-01, as before"]);
    assert_eq!(bins.consequences, ["every file is sorted anew; no file changes"]);
    assert_eq!((root.signatures.len(), root.signatures[0].by, root.signatures[1].by), (2, "now", "after"));
    assert_eq!(bins.signatures[0].by, "now and after");
    let transcript = event.transcript().unwrap();
    for text in [
        "Ceremony test",
        "signed   2090-06-01 12:00:00 UTC",
        "joined   2090-06-01 12:00:00 UTC  Dora",
        &review.digest,
    ] {
        assert!(transcript.contains(text), "no {text:?} in {transcript}");
    }
}

#[tokio::test]
async fn names_of_holders_are_in_no_metadata() {
    let scene = scene().await;
    let mut event = drafted(&scene, &adding(Subject::Root, "ecdsa").await).await.unwrap();
    join(&mut event, "ecdsa").await.unwrap();
    for by in ["root-1", "root-2"] {
        let keys = keyring(&[by]).await;
        event.sign(keys.signers().next().unwrap(), Some("Dora"), now()).await.unwrap();
    }
    let bad =
        event.sign(keyring(&["root-3"]).await.signers().next().unwrap(), Some("a\u{1b}[2J"), now()).await;
    assert!(matches!(refusal(bad), CeremonyError::Malformed(_)));
    scene.open().await.keep(&event).await.unwrap();
    finish(&scene, &event, &[]).await.unwrap();
    let named = scene.files().into_iter().find(|(_, bytes)| String::from_utf8_lossy(bytes).contains("Dora"));
    assert_eq!(named.map(|(file, _)| file), None);
}

// The gate.

/// Refuses, after looking at what would be.
struct Refuses;

#[async_trait]
impl Gate for Refuses {
    async fn admit(&self, staged: Arc<dyn Store>) -> Result<(), CeremonyError> {
        let staged = wheelseal::repository::Repository::open(staged).await.unwrap();
        let root = staged.state().await.unwrap().root.common.version;
        Err(CeremonyError::Gate { verifier: "test".into(), reason: format!("root version {root}") })
    }
}

#[tokio::test]
async fn a_refusal_of_the_gate_leaves_everything_as_it_was() {
    for online in [&["online", "online-2"][..], &["online-2"]] {
        let scene = Scene::new().await;
        scene.publish(&[scene.add("alpha", "1.0", "x")]).await.unwrap();
        let event = everything_new(&scene, Some(Subject::Root)).await;
        scene.open().await.keep(&event).await.unwrap();
        let before = scene.files();
        let keys = keyring(online).await;
        let refused = refusal(finish_with(&scene, &event, &keys, Some(&Refuses)).await);
        assert_eq!(refused, CeremonyError::Gate { verifier: "test".into(), reason: "root version 2".into() });
        let after = scene.files();
        for (path, bytes) in &before {
            assert_eq!(after.get(path), Some(bytes), "{path}");
        }
        let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
        assert!(new.iter().all(|path| path.starts_with("metadata/") && !path.contains("root")), "{new:?}");
        scene.assert_sound("after the refusal").await;
        finish(&scene, &event, online).await.unwrap();
        scene.assert_sound("after the end").await;
    }
}

#[tokio::test]
async fn two_who_finish_at_once_publish_it_once() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "x")]).await.unwrap();
    let event = everything_new(&scene, None).await;
    let keys = ["online", "online-2"];
    let (one, other) = tokio::join!(finish(&scene, &event, &keys), finish(&scene, &event, &keys));
    assert_eq!((one, other), (Ok(()), Ok(())));
    assert_eq!(scene.open().await.state().await.unwrap().root.common.version, 2);
    scene.assert_sound("after both").await;
}
