//! Who signed what, and when, as plain text for the minutes.

use super::diff::{Count, Detail};
use super::error::CeremonyError;
use super::event::{Event, Mark};
use crate::crypto::sha256;

impl Event {
    /// The record. Dates and names are what each signer's machine noted; they are not signed, the rest is.
    pub fn transcript(&self) -> Result<String, CeremonyError> {
        let review = self.review(Detail::Full, None)?;
        let mut lines = vec![
            format!("Ceremony {}", self.name),
            format!("started   {}", self.started.format("%Y-%m-%d %H:%M:%S UTC")),
            format!("proposal  SHA-256 {}", review.digest),
            format!("based on  root version {}, SHA-256 {}", review.root, review.root_sha256),
        ];
        for (name, base) in &self.basis.roles {
            let (version, hash) = (base.metadata.common.version, hex::encode(sha256(base.metadata.bytes())));
            lines.push(format!("          {name} version {version}, SHA-256 {hash}"));
        }
        for (role, proposal) in review.roles.iter().zip(&self.proposals) {
            lines.push(String::new());
            lines.push(format!("{} version {} (after version {})", role.role, role.to, role.from));
            lines.push(format!("  bytes to sign: SHA-256 {}", role.payload_sha256));
            lines.extend(role.changes.iter().chain(&role.consequences).map(|text| format!("  - {text}")));
            lines.extend(proposal.marks.iter().map(|mark| format!("  signed   {}", entry(mark))));
            for Count { by, needed, signed, .. } in &role.signatures {
                lines.push(format!("  {} of {needed} signature(s) by keys {by}", signed.len()));
            }
        }
        if !self.proofs.is_empty() {
            lines.push(String::new());
            lines.push("New keys whose holders have shown to hold them".to_owned());
            lines.extend(self.proofs.iter().map(|proof| format!("  joined   {}", entry(proof))));
        }
        lines.push(String::new());
        lines
            .push("Dates and names are as each signer's machine noted them; they are not signed.".to_owned());
        Ok(lines.join("\n") + "\n")
    }
}

fn entry(mark: &Mark) -> String {
    let holder = mark.holder.as_deref().unwrap_or("(no name)");
    let at = mark.at.format("%Y-%m-%d %H:%M:%S UTC");
    format!("{at}  {holder}  key {}  signature SHA-256 {}", mark.key, hex::encode(sha256(&mark.signature)))
}
