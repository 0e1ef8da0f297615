//! Another index that is read into a list: ours, odd ones, slow ones, hostile ones, and one that changes between two runs.

#![expect(clippy::unwrap_used, reason = "an index that cannot be set up is a test that cannot run")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tempfile::TempDir;
use wheelseal::client::{FetchError, Timing};
use wheelseal::crawl::{Crawl, CrawlError, Crawled};
use wheelseal::repository::{Imported, Layout, List, Repository, Run, Unwatched};

use crate::memory::Reader;
use crate::scene::{ONLINE, Scene, keyring, now, pages};
use crate::serve::Served;
use crate::shell::Home;

const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// An answer of the index.
#[derive(Debug, Clone)]
struct Page {
    body: String,
    kind: &'static str,
    tag: Option<&'static str>,
    /// Answers of this status come first, so often.
    failing: (u16, usize),
}

/// What the index has, and what it was asked.
#[derive(Debug, Default)]
struct World {
    pages: BTreeMap<String, Page>,
    asked: Vec<String>,
}

/// An index on a loopback port.
struct Index {
    world: Arc<Mutex<World>>,
    url: String,
    notes: TempDir,
}

async fn answer(State(world): State<Arc<Mutex<World>>>, request: Request) -> Response {
    let mut world = world.lock().unwrap();
    let path = request.uri().path().to_owned();
    world.asked.push(path.clone());
    let field = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let empty = |status: u16| Response::builder().status(status).body(String::new().into()).unwrap();
    let Some(page) = world.pages.get_mut(&path) else { return empty(404) };
    assert_eq!(field("accept").unwrap(), JSON);
    if page.failing.1 > 0 {
        page.failing.1 -= 1;
        return empty(page.failing.0);
    }
    if page.tag.is_some() && field("if-none-match").as_deref() == page.tag {
        return empty(304);
    }
    let mut response = Response::builder().header("content-type", page.kind);
    if let Some(tag) = page.tag {
        response = response.header("etag", tag);
    }
    response.body(page.body.clone().into()).unwrap()
}

impl Index {
    async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/simple/", listener.local_addr().unwrap());
        let world = Arc::<Mutex<World>>::default();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&world));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { world, url, notes: tempfile::tempdir().unwrap() }
    }

    /// Puts a page, whose `files` are names with a digit that its hash is made of, or values.
    fn page(&self, project: &str, serial: u64, files: &[Value]) {
        let body =
            json!({"meta": {"api-version": "1.1", "_last-serial": serial}, "name": project, "files": files});
        self.put(&format!("{project}/"), body.to_string());
    }

    fn projects(&self, projects: &[Value]) {
        self.put("", json!({"meta": {"api-version": "1.1"}, "projects": projects}).to_string());
    }

    fn put(&self, path: &str, body: String) {
        let page = Page { body, kind: JSON, tag: None, failing: (0, 0) };
        self.world.lock().unwrap().pages.insert(format!("/simple/{path}"), page);
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Page)) {
        change(self.world.lock().unwrap().pages.get_mut(&format!("/simple/{path}")).unwrap());
    }

    fn crawl(&self) -> Crawl {
        let timing = Timing {
            head: Duration::from_secs(5),
            pauses: [Duration::from_millis(1); 3],
            ..Timing::default()
        };
        let notes = self.notes.path().to_owned();
        Crawl { url: self.url.clone(), notes, jobs: 3.try_into().unwrap(), timing }
    }

    /// What came of it, the list, and what was asked, sorted.
    async fn run(&self) -> Result<(Crawled, String, Vec<String>), CrawlError> {
        self.world.lock().unwrap().asked.clear();
        let (crawled, mut lines) = self.crawl().run(&|_, _| {}).await?;
        let mut text = String::new();
        lines.read_to_string(&mut text).unwrap();
        let mut asked = std::mem::take(&mut self.world.lock().unwrap().asked);
        asked.sort();
        Ok((crawled, text, asked))
    }
}

fn file(name: &str, digit: &str) -> Value {
    json!({"filename": name, "url": "https://elsewhere.example/x", "size": 7, "hashes": {"sha256": digit.repeat(64)}})
}

#[tokio::test]
async fn only_pages_that_changed_are_asked_for_again() {
    let index = Index::new().await;
    index.projects(&[
        json!({"name": "A.b"}),
        json!({"name": "serial", "_last-serial": 4}),
        json!({"name": "gone"}),
    ]);
    index.page("a-b", 1, &[file("a_b-1.0.tar.gz", "a")]);
    index.page("serial", 4, &[file("serial-1.0.zip", "b"), file("serial-1.0.egg", "b")]);
    index.change("a-b/", |page| page.tag = Some("\"one\""));
    let (a, b) = (format!("a-b/a_b-1.0.tar.gz\t7\t{}\t\t\t\t\n", "a".repeat(64)), "b".repeat(64));
    let list = format!("{a}serial/serial-1.0.zip\t7\t{b}\t\t\t\t\n");
    let (crawled, lines, asked) = index.run().await.unwrap();
    let expected = Crawled { projects: 3, fetched: 2, absent: 1, files: 2, ..Crawled::default() };
    assert_eq!((crawled, lines), (expected.clone(), list.clone()));
    assert_eq!(asked, ["/simple/", "/simple/a-b/", "/simple/gone/", "/simple/serial/"]);
    let (crawled, lines, asked) = index.run().await.unwrap();
    assert_eq!((crawled, lines), (Crawled { fetched: 0, unchanged: 2, ..expected }, list));
    assert_eq!(asked, ["/simple/", "/simple/a-b/", "/simple/gone/"]);
    index.page("serial", 5, &[file("serial-1.1.zip", "c")]);
    index.projects(&[json!({"name": "serial", "_last-serial": 5})]);
    let (crawled, lines, _) = index.run().await.unwrap();
    assert_eq!((crawled.projects, crawled.fetched), (1, 1));
    assert_eq!(lines, format!("serial/serial-1.1.zip\t7\t{}\t\t\t\t\n", "c".repeat(64)));
    index.put("", "{}".to_owned());
    assert!(matches!(index.run().await, Err(CrawlError::Page { .. })));
}

#[tokio::test]
async fn an_interrupted_crawl_goes_on_where_it_was() {
    let index = Index::new().await;
    let names: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    index.projects(&names.iter().map(|name| json!({"name": name, "_last-serial": 1})).collect::<Vec<_>>());
    for name in &names {
        index.page(name, 1, &[file(&format!("{name}-1.0.zip"), "a")]);
    }
    index.change("p9/", |page| page.failing = (403, 1));
    let refused = index.run().await.unwrap_err();
    let url = format!("{}p9/", index.url);
    assert_eq!(refused, CrawlError::Fetch(FetchError::Status { url, status: 403 }));
    let (crawled, lines, asked) = index.run().await.unwrap();
    assert_eq!((crawled.fetched + crawled.unchanged, lines.lines().count()), (20, 20));
    assert!(crawled.unchanged > 0);
    assert_eq!(u64::try_from(asked.len()).unwrap(), 1 + crawled.fetched);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_pass_is_an_error() {
    let index = Index::new().await;
    index.projects(&[json!({"name": "six"})]);
    index.page("six", 1, &[file("six-1.0.zip", "a")]);
    for status in [429, 500, 503] {
        index.change("six/", |page| page.failing = (status, 3));
        let (crawled, ..) = index.run().await.unwrap();
        assert_eq!(crawled.fetched, 1);
    }
    let url = format!("{}six/", index.url);
    index.change("six/", |page| page.failing = (500, 4));
    let failed = Err(CrawlError::Fetch(FetchError::Status { url: url.clone(), status: 500 }));
    assert_eq!(index.run().await.map(drop), failed);
    index.change("six/", |page| page.kind = "text/html; charset=utf-8");
    let refused = index.run().await.unwrap_err().to_string();
    assert!(refused.contains("text/html") && refused.contains("PEP 691"), "{refused}");
    index.change("six/", |page| (page.kind, page.body) = (JSON, "x".repeat(33 << 20)));
    assert_eq!(
        index.run().await.map(drop),
        Err(CrawlError::Fetch(FetchError::TooLarge { url, max: 32 << 20 }))
    );
    index.world.lock().unwrap().pages.clear();
    assert_eq!(index.run().await.map(drop), Err(CrawlError::Absent { url: index.url.clone() }));
    for url in ["ftp://127.0.0.1/simple/", "http://127.0.0.1/simple/?x=1", "simple", "file:///etc"] {
        let crawl = Crawl { url: url.to_owned(), ..index.crawl() };
        let refused = crawl.run(&|_, _| {}).await.map(drop);
        assert!(matches!(refused, Err(CrawlError::Fetch(FetchError::BadUrl { .. }))), "{url}");
    }
    let crawl = Crawl { url: "https://user:secret@example.org/simple".to_owned(), ..index.crawl() };
    assert_eq!(crawl.public_url().unwrap(), "https://example.org/simple/");
}

#[tokio::test]
async fn files_that_do_not_belong_or_have_no_hash_are_named_and_the_others_listed() {
    let index = Index::new().await;
    index.projects(&[json!({"name": "six"}), json!({"name": "../evil"}), json!({"name": "SIX"})]);
    let mut no_hash = file("six-1.1.zip", "a");
    no_hash["hashes"] = json!({"md5": "0"});
    let mut tabs = file("six-1.2.zip", "a");
    tabs["requires-python"] = json!(">=3\t9\nevil-1.0.zip\t7");
    let files = [
        file("six-1.0.zip", "a"),
        no_hash,
        tabs,
        file("evil-1.0.zip", "a"),
        file("../six-1.3.zip", "a"),
        file("six-1.4\u{1b}[2J\n.zip", "a"),
        file("Six-1.0.zip", "b"),
        file("six-1.0.zip", "a"),
        file("six-1.0.zip", "b"),
    ];
    index.page("six", 1, &files);
    for _ in 0..2 {
        let (crawled, lines, _) = index.run().await.unwrap();
        assert_eq!(lines, format!("six/six-1.0.zip\t7\t{}\t\t\t\t\n", "a".repeat(64)));
        assert_eq!((crawled.files, crawled.unfit, crawled.named.len()), (1, 8, 8));
        let reasons = [
            "../evil",
            "no SHA-256",
            "requires-python",
            "belongs to evil",
            "holds '/'",
            "holds '\\u{1b}'",
            "is taken for it",
            "is taken for it",
        ];
        for (named, why) in crawled.named.iter().zip(reasons) {
            assert!(named.contains(why) && !named.contains(char::is_control), "{named:?}: {why}");
        }
        index.change("six/", |page| page.tag = Some("\"same\""));
    }
}

/// Reads a served repository, and imports it into another one.
async fn sync(from: &str, notes: &Path, to: &Repository) -> (Crawled, Imported) {
    let crawl = Crawl {
        url: from.to_owned(),
        notes: notes.to_owned(),
        jobs: 2.try_into().unwrap(),
        timing: Timing::default(),
    };
    let (crawled, lines) = crawl.run(&|_, _| {}).await.unwrap();
    let hashes_from = Some(crawl.public_url().unwrap());
    let list = List { text: Box::new(lines), bytes: None, layout: Layout::Pages, hashes_from };
    let imported = to.import(&keyring(&ONLINE).await, list, Run::Wet, now(), &Unwatched).await.unwrap();
    (crawled, imported)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_read_from_its_own_server_says_the_same_and_follows() {
    let (from, to) = (Scene::new().await, Scene::new().await);
    from.publish(&[from.add("alpha", "1.0", "x = 1"), from.add("beta", "2.0", "x = 2")]).await.unwrap();
    let yank = crate::scene::wheel_name("alpha", "1.0");
    from.publish(&[wheelseal::repository::Edit::Yank(yank, Some("broken".parse().unwrap()))]).await.unwrap();
    let served = Served::new(from.store().await);
    let url = format!("http://127.0.0.1:{}/simple/", served.port);
    let (notes, repository) = (tempfile::tempdir().unwrap(), to.open().await);
    let (crawled, imported) = sync(&url, notes.path(), &repository).await;
    assert_eq!((crawled.fetched, imported.added, imported.projects), (2, 2, 2));
    let (crawled, imported) = sync(&url, notes.path(), &repository).await;
    assert_eq!((crawled.fetched, crawled.unchanged, imported.added, imported.present), (0, 2, 0, 2));
    from.publish(&[from.add("alpha", "1.1", "x = 3")]).await.unwrap();
    let (crawled, imported) = sync(&url, notes.path(), &repository).await;
    assert_eq!((crawled.fetched, crawled.unchanged, imported.added), (1, 1, 1));
    // The files, as a mirror would bring them.
    for (name, bytes) in from.files().into_iter().filter(|(name, _)| !name.contains("simple/")) {
        if name.starts_with("targets/") {
            let at = to.root().join(name);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, bytes).unwrap();
        }
    }
    to.assert_sound("after three imports").await;
    let said = async |repository: &Repository| {
        let pages = pages(repository, &repository.state().await.unwrap()).await;
        pages.iter().map(|page| page.files().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(said(&repository).await, said(&from.open().await).await);
    let reader = Reader::of_folder(&to.root());
    reader.downloads(now(), [("alpha", "1.0"), ("alpha", "1.1"), ("beta", "2.0")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_refuses_what_it_would_leave_out_unless_told_to() {
    let index = Index::new().await;
    index.projects(&[json!({"name": "six", "_last-serial": 1})]);
    let mut no_hash = file("six-1.1.zip", "a");
    no_hash["hashes"] = json!({"md5": "0"});
    index.page("six", 1, &[file("six-1.0.zip", "a"), no_hash]);
    let url = index.url.clone();
    let ran = tokio::task::spawn_blocking(move || {
        let home = Home::with_repository();
        let import = ["import", "--repo", "repo", "--from-index", &url];
        home.refuses(&import, 9, &["six-1.1.zip", "no SHA-256", "--skip-unfit"]);
        let said = home.run(&[&import[..], &["--skip-unfit", "--json"]].concat()).fine();
        let root = ["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"];
        home.run(&root).fine();
        let explained = home.run(&["explain", "six/six-1.0.zip"]).fine();
        assert!(explained.contains(&format!("hash as told by {url}\n")), "{explained}");
        home.run(&["import", "--repo", "repo", "--from-index", "http://127.0.0.1:9/"])
            .refused(7, &["127.0.0.1:9"]);
        home.run(&["import", "--repo", "repo", "--from-index", "x"]).refused(2, &["URL"]);
        said
    });
    let said: Value = serde_json::from_str(&ran.await.unwrap()).unwrap();
    let of = |at: &str| said.pointer(at).unwrap().as_u64().unwrap();
    assert_eq!((of("/added"), of("/index/unfit"), of("/index/fetched")), (1, 1, 0));
}
