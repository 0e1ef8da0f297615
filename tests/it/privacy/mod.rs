//! What `serve` writes down about people: as little as it says, for as long as it says.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cli;
mod downloads;
mod events;
mod folder;
mod leaks;
mod origin;
mod program;
mod reads;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use tempfile::TempDir;
use wheelseal::journal::{Event, Filter, Journal, KeyFile, Recorder, Retention, Upkeep};
use wheelseal::python::ProjectName;
use wheelseal::repository::Publisher;
use wheelseal::server::{Limits, Tokens, UploadLimits, Uploads, Visitors, Watch};

use crate::scene::{ONLINE, Scene, keyring, now};
use crate::serve::form::{BOUNDARY, Form};
use crate::serve::{Answer, Served, scene};

/// A repository that takes uploads of `alpha` and `beta`, and keeps a journal.
pub(super) struct Index {
    pub(super) scene: Scene,
    pub(super) served: Served,
    pub(super) tokens: Tokens,
    pub(super) token: String,
    pub(super) folder: TempDir,
}

/// Whom it believes, and how much it bears of one address in a minute.
pub(super) struct Rules {
    pub(super) visitors: Visitors,
    pub(super) per_minute: u32,
    /// Requests to read.
    pub(super) reads: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self { visitors: Visitors::default(), per_minute: 1_000, reads: 100_000 }
    }
}

/// Loopback is a proxy that is believed about address, country and city.
pub(super) fn behind_proxy() -> Rules {
    let name = |text: &str| Some(text.parse().unwrap());
    let visitors = Visitors {
        trusted: vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
        address: name("x-forwarded-for"),
        hash: None,
        country: name("x-country"),
        city: name("x-city"),
    };
    Rules { visitors, ..Rules::default() }
}

impl Index {
    pub(super) async fn new(rules: Rules) -> Self {
        Self::at(rules, now).await
    }

    pub(super) async fn at(rules: Rules, clock: fn() -> DateTime<Utc>) -> Self {
        let (scene, folder) = (scene().await, tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.path().join("spool")).unwrap();
        let file = folder.path().join("tokens.json");
        let projects: BTreeSet<ProjectName> = ["alpha", "beta"].map(|name| name.parse().unwrap()).into();
        let (_, token) = Tokens::at(&file).create(Some(projects), None).unwrap();
        let (repository, keys) = (scene.open().await, keyring(&ONLINE).await);
        let place = folder.path().to_owned();
        journal(&place);
        let served = Served::made(scene.store().await, Limits::default(), move |server, told| {
            let publisher = Publisher::start(repository, keys);
            let watch = Watch::new(rules.visitors, rules.per_minute, clock).unwrap();
            let watch = watch.reading(rules.reads).unwrap();
            let (journal, keys) = (journal(&place), Arc::new(key_file(&place)));
            let words = Arc::clone(&told);
            let report = Box::new(move |error: &_| {
                let error: &wheelseal::journal::JournalError = error;
                words.lock().unwrap().push(error.to_string());
            });
            let upkeep = Upkeep { retention: Retention::default(), keys: Arc::clone(&keys), clock, report };
            let recorder = Recorder::start(journal.clone(), upkeep).unwrap();
            let report = move |fault: &str| told.lock().unwrap().push(fault.to_owned());
            let (limits, tokens) = (UploadLimits::default(), Tokens::at(place.join("tokens.json")));
            let uploads = Uploads::new(publisher, tokens, place.join("spool"), limits, clock, report);
            server.watched(watch.journalling(journal, keys, recorder)).accepting(uploads)
        });
        Self { scene, served, tokens: Tokens::at(file), token: token.to_string(), folder }
    }

    pub(super) fn journal(&self) -> Journal {
        journal(self.folder.path())
    }

    /// Stops the server, so that everything is written down; gives what was.
    pub(super) fn written(self) -> (Vec<Event>, TempDir, Scene) {
        let Self { scene, served, folder, .. } = self;
        served.join();
        let found = journal(folder.path()).read(&Filter::default()).unwrap();
        assert_eq!(found.unreadable, 0);
        (found.events, folder, scene)
    }

    /// Uploads a wheel, as `user`, with these header lines and fields of the form besides.
    pub(super) fn upload(
        &self,
        what: (&str, &str),
        user: &str,
        lines: &[&str],
        fields: &[(&str, &str)],
    ) -> Answer {
        Answer::read(&self.served.raw(&self.request(what, user, lines, fields)))
    }

    /// The request for that.
    pub(super) fn request(
        &self,
        what: (&str, &str),
        user: &str,
        lines: &[&str],
        fields: &[(&str, &str)],
    ) -> Vec<u8> {
        let mut form = Form::of(what.0, what.1);
        form.fields.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let body = form.bytes();
        let pair = STANDARD.encode(format!("{user}:{}", self.token));
        let more = lines.iter().flat_map(|line| [*line, "\r\n"]).collect::<String>();
        let head = format!(
            "POST /legacy/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {pair}\r\n\
             Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {}\r\n{more}\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat()
    }

    /// The same with nothing special.
    pub(super) fn send(&self, project: &str, version: &str, lines: &[&str]) -> Answer {
        self.upload((project, version), "__token__", lines, &[])
    }
}

pub(super) fn journal_folder(place: &Path) -> PathBuf {
    place.join("journal")
}

pub(super) fn journal(place: &Path) -> Journal {
    Journal::open(&journal_folder(place), &[]).unwrap()
}

pub(super) fn key_file(place: &Path) -> KeyFile {
    KeyFile::at(&place.join("keys.json"), 30, &[]).unwrap()
}

/// The account of a token.
pub(super) fn account(token: &str) -> String {
    token.split('-').nth(1).unwrap().to_owned()
}
