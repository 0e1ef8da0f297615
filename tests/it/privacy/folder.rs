//! The journal's folder: private, whole lines, everything in its time.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use chrono::{DateTime, TimeDelta, Utc};
use wheelseal::journal::{
    Address, Deed, Event, Filter, Journal, JournalError, KeyFile, Kind, Minute, Origin, Reason, Retention,
    TokenUse, Word,
};

use super::{journal, journal_folder, key_file};
use crate::scene::now;

fn token(time: DateTime<Utc>, account: &str) -> Event {
    let deed = Deed::Token { what: TokenUse::Accepted, account: account.parse().ok() };
    Event::new(Minute::of(time), Origin::default(), deed)
}

fn refusal(time: DateTime<Utc>) -> Event {
    let deed = Deed::Refusal { what: Reason::Form, account: None, project: None };
    Event::new(Minute::of(time), Origin::default(), deed)
}

const ANN: &str = "00000000000000aa";
const BOB: &str = "00000000000000bb";

#[test]
fn a_journal_that_others_may_read_is_refused() {
    let place = tempfile::tempdir().unwrap();
    journal(place.path());
    let folder = journal_folder(place.path()).canonicalize().unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
    let expected = JournalError::Exposed { path: folder.display().to_string(), mode: 0o750, expected: 0o700 };
    assert_eq!(Journal::open(&folder, &[]).unwrap_err(), expected);
}

#[test]
fn repository_journal_and_keys_lie_apart() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    let (repo, inner) = (root.join("repo"), root.join("repo/journal"));
    fs::create_dir(&repo).unwrap();
    let inside = |path: &std::path::Path, within: &std::path::Path| JournalError::Inside {
        path: path.display().to_string(),
        within: within.display().to_string(),
    };
    assert_eq!(Journal::open(&inner, &[&repo]).unwrap_err(), inside(&inner, &repo));
    // Also by another name.
    assert!(!inner.exists(), "it was made all the same");
    std::os::unix::fs::symlink(&repo, root.join("link")).unwrap();
    assert_eq!(Journal::open(&root.join("link/journal"), &[&repo]).unwrap_err(), inside(&inner, &repo));
    let journal = Journal::open(&root.join("journal"), &[&repo]).unwrap();
    let key = journal.path().join("keys.json");
    let refused = KeyFile::at(&key, 30, &[journal.path()]).unwrap_err();
    assert_eq!(refused, inside(&key, journal.path()));
    assert_eq!(Journal::open(&root, &[&repo]).unwrap_err(), inside(&repo, &root));
}

#[test]
fn half_a_line_is_cut_off_by_the_next_writer_and_read_by_nobody() {
    let place = tempfile::tempdir().unwrap();
    let (journal, event) = (journal(place.path()), token(now(), ANN));
    journal.append(std::slice::from_ref(&event)).unwrap();
    let file = journal_folder(place.path()).join("token-2090-06-01.jsonl");
    let whole = fs::read(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // A writer that died after any number of bytes of the second line.
    for cut in 1..whole.len() {
        fs::write(&file, [&whole[..], &whole[..cut]].concat()).unwrap();
        let read = journal.read(&Filter::default()).unwrap();
        assert_eq!((read.events, read.unreadable), (vec![event.clone()], 0), "{cut}");
        journal.append(std::slice::from_ref(&event)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), whole.repeat(2), "{cut}");
    }
}

#[test]
fn a_line_that_is_no_event_is_counted_and_goes_when_its_day_is_written_anew() {
    let place = tempfile::tempdir().unwrap();
    let (journal, event) = (journal(place.path()), token(now(), ANN));
    journal.append(std::slice::from_ref(&event)).unwrap();
    let file = journal_folder(place.path()).join("token-2090-06-01.jsonl");
    let mut text = fs::read_to_string(&file).unwrap();
    // Of another day, of another kind, with a field more, with a space more.
    text.push_str(&format!("{}\n", token(now() + TimeDelta::days(1), ANN).line()));
    text.push_str(&format!("{}\n", refusal(now()).line()));
    text.push_str(&format!("{}\n", event.line().replace("\"kind\"", "\"ip\":\"203.0.113.7\",\"kind\"")));
    text.push_str(&format!("{}\n", event.line().replace("\"kind\":", "\"kind\": ")));
    fs::write(&file, text).unwrap();
    let read = journal.read(&Filter::default()).unwrap();
    assert_eq!((read.events, read.unreadable), (vec![event.clone()], 4));
    assert_eq!(journal.erase(&BOB.parse().unwrap()).unwrap(), 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", event.line()));
}

#[test]
fn two_processes_write_whole_lines() {
    let place = tempfile::tempdir().unwrap();
    let threads = [ANN, BOB].map(|account| {
        // Each with a folder of its own making, as two processes have.
        let journal = journal(place.path());
        std::thread::spawn(move || {
            for _ in 0..50 {
                journal.append(&[token(now(), account)]).unwrap();
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    let read = journal(place.path()).read(&Filter::default()).unwrap();
    let of = |account: &str| read.events.iter().filter(|event| **event == token(now(), account)).count();
    assert_eq!((of(ANN), of(BOB), read.unreadable), (50, 50, 0));
}

#[test]
fn erasing_an_account_removes_its_events_and_no_other() {
    let place = tempfile::tempdir().unwrap();
    let journal = journal(place.path());
    let early = now() - TimeDelta::days(3);
    journal.append(&[token(early, ANN), token(now(), ANN), token(now(), BOB), refusal(now())]).unwrap();
    assert_eq!(journal.erase(&ANN.parse().unwrap()).unwrap(), 2);
    assert_eq!(journal.read(&Filter::default()).unwrap().events, [refusal(now()), token(now(), BOB)]);
    let mut names: Vec<_> = fs::read_dir(journal.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["refusal-2090-06-01.jsonl", "token-2090-06-01.jsonl"]);
}

#[test]
fn each_kind_goes_after_its_days_and_its_origins_before() {
    let place = tempfile::tempdir().unwrap();
    let (journal, keys) = (journal(place.path()), key_file(place.path()));
    let home = Address::of("203.0.113.7".parse().unwrap());
    let origin = || Origin { address: keys.current(now()).unwrap().hash(&home), ..Origin::default() };
    let events = [token(now(), ANN), refusal(now())].map(|event| Event { origin: origin(), ..event });
    journal.append(&events).unwrap();
    keys.rotate(now()).unwrap();
    let retention = Retention { tokens: 90, refusals: 20, addresses: 30, ..Retention::default() };
    let after = |days: i64| {
        let then = now() + TimeDelta::days(days);
        let gone = journal.expire(&retention, Some(&keys), then).unwrap();
        let left = journal.read(&Filter::default()).unwrap().events;
        (gone.keys.len(), left)
    };
    assert_eq!(after(20), (0, [events[1].clone(), events[0].clone()].to_vec()));
    assert_eq!(after(21), (0, vec![events[0].clone()]));
    assert_eq!(after(30), (0, vec![events[0].clone()]));
    // The event has lost its origin, and with it the first key its last use.
    assert_eq!(after(31), (1, vec![token(now(), ANN)]));
    assert_eq!(keys.keys().unwrap().unwrap().all().len(), 1);
    assert_eq!(after(90), (0, vec![token(now(), ANN)]));
    assert_eq!(after(91), (0, vec![]));
    assert_eq!(fs::read_dir(journal.path()).unwrap().count(), 0);
}

#[test]
fn what_a_writer_that_died_left_is_removed() {
    let place = tempfile::tempdir().unwrap();
    let journal = journal(place.path());
    fs::write(journal.path().join(".new-abc"), "half a day").unwrap();
    journal.expire(&Retention::default(), None, now()).unwrap();
    assert_eq!(fs::read_dir(journal.path()).unwrap().count(), 0);
}

#[test]
fn a_day_has_room_for_so_many_bytes_and_the_rest_is_counted() {
    let place = tempfile::tempdir().unwrap();
    let journal = journal(place.path());
    journal.append(&[refusal(now())]).unwrap();
    let file = journal_folder(place.path()).join("refusal-2090-06-01.jsonl");
    let line = fs::read(&file).unwrap();
    let full = usize::try_from(32 * 1_024 * 1_024_u64).unwrap() / line.len();
    fs::write(&file, line.repeat(full)).unwrap();
    let omitted = journal.append(&[refusal(now()), refusal(now()), token(now(), ANN)]).unwrap();
    assert_eq!(omitted, [(Kind::Refusal, 2)].into());
    assert_eq!(fs::metadata(&file).unwrap().len(), u64::try_from(full * line.len()).unwrap());
    let read = journal.read(&Filter { kind: Some(Kind::Token), ..Filter::default() }).unwrap();
    assert_eq!(read.events, [token(now(), ANN)]);
    assert_eq!(Kind::Refusal.word(), "refusal");
}
