//! What a claim and what was seen at the index say of one path.

use std::collections::BTreeMap;

use super::Claim;
use crate::tlog::leaf::FileLeaf;

/// How claim and index stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Both have the same bytes.
    Agree,
    /// The index has a file that nobody claimed: the claim may never have been sent.
    IndexOnly,
    /// Claimed, and the index does not have it: it comes still, or is kept back.
    ClaimOnly,
    /// They have different bytes.
    Conflict,
}

impl Standing {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::IndexOnly => "index-only",
            Self::ClaimOnly => "claim-only",
            Self::Conflict => "conflict",
        }
    }
}

/// The standing of one path; none, if neither has it.
pub fn standing(claimed: Option<&FileLeaf>, seen: Option<&FileLeaf>) -> Option<Standing> {
    match (claimed, seen) {
        (None, None) => None,
        (None, Some(_)) => Some(Standing::IndexOnly),
        (Some(_), None) => Some(Standing::ClaimOnly),
        (Some(claimed), Some(seen)) if claimed == seen => Some(Standing::Agree),
        (Some(_), Some(_)) => Some(Standing::Conflict),
    }
}

/// The standing of each path of one version of a project. Several claims are as good as one: maintainers who built again claim
/// again, so a file agrees if any claim has its bytes.
pub fn standings<'a>(
    claims: &'a [Claim],
    seen: &'a BTreeMap<String, FileLeaf>,
) -> BTreeMap<&'a str, Standing> {
    let mut all: BTreeMap<&str, Standing> =
        seen.keys().map(|path| (path.as_str(), Standing::IndexOnly)).collect();
    for file in claims.iter().flat_map(Claim::files) {
        let Some(new) = standing(Some(file), seen.get(file.path())) else { continue };
        let old = all.entry(file.path()).or_insert(new);
        if *old != Standing::Agree {
            *old = new;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_agrees_with_any_claim_that_has_its_bytes() {
        let leaf = |path: &str, byte| FileLeaf::of_target(path, 9, [byte; 32]).unwrap().unwrap();
        let claim = |files| Claim::new("https://index.example/", "seal".parse().unwrap(), files).unwrap();
        let (sdist, wheel) = ("seal/seal-1.0.tar.gz", "seal/seal-1.0-py3-none-any.whl");
        let late = "seal/seal-1.0-py2-none-any.whl";
        let claims =
            [claim(vec![leaf(sdist, 1), leaf(wheel, 2)]), claim(vec![leaf(wheel, 3), leaf(late, 4)])];
        let other = "seal/seal-1.0-1-py3-none-any.whl";
        let seen: BTreeMap<_, _> = [leaf(sdist, 7), leaf(wheel, 2), leaf(other, 5)]
            .map(|file| (file.path().to_owned(), file))
            .into();
        let expected: BTreeMap<_, _> = [
            (sdist, Standing::Conflict),
            (wheel, Standing::Agree),
            (late, Standing::ClaimOnly),
            (other, Standing::IndexOnly),
        ]
        .into();
        assert_eq!(standings(&claims, &seen), expected);
    }
}
