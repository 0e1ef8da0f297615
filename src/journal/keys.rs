//! Keys of address hashes: HMAC-SHA-256 under a key that lies neither in the repository nor in the journal.
//!
//! Without the key a hash says nothing. With it, every IPv4 address can be tried in minutes; so a key lives for a month, then
//! the next one is used, and it is destroyed when nothing that it hashed is kept. From then on no one can tell whose address
//! an old hash was of, the operator included.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::address::Address;
use super::error::JournalError;
use super::folder::{apart_from, private, settled};
use super::values::{AddressHash, KeyName};
use crate::crypto::random;

const FORMAT: &str = "wheelseal-journal-keys-1";
/// Bytes of the file, at most: some 1,000 keys.
const MAX_FILE: u64 = 256 * 1_024;
/// Permission bits of the file.
const FILE_MODE: u32 = 0o600;
/// Keys at once, at most. One a day for a year is less than that.
const MAX_KEYS: usize = 1_000;

/// One key.
pub struct HashKey {
    /// Its name.
    pub name: KeyName,
    /// The day from which it is used.
    pub made: NaiveDate,
    secret: Zeroizing<[u8; 32]>,
}

/// The keys of a file, the newest last. There is one at least.
pub struct HashKeys {
    keys: Vec<HashKey>,
}

/// A file of keys. It is read again when it has changed.
pub struct KeyFile {
    path: PathBuf,
    days: u32,
    read: Mutex<Option<(Mark, Arc<HashKeys>)>>,
}

/// By which a changed file is known: it is replaced, never written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    modified: (i64, i64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    format: &'a str,
    #[serde(borrow)]
    keys: Vec<WireKey<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKey<'a> {
    made: NaiveDate,
    name: &'a str,
    secret: &'a str,
}

impl HashKeys {
    /// The hash under the newest key.
    pub fn hash(&self, address: &Address) -> Option<AddressHash> {
        self.keys.last().map(|key| key.hash(address))
    }

    /// The hash under a key of this name, if there is one still.
    pub fn hash_under(&self, name: &KeyName, address: &Address) -> Option<AddressHash> {
        self.keys.iter().find(|key| key.name == *name).map(|key| key.hash(address))
    }

    /// All of them, the newest last.
    pub fn all(&self) -> &[HashKey] {
        &self.keys
    }
}

impl HashKey {
    fn new(now: DateTime<Utc>) -> Result<Self, JournalError> {
        let (name, secret) = (KeyName::new(random()?), Zeroizing::new(random()?));
        Ok(Self { name, made: now.date_naive(), secret })
    }

    fn hash(&self, address: &Address) -> AddressHash {
        AddressHash::new(self.name.clone(), address.code(self.secret.as_slice()))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashKey({})", self.name)
    }
}

impl fmt::Debug for HashKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({})", self.path.display())
    }
}

impl KeyFile {
    /// The file at `path`, whose keys are used for so many days each. It must lie in none of `apart`.
    pub fn at(path: &Path, days: u32, apart: &[&Path]) -> Result<Self, JournalError> {
        let path = settled(path).map_err(|error| JournalError::file("opening", path, &error))?;
        for other in apart {
            apart_from(&path, other)?;
        }
        Ok(Self { path, days, read: Mutex::default() })
    }

    /// Makes the file with a first key.
    pub fn create(&self, now: DateTime<Utc>) -> Result<(), JournalError> {
        let _until_return = self.lock()?;
        if fs::symlink_metadata(&self.path).is_ok() {
            return Err(JournalError::Exists { path: self.path.display().to_string() });
        }
        self.write(&[HashKey::new(now)?])
    }

    /// The keys, and a new one where the newest is used up. Where there is no file, it is made.
    pub fn current(&self, now: DateTime<Utc>) -> Result<Arc<HashKeys>, JournalError> {
        let keys = self.keys()?;
        if keys.as_ref().is_some_and(|keys| !self.used_up(keys, now)) {
            return keys.ok_or_else(|| self.unreadable(&"there are no keys"));
        }
        let _until_return = self.lock()?;
        // Another process may have made one meanwhile.
        match self.keys()? {
            Some(keys) if !self.used_up(&keys, now) => Ok(keys),
            found => self.add(found.as_deref(), now),
        }
    }

    /// The keys as they are; nothing where there is no file.
    pub fn keys(&self) -> Result<Option<Arc<HashKeys>>, JournalError> {
        let found = match fs::symlink_metadata(&self.path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unreadable(&error)),
        };
        let mark = Mark { inode: found.ino(), modified: (found.mtime(), found.mtime_nsec()) };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, keys)) = read.as_ref().filter(|(known, _)| *known == mark) {
            return Ok(Some(Arc::clone(keys)));
        }
        if !found.is_file() {
            return Err(self.unreadable(&"it is no file"));
        }
        private(&self.path, &found, FILE_MODE)?;
        let keys = Arc::new(self.parse()?);
        *read = Some((mark, Arc::clone(&keys)));
        Ok(Some(keys))
    }

    /// From now on a new key is used.
    pub fn rotate(&self, now: DateTime<Utc>) -> Result<Arc<HashKeys>, JournalError> {
        let _until_return = self.lock()?;
        let found = self.keys()?;
        self.add(found.as_deref(), now)
    }

    /// Destroys all keys but the newest and those `in_use`. The names of those that are gone.
    pub fn destroy(&self, in_use: &BTreeSet<KeyName>) -> Result<Vec<KeyName>, JournalError> {
        let _until_return = self.lock()?;
        let Some(found) = self.keys()? else { return Ok(Vec::new()) };
        let newest = found.keys.len().saturating_sub(1);
        let keeps = |at: usize, key: &HashKey| at == newest || in_use.contains(&key.name);
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (at, key) in found.keys.iter().enumerate() {
            if keeps(at, key) {
                let HashKey { name, made, secret } = key;
                kept.push(HashKey { name: name.clone(), made: *made, secret: secret.clone() });
            } else {
                gone.push(key.name.clone());
            }
        }
        if !gone.is_empty() {
            self.write(&kept)?;
        }
        Ok(gone)
    }

    fn used_up(&self, keys: &HashKeys, now: DateTime<Utc>) -> bool {
        let age = |key: &HashKey| (now.date_naive() - key.made).num_days();
        keys.keys.last().is_none_or(|newest| age(newest) >= i64::from(self.days))
    }

    /// With the lock held.
    fn add(&self, found: Option<&HashKeys>, now: DateTime<Utc>) -> Result<Arc<HashKeys>, JournalError> {
        let old = found.map_or(&[][..], HashKeys::all);
        if old.len() >= MAX_KEYS {
            return Err(JournalError::TooMany { what: "keys", max: MAX_KEYS });
        }
        let copy =
            |key: &HashKey| HashKey { name: key.name.clone(), made: key.made, secret: key.secret.clone() };
        let mut keys: Vec<HashKey> = old.iter().map(copy).collect();
        keys.push(HashKey::new(now)?);
        self.write(&keys)?;
        self.keys()?.ok_or_else(|| self.unreadable(&"it went away"))
    }

    fn lock(&self) -> Result<File, JournalError> {
        let folder = folder_of(&self.path);
        let locked = File::open(folder).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|error| JournalError::file("locking", folder, &error))
    }

    fn parse(&self) -> Result<HashKeys, JournalError> {
        let bytes = self.bytes().map_err(|error| self.unreadable(&error))?;
        let malformed = |reason: &str| JournalError::Malformed {
            path: self.path.display().to_string(),
            reason: reason.to_owned(),
        };
        // An error of the parser may quote what it found.
        let wire: Wire<'_> =
            serde_json::from_slice(&bytes).map_err(|_| malformed("it is no file of keys"))?;
        if wire.format != FORMAT || wire.keys.is_empty() || wire.keys.len() > MAX_KEYS {
            return Err(malformed("it is no file of keys"));
        }
        let mut keys = Vec::with_capacity(wire.keys.len());
        for key in wire.keys {
            let mut secret = Zeroizing::new([0; 32]);
            hex::decode_to_slice(key.secret, secret.as_mut_slice())
                .map_err(|_| malformed("a key is no key"))?;
            let name = key.name.parse().map_err(|_| malformed("a key has no name"))?;
            keys.push(HashKey { name, made: key.made, secret });
        }
        Ok(HashKeys { keys })
    }

    fn bytes(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let file = File::open(&self.path)?;
        // In one piece: a vector that grows leaves copies of the keys behind.
        let mut bytes = Zeroizing::new(Vec::new());
        bytes.reserve_exact(usize::try_from(MAX_FILE).unwrap_or(usize::MAX).saturating_add(64));
        let length = file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if u64::try_from(length).is_ok_and(|length| length <= MAX_FILE) {
            return Ok(bytes);
        }
        Err(io::Error::other(format!("it has more than {MAX_FILE} bytes")))
    }

    /// Whole or not at all; then the bytes of the old file are written over, as far as the disk does what it is told.
    fn write(&self, keys: &[HashKey]) -> Result<(), JournalError> {
        let mut text = Zeroizing::new(String::with_capacity(200 + 200 * keys.len()));
        text.push_str(&format!("{{\"format\":\"{FORMAT}\",\"keys\":["));
        for (at, key) in keys.iter().enumerate() {
            let mut digits = Zeroizing::new([0_u8; 64]);
            hex::encode_to_slice(key.secret.as_slice(), digits.as_mut_slice())
                .map_err(|error| self.unreadable(&error))?;
            let comma = if at == 0 { "" } else { "," };
            text.push_str(&format!(
                "{comma}{{\"made\":\"{}\",\"name\":\"{}\",\"secret\":\"",
                key.made, key.name
            ));
            text.push_str(std::str::from_utf8(digits.as_slice()).unwrap_or_default());
            text.push_str("\"}");
        }
        text.push_str("]}\n");
        let old = OpenOptions::new().read(true).write(true).open(&self.path).ok();
        let folder = folder_of(&self.path);
        let written = || {
            let mut staged = tempfile::Builder::new().prefix(".keys-").tempfile_in(folder)?;
            staged.write_all(text.as_bytes())?;
            staged.as_file().sync_all()?;
            staged.persist(&self.path).map_err(|refused| refused.error)?;
            File::open(folder)?.sync_all()?;
            old.map_or(Ok(()), wiped)
        };
        written().map_err(|error| JournalError::file("writing", &self.path, &error))
    }

    fn unreadable(&self, reason: &dyn fmt::Display) -> JournalError {
        JournalError::file("reading", &self.path, reason)
    }
}

fn wiped(mut file: File) -> io::Result<()> {
    let length = file.metadata()?.len().min(MAX_FILE);
    file.rewind()?;
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn now(day: &str) -> DateTime<Utc> {
        format!("{day}T12:00:00Z").parse().unwrap()
    }

    fn home() -> Address {
        Address::of("203.0.113.7".parse().unwrap())
    }

    fn file(folder: &Path) -> KeyFile {
        KeyFile::at(&folder.join("keys.json"), 30, &[]).unwrap()
    }

    fn names(keys: &HashKeys) -> Vec<KeyName> {
        keys.all().iter().map(|key| key.name.clone()).collect()
    }

    #[test]
    fn a_key_is_used_for_its_days_and_then_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        let first = file.current(now("2030-01-01")).unwrap();
        assert_eq!(first.all().len(), 1);
        let hash = first.hash(&home()).unwrap();
        assert_eq!(file.current(now("2030-01-30")).unwrap().hash(&home()), Some(hash.clone()));
        let second = file.current(now("2030-01-31")).unwrap();
        assert_eq!(second.all().len(), 2);
        assert_ne!(second.hash(&home()), Some(hash.clone()));
        assert_eq!(second.hash_under(hash.key(), &home()), Some(hash));
    }

    #[test]
    fn a_destroyed_key_is_nowhere_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        let first = names(&file.current(now("2030-01-01")).unwrap())[0].clone();
        let old = File::open(folder.path().join("keys.json")).unwrap();
        let second = names(&file.rotate(now("2030-01-02")).unwrap())[1].clone();
        let third = names(&file.rotate(now("2030-01-03")).unwrap())[2].clone();
        assert_eq!(file.destroy(&[first.clone()].into()).unwrap(), [second]);
        assert_eq!(names(&file.keys().unwrap().unwrap()), [first.clone(), third.clone()]);
        assert_eq!(file.destroy(&BTreeSet::new()).unwrap(), [first]);
        assert_eq!(names(&file.keys().unwrap().unwrap()), [third]);
        let mut left = Vec::new();
        (&old).read_to_end(&mut left).unwrap();
        assert!(!left.is_empty() && left.iter().all(|byte| *byte == 0), "the first file still has its key");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn keys_that_others_may_read_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (file(folder.path()), folder.path().join("keys.json"));
        file.create(now("2030-01-01")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            file.create(now("2030-01-01")),
            Err(JournalError::Exists { path: path.canonicalize().unwrap().display().to_string() })
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (shown, mode) = (path.canonicalize().unwrap().display().to_string(), 0o640);
        assert_eq!(file.keys().unwrap_err(), JournalError::Exposed { path: shown, mode, expected: 0o600 });
    }

    #[test]
    fn an_error_does_not_repeat_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (file(folder.path()), folder.path().join("keys.json"));
        file.create(now("2030-01-01")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let secret = text.split("secret\":\"").nth(1).unwrap()[..64].to_owned();
        for bad in
            [text.replace("\"secret\"", "\"secrets\""), text.replace("]}", "]"), text.replace(&secret, "x")]
        {
            fs::write(&path, &bad).unwrap();
            let error = format!("{:?}", KeyFile::at(&path, 30, &[]).unwrap().keys().unwrap_err());
            assert!(!error.contains(&secret), "{error}");
        }
        fs::write(&path, &text).unwrap();
        assert!(!format!("{:?}", file.keys().unwrap()).contains(&secret));
    }
}
