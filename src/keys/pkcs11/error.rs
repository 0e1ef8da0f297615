//! What can go wrong with a token. PINs are in none of it.

use std::path::PathBuf;

use thiserror::Error;

/// Why a key on a token cannot be used. Text that a token or its module gave is quoted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Nothing says which library talks to the token.
    #[error("it names no module-path, and WHEELSEAL_PKCS11_MODULE is not set")]
    NoModule,
    /// The library is not there, or is no PKCS#11 module.
    #[error("cannot load the module {}: {message}", path.display())]
    Module {
        /// The library.
        path: PathBuf,
        /// The loader's wording.
        message: String,
    },
    /// No token, or several, fit the URI.
    #[error("{} tokens fit, expected one; there are: {}", fitting, list(present))]
    Token {
        /// How many fit.
        fitting: usize,
        /// Labels and serial numbers of all tokens of the module.
        present: Vec<String>,
    },
    /// No key, or several, fit the URI.
    #[error("{} {what} keys on the token fit, expected one: {}", found.len(), list(found))]
    Key {
        /// `private` or `public`.
        what: &'static str,
        /// Labels and ids of those that fit.
        found: Vec<String>,
    },
    /// A key that cannot be used here.
    #[error("the key on the token is of no use here: {reason}")]
    Unsuitable {
        /// Why.
        reason: &'static str,
    },
    /// The token did not accept the PIN.
    #[error("the PIN is wrong; it was tried once, and is not tried again")]
    WrongPin,
    /// The PIN was refused before, in this process.
    #[error("the PIN of this token was refused before; it is not tried again")]
    RefusedBefore,
    /// One more wrong PIN would lock the token.
    #[error("the token allows one more try of its PIN before it locks; it was not tried")]
    FinalTry,
    /// The token accepts no PIN any more.
    #[error("the PIN of the token is locked after too many wrong tries")]
    Locked,
    /// The token has no PIN yet.
    #[error("the token has no user PIN yet")]
    NoPinSet,
    /// The token is not there any more.
    #[error("the token was removed, or has ended the session ({message})")]
    Gone {
        /// The module's answer.
        message: String,
    },
    /// Anything else the module answers.
    #[error("the token failed to {what}: {message}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// The module's answer.
        message: String,
    },
}

/// What stands in errors of things on tokens, at most.
const MAX_LISTED: usize = 8;

fn list(names: &[String]) -> String {
    let more = if names.len() > MAX_LISTED { ", ..." } else { "" };
    match names {
        [] => "none".to_owned(),
        names => {
            format!("{}{more}", names.iter().take(MAX_LISTED).cloned().collect::<Vec<_>>().join(", "))
        }
    }
}

impl TokenError {
    pub(in crate::keys) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoModule => {
                Some("name the vendor's library, as in ?module-path=/usr/lib/softhsm/libsofthsm2.so")
            }
            Self::Module { .. } => Some("check the path; the library comes with the token's driver"),
            Self::Token { .. } => Some("plug the token in; say token=LABEL or serial=NUMBER in the URI"),
            Self::Key { found, .. } if found.is_empty() => {
                Some("list what is there with `pkcs11-tool --module MODULE --login --list-objects`")
            }
            Self::Key { .. } => Some("say object=LABEL or id=%HH in the URI"),
            Self::WrongPin | Self::RefusedBefore => {
                Some("check the PIN first: most tokens lock after three wrong ones")
            }
            Self::FinalTry => {
                Some("log in once with the vendor's own tool: the right PIN there resets the count of tries")
            }
            Self::Locked => Some("the token's security officer (PUK) can set a new PIN"),
            Self::NoPinSet => Some("set one with the vendor's tool, or `pkcs11-tool --init-pin`"),
            Self::Gone { .. } => Some("put the token back, and run the command again"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_listed_and_not_endless() {
        let names: Vec<String> = (0..9).map(|number| format!("k{number}")).collect();
        let shown =
            |count: usize| TokenError::Key { what: "private", found: names[..count].to_vec() }.to_string();
        assert_eq!(shown(0), "0 private keys on the token fit, expected one: none");
        assert_eq!(shown(2), "2 private keys on the token fit, expected one: k0, k1");
        assert!(shown(9).ends_with("k7, ..."), "{}", shown(9));
    }
}
