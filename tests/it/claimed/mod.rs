//! Claims of releases: what a desk takes and refuses, over HTTP at an index and at a recorder.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod desk;
mod http;
mod program;

use std::sync::Arc;

use wheelseal::claim_desk::{ClaimDesk, DeskError, Teams};
use wheelseal::crypto::sha256;
use wheelseal::python::ProjectName;
use wheelseal::release_claim::{Claim, ClaimRequest, Embargo, Salt, SignedClaim, Told};
use wheelseal::repository::{Predecessor, Repository};
use wheelseal::tlog::leaf::{FileLeaf, Leaf};
use wheelseal::tlog::proof_file::ProofFile;

use crate::claims::with_six;
use crate::logged::{ORIGIN, begin, log_keys, new_log};
use crate::scene::{Scene, keyring, now, wheel_bytes, wheel_name};

/// The address of the index in claims.
pub(crate) const INDEX: &str = "https://packages.example/";

/// A repository with a log in which `six` 1.0 is published and claimed by Ann.
pub(crate) async fn world() -> Scene {
    let scene = with_six().await;
    begin(&scene, Predecessor::Nothing, ORIGIN).await.unwrap();
    scene
}

/// The desk of the index itself.
pub(crate) async fn own_desk(scene: &Scene) -> ClaimDesk {
    desk_on(scene.open().await, Teams::Own).await
}

pub(crate) async fn desk_on(repository: Repository, teams: Teams) -> ClaimDesk {
    ClaimDesk::open(repository, Arc::new(log_keys().await), INDEX, teams)
        .await
        .unwrap()
        .judged()
        .await
        .unwrap()
}

/// A claim of one wheel.
pub(crate) fn claim_of(index: &str, project: &str, version: &str, body: &str) -> Claim {
    let bytes = wheel_bytes(project, version, body);
    let path = format!("{project}/{}", wheel_name(project, version));
    let leaf = FileLeaf::of_target(&path, bytes.len().try_into().unwrap(), sha256(&bytes)).unwrap().unwrap();
    Claim::new(index, project.parse::<ProjectName>().unwrap(), vec![leaf]).unwrap()
}

/// It, told with a salt and signed by these keys.
pub(crate) async fn told(claim: Claim, salt: u8, keys: &[&str]) -> ClaimRequest {
    let (text, salt) = (claim.to_string(), Salt::from_bytes([salt; 32]));
    let mut claim = SignedClaim::new(claim, Vec::new());
    for signer in keyring(keys).await.signers() {
        claim = claim.signed(signer.key().id(), signer.sign(text.as_bytes()).await.unwrap());
    }
    ClaimRequest::Told(Told { claim, salt })
}

/// The commitment to it alone.
pub(crate) async fn embargoed(told: &ClaimRequest, keys: &[&str]) -> ClaimRequest {
    let ClaimRequest::Told(told) = told else { panic!("it is one already") };
    let mut embargo = Embargo::new(told.commitment(), told.claim.unauthenticated());
    for signer in keyring(keys).await.signers() {
        let signature = signer.sign(embargo.to_sign().as_bytes()).await.unwrap();
        embargo = embargo.signed(signer.key().id(), signature);
    }
    ClaimRequest::Embargoed(embargo)
}

pub(crate) async fn take(desk: &ClaimDesk, request: &ClaimRequest) -> Result<ProofFile, DeskError> {
    // As it comes over the network.
    let request = ClaimRequest::parse(request.to_string().as_bytes())?;
    desk.take(&request, now()).await
}

/// The receipt proves that the request is logged, with no network.
pub(crate) async fn assert_receipt(receipt: &ProofFile, request: &ClaimRequest) {
    let leaf = Leaf::Commitment(request.commitment().leaf()).to_string();
    let policy = new_log("log", ORIGIN, Predecessor::Nothing).await.policy;
    ProofFile::parse(receipt.to_string().as_bytes())
        .unwrap()
        .verify(leaf.as_bytes(), policy.policy())
        .unwrap();
    let other = Leaf::Commitment(wheelseal::tlog::leaf::CommitmentLeaf { sha256: [1; 32] }).to_string();
    assert!(receipt.verify(other.as_bytes(), policy.policy()).is_err(), "the receipt proves anything");
}
