//! `/tree/…`: who delegates to whom. Bins are told of together, buckets of claimed projects one at a time.

use axum::http::StatusCode;

use super::frame::Section;
use super::html::Attribute::Class;
use super::html::{Address, Html};
use super::parts::{self, Part, expiry, facts, keys, keys_in_full, signatures, table};
use super::words::{counted, grouped, number};
use super::{Shown, View};
use crate::repository::{BucketName, Family, Node, RepositoryError};

/// Buckets or projects on one page, at most.
const MAX_ROWS: usize = 200;

/// Prefixes that are told of a bucket, at most: buckets answer for some hundred.
const MAX_PREFIXES: usize = 24;

/// Roles that targets delegates to and that are drawn, at most: a repository of wheelseal has three.
const MAX_DRAWN: usize = 50;

impl View<'_> {
    /// The whole tree, folded.
    pub(super) async fn tree(&self) -> Result<Shown, RepositoryError> {
        let root = self.repository.tree(&self.state).await?;
        let frame = self.frame("Delegations", Section::Tree, 1, &["wheelseal explain FILE"]);
        let page = frame.around(|html| {
            html.says("h1", &[], "Delegations");
            let lead = "Who may sign for what. Each role names the keys of the roles below it, and how many of them must sign.";
            html.says("p", &[Class("lead")], lead);
            html.element("ul", &[Class("tree")], |html| node(html, &root, &Address::root(0)));
        });
        Ok(Shown::Page(StatusCode::OK, page))
    }

    /// The buckets of `claimed` or `recently-claimed`.
    pub(super) async fn family(&self, family: Family, part: usize) -> Result<Shown, RepositoryError> {
        let buckets = self.repository.bucket_names(&self.state, family).await?;
        let title = format!("Buckets of {}", family.name());
        let part = Part::of(buckets.len(), part, MAX_ROWS);
        let frame = self.frame(&title, Section::Tree, 2, &["wheelseal explain FILE"]);
        let page = frame.around(|html| {
            html.element("p", &[], |html| html.link(&Address::root(1), "Delegations"));
            html.says("h1", &[], &title);
            if buckets.is_empty() {
                return html.says("p", &[], "No project is claimed here.");
            }
            let lead = "A project is in the first bucket whose prefix its name begins with; longer prefixes come first.";
            html.says("p", &[Class("lead")], lead);
            let caption = format!("{}, in the order in which clients ask them.", part.told("bucket"));
            table(html, &caption, &["Bucket", "#Prefixes", "Names that begin with"], |rows| {
                for bucket in part.pick(&buckets) {
                    rows.row(|row| {
                        row.head(|html| html.link(&Address::root(1).folder(&bucket.role), &bucket.role));
                        row.says(&grouped(number(bucket.prefixes.as_ref().map_or(0, Vec::len))));
                        row.says(&prefixes(bucket));
                    });
                }
            });
            part.links(html, &Address::root(0));
        });
        Ok(Shown::Page(StatusCode::OK, page))
    }

    /// One bucket: its projects and their keys.
    pub(super) async fn bucket(&self, name: &str, part: usize) -> Result<Shown, RepositoryError> {
        let Some(bucket) = self.repository.bucket_view(&self.state, name).await? else {
            return Ok(self.nothing(Section::Tree, 2, "There is no such bucket."));
        };
        let (link, projects) = (&bucket.link, &bucket.projects);
        let part = Part::of(projects.len(), part, MAX_ROWS);
        let frame = self.frame(name, Section::Tree, 2, &["wheelseal explain FILE"]);
        let page = frame.around(|html| {
            let above = Address::root(1).folder(&link.trusted_by);
            html.element("p", &[], |html| html.link(&above, &format!("Buckets of {}", link.trusted_by)));
            html.says("h1", &[], name);
            let version = ("Version", grouped(link.version));
            facts(html, &[version, ("Claimed projects", grouped(number(projects.len())))]);
            html.element("p", &[], |html| expiry(html, link.expires, parts::due(link, self.now), self.now));
            html.says("p", &[], &format!("It is {}.", signatures(link)));
            keys_in_full(html, &link.may_sign, &link.signed_by);
            table(
                html,
                &format!("{}, by name.", part.told("claimed project")),
                &["Project", "Signatures needed", "Keys"],
                |rows| {
                    for claimed in part.pick(projects) {
                        rows.row(|row| {
                            let to = Address::root(2).folder("project").folder(claimed.project.as_str());
                            row.head(|html| html.link(&to, claimed.project.as_str()));
                            let of = counted(number(claimed.keys.len()), "key");
                            row.says(&format!("{} of {of}", grouped(claimed.threshold)));
                            row.cell(|html| keys(html, &claimed.keys));
                        });
                    }
                },
            );
            part.links(html, &Address::root(0));
        });
        Ok(Shown::Page(StatusCode::OK, page))
    }
}

fn prefixes(bucket: &BucketName) -> String {
    let Some(prefixes) = &bucket.prefixes else { return "patterns of another kind".to_owned() };
    let some = prefixes.iter().take(MAX_PREFIXES);
    let mut words: Vec<_> =
        some.map(|prefix| if prefix.is_empty() { "anything else" } else { prefix }).collect();
    let more = format!("and {} more", grouped(number(prefixes.len().saturating_sub(MAX_PREFIXES))));
    if prefixes.len() > MAX_PREFIXES {
        words.push(&more);
    }
    words.join(", ")
}

fn node(html: &mut Html, of: &Node, here: &Address) {
    html.element("li", &[], |html| {
        html.element("div", &[Class("node")], |html| {
            html.says("strong", &[], &of.role);
            if let Some(version) = of.version {
                html.says("span", &[Class("soft")], &format!(" version {}", grouped(version)));
            }
            if let Some(paths) = &of.paths {
                let words = if of.version.is_some() { &format!("for {paths}") } else { paths };
                html.says("span", &[Class("sub")], words);
            }
            let (needed, keys) = (grouped(of.threshold), counted(number(of.signers.len()), "key"));
            html.says("span", &[Class("sub")], &format!("{needed} of {keys} must sign"));
            keys_in_full(html, &of.signers, &[]);
            if let Some(family) = Family::named(&of.role) {
                html.link(&here.folder(family.name()), "Its buckets and projects");
            }
        });
        if !of.children.is_empty() {
            html.element("ul", &[], |html| {
                of.children.iter().take(MAX_DRAWN).for_each(|child| node(html, child, here));
                if let Some(more) = of.children.len().checked_sub(MAX_DRAWN).filter(|more| *more > 0) {
                    html.says("li", &[], &format!("and {} more", grouped(number(more))));
                }
            });
        }
    });
}
