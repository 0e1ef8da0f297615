//! Names that people take for one another. Pure.
//!
//! Whoever claims `reqests-1ib` while `requests-lib` is claimed may want to be taken for its maintainers. So the index looks
//! for claimed projects under the names that differ from the new one in a character or two that look alike.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::python::ProjectName;

/// What looks alike in many fonts.
const ALIKE: [(&str, &str); 8] =
    [("0", "o"), ("1", "l"), ("1", "i"), ("l", "i"), ("rn", "m"), ("vv", "w"), ("5", "s"), ("cl", "d")];

/// Names looked for, at most: each may cost a bucket.
const MAX_NAMES: usize = 64;

/// Other names that this one can be taken for: one or two places exchanged for what looks alike, and the same letters with
/// other hyphens.
pub(crate) fn look_alikes(project: &ProjectName) -> BTreeSet<ProjectName> {
    let own = project.as_str().to_owned();
    let mut names = BTreeSet::from([own.replace('-', "")]);
    let once: Vec<String> = exchanged(&own).collect();
    names.extend(once.iter().cloned());
    for name in &once {
        names.extend(exchanged(name).take(MAX_NAMES.saturating_sub(names.len())));
    }
    names.remove(&own);
    names.iter().filter_map(|name| ProjectName::from_str(name).ok()).take(MAX_NAMES).collect()
}

fn exchanged(name: &str) -> impl Iterator<Item = String> {
    let pairs = ALIKE.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]);
    pairs.flat_map(move |(old, new)| {
        name.match_indices(old).filter_map(move |(at, _)| {
            let (before, rest) = name.split_at_checked(at)?;
            Some(format!("{before}{new}{}", rest.strip_prefix(old)?))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(a: &str, b: &str) -> bool {
        look_alikes(&ProjectName::from_str(a).unwrap()).contains(&ProjectName::from_str(b).unwrap())
    }

    #[test]
    fn names_that_look_alike_are_found_from_either_side() {
        for (a, b) in [
            ("pi11ow", "pillow"),
            ("reque5ts", "requests"),
            ("nurnpy", "numpy"),
            ("c0l0rama", "colorama"),
            ("django-rest", "djangorest"),
            ("f1ask", "flask"),
            ("fiask", "flask"),
        ] {
            assert!(alike(a, b), "{a} {b}");
        }
        assert!(alike("pillow", "pi1low") && !alike("pillow", "willow") && !alike("six", "six"));
    }

    #[test]
    fn a_name_full_of_such_characters_is_looked_for_under_few_names() {
        assert!(look_alikes(&ProjectName::from_str(&"lo".repeat(50)).unwrap()).len() <= MAX_NAMES);
    }
}
