//! What a desk takes, gives a receipt for, keeps and refuses.

use std::sync::Arc;

use wheelseal::claim_desk::{DeskError, Teams, Trust};
use wheelseal::release_claim::{ClaimError, ClaimRequest, MAX_REQUEST};
use wheelseal::repository::{Remark, Repository};
use wheelseal::store::DirStore;

use super::{INDEX, assert_receipt, claim_of, desk_on, embargoed, own_desk, take, told, world};
use crate::claims::{ANN, BOB, apply, claim, with_six};
use crate::faults::{Fault, FaultStore};
use crate::logged::{leaves, log_keys};
use crate::scene::{Scene, now};

/// The commitments in the log.
async fn logged(scene: &Scene) -> usize {
    let leaves = leaves(scene).await;
    leaves.iter().filter(|leaf| leaf.to_string().contains("commitment/v1")).count()
}

fn kept(scene: &Scene) -> Vec<String> {
    scene.files().into_keys().filter(|path| path.starts_with("claims/")).collect()
}

#[tokio::test]
async fn a_claim_is_logged_once_kept_and_has_the_same_receipt_each_time() {
    let scene = world().await;
    let (desk, request) =
        (own_desk(&scene).await, told(claim_of(INDEX, "six", "2.0", "new"), 7, &[ANN]).await);
    let receipt = take(&desk, &request).await.unwrap();
    assert_receipt(&receipt, &request).await;
    assert_eq!(take(&desk, &request).await, Ok(receipt.clone()));
    assert_eq!(take(&own_desk(&scene).await, &request).await, Ok(receipt), "another process gives the same");
    assert_eq!(logged(&scene).await, 1);
    let commitment = request.commitment().to_hex();
    let shard = &commitment[..2];
    assert_eq!(
        kept(&scene),
        [
            format!("claims/receipts/{shard}/{commitment}.tlog-proof"),
            format!("claims/told/six/2.0/{commitment}.json"),
        ]
    );
    let claims = desk.claims(&"six".parse().unwrap(), "2.0", now()).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!((&claims[0].claim, claims[0].trust), (&claim_of(INDEX, "six", "2.0", "new"), Trust::Checked));
    assert_eq!(desk.news().len(), 1);
    scene.assert_verifies("after a claim").await;
}

#[tokio::test]
async fn before_it_is_told_neither_log_nor_store_knows_what_an_embargoed_claim_is_of() {
    let scene = world().await;
    let before = scene.files();
    let (desk, told) =
        (own_desk(&scene).await, told(claim_of(INDEX, "six", "2.5", "secret"), 9, &[ANN]).await);
    let request = embargoed(&told, &[ANN]).await;
    let receipt = take(&desk, &request).await.unwrap();
    assert_receipt(&receipt, &request).await;
    let mut new = scene.files();
    new.retain(|path, bytes| before.get(path) != Some(bytes));
    assert!(new.len() > 2, "{:?}", new.keys());
    for (path, bytes) in &new {
        // Tiles have every leaf of the log, of which one says that six 1.0 was published.
        let text = String::from_utf8_lossy(bytes);
        assert!(!path.contains("six") && !path.contains("2.5") && !text.contains("2.5"), "{path}");
        assert!(path.starts_with("log/") || !text.contains("six"), "{path}");
    }
    assert!(desk.news().is_empty() && desk.versions(&"six".parse().unwrap()).await.unwrap().is_empty());

    assert_eq!(take(&desk, &told).await, Ok(receipt), "the receipt from before it was told");
    assert_eq!((logged(&scene).await, desk.news().len()), (1, 1));
    assert_eq!(desk.claims(&"six".parse().unwrap(), "2.5", now()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_keys_of_the_project_did_not_sign_for_this_index_is_refused_and_leaves_nothing() {
    let scene = world().await;
    let (desk, before) = (own_desk(&scene).await, scene.files());
    let of = |index, project| claim_of(index, project, "2.0", "new");
    let below = |request: Result<_, DeskError>| match request {
        Err(DeskError::Claim(ClaimError::BelowThreshold { role, valid: 0, threshold: 1 })) => role,
        other => panic!("{other:?}"),
    };
    assert_eq!(below(take(&desk, &told(of(INDEX, "six"), 7, &[BOB]).await).await), "project-six");
    assert_eq!(below(take(&desk, &told(of(INDEX, "six"), 7, &[]).await).await), "project-six");
    let good = told(of(INDEX, "six"), 7, &[ANN]).await;
    assert_eq!(below(take(&desk, &embargoed(&good, &[BOB]).await).await), "project-six");
    let other = "https://other.example/";
    assert_eq!(
        take(&desk, &told(of(other, "six"), 7, &[ANN]).await).await,
        Err(DeskError::OtherIndex { found: other.to_owned(), expected: INDEX.to_owned() })
    );
    assert_eq!(
        take(&desk, &told(of(INDEX, "alpha"), 7, &[ANN]).await).await,
        Err(DeskError::NotClaimed("alpha".parse().unwrap()))
    );
    // A signature over another claim, and one over a claim passed off as one over a commitment.
    let ClaimRequest::Told(taken) = &good else { panic!() };
    let moved = good.to_string().replace(&taken.salt.to_hex(), &"0".repeat(64));
    assert!(
        ClaimRequest::parse(moved.as_bytes()).is_ok(),
        "another salt is another commitment to the same claim"
    );
    let forged = good.to_string().replace("\"length\":", "\"length\":1");
    assert_eq!(below(take(&desk, &ClaimRequest::parse(forged.as_bytes()).unwrap()).await), "project-six");
    assert!(scene.files() == before, "something that was refused left a trace");
}

#[tokio::test]
async fn the_keys_of_another_project_and_too_few_of_a_team_sign_nothing() {
    let scene = with_six().await;
    apply(&scene, &claim(&scene, "beta", &[ANN, BOB], 2, &[]).await, Vec::new()).await.unwrap();
    crate::logged::begin(&scene, wheelseal::repository::Predecessor::Nothing, crate::logged::ORIGIN)
        .await
        .unwrap();
    let desk = own_desk(&scene).await;
    let of = |keys: &'static [&'static str]| told(claim_of(INDEX, "beta", "2.0", "new"), 7, keys);
    for keys in [&[ANN][..], &[BOB], &[ANN, ANN]] {
        let refused = take(&desk, &of(keys).await).await.unwrap_err();
        assert_eq!(
            refused,
            DeskError::Claim(ClaimError::BelowThreshold {
                role: "project-beta".to_owned(),
                valid: 1,
                threshold: 2
            })
        );
    }
    assert!(take(&desk, &of(&[ANN, BOB]).await).await.is_ok());
}

#[tokio::test]
async fn without_a_log_there_is_no_receipt() {
    let scene = with_six().await;
    let request = told(claim_of(INDEX, "six", "2.0", "new"), 7, &[ANN]).await;
    assert_eq!(take(&own_desk(&scene).await, &request).await, Err(DeskError::NoLog));
    assert!(kept(&scene).is_empty());
}

/// Puts claims of six 2.0 into the store that these keys signed.
async fn plant(scene: &Scene, body: &str, count: u8, keys: &[&str]) {
    let folder = scene.root().join("claims/told/six/2.0");
    std::fs::create_dir_all(&folder).unwrap();
    for salt in 0..count {
        let request = told(claim_of(INDEX, "six", "2.0", body), salt, keys).await;
        let name = format!("{}.json", request.commitment().to_hex());
        std::fs::write(folder.join(name), request.to_string()).unwrap();
    }
}

#[tokio::test]
async fn a_version_has_only_so_many_claims() {
    let scene = world().await;
    let desk = own_desk(&scene).await;
    plant(&scene, "old", 64, &[ANN]).await;
    let refused = take(&desk, &told(claim_of(INDEX, "six", "2.0", "new"), 7, &[ANN]).await).await;
    assert_eq!(refused, Err(DeskError::Full("version")));
    assert_eq!(logged(&scene).await, 0);
    assert!(take(&desk, &told(claim_of(INDEX, "six", "2.1", "new"), 7, &[ANN]).await).await.is_ok());
}

#[tokio::test]
async fn claims_by_keys_that_are_the_projects_no_longer_only_warn_and_make_room() {
    let scene = world().await;
    let desk = own_desk(&scene).await;
    plant(&scene, "evil", 64, &[BOB]).await;
    let folder = scene.root().join("claims/told/six/2.0");
    std::fs::write(folder.join(format!("{}.json", "0".repeat(64))), "damaged").unwrap();
    let claims = desk.claims(&"six".parse().unwrap(), "2.0", now()).await.unwrap();
    assert!(claims.len() > 60 && claims.iter().all(|kept| kept.trust == Trust::Unchecked));
    let request = told(claim_of(INDEX, "six", "2.0", "new"), 7, &[ANN]).await;
    take(&desk, &request).await.unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "the others are gone");
}

#[tokio::test]
async fn a_project_has_only_so_many_embargoed_claims_in_a_day_whoever_counts() {
    let scene = world().await;
    let embargo = async |salt: u8| {
        embargoed(&told(claim_of(INDEX, "six", "2.0", "new"), salt, &[ANN]).await, &[ANN]).await
    };
    let first = embargo(0).await;
    take(&own_desk(&scene).await, &first).await.unwrap();
    let counters: Vec<_> =
        kept(&scene).into_iter().filter(|path| path.starts_with("claims/embargoed/")).collect();
    let [counter] = counters.as_slice() else { panic!("{counters:?}") };
    let text = std::fs::read_to_string(scene.root().join(counter)).unwrap();
    let (day, count) = text.trim().split_once(' ').unwrap();
    assert_eq!(count, "1");
    std::fs::write(scene.root().join(counter), format!("{day} 100\n")).unwrap();
    let desk = own_desk(&scene).await;
    assert!(matches!(take(&desk, &embargo(1).await).await, Err(DeskError::TooMany(_))));
    assert!(take(&desk, &first).await.is_ok(), "the same has its receipt");
    let tomorrow = now() + chrono::TimeDelta::days(1);
    assert!(desk.take(&embargo(2).await, tomorrow).await.is_ok());
}

#[tokio::test]
async fn a_crash_at_any_write_costs_nothing_but_a_second_entry() {
    for fault in [Fault::Lost, Fault::Done, Fault::Crash] {
        let start = world().await;
        let request = told(claim_of(INDEX, "six", "2.0", "new"), 7, &[ANN]).await;
        for at in 0.. {
            let scene = start.copy();
            let store = Arc::new(FaultStore::new(DirStore::open(scene.root()).await.unwrap(), fault, at));
            let hurt = desk_on(Repository::open(store.clone()).await.unwrap(), Teams::Own).await;
            let first = take(&hurt, &request).await;
            let again = take(&own_desk(&scene).await, &request).await.unwrap();
            assert_receipt(&again, &request).await;
            let when = format!("{fault:?} at write {at}");
            assert!(first.is_err() || first == Ok(again), "{when}: it was answered in two ways");
            assert!((1..=2).contains(&logged(&scene).await), "{when}");
            assert_eq!(kept(&scene).len(), 2, "{when}");
            scene.assert_verifies(&when).await;
            if store.writes() <= at {
                assert!(at > 3, "{at} writes are no claim");
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_was_logged_before_the_crash_is_logged_again_and_means_nothing() {
    let scene = world().await;
    let request = told(claim_of(INDEX, "six", "2.0", "new"), 7, &[ANN]).await;
    let remark = [Remark::Commitment(request.commitment().leaf())];
    scene.open().await.remark(&log_keys().await, &remark).await.unwrap();
    let receipt = take(&own_desk(&scene).await, &request).await.unwrap();
    assert_receipt(&receipt, &request).await;
    assert_eq!(logged(&scene).await, 2);
}

#[tokio::test]
async fn many_at_once_are_all_logged_each_once() {
    let scene = world().await;
    let desk = Arc::new(own_desk(&scene).await);
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..12_u8 {
        let request = told(claim_of(INDEX, "six", &format!("2.{}", number / 2), "new"), 7, &[ANN]).await;
        let desk = Arc::clone(&desk);
        waiting.spawn(async move { (take(&desk, &request).await.unwrap(), request) });
    }
    for (receipt, request) in waiting.join_all().await {
        assert_receipt(&receipt, &request).await;
    }
    assert_eq!(kept(&scene).len(), 12, "six claims, each asked for twice, and six receipts");
    scene.assert_verifies("after many claims").await;
}

#[tokio::test]
async fn where_nobodys_keys_are_known_claims_are_kept_apart() {
    let scene = world().await;
    let desk = desk_on(scene.open().await, Teams::Unknown).await;
    let request = told(claim_of(INDEX, "six", "2.0", "new"), 7, &[BOB]).await;
    assert_receipt(&take(&desk, &request).await.unwrap(), &request).await;
    let claims = desk.claims(&"six".parse().unwrap(), "2.0", now()).await.unwrap();
    assert_eq!(claims.iter().map(|kept| kept.trust).collect::<Vec<_>>(), [Trust::Unchecked]);
}

#[test]
fn requests_have_one_form_and_a_bound() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let request = runtime.block_on(told(claim_of(INDEX, "six", "2.0", "new"), 7, &[ANN]));
    for text in [request.to_string(), runtime.block_on(embargoed(&request, &[ANN])).to_string()] {
        let read = ClaimRequest::parse(text.as_bytes()).unwrap();
        assert_eq!(read.to_string(), text);
        for (from, to) in [(",", ", "), ("{", "{\"note\":1,"), ("\"", "'"), ("six", "SIX")] {
            assert!(ClaimRequest::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{from} as {to}");
        }
        for end in 0..text.len() {
            assert!(ClaimRequest::parse(&text.as_bytes()[..end]).is_err());
        }
    }
    let long = "[".repeat(MAX_REQUEST + 1);
    assert_eq!(ClaimRequest::parse(long.as_bytes()), Err(ClaimError::TooLong { found: long.len() }));
}
