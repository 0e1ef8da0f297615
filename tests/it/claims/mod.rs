//! Projects that belong to their maintainers: what the index takes and refuses, and what a thief of its keys can do.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set is a test that cannot run")]

mod attacks;
mod many;
mod requests;
mod together;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use wheelseal::crypto::sha256;
use wheelseal::python::{ProjectName, ProjectPage};
use wheelseal::repository::{
    Applied, Base, Changed, Distribution, Edit, EventName, Family, Keyring, Kind, LookAlike, Owners,
    ProjectFile, RepositoryError, Unwatched,
};

use crate::scene::{ONLINE, Scene, keyring, now, role};

/// Who maintains projects here.
pub(crate) const ANN: &str = "root-2";
pub(crate) const BOB: &str = "root-3";
/// Who signs what is offline.
pub(crate) const OFFLINE: [&str; 2] = ["targets-1", "online"];

pub(crate) fn name(project: &str) -> ProjectName {
    ProjectName::from_normalised(project).unwrap()
}

pub(crate) async fn owners(keys: &[&str], threshold: u64) -> Owners {
    Owners::new(role(keys, threshold).await.keys, threshold)
}

/// A repository in which projects can be claimed.
pub(crate) async fn open_to_claims() -> Scene {
    let scene = Scene::new().await;
    let repository = scene.open().await;
    let event = repository.claims_enabling(EventName::new("enable").unwrap(), now()).await.unwrap().unwrap();
    let changed = repository.hold(event, &keyring(&OFFLINE).await, None, now(), &Unwatched).await.unwrap();
    assert!(matches!(changed, Changed::Done(_)), "{changed:?}");
    scene
}

/// The same with `six` 1.0 published and claimed by Ann.
pub(crate) async fn with_six() -> Scene {
    let scene = open_to_claims().await;
    scene.publish(&[scene.add("six", "1.0", "one")]).await.unwrap();
    apply(&scene, &claim(&scene, "six", &[ANN], 1, &[]).await, Vec::new()).await.unwrap();
    scene
}

/// The same, promoted.
pub(crate) async fn with_six_promoted() -> Scene {
    let scene = with_six().await;
    promote(&scene, &["six"]).await;
    scene
}

pub(crate) async fn promote(scene: &Scene, projects: &[&str]) {
    let repository = scene.open().await;
    let projects: BTreeSet<_> = projects.iter().map(|project| name(project)).collect();
    let waiting = repository.waiting_claims().await.unwrap();
    let event = EventName::new("promote").unwrap();
    let event = repository.promotion(event, &projects, &waiting, now()).await.unwrap().event;
    let changed = repository.hold(event, &keyring(&OFFLINE).await, None, now(), &Unwatched).await.unwrap();
    assert!(matches!(changed, Changed::Done(_)), "{changed:?}");
}

/// What a maintainer knows of a project.
pub(crate) struct Known {
    pub(crate) base: Base,
    pub(crate) root: (u64, [u8; 32]),
    pub(crate) snapshot: u64,
    pub(crate) owners: Option<Owners>,
    pub(crate) family: Option<Family>,
}

pub(crate) async fn known(scene: &Scene, project: &str) -> Known {
    let (repository, project) = (scene.open().await, name(project));
    let state = repository.state().await.unwrap();
    let page = repository.page(&state, &project).await.unwrap();
    let owned = state.owned(repository.store(), &project).await.unwrap();
    let mut base = Base { page, ..Base::default() };
    let role = format!("project-{project}");
    base.version = state.snapshot.role(&role).map_or(0, |entry| entry.version);
    for file in base.page.clone().iter().flat_map(|page| page.files().to_vec()) {
        for ending in ["", ".metadata", ".provenance"] {
            let target = format!("{project}/{}{ending}", file.filename);
            let path = wheelseal::tuf::path::TargetPath::new(target.clone()).unwrap();
            let entry = repository.target(&state, &path).await.unwrap();
            base.targets.extend(entry.map(|entry| (target, entry)));
        }
    }
    let root = (state.root.common.version, sha256(state.root.bytes()));
    let family = owned.as_ref().map(|owned| owned.family);
    let owners = owned.map(|owned| owned.owners);
    Known { base, root, snapshot: state.snapshot.common.version, owners, family }
}

/// A request as a maintainer's program makes it, signed by `keys`.
pub(crate) async fn request(
    scene: &Scene,
    project: &str,
    kind: Kind,
    team: Option<Owners>,
    edits: &[Edit],
    without: &[&str],
    keys: &[&str],
) -> ProjectFile {
    request_by(scene, project, kind, team, edits, without, &keyring(keys).await, now()).await
}

/// The same by any keys, at any time.
#[expect(clippy::too_many_arguments, reason = "each of them is what some test is about")]
pub(crate) async fn request_by(
    scene: &Scene,
    project: &str,
    kind: Kind,
    team: Option<Owners>,
    edits: &[Edit],
    without: &[&str],
    keys: &Keyring,
    at: DateTime<Utc>,
) -> ProjectFile {
    let (known, project) = (known(scene, project).await, name(project));
    let without: BTreeSet<String> = without.iter().map(|file| (*file).to_owned()).collect();
    let base = known.base.clone().without(&without).unwrap();
    let next = base.next(&project, edits, known.snapshot + 1, 365, at).unwrap();
    let owners = team.or_else(|| known.owners.clone()).unwrap();
    let before = known.owners.filter(|_| kind == Kind::Keys);
    let mut file = ProjectFile {
        kind,
        project,
        root: known.root,
        base: known.base.version,
        owners,
        before,
        without,
        proofs: BTreeMap::new(),
        role: Vec::new(),
        page: next.page,
    }
    .unsigned(&next.role);
    if keys.signers().next().is_some() {
        file.sign(keys).await.unwrap();
    }
    ProjectFile::read(file.to_text().unwrap().as_bytes()).unwrap()
}

pub(crate) async fn claim(
    scene: &Scene,
    project: &str,
    keys: &[&str],
    threshold: u64,
    without: &[&str],
) -> ProjectFile {
    let team = owners(keys, threshold).await;
    request(scene, project, Kind::Claim, Some(team), &[], without, keys).await
}

/// A release that adds a wheel, with the wheel.
pub(crate) async fn release(
    scene: &Scene,
    project: &str,
    version: &str,
    keys: &[&str],
) -> (ProjectFile, Vec<Distribution>) {
    let edits = [scene.add(project, version, version)];
    let file = request(scene, project, Kind::Release, None, &edits, &[], keys).await;
    (file, edits.into_iter().map(added).collect())
}

pub(crate) fn added(edit: Edit) -> Distribution {
    let Edit::Add(distribution) = edit else { panic!("{edit:?} adds nothing") };
    *distribution
}

pub(crate) async fn apply(
    scene: &Scene,
    file: &ProjectFile,
    files: Vec<Distribution>,
) -> Result<Applied, RepositoryError> {
    let keys = keyring(&ONLINE).await;
    scene.open().await.apply(&keys, file, &files, LookAlike::Refused, now()).await
}

/// Applies what must be refused for this reason, and leave every file as it was.
pub(crate) async fn refuses(scene: &Scene, file: &ProjectFile, files: Vec<Distribution>, why: &str) {
    let before = scene.files();
    let refused = apply(scene, file, files).await.unwrap_err().to_string();
    assert!(refused.contains(why), "{refused}");
    let mut after = scene.files();
    after.retain(|path, _| !before.contains_key(path) && !path.starts_with(".wheelseal."));
    assert!(after.is_empty(), "{why}: {:?}", after.keys());
}

/// File names on a project's signed page.
pub(crate) async fn published(scene: &Scene, project: &str) -> Vec<String> {
    let page = known(scene, project).await.base.page;
    page.iter().flat_map(ProjectPage::files).map(|file| file.filename.to_string()).collect()
}
