//! Projects that belong to their maintainers (PEP 480).
//!
//! ```text
//! targets ─┬ claimed (offline) ─ claimed-0000, … (as claimed) ─ project-NAME (its maintainers)
//!          ├ recently-claimed (online) ─ recently-claimed-0000, … ─ project-NAME
//!          └ bins ─ …: what nobody claimed
//! ```
//!
//! A project's role speaks for `NAME/*` and `simple/NAME/*`, and the search ends there: its maintainers alone say which
//! files there are, and which page lists them.
//!
//! | file | room |
//! |---|---|
//! | `file` | what maintainers send: claims, releases, changes of keys |
//! | `content` | a project's role and page, made and judged (pure) |
//! | `crowd` | how many values JSON has, before it is read (pure) |
//! | `apply` | what they sent, checked |
//! | `together` | the same, committed, many at once |
//! | `admin` | what admins decide: enable, promote, revoke |
//! | `staged` | files that came before their maintainers' signatures |
//! | `upkeep` | all claimed projects, for what looks at everything |
//! | `look_alike` | names that people take for one another (pure) |
//! | `bucket` | what a bucket is to be, by what changes (pure) |
//! | `names` | names of these roles |
//! | `owner` | who answers for a project, as the state says |
//! | `tree` | which bucket delegates to a project (pure) |

pub(super) mod admin;
mod apply;
pub(super) mod bucket;
mod content;
mod crowd;
mod file;
mod look_alike;
pub(super) mod names;
pub(super) mod owner;
mod staged;
mod together;
pub(super) mod tree;
mod upkeep;

pub use admin::{Claimed, Promotion};
pub use apply::{Applied, LookAlike};
pub use content::{Base, Next};
pub use file::{Kind, MAX_PROJECT_FILE, ProjectFile};
pub use names::Family;
pub use owner::Owned;
pub(super) use staged::forgotten_before;
pub use staged::{Accepted, STAGED_DAYS, Staged, Staging};
pub use together::Sent;
pub use tree::Owners;
pub(crate) use upkeep::Bucket;
