//! An address taken apart. What cannot be read asks for nothing.

use std::borrow::Cow;
use std::str::FromStr;

use axum::http::Uri;
use percent_encoding::percent_decode_str;

use super::html::Address;
use crate::python::ProjectName;
use crate::repository::Family;

/// Pairs of a query that are looked at, at most: the pages use one.
const MAX_PAIRS: usize = 16;

/// What somebody wants to see. Parts of lists count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    Health,
    /// A project by its name as typed, if one was.
    Search(Option<String>),
    Project(ProjectName, usize),
    File(ProjectName, String),
    Tree,
    Family(Family, usize),
    Bucket(String, usize),
    Log,
    Ceremonies,
    Ceremony(String),
    /// Another spelling of an address.
    Elsewhere(Address),
}

impl Ask {
    /// What an address asks for.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let path = uri.path().strip_prefix('/')?;
        let segments: Option<Vec<_>> = path.split('/').map(decoded).collect();
        let segments = segments?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let part = || value(uri, "page").and_then(|page| page.parse().ok()).unwrap_or(1);
        Some(match segments.as_slice() {
            [""] => Self::Health,
            [folder @ ("project" | "tree" | "log" | "ceremony")] => {
                Self::Elsewhere(Address::root(0).folder(folder))
            }
            ["project", ""] => Self::Search(value(uri, "name")),
            ["project", name] => {
                Self::Elsewhere(Address::root(0).folder(ProjectName::from_str(name).ok()?.as_str()))
            }
            ["project", name, rest] => {
                let project = ProjectName::from_str(name).ok()?;
                match *rest {
                    "" if project.as_str() != *name => {
                        Self::Elsewhere(Address::root(1).folder(project.as_str()))
                    }
                    "" => Self::Project(project, part()),
                    file => Self::File(project, file.to_owned()),
                }
            }
            ["tree", ""] => Self::Tree,
            ["log", ""] => Self::Log,
            ["ceremony", ""] => Self::Ceremonies,
            ["tree" | "ceremony", name] => Self::Elsewhere(Address::root(0).folder(name)),
            ["tree", name, ""] => match Family::named(name) {
                Some(family) => Self::Family(family, part()),
                None => Self::Bucket((*name).to_owned(), part()),
            },
            ["ceremony", name, ""] => Self::Ceremony((*name).to_owned()),
            _ => return None,
        })
    }

    /// Folders that the address lies below the root.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Health => 0,
            Self::Search(_) | Self::Tree | Self::Log | Self::Ceremonies | Self::Elsewhere(_) => 1,
            Self::Project(..) | Self::File(..) | Self::Family(..) | Self::Bucket(..) | Self::Ceremony(_) => 2,
        }
    }
}

fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(segment).decode_utf8().ok()
}

/// A value of the query, as forms send it.
fn value(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').take(MAX_PAIRS);
    let (_, value) = pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    Some(decoded(&value.replace('+', " "))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: &str) -> Option<Ask> {
        Ask::of(&address.parse().unwrap())
    }

    fn to(address: &str) -> Ask {
        Ask::Elsewhere(Address::root(0).folder(address))
    }

    #[test]
    fn each_page_has_one_address() {
        let six: ProjectName = "six".parse().unwrap();
        assert_eq!(ask("/"), Some(Ask::Health));
        assert_eq!(ask("/project/"), Some(Ask::Search(None)));
        assert_eq!(ask("/project/?name=+Zope.Interface+"), Some(Ask::Search(Some("Zope.Interface".into()))));
        assert_eq!(ask("/project/six/"), Some(Ask::Project(six.clone(), 1)));
        assert_eq!(ask("/project/six/?page=3"), Some(Ask::Project(six.clone(), 3)));
        assert_eq!(ask("/project/six/a%2Bb"), Some(Ask::File(six, "a+b".into())));
        assert_eq!(ask("/tree/"), Some(Ask::Tree));
        assert_eq!(ask("/tree/claimed/?page=x"), Some(Ask::Family(Family::Claimed, 1)));
        assert_eq!(ask("/tree/claimed-0000/"), Some(Ask::Bucket("claimed-0000".into(), 1)));
        assert_eq!(ask("/log/"), Some(Ask::Log));
        assert_eq!(ask("/ceremony/two/"), Some(Ask::Ceremony("two".into())));
    }

    #[test]
    fn other_spellings_lead_to_it() {
        assert_eq!(ask("/project"), Some(to("project")));
        assert_eq!(ask("/log"), Some(to("log")));
        assert_eq!(ask("/project/Six"), Some(to("six")));
        assert_eq!(ask("/tree/claimed"), Some(to("claimed")));
        let up = Ask::Elsewhere(Address::root(1).folder("zope-interface"));
        assert_eq!(ask("/project/Zope.Interface/"), Some(up));
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        for address in
            ["/project/-/", "/project/six/a/b", "/project/six/%ff", "/tree/a/b", "/x", "/log/x", "/project//"]
        {
            assert_eq!(ask(address), None, "{address}");
        }
        let far = ask("/project/six/?page=99999999999999999999999");
        assert_eq!(far, Some(Ask::Project("six".parse().unwrap(), 1)));
    }
}
