//! What a repository is after each command, role by role, and what each command refuses.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use wheelseal::python::ProjectName;
use wheelseal::repository::{
    BinStyle, CeremonyError, Change, Checked, Due, Edit, Expiry, Plan, Profile, Repository, RepositoryError,
    Retention, RolePlan, Unwatched,
};
use wheelseal::store::{DirStore, StoreError};
use wheelseal::tuf::json::parse;
use wheelseal::tuf::metadata::{DelegatedRoles, PathSet, TargetFile, TopLevel};
use wheelseal::tuf::path::{RoleName, TargetPath};

use crate::scene::{
    ALL_KEYS, ONLINE, Scene, View, bin_of, bins, days_later, keyring, now, plan, role, signed, wheel_name,
};

const MINUTE: Duration = Duration::from_mins(1);

fn keep(snapshots: usize) -> Retention {
    Retention { snapshots, grace: Duration::ZERO }
}

async fn refused_plan(change: impl FnOnce(&mut Plan)) -> String {
    let scene = Scene::empty();
    let (mut plan, keys) = (plan().await, keyring(&ALL_KEYS).await);
    change(&mut plan);
    let refused = Repository::init(scene.store().await, &plan, &keys, now(), &Unwatched).await.unwrap_err();
    assert_eq!(scene.files(), BTreeMap::new(), "a refused init writes nothing");
    refused.to_string()
}

/// Two projects; alpha in two versions.
async fn published() -> Scene {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "one"), scene.add("beta", "1.0", "one")]).await.unwrap();
    scene.publish(&[scene.add("alpha", "1.1", "two")]).await.unwrap();
    scene
}

fn problems(checked: &Checked) -> Vec<(String, String)> {
    checked.problems.iter().map(|problem| (problem.subject.clone(), problem.what.clone())).collect()
}

// Layout.

#[tokio::test]
async fn roles_are_delegated_in_the_order_of_pep_480_and_claimed_projects_have_no_paths_yet() {
    let scene = Scene::new().await;
    let repository = scene.open().await;
    let state = repository.state().await.unwrap();
    let DelegatedRoles::Listed(roles) = &state.targets.delegations.as_ref().unwrap().roles else {
        panic!("listed")
    };
    let names: Vec<_> = roles.iter().map(|role| (role.name.as_str(), role.terminating)).collect();
    assert_eq!(names, [("claimed", false), ("recently-claimed", false), ("bins", false)]);
    let everything = PathSet::HashPrefixes((0..16).map(|digit| format!("{digit:x}")).collect());
    let paths: Vec<_> = roles.iter().map(|role| role.paths.clone()).collect();
    assert_eq!(paths, [PathSet::Patterns(Vec::new()), PathSet::Patterns(Vec::new()), everything]);
    let signs = |name: &str| roles.iter().find(|role| role.name.as_str() == name).unwrap().keyids.clone();
    assert_eq!(signs("claimed"), signs("bins"), "both are offline");
    assert_eq!(signs("recently-claimed"), state.root.role(TopLevel::Timestamp).keyids, "it is online");
    assert!(state.root.consistent_snapshot);
    assert!(state.targets.targets.is_empty() && state.bins.targets.is_empty());
}

#[tokio::test]
async fn snapshot_lists_length_and_hash_for_offline_roles_and_the_version_alone_for_bins() {
    let scene = published().await;
    scene.open().await.bump(&keyring(&ALL_KEYS).await, true, now(), &Unwatched).await.unwrap();
    let state = scene.open().await.state().await.unwrap();
    for (name, file) in &state.snapshot.meta {
        let bin = name.starts_with("bins-");
        assert_eq!((file.length().is_none(), file.hashes().is_none()), (bin, bin), "{name}");
        if let (Some(length), Some(hashes)) = (file.length(), file.hashes()) {
            let bytes = scene.files()[&format!("metadata/{}.{name}", file.version)].clone();
            assert_eq!(u64::try_from(bytes.len()).unwrap(), length);
            assert_eq!(Some(wheelseal::crypto::sha256(&bytes)), hashes.sha256);
        }
    }
    let names: Vec<_> = state.snapshot.meta.keys().filter(|name| !name.starts_with("bins-")).collect();
    assert_eq!(names, ["bins.json", "claimed.json", "recently-claimed.json", "targets.json"]);
    assert_eq!(state.snapshot.meta.len(), 8);
}

#[tokio::test]
async fn a_path_has_the_same_bin_by_prefixes_as_by_succinct_roles() {
    for bin_count in [2, 8, 16, 64] {
        let succinct = Scene::of(&Plan { bin_count, ..plan().await }, &ALL_KEYS).await;
        let style = BinStyle::Prefixes;
        let prefixes = Scene::of(&Plan { bin_count, bin_style: style, ..plan().await }, &ALL_KEYS).await;
        let versions = ["1.0", "2.0", "3.0"];
        for scene in [&succinct, &prefixes] {
            scene.publish(&versions.map(|version| scene.add("alpha", version, version))).await.unwrap();
            scene.assert_sound("after the first files").await;
        }
        for version in versions {
            let target = TargetPath::new(format!("alpha/{}", wheel_name("alpha", version))).unwrap();
            let both = [
                bin_of(&succinct.open().await, &target).await,
                bin_of(&prefixes.open().await, &target).await,
            ];
            assert!(both[0].is_some() && both[0] == both[1], "{bin_count} bins, {target}: {both:?}");
        }
        let state = prefixes.open().await.state().await.unwrap();
        let DelegatedRoles::Listed(roles) = &state.bins.delegations.as_ref().unwrap().roles else {
            panic!("listed")
        };
        let all: Vec<_> = roles.iter().map(|role| role.paths.clone()).collect();
        let counts: usize =
            all.iter().map(|set| if let PathSet::HashPrefixes(p) = set { p.len() } else { 0 }).sum();
        let digits = if bin_count <= 16 { 1 } else { 2 };
        assert_eq!((all.len(), counts), (usize::try_from(bin_count).unwrap(), 16_usize.pow(digits)));
    }
}

#[tokio::test]
async fn each_profile_gives_the_dates_it_promises() {
    let default = Expiry { root: 365, targets: 365, bin_n: 30, snapshot: 14, timestamp: 7 };
    let pypi = Expiry { root: 365, targets: 365, bin_n: 1, snapshot: 1, timestamp: 1 };
    assert_eq!((Profile::Default.expiry(), Profile::Pypi.expiry()), (default, pypi));
    for profile in [Profile::Default, Profile::Pypi] {
        let expiry = profile.expiry();
        let scene = Scene::of(&Plan { expiry, ..plan().await }, &ALL_KEYS).await;
        let repository = scene.open().await;
        assert_eq!(repository.settings().expiry, expiry);
        let state = repository.state().await.unwrap();
        let in_days = |days: u32| days_later(i64::from(days));
        assert_eq!(state.root.common.expires, in_days(expiry.root));
        assert_eq!(state.targets.common.expires, in_days(expiry.targets));
        assert_eq!(state.bins.common.expires, in_days(expiry.targets));
        assert_eq!(state.snapshot.common.expires, in_days(expiry.snapshot));
        assert_eq!(state.timestamp.common.expires, in_days(expiry.timestamp));
        for (_, bin) in bins(&repository, &state).await {
            assert_eq!(bin.common.expires, in_days(expiry.bin_n));
        }
    }
}

#[tokio::test]
async fn thresholds_of_several_keys_hold_from_the_first_version_on() {
    let wanted = Plan {
        root: role(&["root-1", "root-2", "root-3"], 2).await,
        targets: role(&["targets-1", "targets-2"], 2).await,
        bins: role(&["targets-1", "rsa"], 2).await,
        online: role(&["online", "ecdsa"], 2).await,
        ..plan().await
    };
    let scene = Scene::empty();
    let few = keyring(&["root-1", "targets-1", "targets-2", "rsa", "online", "ecdsa"]).await;
    let refused = Repository::init(scene.store().await, &wanted, &few, now(), &Unwatched).await.unwrap_err();
    let RepositoryError::KeysMissing { role, needed: 2, able: 1, accepted } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!((role.as_str(), accepted.len()), ("root", 3));
    let keys = ["root-1", "root-3", "targets-1", "targets-2", "rsa", "online", "ecdsa"];
    let scene = Scene::of(&wanted, &keys).await;
    scene.assert_sound("with thresholds").await;
    let one = scene.publish(&[scene.add("alpha", "1.0", "x")]).await.unwrap_err();
    assert!(matches!(one, RepositoryError::KeysMissing { needed: 2, able: 1, .. }), "{one:?}");
    let edits = [scene.add("alpha", "1.0", "x")];
    let both = keyring(&["online", "ecdsa"]).await;
    scene.open().await.publish(&both, &edits, now(), &Unwatched).await.unwrap();
    scene.assert_sound("after the first file").await;
    let status = scene.open().await.status(now(), &Unwatched).await.unwrap();
    let signed: Vec<_> = status
        .roles
        .iter()
        .map(|role| (role.role.as_str(), role.signed_by.len(), role.threshold, role.keys.len()))
        .collect();
    let expected = [
        ("root", 2, 2, 3),
        ("timestamp", 2, 2, 2),
        ("snapshot", 2, 2, 2),
        ("targets", 2, 2, 2),
        ("claimed", 2, 2, 2),
        ("recently-claimed", 2, 2, 2),
        ("bins", 2, 2, 2),
    ];
    assert_eq!(signed, expected);
}

// Refusals.

#[tokio::test]
async fn plans_that_make_no_sense_are_refused_before_anything_is_written() {
    let two = role(&["root-1", "root-2"], 3).await;
    assert_eq!(refused_plan(|plan| plan.root = two).await, "root has 2 key(s), so its threshold cannot be 3");
    let none = |plan: &mut Plan| plan.targets.threshold = 0;
    assert_eq!(refused_plan(none).await, "targets has 1 key(s), so its threshold cannot be 0");
    let empty = RolePlan { keys: Vec::new(), threshold: 1 };
    assert_eq!(
        refused_plan(|plan| plan.online = empty).await,
        "timestamp has 0 key(s), so its threshold cannot be 1"
    );
    let twice = role(&["root-1", "root-1"], 2).await;
    assert_eq!(refused_plan(|plan| plan.root = twice).await, "root is given the same key twice");
    let online = role(&["root-2", "online"], 1).await;
    let refused = refused_plan(|plan| plan.bins = online).await;
    assert!(
        refused.starts_with("bins is an offline role, but its key ") && refused.ends_with(" is online"),
        "{refused}"
    );
    for bin_count in [0, 1, 3, 100, 65_535, 131_072] {
        let refused = refused_plan(|plan| plan.bin_count = bin_count).await;
        assert_eq!(refused, format!("{bin_count} bins: it must be a power of two from 2 to 65,536"));
    }
}

#[tokio::test]
async fn an_init_over_a_repository_changes_nothing() {
    let scene = published().await;
    let before = scene.files();
    for damage in ["", "metadata/timestamp.json"] {
        if !damage.is_empty() {
            fs::remove_file(scene.root().join(damage)).unwrap();
        }
        let (plan, keys) = (plan().await, keyring(&ALL_KEYS).await);
        let refused = Repository::init(scene.store().await, &plan, &keys, now(), &Unwatched).await;
        assert!(matches!(refused, Err(RepositoryError::AlreadyRepository(_))), "{refused:?}");
    }
    let mut left = before;
    left.remove("metadata/timestamp.json");
    assert_eq!(scene.files(), left, "nothing but what the test took away is gone");
}

#[tokio::test]
async fn an_init_leaves_a_folder_of_other_files_alone() {
    let scene = Scene::empty();
    fs::create_dir(scene.root().join("metadata")).unwrap();
    fs::write(scene.root().join("metadata/notes.txt"), "precious").unwrap();
    let (plan, keys) = (plan().await, keyring(&ALL_KEYS).await);
    let refused = Repository::init(scene.store().await, &plan, &keys, now(), &Unwatched).await.unwrap_err();
    assert_eq!(refused, RepositoryError::AlreadyRepository("metadata/notes.txt".to_owned()));
    assert_eq!(fs::read_to_string(scene.root().join("metadata/notes.txt")).unwrap(), "precious");
}

#[tokio::test]
async fn rotations_that_mix_online_and_offline_keys_or_miss_keys_change_nothing() {
    let scene = published().await;
    let before = scene.files();
    let all = keyring(&["root-1", "targets-1", "online", "online-2", "root-2"]).await;
    let repository = scene.open().await;
    let mixed =
        [(TopLevel::Timestamp, "targets-1"), (TopLevel::Snapshot, "root-1"), (TopLevel::Targets, "online")];
    for (top, name) in mixed {
        let refused = repository.rotate(&all, top, &role(&[name], 1).await, now()).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("it signs offline, and"), "{refused}");
    }
    let without_root = keyring(&["online", "online-2"]).await;
    let to = role(&["online-2"], 1).await;
    let refused = repository.rotate(&without_root, TopLevel::Timestamp, &to, now()).await.unwrap_err();
    assert!(matches!(&refused, RepositoryError::KeysMissing { role, .. } if role == "root"), "{refused:?}");
    let without_new = keyring(&["root-1", "online"]).await;
    let refused = repository.rotate(&without_new, TopLevel::Timestamp, &to, now()).await.unwrap_err();
    let unproven =
        matches!(&refused, RepositoryError::Ceremony(CeremonyError::Unproven(keys)) if keys.len() == 1);
    assert!(unproven, "{refused:?}");
    let refused =
        repository.rotate(&all, TopLevel::Root, &role(&["root-2"], 2).await, now()).await.unwrap_err();
    assert_eq!(refused.to_string(), "root has 1 key(s), so its threshold cannot be 2");
    assert_eq!(scene.files(), before);
}

// Publishing.

#[tokio::test]
async fn adding_the_same_file_twice_makes_no_new_snapshot() {
    let scene = published().await;
    let before = scene.files();
    let state = scene.open().await.state().await.unwrap();
    let again = scene.publish(&[scene.add("alpha", "1.1", "two")]).await.unwrap();
    assert_eq!(again.changed, [""; 0]);
    assert_eq!(again.unchanged, [wheel_name("alpha", "1.1").to_string()]);
    assert_eq!(
        (again.snapshot, again.timestamp),
        (state.snapshot.common.version, state.timestamp.common.version)
    );
    assert_eq!(scene.files(), before);
}

#[tokio::test]
async fn other_content_under_a_published_name_is_refused_with_all_that_came_along() {
    let scene = published().await;
    let before = scene.files();
    let edits = [scene.add("gamma", "1.0", "innocent"), scene.add("alpha", "1.0", "other")];
    let refused = scene.publish(&edits).await.unwrap_err();
    assert!(
        matches!(&refused, RepositoryError::Conflict { filename, .. } if *filename == *wheel_name("alpha", "1.0").as_str())
    );
    assert_eq!(scene.files(), before);
}

#[tokio::test]
async fn a_wrong_key_changes_nothing() {
    let scene = published().await;
    let before = scene.files();
    let edits = [scene.add("gamma", "1.0", "new")];
    let stranger = keyring(&["online-2"]).await;
    let refused = scene.open().await.publish(&stranger, &edits, now(), &Unwatched).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::KeysMissing { needed: 1, able: 0, .. }), "{refused:?}");
    assert_eq!(scene.files(), before);
}

#[tokio::test]
async fn a_distribution_its_metadata_and_its_page_are_signed_and_lie_under_both_names() {
    let scene = published().await;
    let repository = scene.open().await;
    let state = repository.state().await.unwrap();
    let files = scene.files();
    for path in ["alpha/alpha-1.0-py3-none-any.whl", "alpha/alpha-1.0-py3-none-any.whl.metadata"] {
        let target = TargetPath::new(path).unwrap();
        let file = repository.target(&state, &target).await.unwrap().unwrap();
        let hashed = &files[&format!("targets/{}", target.location(file.hashes.name().as_deref()))];
        assert_eq!(Some(wheelseal::crypto::sha256(hashed)), file.hashes.sha256);
        assert_eq!(&files[&format!("targets/{path}")], hashed);
    }
    let page =
        repository.page(&state, &ProjectName::from_normalised("alpha").unwrap()).await.unwrap().unwrap();
    assert_eq!((page.serial, page.versions()), (3, vec!["1.0".to_owned(), "1.1".to_owned()]));
    assert_eq!(String::from_utf8(files["simple/alpha/index.json"].clone()).unwrap(), page.to_json());
}

#[tokio::test]
async fn removing_a_projects_last_file_takes_its_pages_away() {
    let scene = published().await;
    scene.publish(&[Edit::Remove(wheel_name("alpha", "1.0"))]).await.unwrap();
    scene.assert_sound("one of two removed").await;
    assert!(scene.files().contains_key("simple/alpha/index.html"));
    scene.publish(&[Edit::Remove(wheel_name("alpha", "1.1"))]).await.unwrap();
    scene.assert_sound("both removed").await;
    let left: Vec<_> = scene.files().into_keys().filter(|path| path.starts_with("simple/")).collect();
    assert_eq!(
        left,
        ["simple/beta/index.html", "simple/beta/index.json", "simple/index.html", "simple/index.json"]
    );
    let view = View::of(&scene.open().await).await;
    assert!(!view.targets.keys().any(|path| path.starts_with("alpha/")), "{view:?}");
    let again = scene.publish(&[Edit::Remove(wheel_name("alpha", "1.1"))]).await.unwrap_err();
    assert_eq!(again, RepositoryError::NotPublished(wheel_name("alpha", "1.1").to_string()));
}

#[tokio::test]
async fn a_removed_file_may_come_back_with_its_own_content_alone() {
    let scene = published().await;
    scene.publish(&[Edit::Remove(wheel_name("alpha", "1.1"))]).await.unwrap();
    let other = scene.publish(&[scene.add("alpha", "1.1", "other")]).await.unwrap_err();
    assert!(matches!(other, RepositoryError::Conflict { .. }), "{other:?}");
    scene.publish(&[scene.add("alpha", "1.1", "two")]).await.unwrap();
    scene.assert_sound("after it came back").await;
}

#[tokio::test]
async fn a_yank_is_on_the_page_until_it_is_taken_back() {
    let scene = published().await;
    let (name, reason) = (wheel_name("alpha", "1.0"), "broken".parse().unwrap());
    let yank = || Edit::Yank(name.clone(), Some(Clone::clone(&reason)));
    let before = View::of(&scene.open().await).await;
    assert_eq!(scene.publish(&[yank()]).await.unwrap().changed.len(), 1);
    assert_eq!(scene.publish(&[yank()]).await.unwrap().unchanged.len(), 1, "it is yanked already");
    scene.assert_sound("yanked").await;
    let html = String::from_utf8(scene.files()["simple/alpha/index.html"].clone()).unwrap();
    assert!(html.contains("data-yanked=\"broken\""), "{html}");
    let yanked = View::of(&scene.open().await).await;
    assert_eq!(yanked.targets, before.targets, "the file itself stays signed");
    scene.publish(&[Edit::Unyank(name.clone())]).await.unwrap();
    assert_eq!(scene.publish(&[Edit::Unyank(name.clone())]).await.unwrap().unchanged.len(), 1);
    assert_eq!(View::of(&scene.open().await).await.content(), before.content());
    scene.assert_sound("unyanked").await;
}

// Bump and status.

#[tokio::test]
async fn a_bump_signs_what_is_due_and_reports_offline_roles_that_are() {
    let scene = published().await;
    let online = keyring(&ONLINE).await;
    let bump =
        async |days| scene.open().await.bump(&online, false, days_later(days), &Unwatched).await.unwrap();
    let early = bump(3).await;
    assert_eq!((early.signed.len(), early.bins, early.due.len()), (0, 0, 0), "{early:?}");
    let timestamp = bump(4).await;
    assert_eq!((timestamp.signed, timestamp.bins), (vec!["timestamp".to_owned()], 0));
    assert_eq!(timestamp.next, Some(days_later(4) + chrono::TimeDelta::hours(84)), "half of seven days on");
    let snapshot = bump(8).await;
    assert_eq!((snapshot.signed, snapshot.bins), (vec!["snapshot".to_owned(), "timestamp".to_owned()], 0));
    let all_bins = bump(16).await;
    assert_eq!(all_bins.bins, 4);
    assert_eq!(all_bins.signed, ["recently-claimed", "snapshot", "timestamp"]);
    let late = bump(200).await;
    let due: Vec<_> = late.due.iter().map(|due| due.role.as_str()).collect();
    assert_eq!(due, ["targets", "claimed", "bins", "root"]);
    assert!(late.due.iter().all(|due: &Due| due.expires == days_later(365)));
    let complete =
        scene.open().await.bump(&keyring(&ALL_KEYS).await, false, days_later(200), &Unwatched).await.unwrap();
    assert_eq!(complete.signed, ["targets", "claimed", "bins", "snapshot", "timestamp", "root"]);
    assert_eq!(scene.open().await.check(days_later(201), &Unwatched).await.unwrap().problems, []);
}

#[tokio::test]
async fn a_bump_revives_a_repository_that_has_expired_altogether() {
    let scene = published().await;
    let later = days_later(1000);
    let expired = scene.open().await.check(later, &Unwatched).await.unwrap();
    assert_eq!(expired.problems.len(), 1);
    scene.open().await.bump(&keyring(&ALL_KEYS).await, false, later, &Unwatched).await.unwrap();
    assert_eq!(scene.open().await.check(later, &Unwatched).await.unwrap().problems, []);
}

/// A replacement of a lost key that stopped after the new root, and then another new root.
#[tokio::test]
async fn an_interrupted_replacement_of_a_key_is_repaired_by_bump_and_by_nothing_else() {
    let scene = published().await;
    let old_timestamp = fs::read(scene.root().join("metadata/timestamp.json")).unwrap();
    let keys = keyring(&["root-1", "online-2", "root-2", "ecdsa"]).await;
    let repository = scene.open().await;
    repository.rotate(&keys, TopLevel::Timestamp, &role(&["online-2"], 1).await, now()).await.unwrap();
    fs::write(scene.root().join("metadata/timestamp.json"), old_timestamp).unwrap();
    assert_eq!(scene.check().await.problems.len(), 1);
    for (top, to) in
        [(TopLevel::Root, "root-2"), (TopLevel::Timestamp, "ecdsa"), (TopLevel::Snapshot, "ecdsa")]
    {
        let keys = keyring(&["root-1", "root-2", "ecdsa"]).await;
        let refused = repository.rotate(&keys, top, &role(&[to], 1).await, now()).await.unwrap_err();
        assert!(refused.to_string().contains("wheelseal bump"), "{refused}");
    }
    let bumped = repository.bump(&keys, false, now(), &Unwatched).await.unwrap();
    assert_eq!(bumped.signed, ["timestamp"]);
    scene.assert_sound("after the bump").await;
}

#[tokio::test]
async fn gc_in_the_middle_of_a_key_replacement_keeps_everything_in_use() {
    let scene = published().await;
    let keys = keyring(&["root-1", "online", "online-2", "ecdsa"]).await;
    let repository = scene.open().await;
    repository.rotate(&keys, TopLevel::Timestamp, &role(&["online-2"], 1).await, now()).await.unwrap();
    let timestamp = fs::read(scene.root().join("metadata/timestamp.json")).unwrap();
    let lost = keyring(&["root-1", "online-2", "ecdsa"]).await;
    repository.rotate(&lost, TopLevel::Snapshot, &role(&["ecdsa"], 1).await, now()).await.unwrap();
    fs::write(scene.root().join("metadata/timestamp.json"), timestamp).unwrap();
    repository.gc(keep(1), false, now(), &Unwatched).await.unwrap();
    repository.bump(&keys, false, now(), &Unwatched).await.unwrap();
    scene.assert_sound("after gc and bump").await;
}

#[tokio::test]
async fn status_tells_versions_dates_thresholds_and_counts() {
    let scene = published().await;
    let status = scene.open().await.status(days_later(8), &Unwatched).await.unwrap();
    let found: Vec<_> = status
        .roles
        .iter()
        .map(|role| (role.role.as_str(), role.version, role.expired, role.expires))
        .collect();
    let expected = [
        ("root", 1, false, days_later(365)),
        ("timestamp", 3, true, days_later(7)),
        ("snapshot", 3, false, days_later(14)),
        ("targets", 1, false, days_later(365)),
        ("claimed", 1, false, days_later(365)),
        ("recently-claimed", 1, false, days_later(30)),
        ("bins", 1, false, days_later(365)),
    ];
    assert_eq!(found, expected);
    assert!(status.roles.iter().all(|role| role.threshold == 1 && role.keys == role.signed_by));
    // Three wheels, their metadata, two pages.
    assert_eq!((status.bins, status.projects, status.targets), (4, 2, 8));
    assert!(status.first_bin.unwrap().role.starts_with("bins-"));
}

// Rotation.

#[tokio::test]
async fn every_top_level_role_can_be_given_new_keys_and_the_old_ones_are_forgotten() {
    let scene = published().await;
    let keys =
        keyring(&["root-1", "root-2", "root-3", "targets-1", "targets-2", "online", "online-2", "ecdsa"])
            .await;
    let repository = scene.open().await;
    let steps = [
        (TopLevel::Timestamp, role(&["online-2"], 1).await),
        (TopLevel::Snapshot, role(&["ecdsa", "online-2"], 2).await),
        (TopLevel::Targets, role(&["targets-2"], 1).await),
        (TopLevel::Root, role(&["root-2", "root-3"], 2).await),
    ];
    for (version, (top, plan)) in (2..).zip(&steps) {
        assert_eq!(repository.rotate(&keys, *top, plan, now()).await, Ok(version));
        scene.assert_sound(top.name()).await;
    }
    let state = repository.state().await.unwrap();
    assert_eq!(state.root.keys.len(), 5, "online-2, ecdsa, targets-2, root-2, root-3");
    repository.publish(&keys, &[scene.add("gamma", "1.0", "x")], now(), &Unwatched).await.unwrap();
    scene.assert_sound("after all rotations").await;
}

// Diff.

#[tokio::test]
async fn a_diff_tells_added_removed_and_changed_targets() {
    let scene = published().await;
    scene
        .publish(&[Edit::Remove(wheel_name("beta", "1.0")), Edit::Yank(wheel_name("alpha", "1.0"), None)])
        .await
        .unwrap();
    let difference = scene.open().await.diff(2, 4).await.unwrap();
    let (alpha, beta) = (wheel_name("alpha", "1.1"), wheel_name("beta", "1.0"));
    let expected = [
        (format!("alpha/{alpha}"), Change::Added),
        (format!("alpha/{alpha}.metadata"), Change::Added),
        (format!("beta/{beta}"), Change::Removed),
        (format!("beta/{beta}.metadata"), Change::Removed),
        ("simple/alpha/index.json".to_owned(), Change::Changed),
        ("simple/beta/index.json".to_owned(), Change::Removed),
    ];
    assert_eq!(difference.targets, expected);
    assert!(difference.roles.iter().all(|(name, before, after)| name.starts_with("bins-") && before < after));
    assert_eq!(scene.open().await.diff(4, 4).await.unwrap().targets, []);
    let back = scene.open().await.diff(4, 2).await.unwrap();
    assert_eq!(back.targets.iter().filter(|(_, change)| *change == Change::Added).count(), 3);
    let missing = scene.open().await.diff(2, 9).await.unwrap_err();
    assert_eq!(missing, RepositoryError::NoSnapshot(9));
}

// Collecting.

#[tokio::test]
async fn gc_keeps_as_many_snapshots_as_asked_and_every_root() {
    let scene = published().await;
    let (keys, repository) = (keyring(&ALL_KEYS).await, scene.open().await);
    repository.bump(&keys, true, now(), &Unwatched).await.unwrap();
    scene.publish(&[Edit::Remove(wheel_name("beta", "1.0"))]).await.unwrap();
    let before = scene.files();
    let planned = repository.gc(keep(2), true, now(), &Unwatched).await.unwrap();
    assert_eq!(scene.files(), before, "a dry run removes nothing");
    let done = repository.gc(keep(2), false, now(), &Unwatched).await.unwrap();
    assert_eq!(done.removed, planned.removed);
    let after = scene.files();
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).cloned().collect();
    assert_eq!(gone, {
        let mut removed = done.removed;
        removed.sort();
        removed
    });
    let left: Vec<_> =
        after.keys().filter(|path| path.ends_with("snapshot.json") || path.contains("root.json")).collect();
    assert_eq!(
        left,
        [
            "metadata/1.root.json",
            "metadata/2.root.json",
            "metadata/4.snapshot.json",
            "metadata/5.snapshot.json",
            "metadata/root.json"
        ]
    );
    assert!(after.contains_key("targets/beta/beta-1.0-py3-none-any.whl"), "the snapshot before still has it");
    scene.assert_sound("after gc").await;
    assert_eq!(repository.diff(4, 5).await.unwrap().targets.len(), 3);
    repository.gc(keep(1), false, now(), &Unwatched).await.unwrap();
    assert!(!scene.files().keys().any(|path| path.starts_with("targets/beta/")));
    scene.assert_sound("after the second gc").await;
    let nothing = repository.gc(keep(1), false, now(), &Unwatched).await.unwrap();
    assert_eq!((nothing.removed.len(), nothing.young), (0, 0));
}

#[tokio::test]
async fn gc_leaves_what_is_younger_than_the_grace_period() {
    let scene = published().await;
    scene.publish(&[Edit::Remove(wheel_name("beta", "1.0"))]).await.unwrap();
    let before = scene.files();
    // The files are dated by the real clock; a minute after the youngest of them all is a minute's grace.
    let youngest = walkdir::WalkDir::new(scene.root())
        .into_iter()
        .map(|entry| entry.unwrap().metadata().unwrap().modified().unwrap());
    let soon = chrono::DateTime::from(youngest.max().unwrap() + MINUTE / 2);
    let retention = Retention { snapshots: 1, grace: MINUTE };
    let collected = scene.open().await.gc(retention, false, soon, &Unwatched).await.unwrap();
    assert!(collected.removed.is_empty(), "{collected:?}");
    assert_eq!(scene.files(), before);
}

// What check finds.

#[tokio::test]
async fn check_finds_a_flipped_byte_and_a_missing_target_file() {
    let scene = published().await;
    let files = scene.files();
    let wheel = |path: &&String| std::path::Path::new(path).extension().is_some_and(|ending| ending == "whl");
    let hashed = files.keys().filter(|path| path.starts_with("targets/alpha/")).filter(wheel);
    let path = hashed.clone().find(|path| path.contains(".alpha-1.0")).unwrap();
    let mut bytes = files[path].clone();
    bytes[30] ^= 1;
    fs::write(scene.root().join(path), bytes).unwrap();
    let gone = hashed.clone().find(|path| path.contains(".alpha-1.1")).unwrap();
    fs::remove_file(scene.root().join(gone)).unwrap();
    let mut found = problems(&scene.check().await);
    found.sort();
    assert_eq!(found.len(), 2, "{found:?}");
    let changed = found.iter().find(|(subject, _)| subject == path).unwrap();
    assert!(changed.1.starts_with("is not the file that was signed: SHA-256 is "), "{}", changed.1);
    assert!(found.contains(&(gone.clone(), "is missing".to_owned())));
    fs::write(scene.root().join(path), b"short").unwrap();
    let found = problems(&scene.check().await);
    assert!(found.iter().any(|(_, what)| what.starts_with("has 5 bytes, signed are ")), "{found:?}");
}

#[tokio::test]
async fn check_finds_missing_bins_and_metadata_of_no_role() {
    let scene = published().await;
    let versions = View::of(&scene.open().await).await.versions;
    let bin = format!("metadata/{}.bins-2.json", versions["bins-2.json"]);
    fs::remove_file(scene.root().join(&bin)).unwrap();
    fs::write(scene.root().join("metadata/7.intruder.json"), "{}").unwrap();
    fs::write(scene.root().join("metadata/readme.txt"), "x").unwrap();
    let expected = [
        ("bins-2", format!("{} is missing", bin.trim_start_matches("metadata/"))),
        ("metadata/7.intruder.json", "belongs to no role of this repository".to_owned()),
        ("metadata/readme.txt", "is no metadata file of this repository".to_owned()),
    ];
    assert_eq!(problems(&scene.check().await), expected.map(|(subject, what)| (subject.to_owned(), what)));
}

#[tokio::test]
async fn check_counts_superseded_metadata_and_finds_nothing_wrong_with_it() {
    let scene = published().await;
    let checked = scene.check().await;
    assert_eq!(problems(&checked), []);
    assert!(checked.unreferenced > 0);
    assert_eq!(checked.targets, 8);
}

/// A bin that lists a target of another bin, signed with the genuine online key.
#[tokio::test]
async fn check_finds_a_target_listed_by_a_role_that_may_not_speak_for_it() {
    let scene = published().await;
    let repository = scene.open().await;
    let state = repository.state().await.unwrap();
    let all = bins(&repository, &state).await;
    let (name, listed) = all.iter().find(|(_, bin)| !bin.targets.is_empty()).unwrap();
    let (path, file): (&str, &TargetFile) = listed.targets.iter().next().unwrap();
    let (wrong, other) = all.iter().find(|(other, _)| other != name).unwrap();
    let mut draft = other.draft();
    draft.content.targets.insert(path, file.clone());
    let bytes = signed(&draft, &ONLINE).await;
    fs::write(scene.root().join(format!("metadata/{}.{wrong}.json", other.common.version)), bytes).unwrap();
    let found = problems(&scene.check().await);
    assert_eq!(found, [(path.to_owned(), format!("role {wrong} lists it, but may not speak for it"))]);
}

#[tokio::test]
async fn check_finds_what_has_expired() {
    let scene = published().await;
    let found = scene.open().await.check(days_later(8), &Unwatched).await.unwrap();
    assert_eq!(problems(&found).len(), 1);
    assert!(problems(&found)[0].1.contains("expired"), "{found:?}");
    let bins_expired = Expiry { bin_n: 1, ..Profile::Default.expiry() };
    let scene = Scene::of(&Plan { expiry: bins_expired, ..plan().await }, &ALL_KEYS).await;
    let found = problems(&scene.open().await.check(days_later(2), &Unwatched).await.unwrap());
    let subjects: Vec<_> = found.iter().map(|(subject, _)| subject.as_str()).collect();
    assert_eq!(subjects, ["recently-claimed", "bins-0", "bins-1", "bins-2", "bins-3"]);
}

/// Every byte of every metadata file, one bit each: a check reports it, or the file reads as it did.
#[tokio::test]
async fn check_finds_a_flipped_bit_in_any_current_metadata_file() {
    let scene = Scene::of(&Plan { bin_count: 2, ..plan().await }, &ALL_KEYS).await;
    for (path, bytes) in scene.files().into_iter().filter(|(path, _)| path.starts_with("metadata/")) {
        if path == "metadata/root.json" {
            continue; // For people; clients never ask for it.
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 8) {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            if parse(&broken).ok().is_some_and(|tree| Some(tree) == parse(&bytes).ok()) {
                continue;
            }
            fs::write(scene.root().join(&path), broken).unwrap();
            let checked = scene.open().await.check(now(), &Unwatched).await;
            assert!(
                checked.as_ref().is_ok_and(|checked| !checked.problems.is_empty()),
                "{path} byte {at}: {checked:?}"
            );
        }
        fs::write(scene.root().join(&path), bytes).unwrap();
    }
    scene.assert_verifies("all put back").await;
}

// The store underneath.

#[tokio::test]
async fn a_folder_that_is_no_repository_says_so() {
    let scene = Scene::empty();
    let refused = Repository::open(scene.store().await).await.unwrap_err();
    assert_eq!(refused, RepositoryError::NoRepository("wheelseal.toml".to_owned()));
    let nowhere = DirStore::open(scene.root().join("nowhere")).await.unwrap_err();
    assert!(matches!(nowhere, StoreError::Io { what: "open folder", .. }));
}

#[tokio::test]
async fn settings_of_another_format_or_with_unknown_fields_are_refused() {
    let scene = Scene::new().await;
    let path = scene.root().join("wheelseal.toml");
    let good = fs::read_to_string(&path).unwrap();
    let bad =
        [good.replace("format = 1", "format = 2"), format!("surprise = 1\n{good}"), "format = ".to_owned()];
    for text in bad {
        fs::write(&path, &text).unwrap();
        let refused = Repository::open(scene.store().await).await.unwrap_err();
        assert!(matches!(refused, RepositoryError::Settings(_)), "{text}: {refused:?}");
    }
}

#[tokio::test]
async fn a_bin_has_the_name_that_tap_15_gives_it() {
    for (bin_count, last) in [(2, "bins-1"), (16, "bins-f"), (32, "bins-1f"), (256, "bins-ff")] {
        let scene = Scene::of(&Plan { bin_count, ..plan().await }, &ALL_KEYS).await;
        let state = scene.open().await.state().await.unwrap();
        let names: Vec<RoleName> =
            state.bins.delegations.as_ref().unwrap().names().map(Result::unwrap).collect();
        assert_eq!(names.last().map(RoleName::as_str), Some(last));
    }
}
