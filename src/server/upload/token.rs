//! Upload tokens: who may publish what. The file holds hashes of them alone, and no names of people.
//!
//! A token is `wheelseal-ID-SECRET`: 8 random bytes that name it, and 32 that prove it, in hexadecimal. The secret is
//! random and long, so one SHA-256 is enough to keep it; a comparison of digests tells an attacker nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, random, sha256};
use crate::python::ProjectName;

const FORMAT: &str = "wheelseal-tokens-1";

/// What each token begins with, so that scanners for leaked secrets know it.
const PREFIX: &str = "wheelseal-";

/// Bytes of the file, at most: some 100,000 tokens.
const MAX_FILE: u64 = 32 * 1024 * 1024;

/// Why a file of tokens cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read or written.
    #[error("{what} {file}: {reason}")]
    File {
        /// Verb.
        what: &'static str,
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// There is no such token.
    #[error("there is no token {0}")]
    Unknown(String),
    /// No randomness.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// What a token allows, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its name: 16 hexadecimal digits.
    pub id: String,
    /// SHA-256 of its secret.
    sha256: String,
    /// The projects it may publish; none: all of them, new ones too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<BTreeSet<String>>,
    /// After this it is worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<DateTime<Utc>>,
}

impl Grant {
    /// Whether it may publish files of a project.
    pub fn allows(&self, project: &ProjectName) -> bool {
        self.projects.as_ref().is_none_or(|projects| projects.contains(project.as_str()))
    }

    /// Whether it has not expired.
    pub(super) fn lasts(&self, now: DateTime<Utc>) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    format: String,
    tokens: Vec<Grant>,
}

/// A file of tokens. It is read again when it has changed.
#[derive(Debug)]
pub struct Tokens {
    file: PathBuf,
    read: Mutex<Option<(Mark, Arc<Vec<Grant>>)>>,
}

/// By which a changed file is known: it is replaced, never written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    modified: (i64, i64),
    len: u64,
}

impl Tokens {
    /// Those of a file; where there is none, there are no tokens yet.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), read: Mutex::default() }
    }

    /// All of them.
    pub fn all(&self) -> Result<Arc<Vec<Grant>>, TokenError> {
        let about = match fs::metadata(&self.file) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(self.failed("looking at", &error)),
        };
        let mark =
            Mark { inode: about.ino(), modified: (about.mtime(), about.mtime_nsec()), len: about.len() };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, grants)) = read.as_ref().filter(|(known, _)| *known == mark) {
            return Ok(Arc::clone(grants));
        }
        if about.len() > MAX_FILE {
            return Err(self.failed("reading", &format_args!("it has more than {MAX_FILE} bytes")));
        }
        let bytes = fs::read(&self.file).map_err(|error| self.failed("reading", &error))?;
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|error| self.failed("reading", &error))?;
        if wire.format != FORMAT {
            return Err(self.failed("reading", &format_args!("it is no {FORMAT} file")));
        }
        let grants = Arc::new(wire.tokens);
        *read = Some((mark, Arc::clone(&grants)));
        Ok(grants)
    }

    /// What a token allows; none if it is not known, or has expired.
    pub fn grant(&self, token: &str, now: DateTime<Utc>) -> Result<Option<Grant>, TokenError> {
        let grant = self.known(token)?;
        Ok(grant.filter(|grant| grant.lasts(now)))
    }

    /// What a token allows or has allowed; none if it is not known.
    pub(super) fn known(&self, token: &str) -> Result<Option<Grant>, TokenError> {
        let parts = token.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let Some((id, secret)) = parts else { return Ok(None) };
        let digest = hex::encode(sha256(secret.as_bytes()));
        let grants = self.all()?;
        let grant = grants.iter().find(|grant| grant.id == id && grant.sha256 == digest);
        Ok(grant.cloned())
    }

    /// Makes one. It is shown once and not kept.
    pub fn create(
        &self,
        projects: Option<BTreeSet<ProjectName>>,
        expires: Option<DateTime<Utc>>,
    ) -> Result<(Grant, Zeroizing<String>), TokenError> {
        let (id, secret) = (hex::encode(random::<8>()?), Zeroizing::new(hex::encode(random::<32>()?)));
        let grant = Grant {
            id,
            sha256: hex::encode(sha256(secret.as_bytes())),
            projects: projects.map(|all| all.iter().map(ToString::to_string).collect()),
            expires,
        };
        let token = Zeroizing::new(format!("{PREFIX}{}-{}", grant.id, *secret));
        let _lock = self.lock()?;
        let mut grants = (*self.all()?).clone();
        grants.push(grant.clone());
        self.write(grants)?;
        Ok((grant, token))
    }

    /// Takes one away.
    pub fn revoke(&self, id: &str) -> Result<(), TokenError> {
        let _lock = self.lock()?;
        let mut grants = (*self.all()?).clone();
        let before = grants.len();
        grants.retain(|grant| grant.id != id);
        if grants.len() == before {
            return Err(TokenError::Unknown(id.to_owned()));
        }
        self.write(grants)
    }

    fn folder(&self) -> &Path {
        self.file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
    }

    /// Held from reading to writing, or one who adds a token brings back what another one takes away at that moment.
    fn lock(&self) -> Result<File, TokenError> {
        let locked = File::open(self.folder()).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|error| self.failed("locking", &error))
    }

    /// Whole or not at all, durably, for the owner's eyes alone.
    fn write(&self, tokens: Vec<Grant>) -> Result<(), TokenError> {
        let wire = Wire { format: FORMAT.to_owned(), tokens };
        let text = serde_json::to_string_pretty(&wire).map_err(|error| self.failed("writing", &error))?;
        let written = || {
            let mut staged = NamedTempFile::new_in(self.folder())?;
            staged.write_all(text.as_bytes())?;
            staged.as_file().sync_all()?;
            staged.persist(&self.file).map_err(|refused| refused.error)?;
            File::open(self.folder())?.sync_all()
        };
        written().map_err(|error| self.failed("writing", &error))
    }

    fn failed(&self, what: &'static str, reason: &dyn std::fmt::Display) -> TokenError {
        TokenError::File { what, file: self.file.display().to_string(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_token_allows_what_it_was_made_for_until_it_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path().join("tokens.json"));
        let six: ProjectName = "six".parse().unwrap();
        let (grant, token) = tokens.create(Some([six.clone()].into()), None).unwrap();
        assert_eq!(tokens.grant(&token, now()).unwrap().as_ref(), Some(&grant));
        assert!(grant.allows(&six) && !grant.allows(&"seven".parse().unwrap()));
        let (all, _) = tokens.create(None, None).unwrap();
        assert!(all.allows(&six));
        tokens.revoke(&grant.id).unwrap();
        assert_eq!(tokens.grant(&token, now()).unwrap(), None);
        assert_eq!(tokens.revoke(&grant.id), Err(TokenError::Unknown(grant.id)));
    }

    #[test]
    fn neither_the_file_nor_a_guess_gives_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.json");
        let tokens = Tokens::at(&file);
        let (grant, token) = tokens.create(None, None).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let secret = token.rsplit_once('-').unwrap().1;
        assert!(!text.contains(secret));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        for guess in [
            "",
            "wheelseal-",
            &format!("wheelseal-{}-", grant.id),
            &format!("wheelseal-{}-{}", grant.id, grant.sha256),
        ] {
            assert_eq!(tokens.grant(guess, now()).unwrap(), None, "{guess}");
        }
    }

    #[test]
    fn an_expired_token_is_worth_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path().join("tokens.json"));
        let (_, token) = tokens.create(None, Some(now())).unwrap();
        assert_eq!(tokens.grant(&token, now()).unwrap(), None);
        assert!(tokens.grant(&token, now() - chrono::TimeDelta::seconds(1)).unwrap().is_some());
    }
}
