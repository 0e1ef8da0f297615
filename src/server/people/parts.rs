//! What the pages are made of: sections, tables, keys, dates, trails.

use chrono::{DateTime, Utc};

use super::html::Attribute::{Class, Column, DateTime as At, Fixed, Id, Label, LabelledBy, Title};
use super::html::{Address, Html};
use super::words::{counted, date, grouped, number, relative};
use crate::repository::{Link, Signer};

/// A part of a page under a heading.
pub(super) fn section(html: &mut Html, id: &'static str, heading: &str, inside: impl FnOnce(&mut Html)) {
    html.element("section", &[LabelledBy(id)], |html| {
        html.says("h2", &[Id(id)], heading);
        inside(html);
    });
}

/// Facts as pairs: what, and how it is.
pub(super) fn facts(html: &mut Html, facts: &[(&str, String)]) {
    html.element("dl", &[Class("facts")], |html| {
        for (what, how) in facts {
            html.element("div", &[], |html| {
                html.says("dt", &[], what);
                html.says("dd", &[], how);
            });
        }
    });
}

/// A table: its caption, and the headings of its columns; the first column heads the rows. `rows` writes them. A heading
/// that begins with `#` is that of numbers. Roles are written out, for on narrow screens rows are shown as blocks and would
/// lose them.
pub(super) fn table(
    html: &mut Html,
    caption: &str,
    columns: &[&'static str],
    rows: impl FnOnce(&mut Rows<'_>),
) {
    html.element("table", &[Fixed("role", "table")], |html| {
        html.says("caption", &[], caption);
        html.element("thead", &[Fixed("role", "rowgroup")], |html| {
            html.element("tr", &[Fixed("role", "row")], |html| {
                for heading in columns {
                    let (class, text) = numeric(heading);
                    html.says(
                        "th",
                        &[Fixed("scope", "col"), Fixed("role", "columnheader"), Class(class)],
                        text,
                    );
                }
            });
        });
        html.element("tbody", &[Fixed("role", "rowgroup")], |html| rows(&mut Rows { html, columns }));
    });
}

/// A heading that begins with `#` is that of a column of numbers.
fn numeric(heading: &'static str) -> (&'static str, &'static str) {
    heading.strip_prefix('#').map_or(("text", heading), |text| ("number", text))
}

/// The rows of a table.
pub(super) struct Rows<'a> {
    html: &'a mut Html,
    columns: &'a [&'static str],
}

impl Rows<'_> {
    /// One row; `cells` writes one cell for each column.
    pub(super) fn row(&mut self, cells: impl FnOnce(&mut Row<'_>)) {
        let columns = self.columns.iter();
        self.html.element("tr", &[Fixed("role", "row")], |html| cells(&mut Row { html, columns }));
    }
}

/// The cells of a row.
pub(super) struct Row<'a> {
    html: &'a mut Html,
    columns: std::slice::Iter<'a, &'static str>,
}

impl Row<'_> {
    /// The first cell, which heads the row.
    pub(super) fn head(&mut self, inside: impl FnOnce(&mut Html)) {
        self.columns.next();
        self.html.element("th", &[Fixed("scope", "row"), Fixed("role", "rowheader")], inside);
    }

    /// The next cell.
    pub(super) fn cell(&mut self, inside: impl FnOnce(&mut Html)) {
        let (class, heading) = numeric(self.columns.next().copied().unwrap_or_default());
        let attributes = [Fixed("role", "cell"), Class(class), Column(heading)];
        // One element holds it all, for on narrow screens the cell is a grid.
        self.html.element("td", &attributes, |html| html.element("div", &[], inside));
    }

    /// A cell of text.
    pub(super) fn says(&mut self, text: &str) {
        self.cell(|html| html.text(text));
    }
}

/// Where a long list is shown in parts: which part, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// From 1.
    pub(super) page: usize,
    /// At least 1.
    pub(super) pages: usize,
    /// Items of all parts.
    pub(super) all: usize,
    /// Items before this part.
    pub(super) from: usize,
    /// Items of a part, at most.
    pub(super) size: usize,
}

impl Part {
    /// The part `page` of `all` items. A page that is not there is the last one.
    pub(super) fn of(all: usize, page: usize, size: usize) -> Self {
        let pages = all.div_ceil(size).max(1);
        let page = page.clamp(1, pages);
        Self { page, pages, all, from: (page - 1) * size, size }
    }

    /// `101 to 200 of 253 files`; all of them if this is the only part.
    pub(super) fn told(&self, noun: &str) -> String {
        if self.pages == 1 {
            return counted(number(self.all), noun);
        }
        let last = self.from.saturating_add(self.size).min(self.all);
        let [first, last] = [self.from + 1, last].map(|at| grouped(number(at)));
        format!("{first} to {last} of {}", counted(number(self.all), noun))
    }

    /// These items out of all.
    pub(super) fn pick<T>(&self, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        all.into_iter().skip(self.from).take(self.size)
    }

    /// Links to the parts around this one, unless it is the only one.
    pub(super) fn links(&self, html: &mut Html, to: &Address) {
        if self.pages == 1 {
            return;
        }
        html.element("nav", &[Class("pages"), Label("Parts of the list")], |html| {
            let of = format!("Part {} of {}", grouped(number(self.page)), grouped(number(self.pages)));
            html.says("span", &[], &of);
            html.element("ul", &[], |html| {
                if self.page > 1 {
                    html.element("li", &[], |html| html.link(&to.page(self.page - 1), "Previous part"));
                }
                if self.page < self.pages {
                    html.element("li", &[], |html| html.link(&to.page(self.page + 1), "Next part"));
                }
            });
        });
    }
}

/// How a date stands to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    InDate,
    /// Somebody should sign, and nobody did so far.
    Soon,
    Expired,
}

impl Due {
    /// The class, and the words that say the same without colour.
    pub(super) fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::InDate => ("good", "✓ in date"),
            Self::Soon => ("soon", "! due"),
            Self::Expired => ("bad", "✕ expired"),
        }
    }
}

/// A time: absolute, then how far it is from now.
pub(super) fn time(html: &mut Html, then: DateTime<Utc>, now: DateTime<Utc>) {
    html.says("time", &[At(&then.to_rfc3339())], &date(then));
    html.text(", ");
    html.says("span", &[Class("relative")], &relative(then, now));
}

/// Whether it is in date, and until when.
pub(super) fn expiry(html: &mut Html, expires: DateTime<Utc>, due: Due, now: DateTime<Utc>) {
    let (class, words) = due.told();
    html.says("span", &[Class(class)], words);
    html.text(if due == Due::Expired { " " } else { " until " });
    time(html, expires, now);
}

/// A key by the start of its id.
pub(super) fn key(html: &mut Html, signer: &Signer) {
    html.says("code", &[Class("key"), Title(&signer.keyid)], &signer.short());
}

/// Keys by the start of their ids.
pub(super) fn keys(html: &mut Html, signers: &[Signer]) {
    for (at, signer) in signers.iter().enumerate() {
        if at > 0 {
            html.text(" ");
        }
        key(html, signer);
    }
}

/// Keys by the start of their ids, to be opened for all of them.
pub(super) fn keys_in_full(html: &mut Html, signers: &[Signer], signed_by: &[Signer]) {
    html.element("details", &[], |html| {
        html.element("summary", &[], |html| {
            html.text(if signers.len() == 1 { "Key " } else { "Keys " });
            keys(html, signers);
        });
        html.element("ul", &[], |html| {
            for signer in signers {
                html.element("li", &[], |html| {
                    html.says("code", &[], &signer.keyid);
                    let signed = if signed_by.contains(signer) { ", signed" } else { "" };
                    html.text(&format!(" {}{signed}", signer.scheme));
                });
            }
        });
    });
}

/// `signed by 2 of 3 keys, 2 needed`.
pub(super) fn signatures(link: &Link) -> String {
    let (signed, keys) = (number(link.counted()), counted(number(link.keys), "key"));
    format!("signed by {} of {keys}, {} needed", grouped(signed), grouped(link.threshold))
}

/// Whether a role has expired.
pub(super) fn due(link: &Link, now: DateTime<Utc>) -> Due {
    if link.expires <= now { Due::Expired } else { Due::InDate }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_not_there_is_the_first_or_the_last() {
        for (all, page, expected) in
            [(0, 1, (1, 1, 0)), (10, 0, (1, 1, 0)), (11, 2, (2, 2, 10)), (25, usize::MAX, (3, 3, 20))]
        {
            let part = Part::of(all, page, 10);
            assert_eq!((part.page, part.pages, part.from), expected, "{all} {page}");
        }
        let part = Part::of(25, 3, 10);
        assert_eq!(part.pick(0..25).collect::<Vec<_>>(), [20, 21, 22, 23, 24]);
        assert_eq!(part.told("file"), "21 to 25 of 25 files");
        assert_eq!(Part::of(1, 1, 10).told("file"), "1 file");
    }

    #[test]
    fn signatures_of_keys_that_count_no_more_are_not_counted() {
        let signer = |id: &str| Signer { keyid: id.to_owned(), scheme: "ed25519".to_owned() };
        let link = Link {
            role: "timestamp".to_owned(),
            trusted_by: "root".to_owned(),
            version: 1,
            expires: DateTime::UNIX_EPOCH,
            threshold: 1,
            keys: 1,
            signed_by: vec![signer("old")],
            may_sign: vec![signer("new")],
        };
        assert_eq!((signatures(&link).as_str(), link.enough()), ("signed by 0 of 1 key, 1 needed", false));
        let good = Link { signed_by: vec![signer("new"), signer("old")], ..link };
        assert_eq!((signatures(&good).as_str(), good.enough()), ("signed by 1 of 1 key, 1 needed", true));
    }
}
