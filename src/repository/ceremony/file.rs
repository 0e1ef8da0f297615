//! The file of an event: the core, which all copies have in common, and the signatures, which grow.
//!
//! ```text
//! {"base":[{"delegator":null,"length":…,"role":"targets"}],"format":2,"name":"new-root","proposals":[…],"roots":[…],…}
//! {"signatures":…}                           a file for each length in "roots" and "base", as it came
//! {"proofs":[…],"signatures":{"root":[{"at":…,"holder":…,"keyid":…,"sig":…}]}}
//! ```
//!
//! Each is followed by a line end. What is proposed is there whole (`signed`), but for buckets of `claimed`: they are what
//! changes in a bucket of the base ([`BucketEdit`]). A base file comes after the one of its delegator.
//!
//! A large core is compressed, and the signatures by themselves after it: who adds one copies the core as it stands. Its
//! SHA-256, uncompressed, is what tells one proposal from another.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::buckets::{BucketBase, Desk};
use super::error::CeremonyError;
use super::event::{Base, Basis, Event, EventName, Mark, Proposal, ProposedRole};
use super::parts::{
    array, delegator, is_bucket, length, malformed, mark, marks, named, number, proposal, read_proposal,
    text_of, time,
};
use super::sign::union;
use crate::coding::{Coding, DecodeError, Effort, encode, first_frame};
use crate::crypto::sha256;
use crate::repository::state::CLAIMED;
use crate::tuf::json::{Json, format_time, parse};
use crate::tuf::metadata::{Root, Targets, TopLevel};
use crate::tuf::path::RoleName;
use crate::tuf::roster::Roster;
use crate::tuf::signed::{Authority, MAX_SIGNATURES, Payload, Signed, Verified, verify_to_edit};

/// Bytes of an event's file, at most: at 750,000 claimed projects all buckets take 71 MB, compressed.
pub const MAX_EVENT: u64 = 256 * 1024 * 1024;
/// Bytes of its core, uncompressed, at most: at 750,000 claimed projects all buckets have 296 MB.
pub(in crate::repository) const MAX_CORE: u64 = 512 * 1024 * 1024;
/// Bytes from which on it is compressed; what is smaller can be read as it is.
const LARGE: usize = 1024 * 1024;
/// Bytes of all signatures, at most: 4,096 roles with 100 signatures each.
const MAX_MARKS: u64 = 128 * 1024 * 1024;
/// Projects that one event adds or gives other owners, at most: each is some 400 bytes, and one of the names shown.
pub(in crate::repository) const MAX_PUT: usize = 100_000;
/// Roles in one event, at most: all buckets of the claimed projects.
pub(in crate::repository) const MAX_ROLES: usize = 4_096;
/// Roots carried along, at most: a signer knows one of them.
pub(super) const MAX_ROOTS: usize = 256;
/// The format that is written and read.
const FORMAT: u64 = 2;
/// What a zstd frame begins with (RFC 8878).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// All of an event but signatures, as it is written, compressed or not.
#[derive(Debug, Clone)]
pub(super) struct Core {
    stored: Arc<[u8]>,
    digest: [u8; 32],
}

impl Core {
    fn new(text: &[u8]) -> Result<Self, CeremonyError> {
        bounded("bytes", text.len(), MAX_CORE)?;
        let stored = if text.len() < LARGE { Arc::from(text) } else { Arc::from(packed(text)?) };
        Ok(Self { stored, digest: sha256(text) })
    }

    /// Its SHA-256.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn is_packed(&self) -> bool {
        self.stored.starts_with(&ZSTD)
    }

    /// What follows it in a file, if the file is of the same event, written in the same way.
    pub(super) fn marks_in<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        file.strip_prefix(&*self.stored)
    }
}

/// Signatures that were verified: proofs, and those over proposals by their place.
struct Marks {
    proofs: Vec<Mark>,
    roles: Vec<(usize, Vec<Mark>)>,
}

/// A core being written.
pub(super) struct CoreText {
    files: Vec<u8>,
    base: Vec<Json<'static>>,
}

impl CoreText {
    /// With the roots, and what is carried whole of the base.
    pub(super) fn new(basis: &Basis) -> Self {
        let mut text = Self { files: Vec::new(), base: Vec::new() };
        for root in &basis.roots {
            text.push_file(root.bytes());
        }
        for (name, base) in ordered(&basis.roles) {
            text.note(base.delegator.as_ref(), name, base.metadata.bytes());
        }
        text
    }

    /// One more file of the base. Refused if it becomes too much.
    pub(super) fn push(
        &mut self,
        delegator: Option<&RoleName>,
        role: &str,
        file: &[u8],
    ) -> Result<(), CeremonyError> {
        bounded("bytes", self.files.len().saturating_add(file.len()), MAX_CORE)?;
        self.note(delegator, role, file);
        Ok(())
    }

    fn note(&mut self, delegator: Option<&RoleName>, role: &str, file: &[u8]) {
        self.base.push(Json::object([
            ("delegator", named(delegator).into_owned()),
            ("length", length(file)),
            ("role", Json::str(role.to_owned())),
        ]));
        self.push_file(file);
    }

    fn push_file(&mut self, file: &[u8]) {
        self.files.extend_from_slice(file);
        self.files.push(b'\n');
    }

    /// The core of an event about `proposals`.
    pub(super) fn done(
        self,
        name: &EventName,
        started: DateTime<Utc>,
        basis: &Basis,
        proposals: &[Proposal],
    ) -> Result<Core, CeremonyError> {
        let roots = basis.roots.iter().map(|root| Json::object([("length", length(root.bytes()))]));
        let head = Json::object([
            ("base", Json::Array(self.base)),
            ("format", Json::int(FORMAT)),
            ("name", Json::str(name.as_str())),
            ("proposals", Json::Array(proposals.iter().map(proposal).collect())),
            ("roots", Json::Array(roots.collect())),
            ("started", Json::str(format_time(started))),
        ]);
        let mut text = head.to_text().into_bytes();
        text.push(b'\n');
        text.extend_from_slice(&self.files);
        Core::new(&text)
    }
}

impl Event {
    /// The file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CeremonyError> {
        let marks = self.proposals.iter().filter(|proposal| !proposal.marks.is_empty()).map(|proposal| {
            let marks = proposal.marks.iter().map(mark).collect();
            (proposal.role.name().to_owned(), Json::Array(marks))
        });
        let proofs = Json::Array(self.proofs.iter().map(mark).collect());
        let text = Json::object([("proofs", proofs), ("signatures", Json::object(marks))]);
        let mut marks = text.to_text().into_bytes();
        marks.push(b'\n');
        if self.core.is_packed() {
            marks = packed(&marks)?;
        }
        let bytes = [&*self.core.stored, &marks].concat();
        bounded("bytes", bytes.len(), MAX_EVENT)?;
        Ok(bytes)
    }

    /// Reads a file, and verifies all of it that can be verified.
    pub fn read(bytes: &[u8]) -> Result<Self, CeremonyError> {
        bounded("bytes", bytes.len(), MAX_EVENT)?;
        if bytes.starts_with(&ZSTD) {
            let (text, marks) = first_frame(bytes, MAX_CORE).map_err(not_coded)?;
            let stored = bytes.strip_suffix(marks).unwrap_or(bytes);
            let (event, rest) = read_core(&text, Some(stored))?;
            if !rest.is_empty() {
                return Err(malformed("it has more files than it says"));
            }
            drop(text);
            return event.with_marks(&unpacked(marks)?);
        }
        let (event, marks) = read_core(bytes, None)?;
        event.with_marks(marks)
    }

    /// Takes over the signatures of a copy that was kept somewhere. Returns how many were new.
    pub fn merge_file(&mut self, file: &[u8]) -> Result<usize, CeremonyError> {
        bounded("bytes", file.len(), MAX_EVENT)?;
        let Some(marks) = self.core.marks_in(file) else { return self.merge(&Self::read(file)?) };
        let marks = if self.core.is_packed() { unpacked(marks)? } else { marks.to_vec() };
        let marks = self.read_marks(&marks)?;
        Ok(self.take(marks))
    }

    /// With these signatures, each of which is verified.
    fn with_marks(mut self, text: &[u8]) -> Result<Self, CeremonyError> {
        let marks = self.read_marks(text)?;
        self.take(marks);
        Ok(self)
    }

    fn take(&mut self, marks: Marks) -> usize {
        let mut added = union(&mut self.proofs, &marks.proofs);
        for (at, marks) in marks.roles {
            added += self.proposals.get_mut(at).map_or(0, |proposal| union(&mut proposal.marks, &marks));
        }
        added
    }

    /// Signatures that verify. Those that are here already were.
    fn read_marks(&self, text: &[u8]) -> Result<Marks, CeremonyError> {
        let json = parse(text).map_err(|error| malformed(error.to_string()))?;
        let proofs = marks(array(&json, "proofs", MAX_SIGNATURES)?)?;
        let Some(Json::Object(signatures)) = json.get("signatures") else {
            return Err(malformed("it has no object \"signatures\""));
        };
        let mut roles = Vec::new();
        for (role, _) in signatures {
            let at = self.proposals.iter().position(|proposal| proposal.role.name() == &**role);
            let at = at.ok_or_else(|| self.not_proposed(role))?;
            let items = json.get("signatures").ok_or_else(|| malformed("it has no signatures"))?;
            let marks = marks(array(items, role, MAX_SIGNATURES)?)?;
            self.check_role(at, &marks)?;
            roles.push((at, marks));
        }
        self.check_proofs(&proofs)?;
        Ok(Marks { proofs, roles })
    }

    fn check_role(&self, at: usize, marks: &[Mark]) -> Result<(), CeremonyError> {
        let Some(proposal) = self.proposals.get(at) else { return Ok(()) };
        let delegators = self.delegators(&proposal.role)?;
        let keys: BTreeMap<_, _> =
            delegators.both().iter().flat_map(|authority| authority.keys().collect::<Vec<_>>()).collect();
        let known = |mark: &Mark| {
            proposal.marks.iter().any(|own| (&own.key, &own.signature) == (&mark.key, &mark.signature))
        };
        check_marks(marks, proposal.role.name(), |mark| {
            let key = keys.get(&mark.key)?;
            Some(known(mark) || key.verifies(proposal.payload.to_sign(), &mark.signature))
        })
    }

    fn check_proofs(&self, proofs: &[Mark]) -> Result<(), CeremonyError> {
        if proofs.is_empty() {
            return Ok(());
        }
        let new: BTreeMap<_, _> = self.new_keys().into_iter().map(|(id, key, _)| (id, key)).collect();
        let digest = self.digest();
        check_marks(proofs, "joining", |mark| {
            let key = new.get(&mark.key)?;
            Some(key.verifies(&self.statement(&mark.key, &digest), &mark.signature))
        })
    }

    /// Nothing is proposed twice, and by somebody who can.
    pub(super) fn well_formed(self) -> Result<Self, CeremonyError> {
        if self.proposals.is_empty() {
            return Err(malformed("it proposes nothing"));
        }
        let mut names: Vec<_> = self.roles().collect();
        names.sort_unstable();
        if names.array_windows().any(|[a, b]| a == b) {
            return Err(malformed("it proposes a role twice"));
        }
        for proposal in &self.proposals {
            self.delegators(&proposal.role)?;
        }
        Ok(self)
    }
}

/// Reads what stands before the signatures; `packed` is the same as it came, if it was compressed. Also returns what
/// follows.
fn read_core<'a>(text: &'a [u8], packed: Option<&[u8]>) -> Result<(Event, &'a [u8]), CeremonyError> {
    let mut rest = text;
    let head = taken(&mut rest, text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len()))?;
    let json = parse(head).map_err(|error| malformed(error.to_string()))?;
    if json.get("format").and_then(Json::as_u64) != Some(FORMAT) {
        return Err(malformed(format!("its format is not {FORMAT}")));
    }
    let mut files = Vec::new();
    for item in array(&json, "roots", MAX_ROOTS)? {
        files.push(taken(&mut rest, number(item, "length")?)?);
    }
    let roots = chain(&files)?;
    let mut carried = Vec::new();
    for item in array(&json, "base", MAX_ROLES)? {
        carried.push((text_of(item, "role")?, delegator(item)?, taken(&mut rest, number(item, "length")?)?));
    }
    let (buckets, whole): (Vec<_>, Vec<_>) = carried.into_iter().partition(|(role, ..)| is_bucket(role));
    let mut basis = Basis { roles: base(whole, &roots)?, roots, buckets: BTreeMap::new() };
    let mut proposed = Vec::new();
    for json in array(&json, "proposals", MAX_ROLES)? {
        proposed.push(read_proposal(json)?);
    }
    let put: usize = proposed.iter().filter_map(|(role, _)| role.bucket()).map(|edit| edit.put.len()).sum();
    if put > MAX_PUT {
        return Err(CeremonyError::TooMany { what: "projects", found: put, max: MAX_PUT });
    }
    let mut desk = desk(&basis, proposed.iter().map(|(role, _)| role))?;
    let mut seen = BTreeMap::new();
    for (role, by, file) in buckets {
        let roster = basis.roster(by.as_ref(), role, file)?;
        desk.see(role, &roster)?;
        if seen.insert(role.to_owned(), BucketBase::new(&roster, file)).is_some() {
            return Err(malformed(format!("it has {role} twice")));
        }
    }
    let (payloads, moves) = desk.done()?;
    basis.buckets = seen;
    let core = text.strip_suffix(rest).unwrap_or(text);
    let event = Event {
        name: EventName::new(text_of(&json, "name")?)?,
        started: time(&json, "started")?,
        basis,
        proposals: proposals(proposed, payloads)?,
        proofs: Vec::new(),
        moves,
        core: Core { stored: Arc::from(packed.unwrap_or(core)), digest: sha256(core) },
    };
    Ok((event.well_formed()?, rest))
}

/// The desk on which the proposed buckets of an event are made.
pub(super) fn desk<'a>(
    basis: &Basis,
    proposed: impl Iterator<Item = &'a ProposedRole> + Clone,
) -> Result<Desk<'a>, CeremonyError> {
    let before = basis.targets(CLAIMED).map(|claimed| &**claimed);
    let after = proposed.clone().find(|role| role.name() == CLAIMED).and_then(ProposedRole::targets);
    let edits = proposed.filter_map(|role| match role {
        ProposedRole::Bucket { common, edit, .. } => Some((common, edit)),
        _ => None,
    });
    Desk::new(edits.collect(), before, after.or(before))
}

/// Proposals with what is signed of each; `payloads` are those of the buckets.
pub(super) fn proposals(
    roles: Vec<(ProposedRole, Option<Payload>)>,
    payloads: Vec<Payload>,
) -> Result<Vec<Proposal>, CeremonyError> {
    let mut payloads = payloads.into_iter();
    let made = roles.into_iter().map(|(role, payload)| {
        let payload = payload.or_else(|| payloads.next());
        Ok(Proposal::new(role, payload.ok_or_else(|| malformed("a bucket is missing"))?))
    });
    made.collect()
}

impl Basis {
    /// A bucket's file, if `claimed` says that its keys signed it.
    pub(super) fn roster(
        &self,
        by: Option<&RoleName>,
        role: &str,
        file: &[u8],
    ) -> Result<Roster, CeremonyError> {
        let unsigned = || malformed(format!("its copy of {role} is not signed as it must be"));
        let by = by.filter(|by| by.as_str() == CLAIMED).ok_or_else(unsigned)?;
        let name = RoleName::delegated(role).map_err(|error| malformed(error.to_string()))?;
        let delegations = self.targets(CLAIMED).and_then(|claimed| claimed.delegations.as_ref());
        let authority = delegations.and_then(|delegations| delegations.authority(by, &name));
        verify_to_edit(file, &authority.ok_or_else(unsigned)?).map_err(|_| unsigned())
    }
}

impl BucketBase {
    pub(super) fn new(roster: &Roster, file: &[u8]) -> Self {
        Self { version: roster.version(), expires: roster.expires(), sha256: sha256(file) }
    }
}

/// The first `length` bytes, and the line end after them.
fn taken<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], CeremonyError> {
    let (taken, after) = rest.split_at_checked(length).ok_or_else(|| malformed("it is cut off"))?;
    *rest = after.strip_prefix(b"\n").ok_or_else(|| malformed("a file in it has another length"))?;
    Ok(taken)
}

fn bounded(what: &'static str, found: usize, max: u64) -> Result<(), CeremonyError> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    if found > max { Err(CeremonyError::TooMany { what, found, max }) } else { Ok(()) }
}

fn packed(text: &[u8]) -> Result<Vec<u8>, CeremonyError> {
    encode(Coding::Zstd, text, Effort::Quick).map_err(|error| malformed(error.to_string()))
}

fn unpacked(marks: &[u8]) -> Result<Vec<u8>, CeremonyError> {
    match first_frame(marks, MAX_MARKS).map_err(not_coded)? {
        (text, []) => Ok(text),
        _ => Err(malformed("something follows it")),
    }
}

fn not_coded(error: DecodeError) -> CeremonyError {
    malformed(format!("{error}"))
}

/// Delegators first.
fn ordered(roles: &BTreeMap<String, Base>) -> Vec<(&str, &Base)> {
    let mut base: Vec<_> = roles.iter().map(|(name, base)| (name.as_str(), base)).collect();
    base.sort_by_key(|(name, base)| (base.delegator.is_some(), *name));
    base
}

/// Each key once, listed, and good. `good`: `None` for a key that is not listed.
fn check_marks(
    marks: &[Mark],
    role: &str,
    good: impl Fn(&Mark) -> Option<bool>,
) -> Result<(), CeremonyError> {
    for (at, mark) in marks.iter().enumerate() {
        let (role, key) = (role.to_owned(), mark.key.short());
        match good(mark) {
            None => return Err(CeremonyError::Stranger { key, role }),
            Some(false) => return Err(CeremonyError::BadSignature { role, key }),
            Some(true) if marks.iter().take(at).any(|other| other.key == mark.key) => {
                return Err(CeremonyError::SignedBefore { role, key });
            }
            Some(true) => {}
        }
    }
    Ok(())
}

/// The roots: each accepts the next.
fn chain(files: &[&[u8]]) -> Result<Vec<Verified<Root>>, CeremonyError> {
    let mut roots: Vec<Verified<Root>> = Vec::new();
    for file in files {
        let signed = Signed::<Root>::new(*file);
        let root = match roots.last() {
            None => signed.verify_initial(),
            Some(before) => signed.verify_successor(before),
        };
        let root = root.map_err(|error| malformed(format!("its roots: {error}")))?;
        if roots.last().is_some_and(|before| before.common.version.saturating_add(1) != root.common.version) {
            return Err(malformed("its roots do not follow each other"));
        }
        roots.push(root);
    }
    if roots.is_empty() { Err(malformed("it has no root")) } else { Ok(roots) }
}

/// The targets roles as they are now, but for buckets.
fn base(
    carried: Vec<(&str, Option<RoleName>, &[u8])>,
    roots: &[Verified<Root>],
) -> Result<BTreeMap<String, Base>, CeremonyError> {
    let mut base: BTreeMap<String, Base> = BTreeMap::new();
    for (role, delegator, file) in carried {
        let metadata = match &delegator {
            None if role == "targets" => {
                // While lost keys are replaced, what is signed may still be as the root before the newest says.
                let authorities = roots.iter().rev().take(2).map(|root| root.authority(TopLevel::Targets));
                first_that_vouches(file, authorities)
            }
            None => None,
            Some(by) => {
                let name = RoleName::delegated(role).map_err(|error| malformed(error.to_string()))?;
                let above = base.get(by.as_str()).map(|base| &base.metadata);
                let delegations = above.and_then(|above| above.delegations.as_ref());
                let authority = delegations.and_then(|delegations| delegations.authority(by, &name));
                first_that_vouches(file, authority.into_iter())
            }
        };
        let metadata =
            metadata.ok_or_else(|| malformed(format!("its copy of {role} is not signed as it must be")))?;
        if base.insert(role.to_owned(), Base { delegator, metadata }).is_some() {
            return Err(malformed(format!("it has {role} twice")));
        }
    }
    Ok(base)
}

fn first_that_vouches<'a>(
    file: &[u8],
    mut authorities: impl Iterator<Item = Authority<'a>>,
) -> Option<Verified<Targets>> {
    authorities.find_map(|authority| Signed::new(file).verify(&authority).ok())
}
