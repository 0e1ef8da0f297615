//! What is to change, as flags: each names a role, so they may stand in any order.

use std::str::FromStr;

use clap::Args;

use crate::cli::exit::Usage;
use crate::keys::{self, Ask, KeyUri};
use crate::repository::{Edits, RoleEdit, Subject};

/// What is to change.
#[derive(Debug, Args)]
pub(in crate::cli) struct Changes {
    /// One key more for a role, by its URI, most often `pub:FILE`; may be repeated
    #[arg(long, value_name = "ROLE=URI")]
    add_key: Vec<String>,
    /// One key less, by the start of its id; may be repeated
    #[arg(long, value_name = "ROLE=ID")]
    remove_key: Vec<String>,
    /// How many keys of a role must sign
    #[arg(long, value_name = "ROLE=N")]
    threshold: Vec<String>,
    /// In how many days a role's file expires
    #[arg(long, value_name = "ROLE=DAYS")]
    expiry: Vec<String>,
    /// A role that is only signed anew; may be repeated
    #[arg(long, value_name = "ROLE")]
    renew: Vec<String>,
    /// How many hashed bins there are
    #[arg(long, value_name = "N")]
    bins: Option<u32>,
}

impl Changes {
    /// The same, checked. Keys are opened for their public halves.
    pub(in crate::cli) async fn edits(&self) -> anyhow::Result<Edits> {
        let mut roles = Vec::new();
        for text in &self.add_key {
            let (role, uri) = split(text)?;
            let key = keys::open_public(&KeyUri::from_str(uri)?, &Ask).await?;
            roles.push((role, RoleEdit::AddKey(Box::new(key))));
        }
        for text in &self.remove_key {
            let (role, id) = split(text)?;
            roles.push((role, RoleEdit::RemoveKey(id.to_owned())));
        }
        for text in &self.threshold {
            let (role, number) = split(text)?;
            roles.push((role, RoleEdit::Threshold(parsed(number)?)));
        }
        for text in &self.expiry {
            let (role, days) = split(text)?;
            roles.push((role, RoleEdit::Expires(parsed(days)?)));
        }
        for role in &self.renew {
            roles.push((subject(role)?, RoleEdit::Renew));
        }
        if roles.is_empty() && self.bins.is_none() {
            return Err(Usage("say what is to change: wheelseal ceremony start --help".to_owned()).into());
        }
        Ok(Edits { roles, bins: self.bins })
    }
}

fn split(text: &str) -> Result<(Subject, &str), Usage> {
    let (role, rest) = text.split_once('=').ok_or_else(|| Usage(format!("{text:?}: expected ROLE=VALUE")))?;
    Ok((subject(role)?, rest))
}

fn subject(text: &str) -> Result<Subject, Usage> {
    Subject::from_str(text).map_err(Usage)
}

fn parsed<T: FromStr>(text: &str) -> Result<T, Usage> {
    text.parse().map_err(|_| Usage(format!("{text:?} is no number that can be used here")))
}
