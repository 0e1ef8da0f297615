//! Which events an upload leaves, and that no event can say more than its types.

use std::io::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use wheelseal::journal::{
    AddressHash, BlockChange, ClaimChange, Deed, Event, Filter, Kind, Minute, Origin, Outcome, Reason,
    TokenUse, Word,
};

use super::{Index, Rules, account};

/// Kind, word, account, project or file, without the rest.
fn told(events: &[Event]) -> Vec<String> {
    let of = |event: &Event| {
        let about = event.file().map(ToString::to_string).or(event.project().map(ToString::to_string));
        let account = event.account().map(ToString::to_string);
        format!(
            "{} {} {} {} × {}",
            event.kind().word(),
            event.what(),
            account.unwrap_or_default(),
            about.unwrap_or_default(),
            event.times
        )
    };
    events.iter().map(of).collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[tokio::test]
async fn an_upload_leaves_its_outcome_and_the_first_use_of_its_token_on_that_day() {
    let index = Index::new(Rules::default()).await;
    let id = account(&index.token);
    for _ in 0..2 {
        assert_eq!(index.send("beta", "1.0", &[]).status, 200);
    }
    let (events, ..) = index.written();
    let file = "beta-1.0-py3-none-any.whl";
    let expected = [
        format!("token accepted {id}  × 1"),
        format!("upload published {id} {file} × 1"),
        format!("upload unchanged {id} {file} × 1"),
    ];
    assert_eq!(sorted(told(&events)), expected);
    let hashes: std::collections::BTreeSet<_> =
        events.iter().map(|event| event.origin.address.clone().unwrap()).collect();
    assert_eq!(hashes.len(), 1, "one address has one hash for as long as the key is used");
    assert!(events.iter().all(|event| event.time.to_string() == "2090-06-01T12:00Z"));
}

#[tokio::test]
async fn a_refusal_leaves_its_class_and_no_words() {
    let index = Index::new(Rules::default()).await;
    let id = account(&index.token);
    // Another project than the token's: its name is the uploader's word, and not kept.
    assert_eq!(index.send("janedoe", "1.0", &[]).status, 403);
    assert_eq!(
        index.upload(("beta", "1.0"), "__token__", &[], &[("comment", "x"), ("name", "y")]).status,
        400
    );
    let without = "POST /legacy/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    index.served.raw(without.as_bytes());
    let (events, ..) = index.written();
    let expected = [
        "refusal form ".to_owned() + &id + "  × 1",
        "refusal no-token   × 1".to_owned(),
        format!("token accepted {id}  × 1"),
        format!("token not-for-project {id}  × 1"),
    ];
    assert_eq!(sorted(told(&events)), expected);
}

#[tokio::test]
async fn a_wrong_token_is_nobodys_and_an_expired_one_is_its_owners() {
    let mut index = Index::new(Rules::default()).await;
    let good = index.token.clone();
    index.token = format!("{good}0");
    assert_eq!(index.send("beta", "1.0", &[]).status, 401);
    let day = crate::scene::now() - TimeDelta::days(1);
    let (old, token) = index.tokens.create(None, Some(day)).unwrap();
    index.token = token.to_string();
    assert_eq!(index.send("beta", "1.0", &[]).status, 401);
    let (events, ..) = index.written();
    assert_eq!(
        sorted(told(&events)),
        [format!("token expired {}  × 1", old.id), "token wrong   × 1".to_owned()]
    );
}

#[tokio::test]
async fn an_upload_is_published_also_when_nothing_can_be_written_down() {
    let index = Index::new(Rules::default()).await;
    let folder = super::journal_folder(index.folder.path());
    // A folder where the day's file should be.
    std::fs::create_dir(folder.join("upload-2090-06-01.jsonl")).unwrap();
    assert_eq!(index.send("beta", "1.0", &[]).status, 200);
    let metrics = loop {
        let metrics = String::from_utf8(index.served.get("/metrics", &[]).body).unwrap();
        if !metrics.contains("wheelseal_journal_events_total{outcome=\"failed\"} 0") {
            break metrics;
        }
        std::thread::yield_now();
    };
    assert!(metrics.contains("wheelseal_journal_events_total{outcome=\"failed\"}"), "{metrics}");
    let told = index.served.told.lock().unwrap().join("\n");
    assert!(told.contains("upload-2090-06-01.jsonl: it is no file"), "{told}");
}

/// Else a thief of a token would go away before each answer, and leave no trace.
#[tokio::test]
async fn who_goes_away_before_the_answer_is_in_the_journal_all_the_same() {
    let index = Index::new(Rules::default()).await;
    let mut stream = index.served.connect();
    let request = index.request(("beta", "1.0"), "__token__", &[], &[]);
    let (most, rest) = request.split_at(request.len() - 10);
    stream.write_all(most).unwrap();
    // The file is on its way to the disk, so the server has begun.
    while std::fs::read_dir(index.folder.path().join("spool")).unwrap().next().is_none() {
        std::thread::yield_now();
    }
    stream.write_all(rest).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let written = || told(&index.journal().read(&Filter::default()).unwrap().events);
    for _ in 0..400 {
        if written().len() > 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    let id = account(&index.token);
    let metrics = String::from_utf8(index.served.get("/metrics", &[]).body).unwrap();
    let expected =
        [format!("token accepted {id}  × 1"), format!("upload published {id} beta-1.0-py3-none-any.whl × 1")];
    assert_eq!(sorted(written()), expected, "{metrics}");
}

#[tokio::test]
async fn a_flood_from_one_address_is_one_line_and_a_count() {
    let mut index = Index::new(Rules { per_minute: 3, ..Rules::default() }).await;
    let (id, good) = (account(&index.token), index.token.clone());
    index.token = "wrong".to_owned();
    let statuses: Vec<u16> = (0..10).map(|_| index.send("beta", "1.0", &[]).status).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429, 429, 429, 429, 429]);
    // Whoever has a good token and the same address is not shut out by that.
    index.token = good;
    assert_eq!(index.send("beta", "1.0", &[]).status, 200);
    let (events, ..) = index.written();
    let sum = |kind: Kind, what: &str| {
        events
            .iter()
            .filter(|event| (event.kind(), event.what()) == (kind, what))
            .map(|event| event.times)
            .sum::<u32>()
    };
    assert_eq!([sum(Kind::Token, "wrong"), sum(Kind::Omitted, "refusal")], [4, 6]);
    assert!(told(&events).contains(&format!("upload published {id} beta-1.0-py3-none-any.whl × 1")));
}

// All events.

fn word<T: Word + std::fmt::Debug>() -> impl Strategy<Value = T> {
    proptest::sample::select(T::WORDS.iter().map(|(value, _)| *value).collect::<Vec<_>>())
}

fn account_name() -> impl Strategy<Value = Option<wheelseal::journal::Account>> {
    proptest::option::of("[0-9a-f]{16}".prop_map(|text| text.parse().unwrap()))
}

fn project() -> impl Strategy<Value = wheelseal::python::ProjectName> {
    "[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,2}".prop_map(|text| text.parse().unwrap())
}

fn hash() -> impl Strategy<Value = AddressHash> {
    "[0-9a-f]{8}:[0-9a-f]{32}".prop_map(|text| text.parse().unwrap())
}

fn minute() -> impl Strategy<Value = Minute> {
    (0_i64..4_000_000_000)
        .prop_map(|seconds| Minute::of(DateTime::<Utc>::from_timestamp(seconds, 0).unwrap()))
}

fn origin() -> impl Strategy<Value = Origin> {
    let country = proptest::option::of("[A-Z]{2}".prop_map(|text| text.parse().unwrap()));
    let city = proptest::option::of(
        "[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]{0,20}([ '-][A-Za-zß-öø-ÿ]{1,20}){0,1}".prop_map(|text| text.parse().unwrap()),
    );
    (proptest::option::of(hash()), country, city).prop_map(|(address, country, city)| Origin {
        address,
        country,
        city,
    })
}

fn deed() -> impl Strategy<Value = Deed> {
    let file = (project(), "[0-9]{1,3}\\.[0-9]{1,3}").prop_map(|(name, version)| {
        format!("{}-{version}-py3-none-any.whl", name.as_str().replace('-', "_")).parse().unwrap()
    });
    prop_oneof![
        (word::<Outcome>(), account_name(), file, any::<[u8; 32]>()).prop_map(
            |(what, account, file, digest)| {
                Deed::Upload { what, account, file, sha256: wheelseal::journal::Digest(digest) }
            }
        ),
        (word::<Reason>(), account_name(), proptest::option::of(project()))
            .prop_map(|(what, account, project)| Deed::Refusal { what, account, project }),
        (word::<TokenUse>(), account_name()).prop_map(|(what, account)| Deed::Token { what, account }),
        (word::<ClaimChange>(), account_name(), project()).prop_map(|(what, account, project)| Deed::Claim {
            what,
            account,
            project
        }),
        (word::<BlockChange>(), proptest::option::of(minute()))
            .prop_map(|(what, until)| Deed::Block { what, until }),
        word::<Kind>().prop_map(|what| Deed::Omitted { what }),
    ]
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    (minute(), origin(), deed(), 1_u32..).prop_map(|(time, origin, deed, times)| Event {
        time,
        origin,
        deed,
        times,
    })
}

/// The one shape that the text of each field may have.
fn fits(name: &str, text: &str) -> bool {
    let hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let minute = || text.len() == 17 && text.ends_with('Z') && text.parse::<Minute>().is_ok();
    let lower = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    match name {
        "account" => hex(text, 16),
        "address" => text.split_once(':').is_some_and(|(key, code)| hex(key, 8) && hex(code, 32)),
        "city" => {
            text.chars().count() <= 64 && text.chars().all(|c| c.is_alphabetic() || " '-.’".contains(c))
        }
        "country" => text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()),
        "file" => text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
        "kind" | "what" => lower(text),
        "project" => {
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        }
        "sha256" => hex(text, 64),
        "time" | "until" => minute(),
        _ => false,
    }
}

proptest! {
    #[test]
    fn every_event_is_one_canonical_line_of_known_shapes_and_reads_back(event in event()) {
        let line = event.line();
        prop_assert!(line.len() <= 1_000, "{} bytes: {line}", line.len());
        prop_assert_eq!(line.parse::<Event>().unwrap(), event);
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
        prop_assert!(fields.keys().is_sorted(), "{line}");
        prop_assert_eq!(serde_json::to_string(&fields).unwrap(), line.clone());
        for (name, value) in &fields {
            let fine = match value.as_str() {
                Some(text) => fits(name, text),
                None => name == "times" && value.as_u64().is_some(),
            };
            prop_assert!(fine, "{name}: {value}");
        }
    }

    #[test]
    fn a_line_with_a_field_more_is_no_event(event in event(), name in "[a-z_]{1,10}", text in ".{0,40}") {
        let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&event.line()).unwrap();
        prop_assume!(!fields.contains_key(&name));
        fields.insert(name, text.into());
        let line = serde_json::to_string(&fields).unwrap();
        // A field that the kind has, and this event has not, may be there if its text has the shape.
        prop_assert!(line.parse::<Event>().is_err() || line.parse::<Event>().unwrap().line() == line);
        for (name, value) in &fields {
            if let (Ok(_), Some(text)) = (line.parse::<Event>(), value.as_str()) {
                prop_assert!(fits(name, text), "{name}: {text}");
            }
        }
    }
}
