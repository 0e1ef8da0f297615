//! What can go wrong with a signing key, in words that never repeat key material or passphrases.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

#[cfg(unix)]
use super::agent::AgentError;
use super::awskms::KmsError;
#[cfg(feature = "pkcs11")]
use super::pkcs11::TokenError;
use super::program::ProgramError;
use super::uri::{KeyUri, supported};
use crate::crypto::CryptoError;

/// Why a key cannot be named, read, written or used. Never carries key material.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The text after the scheme is not what the scheme wants. It is not repeated: it may be a key pasted by mistake.
    #[error("not a usable {scheme}: key URI: {reason}")]
    BadUri {
        /// The scheme, `file` for a bare path.
        scheme: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// No key can be opened by this scheme.
    #[error("unknown key scheme \"{scheme}:\", expected one of {}", supported())]
    UnknownScheme {
        /// What stands before the colon.
        scheme: String,
    },
    /// The scheme is known, but what opens its keys was left out when the program was built.
    #[error("this build of wheelseal has no {scheme}: keys (feature {feature})")]
    NotBuilt {
        /// What stands before the colon.
        scheme: &'static str,
        /// The feature of the crate that it needs.
        feature: &'static str,
    },
    /// Opening the key would run code, and the URI comes from where others may have written.
    #[error("{uri} names code to run, which the settings of a repository may not")]
    NamesCode {
        /// The key.
        uri: KeyUri,
    },
    /// A public key was named where a signature is wanted.
    #[error("{uri} is a public key, which cannot sign")]
    PublicOnly {
        /// The key.
        uri: KeyUri,
    },
    /// The system refused to read or write.
    #[error("cannot {what} {}: {message}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The system's wording.
        message: String,
    },
    /// A new key would replace a file.
    #[error("{} exists, and a key is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Other users of the machine can read or replace the private key.
    #[error("{} holds a private key and is open to other users (mode {mode:03o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Permission bits of the file.
        mode: u32,
    },
    /// More bytes than any key has.
    #[error("{uri} is larger than {limit} bytes")]
    TooLarge {
        /// The key.
        uri: KeyUri,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The environment variable of an `env:` key is absent or not text.
    #[error("the environment variable {name} is not set to text")]
    NoVariable {
        /// Name of the variable.
        name: String,
    },
    /// No PEM block where one is expected.
    #[error("{uri} is not a PEM key: {reason}")]
    NotPem {
        /// The key.
        uri: KeyUri,
        /// What is wrong.
        reason: String,
    },
    /// A PEM block of another kind.
    #[error("{uri} holds a PEM block {found:?}, expected {expected}")]
    WrongBlock {
        /// The key.
        uri: KeyUri,
        /// Label of the block.
        found: String,
        /// Labels that would do.
        expected: &'static str,
    },
    /// The key is encrypted in a way that is not read here.
    #[error("{uri} is encrypted in an unsupported way: {reason}")]
    Encryption {
        /// The key.
        uri: KeyUri,
        /// Which way.
        reason: String,
    },
    /// The passphrase does not open the key.
    #[error("wrong passphrase for {uri}")]
    WrongPassphrase {
        /// The key.
        uri: KeyUri,
    },
    /// A passphrase is needed and there is nobody to ask.
    #[error("{uri} needs a passphrase: {variable} is not set and there is no terminal to ask on")]
    NoPassphrase {
        /// The key.
        uri: KeyUri,
        /// The variable that may hold the passphrase.
        variable: &'static str,
    },
    /// A new passphrase is too short.
    #[error("the passphrase has {found} characters, expected {minimum} or more")]
    ShortPassphrase {
        /// Its length in characters.
        found: usize,
        /// The least length.
        minimum: usize,
    },
    /// A new passphrase was typed in two ways.
    #[error("the two passphrases differ")]
    PassphrasesDiffer,
    /// The key is whole but of no use: algorithm, size, inner damage.
    #[error("{uri}: {cause}")]
    Unusable {
        /// The key.
        uri: KeyUri,
        /// Why.
        cause: CryptoError,
    },
    /// A PIN is needed and there is nobody to ask.
    #[error("{uri} needs a PIN: {variable} is not set and there is no terminal to ask on")]
    NoPin {
        /// The key.
        uri: KeyUri,
        /// The variable that may hold the PIN.
        variable: &'static str,
    },
    /// A file that should hold a PIN holds something else. It is not repeated.
    #[error("{} does not hold one line of text", path.display())]
    NotLine {
        /// The file.
        path: PathBuf,
    },
    /// A token and what is on it.
    #[cfg(feature = "pkcs11")]
    #[error("{uri}: {cause}")]
    Token {
        /// The key.
        uri: KeyUri,
        /// Why.
        cause: TokenError,
    },
    /// The key service, and the way to it.
    #[error("{uri}: {cause}")]
    Kms {
        /// The key.
        uri: KeyUri,
        /// Why.
        cause: KmsError,
    },
    /// The ssh agent and its keys.
    #[cfg(unix)]
    #[error("{uri}: {cause}")]
    Agent {
        /// The key.
        uri: KeyUri,
        /// Why.
        cause: AgentError,
    },
    /// A program that signs.
    #[error("{uri}: {cause}")]
    Program {
        /// The key.
        uri: KeyUri,
        /// Why.
        cause: ProgramError,
    },
    /// A new key would have the label or the id of one on the token.
    #[error("{uri}: the token has a key with this label or id, and a key is never overwritten")]
    TokenHasKey {
        /// The key.
        uri: KeyUri,
    },
    /// What holds the private key returned something that is no signature of this key.
    #[error("{uri}: what was returned as a signature does not verify with the public key")]
    BadSignature {
        /// The key.
        uri: KeyUri,
    },
    /// A new key can only be made where this program can write one.
    #[error("a key cannot be made as {uri}")]
    CannotMake {
        /// The key.
        uri: KeyUri,
    },
    /// A key source of the tough library failed.
    #[error("the key source {source_name} failed to {what}: {message}")]
    Foreign {
        /// The source, as its author shows it.
        source_name: String,
        /// What was tried.
        what: &'static str,
        /// The source's wording.
        message: String,
    },
}

impl KeyError {
    pub(super) fn io(what: &'static str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), kind: error.kind(), message: error.to_string() }
    }

    /// What the person running wheelseal can do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::BadUri { .. } => Some("name the key, as in file:keys/root.pem or env:ROOT_KEY"),
            Self::UnknownScheme { .. } => {
                Some("a file whose name has a colon is written with its scheme, as in file:odd:name.pem")
            }
            Self::NamesCode { .. } => {
                Some("set WHEELSEAL_KEYS to this key, on each machine that signs with it")
            }
            Self::NotBuilt { feature: "unix", .. } => None,
            Self::NotBuilt { feature: "tough-aws", .. } => Some("build it with `--features tough-aws`"),
            Self::NotBuilt { .. } => Some("build it with the default features"),
            #[cfg(feature = "pkcs11")]
            Self::Token { cause, .. } => cause.hint(),
            Self::Kms { cause, .. } => cause.hint(),
            #[cfg(unix)]
            Self::Agent { cause, .. } => cause.hint(),
            Self::Program { cause, .. } => cause.hint(),
            Self::NoPin { .. } => {
                Some("set WHEELSEAL_PIN, or say where it is: ?pin-source=file:PATH or ?pin-source=env:NAME")
            }
            Self::BadSignature { .. } => {
                Some("the public half belongs to another key, or the device is broken")
            }
            Self::CannotMake { .. } => {
                Some("name a new file, or an object on a token: pkcs11:token=T;object=NAME")
            }
            Self::PublicOnly { .. } => {
                Some("name the private key file, or pub:PATH if it does not sign here")
            }
            Self::Io { kind: io::ErrorKind::NotFound, .. } => {
                Some("check the path: it is relative to the current folder")
            }
            Self::Exists { .. } | Self::TokenHasKey { .. } => {
                Some("choose another name, or move the old key away first")
            }
            Self::Exposed { .. } => {
                Some("run `chmod 600` on the file; if others had access, replace the key")
            }
            Self::NoVariable { .. } => Some("set it to the whole PEM text, line breaks included"),
            Self::NotPem { .. } => Some("if tuftool made the key, name it tough:PATH"),
            Self::WrongBlock { uri: KeyUri::Public(_), .. } => {
                Some("pub: wants the public half, which `wheelseal key gen` writes as PATH.pub")
            }
            Self::WrongBlock { .. } | Self::Encryption { .. } => {
                Some("rewrite the key with `openssl pkcs8 -topk8 -in OLD -out NEW`")
            }
            Self::NoPassphrase { .. } => {
                Some("set WHEELSEAL_PASSPHRASE, from a secret store where there is one")
            }
            _ => None,
        }
    }
}
