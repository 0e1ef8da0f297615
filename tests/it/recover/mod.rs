//! After a theft: what the thief changed is found, all of it and nothing else.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set is a test that cannot run")]

mod compare;
mod drills;
mod playbooks;
mod restore;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wheelseal::crypto::sha256;
use wheelseal::repository::{
    Change, Compared, Differing, Good, Item, Keep, Repository, RepositoryError, Unwatched,
};
use wheelseal::store::DirStore;
use wheelseal::tuf::metadata::{About, DelegatedRoles, Extra, Hashes, MetaFile, TargetFile};
use wheelseal::tuf::path::TargetPath;

use crate::scene::{Scene, signed};

/// A repository with three projects, and a backup of it.
async fn published() -> Scene {
    let scene = Scene::new().await;
    for project in ["alpha", "beta", "gamma"] {
        scene.publish(&[scene.add(project, "1.0", "one"), scene.add(project, "1.1", "two")]).await.unwrap();
    }
    back_up(&scene, "good").await;
    scene
}

fn archive(scene: &Scene, name: &str) -> PathBuf {
    scene.spool().join(format!("{name}.tar.zst"))
}

async fn back_up(scene: &Scene, name: &str) {
    scene.open().await.backup(&archive(scene, name), &Unwatched).await.unwrap();
}

async fn good(scene: &Scene) -> Good {
    scene.open().await.good_backup(&archive(scene, "good"), None).await.unwrap()
}

/// What differs from a good state, sorted.
async fn differences(scene: &Scene, good: &Good, keep: &[&str]) -> (Vec<Differing>, Compared) {
    let mut found = Vec::new();
    let mut tell = |differing: &Differing| {
        found.push(differing.clone());
        Ok::<_, RepositoryError>(())
    };
    let keep = Keep::new(keep.iter().map(|name| (*name).to_owned()));
    let compared = scene.open().await.compare(good, &keep, &Unwatched, &mut tell).await.unwrap();
    found.sort();
    (found, compared)
}

/// The same as words: `+`, `~` or `-` and the path.
fn words(found: &[Differing]) -> Vec<String> {
    let word = |differing: &Differing| {
        let mark = match differing.change {
            Change::Added => "+",
            Change::Changed => "~",
            Change::Removed => "-",
        };
        let kind = if differing.item == Item::Delegation { "role " } else { "" };
        format!("{mark} {kind}{}", differing.path)
    };
    found.iter().map(word).collect()
}

/// A file that nobody published.
fn malware() -> TargetFile {
    TargetFile { length: 7, hashes: Hashes::sha256(sha256(b"malware")), extra: Extra::new() }
}

/// What a thief of the keys `names` does, who can write to the store: other targets in the bins, and these bins, snapshot
/// and timestamp with the version `push`, if it is given. The files are written as a thief would, not by wheelseal.
async fn tamper(scene: &Scene, edits: &[(&str, Option<TargetFile>)], push: Option<u64>, names: &[&str]) {
    tamper_at(&scene.root(), edits, push, names).await;
}

async fn tamper_at(root: &Path, edits: &[(&str, Option<TargetFile>)], push: Option<u64>, names: &[&str]) {
    let store = Arc::new(DirStore::open(root).await.unwrap());
    let repository = Repository::open(store).await.unwrap();
    let state = repository.state().await.unwrap();
    let DelegatedRoles::Succinct(succinct) = &state.bins.delegations.as_ref().unwrap().roles else {
        panic!("succinct bins are expected");
    };
    let mut drafts = BTreeMap::new();
    for (path, file) in edits {
        let bin = succinct.role_for(&TargetPath::new(*path).unwrap()).unwrap();
        if !drafts.contains_key(&bin) {
            drafts.insert(bin.clone(), state.bin(repository.store(), &bin).await.unwrap().draft());
        }
        let targets = &mut drafts.get_mut(&bin).unwrap().content.targets;
        match file {
            Some(file) => drop(targets.insert(path, file.clone())),
            None => drop(targets.remove(path)),
        }
    }
    let (mut snapshot, mut timestamp) = (state.snapshot.draft(), state.timestamp.draft());
    for (bin, mut draft) in drafts {
        let version = push.unwrap_or(draft.content.common.version + 1);
        draft.content.common.version = version;
        write(root, &format!("{version}.{bin}.json"), &signed(&draft, names).await);
        snapshot.content.set(bin.as_str(), MetaFile::version(version));
    }
    snapshot.content.common.version = push.unwrap_or(snapshot.content.common.version + 1);
    let bytes = signed(&snapshot, names).await;
    let version = snapshot.content.common.version;
    write(root, &format!("{version}.snapshot.json"), &bytes);
    let (length, hashes) = (u64::try_from(bytes.len()).ok(), Some(Hashes::sha256(sha256(&bytes))));
    timestamp.content.snapshot = MetaFile::new(version, About { length, hashes, ..About::default() });
    timestamp.content.common.version = push.unwrap_or(timestamp.content.common.version + 1);
    write(root, "timestamp.json", &signed(&timestamp, names).await);
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    fs::write(root.join("metadata").join(name), bytes).unwrap();
}
