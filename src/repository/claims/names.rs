//! The names of the roles below `claimed` and `recently-claimed`. Pure.

use crate::python::ProjectName;
use crate::repository::RepositoryError;
use crate::repository::state::{CLAIMED, RECENTLY_CLAIMED};
use crate::tuf::metadata::Snapshot;
use crate::tuf::path::RoleName;

/// What the role of a project is called, before the project's name.
pub(crate) const PROJECT: &str = "project-";

/// Hexadecimal digits of a bucket's number: 65,536 names, of which a split uses two.
const DIGITS: usize = 4;

/// Which of the two roles that delegate to projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Offline.
    Claimed,
    /// Online, until the next ceremony.
    Recent,
}

impl Family {
    /// Both, in the order in which clients ask them.
    pub(crate) const BOTH: [Self; 2] = [Self::Claimed, Self::Recent];

    /// The one whose role has this name.
    pub fn named(role: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|family| family.name() == role)
    }

    /// The name of the role.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claimed => CLAIMED,
            Self::Recent => RECENTLY_CLAIMED,
        }
    }

    /// The name of a bucket.
    pub(super) fn bucket(self, number: u32) -> Result<RoleName, RepositoryError> {
        Ok(RoleName::delegated(format!("{}-{number:0DIGITS$x}", self.name()))?)
    }

    /// The number of a bucket by its name.
    pub(crate) fn number(self, role: &str) -> Option<u32> {
        let digits = role.strip_prefix(self.name())?.strip_prefix('-')?;
        let plain = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (digits.len() == DIGITS && plain).then(|| u32::from_str_radix(digits, 16).ok())?
    }

    /// A number that no bucket has or ever had: snapshot never forgets a role.
    pub(super) fn next_number(self, snapshot: &Snapshot) -> u32 {
        snapshot.roles().filter_map(|(role, _)| self.number(role)).max().map_or(0, |last| last + 1)
    }
}

/// `project-NAME`.
pub(crate) fn project_role(project: &ProjectName) -> Result<RoleName, RepositoryError> {
    Ok(RoleName::delegated(format!("{PROJECT}{project}"))?)
}

/// The project that a role is of.
pub(crate) fn project_of_role(role: &str) -> Option<ProjectName> {
    ProjectName::from_normalised(role.strip_prefix(PROJECT)?).ok()
}

/// Whether a role, by its name, is a bucket or a project's: such roles come and go, and snapshot keeps their entries.
pub(crate) fn is_claim_name(role: &str) -> bool {
    project_of_role(role).is_some() || is_bucket_name(role)
}

/// Whether a role, by its name, is a bucket of claimed projects.
pub(crate) fn is_bucket_name(role: &str) -> bool {
    Family::BOTH.iter().any(|family| family.number(role).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_buckets_and_projects_are_told_from_others() {
        for is in ["claimed-0000", "recently-claimed-ffff", "project-six", "project-a-b"] {
            assert!(is_claim_name(is), "{is}");
        }
        for other in [
            "claimed",
            "claimed-",
            "claimed-000",
            "claimed-000F",
            "claimed-00000",
            "project-",
            "project-A",
            "bins-0000",
        ] {
            assert!(!is_claim_name(other), "{other}");
        }
        assert_eq!(Family::Recent.number("recently-claimed-00ff"), Some(255));
        assert_eq!(Family::Claimed.number("recently-claimed-00ff"), None);
        assert_eq!(Family::Claimed.bucket(255).unwrap().as_str(), "claimed-00ff");
    }
}
