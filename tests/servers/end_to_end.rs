//! The program on a bucket: from `init` to a download that is verified.

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use tokio::net::TcpListener;
use wheelseal::store::{ObjectStore, Store, StorePath};

use crate::scene::{archive, example};
use crate::setting::{environment, new_folder, s3};
use crate::shell::Home;

fn home() -> Home {
    let mut home = Home::new();
    for (name, value) in environment() {
        if name.starts_with("AWS_") {
            home.set(&name, &value);
        }
    }
    home
}

fn init(home: &Home, url: &str) {
    let [root, targets, online] =
        ["root-1", "targets-1", "online"].map(|name| example(name).display().to_string());
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &online];
    let made = home.run(&[&["init", "--repo", url, "--bins", "4"], &keys[..]].concat()).fine();
    assert!(made.contains(url), "{made}");
}

/// A public server of the bucket, as a web server before it would be: reads by anyone, and nothing else.
async fn public(url: &str) -> String {
    let store = Arc::new(ObjectStore::open(url, &environment(), None).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(serve).with_state(store);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn serve(State(store): State<Arc<ObjectStore>>, request: Request) -> Response<Body> {
    let found = match StorePath::new(request.uri().path().trim_start_matches('/')) {
        Ok(path) => store.get(&path, 1 << 30).await.unwrap(),
        Err(_) => None,
    };
    match found {
        Some(object) => Response::new(Body::from(object.bytes)),
        None => Response::builder().status(StatusCode::NOT_FOUND).body(Body::empty()).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_in_a_bucket_from_init_to_a_verified_download() -> Result<(), Box<dyn Error>> {
    let url = new_folder(&s3());
    let home = home();
    init(&home, &url);
    home.run(&["add", "--repo", &url, &home.wheel("alpha", "1.0")]).fine();

    // Two machines, which know nothing of each other, publish at the same time.
    let wheels: Vec<Vec<String>> = ["beta", "gamma"]
        .map(|project| (0..4).map(|number| home.wheel(project, &format!("1.{number}"))).collect())
        .into();
    std::thread::scope(|scope| {
        for wheels in &wheels {
            let url = &url;
            scope.spawn(move || {
                let other = self::home();
                for wheel in wheels {
                    other.run(&["add", "--repo", url, wheel]).fine();
                }
            });
        }
    });
    home.run(&["check", "--repo", &url]).fine();
    home.run(&["gc", "--repo", &url, "--keep", "1", "--grace", "0"]).fine();
    home.run(&["check", "--repo", &url]).fine();
    home.run(&["check-store", "--repo", &url]).fine();
    assert!(home.run(&["inspect", "--repo", &url, "snapshot"]).fine().contains("version"));

    let server = public(&url).await;
    let root = reqwest_get(&format!("{server}/metadata/1.root.json")).await?;
    std::fs::write(home.work().join("root.json"), root)?;
    home.run(&["trust", "add", "bucket", &server, "--root", "root.json"]).fine();
    for wheel in wheels.iter().flatten() {
        let name = wheel.rsplit('/').next().unwrap();
        let target = format!("{}/{name}", name.split('-').next().unwrap());
        home.run(&["download", "--trust", "bucket", &target]).fine();
        assert_eq!(std::fs::read(home.work().join(name))?, std::fs::read(wheel)?);
    }
    Ok(())
}

#[test]
fn a_backup_of_a_bucket_is_restored_to_another_place_in_it() {
    let (url, other) = (new_folder(&s3()), new_folder(&s3()));
    let home = home();
    init(&home, &url);
    let folder = home.work().join("files");
    std::fs::create_dir(&folder).unwrap();
    // More than are put in their places together.
    for number in 0..70 {
        let about = format!("Metadata-Version: 2.1\nName: alpha\nVersion: 1.{number}\n\n");
        let file = archive([(format!("alpha-1.{number}/PKG-INFO").as_str(), about.as_bytes())]);
        std::fs::write(folder.join(format!("alpha-1.{number}.zip")), file).unwrap();
    }
    let files = folder.to_str().unwrap();
    home.run(&["add", "--repo", &url, files]).fine();
    home.run(&["backup", "--repo", &url, "--to", "backup.tar.zst"]).fine();
    let from = ["restore", "--from", "backup.tar.zst", "--repo", &other, "--files", files];
    assert!(home.run(&from).fine().contains("restored snapshot 2: "));
    home.run(&["check", "--repo", &other]).fine();
    home.run(&["fsck", "--hash", "--repo", &other]).fine();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_bucket_and_wrong_keys_are_refused_with_what_to_do() -> Result<(), Box<dyn Error>> {
    let mut home = home();
    home.run(&["status", "--repo", "s3://no-such-bucket/x"])
        .refused(7, &["NoSuchBucket", "hint: make the bucket"]);
    let nothing = format!("{}/wheelseal.toml does not exist", new_folder(&s3()));
    home.run(&["status", "--repo", nothing.trim_end_matches("/wheelseal.toml does not exist")])
        .refused(2, &[&nothing, "hint: "]);
    home.set("AWS_SECRET_ACCESS_KEY", "wrong");
    home.run(&["check-store", "--repo", &s3()]).refused(7, &["hint: these credentials may not do this"]);
    Ok(())
}

async fn reqwest_get(url: &str) -> Result<Vec<u8>, reqwest::Error> {
    drop(rustls::crypto::ring::default_provider().install_default());
    Ok(reqwest::get(url).await?.error_for_status()?.bytes().await?.to_vec())
}
