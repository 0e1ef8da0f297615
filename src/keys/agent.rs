//! Keys in an ssh agent: `ssh-agent:` and the comment or the SHA-256 fingerprint of a key. The private key stays in the
//! agent, or on the device that the agent stands for.
//!
//! The protocol (draft-ietf-sshm-ssh-agent) is a length and a message, over the socket that `SSH_AUTH_SOCK` names. The
//! agent signs any bytes as they are, so an Ed25519 signature of it is a plain one; of `ecdsa-sha2-nistp256` it gives the
//! two numbers. RSA keys are refused, for ssh knows no PSS, and so are keys that sign more than the message: `sk-` keys
//! of FIDO devices, and certificates. An agent takes [`MAX_MESSAGE`] bytes at most: enough for root and targets.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{KeyError, KeyUri, Signer, as_key, checked, der};
use crate::crypto::{PublicKey, sha256};
use crate::tuf::key::Key;

/// Bytes of one message to or from an agent, at most: what OpenSSH's agent takes.
const MAX_MESSAGE: usize = 256 * 1024;
/// Time for an answer, at most: somebody may have to confirm, or to touch a device.
const MAX_WAIT: Duration = Duration::from_mins(2);
/// Connections at once: the queue of a socket is short.
const MAX_AT_ONCE: usize = 8;
/// Characters of a comment that an error shows, at most.
const MAX_COMMENT: usize = 80;
/// The environment variable with the agent's socket.
const SOCKET: &str = "SSH_AUTH_SOCK";
const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const ED25519: &str = "ssh-ed25519";
const P256: &str = "ecdsa-sha2-nistp256";

/// Why an agent gave no signature.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AgentError {
    /// There is no agent.
    #[error("there is no ssh agent: {SOCKET} is not set")]
    NoAgent,
    /// The agent does not answer.
    #[error("the ssh agent does not answer: {message}")]
    Unreachable {
        /// The system's wording.
        message: String,
    },
    /// The agent said no.
    #[error("the ssh agent refused: it is locked, the key is gone, or somebody did not confirm")]
    Refused,
    /// The answer is not of the protocol.
    #[error("the ssh agent gave an answer that makes no sense")]
    Nonsense,
    /// None or several of its keys are meant.
    #[error("{fitting} keys of the ssh agent fit, expected one; it has: {}", list(present))]
    Key {
        /// How many fit.
        fitting: usize,
        /// Fingerprints and comments of all keys.
        present: Vec<String>,
    },
    /// The key is of a kind that cannot sign here.
    #[error("it is a {kind:?} key, expected {ED25519} or {P256}")]
    Unsuitable {
        /// The kind, as ssh names it.
        kind: String,
    },
    /// More than an agent takes.
    #[error("{found} bytes are to be signed, and an ssh agent takes {limit} at most")]
    TooLarge {
        /// Bytes to be signed.
        found: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

impl AgentError {
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoAgent => Some("start one with `eval $(ssh-agent)`, and give it the key with `ssh-add`"),
            Self::Unreachable { .. } => Some("check with `ssh-add -l`"),
            Self::Refused => Some("unlock it with `ssh-add -X`, or add the key again"),
            Self::Key { .. } => Some("`ssh-add -l` shows fingerprints and comments"),
            Self::Unsuitable { .. } => Some("make one with `ssh-keygen -t ed25519`"),
            Self::TooLarge { .. } => {
                Some("use such a key for root and targets, and another kind for online roles")
            }
            Self::Nonsense => None,
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Which key of the agent: `SHA256:` and a fingerprint as `ssh-add -l` shows it, or else a comment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentKey(String);

impl AgentKey {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is(&self, identity: &Identity<'_>) -> bool {
        if self.0.starts_with("SHA256:") {
            self.0 == fingerprint(identity.blob)
        } else {
            self.0 == identity.comment
        }
    }
}

impl FromStr for AgentKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let refused = |reason| Err(KeyError::BadUri { scheme: "ssh-agent", reason });
        if text.is_empty() || text.contains("-----") || text.chars().any(char::is_control) {
            return refused("expected the comment of a key, or SHA256: and its fingerprint");
        }
        match text.strip_prefix("SHA256:").map(|rest| BASE64_STANDARD_NO_PAD.decode(rest)) {
            Some(Ok(digest)) if digest.len() == 32 => Ok(Self(text.to_owned())),
            Some(_) => refused("the fingerprint is not one that ssh-add -l shows"),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// A key that the agent has.
struct Identity<'a> {
    blob: &'a [u8],
    comment: String,
}

#[derive(Debug)]
struct AgentSigner {
    uri: KeyUri,
    key: Key,
    /// The public key as ssh writes it, by which the agent knows it.
    blob: Vec<u8>,
    permits: Semaphore,
}

#[async_trait]
impl Signer for AgentSigner {
    fn key(&self) -> &Key {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let permit = self.permits.acquire().await;
        let signed = sign(&self.blob, message).await;
        drop(permit);
        checked(&self.uri, &self.key, message, signed.map_err(|cause| wrapped(&self.uri, cause))?)
    }
}

fn wrapped(uri: &KeyUri, cause: AgentError) -> KeyError {
    KeyError::Agent { uri: uri.clone(), cause }
}

/// Finds a key in the agent. Nothing is signed yet.
pub(super) async fn open(uri: &KeyUri, name: &AgentKey) -> Result<Box<dyn Signer>, KeyError> {
    let (blob, public) = find(name).await.map_err(|cause| wrapped(uri, cause))?;
    let (uri, key) = (uri.clone(), as_key(uri, public)?);
    Ok(Box::new(AgentSigner { uri, key, blob, permits: Semaphore::new(MAX_AT_ONCE) }))
}

async fn find(name: &AgentKey) -> Result<(Vec<u8>, PublicKey), AgentError> {
    let answer = ask(&[REQUEST_IDENTITIES], IDENTITIES_ANSWER).await?;
    let identities = identities(&answer).ok_or(AgentError::Nonsense)?;
    let fitting: Vec<&Identity<'_>> = identities.iter().filter(|identity| name.is(identity)).collect();
    let [one] = fitting.as_slice() else {
        let shown = |one: &Identity<'_>| {
            let comment: String = one.comment.chars().take(MAX_COMMENT).collect();
            format!("{} {comment:?}", fingerprint(one.blob))
        };
        return Err(AgentError::Key {
            fitting: fitting.len(),
            present: identities.iter().map(shown).collect(),
        });
    };
    Ok((one.blob.to_vec(), public(one.blob)?))
}

async fn sign(blob: &[u8], message: &[u8]) -> Result<Vec<u8>, AgentError> {
    let mut request = vec![SIGN_REQUEST];
    for part in [blob, message] {
        request.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        request.extend(part);
    }
    request.extend(0_u32.to_be_bytes());
    if request.len() > MAX_MESSAGE {
        let limit = MAX_MESSAGE.saturating_sub(blob.len() + 13);
        return Err(AgentError::TooLarge { found: message.len(), limit });
    }
    let answer = ask(&request, SIGN_RESPONSE).await?;
    signature(&answer).ok_or(AgentError::Nonsense)
}

/// One message to the agent, and the body of its answer, which must be of this kind.
async fn ask(request: &[u8], wanted: u8) -> Result<Vec<u8>, AgentError> {
    let socket = env::var_os(SOCKET).filter(|path| !path.is_empty()).ok_or(AgentError::NoAgent)?;
    let unreachable = |message: String| AgentError::Unreachable { message };
    let answer = timeout(MAX_WAIT, exchange(socket.into(), request)).await;
    let answer = answer.map_err(|_| unreachable(format!("not within {} s", MAX_WAIT.as_secs())))?;
    match answer.map_err(|error| unreachable(error.to_string()))?.as_deref() {
        Some([kind, body @ ..]) if *kind == wanted => Ok(body.to_vec()),
        Some([FAILURE]) => Err(AgentError::Refused),
        _ => Err(AgentError::Nonsense),
    }
}

/// Nothing, if the answer would be longer than any is.
async fn exchange(socket: PathBuf, request: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    let mut agent = UnixStream::connect(socket).await?;
    let length = u32::try_from(request.len()).unwrap_or(u32::MAX);
    agent.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let length = usize::try_from(agent.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE {
        return Ok(None);
    }
    let mut answer = vec![0; length];
    agent.read_exact(&mut answer).await?;
    Ok(Some(answer))
}

/// What ssh writes: numbers of four bytes, and strings after their length.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

fn identities(answer: &[u8]) -> Option<Vec<Identity<'_>>> {
    let mut reader = Reader(answer);
    let mut identities = Vec::new();
    for _ in 0..reader.number()? {
        let (blob, comment) = (reader.string()?, reader.string()?);
        identities.push(Identity { blob, comment: String::from_utf8_lossy(comment).into_owned() });
    }
    reader.end()?;
    Some(identities)
}

fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(sha256(blob)))
}

fn public(blob: &[u8]) -> Result<PublicKey, AgentError> {
    let mut reader = Reader(blob);
    let kind = reader.string().and_then(|kind| std::str::from_utf8(kind).ok()).ok_or(AgentError::Nonsense)?;
    let key = match kind {
        ED25519 => reader.string().and_then(|key| key.try_into().ok()).map(PublicKey::Ed25519),
        P256 => {
            let curve = reader.string().filter(|curve| *curve == b"nistp256");
            curve.and_then(|_| PublicKey::from_point(reader.string()?).ok())
        }
        kind => {
            let kind = kind.chars().filter(|c| !c.is_control()).take(MAX_COMMENT).collect();
            return Err(AgentError::Unsuitable { kind });
        }
    };
    key.filter(|_| reader.0.is_empty()).ok_or(AgentError::Nonsense)
}

/// The signature in an answer, as metadata has it.
fn signature(answer: &[u8]) -> Option<Vec<u8>> {
    let mut outer = Reader(answer);
    let mut inner = Reader(outer.string()?);
    outer.end()?;
    let (kind, signature) = (inner.string()?, inner.string()?);
    inner.end()?;
    if kind == ED25519.as_bytes() {
        return Some(signature.to_vec());
    }
    let mut numbers = Reader(signature);
    let (r, s) = (numbers.string()?, numbers.string()?);
    numbers.end()?;
    if kind == P256.as_bytes() { der::integers([r, s]).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn strings(parts: &[&[u8]]) -> Vec<u8> {
        parts.iter().flat_map(|part| string(part)).collect()
    }

    #[test]
    fn a_key_is_named_by_comment_or_fingerprint() {
        let blob = strings(&[b"ssh-ed25519", &[7; 32]]);
        let identity = Identity { blob: &blob, comment: "root key".to_owned() };
        let name = |text: &str| text.parse::<AgentKey>().unwrap();
        assert!(name("root key").is(&identity) && name(&fingerprint(&blob)).is(&identity));
        assert!(!name("root").is(&identity) && !name(&fingerprint(b"other")).is(&identity));
        for text in ["", "SHA256:", "SHA256:abc", "SHA256:AAAA", "a\nb", "-----BEGIN"] {
            assert!(
                matches!(text.parse::<AgentKey>(), Err(KeyError::BadUri { scheme: "ssh-agent", .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn public_keys_of_both_kinds_are_read_and_others_named() {
        let point = [&[4][..], &[5; 64]].concat();
        assert_eq!(public(&strings(&[b"ssh-ed25519", &[7; 32]])), Ok(PublicKey::Ed25519([7; 32])));
        let p256 = strings(&[b"ecdsa-sha2-nistp256", b"nistp256", &point]);
        assert_eq!(public(&p256), Ok(PublicKey::P256(point.clone())));
        for kind in ["ssh-rsa", "sk-ssh-ed25519@openssh.com", "ssh-ed25519-cert-v01@openssh.com"] {
            let refused = Err(AgentError::Unsuitable { kind: kind.to_owned() });
            assert_eq!(public(&strings(&[kind.as_bytes(), &[7; 32]])), refused);
        }
        for wrong in [
            strings(&[b"ssh-ed25519", &[7; 31]]),
            strings(&[b"ssh-ed25519", &[7; 32], b"more"]),
            strings(&[b"ecdsa-sha2-nistp256", b"nistp384", &point]),
            vec![0, 0, 0, 9, 1],
            Vec::new(),
        ] {
            assert_eq!(public(&wrong), Err(AgentError::Nonsense));
        }
    }

    #[tokio::test]
    async fn what_no_agent_takes_is_not_sent() {
        let limit = MAX_MESSAGE - 51 - 13;
        let refused = sign(&[0; 51], &vec![0; limit + 1]).await;
        assert_eq!(refused, Err(AgentError::TooLarge { found: limit + 1, limit }));
    }

    #[test]
    fn answers_cut_short_or_too_long_are_refused() {
        let listed = [&2_u32.to_be_bytes()[..], &strings(&[b"a", b"x", b"b", b"y"])].concat();
        let signed = string(&strings(&[b"ssh-ed25519", &[3; 64]]));
        let numbers = strings(&[&[0, 0x80], &[1]]);
        let ecdsa = string(&strings(&[b"ecdsa-sha2-nistp256", &numbers]));
        assert_eq!(identities(&listed).unwrap().len(), 2);
        assert_eq!(signature(&signed), Some(vec![3; 64]));
        assert_eq!(signature(&ecdsa), Some(vec![0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]));
        for whole in [&signed, &ecdsa] {
            for length in 0..whole.len() {
                assert_eq!(signature(&whole[..length]), None);
            }
            assert_eq!(signature(&[whole, &[0][..]].concat()), None);
        }
        for length in 0..listed.len() {
            assert!(identities(&listed[..length]).is_none());
        }
        assert!(identities(&u32::MAX.to_be_bytes()).is_none());
    }
}
