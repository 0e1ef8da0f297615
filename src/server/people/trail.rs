//! Why a target is trusted, drawn: from root down to the role that lists it.

use chrono::{DateTime, Utc};

use super::html::Attribute::Class;
use super::html::Html;
use super::parts::{due, expiry, keys_in_full, signatures};
use super::words::grouped;
use crate::python::PageFile;
use crate::repository::{Link, Trail};

/// The trail to a target. `file`: what the project's page says of it, to be the same.
pub(super) fn trust(html: &mut Html, trail: &Trail, file: Option<&PageFile>, now: DateTime<Utc>) {
    let intro = "Each role names the keys of the roles below it. Timestamp and snapshot tell that nothing older is passed off as new.";
    html.says("p", &[Class("soft")], intro);
    let leaf = |html: &mut Html| {
        html.says("strong", &[], &trail.target);
        let Some(listed) = &trail.listed else {
            return html.says("span", &[Class("sub bad")], "✕ The role does not list it: clients refuse it.");
        };
        let digest = listed.hashes.sha256.map(hex::encode).unwrap_or_default();
        html.says("span", &[Class("sub")], &format!("{} bytes, SHA-256", grouped(listed.length)));
        html.says("code", &[], &digest);
        let other = |file: &PageFile| file.sha256.as_str() != digest || file.size != listed.length;
        if file.is_some_and(other) {
            let text = "✕ The project’s page has other hashes: clients take what this role says.";
            html.says("span", &[Class("sub bad")], text);
        }
    };
    tree(html, &trail.links, now, Box::new(leaf));
}

/// A trail as a tree: what vouches for freshness, then from role to role what vouches for the leaf, which `leaf` writes.
fn tree(html: &mut Html, links: &[Link], now: DateTime<Utc>, leaf: Box<dyn FnOnce(&mut Html) + '_>) {
    let fresh = |link: &&Link| matches!(link.role.as_str(), "timestamp" | "snapshot");
    let (fresh, chain): (Vec<_>, Vec<_>) = links.iter().partition(fresh);
    html.element("ul", &[Class("tree")], |html| branch(html, &chain, &fresh, now, leaf));
}

fn branch(
    html: &mut Html,
    chain: &[&Link],
    beside: &[&Link],
    now: DateTime<Utc>,
    leaf: Box<dyn FnOnce(&mut Html) + '_>,
) {
    html.element("li", &[], |html| {
        let Some((link, rest)) = chain.split_first() else {
            return html.element("div", &[Class("leaf")], leaf);
        };
        role(html, link, now);
        html.element("ul", &[], |html| {
            for link in beside {
                html.element("li", &[], |html| role(html, link, now));
            }
            branch(html, rest, &[], now, leaf);
        });
    });
}

fn role(html: &mut Html, link: &Link, now: DateTime<Utc>) {
    html.element("div", &[Class("node")], |html| {
        html.says("strong", &[], &link.role);
        html.says("span", &[Class("soft")], &format!(" version {}", grouped(link.version)));
        html.element("span", &[Class("sub")], |html| {
            expiry(html, link.expires, due(link, now), now);
        });
        html.says("span", &[Class("sub")], &signatures(link));
        keys_in_full(html, &link.may_sign, &link.signed_by);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_its_role_does_not_list_is_told_as_such() {
        let trail = Trail { target: "foo/<x>".to_owned(), links: Vec::new(), listed: None };
        let mut html = Html::default();
        trust(&mut html, &trail, None, DateTime::UNIX_EPOCH);
        let text = String::from_utf8(html.document()).unwrap();
        assert!(text.contains("<strong>foo/&lt;x&gt;</strong>"), "{text}");
        assert!(text.contains("✕ The role does not list it: clients refuse it."), "{text}");
    }
}
