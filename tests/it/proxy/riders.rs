//! On a fixed port anyone on the machine can ask: what the index gave for one login is given to nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;

use super::guarded::{self, Says};
use super::{Running, Setup, Stage, large};
use crate::scene::now;

const ANN: &str = "Basic YW5uOm9wZW4=";
const BOB: &str = "Basic Ym9iOndyb25n";
/// Nobody.
const NONE: &str = "";

const PAGE: &str = "/mine/simple/alpha/";
const FILE: &str = "/mine/targets/alpha/alpha-1.0-py3-none-any.whl";
const METADATA: &str = "/mine/targets/alpha/alpha-1.0-py3-none-any.whl.metadata";
const ALL: [&str; 3] = [PAGE, FILE, METADATA];

fn setup(stage: &Stage) -> Setup {
    Setup { index: stage.wire.url("/simple/"), renew: Some(TimeDelta::minutes(1)), ..Setup::default() }
}

fn get(running: &Running, path: &str, login: &str) -> u16 {
    let field = format!("Authorization: {login}");
    let fields: &[&str] = if login.is_empty() { &[] } else { &[&field] };
    running.tool.plain("GET", path, "127.0.0.1", fields).status
}

fn only_ann(_: &str, login: &str) -> Says {
    if login == ANN { Says::Come } else { Says::Who }
}

/// The status of all paths for who shows this.
fn statuses(running: &Running, login: &str) -> [u16; 3] {
    ALL.map(|path| get(running, path, login))
}

#[tokio::test]
async fn in_whatever_order_they_ask_each_gets_what_their_own_password_opens() {
    for order in [
        [ANN, BOB, NONE],
        [ANN, NONE, BOB],
        [BOB, ANN, NONE],
        [BOB, NONE, ANN],
        [NONE, ANN, BOB],
        [NONE, BOB, ANN],
    ] {
        for parts in [true, false] {
            let says = move |path: &str, login: &str| match only_ann(path, login) {
                Says::Come if !parts => Says::ComeWhole,
                said => said,
            };
            let stage = guarded::stage(says).await;
            let running = stage.reverse(&setup(&stage));
            for round in 0..2 {
                for who in order {
                    let expected = if who == ANN { [200; 3] } else { [401; 3] };
                    assert_eq!(
                        statuses(&running, who),
                        expected,
                        "{who:?} of {order:?}, round {round}, {parts}"
                    );
                }
            }
            assert_eq!(running.refused(), [""; 0], "to be asked for a password is no refusal");
        }
    }
}

#[tokio::test]
async fn all_at_once_too() {
    let stage = guarded::stage(only_ann).await;
    let running = stage.reverse(&setup(&stage));
    assert_eq!(get(&running, PAGE, ANN), 200);
    std::thread::scope(|scope| {
        let mut asked = Vec::new();
        for turn in 0..60 {
            let (who, path) = ([ANN, BOB, NONE][turn % 3], ALL[turn / 3 % 3]);
            let running = &running;
            asked.push((who, path, scope.spawn(move || get(running, path, who))));
        }
        for (who, path, status) in asked {
            let expected = if who == ANN { 200 } else { 401 };
            assert_eq!(status.join().unwrap(), expected, "{who:?} {path} {:?}", running.refused());
        }
    });
    assert_eq!(running.refused(), [""; 0]);
    let heads = stage.wire.heads();
    let shown = |login: &str| heads.iter().filter(|head| head.contains(&format!("{login}\r\n"))).count();
    assert!(shown(BOB) > 0 && shown(ANN) > 0, "each login was shown to the index");
}

#[tokio::test]
async fn a_password_that_is_revoked_opens_no_file_any_more_and_no_page_after_a_minute() {
    let revoked = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&revoked);
    let says = move |path: &str, login: &str| {
        if told.load(Ordering::SeqCst) { Says::Who } else { only_ann(path, login) }
    };
    let stage = guarded::stage(says).await;
    let running = stage.reverse(&setup(&stage));
    assert_eq!(statuses(&running, ANN), [200; 3]);
    revoked.store(true, Ordering::SeqCst);
    assert_eq!(statuses(&running, ANN), [200, 401, 401], "pages are held for a minute");
    *stage.time.lock().unwrap() = now() + TimeDelta::minutes(1);
    assert_eq!(statuses(&running, ANN), [401; 3]);
    revoked.store(false, Ordering::SeqCst);
    assert_eq!(statuses(&running, ANN), [200; 3]);
}

#[tokio::test]
async fn an_index_that_wants_no_password_answers_everyone_and_is_asked_once_for_a_file() {
    let stage = guarded::stage(|_, _| Says::Come).await;
    let running = stage.reverse(&setup(&stage));
    for who in [NONE, ANN, BOB, NONE] {
        assert_eq!(statuses(&running, who), [200; 3], "{who:?}");
    }
    let asked = stage.asked();
    let wheels = asked.iter().filter(|path| path.ends_with("alpha-1.0-py3-none-any.whl")).count();
    assert_eq!(wheels, 2, "for its first byte, and for all of it: {asked:?}");
}

#[tokio::test]
async fn who_may_see_the_index_but_not_a_project_gets_none_of_it_from_what_is_kept() {
    let says = |path: &str, login: &str| {
        let alpha = path.contains("/alpha/");
        match login {
            ANN => Says::Come,
            BOB if !alpha => Says::Come,
            _ if alpha => Says::Nothing,
            _ => Says::Come,
        }
    };
    let stage = guarded::stage(says).await;
    let running = stage.reverse(&setup(&stage));
    for _ in 0..2 {
        assert_eq!(statuses(&running, ANN), [200; 3]);
        assert_eq!((statuses(&running, BOB), statuses(&running, NONE)), ([403; 3], [403; 3]));
    }
}

#[tokio::test]
async fn a_page_to_log_in_on_is_no_answer_of_the_index() {
    for metadata_is_open in [true, false] {
        let says = move |path: &str, login: &str| {
            let open = metadata_is_open && path.starts_with("metadata/");
            if open || login == ANN { Says::Come } else { Says::Welcome }
        };
        let stage = guarded::stage(says).await;
        let running = stage.reverse(&setup(&stage));
        for _ in 0..2 {
            assert_eq!((statuses(&running, BOB), statuses(&running, NONE)), ([403; 3], [403; 3]));
            assert_eq!(statuses(&running, ANN), [200; 3], "what another one was told says nothing about her");
        }
    }
}

#[tokio::test]
async fn a_page_to_log_in_on_opens_no_large_file_and_closes_it_for_nobody() {
    let says = |path: &str, login: &str| {
        if path.starts_with("metadata/") || login == ANN { Says::Come } else { Says::Welcome }
    };
    let stage = guarded::stage(says).await;
    large::publish(&stage).await;
    let running = stage.reverse(&setup(&stage));
    let file = format!("/mine/targets/big/{}", large::BIG);
    for _ in 0..2 {
        assert_eq!((get(&running, &file, BOB), get(&running, &file, NONE)), (403, 403));
        assert_eq!(get(&running, &file, ANN), 200, "what another one was sent says nothing about the file");
    }
}

#[tokio::test]
async fn the_password_in_the_address_of_a_trust_is_nobodys_on_a_fixed_port() {
    let stage = guarded::stage(only_ann).await;
    let running = stage.reverse(&Setup { login: "ann:open@", ..setup(&stage) });
    assert_eq!((statuses(&running, NONE), statuses(&running, BOB)), ([401; 3], [401; 3]));
    assert_eq!((statuses(&running, ANN), statuses(&running, NONE)), ([200; 3], [401; 3]));
}

#[tokio::test]
async fn a_request_with_two_logins_is_refused() {
    let stage = guarded::stage(only_ann).await;
    let running = stage.reverse(&setup(&stage));
    let both = [format!("Authorization: {ANN}"), format!("Authorization: {BOB}")];
    let answer = running.tool.plain("GET", PAGE, "127.0.0.1", &[&both[0], &both[1]]);
    assert_eq!((answer.status, answer.detail()), (400, "a request shows one login at most".to_owned()));
}

#[tokio::test]
async fn many_wrong_passwords_do_not_end_the_session_of_a_right_one() {
    let stage = guarded::stage(only_ann).await;
    let running = stage.reverse(&setup(&stage));
    assert_eq!(statuses(&running, ANN), [200; 3]);
    for guess in 0..40 {
        assert_eq!(get(&running, PAGE, &format!("Basic {guess}")), 401);
    }
    stage.asked();
    assert_eq!(get(&running, PAGE, ANN), 200);
    assert_eq!(stage.asked(), [""; 0], "her page is still there");
}
