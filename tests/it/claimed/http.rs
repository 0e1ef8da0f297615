//! `POST /claim/` at an index that takes uploads.

use std::collections::BTreeSet;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use wheelseal::claim_desk::{ClaimDesk, Teams};
use wheelseal::python::ProjectName;
use wheelseal::release_claim::{ClaimRequest, MAX_REQUEST};
use wheelseal::repository::Publisher;
use wheelseal::server::{Limits, Tokens, UploadLimits, Uploads};
use wheelseal::tlog::proof_file::ProofFile;

use super::{INDEX, assert_receipt, claim_of, embargoed, told, world};
use crate::claims::ANN;
use crate::logged::log_keys;
use crate::scene::{Scene, now};
use crate::serve::{Answer, Served};

/// An index that takes uploads and claims of `six`.
struct Index {
    scene: Scene,
    served: Served,
    token: String,
    _home: TempDir,
}

impl Index {
    async fn new(claims: bool) -> Self {
        let (scene, home) = (world().await, tempfile::tempdir().unwrap());
        let (folder, file) = (home.path().join("spool"), home.path().join("tokens.json"));
        fs::create_dir(&folder).unwrap();
        let projects: BTreeSet<ProjectName> = ["six".parse().unwrap()].into();
        let (_, token) = Tokens::at(&file).create(Some(projects), None).unwrap();
        let (repository, keys) = (scene.open().await, log_keys().await);
        let desk = {
            let keys = std::sync::Arc::new(log_keys().await);
            ClaimDesk::open(scene.open().await, keys, INDEX, Teams::Own).await.unwrap()
        };
        let served = Served::made(scene.store().await, Limits::default(), move |server, told| {
            let publisher = Publisher::start(repository, keys);
            let report = move |fault: &str| told.lock().unwrap().push(fault.to_owned());
            let limits = UploadLimits::default();
            let uploads = Uploads::new(publisher, Tokens::at(&file), folder, limits, now, report);
            server.accepting(if claims { uploads.claiming(desk) } else { uploads })
        });
        Self { scene, served, token: token.to_string(), _home: home }
    }

    fn post(&self, token: &str, kind: &str, body: &[u8]) -> Answer {
        let pair = STANDARD.encode(format!("__token__:{token}"));
        let head = format!(
            "POST /claim/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {pair}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Answer::read(&self.served.raw(&[head.as_bytes(), body].concat()))
    }

    fn send(&self, request: &ClaimRequest) -> Answer {
        self.post(&self.token, "application/json", request.to_string().as_bytes())
    }
}

#[tokio::test]
async fn a_claim_is_answered_with_its_receipt_embargoed_or_told() {
    let index = Index::new(true).await;
    let told = told(claim_of(INDEX, "six", "2.0", "new"), 7, &[ANN]).await;
    for request in [embargoed(&told, &[ANN]).await, told] {
        let answer = index.send(&request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_receipt(&ProofFile::parse(&answer.body).unwrap(), &request).await;
        assert_eq!(index.send(&request).body, answer.body);
    }
    assert_eq!(
        index.served.get("/claims/told/six/2.0/", &[]).status,
        404,
        "the store's folder is not given out"
    );
    index.scene.assert_verifies("after claims over the network").await;
}

#[tokio::test]
async fn tokens_form_length_and_signatures_are_looked_at_and_nothing_is_left() {
    let index = Index::new(true).await;
    let before = index.scene.files();
    let good = told(claim_of(INDEX, "six", "2.0", "new"), 7, &[ANN]).await.to_string();
    let json = "application/json";
    assert_eq!(index.post("wheelseal-0-0", json, good.as_bytes()).status, 401);
    assert_eq!(index.post(&index.token, "text/plain", good.as_bytes()).status, 400);
    assert_eq!(index.post(&index.token, json, b"{}").status, 400);
    assert_eq!(index.post(&index.token, json, &vec![b'['; MAX_REQUEST + 1]).status, 413);
    let unsigned = told(claim_of(INDEX, "six", "2.0", "new"), 7, &[]).await;
    let answer = index.send(&unsigned);
    assert_eq!(answer.status, 409);
    assert!(answer.text().contains("0 valid signature(s) by keys of project-six"), "{}", answer.text());
    let foreign = told(claim_of(INDEX, "beta", "2.0", "new"), 7, &[ANN]).await;
    assert_eq!(index.send(&foreign).text(), "this token is not for beta\n");
    assert!(index.scene.files() == before, "what was refused left something");
    let closed = Index::new(false).await;
    assert_eq!(closed.post(&closed.token, json, good.as_bytes()).status, 409, "it has no desk");
}
