//! Where passphrases and PINs come from: the variables `WHEELSEAL_PASSPHRASE` and `WHEELSEAL_PIN`, else the terminal, else
//! nowhere.

use std::env;
use std::io::{self, IsTerminal};

use zeroize::Zeroizing;

use super::{KeyError, KeyUri};

/// The environment variable that is taken instead of asking. An empty one counts as absent.
pub const VARIABLE: &str = "WHEELSEAL_PASSPHRASE";
/// The environment variable that is taken instead of asking for a token's PIN. An empty one counts as absent.
pub const PIN_VARIABLE: &str = "WHEELSEAL_PIN";
/// Characters of a new passphrase, at least: what NIST SP 800-63B section 5.1.1.2 asks of memorised secrets.
pub const MIN_CHARACTERS: usize = 8;

/// Gives passphrases. It may block, and is only asked when a key is encrypted or to be encrypted.
pub trait Passphrase: Send + Sync {
    /// The passphrase that opens a key.
    fn for_existing(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError>;
    /// A passphrase for a key about to be written; at least [`MIN_CHARACTERS`] long.
    fn for_new(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError>;
    /// The PIN of the token that a key is on. Asked for once: what is given is not asked for again if it is wrong.
    fn pin(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError>;
}

/// Times that a new passphrase is asked for before giving up.
const ATTEMPTS: u32 = 3;

/// Takes [`VARIABLE`] or asks on the terminal, twice for a new key. Without either it fails rather than wait.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask;

impl Passphrase for Ask {
    fn for_existing(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError> {
        match from_variable(VARIABLE) {
            Some(passphrase) => Ok(passphrase),
            None => prompt(&format!("Passphrase for {uri}: ")).ok_or_else(|| nobody(uri)),
        }
    }

    fn for_new(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError> {
        if let Some(passphrase) = from_variable(VARIABLE) {
            return long_enough(passphrase);
        }
        let text = format!("New passphrase for {uri} ({MIN_CHARACTERS} characters or more): ");
        let mut last = KeyError::PassphrasesDiffer;
        for _ in 0..ATTEMPTS {
            let first = long_enough(prompt(&text).ok_or_else(|| nobody(uri))?);
            let again = || prompt("The same again: ").ok_or_else(|| nobody(uri));
            let both = first.and_then(|first| same(first, &again()?));
            match both {
                Err(error @ (KeyError::ShortPassphrase { .. } | KeyError::PassphrasesDiffer)) => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    fn pin(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError> {
        let asked = || prompt(&format!("PIN for {uri}: ")).filter(|pin| !pin.is_empty());
        let nobody = || KeyError::NoPin { uri: uri.clone(), variable: PIN_VARIABLE };
        from_variable(PIN_VARIABLE).or_else(asked).ok_or_else(nobody)
    }
}

fn from_variable(name: &str) -> Option<Zeroizing<String>> {
    env::var(name).ok().map(Zeroizing::new).filter(|passphrase| !passphrase.is_empty())
}

/// Nothing, if there is no terminal.
fn prompt(text: &str) -> Option<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        return None;
    }
    rpassword::prompt_password(text).ok().map(Zeroizing::new)
}

fn nobody(uri: &KeyUri) -> KeyError {
    KeyError::NoPassphrase { uri: uri.clone(), variable: VARIABLE }
}

fn long_enough(passphrase: Zeroizing<String>) -> Result<Zeroizing<String>, KeyError> {
    let found = passphrase.chars().count();
    if found < MIN_CHARACTERS {
        return Err(KeyError::ShortPassphrase { found, minimum: MIN_CHARACTERS });
    }
    Ok(passphrase)
}

fn same(first: Zeroizing<String>, again: &str) -> Result<Zeroizing<String>, KeyError> {
    if *first == again { Ok(first) } else { Err(KeyError::PassphrasesDiffer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.into())
    }

    #[test]
    fn a_new_passphrase_is_long_enough_and_typed_twice_alike() {
        assert_eq!(long_enough(secret("sevenén")), Err(KeyError::ShortPassphrase { found: 7, minimum: 8 }));
        assert_eq!(long_enough(secret("eight én")), Ok(secret("eight én")));
        assert_eq!(same(secret("eight en"), "eight-en"), Err(KeyError::PassphrasesDiffer));
        assert_eq!(same(secret("eight en"), "eight en"), Ok(secret("eight en")));
    }

    #[test]
    fn without_a_terminal_the_error_names_the_variable() {
        if io::stdin().is_terminal() || env::var_os(VARIABLE).is_some() {
            return;
        }
        let uri: KeyUri = "root.pem".parse().unwrap();
        for refused in [Ask.for_existing(&uri).unwrap_err(), Ask.for_new(&uri).unwrap_err()] {
            assert_eq!(
                refused,
                KeyError::NoPassphrase { uri: uri.clone(), variable: "WHEELSEAL_PASSPHRASE" }
            );
            assert!(refused.to_string().contains("WHEELSEAL_PASSPHRASE is not set"), "{refused}");
        }
    }
}
