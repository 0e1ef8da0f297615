//! What maintainers say of a release before the index has it: `claim/v1`, signed with the project's keys (PEP 480).
//!
//! ```text
//! {"signatures":[{"keyid":"…","sig":"…"}],"signed":
//!   {"files":[{"length":1,"path":"P/F","sha256":"…"}],"index":"https://…/","project":"P","type":"claim/v1","version":"1.0"}}
//! ```
//!
//! Whoever compares what an index serves with claims that came another way sees whether it changed something in between
//! ([`Standing`]). A claim says nothing before the keys that the project has were seen to have signed it
//! ([`SignedClaim::verify`]); one that nobody could check may warn, and never blocks ([`SignedClaim::unauthenticated`]).
//!
//! A maintainer who does not want to tell of a release before its time sends a [`Commitment`] first: a hash over a secret salt
//! and the claim. With the salt, everyone can check later that the claim was there before.
//!
//! Text has one form: canonical JSON in printable ASCII. There is no field for a person or a time.

mod commitment;
mod file;
mod request;
mod standing;

pub use commitment::{Commitment, SALT_LEN, Salt};
pub use file::{Claim, ClaimError, MAX_CLAIM, MAX_FILES, MAX_INDEX, SignedClaim, check_index};
pub use request::{ClaimRequest, Embargo, MAX_REQUEST, Told};
pub use standing::{Standing, standing, standings};
