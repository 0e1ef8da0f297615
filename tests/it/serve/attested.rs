//! Attestations (PEP 740): kept and signed beside their file, or the upload is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wheelseal::crypto::sha256;
use wheelseal::python::{Predicate, Provenance};
use wheelseal::repository::{Edit, Kind, ProjectFile, Retention, Unwatched};
use wheelseal::server::UploadLimits;
use wheelseal::tuf::metadata::TargetFile;
use wheelseal::tuf::path::TargetPath;

use super::form::Form;
use super::upload::Index;
use super::{Served, scene};
use crate::claims::{
    ANN, added, apply, claim, known, name, open_to_claims, published, refuses, request, with_six,
};
use crate::scene::{Scene, keyring, now, wheel_bytes, wheel_name};

const WHEEL: &str = "beta-1.0-py3-none-any.whl";
const JSON: &str = "Accept: application/vnd.pypi.simple.v1+json";

/// An attestation as signers make it, of a file with this name and content.
pub(crate) fn attestation(name: &str, bytes: &[u8], predicate: Predicate) -> Value {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": hex::encode(sha256(bytes))}}],
        "predicateType": predicate.uri(), "predicate": null,
    });
    json!({
        "version": 1,
        "verification_material": {"certificate": "MIIC", "transparency_entries": [{"logIndex": "1"}]},
        "envelope": {"statement": STANDARD.encode(statement.to_string()), "signature": "MEUC"},
    })
}

/// The field of an upload.
fn field(form: &Form) -> String {
    let (name, bytes) = &form.files[0];
    let both = Predicate::ALL.map(|predicate| attestation(name, bytes, predicate).to_string());
    format!("[{}]", both.join(", "))
}

fn attested(form: Form) -> Form {
    let field = field(&form);
    form.set("attestations", &field)
}

/// An edit that adds a wheel with attestations, as [`Form::of`] has them.
fn edit(scene: &Scene, project: &str, version: &str) -> Edit {
    signed_so(scene, project, version, "MEUC")
}

/// The same with this signature.
pub(crate) fn signed_so(scene: &Scene, project: &str, version: &str, signature: &str) -> Edit {
    let distribution = added(scene.add(project, version, "x = 1\n"));
    let field = field(&Form::of(project, version)).replace("MEUC", signature);
    let distribution = distribution.attested(|name, sha256| Provenance::of(&field, name, sha256));
    Edit::Add(Box::new(distribution.unwrap()))
}

/// What is signed of a target.
async fn signed(scene: &Scene, target: &str) -> Option<TargetFile> {
    let repository = scene.open().await;
    let state = repository.state().await.unwrap();
    repository.target(&state, &TargetPath::new(target).unwrap()).await.unwrap()
}

async fn index() -> Index {
    Index::over(scene().await, UploadLimits::default()).await
}

#[tokio::test]
async fn attestations_are_signed_beside_their_file_and_served_as_they_came() {
    let index = index().await;
    let form = attested(Form::of("beta", "1.0"));
    assert_eq!(index.send(&form).status, 200);
    index.scene.assert_sound("after an upload with attestations").await;
    let object = index.served.get(&format!("/targets/beta/{WHEEL}.provenance"), &[]);
    assert_eq!((object.status, object.field("content-type")), (200, "application/json"));
    let expected = format!(
        "{{\"version\":1,\"attestation_bundles\":[{{\"publisher\":{{\"kind\":\"wheelseal\",\"claims\":{{}}}},\
         \"attestations\":{}}}]}}",
        field(&form)
    );
    assert_eq!(object.text(), expected);
    let listed = signed(&index.scene, &format!("beta/{WHEEL}.provenance")).await.unwrap();
    assert_eq!(listed.hashes.sha256, Some(sha256(expected.as_bytes())));
}

#[tokio::test]
async fn pages_tell_the_absolute_address_where_it_is_known() {
    let index = index().await;
    index.send(&attested(Form::of("beta", "1.0")));
    index.send(&Form::of("beta", "1.1"));
    let at = format!("https://packages.example/targets/beta/{WHEEL}.provenance");
    let page = index.served.get("/simple/beta/", &[JSON]);
    let json: Value = serde_json::from_slice(&page.body).unwrap();
    assert_eq!(json["meta"]["api-version"], "1.3");
    assert_eq!(
        (&json["files"][0]["provenance"], &json["files"][1]["provenance"]),
        (&json!(at), &Value::Null)
    );
    let seen = format!("If-None-Match: {}", page.field("etag"));
    assert_eq!(index.served.get("/simple/beta/", &[JSON, &seen]).status, 304);
    let html = index.served.get("/simple/beta/", &[]).text();
    assert_eq!(html.matches("data-provenance").count(), 1);
    assert!(html.contains(&format!(" data-provenance=\"{at}\"")), "{html}");

    let elsewhere = Served::new(index.scene.store().await);
    for accept in [&[JSON][..], &[]] {
        let page = elsewhere.get("/simple/beta/", accept).text();
        assert!(!page.contains("\"provenance\"") && !page.contains("data-provenance"), "{page}");
    }
}

#[tokio::test]
async fn what_is_not_about_this_file_or_no_attestation_publishes_nothing() {
    let index = index().await;
    let form = Form::of("beta", "1.0");
    let (name, bytes) = &form.files[0];
    let good = attestation(name, bytes, Predicate::Publish);
    let of_another_name = attestation("beta-1.1-py3-none-any.whl", bytes, Predicate::Publish);
    let of_other_bytes = attestation(name, b"evil", Predicate::Publish);
    let digests = [sha256(b"evil"), sha256(bytes)].map(hex::encode);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (attestations, why) in [
        (
            json!([of_another_name]).to_string(),
            format!("in attestation 1, the subject is \"beta-1.1-py3-none-any.whl\"; expected {WHEEL}"),
        ),
        (
            json!([good, of_other_bytes]).to_string(),
            format!(
                "in attestation 2, the SHA-256 of the subject is {:?}; expected {}",
                digests[0], digests[1]
            ),
        ),
        (json!([good, good]).to_string(), "there are two attestations of the kind publish".to_owned()),
        (json!(vec![&good; 300]).to_string(), "there are 300 attestations; expected 1 to 2".to_owned()),
        (
            good.to_string(),
            "the attestations are no JSON array of attestation objects (PEP 740): invalid type: map, \
             expected a sequence at line 1 column 0"
                .to_owned(),
        ),
        (
            deep,
            "the attestations are no JSON array of attestation objects (PEP 740): recursion limit exceeded \
             at line 1 column 128"
                .to_owned(),
        ),
        (
            json!(vec![&good; 1_000]).to_string(),
            format!(
                "the attestations have {} bytes; expected at most 262144",
                good.to_string().len() * 1_000 + 1_001
            ),
        ),
    ] {
        let form = form.clone().set("attestations", &attestations);
        index.refuses(&form, 400, &format!("{WHEEL}: {why}"));
    }
}

#[tokio::test]
async fn a_published_file_never_gets_other_attestations() {
    let index = index().await;
    let (with, without) = (attested(Form::of("beta", "1.0")), Form::of("beta", "1.0"));
    for (form, said) in
        [(&with, "published"), (&with, "was published already"), (&without, "was published already")]
    {
        let answer = index.send(form);
        assert!(answer.status == 200 && answer.text().contains(said), "{}", answer.text());
    }
    let other = with.clone().set("attestations", &field(&with).replacen("MIIC", "MIID", 1));
    let answer = index.send(&other);
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains(&format!("{WHEEL}.provenance is published already with SHA-256")));

    assert_eq!(index.send(&Form::of("beta", "1.1")).status, 200);
    let late = "beta-1.1-py3-none-any.whl is published already without attestations, and gets none any more";
    index.refuses(&attested(Form::of("beta", "1.1")), 409, late);
}

/// Signers sign anew each time: what a publication that came to no end left is in nobody's way.
#[tokio::test]
async fn attestations_left_by_a_publication_that_was_cut_off_do_not_keep_others_out() {
    let scene = scene().await;
    let plain = scene.root().join(format!("targets/beta/{WHEEL}.provenance"));
    std::fs::create_dir_all(plain.parent().unwrap()).unwrap();
    std::fs::write(&plain, "{}").unwrap();
    scene.publish(&[edit(&scene, "beta", "1.0")]).await.unwrap();
    assert!(std::fs::read_to_string(&plain).unwrap().contains("attestation_bundles"));
    scene.assert_sound("after the second try").await;
}

#[tokio::test]
async fn a_withdrawn_file_takes_its_attestations_along() {
    let scene = scene().await;
    scene.publish(&[edit(&scene, "beta", "1.0"), scene.add("beta", "1.1", "x")]).await.unwrap();
    let removed = Edit::Remove(wheel_name("beta", "1.0"));
    scene.publish(&[removed]).await.unwrap();
    for ending in ["", ".metadata", ".provenance"] {
        assert_eq!(signed(&scene, &format!("beta/{WHEEL}{ending}")).await, None, "{ending}");
    }
    scene.assert_sound("after a file with attestations was withdrawn").await;
    let keep = Retention { snapshots: 1, grace: Duration::ZERO };
    scene.open().await.gc(keep, false, now(), &Unwatched).await.unwrap();
    assert!(!scene.files().keys().any(|path| path.ends_with(".provenance")), "something is left");
}

const SIX: &str = "six-2.0-py3-none-any.whl";

/// Paths of what waits.
fn waiting(index: &Index) -> Vec<String> {
    index.scene.files().into_keys().filter(|path| path.starts_with("staging/uploads/")).collect()
}

#[tokio::test]
async fn attestations_of_a_claimed_project_are_published_when_its_maintainers_sign_them() {
    let index = Index::over(with_six().await, UploadLimits::default()).await;
    let form = attested(Form::of("six", "2.0"));
    for _ in 0..2 {
        assert_eq!(index.send(&form).status, 202);
    }
    assert_eq!(waiting(&index).len(), 2);
    let edits = [edit(&index.scene, "six", "2.0")];
    let release = request(&index.scene, "six", Kind::Release, None, &edits, &[], &[ANN]).await;
    let answer = index.release(&release);
    assert_eq!(
        (answer.status, answer.text()),
        (200, format!("six is published in snapshot 5; added {SIX}\n"))
    );
    assert_eq!(waiting(&index), [""; 0]);
    index.scene.assert_verifies("after a release with attestations").await;
    let object = index.served.get(&format!("/targets/six/{SIX}.provenance"), &[]);
    assert!(object.text().contains(&field(&form)), "{}", object.text());
}

#[tokio::test]
async fn what_is_forgotten_takes_all_its_attestations_along() {
    let index = Index::over(with_six().await, UploadLimits::default()).await;
    let form = attested(Form::of("six", "2.0"));
    for signature in ["MEUC", "MEUD", "MEUE"] {
        let text = field(&form).replace("MEUC", signature);
        assert_eq!(index.send(&form.clone().set("attestations", &text)).status, 202);
    }
    assert_eq!(index.send(&attested(Form::of("six", "3.0"))).status, 202);
    assert_eq!(waiting(&index).len(), 6);
    let repository = index.scene.open().await;
    let staged = repository.staged_for(&name("six")).await.unwrap();
    let second = staged.iter().find(|one| one.filename == SIX).unwrap();
    repository.forget_staged(second).await.unwrap();
    assert_eq!(waiting(&index).len(), 2);
    assert!(waiting(&index).iter().all(|path| path.contains("six-3.0-")), "{:?}", waiting(&index));
}

#[tokio::test]
async fn a_published_file_of_a_claimed_project_gets_no_attestations_any_more() {
    let index = Index::over(with_six().await, UploadLimits::default()).await;
    let published = Form::of("six", "2.0");
    index.send(&published);
    let edits = [index.scene.add("six", "2.0", "x = 1\n")];
    let release = request(&index.scene, "six", Kind::Release, None, &edits, &[], &[ANN]).await;
    assert_eq!(index.release(&release).status, 200);
    assert_eq!(index.send(&published).status, 200);
    let late = format!("{SIX} is published already without attestations, and gets none any more");
    index.refuses(&attested(published), 409, &late);
}

#[tokio::test]
async fn attestations_that_maintainers_do_not_sign_are_not_published() {
    let index = Index::over(with_six().await, UploadLimits::default()).await;
    index.send(&attested(Form::of("six", "2.0")));
    let edits = [index.scene.add("six", "2.0", "x = 1\n")];
    let release = request(&index.scene, "six", Kind::Release, None, &edits, &[], &[ANN]).await;
    assert_eq!(index.release(&release).status, 200);
    assert_eq!(index.served.get(&format!("/targets/six/{SIX}.provenance"), &[]).status, 404);
    index.scene.assert_verifies("after a release without attestations").await;
}

#[tokio::test]
async fn a_release_lists_no_attestations_that_did_not_come_or_were_changed() {
    let index = Index::over(with_six().await, UploadLimits::default()).await;
    let edits = [edit(&index.scene, "six", "2.0")];
    let release = request(&index.scene, "six", Kind::Release, None, &edits, &[], &[ANN]).await;
    index.send(&Form::of("six", "2.0"));
    let answer = index.release(&release);
    assert_eq!(answer.status, 409);
    let missing = format!("the release lists {SIX}.provenance, which does not wait here");
    assert!(answer.text().contains(&missing), "{}", answer.text());
    index.send(&attested(Form::of("six", "2.0")));
    let provenance = waiting(&index).into_iter().find(|path| path.ends_with(".provenance")).unwrap();
    std::fs::write(index.scene.root().join(provenance), "{}").unwrap();
    let answer = index.release(&release);
    assert_eq!(answer.status, 409);
    assert!(answer.text().contains(&format!("{SIX}.provenance waits here, and is not there as it was")));
    assert_eq!(published(&index.scene, "six").await, ["six-1.0-py3-none-any.whl"]);
}

#[tokio::test]
async fn a_claim_takes_attestations_along() {
    let scene = open_to_claims().await;
    scene.publish(&[edit(&scene, "six", "1.0")]).await.unwrap();
    let target = format!("six/{}.provenance", wheel_name("six", "1.0"));
    let before = signed(&scene, &target).await;
    assert!(before.is_some());
    apply(&scene, &claim(&scene, "six", &[ANN], 1, &[]).await, Vec::new()).await.unwrap();
    assert_eq!(signed(&scene, &target).await, before);
    scene.assert_verifies("after a claim of a project with attestations").await;
}

#[tokio::test]
async fn maintainers_cannot_add_attestations_to_a_published_file() {
    let scene = with_six().await;
    let published = wheel_name("six", "1.0").to_string();
    let text = attestation(&published, &wheel_bytes("six", "1.0", "one"), Predicate::Publish);
    let with = added(scene.add("six", "1.0", "one"));
    let with = with.attested(|name, sha256| Provenance::of(&format!("[{text}]"), name, sha256)).unwrap();
    // Ann forgets what is on the page, and signs the file again with more beside it.
    let known = known(&scene, "six").await;
    let base = known.base.without([&published]).unwrap();
    let next = base.next(&name("six"), &[Edit::Add(Box::new(with))], known.snapshot + 1, 365, now()).unwrap();
    let file = ProjectFile {
        kind: Kind::Release,
        project: name("six"),
        root: known.root,
        base: base.version,
        owners: known.owners.unwrap(),
        before: None,
        without: BTreeSet::new(),
        proofs: BTreeMap::new(),
        role: Vec::new(),
        page: next.page,
    };
    let mut file = file.unsigned(&next.role);
    file.sign(&keyring(&[ANN]).await).await.unwrap();
    refuses(&scene, &file, Vec::new(), &format!("changes what lies beside {published}")).await;
}
