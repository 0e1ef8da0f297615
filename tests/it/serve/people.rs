//! Pages for people: what they say, to whom, at what cost, and what no word in them can do.

#![expect(clippy::unwrap_used, reason = "a page that cannot be asked for is a test that failed")]

use std::fs;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use chrono::{DateTime, Utc};
use flate2::read::GzDecoder;
use tokio::io::AsyncRead;
use wheelseal::crypto::sha256;
use wheelseal::keys::{self, Ask, KeyUri};
use wheelseal::repository::{BinStyle, Edit, Edits, EventName, Plan, Repository, RoleEdit, Subject};
use wheelseal::server::{Ceremonies, Limits, Pages};
use wheelseal::store::{Content, DirStore, Entry, Object, Store, StoreError, StorePath, Tag};

use super::{Answer, Served, scene};
use crate::claims::{ANN, BOB, apply, claim, open_to_claims, with_six, with_six_promoted};
use crate::scene::{ALL_KEYS, Scene, days_later, example, keyring, now, plan, role, wheel_name};

pub(super) const WHEEL: &str = "alpha-1.0-py3-none-any.whl";

/// A yank's reason that would be markup, and would turn the text around.
const HOSTILE: &str =
    "</span><script>alert(1)</script><img src=x onerror=\"x\"> & 'y' \u{202e}txt.exe\u{2066}\u{200b}";

fn in_forty_days() -> DateTime<Utc> {
    days_later(40)
}

/// A server that shows pages of what is in `store`.
pub(super) async fn showing(
    store: Arc<dyn Store>,
    ceremonies: Ceremonies,
    clock: fn() -> DateTime<Utc>,
) -> Served {
    let repository = Repository::open(Arc::clone(&store)).await.unwrap();
    Served::made(store, Limits::default(), move |server, told| {
        let report = move |error: &wheelseal::repository::RepositoryError| {
            told.lock().unwrap().push(error.to_string());
        };
        server.showing(Pages::new(repository, ceremonies, clock, report))
    })
}

pub(super) async fn shown(scene: &Scene) -> Served {
    showing(scene.store().await, Ceremonies::Hidden, now).await
}

pub(super) fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

/// The words of a page without its markup, white space as one space.
pub(super) fn words(answer: &Answer) -> String {
    let body = text(answer).split("</style>").nth(1).unwrap();
    let mut words = String::new();
    for part in body.split('<') {
        words.push_str(part.split_once('>').map_or("", |(_, words)| words));
        words.push(' ');
    }
    let words = words.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    let words = words.replace("&#39;", "'").replace("&amp;", "&");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// That a page says all of this.
pub(super) fn says(answer: &Answer, all: &[&str]) {
    let words = words(answer);
    for expected in all {
        assert!(words.contains(expected), "no {expected:?} in {words}");
    }
}

/// That nothing on a page comes from elsewhere, runs, or breaks out of its place.
pub(super) fn is_safe(answer: &Answer, path: &str) {
    let page = text(answer);
    assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"), "{path}");
    for never in [
        "<script",
        "<img",
        "<iframe",
        "<object",
        "<link",
        "<base",
        "<embed",
        "javascript:",
        "url(",
        "@import",
    ] {
        assert!(!page.contains(never), "{path}: {never}");
    }
    for tag in page.split('<').skip(1).filter_map(|part| part.split_once('>')).map(|(tag, _)| tag) {
        let attributes = tag.split_once(' ').map_or("", |(_, attributes)| attributes);
        let handler = attributes.split("\" ").any(|one| one.starts_with("on") || one.starts_with("style="));
        assert!(!handler, "{path}: <{tag}>");
        // What a page says may have it, such as a hash in base64.
        let leads = ["href=\"", "action=\""].iter().filter_map(|name| attributes.split(name).nth(1));
        assert!(leads.into_iter().all(|to| !to.split('"').next().unwrap().contains("//")), "{path}: <{tag}>");
    }
    assert!(!page.contains(['\u{202e}', '\u{2066}', '\u{200b}', '\0', '\u{1b}']), "{path}");
    // Each element that is opened is closed, in order.
    let mut open = Vec::new();
    for tag in page.split('<').skip(2).map(|part| part.split(['>', ' ']).next().unwrap()) {
        match tag.strip_prefix('/') {
            Some(tag) => assert_eq!(open.pop(), Some(tag), "{path}"),
            None if ["meta", "input"].contains(&tag) => {}
            None => open.push(tag),
        }
    }
    assert_eq!(open, [""; 0], "{path}");
}

#[tokio::test]
async fn health_tells_of_each_role_until_when_it_is_good_and_who_signed() {
    let scene = scene().await;
    let served = shown(&scene).await;
    let answer = served.get("/", &[]);
    assert_eq!(answer.status, 200);
    let online = keyring(&["online"]).await.signers().next().unwrap().key().id();
    says(
        &answer,
        &[
            "Repository health ✓ Well. The 7 roles listed here are in date and signed by enough keys.",
            "Snapshot version 2",
            "Hashed bins 4",
            "Claims by maintainers not enabled",
            "timestamp ✓ in date until 2090-06-08 12:00 UTC , in 7 days",
            "root ✓ in date until 2091-06-01 12:00 UTC , in 12 months",
            "snapshot 2 root signed by 1 of 1 key, 1 needed",
            &format!("{online} ed25519 timestamp, snapshot, recently-claimed"),
            "the page itself is not signed: who controls the server can show anything",
            "wheelseal trust add NAME URL --root root.json",
        ],
    );
    assert!(!words(&answer).contains("eremon"), "hidden ceremonies are not even named");
    is_safe(&answer, "/");
}

#[tokio::test]
async fn what_has_expired_is_said_in_words_and_the_page_stays() {
    let scene = scene().await;
    let served = showing(scene.store().await, Ceremonies::Hidden, in_forty_days).await;
    let answer = served.get("/", &[]);
    assert_eq!(answer.status, 200);
    says(
        &answer,
        &[
            "✕ Not well. timestamp has expired: clients refuse it until it is signed anew. snapshot has expired",
            "timestamp ✕ expired 2090-06-08 12:00 UTC , 33 days ago",
            "root ✓ in date",
        ],
    );
    says(
        &served.get("/project/alpha/", &[]),
        &["timestamp version 2 ✕ expired 2090-06-08 12:00 UTC , 33 days ago"],
    );
}

fn in_five_days() -> DateTime<Utc> {
    days_later(5)
}

#[tokio::test]
async fn what_should_have_been_signed_anew_by_now_is_said_before_it_expires() {
    let scene = scene().await;
    let served = showing(scene.store().await, Ceremonies::Hidden, in_five_days).await;
    let answer = served.get("/", &[]);
    says(
        &answer,
        &[
            "! To be done. timestamp is due to be signed anew. Root version",
            "timestamp ! due until 2090-06-08 12:00 UTC , in 2 days",
            "snapshot ✓ in date",
        ],
    );
}

#[tokio::test]
async fn an_empty_repository_has_pages_as_well() {
    let scene = Scene::new().await;
    let served = shown(&scene).await;
    for path in ["/", "/tree/", "/project/", "/tree/claimed/", "/tree/recently-claimed/"] {
        let answer = served.get(path, &[]);
        assert_eq!(answer.status, 200, "{path}");
        is_safe(&answer, path);
    }
    says(&served.get("/tree/claimed/", &[]), &["No project is claimed here."]);
    says(&served.get("/project/alpha/", &[]), &["There is no project alpha here."]);
}

#[tokio::test]
async fn a_browser_may_do_nothing_but_show_the_page_in_its_style() {
    let scene = scene().await;
    let served = shown(&scene).await;
    for path in [
        "/",
        "/project/alpha/",
        &format!("/project/alpha/{WHEEL}"),
        "/tree/",
        "/project/",
        "/project/nothing/",
    ] {
        let answer = served.get(path, &[]);
        let (_, rest) = text(&answer).split_once("<style>").unwrap();
        let style = rest.split("</style>").next().unwrap();
        let digest = base64::engine::general_purpose::STANDARD.encode(sha256(style.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        assert_eq!(answer.field("content-security-policy"), policy, "{path}");
        assert_eq!(answer.field("referrer-policy"), "no-referrer");
        assert_eq!(answer.field("x-content-type-options"), "nosniff");
        assert_eq!(answer.field("content-type"), "text/html; charset=utf-8");
        is_safe(&answer, path);
    }
}

#[tokio::test]
async fn pages_are_asked_for_again_and_sent_only_if_they_changed() {
    let scene = scene().await;
    let served = shown(&scene).await;
    for path in ["/", "/project/alpha/", "/tree/"] {
        let first = served.get(path, &[]);
        assert_eq!((first.status, first.field("cache-control")), (200, "no-cache"), "{path}");
        assert_eq!(first.field("vary"), "Accept-Encoding");
        let tag = format!("If-None-Match: {}", first.field("etag"));
        let again = served.get(path, &[&tag]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.field("content-security-policy"), first.field("content-security-policy"));
        let head = served.ask("HEAD", path, &[]);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for name in ["content-length", "content-type", "etag", "content-security-policy"] {
            assert_eq!(head.field(name), first.field(name), "{path} {name}");
        }
        let gzip = served.get(path, &["Accept-Encoding: gzip"]);
        assert_eq!((gzip.field("content-encoding"), gzip.field("etag")), ("gzip", first.field("etag")));
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut GzDecoder::new(&gzip.body[..]), &mut plain).unwrap();
        assert_eq!(plain, first.body);
        let zstd = served.get(path, &["Accept-Encoding: zstd"]);
        assert_eq!(zstd.field("content-encoding"), "zstd");
        assert_eq!(zstd::decode_all(&zstd.body[..]).unwrap(), first.body);
    }
    let before = served.get("/project/alpha/", &[]);
    scene.publish(&[scene.add("alpha", "1.1", "x = 2\n")]).await.unwrap();
    let tag = format!("If-None-Match: {}", before.field("etag"));
    let after = served.get("/project/alpha/", &[&tag]);
    assert_eq!(after.status, 200);
    says(&after, &["Newest version 1.1", "alpha-1.1-py3-none-any.whl"]);
}

#[tokio::test]
async fn a_project_shows_its_files_and_why_they_are_trusted() {
    let scene = scene().await;
    let bytes = scene.files()[&format!("targets/alpha/{WHEEL}")].clone();
    let (hash, length) = (hex::encode(sha256(&bytes)), bytes.len());
    let served = shown(&scene).await;
    let answer = served.get("/project/alpha/", &[]);
    assert_eq!(answer.status, 200);
    says(
        &answer,
        &[
            "alpha Not claimed: the index signs for it, with its online keys.",
            "Newest version 1.0 Versions 1 Files 1 Changed in snapshot 2",
            "Each change must be signed by the one key that the index has online, in the role bins-",
            &format!("{WHEEL} {hash} {length} bytes 2090-06-01 12:00 UTC , now >=3.8 offered"),
            "simple/alpha/index.json",
            &format!("wheelseal explain {WHEEL}"),
        ],
    );
    let words_of = words(&answer);
    let roles = [
        "root version 1",
        "timestamp version 2",
        "snapshot version 2",
        "targets version 1",
        "bins version 1",
        "bins-",
    ];
    let trail = words_of.split("Why this list of files is trusted").nth(1).unwrap();
    let places: Vec<_> = roles.iter().map(|role| trail.find(role).unwrap()).collect();
    assert!(places.is_sorted(), "{trail}");
    let file = served.get(&format!("/project/alpha/{WHEEL}"), &[]);
    assert_eq!(file.status, 200);
    says(
        &file,
        &[
            &format!("alpha/{WHEEL} {length} bytes, SHA-256 {hash}"),
            "State: offered",
            &format!("wheelseal download {WHEEL}"),
        ],
    );
    assert!(!words(&file).contains('✕'));
}

#[tokio::test]
async fn the_words_of_others_stay_words() {
    let scene = scene().await;
    let reason = HOSTILE.parse().unwrap();
    scene.publish(&[Edit::Yank(wheel_name("alpha", "1.0"), Some(reason))]).await.unwrap();
    let served = shown(&scene).await;
    for path in ["/project/alpha/", &format!("/project/alpha/{WHEEL}")] {
        let answer = served.get(path, &[]);
        is_safe(&answer, path);
        says(
            &answer,
            &[
                "! yanked </span><script>alert(1)</script><img src=x onerror=\"x\"> & 'y' U+202E txt.exe U+2066 U+200B",
            ],
        );
    }
    says(&served.get("/project/alpha/", &[]), &["Newest version none"]);
    for (name, typed) in [("%22%3E%3Cscript%3E", "\"><script>"), ("%E2%80%AEx", "U+202Ex")] {
        let answer = served.get(&format!("/project/?name={name}"), &[]);
        assert_eq!(answer.status, 400);
        assert!(text(&answer).contains(&format!(
            "value=\"{}\"",
            typed.replace('"', "&quot;").replace('>', "&gt;").replace('<', "&lt;")
        )));
        is_safe(&answer, name);
    }
}

#[tokio::test]
async fn a_claimed_project_is_trusted_by_its_maintainers_keys() {
    let [ann, bob] =
        [ANN, BOB].map(|name| async move { keyring(&[name]).await.signers().next().unwrap().key().id() });
    let (ann, bob) = (ann.await, bob.await);
    let scene = with_six().await;
    scene.publish(&[scene.add("seven", "1.0", "two")]).await.unwrap();
    apply(&scene, &claim(&scene, "seven", &[ANN, BOB], 2, &[]).await, Vec::new()).await.unwrap();
    let served = shown(&scene).await;
    let answer = served.get("/project/seven/", &[]);
    says(
        &answer,
        &[
            "Recently claimed: its maintainers sign for it. Until the next ceremony",
            "Each change must be signed by 2 of the 2 keys of its maintainers, in the role project-seven",
            &format!("{ann} ed25519 ✓ yes"),
            &format!("{bob} ed25519 ✓ yes"),
            "recently-claimed-0000 version",
            "project-seven version 1",
        ],
    );
    let bucket = served.get("/tree/recently-claimed-0000/", &[]);
    says(
        &bucket,
        &["Claimed projects 2", "2 claimed projects, by name.", "seven 2 of 2 keys", "six 1 of 1 key"],
    );
    assert!(text(&bucket).contains("href=\"../../project/seven/\""));
    says(&served.get("/tree/recently-claimed/", &[]), &["recently-claimed-0000 1 anything else"]);
    for path in ["/tree/claimed-0000/", "/tree/claimed-ffff/", "/tree/bins/", "/tree/project-six/"] {
        assert_eq!(served.get(path, &[]).status, 404, "{path}");
    }
    let scene = with_six_promoted().await;
    let served = shown(&scene).await;
    let answer = served.get("/project/six/", &[]);
    says(
        &answer,
        &[
            "Claimed: its maintainers sign for it, with keys that the index does not have.",
            "claimed-0000 version",
        ],
    );
    says(&served.get("/tree/claimed-0000/", &[]), &["six 1 of 1 key", &ann.short()]);
}

#[tokio::test]
async fn the_tree_is_that_of_the_command_with_bins_told_of_together() {
    let scene = open_to_claims().await;
    let served = shown(&scene).await;
    let answer = served.get("/tree/", &[]);
    says(
        &answer,
        &[
            "root version 1 1 of 1 key must sign",
            "claimed version 1 for */* simple/*/*",
            "Its buckets and projects",
            "bins-0 … bins-3 4 bins by hash of the path 1 of 1 key must sign",
        ],
    );
    is_safe(&answer, "/tree/");
}

#[tokio::test]
async fn long_lists_come_in_parts() {
    let scene = Scene::new().await;
    let edits: Vec<_> = (0..150).map(|number| scene.add("alpha", &format!("1.{number}"), "x")).collect();
    scene.publish(&edits).await.unwrap();
    let served = shown(&scene).await;
    let rows = |answer: &Answer| text(answer).matches("<th scope=\"row\"").count();
    let first = served.get("/project/alpha/", &[]);
    says(
        &first,
        &[
            "1 to 100 of 150 files, newest version first.",
            "alpha-1.149-py3-none-any.whl",
            "Part 1 of 2 Next part",
        ],
    );
    assert!(text(&first).contains("href=\"./?page=2\""));
    // One row more: the key that signs.
    assert_eq!(rows(&first), 101);
    for path in ["/project/alpha/?page=2", "/project/alpha/?page=999999999999999999"] {
        let second = served.get(path, &[]);
        says(
            &second,
            &["101 to 150 of 150 files", "alpha-1.0-py3-none-any.whl", "Part 2 of 2 Previous part"],
        );
        assert_eq!(rows(&second), 51);
    }
    for page in ["0", "-1", "x", "", "18446744073709551616"] {
        let answer = served.get(&format!("/project/alpha/?page={page}"), &[]);
        says(&answer, &["Part 1 of 2"]);
    }
}

#[tokio::test]
async fn a_name_that_is_typed_leads_to_its_project() {
    let scene = scene().await;
    let served = shown(&scene).await;
    for (path, status, to) in [
        ("/project/?name=Alpha", 303, "./alpha/"),
        ("/project/?name=+Zope.Interface+", 303, "./zope-interface/"),
        ("/project", 301, "./project/"),
        ("/tree", 301, "./tree/"),
        ("/project/alpha", 301, "./alpha/"),
        ("/project/ALPHA/", 301, "../alpha/"),
    ] {
        let answer = served.get(path, &[]);
        assert_eq!((answer.status, answer.field("location")), (status, to), "{path}");
        assert_eq!(answer.body.len(), 0);
    }
    for (path, status) in [
        ("/project/?name=", 400),
        ("/project/?name=--", 400),
        ("/project/?name=a%2F..%2Fb", 400),
        ("/project/?nothing=1", 200),
        ("/project/beta/", 404),
        ("/project/alpha/beta", 404),
        ("/project/alpha/..%2f..%2fwheelseal.toml", 404),
        ("/project/-/", 404),
        ("/tree/a/b", 404),
        ("/ceremony/", 404),
        ("/ceremony/x/", 404),
    ] {
        assert_eq!(served.get(path, &[]).status, status, "{path}");
    }
    let absent = served.get("/project/beta/", &[]);
    assert_eq!(absent.field("cache-control"), "no-store");
    says(&absent, &["Not found There is no project beta here."]);
    for method in ["POST", "PUT", "DELETE"] {
        for path in ["/", "/project/", "/project/alpha/"] {
            assert_eq!(served.ask(method, path, &[]).status, 405, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn without_pages_their_addresses_are_nothing() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    for path in ["/", "/project/", "/project/alpha/", "/tree/", "/log", "/log/", "/ceremony/"] {
        assert_eq!(served.get(path, &[]).status, 404, "{path}");
    }
}

#[tokio::test]
async fn installers_pages_are_as_they_were() {
    let scene = scene().await;
    let (with, without) = (shown(&scene).await, Served::new(scene.store().await));
    for path in ["/simple/", "/simple/alpha/", "/metadata/timestamp.json", "/healthz", "/nothing"] {
        let (with, without) = (with.get(path, &[]), without.get(path, &[]));
        let [one, other] = [&with, &without].map(|answer| {
            let mut fields = answer.fields.clone();
            fields.remove("date");
            (answer.status, fields, answer.body.clone())
        });
        assert_eq!(one, other, "{path}");
    }
}

/// A scene with a ceremony under way: a key more for timestamp, half signed, by a holder with a hostile name.
async fn ceremony() -> Scene {
    let plan = Plan { root: role(&["root-1", "root-2", "root-3"], 2).await, ..plan().await };
    let scene = Scene::of(&plan, &["root-1", "root-2", "root-3", "targets-1", "online"]).await;
    let key = keys::open_public(&KeyUri::File(example("online-2")), &Ask).await.unwrap();
    let subject = Subject::Timestamp;
    let edits =
        Edits { roles: vec![(subject, RoleEdit::AddKey(Box::new(key)))], bins: None, log_policy: None };
    let repository = scene.open().await;
    let mut event = repository.draft(EventName::new("more-keys").unwrap(), &edits, now()).await.unwrap();
    let ring = keyring(&["root-1"]).await;
    event.sign(ring.signers().next().unwrap(), Some("<b>Ann</b>\u{202e}"), now()).await.unwrap();
    repository.keep(&event).await.unwrap();
    scene
}

#[tokio::test]
async fn ceremonies_are_shown_only_where_the_operator_wants_it() {
    let scene = ceremony().await;
    let hidden = shown(&scene).await;
    for path in ["/ceremony/", "/ceremony/more-keys/"] {
        let answer = hidden.get(path, &[]);
        assert_eq!(answer.status, 404, "{path}");
        assert!(!text(&answer).contains("more-keys"));
    }
    assert!(!text(&hidden.get("/", &[])).contains("more-keys"));
    let served = showing(scene.store().await, Ceremonies::Shown, now).await;
    says(&served.get("/", &[]), &["Open ceremonies more-keys"]);
    says(&served.get("/ceremony/", &[]), &["Nothing of them is in force yet. more-keys"]);
    let answer = served.get("/ceremony/more-keys/", &[]);
    assert_eq!(answer.status, 200);
    let new = keyring(&["online-2"]).await.signers().next().unwrap().key().id();
    says(
        &answer,
        &[
            "Ceremony more-keys ! Waiting for signatures.",
            "Signatures missing 1",
            &format!("timestamp: key added, {new} (Ed25519), whose holder has NOT shown yet to hold it"),
            "root now and after ! 1 of 2 needed <b>Ann</b> U+202E",
            &format!("{new} not told ! not yet"),
            "wheelseal ceremony verify more-keys --root root.json",
        ],
    );
    is_safe(&answer, "ceremony");
    for path in ["/ceremony/other/", "/ceremony/UPPER/", "/ceremony/..%2f..%2fx/"] {
        assert_eq!(served.get(path, &[]).status, 404, "{path}");
    }
    assert_eq!(*served.told.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_ceremony_that_does_not_verify_or_is_too_large_is_not_shown() {
    let scene = ceremony().await;
    let at = scene.root().join("staging/ceremonies/more-keys.json");
    let good = fs::read_to_string(&at).unwrap();
    fs::write(&at, good.replacen("ed25519", "ed25518", 1)).unwrap();
    let served = showing(scene.store().await, Ceremonies::Shown, now).await;
    let answer = served.get("/ceremony/more-keys/", &[]);
    assert_eq!((answer.status, answer.field("cache-control")), (503, "no-store"));
    says(&answer, &["Not available The repository could not be read, or what was read does not verify."]);
    assert_eq!(served.told.lock().unwrap().len(), 1);
    fs::write(&at, vec![b' '; 5 * 1_024 * 1_024]).unwrap();
    let answer = served.get("/ceremony/more-keys/", &[]);
    says(&answer, &["This ceremony changes too much to be verified for a page."]);
}

#[tokio::test]
async fn what_does_not_verify_is_not_shown_and_the_operator_is_told() {
    let scene = scene().await;
    let served = shown(&scene).await;
    assert_eq!(served.get("/", &[]).status, 200);
    let timestamp = scene.root().join("metadata/timestamp.json");
    let good = fs::read_to_string(&timestamp).unwrap();
    fs::write(&timestamp, good.replacen("\"version\":2", "\"version\":3", 1)).unwrap();
    let answer = served.get("/", &[]);
    assert_eq!((answer.status, answer.field("cache-control")), (503, "no-store"));
    is_safe(&answer, "/");
    assert!(answer.field("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    let told = served.told.lock().unwrap().clone();
    assert!(matches!(told.as_slice(), [one] if one.contains("timestamp")), "{told:?}");
    fs::write(&timestamp, good).unwrap();
    assert_eq!(served.get("/", &[]).status, 200, "nothing of the failure is kept");
    for (path, bytes) in scene.files().iter().filter(|(path, _)| path.contains(".bins-")) {
        let text = String::from_utf8(bytes.clone()).unwrap();
        fs::remove_file(scene.root().join(path)).unwrap();
        fs::write(scene.root().join(path), text.replace("alpha", "alphb")).unwrap();
    }
    assert_eq!(served.get("/project/alpha/", &[]).status, 503, "a bin that was changed");
    assert_eq!(served.get("/", &[]).status, 200, "which this page does not need");
}

/// A store that notes what is read.
#[derive(Debug)]
struct Noting(DirStore, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Store for Noting {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        self.1.lock().unwrap().push(path.to_string());
        self.0.get(path, max_len).await
    }
    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        self.0.open(path).await
    }
    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        self.0.create(path, content).await
    }
    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        self.0.swap(path, bytes, expected).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        panic!("{prefix} is listed for a page")
    }
    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.0.delete(path).await
    }
}

#[tokio::test]
async fn of_16384_bins_a_page_reads_one_at_most() {
    let plan = Plan { bin_count: 16_384, bin_style: BinStyle::Prefixes, ..plan().await };
    let scene = Scene::of(&plan, &ALL_KEYS).await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1\n")]).await.unwrap();
    let read = Arc::new(Mutex::new(Vec::new()));
    let store = Noting(DirStore::open(scene.root()).await.unwrap(), Arc::clone(&read));
    let served = showing(Arc::new(store), Ceremonies::Hidden, now).await;
    assert_eq!(served.get("/", &[]).status, 200);
    for (path, bins, all) in [
        ("/", 0, 2),
        ("/tree/", 0, 2),
        ("/project/alpha/", 1, 4),
        (&*format!("/project/alpha/{WHEEL}"), 2, 5),
    ] {
        read.lock().unwrap().clear();
        let answer = served.get(path, &[]);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.len() < 40_000, "{path}: {} bytes", answer.body.len());
        let read = read.lock().unwrap().clone();
        assert_eq!(read.iter().filter(|path| path.contains(".bins-")).count(), bins, "{path}: {read:?}");
        assert_eq!(read.len(), all, "{path}: {read:?}");
    }
    says(&served.get("/", &[]), &["Hashed bins 16,384"]);
    says(&served.get("/tree/", &[]), &["bins-0000 … bins-3fff 16384 bins by hash of the path"]);
}
