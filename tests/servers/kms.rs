//! Keys in the AWS key service, by LocalStack: its signatures are real, its checks of who may sign are not. What it
//! cannot be made to do (to answer late, wrong, too much or not at all) is done by a small server of our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::scene::{example, files_below};
use crate::shell::{Home, shown};

fn endpoint() -> String {
    std::env::var("WHEELSEAL_TEST_KMS")
        .expect("WHEELSEAL_TEST_KMS names no service: run this by tests/servers/with")
}

/// A home that knows the service.
#[cfg(feature = "tough-aws")]
pub(crate) fn home() -> Home {
    let mut home = home_of(&endpoint());
    home.set("AWS_ENDPOINT_URL", &endpoint());
    home
}

fn home_of(endpoint: &str) -> Home {
    let mut home = Home::new();
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test-secret"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL_KMS", endpoint),
    ] {
        home.set(name, value);
    }
    home
}

/// Asks the service as its owner does, without wheelseal.
async fn owner(what: &str, request: Value) -> Value {
    service("TrentService", what, request).await
}

/// The same of any service.
pub(crate) async fn service(name: &str, what: &str, request: Value) -> Value {
    drop(rustls::crypto::ring::default_provider().install_default());
    let own = if name == "TrentService" { "kms" } else { "ssm" };
    let scope =
        format!("Credential=test/20260101/eu-west-1/{own}/aws4_request, SignedHeaders=host, Signature=00");
    let request = reqwest::Client::new()
        .post(endpoint())
        .header("x-amz-target", format!("{name}.{what}"))
        .header("content-type", "application/x-amz-json-1.1")
        .header("authorization", format!("AWS4-HMAC-SHA256 {scope}"))
        .body(request.to_string());
    let answer = request.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
    serde_json::from_slice(&answer).unwrap_or_default()
}

/// A new key: its id and its ARN.
pub(crate) async fn made(spec: &str) -> (String, String) {
    let usage =
        if spec.starts_with("ECC") || spec.starts_with("RSA") { "SIGN_VERIFY" } else { "ENCRYPT_DECRYPT" };
    let made = owner("CreateKey", json!({"KeySpec": spec, "KeyUsage": usage})).await;
    let text = |name: &str| made["KeyMetadata"][name].as_str().unwrap().to_owned();
    (text("KeyId"), text("Arn"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_service_publishes_and_the_client_verifies() {
    let home = home_of(&endpoint());
    let (id, arn) = made("ECC_NIST_P256").await;
    let alias = format!("alias/online-{id}");
    owner("CreateAlias", json!({"AliasName": alias, "TargetKeyId": id})).await;
    let online = format!("awskms:{alias}");
    let [root, targets] = ["root-1", "targets-1"].map(|name| shown(&example(name)));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &online];
    home.run(&[&["init", "--repo", "repo", "--bins", "16"], &keys[..]].concat()).fine();
    let settings = std::fs::read_to_string(home.work().join("repo/wheelseal.toml")).unwrap();
    assert!(settings.contains(&online), "{settings}");
    home.run(&["add", "--repo", "repo", &home.wheel("alpha", "1.0")]).fine();
    home.run(&["bump", "--repo", "repo", "--all"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();

    std::fs::copy(home.work().join("repo/metadata/1.root.json"), home.work().join("root.json")).unwrap();
    let repo = format!("file://{}", shown(&home.work().join("repo")));
    home.run(&["trust", "add", "kms", &repo, "--root", "root.json"]).fine();
    home.run(&["download", "--trust", "kms", "alpha/alpha-1.0-py3-none-any.whl"]).fine();

    // The same key under each of its names.
    let shown = home.run(&["key", "show", &online]).fine();
    for name in [id.as_str(), arn.as_str()] {
        assert_eq!(home.run(&["key", "show", &format!("awskms:{name}")]).fine(), shown);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rsa_keys_of_the_service_sign_with_pss() {
    let home = home_of(&endpoint());
    let (_, root) = made("RSA_2048").await;
    let (root, online) = (format!("awskms:{root}"), shown(&example("online")));
    let targets = shown(&example("targets-1"));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &online];
    home.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).fine();
    home.run(&["check", "--repo", "repo"]).fine();
    assert!(home.run(&["key", "show", &root]).fine().contains("rsassa-pss-sha256"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_there_or_of_no_use_are_refused_with_what_to_do() {
    let mut home = home_of(&endpoint());
    let refused =
        |home: &Home, name: &str, texts: &[&str]| home.run(&["key", "show", name]).refused(1, texts);
    refused(&home, "awskms:alias/none", &["refused with NotFoundException", "hint: check the key's name"]);
    let (symmetric, _) = made("SYMMETRIC_DEFAULT").await;
    refused(
        &home,
        &format!("awskms:{symmetric}"),
        &["its usage is ENCRYPT_DECRYPT, expected SIGN_VERIFY", "hint: make one with"],
    );
    let (other, _) = made("ECC_NIST_P384").await;
    refused(&home, &format!("awskms:{other}"), &["ECDSA P-384 keys of the key service are not supported"]);
    let (bitcoin, _) = made("ECC_SECG_P256K1").await;
    refused(&home, &format!("awskms:{bitcoin}"), &["unsupported curve"]);
    home.set("AWS_REGION", "");
    refused(&home, "awskms:alias/none", &["the region is not known", "hint: set AWS_REGION"]);
}

/// A service that signs by LocalStack, and spoils answers as told.
struct Spoiled {
    asked: AtomicUsize,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum How {
    /// Every second request: come back later.
    Throttled,
    /// Signatures by another key.
    Other,
    Garbage,
    Endless,
    /// From now on no signature.
    Denied,
}

async fn spoiled(how: How, key: String) -> (String, Arc<Spoiled>) {
    let state = Arc::new(Spoiled { asked: AtomicUsize::new(0), how });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(spoil).with_state((Arc::clone(&state), key));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, state)
}

async fn spoil(
    State((state, other)): State<(Arc<Spoiled>, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let what = headers["x-amz-target"].to_str().unwrap().trim_start_matches("TrentService.").to_owned();
    assert!(headers["authorization"].to_str().unwrap().contains("/eu-west-1/kms/aws4_request"));
    let refused = |kind: &str| {
        let body = json!({"__type": kind, "message": "as told"}).to_string();
        Response::builder().status(400).body(Body::from(body)).unwrap()
    };
    let asked = state.asked.fetch_add(1, Ordering::Relaxed);
    let mut request: Value = serde_json::from_slice(&body).unwrap();
    match state.how {
        How::Throttled if asked % 2 == 0 => return refused("ThrottlingException"),
        How::Denied if what == "Sign" => return refused("AccessDeniedException"),
        How::Garbage if what == "Sign" => return Response::new(Body::from("{\"Signature\": 7}")),
        How::Endless if what == "Sign" => return Response::new(Body::from(vec![b' '; 200_000])),
        How::Other if what == "Sign" => request["KeyId"] = Value::from(other),
        _ => {}
    }
    Response::new(Body::from(owner(&what, request).await.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_answers_wrongly_gets_nothing_published() {
    let good = home_of(&endpoint());
    let [(key, _), (other, _)] = [made("ECC_NIST_P256").await, made("ECC_NIST_P256").await];
    let online = format!("awskms:{key}");
    let [root, targets] = ["root-1", "targets-1"].map(|name| shown(&example(name)));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &online];
    good.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).fine();
    let metadata = good.work().join("repo/metadata");
    let before = files_below(&metadata);
    let repo = shown(&good.work().join("repo"));
    for (how, text) in [
        (How::Other, "what was returned as a signature does not verify with the public key"),
        (How::Garbage, "not the JSON that was expected"),
        (How::Endless, "it is too long"),
        (How::Denied, "refused with AccessDeniedException: as told"),
    ] {
        let (address, state) = spoiled(how, other.clone()).await;
        let bad = home_of(&address);
        let wheel = bad.wheel("alpha", "1.0");
        let ran = tokio::task::spawn_blocking({
            let repo = repo.clone();
            move || bad.run(&["add", "--repo", &repo, &wheel])
        });
        ran.await.unwrap().refused(1, &[text]);
        assert!(state.asked.load(Ordering::Relaxed) > 1, "{how:?}");
        assert!(files_below(&metadata) == before, "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_asks_for_patience_is_asked_again() {
    let (key, _) = made("ECC_NIST_P256").await;
    let (address, state) = spoiled(How::Throttled, String::new()).await;
    let home = home_of(&address);
    let uri = format!("awskms:{key}");
    let shown = tokio::task::spawn_blocking(move || home.run(&["key", "show", &uri]).fine()).await.unwrap();
    assert!(shown.contains("ECDSA P-256") && state.asked.load(Ordering::Relaxed) == 2, "{shown}");
}

#[test]
fn a_service_that_is_not_there_is_named_after_a_while() {
    let mut home = home_of("http://127.0.0.1:1");
    let texts = ["the key service does not answer: ", "hint: check the network"];
    home.run(&["key", "show", "awskms:alias/a"]).refused(1, &texts);
    home.set("AWS_ENDPOINT_URL_KMS", "nonsense");
    home.run(&["key", "show", "awskms:alias/a"])
        .refused(1, &["the endpoint of the key service is not usable"]);
}
