//! What a tool proves itself with: passed on to the index, and to nobody else.

use super::tool::exchange;
use super::{PAGE_PATH, Setup, Stage, WHEEL_PATH, guarded};

const LOGIN: &str = "Authorization: Basic dXNlcjpwYXNz";

/// A stage whose server wants a password, and notes what it was shown.
async fn closed() -> Stage {
    guarded::stage(
        |_, login| {
            if login == "Basic dXNlcjpwYXNz" { guarded::Says::Come } else { guarded::Says::Who }
        },
    )
    .await
}

/// The index as tools see it is the server itself: what is sent to the one goes to the other.
fn open(stage: &Stage) -> Setup {
    Setup { index: stage.wire.url("/simple/"), ..Setup::default() }
}

/// A request without TLS for the index, through the proxy.
fn ask(stage: &Stage, running: &super::Running, path: &str, fields: &str) -> super::tool::Answer {
    let (url, login) = (stage.wire.url(path), running.tool.login());
    let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let text = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{login}{fields}\r\n");
    super::tool::Answer::read(&exchange(running.tool.connect(), text.as_bytes()))
}

#[tokio::test]
async fn an_index_that_asks_for_a_password_gets_the_tools() {
    let stage = closed().await;
    let running = stage.forward(&open(&stage));
    let asked = ask(&stage, &running, "/simple/alpha/", "");
    assert_eq!((asked.status, asked.field("www-authenticate")), (401, "Basic realm=\"index\""));
    assert_eq!(running.refused(), [""; 0], "to be asked for a password is no refusal");
    let shown = ask(&stage, &running, "/simple/alpha/", &format!("{LOGIN}\r\n"));
    assert_eq!(shown.status, 200, "{shown:?}");
    let file = "/targets/alpha/alpha-1.0-py3-none-any.whl";
    assert_eq!(ask(&stage, &running, file, "").status, 401, "what one request showed is not another one's");
    assert_eq!(ask(&stage, &running, file, "Authorization: Basic d3Jvbmc=\r\n").status, 401);
    assert_eq!(ask(&stage, &running, file, &format!("{LOGIN}\r\n")).status, 200);
    let proxy_login =
        stage.wire.heads().iter().any(|head| head.to_lowercase().contains("proxy-authorization"));
    assert!(!proxy_login, "the proxy's own word goes nowhere");
}

#[tokio::test]
async fn a_password_for_one_origin_is_not_shown_to_another() {
    let stage = Stage::new().await;
    // The pages are at index.test; metadata and files are at the server, which is another origin.
    let running = stage.forward(&Setup::default());
    assert_eq!(running.tool.ask("GET", PAGE_PATH, &[LOGIN]).status, 200);
    assert_eq!(running.tool.ask("GET", WHEEL_PATH, &[LOGIN]).status, 200);
    let heads = stage.wire.heads();
    assert!(heads.len() > 4 && !heads.iter().any(|head| head.to_lowercase().contains("authorization")));
}

#[tokio::test]
async fn a_password_for_the_files_goes_to_the_server_of_the_files_alone() {
    let stage = closed().await;
    let running = stage.forward(&Setup::default());
    let pages = "Authorization: Basic cGFnZXM6cGFnZXM=";
    assert_eq!(running.tool.ask("GET", PAGE_PATH, &[pages]).status, 401, "the server was shown nothing");
    assert_eq!(
        ask(&stage, &running, "/targets/alpha/alpha-1.0-py3-none-any.whl", &format!("{LOGIN}\r\n")).status,
        200
    );
    assert_eq!(running.tool.ask("GET", PAGE_PATH, &[pages]).status, 200);
    assert!(!stage.wire.heads().iter().any(|head| head.contains("cGFnZXM6cGFnZXM=")));
}

#[tokio::test]
async fn the_users_own_password_in_the_address_is_the_commands_too() {
    let stage = closed().await;
    let running = stage.forward(&Setup { login: "user:pass@", ..open(&stage) });
    assert_eq!(ask(&stage, &running, "/simple/alpha/", "").status, 200);
    let wrong = ask(
        &stage,
        &running,
        "/targets/alpha/alpha-1.0-py3-none-any.whl",
        "Authorization: Basic d3Jvbmc=\r\n",
    );
    assert_eq!(wrong.status, 401, "what a tool shows comes first");
    assert!(!format!("{:?}", running.refused()).contains("pass"));
}
