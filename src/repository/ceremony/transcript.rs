//! Who signed what, and when, as plain text for the minutes.

use super::diff::{Count, Detail};
use super::error::CeremonyError;
use super::event::{Event, Mark, Proposal};
use super::rules::version_before;
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
        let known = self.basis.roles.keys().chain(self.basis.buckets.keys());
        for name in known {
            let (version, _) = self.basis.dated(name).unwrap_or_default();
            let hash = hex::encode(self.basis.digest(name).unwrap_or_default());
            lines.push(format!("          {name} version {version}, SHA-256 {hash}"));
        }
        let mut buckets = self.proposals.iter().filter(|proposal| proposal.role.bucket().is_some());
        let mut whole = self.proposals.iter().filter(|proposal| proposal.role.bucket().is_none());
        for role in &review.roles {
            let of_it: Vec<&Proposal> = match role.buckets {
                0 => whole.next().or_else(|| buckets.next()).into_iter().collect(),
                count => buckets.by_ref().take(count).collect(),
            };
            lines.push(String::new());
            lines.extend(of_it.iter().flat_map(|proposal| titled(self, proposal)));
            lines.extend(role.changes.iter().chain(&role.consequences).map(|text| format!("  - {text}")));
            let marks = of_it.iter().flat_map(|proposal| &proposal.marks);
            lines.extend(marks.map(|mark| format!("  signed   {}", entry(mark))));
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

fn titled(event: &Event, proposal: &Proposal) -> [String; 2] {
    let (name, before) = (proposal.role.name(), version_before(event, &proposal.role));
    [
        format!("{name} version {} (after version {before})", proposal.role.common().version),
        format!("  bytes to sign: SHA-256 {}", hex::encode(proposal.sha256)),
    ]
}

fn entry(mark: &Mark) -> String {
    let holder = mark.holder.as_deref().unwrap_or("(no name)");
    let at = mark.at.format("%Y-%m-%d %H:%M:%S UTC");
    format!("{at}  {holder}  key {}  signature SHA-256 {}", mark.key, hex::encode(sha256(&mark.signature)))
}
