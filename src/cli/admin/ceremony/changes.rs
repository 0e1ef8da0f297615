//! What is to change, as flags: each names a role, so they may stand in any order.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::cli::exit::Usage;
use crate::cli::files::read_file;
use crate::keys::{self, Ask, KeyUri};
use crate::repository::{Edits, LogPolicy, RepositoryError, RoleEdit, Subject};
use crate::tuf::key::Key;

/// The name of all online roles together.
const ONLINE: &str = "online";
/// Bytes of a log policy's file, at most, as the policy's own text is bounded.
const MAX_POLICY: u64 = 64 * 1024;

/// What is to change. A ROLE is root, timestamp, snapshot, targets, bins, claimed, recently-claimed, bin-n (each of the
/// bins), or online for all that sign without a person.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct Changes {
    /// One key more for a role, by its URI, most often `pub:FILE`; may be repeated
    #[arg(long, value_name = "ROLE=URI")]
    add_key: Vec<String>,
    /// One key less, by the start of its id or its URI; may be repeated
    #[arg(long, value_name = "ROLE=ID|URI")]
    remove_key: Vec<String>,
    /// A key that a role has from now on, in place of all that it has; may be repeated
    #[arg(long, value_name = "ROLE=URI")]
    to: Vec<String>,
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
    /// The policy of the transparency log (a tlog-policy of C2SP): the log, its witnesses, how many of them must have cosigned
    #[arg(long, value_name = "FILE")]
    log_policy: Option<PathBuf>,
}

impl Changes {
    /// These keys in place of all that the roles have.
    pub(in crate::cli) fn new_keys(roles: &[&str], uris: &[String]) -> Self {
        let to = roles.iter().flat_map(|role| uris.iter().map(move |uri| format!("{role}={uri}")));
        Self { to: to.collect(), ..Self::default() }
    }

    /// One key less in each of the roles, and `new` in its place.
    pub(in crate::cli) fn replaced_key(roles: &[&str], key: &str, new: &[String]) -> Self {
        let each = |uri: &str| roles.iter().map(|role| format!("{role}={uri}")).collect::<Vec<_>>();
        let add_key = new.iter().flat_map(|uri| each(uri)).collect();
        Self { add_key, remove_key: each(key), ..Self::default() }
    }

    /// Both together.
    pub(in crate::cli) fn and(mut self, other: Self) -> Self {
        self.to.extend(other.to);
        self
    }

    /// As they are typed.
    pub(in crate::cli) fn typed(&self) -> Vec<String> {
        let flags = [("--to", &self.to), ("--add-key", &self.add_key), ("--remove-key", &self.remove_key)];
        let each = |(flag, values): (&str, &Vec<String>)| {
            values.iter().flat_map(|value| [flag.to_owned(), value.clone()]).collect::<Vec<_>>()
        };
        flags.into_iter().flat_map(each).collect()
    }

    /// The same, checked. Keys are opened for their public halves.
    pub(in crate::cli) async fn edits(&self) -> anyhow::Result<Edits> {
        let mut roles = Vec::new();
        let mut add = |subjects: Vec<Subject>, edit: RoleEdit| {
            roles.extend(subjects.into_iter().map(|subject| (subject, edit.clone())));
        };
        for (subjects, keys) in self.replaced().await? {
            add(subjects, RoleEdit::Keys(keys));
        }
        for text in &self.add_key {
            let (subjects, uri) = split(text)?;
            add(subjects, RoleEdit::AddKey(Box::new(public(uri).await?)));
        }
        for text in &self.remove_key {
            let (subjects, key) = split(text)?;
            add(subjects, removal(key).await?);
        }
        for text in &self.threshold {
            let (subjects, number) = split(text)?;
            add(subjects, RoleEdit::Threshold(parsed(number)?));
        }
        for text in &self.expiry {
            let (subjects, days) = split(text)?;
            add(subjects, RoleEdit::Expires(parsed(days)?));
        }
        for role in &self.renew {
            add(subjects(role)?, RoleEdit::Renew);
        }
        let log_policy = self.log_policy()?;
        if roles.is_empty() && self.bins.is_none() && log_policy.is_none() {
            return Err(Usage("say what is to change: wheelseal ceremony start --help".to_owned()).into());
        }
        Ok(Edits { roles, bins: self.bins, log_policy })
    }
}

impl Changes {
    fn log_policy(&self) -> anyhow::Result<Option<LogPolicy>> {
        let Some(file) = &self.log_policy else { return Ok(None) };
        Ok(Some(LogPolicy::parse(&read_file(file, MAX_POLICY)?).map_err(RepositoryError::from)?))
    }

    /// All keys given with `--to`, by role.
    async fn replaced(&self) -> anyhow::Result<Vec<(Vec<Subject>, Vec<Key>)>> {
        let mut replaced: Vec<(Vec<Subject>, Vec<Key>)> = Vec::new();
        for text in &self.to {
            let (subjects, uri) = split(text)?;
            let key = public(uri).await?;
            match replaced.iter_mut().find(|(known, _)| *known == subjects) {
                Some((_, keys)) => keys.push(key),
                None => replaced.push((subjects, vec![key])),
            }
        }
        Ok(replaced)
    }
}

/// Takes away a key that is named by the start of its id, or by its URI.
pub(in crate::cli) async fn removal(key: &str) -> anyhow::Result<RoleEdit> {
    if key.contains(':') {
        return Ok(RoleEdit::RemoveThis(Box::new(public(key).await?)));
    }
    Ok(RoleEdit::RemoveKey(key.to_owned()))
}

async fn public(uri: &str) -> anyhow::Result<Key> {
    Ok(keys::open_public(&KeyUri::from_str(uri)?, &Ask).await?)
}

fn split(text: &str) -> Result<(Vec<Subject>, &str), Usage> {
    let (role, rest) = text.split_once('=').ok_or_else(|| Usage(format!("{text:?}: expected ROLE=VALUE")))?;
    Ok((subjects(role)?, rest))
}

/// A role by its name, or `online` for all that sign without a person.
pub(in crate::cli) fn subjects(text: &str) -> Result<Vec<Subject>, Usage> {
    if text == ONLINE {
        return Ok(Subject::ALL.into_iter().filter(|subject| subject.is_online()).collect());
    }
    Subject::from_str(text).map(|subject| vec![subject]).map_err(|error| Usage(format!("{error}, online")))
}

fn parsed<T: FromStr>(text: &str) -> Result<T, Usage> {
    text.parse().map_err(|_| Usage(format!("{text:?} is no number that can be used here")))
}
