//! Claims at a recorder: how files stand, what is a conflict, and what only warns.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::{Value, json};
use wheelseal::claim_desk::{ClaimDesk, Teams};
use wheelseal::client::{Client, DirSource, Http, MetadataDir, Reach};
use wheelseal::crawl::Follow;
use wheelseal::recorder::{ClaimServer, Claims, Recorder, Round, Source, Standings};
use wheelseal::release_claim::{ClaimRequest, MAX_REQUEST};
use wheelseal::repository::Predecessor;

use super::{Desk, Index, timing};
use crate::claimed::{INDEX, assert_receipt, claim_of, desk_on, embargoed, take, told, world};
use crate::claims::{ANN, BOB};
use crate::logged::{ORIGIN, begin, log_keys};
use crate::scene::{Scene, now, wheel_bytes, wheel_name};

/// A recorder with a log, whose desk knows the keys of the index's projects, or does not.
struct Stand {
    index: Index,
    desk: Desk,
    claims: Arc<ClaimDesk>,
    recorder: Recorder,
    /// The index's own repository.
    own: Scene,
}

impl Stand {
    async fn new(knowing: bool) -> Self {
        Self::with(knowing, TimeDelta::days(100 * 365)).await
    }

    /// The files of a store are dated by its clock, which is long before the day of the tests.
    async fn with(knowing: bool, late: TimeDelta) -> Self {
        let (index, desk, own) = (Index::new().await, Desk::new().await, world().await);
        begin(&desk.scene, Predecessor::Nothing, ORIGIN).await.unwrap();
        let teams = if knowing { Teams::Of(Box::new(client(&own))) } else { Teams::Unknown };
        let claims = Arc::new(desk_on(desk.scene.open().await, teams).await);
        let http = Http::within(Reach::Anywhere, timing()).unwrap();
        let follow = Follow::open(&index.url, desk.notes().to_owned(), http).unwrap();
        let recorder =
            Recorder::new(desk.scene.open().await, log_keys().await, follow, desk.settings()).await;
        let recorder = recorder.unwrap().judging(Claims::new(Arc::clone(&claims), late));
        Self { index, desk, claims, recorder, own }
    }

    async fn round(&mut self) -> Round {
        super::round(&mut self.recorder).await
    }

    /// The index lists a wheel of `six` with this content.
    fn lists(&self, version: &str, body: &str) {
        self.index.lists("six", &[self.index.wheel("six", version, body)]);
    }
}

fn client(scene: &Scene) -> Client {
    let cache =
        MetadataDir::init(scene.spool().join("client"), &scene.files()["metadata/1.root.json"]).unwrap();
    let source = |name: &str| Box::new(DirSource::new(scene.root().join(name)));
    Client::new(source("metadata"), source("targets"), cache, wheelseal::tuf::trusted::Limits::default())
}

fn path(version: &str) -> String {
    format!("six/{}", wheel_name("six", version))
}

async fn of(version: &str, body: &str, keys: &[&str]) -> ClaimRequest {
    told(claim_of(INDEX, "six", version, body), 7, keys).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_as_it_was_claimed_agrees_whichever_comes_first() {
    let mut stand = Stand::new(true).await;
    let request = of("2.0", "new", &[ANN]).await;
    assert_receipt(&take(&stand.claims, &request).await.unwrap(), &request).await;
    let waiting = Standings { claim_only: 1, ..Standings::default() };
    assert_eq!(stand.round().await.claims, Some(waiting.clone()));
    assert_eq!(stand.round().await.claims, Some(waiting), "it is judged again until it is there");
    stand.lists("2.0", "new");
    let round = stand.round().await;
    assert_eq!((round.recorded, round.conflicts), (1, 0));
    assert_eq!(round.claims, Some(Standings { agree: 1, ..Standings::default() }));
    assert_eq!(stand.round().await.claims, Some(Standings::default()), "and then no more");

    stand.lists("2.1", "newer");
    let unclaimed = stand.round().await;
    assert_eq!(unclaimed.claims, Some(Standings { index_only: 1, ..Standings::default() }));
    let named = format!("{}: nobody claimed it, as they did others of six", wheel_name("six", "2.1"));
    assert_eq!(unclaimed.named, [named]);
    take(&stand.claims, &of("2.1", "newer", &[ANN]).await).await.unwrap();
    assert_eq!(stand.round().await.claims, Some(Standings { agree: 1, ..Standings::default() }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_index_swapped_is_a_conflict_by_the_claim_kept_once() {
    let mut stand = Stand::new(true).await;
    take(&stand.claims, &of("2.0", "new", &[ANN]).await).await.unwrap();
    stand.lists("2.0", "evil");
    let round = stand.round().await;
    assert_eq!((round.conflicts, round.new_conflicts.len()), (1, 1));
    assert_eq!(round.claims, Some(Standings { conflict: 1, ..Standings::default() }));
    let conflict = &round.new_conflicts[0];
    assert_eq!((conflict.source, conflict.path.as_str()), (Source::Claim, path("2.0").as_str()));
    let [claimed, evil] = ["new", "evil"].map(|body| super::listed("x", &wheel_bytes("six", "2.0", body)));
    assert_eq!(Some(conflict.expected.sha256.as_str()), claimed["hashes"]["sha256"].as_str());
    assert_eq!(Some(conflict.found.sha256.as_str()), evil["hashes"]["sha256"].as_str());
    let leaf = conflict.leaf().unwrap().to_string();
    assert!(
        leaf.contains(r#""source":"claim""#) && leaf.contains(conflict.expected.sha256.as_str()),
        "{leaf}"
    );
    let kept = stand.desk.conflicts();
    let of = |ending: &str| kept.keys().filter(|name| name.ends_with(ending)).count();
    assert_eq!((of(".json"), of(".tlog-proof")), (1, 1), "it is logged in the same round: {:?}", kept.keys());
    assert_eq!(stand.round().await.conflicts, 0, "told once");
    stand.own.assert_verifies("after its recorder asked it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_claimed_release_does_not_have_is_named_once() {
    let mut stand = Stand::new(true).await;
    take(&stand.claims, &of("2.0", "new", &[ANN]).await).await.unwrap();
    let slipped_in = wheel_name("six", "2.0").to_string().replace("-2.0-", "-2.0-1-");
    let bytes = wheel_bytes("six", "2.0", "evil");
    let files = [stand.index.wheel("six", "2.0", "new"), stand.index.file(&slipped_in, &bytes)];
    stand.index.lists("six", &files);
    let round = stand.round().await;
    assert_eq!(round.claims, Some(Standings { agree: 1, index_only: 1, ..Standings::default() }));
    assert_eq!(
        round.named,
        [format!("six/{slipped_in}: nobody claimed it, as they did others of its release")]
    );
    assert!(stand.round().await.named.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_nothing_follows_is_overdue_after_its_hours_and_told_once() {
    let mut stand = Stand::with(true, TimeDelta::hours(24)).await;
    take(&stand.claims, &of("2.0", "new", &[ANN]).await).await.unwrap();
    let overdue = Standings { claim_only: 1, overdue: 1, ..Standings::default() };
    for (standings, named, when) in [(overdue, 1, "first"), (Standings::default(), 0, "second")] {
        let round = stand.round().await;
        assert_eq!((round.claims, round.named.len()), (Some(standings), named), "{when}");
    }
    stand.lists("2.0", "new");
    let came = Standings { agree: 1, ..Standings::default() };
    assert_eq!(stand.round().await.claims, Some(came), "it is judged when it comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_nobody_could_check_never_blocks() {
    let mut stand = Stand::new(false).await;
    take(&stand.claims, &of("2.0", "new", &[BOB]).await).await.unwrap();
    stand.lists("2.0", "evil");
    let round = stand.round().await;
    assert_eq!((round.recorded, round.conflicts, round.new_conflicts.len()), (1, 0, 0));
    let claims = round.claims.unwrap();
    assert_eq!((claims.doubtful, claims.conflict), (1, 0));
    assert!(stand.desk.conflicts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_projects_own_keys_claim_where_they_are_known() {
    let stand = Stand::new(true).await;
    for request in
        [of("2.0", "new", &[BOB]).await, told(claim_of(INDEX, "beta", "1.0", "x"), 7, &[ANN]).await]
    {
        assert!(take(&stand.claims, &request).await.is_err());
    }
    let told = of("2.0", "new", &[ANN]).await;
    assert!(take(&stand.claims, &embargoed(&told, &[ANN]).await).await.is_ok());
}

async fn ask(url: &str, body: Option<(&'static str, Vec<u8>)>) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = match body {
        Some((kind, bytes)) => client.post(url).header("content-type", kind).body(bytes),
        None => client.get(url),
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_a_recorder_gives_receipts_and_says_how_a_release_stands() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut stand = Stand::new(true).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = ClaimServer::new(Arc::clone(&stand.claims), stand.desk.scene.open().await, now, |_| {});
    tokio::spawn(server.run(listener, None, std::future::pending()));
    let json = "application/json";
    let request = of("2.0", "new", &[ANN]).await;
    let post = async |kind, bytes| ask(&format!("{url}/claim/"), Some((kind, bytes))).await;
    let (status, receipt) = post(json, request.to_string().into_bytes()).await;
    assert_eq!(status, 200, "{receipt}");
    let receipt = wheelseal::tlog::proof_file::ProofFile::parse(receipt.as_bytes()).unwrap();
    assert_receipt(&receipt, &request).await;
    assert_eq!(post("text/plain", request.to_string().into_bytes()).await.0, 415);
    assert_eq!(post(json, b"{".to_vec()).await.0, 400);
    assert_eq!(post(json, vec![b'['; MAX_REQUEST + 1]).await.0, 413);
    assert_eq!(post(json, of("2.0", "new", &[BOB]).await.to_string().into_bytes()).await.0, 409);
    let stands = async || {
        let (status, text) = ask(&format!("{url}/claim/six/2.0"), None).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(stands().await, json!({"files": {path("2.0"): "claim-only"}, "doubtful": []}));
    stand.lists("2.0", "evil");
    stand.round().await;
    assert_eq!(stands().await, json!({"files": {path("2.0"): "conflict"}, "doubtful": []}));
    for missing in ["six/9.0", "six/..%2F..", "SIX/2.0", "six/%00"] {
        assert_eq!(ask(&format!("{url}/claim/{missing}"), None).await.0, 404, "{missing}");
    }
}
