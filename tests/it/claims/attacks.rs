//! A thief with every online key (timestamp, snapshot, bins, recently-claimed) who also answers for the index, against the
//! real client and a project that `claimed` vouches for.

use std::fs;

use chrono::{DateTime, Utc};
use tempfile::TempDir;
use wheelseal::client::{Client, ClientError, DirSource, MetadataDir};
use wheelseal::crypto::sha256;
use wheelseal::repository::{Family, State};
use wheelseal::tuf::metadata::{
    About, Common, DelegatedRole, DelegatedRoles, Delegations, Extra, Hashes, MetaFile, PathSet, Table,
    TargetFile, Targets, Version,
};
use wheelseal::tuf::path::{RoleName, TargetPath};
use wheelseal::tuf::signed::{Draft, VerifyError};
use wheelseal::tuf::trusted::{Limits, TrustError};

use super::{ANN, BOB, apply, claim, open_to_claims, owners, promote, release, with_six_promoted};
use crate::scene::{ONLINE, Scene, days_later, now, signed};

const PAGE: &str = "simple/six/index.json";
const ONE: &str = "six/six-1.0-py3-none-any.whl";
const EVIL: &str = "six/six-6.66-py3-none-any.whl";

/// Someone who installs from the repository.
struct User {
    _folder: TempDir,
    client: Client,
}

impl User {
    fn new(scene: &Scene) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::read(scene.root().join("metadata/1.root.json")).unwrap();
        let cache = MetadataDir::init(folder.path().join("trusted"), &root).unwrap();
        let source = |part: &str| Box::new(DirSource::new(scene.root().join(part)));
        let client = Client::new(source("metadata"), source("targets"), cache, Limits::default());
        Self { _folder: folder, client }
    }

    /// What the client finds out about a target: its SHA-256 and the role that lists it.
    async fn asks(&self, target: &str, at: DateTime<Utc>) -> Result<([u8; 32], String), ClientError> {
        let session = self.client.refresh(at).await?;
        let found = session.find(&TargetPath::new(target).unwrap()).await?;
        let role = found.chain.last().unwrap().0.to_string();
        Ok((found.target.hashes.sha256.unwrap(), role))
    }
}

/// The thief's work on the files of the index.
struct Thief<'a> {
    scene: &'a Scene,
    state: State,
    entries: Vec<(String, MetaFile)>,
}

impl<'a> Thief<'a> {
    async fn at(scene: &'a Scene) -> Self {
        let state = scene.open().await.state().await.unwrap();
        Self { scene, state, entries: Vec::new() }
    }

    /// A file of his own making for a role, by the keys he has.
    async fn forges(&mut self, role: &str, content: Targets, keys: &[&str]) {
        let bytes = signed(&Draft::new(content.clone()), keys).await;
        let version = content.common.version;
        fs::write(self.scene.root().join(format!("metadata/{version}.{role}.json")), &bytes).unwrap();
        let listed = self.state.snapshot.role(role);
        let hashed = listed.is_none_or(|entry| entry.hashes().is_some());
        let about = About { hashes: hashed.then(|| Hashes::sha256(sha256(&bytes))), ..About::default() };
        self.entries.push((role.to_owned(), MetaFile::new(version, about)));
    }

    /// Snapshot names a file that somebody signed once.
    fn replays(&mut self, role: &str, version: Version) {
        self.entries.push((role.to_owned(), MetaFile::version(version)));
    }

    /// Every bin lists his file, and a page of his.
    async fn fills_the_bins(&mut self) {
        let repository = self.scene.open().await;
        for (name, bin) in crate::scene::bins(&repository, &self.state).await {
            let mut content = (*bin).clone();
            content.common.version += 10;
            for target in [EVIL, ONE, PAGE] {
                content.targets.insert(target, evil());
            }
            self.forges(name.as_str(), content, &ONLINE).await;
        }
    }

    /// Signs snapshot and timestamp, `snapshot` edited, and serves them.
    async fn serves(self, drop: &[&str]) {
        let mut snapshot = self.state.snapshot.draft();
        snapshot.content.common.version += 100;
        for role in drop {
            snapshot.content.remove(role);
        }
        snapshot.content.set_all(self.entries);
        let bytes = signed(&snapshot, &ONLINE).await;
        let version = snapshot.content.common.version;
        let metadata = self.scene.root().join("metadata");
        fs::write(metadata.join(format!("{version}.snapshot.json")), &bytes).unwrap();
        let mut timestamp = self.state.timestamp.draft();
        timestamp.content.common.version += 100;
        let hashes = Some(Hashes::sha256(sha256(&bytes)));
        timestamp.content.snapshot = MetaFile::new(version, About { hashes, ..About::default() });
        fs::write(metadata.join("timestamp.json"), signed(&timestamp, &ONLINE).await).unwrap();
    }
}

fn evil() -> TargetFile {
    TargetFile { length: 4, hashes: Hashes::sha256(sha256(b"evil")), extra: Extra::new() }
}

/// A role that speaks for `six`, with these targets.
fn listing(version: Version, targets: &[&str]) -> Targets {
    let mut table = Table::new();
    for target in targets {
        table.insert(*target, evil());
    }
    Targets { common: Common::new(version, days_later(30)), targets: table, delegations: None }
}

fn not_signed(target: &str) -> ClientError {
    ClientError::NotSigned { path: target.to_owned() }
}

/// Whether the user sees `six` as its maintainers signed it.
async fn assert_unharmed(user: &User, scene: &Scene, at: DateTime<Utc>) {
    let wheel = fs::read(scene.root().join("targets/six/six-1.0-py3-none-any.whl")).unwrap();
    assert_eq!(user.asks(ONE, at).await, Ok((sha256(&wheel), "project-six".to_owned())));
    assert_eq!(user.asks(EVIL, at).await, Err(not_signed(EVIL)));
    let (page, by) = user.asks(PAGE, at).await.unwrap();
    assert_eq!(by, "project-six");
    assert_ne!(page, sha256(b"evil"));
}

#[tokio::test]
async fn bins_cannot_add_change_or_hide_a_file_of_a_claimed_project() {
    let scene = with_six_promoted().await;
    let (known, fresh) = (User::new(&scene), User::new(&scene));
    assert_unharmed(&known, &scene, now()).await;
    let mut thief = Thief::at(&scene).await;
    thief.fills_the_bins().await;
    thief.serves(&[]).await;
    assert_unharmed(&known, &scene, now()).await;
    assert_unharmed(&fresh, &scene, now()).await;
}

#[tokio::test]
async fn recently_claimed_cannot_take_a_claimed_project_over() {
    let scene = with_six_promoted().await;
    let (known, fresh) = (User::new(&scene), User::new(&scene));
    assert_unharmed(&known, &scene, now()).await;
    for role in ["project-six", "project-evil"] {
        let mut thief = Thief::at(&scene).await;
        thief.fills_the_bins().await;
        let delegator = Family::Recent.name();
        let before = thief.state.snapshot.role(delegator).unwrap().version;
        let team = owners(&[BOB], 1).await;
        let delegated = DelegatedRole {
            name: RoleName::delegated(role).unwrap(),
            keyids: team.keys.keys().cloned().collect(),
            threshold: 1,
            terminating: true,
            paths: PathSet::Patterns(vec!["six/*".into(), "simple/six/*".into()]),
            extra: Extra::new(),
        };
        let roles = DelegatedRoles::Listed(vec![delegated].into());
        let mut content = listing(before + 10, &[]);
        content.delegations = Some(Delegations { keys: team.keys, roles, extra: Extra::new() });
        thief.forges(delegator, content, &ONLINE).await;
        if role != "project-six" {
            thief.forges(role, listing(1, &[EVIL, ONE, PAGE]), &[BOB]).await;
        }
        thief.serves(&[]).await;
        assert_unharmed(&known, &scene, now()).await;
        assert_unharmed(&fresh, &scene, now()).await;
    }
}

#[tokio::test]
async fn the_online_keys_cannot_sign_a_projects_role_its_bucket_or_claimed() {
    for (role, delegator) in [
        ("project-six", "claimed-0000"),
        ("claimed-0000", "claimed"),
        ("claimed", "targets"),
        ("targets", "root"),
    ] {
        let scene = with_six_promoted().await;
        let users = [User::new(&scene), User::new(&scene)];
        assert_unharmed(&users[0], &scene, now()).await;
        let mut thief = Thief::at(&scene).await;
        let before = thief.state.snapshot.role(role).unwrap().version;
        thief.forges(role, listing(before + 1, &[EVIL, ONE, PAGE]), &ONLINE).await;
        thief.serves(&[]).await;
        for user in users {
            let refused = user.asks(EVIL, now()).await.unwrap_err();
            let ClientError::Trust(TrustError::Verify(VerifyError::BelowThreshold {
                role: of,
                delegator: by,
                ..
            })) = &refused
            else {
                panic!("{refused:?}")
            };
            assert_eq!((of.as_str(), by.as_str()), (role, delegator));
        }
    }
}

#[tokio::test]
async fn who_has_seen_a_release_is_not_shown_what_was_before_it() {
    for (role, versions) in [("project-six", (1, 2)), ("claimed", (1, 2)), ("targets", (1, 2))] {
        let scene = with_six_promoted().await;
        let (file, files) = release(&scene, "six", "2.0", &[ANN]).await;
        apply(&scene, &file, files).await.unwrap();
        let known = User::new(&scene);
        known.asks(PAGE, now()).await.unwrap();
        let mut thief = Thief::at(&scene).await;
        assert_eq!(thief.state.snapshot.role(role).unwrap().version, versions.1, "{role}");
        thief.fills_the_bins().await;
        thief.replays(role, versions.0);
        thief.serves(&[]).await;
        let refused = known.asks(PAGE, now()).await;
        let rollback = matches!(refused, Err(ClientError::Trust(TrustError::Rollback { .. })));
        assert!(rollback, "{role}: {refused:?}");
    }
}

#[tokio::test]
async fn a_claimed_project_that_snapshot_leaves_out_is_refused_and_not_looked_for_elsewhere() {
    for role in ["project-six", "claimed-0000", "claimed"] {
        let scene = with_six_promoted().await;
        let (known, fresh) = (User::new(&scene), User::new(&scene));
        assert_unharmed(&known, &scene, now()).await;
        let mut thief = Thief::at(&scene).await;
        thief.fills_the_bins().await;
        thief.serves(&[role]).await;
        let refused = known.asks(ONE, now()).await;
        assert!(matches!(refused, Err(ClientError::Trust(TrustError::Removed { .. }))), "{refused:?}");
        let refused = fresh.asks(ONE, now()).await;
        assert!(matches!(refused, Err(ClientError::Trust(TrustError::NotInSnapshot { .. }))), "{refused:?}");
    }
}

/// The price that docs/trust.md names: whoever starts anew can be shown what the offline keys signed before the promotion,
/// until that expires.
#[tokio::test]
async fn who_never_saw_a_project_claimed_can_be_shown_older_offline_metadata_until_it_expires() {
    let scene = with_six_promoted().await;
    let mut thief = Thief::at(&scene).await;
    thief.fills_the_bins().await;
    thief.replays("claimed", 1);
    thief.serves(&[]).await;
    let fooled = User::new(&scene).asks(EVIL, now()).await.unwrap();
    assert_eq!(fooled.0, sha256(b"evil"));
    let mut thief = Thief::at(&scene).await;
    for (name, bin) in crate::scene::bins(&scene.open().await, &thief.state).await {
        let mut content = (*bin).clone();
        content.common.version += 10;
        content.common.expires = days_later(1_000);
        thief.forges(name.as_str(), content, &ONLINE).await;
    }
    thief.serves(&[]).await;
    let refused = User::new(&scene).asks(EVIL, days_later(366)).await;
    assert!(matches!(refused, Err(ClientError::Trust(TrustError::Expired { .. }))), "{refused:?}");
}

/// Nothing is gained by mixing what the offline keys signed at different times: every version of a bucket that was made
/// since the promotion delegates to the project.
#[tokio::test]
async fn an_older_bucket_below_a_newer_claimed_hides_no_project_that_both_vouch_for() {
    let scene = with_six_promoted().await;
    for project in ["ten", "wen"] {
        apply(&scene, &claim(&scene, project, &[ANN], 1, &[]).await, Vec::new()).await.unwrap();
    }
    promote(&scene, &["ten", "wen"]).await;
    let mut thief = Thief::at(&scene).await;
    assert_eq!(thief.state.snapshot.role("claimed-0000").unwrap().version, 2);
    thief.fills_the_bins().await;
    thief.replays("claimed-0000", 1);
    thief.serves(&[]).await;
    assert_unharmed(&User::new(&scene), &scene, now()).await;
}

/// Before its promotion a claim is only as good as the online keys; docs/trust.md says so.
#[tokio::test]
async fn a_project_that_waits_for_its_promotion_is_not_protected_from_the_online_keys() {
    let scene = open_to_claims().await;
    scene.publish(&[scene.add("six", "1.0", "one")]).await.unwrap();
    apply(&scene, &claim(&scene, "six", &[ANN], 1, &[]).await, Vec::new()).await.unwrap();
    let mut thief = Thief::at(&scene).await;
    thief.fills_the_bins().await;
    let before = thief.state.snapshot.role("recently-claimed").unwrap().version;
    thief.forges("recently-claimed", listing(before + 1, &[]), &ONLINE).await;
    thief.serves(&[]).await;
    assert_eq!(User::new(&scene).asks(EVIL, now()).await.unwrap().0, sha256(b"evil"));
}
