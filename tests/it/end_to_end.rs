//! A client of the built program against a repository in a folder and behind a server on the loopback interface that
//! may lie: what is downloaded, and the exit code of each refusal.

#![expect(clippy::unwrap_used, reason = "a server that does not start is a test that cannot run")]

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use tokio::runtime::Runtime;
use wheelseal::repository::{Repository, Unwatched};
use wheelseal::store::DirStore;

use crate::scene::{ALL_KEYS, files_below, keyring, plan};
use crate::shell::{Home, shown};

const WHEEL: &str = "alpha-1.0-py3-none-any.whl";

/// Path and bytes that are served instead of what is there; `None` is not found.
type Lies = Arc<Mutex<HashMap<String, Option<Vec<u8>>>>>;

/// Serves a folder until it is dropped.
struct Server {
    url: String,
    lies: Lies,
    _runtime: Runtime,
}

impl Server {
    fn of(folder: PathBuf) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let lies = Lies::default();
        let app = axum::Router::new().fallback(answer).with_state((Arc::new(folder), Arc::clone(&lies)));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, lies, _runtime: runtime }
    }

    fn lie(&self, path: &str, bytes: Option<Vec<u8>>) {
        self.lies.lock().unwrap().insert(path.to_owned(), bytes);
    }

    fn be_honest(&self) {
        self.lies.lock().unwrap().clear();
    }
}

async fn answer(
    State((folder, lies)): State<(Arc<PathBuf>, Lies)>,
    request: Request,
) -> Result<Vec<u8>, StatusCode> {
    let path = request.uri().path().trim_start_matches('/');
    let lie = lies.lock().unwrap().get(path).cloned();
    match lie {
        Some(lie) => lie.ok_or(StatusCode::NOT_FOUND),
        None => fs::read(folder.join(path)).map_err(|_| StatusCode::NOT_FOUND),
    }
}

/// A repository, a server before it, and a client that trusts it.
fn served() -> (Home, Server) {
    let home = Home::with_repository();
    home.publish("alpha", "1.5");
    home.publish("alpha", "2.0");
    let server = Server::of(home.work().join("repo"));
    home.run(&["trust", "add", "mine", &server.url, "--root", "repo/metadata/1.root.json"]).fine();
    (home, server)
}

fn downloaded(home: &Home, folder: &str) -> Vec<String> {
    files_below(&home.work().join(folder)).into_keys().collect()
}

/// The stored file of a target, as a path below the repository.
fn stored(home: &Home, name: &str) -> String {
    let files = files_below(&home.work().join("repo"));
    let found = files.keys().find(|path| path.starts_with("targets/") && path.ends_with(&format!(".{name}")));
    found.unwrap().clone()
}

// What is downloaded.

#[test]
fn a_requirement_means_its_newest_version() {
    let (home, _server) = served();
    let cases = [
        ("alpha", "alpha-2.0-py3-none-any.whl"),
        ("alpha<2", "alpha-1.5-py3-none-any.whl"),
        ("Alpha ~= 1.0", "alpha-1.5-py3-none-any.whl"),
        ("alpha==1.0", WHEEL),
        (WHEEL, WHEEL),
        ("alpha/alpha-1.0-py3-none-any.whl", WHEEL),
    ];
    for (at, (what, expected)) in cases.into_iter().enumerate() {
        let folder = format!("got{at}");
        home.run(&["download", what, "--to", &folder]).fine();
        assert_eq!(downloaded(&home, &folder), [expected], "{what}");
        let signed = fs::read(home.work().join("repo/targets/alpha").join(expected)).unwrap();
        assert_eq!(fs::read(home.work().join(folder).join(expected)).unwrap(), signed);
    }
    home.run(&["download", "alpha==9"]).refused(1, &["9"]);
    home.run(&["download", "nosuch"]).refused(2, &["the repository has no project nosuch"]);
    home.run(&["download", "alpha @ http://127.0.0.1/alpha.whl"]).refused(2, &["alpha @ http"]);
}

#[test]
fn a_yanked_version_is_not_chosen() {
    let (home, _server) = served();
    home.run(&["yank", "--repo", "repo", "alpha-2.0-py3-none-any.whl"]).fine();
    home.run(&["download", "alpha", "--to", "got"]).fine();
    assert_eq!(downloaded(&home, "got"), ["alpha-1.5-py3-none-any.whl"]);
}

#[test]
fn all_files_of_a_version_come_with_all() {
    let (home, _server) = served();
    let source = fs::read(home.wheel("alpha", "2.0")).unwrap();
    let other = home.work().join("alpha-2.0-py2-none-any.whl");
    fs::write(&other, source).unwrap();
    home.run(&["add", "--repo", "repo", &shown(&other)]).fine();
    home.run(&["download", "alpha", "--to", "one"]).fine();
    home.run(&["download", "alpha", "--all", "--to", "all"]).fine();
    assert_eq!(downloaded(&home, "one").len(), 1);
    assert_eq!(downloaded(&home, "all"), ["alpha-2.0-py2-none-any.whl", "alpha-2.0-py3-none-any.whl"]);
}

#[test]
fn a_folder_serves_as_well_as_a_server() {
    let home = Home::with_repository();
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    home.run(&["download", WHEEL, "--to", "got"]).fine();
    let again = home.run(&["download", WHEEL, "--to", "got"]).fine();
    assert!(again.contains("was there already"), "{again}");
    home.run(&["verify", &format!("got/{WHEEL}")]).fine();
}

#[test]
fn offline_means_what_was_verified_before() {
    let (home, server) = served();
    home.run(&["verify", "--offline", &home.wheel("alpha", "1.0")])
        .refused(1, &["hint: run it once without --offline"]);
    home.run(&["verify", &home.wheel("alpha", "1.0")]).fine();
    drop(server);
    home.run(&["verify", "--offline", &home.wheel("alpha", "1.0")]).fine();
    home.run(&["explain", "--offline", WHEEL]).fine();
}

#[test]
fn verify_tells_a_changed_file_and_one_that_nobody_signed() {
    let (home, _server) = served();
    let changed = home.work().join(WHEEL);
    let mut bytes = fs::read(home.wheel("alpha", "1.0")).unwrap();
    bytes[40] ^= 1;
    fs::write(&changed, bytes).unwrap();
    home.run(&["verify", &shown(&changed)]).refused(3, &["1 of 1 failed"]);
    let both = home.run(&["verify", &shown(&changed), &home.wheel("alpha", "2.0")]);
    both.refused(3, &["1 of 2 failed"]);
    assert!(both.stdout.contains("BAD") && both.stdout.contains("is what was signed"), "{}", both.stdout);
    home.run(&["verify", &home.wheel("gamma", "1.0")]).refused(3, &["1 of 1 failed"]);
    let renamed = home.work().join("renamed");
    fs::copy(home.wheel("alpha", "1.0"), &renamed).unwrap();
    home.run(&["verify", "--as", WHEEL, &shown(&renamed)]).fine();
    home.run(&["verify", &shown(&renamed)]).refused(2, &["is not named like a wheel or sdist", "--as"]);
}

// Refusals.

#[test]
fn a_tampered_file_is_refused_and_the_old_file_kept() {
    let (home, server) = served();
    let folder = home.work().join("got");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(WHEEL), "mine").unwrap();
    let path = stored(&home, WHEEL);
    let mut bytes = fs::read(home.work().join("repo").join(&path)).unwrap();
    bytes[40] ^= 1;
    let longer = [&bytes[..], b"x"].concat();
    let texts = ["SHA-256", "hint: this is not the file that was signed"];
    server.lie(&path, Some(bytes.clone()));
    home.run(&["download", WHEEL, "--to", "got"]).refused(3, &texts);
    for lie in [longer, bytes[..10].to_vec()] {
        server.lie(&path, Some(lie));
        let ran = home.run(&["download", WHEEL, "--to", "got"]);
        assert!([3, 7].contains(&ran.code), "{ran:?}");
    }
    assert_eq!(fs::read(folder.join(WHEEL)).unwrap(), b"mine");
    assert_eq!(downloaded(&home, "got"), [WHEEL], "nothing is left beside it");
    server.be_honest();
    home.run(&["download", WHEEL, "--to", "got"]).fine();
    assert_ne!(fs::read(folder.join(WHEEL)).unwrap(), b"mine");
}

#[test]
fn a_missing_file_is_a_fault_of_the_server() {
    let (home, server) = served();
    server.lie(&stored(&home, WHEEL), None);
    home.run(&["download", WHEEL]).refused(7, &[WHEEL]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock")]
fn an_expired_repository_is_refused() {
    let home = Home::new();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Arc::new(DirStore::create(home.work().join("repo")).await.unwrap());
        let long_ago = chrono::Utc::now() - chrono::TimeDelta::days(8);
        let (plan, keys) = (plan().await, keyring(&ALL_KEYS).await);
        Repository::init(store, &plan, &keys, long_ago, &Unwatched).await.unwrap();
    });
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    home.run(&["download", "alpha"]).refused(4, &["timestamp", "expired", "hint: if your clock is right"]);
}

#[test]
fn a_rollback_is_refused() {
    let (home, server) = served();
    let old = fs::read(home.work().join("repo/metadata/timestamp.json")).unwrap();
    home.publish("alpha", "3.0");
    home.run(&["download", "alpha", "--to", "got"]).fine();
    server.lie("metadata/timestamp.json", Some(old));
    home.run(&["download", "alpha", "--to", "got"])
        .refused(5, &["timestamp", "hint: this mirror serves an older state"]);
    server.be_honest();
    home.run(&["download", "alpha", "--to", "got"]).fine();
}

#[test]
fn metadata_that_nobody_signed_is_refused() {
    let (home, server) = served();
    let timestamp = fs::read_to_string(home.work().join("repo/metadata/timestamp.json")).unwrap();
    let mut tree: serde_json::Value = serde_json::from_str(&timestamp).unwrap();
    tree["signatures"] = serde_json::json!([]);
    server.lie("metadata/timestamp.json", Some(serde_json::to_vec(&tree).unwrap()));
    home.run(&["download", "alpha"]).refused(6, &["timestamp", "hint: do not install"]);
    server.lie("metadata/timestamp.json", Some(b"<html>not found</html>".to_vec()));
    home.run(&["download", "alpha"]).refused(3, &["timestamp"]);
}

#[test]
fn a_server_that_is_not_there_is_a_network_fault() {
    let (home, server) = served();
    let url = server.url.clone();
    drop(server);
    home.run(&["download", "alpha"]).refused(7, &[&url]);
    assert_eq!(
        downloaded(&home, "."),
        downloaded(&home, ".").into_iter().filter(|path| path.starts_with("repo/")).collect::<Vec<_>>()
    );
}

#[test]
fn a_client_follows_a_rotation_of_every_key() {
    let (home, _server) = served();
    home.run(&["download", "alpha", "--to", "got"]).fine();
    let key = |name: &str| format!("file:{}", shown(&crate::scene::example(name)));
    let (root, root2, online2) = (key("root-1"), key("root-2"), key("online-2"));
    let rotate = ["role", "rotate", "--repo", "repo", "--key", &root];
    home.run(&[&rotate[..], &["timestamp", "--to", &online2]].concat()).fine();
    home.run(&[&rotate[..], &["snapshot", "--to", &online2]].concat()).fine();
    home.run(&[&rotate[..], &["root", "--to", &root2]].concat()).fine();
    home.publish("alpha", "4.0");
    home.run(&["check", "--repo", "repo"]).fine();
    home.run(&["download", "alpha", "--to", "got"]).fine();
    assert!(downloaded(&home, "got").contains(&"alpha-4.0-py3-none-any.whl".to_owned()));
    let explained = home.run(&["explain", WHEEL]).fine();
    assert!(explained.contains("root v4"), "{explained}");
}

#[test]
fn a_root_from_elsewhere_is_refused_when_trust_is_added() {
    let (home, server) = served();
    let add = ["trust", "add", "other", &server.url, "--root"];
    home.run(&[&add[..], &["repo/metadata/timestamp.json"]].concat()).refused(3, &["root"]);
    home.run(&[&add[..], &["nowhere.json"]].concat()).refused(1, &["nowhere.json"]);
    home.run(&["trust", "add", "mine", &server.url, "--root", "repo/metadata/1.root.json"])
        .refused(2, &["mine"]);
}

#[test]
fn explain_verifies_a_local_file_first() {
    let (home, _server) = served();
    let file = home.work().join(WHEEL);
    fs::write(&file, "forged").unwrap();
    home.run(&["explain", &shown(&file)]).refused(3, &["has 6 bytes, signed are"]);
    fs::copy(home.wheel("alpha", "1.0"), &file).unwrap();
    assert!(home.run(&["explain", &shown(&file)]).fine().contains("is trusted because"));
}

#[test]
fn a_yanked_version_is_named_when_nothing_else_fits() {
    let (home, _server) = served();
    home.run(&["yank", "--repo", "repo", "alpha-1.0-py3-none-any.whl"]).fine();
    home.run(&["download", "alpha<1.5"]).refused(1, &["alpha that fit are yanked: 1.0"]);
    home.run(&["download", "alpha==1.0", "--to", "got"]).fine();
}
