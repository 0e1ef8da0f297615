//! `/ceremony/…`: changes of roles that wait for signatures. Shown only if the operator wants it.

use axum::http::StatusCode;

use super::frame::Section;
use super::html::Attribute::Class;
use super::html::{Address, Html};
use super::parts::{self, facts, section, table};
use super::words::{grouped, number};
use super::{Shown, View};
use crate::repository::{CeremonyError, Count, Detail, EventName, RepositoryError, Review, RoleReview};
use crate::store::StoreError;

/// Bytes of a ceremony's file that is verified for a page, at most: those that change buckets of hundreds of thousands of
/// projects have some hundred megabytes.
const MAX_SHOWN: u64 = 4 * 1_024 * 1_024;

/// Ceremonies on the list, at most: more than two at once are rare.
const MAX_LISTED: usize = 100;

/// Lines that are shown of a change, at most.
const MAX_CHANGES: usize = 200;

impl View<'_> {
    /// Those under way.
    pub(super) async fn ceremonies(&self) -> Result<Shown, RepositoryError> {
        let names = self.repository.ceremonies().await?;
        let names: Vec<_> = names.iter().map(|name| name.as_str().to_owned()).collect();
        let frame = self.frame("Ceremonies", Section::Ceremonies, 1, &["wheelseal ceremony status"]);
        let page = frame.around(|html| {
            html.says("h1", &[], "Ceremonies");
            let lead =
                "Changes of roles that people sign, one after the other. Nothing of them is in force yet.";
            html.says("p", &[Class("lead")], lead);
            list(html, &names, &Address::root(0));
        });
        Ok(Shown::Page(StatusCode::OK, page))
    }

    /// One of them: what it changes, who has signed, who is missing.
    pub(super) async fn ceremony(&self, name: &str) -> Result<Shown, RepositoryError> {
        let none = || self.nothing(Section::Ceremonies, 2, "There is no such ceremony under way.");
        let Ok(event) = EventName::new(name) else { return Ok(none()) };
        let event = match self.repository.ceremony_within(&event, MAX_SHOWN).await {
            Ok(event) => event,
            Err(RepositoryError::Ceremony(CeremonyError::Unknown(_))) => return Ok(none()),
            Err(RepositoryError::Store(StoreError::TooLarge { .. })) => return Ok(self.too_large(name)),
            Err(error) => return Err(error),
        };
        let review = event.review(Detail::Brief, Some(&self.repository.settings().expiry))?;
        let check = [
            format!("wheelseal ceremony verify {name} --root root.json"),
            format!("wheelseal ceremony show {name}"),
        ];
        let check: Vec<_> = check.iter().map(String::as_str).collect();
        let frame = self.frame(name, Section::Ceremonies, 2, &check);
        let page = frame.around(|html| {
            html.element("p", &[], |html| html.link(&Address::root(1), "Ceremonies"));
            html.says("h1", &[], &format!("Ceremony {name}"));
            self.summary(html, &review);
            notes(html, &review);
            section(html, "changes", "What it changes", |html| {
                review.roles.iter().for_each(|role| changes(html, role));
            });
            section(html, "signatures", "Who has signed, and who is missing", |html| {
                signatures(html, &review);
            });
            new_keys(html, &review);
        });
        Ok(Shown::Page(StatusCode::OK, page))
    }

    fn too_large(&self, name: &str) -> Shown {
        let check = format!("wheelseal ceremony show {name}");
        let check = [check.as_str()];
        let frame = self.frame(name, Section::Ceremonies, 2, &check);
        let why = "This ceremony changes too much to be verified for a page. The command below shows it.";
        Shown::Page(StatusCode::OK, super::message(&frame, why))
    }

    fn summary(&self, html: &mut Html, review: &Review) {
        let (class, words) = if !review.refusals.is_empty() {
            ("state bad", "✕ Refused: it must not be signed.")
        } else if review.complete() {
            ("state good", "✓ Complete: it can be finished.")
        } else {
            ("state soon", "! Waiting for signatures.")
        };
        html.element("p", &[Class("lead")], |html| html.says("span", &[Class(class)], words));
        let counts = review.roles.iter().flat_map(|role| &role.signatures);
        let told = [
            ("Roles", grouped(number(review.roles.len()))),
            ("Signatures missing", grouped(counts.map(missing).sum())),
            ("Based on root version", grouped(review.root)),
        ];
        facts(html, &told);
        html.element("p", &[], |html| {
            html.text("Started ");
            parts::time(html, review.started, self.now);
        });
        html.element("p", &[], |html| {
            html.text("Proposal SHA-256 ");
            html.says("code", &[], &review.digest);
        });
    }
}

/// How many signatures a count lacks.
fn missing(count: &Count) -> u64 {
    count.needed.saturating_sub(number(count.signed.len()))
}

/// Links to ceremonies.
pub(super) fn list(html: &mut Html, names: &[String], folder: &Address) {
    if names.is_empty() {
        return html.says("p", &[], "None is under way.");
    }
    html.element("ul", &[Class("changes")], |html| {
        for name in names.iter().take(MAX_LISTED) {
            html.element("li", &[], |html| html.link(&folder.folder(name), name));
        }
    });
}

fn notes(html: &mut Html, review: &Review) {
    let all =
        [("box bad", "✕ Refused", &review.refusals), ("box", "! Think of this first", &review.warnings)];
    for (class, heading, texts) in all.into_iter().filter(|(_, _, texts)| !texts.is_empty()) {
        html.element("div", &[Class(class)], |html| {
            html.says("p", &[Class("state")], heading);
            lines(html, texts);
        });
    }
}

fn lines(html: &mut Html, texts: &[String]) {
    html.element("ul", &[Class("changes")], |html| {
        texts.iter().take(MAX_CHANGES).for_each(|text| html.says("li", &[], text));
        if let Some(more) = texts.len().checked_sub(MAX_CHANGES).filter(|more| *more > 0) {
            html.says("li", &[], &format!("and {} more", grouped(number(more))));
        }
    });
}

fn changes(html: &mut Html, role: &RoleReview) {
    html.says("h3", &[], &role.role);
    let after = match role.from {
        0 => "new".to_owned(),
        from => format!("version {} becomes", grouped(from)),
    };
    if role.buckets == 0 {
        html.says("p", &[Class("soft")], &format!("{after} version {}", grouped(role.to)));
    }
    lines(html, &role.changes);
    if !role.consequences.is_empty() {
        html.says("p", &[], "From it follows:");
        lines(html, &role.consequences);
    }
}

fn signatures(html: &mut Html, review: &Review) {
    let caption = "“Now” are the keys in force, “after” those that the change names. Keys are told by their holder, if known, and the start of their id.";
    table(html, caption, &["Role", "By its keys", "Signatures", "Signed", "Not signed"], |rows| {
        for (role, count) in
            review.roles.iter().flat_map(|role| role.signatures.iter().map(move |count| (role, count)))
        {
            rows.row(|row| {
                row.head(|html| html.text(&role.role));
                row.says(count.by);
                row.cell(|html| {
                    let (class, mark) = if count.complete() { ("good", "✓") } else { ("soon", "!") };
                    let text = format!("{mark} {} of {} needed", count.signed.len(), grouped(count.needed));
                    html.says("span", &[Class(class)], &text);
                });
                row.says(&or_none(&count.signed));
                row.says(&or_none(&count.missing));
            });
        }
    });
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

fn new_keys(html: &mut Html, review: &Review) {
    if review.new_keys.is_empty() {
        return;
    }
    section(html, "new-keys", "New keys", |html| {
        let caption = "Keys that no role had before. Who holds one shows it by signing with it.";
        table(html, caption, &["Key id", "Holder", "Shown to be held"], |rows| {
            for key in &review.new_keys {
                rows.row(|row| {
                    row.head(|html| html.says("code", &[], &key.key));
                    row.says(key.holder.as_deref().unwrap_or("not told"));
                    row.says(if key.proven { "✓ yes" } else { "! not yet" });
                });
            }
        });
    });
}
