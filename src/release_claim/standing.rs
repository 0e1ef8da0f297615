//! What a claim and what was seen at the index say of one path.

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
