//! `journal` as an admin types it.

use chrono::TimeDelta;
use wheelseal::journal::{Address, Deed, Event, Minute, Origin, Outcome, Reason, TokenUse};

use super::{journal, key_file};
use crate::scene::now;
use crate::shell::Home;

const ANN: &str = "00000000000000aa";

/// A journal of one day in the working folder, with everything that it can hold.
fn home() -> Home {
    let home = Home::new();
    let (place, account) = (home.work(), ANN.parse().ok());
    let keys = key_file(&place).current(now()).unwrap();
    let address = keys.hash(&Address::of("203.0.113.7".parse().unwrap()));
    let origin = Origin { address, country: "PT".parse().ok(), city: "Porto".parse().ok() };
    let at = |minutes: i64| Minute::of(now() + TimeDelta::minutes(minutes));
    let file = "alpha-1.0-py3-none-any.whl".parse().unwrap();
    let (sha256, project) = (wheelseal::journal::Digest([7; 32]), "alpha".parse().ok());
    let token = Deed::Token { what: TokenUse::Accepted, account: ANN.parse().ok() };
    let upload = Deed::Upload { what: Outcome::Published, account: ANN.parse().ok(), file, sha256 };
    let refusal = Deed::Refusal { what: Reason::Conflict, account, project };
    let wrong = Deed::Token { what: TokenUse::Wrong, account: None };
    let events = [
        Event::new(at(0), origin.clone(), token),
        Event::new(at(0), origin.clone(), upload),
        Event::new(at(1), origin.clone(), refusal),
        Event { times: 12, ..Event::new(at(2), origin, wrong) },
    ];
    journal(&place).append(&events).unwrap();
    home
}

/// Without the key's and the address's digits, which differ from run to run.
fn steady(text: &str) -> String {
    let words = text.split_inclusive([' ', '"', '\n']);
    let cut = |word: &str| {
        let bare = word.trim_end_matches([' ', '"', '\n']);
        let hash = bare.split_once(':').is_some_and(|(key, code)| key.len() == 8 && code.len() == 32);
        if hash { format!("KEY:HASH{}", &word[bare.len()..]) } else { word.to_owned() }
    };
    words.map(cut).collect()
}

#[test]
fn what_was_written_down_is_shown_and_exported() {
    let home = home();
    let show = |more: &[&str]| {
        steady(&home.run(&[&["journal", "show", "--journal", "journal"], more].concat()).fine())
    };
    insta::assert_snapshot!(show(&[]));
    assert_eq!(show(&["--kind", "upload"]).lines().count(), 1);
    assert_eq!(show(&["--project", "Alpha"]).lines().count(), 2);
    assert_eq!(show(&["--account", ANN]).lines().count(), 3);
    assert_eq!(show(&["--since", "2090-06-02"]), "");
    let lines = home.run(&["journal", "export", "--journal", "journal"]).fine();
    assert!(lines.lines().all(|line| line.parse::<Event>().unwrap().line() == line));
    let array: Vec<serde_json::Value> = serde_json::from_str(&show(&["--json"])).unwrap();
    assert_eq!((array.len(), lines.lines().count()), (4, 4));
    home.run(&["journal", "show", "--journal", "journal", "--account", "jane@example.org"])
        .refused_usage("16 hexadecimal digits");
}

#[test]
fn a_demand_for_data_is_answered_category_by_category() {
    let home = home();
    let disclose = |more: &[&str]| {
        steady(&home.run(&[&["journal", "disclose", "--journal", "journal"], more].concat()).fine())
    };
    let made =
        home.run(&["token", "create", "--tokens", "tokens.json", "--project", "alpha", "--json"]).fine();
    let id = serde_json::from_str::<serde_json::Value>(&made).unwrap()["id"].as_str().unwrap().to_owned();
    insta::assert_snapshot!(disclose(&[ANN, "--tokens", "tokens.json"]));
    assert!(
        disclose(&[&id, "--tokens", "tokens.json"]).contains(&format!("  {id}: alpha; expires: never\n"))
    );
    let about = disclose(&["--project", "alpha", "--json"]);
    let about: Vec<serde_json::Value> = serde_json::from_str(&about).unwrap();
    let held =
        |category: &str| about.iter().find(|answer| answer["category"] == category).unwrap()["held"].clone();
    assert_eq!((held("names"), held("uploads").as_array().unwrap().len()), (serde_json::Value::Null, 1));
    home.run(&["journal", "disclose", "--journal", "journal"]).refused_usage("<ACCOUNT>");
}

#[test]
fn an_account_is_erased_when_that_was_agreed_to() {
    let home = home();
    let erase =
        |more: &[&str]| home.run(&[&["journal", "erase", "--journal", "journal", ANN], more].concat());
    erase(&[]).refused(
        2,
        &["Remove 3 event(s) about 00000000000000aa? There is no terminal to ask on: give --yes"],
    );
    assert_eq!(erase(&["--dry-run"]).fine(), "would be removed: 3 event(s)\n");
    assert_eq!(erase(&["--yes"]).fine(), "removed: 3 event(s)\n");
    assert_eq!(erase(&["--yes"]).fine(), "removed: 0 event(s)\n");
    let left = home.run(&["journal", "export", "--journal", "journal"]).fine();
    assert!(!left.contains(ANN) && left.lines().count() == 1, "{left}");
}

#[test]
fn addresses_are_shut_out_and_let_in_by_their_hashes() {
    let home = home();
    let run = |words: &[&str]| home.run(&[&["journal"], words, &["--journal", "journal"]].concat());
    let hash = format!("01234567:{}", "0a".repeat(16));
    run(&["block", &hash, "--days", "3"]).fine();
    let blocks: serde_json::Value = serde_json::from_str(&run(&["blocks", "--json"]).fine()).unwrap();
    assert_eq!(blocks[0]["address"], hash.as_str());
    run(&["unblock", &hash]).fine();
    assert_eq!(run(&["blocks"]).fine(), "");
    run(&["unblock", &hash]).refused(1, &[&format!("there is no block of {hash}")]);
    run(&["block", "203.0.113.7"]).refused_usage("hash of an address");
}

#[test]
fn keys_are_listed_replaced_and_destroyed_and_never_shown() {
    let home = home();
    let run =
        |words: &[&str]| home.run(&[&["journal", "key"], words, &["--journal-key", "keys.json"]].concat());
    let secrets = || {
        let text = std::fs::read_to_string(home.work().join("keys.json")).unwrap();
        text.split("secret\":\"").skip(1).map(|rest| rest[..64].to_owned()).collect::<Vec<_>>()
    };
    run(&["new"]).refused(1, &["keys.json exists"]);
    let old = secrets();
    run(&["rotate"]).fine();
    assert_eq!(run(&["list"]).fine().lines().count(), 2);
    assert_eq!((secrets().len(), &secrets()[..1]), (2, &old[..]));
    run(&["rotate", "--destroy-old"]).fine();
    assert_eq!(secrets().len(), 1);
    assert!(!secrets().contains(&old[0]));
    let listed = run(&["list", "--json"]).fine();
    assert!(!listed.contains(&secrets()[0]), "{listed}");
}

#[test]
fn what_is_old_goes_when_told_to() {
    let home = home();
    // The events are of 2090, so nothing is old yet.
    let run = |more: &[&str]| home.run(&[&["journal", "expire", "--journal", "journal"], more].concat());
    let none = "gone: 0 file(s), the origins of 0 event(s), 0 key(s)\n";
    assert_eq!(run(&["--journal-key", "keys.json", "--keep", "uploads=1"]).fine(), none);
    assert_eq!(run(&["--dry-run"]).fine(), none.replace("gone", "would go"));
    run(&["--keep", "names=1"]).refused_usage("KIND=DAYS");
}
