//! docs/privacy.md is held to the types: every field has a row, every row a field, every number of days is the program's.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chrono::TimeDelta;
use serde_json::Value;
use wheelseal::journal::{
    Block, BlockChange, ClaimChange, Deed, Digest, Event, Kind, Minute, Origin, Outcome, Reason, Retention,
    TokenUse, Word,
};
use wheelseal::server::Tokens;

use super::{journal, key_file};
use crate::scene::now;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/privacy.md")).unwrap()
}

/// The rows of a table, after the line that begins with `head`.
fn rows(head: &str) -> Vec<Vec<String>> {
    let page = page();
    let lines = page.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    lines.take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// One event of each kind with everything that it can have. A new field does not compile here until it is named.
fn full_events() -> Vec<Event> {
    let address = format!("01234567:{}", "0a".repeat(16)).parse().ok();
    let origin = Origin { address, country: "PT".parse().ok(), city: "Porto".parse().ok() };
    let (account, project) = ("00000000000000aa".parse().ok(), "alpha".parse().ok());
    let (file, sha256) = ("alpha-1.0.tar.gz".parse().unwrap(), Digest([7; 32]));
    let upload = Deed::Upload { what: Outcome::Published, account, file, sha256 };
    let account = || "00000000000000aa".parse().ok();
    let deed = |kind| match kind {
        Kind::Upload => upload.clone(),
        Kind::Refusal => Deed::Refusal { what: Reason::Form, account: account(), project: project.clone() },
        Kind::Token => Deed::Token { what: TokenUse::Wrong, account: account() },
        Kind::Claim => {
            let (account, project) = (account(), project.clone().unwrap());
            Deed::Claim { what: ClaimChange::Received, account, project }
        }
        Kind::Block => Deed::Block { what: BlockChange::Blocked, until: Some(Minute::of(now())) },
        Kind::Omitted => Deed::Omitted { what: Kind::Refusal },
    };
    let event = |(kind, _): &(Kind, _)| Event {
        time: Minute::of(now()),
        origin: origin.clone(),
        deed: deed(*kind),
        times: 2,
    };
    Kind::WORDS.iter().map(event).collect()
}

fn names(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The fields of one entry of the list `list` in a file.
fn entry(file: &Path, list: &str) -> Vec<String> {
    let value: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let top: BTreeSet<String> = names(&value).into_iter().collect();
    assert_eq!(top, [list, "format"].map(ToOwned::to_owned).into(), "{}", file.display());
    names(value.pointer(&format!("/{list}/0")).unwrap())
}

#[test]
fn every_field_that_is_kept_has_a_row_in_the_table_and_every_row_is_a_field() {
    let place = tempfile::tempdir().unwrap();
    let mut kept: BTreeSet<(String, String)> = BTreeSet::new();
    let mut keep = |file: &str, fields: Vec<String>| {
        kept.extend(fields.into_iter().map(|field| (file.to_owned(), field)));
    };
    for event in full_events() {
        keep("KIND-DAY.jsonl", names(&serde_json::from_str(&event.line()).unwrap()));
    }
    let address = full_events()[0].origin.address.clone().unwrap();
    journal(place.path()).block(Block { address, until: Minute::of(now()) }, now()).unwrap();
    keep("blocks.json", entry(&super::journal_folder(place.path()).join("blocks.json"), "blocks"));
    key_file(place.path()).create(now()).unwrap();
    keep("journal key", entry(&place.path().join("keys.json"), "keys"));
    let tokens = place.path().join("tokens.json");
    Tokens::at(&tokens)
        .create(Some(["alpha".parse().unwrap()].into()), Some(now() + TimeDelta::days(1)))
        .unwrap();
    keep("tokens file", entry(&tokens, "tokens"));
    // One cell that has everything, and one for what a project has together.
    let cells = super::downloads::one_of_each(place.path());
    keep("downloads-DAY.json", cells.iter().flat_map(names).collect());
    let told: BTreeSet<(String, String)> =
        rows("| file | field |").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(told, kept);
}

#[test]
fn the_words_are_those_of_the_types() {
    fn words<T: Word>() -> Vec<String> {
        T::WORDS.iter().map(|(_, word)| (*word).to_owned()).collect()
    }
    let known = |kind: Kind| match kind {
        Kind::Upload => words::<Outcome>(),
        Kind::Refusal => words::<Reason>(),
        Kind::Token => words::<TokenUse>(),
        Kind::Claim => words::<ClaimChange>(),
        Kind::Block => words::<BlockChange>(),
        Kind::Omitted => vec!["the kind of the events that were left out".to_owned()],
    };
    let expected = Kind::WORDS.iter().map(|(kind, word)| vec![(*word).to_owned(), known(*kind).join(", ")]);
    assert_eq!(rows("| kind | words |"), expected.collect::<Vec<_>>());
}

#[test]
fn the_days_are_those_of_the_program() {
    let Retention { uploads, refusals, tokens, claims, blocks, addresses, downloads } = Retention::default();
    let expected = [
        ("uploads", uploads),
        ("refusals", refusals),
        ("tokens", tokens),
        ("claims", claims),
        ("blocks", blocks),
        ("addresses", addresses),
        ("downloads", downloads),
    ];
    let expected = expected.map(|(kind, days)| [kind.to_owned(), days.to_string()]);
    let told: Vec<[String; 2]> =
        rows("| kind | days |").into_iter().map(|row| [row[0].clone(), row[1].clone()]).collect();
    assert_eq!(told, expected);
}
