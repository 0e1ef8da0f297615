//! `/`: how the repository is.

use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};

use super::frame::Section;
use super::html::Attribute::{Class, Fixed, Label, Measure};
use super::html::{Address, Html};
use super::parts::{self, Due, facts, section, table};
use super::words::{counted, grouped, number};
use super::{Ceremonies, Shown, View};
use crate::repository::{Link, LogPicture, RepositoryError, RoleStatus, Signer, Status};

/// Time before expiry from which a role that people sign is due.
const DUE_WITHIN: TimeDelta = TimeDelta::days(14);

/// The marks of the timeline, in minutes from now, evenly spaced on it: roles live for a day or for years.
const MARKS: [(i64, &str); 7] = [
    (0, "now"),
    (24 * 60, "1 day"),
    (7 * 24 * 60, "1 week"),
    (30 * 24 * 60, "1 mo."),
    (91 * 24 * 60, "3 mo."),
    (365 * 24 * 60, "1 year"),
    (3 * 365 * 24 * 60, "3 years"),
];

/// Units of the drawing between two marks.
const STEP: u64 = 100;

/// A role and how it stands.
struct Standing<'a> {
    link: &'a Link,
    due: Due,
}

impl Standing<'_> {
    /// What is wrong with it, in words.
    fn wrong(&self) -> Option<String> {
        let role = &self.link.role;
        match self.due {
            Due::Expired => Some(format!("{role} has expired: clients refuse it until it is signed anew.")),
            _ if !self.link.enough() => {
                Some(format!("{role} is not signed by enough of the keys that count for it now."))
            }
            Due::Soon => Some(format!("{role} is due to be signed anew.")),
            Due::InDate => None,
        }
    }
}

impl View<'_> {
    /// The page.
    pub(super) async fn health(&self) -> Result<Shown, RepositoryError> {
        let links = self.repository.index_links(&self.state).await?;
        let events = match self.ceremonies {
            Ceremonies::Shown => self.repository.ceremonies().await?,
            Ceremonies::Hidden => Vec::new(),
        };
        let standings = self.standings(&links);
        let log = self.repository.log_picture(&self.state).await;
        let check = ["wheelseal trust add NAME URL --root root.json", "wheelseal explain FILE"];
        let frame = self.frame("Repository health", Section::Health, 0, &check);
        let page = frame.around(|html| {
            html.says("h1", &[], "Repository health");
            verdict(html, &standings, log.as_ref());
            self.numbers(html, log.as_ref());
            section(html, "expiry", "Expiry", |html| timeline(html, &standings, self.now));
            section(html, "roles", "Roles", |html| roles(html, &standings));
            section(html, "keys", "Keys", |html| keys(html, &links));
            if self.ceremonies == Ceremonies::Shown {
                let names: Vec<_> = events.iter().map(|name| name.as_str().to_owned()).collect();
                section(html, "ceremonies", "Open ceremonies", |html| {
                    super::ceremony::list(html, &names, &Address::root(0).folder("ceremony"));
                });
            }
        });
        Ok(Shown::Page(StatusCode::OK, page))
    }

    fn standings<'a>(&self, links: &'a [Link]) -> Vec<Standing<'a>> {
        let roles = links.iter().map(|link| RoleStatus::of(link, self.now)).collect();
        let status = Status { roles, ..Status::default() };
        let expiring = status.expiring(DUE_WITHIN, &self.repository.settings().expiry, self.now);
        let due = |link: &Link| match parts::due(link, self.now) {
            Due::InDate if expiring.iter().any(|role| role.role == link.role) => Due::Soon,
            due => due,
        };
        links.iter().map(|link| Standing { link, due: due(link) }).collect()
    }

    fn numbers(&self, html: &mut Html, log: Option<&LogPicture>) {
        let claims = if self.state.claims_enabled() { "possible" } else { "not enabled" };
        let told = [
            ("Root version", grouped(self.state.root.common.version)),
            ("Timestamp version", grouped(self.state.timestamp.common.version)),
            ("Snapshot version", grouped(self.state.snapshot.common.version)),
            ("Hashed bins", grouped(self.state.bin_count())),
            ("Claims by maintainers", claims.to_owned()),
            ("Entries in the log", log.map_or_else(|| "no log".to_owned(), |log| grouped(log.named.size))),
        ];
        facts(html, &told);
    }
}

fn verdict(html: &mut Html, standings: &[Standing<'_>], log: Option<&LogPicture>) {
    let mut wrong: Vec<_> =
        standings.iter().filter_map(|standing| Some((standing.due, standing.wrong()?))).collect();
    if let Some(Err(why)) = log.map(|log| &log.newest) {
        wrong.push((Due::Expired, format!("the log’s newest checkpoint does not hold: {why}.")));
    }
    if wrong.is_empty() {
        html.element("p", &[Class("lead")], |html| {
            html.says("span", &[Class("state good")], "✓ Well.");
            html.text(&format!(
                " The {} listed here are in date and signed by enough keys{}.",
                counted(number(standings.len()), "role"),
                if log.is_some() { ", and the log continues" } else { "" }
            ));
        });
        return;
    }
    let bad = wrong.iter().any(|(due, _)| *due != Due::Soon);
    let (class, words) = if bad { ("box bad", "✕ Not well.") } else { ("box", "! To be done.") };
    html.element("div", &[Class(class)], |html| {
        html.says("p", &[Class("state")], words);
        html.element("ul", &[Class("changes")], |html| {
            for (_, text) in &wrong {
                html.says("li", &[], text);
            }
        });
    });
}

fn timeline(html: &mut Html, standings: &[Standing<'_>], now: DateTime<Utc>) {
    html.says(
        "p",
        &[Class("soft")],
        "How long each role is still good. The marks are evenly spaced, though the times between them are not.",
    );
    html.element("div", &[Class("scale"), Fixed("aria-hidden", "true")], |html| {
        html.element("ol", &[], |html| {
            MARKS.iter().skip(1).for_each(|(_, words)| html.says("li", &[], words));
        });
    });
    html.element("ul", &[Class("times"), Label("Expiry of each role")], |html| {
        for Standing { link, due } in standings {
            html.element("li", &[], |html| {
                html.says("strong", &[], &link.role);
                bar(html, position((link.expires - now).num_minutes()), *due);
                html.element("span", &[Class("when")], |html| parts::expiry(html, link.expires, *due, now));
            });
        }
    });
    html.element("p", &[Class("note")], |html| {
        html.text("Bins and buckets of claimed projects are not read for this page; ");
        html.says("code", &[], "wheelseal status");
        html.text(" names those that expire first.");
    });
}

/// What the words beside it say, drawn.
fn bar(html: &mut Html, width: u64, due: Due) {
    let whole = STEP * (number(MARKS.len()) - 1);
    let class = match due {
        Due::InDate => "bar",
        Due::Soon => "soon",
        Due::Expired => "bad",
    };
    let hidden = Fixed("aria-hidden", "true");
    let drawing = [hidden, Fixed("viewBox", "0 0 600 10"), Fixed("preserveAspectRatio", "none")];
    html.element("svg", &drawing, |html| {
        let mut rect = |class, x, width| {
            let measures = [Class(class), Measure("x", x), Measure("width", width), Fixed("height", "10")];
            html.element("rect", &measures, |_| {});
        };
        rect("track", 0, whole);
        rect(class, 0, width.max(4));
        (1..number(MARKS.len()) - 1).for_each(|mark| rect("tick", mark * STEP, 2));
    });
}

/// Where so many minutes from now are on the drawing.
fn position(minutes: i64) -> u64 {
    let mut from = 0;
    for (step, pair) in (0_u64..).zip(MARKS.windows(2)) {
        let [(low, _), (high, _)] = pair else { continue };
        if minutes < *high {
            let part = (minutes.max(*low) - low).unsigned_abs() * STEP / (high - low).unsigned_abs();
            return step * STEP + part;
        }
        from = (step + 1) * STEP;
    }
    from
}

fn roles(html: &mut Html, standings: &[Standing<'_>]) {
    let caption = "Who vouches for each role, and who signed it. Keys are named by the start of their ids.";
    let columns = ["Role", "#Version", "Keys named by", "Signatures", "Signed by"];
    table(html, caption, &columns, |rows| {
        for Standing { link, .. } in standings {
            rows.row(|row| {
                row.head(|html| html.text(&link.role));
                row.says(&grouped(link.version));
                row.says(&link.trusted_by);
                row.cell(|html| {
                    html.text(&parts::signatures(link));
                    if !link.enough() {
                        html.says("span", &[Class("sub bad")], "✕ not enough");
                    }
                });
                row.cell(|html| parts::keys(html, &link.signed_by));
            });
        }
    });
}

fn keys(html: &mut Html, links: &[Link]) {
    let mut all: Vec<&Signer> = links.iter().flat_map(|link| &link.may_sign).collect();
    all.sort();
    all.dedup();
    let caption = "All keys that may sign these roles.";
    table(html, caption, &["Key id", "Scheme", "May sign"], |rows| {
        for signer in all {
            let may = links.iter().filter(|link| link.may_sign.contains(signer));
            let may: Vec<_> = may.map(|link| link.role.as_str()).collect();
            rows.row(|row| {
                row.head(|html| html.says("code", &[], &signer.keyid));
                row.says(&signer.scheme);
                row.says(&may.join(", "));
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_between_their_marks() {
        for (minutes, at) in [
            (-5, 0),
            (0, 0),
            (12 * 60, 50),
            (24 * 60, 100),
            (4 * 24 * 60, 150),
            (365 * 24 * 60, 500),
            (2 * 365 * 24 * 60, 550),
            (i64::MAX, 600),
        ] {
            assert_eq!(position(minutes), at, "{minutes}");
        }
    }
}
