//! `/log/`: the transparency log: how large it is, who signed and witnessed that, what was added last.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};

use super::frame::Section;
use super::html::Attribute::Class;
use super::html::{Address, Html};
use super::parts::{facts, section, table, time};
use super::words::{grouped, number};
use super::{Shown, View};
use crate::repository::{LogEntry, LogPicture, LogTree, Signed};

/// Entries that are shown, at most. Each costs the server the proof that it is in the log.
const MAX_NEWEST: u64 = 20;

/// Lines of a policy that are shown, at most: it may name 64 witnesses, and groups of them.
const MAX_LINES: usize = 100;

/// What is said where there is no log.
pub(super) const NO_LOG: &str = "This repository keeps no transparency log.";

impl View<'_> {
    /// The page.
    pub(super) async fn log(&self) -> Shown {
        let check = [
            "wheelseal log status --repo URL --policy tlog-policy",
            "wheelseal log verify --repo URL --policy tlog-policy",
        ];
        let Some(log) = self.repository.log_picture(&self.state).await else {
            let frame = self.frame("Transparency log", Section::Log, 1, &["wheelseal log status --repo URL"]);
            return Shown::Page(StatusCode::OK, super::message(&frame, NO_LOG));
        };
        let entries = self.repository.log_entries(&self.state, MAX_NEWEST).await;
        let frame = self.frame("Transparency log", Section::Log, 1, &check);
        let page = frame.around(|html| {
            html.says("h1", &[], "Transparency log");
            let lead = "A list of all that was ever published here, to which entries are only added. Whoever installs can check that \
                        a file stands in the same list that everybody else sees, so the index cannot show one file to one of them alone.";
            html.says("p", &[Class("lead")], lead);
            facts(html, &[("Name", log.origin.clone()), ("Entries", grouped(log.named.size))]);
            root(html, "Root over them, which the timestamp names", &log.named);
            section(html, "head", "Who signed it", |html| self.head(html, &log));
            section(html, "policy", "Who must have seen it", |html| policy(html, &log));
            section(html, "entries", "Newest entries", |html| newest(html, &log, &entries));
        });
        Shown::Page(StatusCode::OK, page)
    }

    fn head(&self, html: &mut Html, log: &LogPicture) {
        let signed = match &log.newest {
            Ok(signed) => signed,
            Err(why) => {
                html.element("div", &[Class("box bad")], |html| {
                    html.says("p", &[Class("state")], "✕ The newest checkpoint does not hold.");
                    html.says("p", &[], why);
                });
                return;
            }
        };
        html.element("p", &[], |html| {
            html.says("span", &[Class("state good")], "✓ It holds.");
            let entries = counted_entries(signed.tree.size);
            html.text(&format!(
                " The log signed its tree of {entries}, the policy is satisfied, and the tree continues the one that the timestamp names."
            ));
        });
        if signed.tree != log.named {
            root(html, "Root of that tree", &signed.tree);
        }
        cosignatures(html, signed, self.now);
        let silent = |name: &&String| signed.cosigned.iter().all(|(cosigned, _)| cosigned != *name);
        let silent: Vec<_> = log.witnesses.iter().filter(silent).map(String::as_str).collect();
        if !silent.is_empty() {
            html.says("p", &[Class("soft")], &format!("Not cosigned by: {}.", silent.join(", ")));
        }
    }
}

/// `1 entry`, `1,234 entries`.
pub(super) fn counted_entries(entries: u64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{} entries", grouped(entries)) }
}

fn root(html: &mut Html, what: &str, tree: &LogTree) {
    html.element("p", &[], |html| {
        html.text(&format!("{what}: "));
        html.says("code", &[], &tree.root);
    });
}

/// The witnesses that cosigned a tree, and when.
pub(super) fn cosignatures(html: &mut Html, signed: &Signed, now: DateTime<Utc>) {
    if signed.cosigned.is_empty() {
        return html.says("p", &[], "No witness cosigned it.");
    }
    let of = match signed.cosigned.len() {
        1 => "one witness".to_owned(),
        all => format!("{} witnesses", grouped(number(all))),
    };
    let caption = format!(
        "Cosigned by {of}. Each saw that nothing was changed or taken away since it looked before; times are by its own clock."
    );
    table(html, &caption, &["Witness", "When"], |rows| {
        for (name, seconds) in &signed.cosigned {
            rows.row(|row| {
                row.head(|html| html.text(name));
                row.cell(|html| match when(*seconds) {
                    Some(then) => time(html, then, now),
                    None => html.text(&format!("{} seconds after 1970", grouped(*seconds))),
                });
            });
        }
    });
}

fn when(seconds: u64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)
}

/// What is said where no witness is asked.
pub(super) const UNWITNESSED: &str =
    "! Nobody outside: the policy says “quorum none”. No witness vouches that others are shown the same log.";

fn policy(html: &mut Html, log: &LogPicture) {
    if log.unwitnessed {
        html.element("div", &[Class("box")], |html| html.says("p", &[Class("state")], UNWITNESSED));
    }
    if log.policy.is_empty() {
        return html.says("p", &[Class("bad")], "✕ There is no policy that can be read.");
    }
    if !log.in_force {
        html.says(
            "p",
            &[],
            "! No ceremony has put this policy in force yet: clients do not ask for the log by themselves.",
        );
    }
    html.element("ul", &[Class("changes")], |html| {
        log.policy.iter().take(MAX_LINES).for_each(|line| html.says("li", &[], line));
        if let Some(more) = log.policy.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
            html.says("li", &[], &format!("and {} more", grouped(number(more))));
        }
    });
    if log.in_force {
        html.element("p", &[], |html| {
            html.text("People signed it: ");
            html.link(&Address::root(1).folder("targets").file("tlog-policy"), "tlog-policy");
        });
    }
}

fn newest(html: &mut Html, log: &LogPicture, entries: &Result<(Vec<LogEntry>, Option<LogEntry>), String>) {
    let (entries, before) = match entries {
        Ok((entries, before)) => (entries, before),
        Err(why) => {
            // Of a checkpoint that does not hold the page has said why.
            let why = if log.newest.is_ok() { why.as_str() } else { "The newest checkpoint does not hold." };
            return html.says("p", &[Class("bad")], &format!("✕ They cannot be shown: {why}"));
        }
    };
    if entries.is_empty() {
        return html.says("p", &[], "There are none.");
    }
    if let Some(before) = before {
        html.says("p", &[], &format!("This log continues another one: {}.", before.about));
    }
    let caption =
        "The newest first, counted from 0. The server checked that each is in the tree that was signed.";
    table(html, caption, &["What, SHA-256", "#Entry", "Kind"], |rows| {
        for entry in entries {
            rows.row(|row| {
                row.head(|html| about(html, entry));
                row.says(&grouped(entry.number));
                row.says(entry.kind);
            });
        }
    });
}

fn about(html: &mut Html, entry: &LogEntry) {
    match &entry.file {
        Some((project, name)) => {
            html.link(&Address::root(1).folder("project").folder(project).file(name), name);
        }
        None => html.text(&entry.about),
    }
    if let Some(sha256) = &entry.sha256 {
        html.says("code", &[Class("sub digest")], sha256);
    }
}
