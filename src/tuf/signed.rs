//! From bytes to content: `Signed<T>` → `Verified<T>`, and back: `Draft<T>` → bytes.
//!
//! - A [`Signed`] is bytes that claim to be a role. It has no accessor: [`Signed::verify`] is the only way in.
//! - An [`Authority`] is what a delegator says of a role: its keys and threshold.
//! - A [`Verified`] is content read from the very text that the signatures cover: most often the bytes received,
//!   where they are in canonical form already.
//! - A [`Draft`] is what authors edit. It is no `Verified`, so clients cannot use one.
//!
//! [`signers`] is the one place that counts signatures, for every role: one public key counts once, however many
//! ids it has; unknown key ids count nothing; a signature that is no hexadecimal string is merely not valid.
//!
//! Not checked here: version, expiry, length and hashes, which are the business of [`super::trusted`].

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use thiserror::Error;

use super::canonical::{Canonical, Raw};
use super::delegations::Delegations;
use super::fields::{Fields, ParseError};
use super::json::{canonical_to_text, escape_text};
use super::key::{Key, KeyId};
use super::metadata::{Role, Root, TopLevel};
use super::path::RoleName;
use super::renew::Renewable;
use super::roster::Roster;

/// Signatures in one file, at most: each may cost a public-key operation. Real files carry a handful.
pub const MAX_SIGNATURES: usize = 1_000;

/// Why bytes did not become content.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// Not of the form that the specification gives this role.
    #[error("{role} metadata is malformed: {error}")]
    Malformed {
        /// The role.
        role: String,
        /// What is wrong.
        error: ParseError,
    },
    /// The same key id signed twice (specification section 4.2.1).
    #[error("{role} metadata has two signatures by key {keyid}")]
    RepeatedSignature {
        /// The role.
        role: String,
        /// The key id.
        keyid: KeyId,
    },
    /// More than [`MAX_SIGNATURES`].
    #[error("{role} metadata has {found} signatures, more than {MAX_SIGNATURES}")]
    TooManySignatures {
        /// The role.
        role: String,
        /// How many there are.
        found: usize,
    },
    /// Not enough good signatures by different keys of the role.
    #[error(
        "{role} metadata has {valid} valid signature(s) by keys that {delegator} trusts for it, {threshold} needed"
    )]
    BelowThreshold {
        /// The role.
        role: String,
        /// Who names the keys.
        delegator: String,
        /// Good signatures by different keys.
        valid: usize,
        /// How many are needed.
        threshold: u64,
    },
}

/// What a delegator says of a role: who signs it, and how many must.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    delegator: &'a str,
    role: &'a str,
    keys: &'a BTreeMap<KeyId, Key>,
    keyids: &'a [KeyId],
    threshold: u64,
}

impl<'a> Authority<'a> {
    /// The role spoken of.
    pub fn role(&self) -> &'a str {
        self.role
    }

    /// Who speaks.
    pub fn delegator(&self) -> &'a str {
        self.delegator
    }

    /// How many different keys must sign.
    pub fn threshold(&self) -> u64 {
        self.threshold
    }

    /// The keys of the role that the delegator lists.
    pub fn keys(&self) -> impl Iterator<Item = (&'a KeyId, &'a Key)> {
        let keys = self.keys;
        self.keyids.iter().filter_map(move |id| keys.get(id).map(|key| (id, key)))
    }

    /// The keys that count for the role and whose signatures over `message` are among these.
    pub fn signed_by<'b>(
        &self,
        message: &[u8],
        signatures: impl IntoIterator<Item = (&'b KeyId, &'b [u8])>,
    ) -> Vec<KeyId> {
        let signatures = signatures.into_iter().map(|(id, signature)| (id.clone(), Some(signature.to_vec())));
        signers(self, &signatures.collect(), message)
    }

    /// Whether both name the same keys and threshold.
    pub fn same_as(&self, other: &Authority<'_>) -> bool {
        self.threshold == other.threshold && self.keys().eq(other.keys())
    }
}

impl Root {
    /// Keys and threshold of a top-level role.
    pub fn authority(&self, role: TopLevel) -> Authority<'_> {
        let keys = self.role(role);
        Authority {
            delegator: "root",
            role: role.name(),
            keys: &self.keys,
            keyids: &keys.keyids,
            threshold: keys.threshold,
        }
    }
}

impl Delegations {
    /// Keys and threshold of a delegated role, if `delegator` delegates to it.
    pub fn authority<'a>(&'a self, delegator: &'a RoleName, role: &'a RoleName) -> Option<Authority<'a>> {
        let (keyids, threshold) = self.role(role)?;
        let (delegator, role) = (delegator.as_str(), role.as_str());
        Some(Authority { delegator, role, keys: &self.keys, keyids, threshold })
    }
}

/// Bytes that claim to be role `T`.
#[derive(Debug, Clone)]
pub struct Signed<T> {
    bytes: Arc<[u8]>,
    role: PhantomData<T>,
}

/// Content of role `T`, signed by enough keys of its delegator. Cheap to clone.
#[derive(Debug)]
pub struct Verified<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    content: T,
    bytes: Arc<[u8]>,
    signers: Vec<KeyId>,
}

impl<T> Clone for Verified<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.content
    }
}

impl<T> Verified<T> {
    /// The bytes as received.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Whether both came from the same bytes. Cheap for copies of one another.
    pub fn same_file(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.bytes() == other.bytes()
    }

    /// The keys whose signatures counted.
    pub fn signers(&self) -> &[KeyId] {
        &self.0.signers
    }
}

impl<T: Clone> Verified<T> {
    /// A copy for an author to edit.
    pub fn draft(&self) -> Draft<T> {
        Draft::new(self.0.content.clone())
    }
}

impl<T: Role> Signed<T> {
    /// Takes bytes; nothing is read yet.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { bytes: bytes.into(), role: PhantomData }
    }

    /// Checks the signatures against what the delegator says, and reads the content they cover.
    pub fn verify(self, authority: &Authority<'_>) -> Result<Verified<T>, VerifyError> {
        let text = canonical(authority.role, &self.bytes)?;
        let envelope = Envelope::read(authority.role, text.value())?;
        let signers = envelope.check(authority)?;
        let content = envelope.content(authority.role)?;
        drop(text);
        Ok(Verified(Arc::new(Inner { content, signers, bytes: self.bytes })))
    }
}

impl Signed<Root> {
    /// A root that is trusted because it came out of band: it must be signed as it says itself.
    pub fn verify_initial(self) -> Result<Verified<Root>, VerifyError> {
        self.verify_with(None)
    }

    /// The successor of `old`: signed as `old` and as it says itself (section 5.3.4). The version is not checked.
    pub fn verify_successor(self, old: &Root) -> Result<Verified<Root>, VerifyError> {
        self.verify_with(Some(old))
    }

    fn verify_with(self, old: Option<&Root>) -> Result<Verified<Root>, VerifyError> {
        let text = canonical(TopLevel::Root.name(), &self.bytes)?;
        let envelope = Envelope::read(TopLevel::Root.name(), text.value())?;
        if let Some(old) = old {
            envelope.check(&old.authority(TopLevel::Root))?;
        }
        let content: Root = envelope.content(TopLevel::Root.name())?;
        let signers = envelope.check(&content.authority(TopLevel::Root))?;
        drop(text);
        Ok(Verified(Arc::new(Inner { content, signers, bytes: self.bytes })))
    }
}

/// Checks bytes that claim to be role `T` as [`Signed::verify`] does, for an author who signs the same content again:
/// of it, the fields that all roles share are read, and nothing else.
pub fn verify_to_renew<T: Role>(bytes: &[u8], authority: &Authority<'_>) -> Result<Renewable, VerifyError> {
    let text = canonical(authority.role, bytes)?;
    let envelope = Envelope::read(authority.role, text.value())?;
    envelope.check(authority)?;
    Renewable::read::<T>(envelope.signed).map_err(|error| malformed(authority.role, error))
}

/// Checks bytes that claim to be a targets role as [`Signed::verify`] does, for an author who changes some of its
/// delegations. It must do nothing but delegate, to roles that are listed by name.
pub fn verify_to_edit(bytes: &[u8], authority: &Authority<'_>) -> Result<Roster, VerifyError> {
    let text = canonical(authority.role, bytes)?;
    let envelope = Envelope::read(authority.role, text.value())?;
    envelope.check(authority)?;
    Roster::read(envelope.signed).map_err(|error| malformed(authority.role, error))
}

/// What the bytes say, in canonical form.
fn canonical<'a>(role: &str, bytes: &'a [u8]) -> Result<Canonical<'a>, VerifyError> {
    Canonical::read(bytes).map_err(|error| malformed(role, error.into()))
}

fn malformed(role: &str, error: ParseError) -> VerifyError {
    VerifyError::Malformed { role: role.to_owned(), error }
}

/// The two parts of a metadata file (section 4.2.1).
struct Envelope<'a> {
    signatures: BTreeMap<KeyId, Option<Vec<u8>>>,
    /// Its text is what the signatures cover.
    signed: Raw<'a>,
}

impl<'a> Envelope<'a> {
    fn read(role: &str, metadata: Raw<'a>) -> Result<Self, VerifyError> {
        let malformed = |error| malformed(role, error);
        let mut fields = Fields::new("metadata", metadata).map_err(malformed)?;
        let signed = fields.required("signed").map_err(malformed)?;
        let list: Vec<_> = fields.array("signatures").map_err(malformed)?.collect();
        if list.len() > MAX_SIGNATURES {
            return Err(VerifyError::TooManySignatures { role: role.to_owned(), found: list.len() });
        }
        let mut signatures = BTreeMap::new();
        for item in list {
            let (keyid, signature) = signature(item).map_err(malformed)?;
            if signatures.insert(keyid.clone(), signature).is_some() {
                return Err(VerifyError::RepeatedSignature { role: role.to_owned(), keyid });
            }
        }
        Ok(Self { signatures, signed })
    }

    fn check(&self, authority: &Authority<'_>) -> Result<Vec<KeyId>, VerifyError> {
        let signers = signers(authority, &self.signatures, self.signed.text().as_bytes());
        if u64::try_from(signers.len()).unwrap_or(u64::MAX) >= authority.threshold {
            return Ok(signers);
        }
        Err(VerifyError::BelowThreshold {
            role: authority.role.to_owned(),
            delegator: authority.delegator.to_owned(),
            valid: signers.len(),
            threshold: authority.threshold,
        })
    }

    fn content<T: Role>(&self, role: &str) -> Result<T, VerifyError> {
        T::read(self.signed).map_err(|error| malformed(role, error))
    }
}

/// A key id and its signature; one that is not hexadecimal is `None`: present, but not valid.
fn signature(item: Raw<'_>) -> Result<(KeyId, Option<Vec<u8>>), ParseError> {
    let mut fields = Fields::new("a signature", item)?;
    let keyid = KeyId::new(fields.string("keyid")?)?;
    let signature = fields.required("sig")?;
    Ok((keyid, signature.as_str().and_then(|text| hex::decode(&*text).ok())))
}

/// The keys of `authority` that signed `message`: the one count of signatures, for every role.
fn signers(
    authority: &Authority<'_>,
    signatures: &BTreeMap<KeyId, Option<Vec<u8>>>,
    message: &[u8],
) -> Vec<KeyId> {
    let mut tried = BTreeSet::new();
    let mut counted = BTreeSet::new();
    let mut signers = Vec::new();
    for (id, key) in authority.keys() {
        let Some(Some(signature)) = signatures.get(id) else { continue };
        let Some(public) = key.public() else { continue };
        if tried.insert(id) && !counted.contains(public) && key.verifies(message, signature) {
            counted.insert(public);
            signers.push(id.clone());
        }
    }
    signers
}

/// Content that an author is editing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft<T> {
    /// What will be signed.
    pub content: T,
}

/// A draft as bytes: what is signed, and the text around which signatures go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    canonical: String,
    /// Where it differs from the canonical form.
    text: Option<String>,
}

impl<T> Draft<T> {
    /// Starts a draft.
    pub fn new(content: T) -> Self {
        Self { content }
    }
}

impl<T: Role> Draft<T> {
    /// What somebody proposes to sign, as JSON. Nobody vouches for it: it is for authors to look at, and to sign or not.
    pub fn read(json: &[u8]) -> Result<Self, ParseError> {
        let text = Canonical::read(json)?;
        T::read(text.value()).map(Self::new)
    }

    /// The bytes to sign and the text to publish.
    pub fn payload(&self) -> Payload {
        let mut canonical = String::new();
        self.content.write(&mut canonical);
        Payload::new(canonical)
    }
}

impl Payload {
    /// From the canonical form.
    pub(super) fn new(canonical: String) -> Self {
        Self { text: canonical_to_text(&canonical), canonical }
    }

    /// Exactly the bytes that are signed.
    pub fn to_sign(&self) -> &[u8] {
        self.canonical.as_bytes()
    }

    /// The metadata file with these signatures.
    pub fn assemble(&self, signatures: &[(KeyId, Vec<u8>)]) -> Vec<u8> {
        let text = self.text.as_ref().unwrap_or(&self.canonical);
        let each = signatures.iter().map(|(id, signature)| id.as_str().len() + 2 * signature.len() + 24);
        let mut out = String::with_capacity(text.len() + each.sum::<usize>() + 32);
        out.push_str("{\"signatures\":[");
        for (at, (id, signature)) in signatures.iter().enumerate() {
            out.push_str(if at == 0 { "{\"keyid\":" } else { ",{\"keyid\":" });
            escape_text(id.as_str(), &mut out);
            out.push_str(",\"sig\":\"");
            out.push_str(&hex::encode(signature));
            out.push_str("\"}");
        }
        out.push_str("],\"signed\":");
        out.push_str(text);
        out.push('}');
        out.into_bytes()
    }
}
