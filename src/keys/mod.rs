//! Signing keys: how they are named, opened, written, and what signs with them.
//!
//! | file | room |
//! |---|---|
//! | `uri` | [`KeyUri`]: `file:PATH`, `env:NAME`, `pub:PATH`, `tough:PATH`, `pkcs11:ATTRIBUTES` and more |
//! | `passphrase` | [`Passphrase`], and [`Ask`]: the environment, then the terminal |
//! | `pem` | PEM text to keys and back; encryption |
//! | `file` | limits and permissions of key files; [`write_new`] |
//! | `tough` | key sources of the tough library |
//! | `tough_aws` | key sources of tough for AWS |
//! | `pkcs11` | keys on security tokens |
//! | `awskms` | keys in the AWS key service |
//! | `agent` | keys in an ssh agent |
//! | `program` | keys behind a program of one's own |
//! | `der` | the DER that keys and signatures from elsewhere need |
//! | `error` | [`KeyError`] |
//!
//! Rules: private bytes live in buffers that are wiped, and in no `Debug` and no error; a private key file open to
//! other users is refused; a key is never overwritten; nobody is asked unless there is a terminal; what a device or
//! another program returns as a signature is verified before it is passed on.
//!
//! ```no_run
//! # use wheelseal::keys::{Ask, KeyError, open};
//! # async fn example() -> Result<(), KeyError> {
//! let signer = open(&"file:keys/root.pem".parse()?, &Ask).await?;
//! let signature = signer.sign(b"canonical bytes").await?;
//! assert!(signer.key().verifies(b"canonical bytes", &signature));
//! # Ok(())
//! # }
//! ```

use std::env;
use std::fmt::Debug;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::crypto::{NewKey, PublicKey, Scheme, SigningKey};
use crate::tuf::key::Key;

#[cfg(unix)]
mod agent;
mod awskms;
#[cfg(any(unix, feature = "pkcs11"))]
mod der;
mod error;
mod file;
mod passphrase;
mod pem;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod program;
#[cfg(feature = "tough-keys")]
mod tough;
#[cfg(feature = "tough-aws")]
mod tough_aws;
mod uri;

#[cfg(unix)]
pub use agent::{AgentError, AgentKey};
pub use awskms::{KmsError, KmsKey};
pub use error::KeyError;
pub use file::{EXAMPLE, MAX_KEY_FILE, write_new};
pub use passphrase::{Ask, MIN_CHARACTERS, PIN_VARIABLE, Passphrase, VARIABLE};
#[cfg(feature = "pkcs11")]
pub use pkcs11::{MODULE_VARIABLE, TokenError, TokenUri};
pub use program::{FORMAT, ProgramError};
#[cfg(feature = "tough-keys")]
pub use tough::ToughSigner;
#[cfg(feature = "tough-aws")]
pub use tough_aws::{Name, ToughAws};
pub use uri::{KeyUri, supported};

/// Something that signs as one key. `sign` signs the bytes as they are, with the scheme of `key`; it may take a while
/// and may be called any number of times, also at once. A signature it returns verifies with `key`.
#[async_trait]
pub trait Signer: Send + Sync + Debug {
    /// The public half, as metadata will name it.
    fn key(&self) -> &Key;
    /// A signature over `message`, in the form of the TUF specification, section 4.2, before it is written as text.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// Opens a key for signing. It is for the start of a command: reading, asking and key derivation block the thread.
///
/// # Errors
/// [`KeyError::PublicOnly`] for a public key; else what keeps the key from being read.
pub async fn open(uri: &KeyUri, passphrase: &dyn Passphrase) -> Result<Box<dyn Signer>, KeyError> {
    match uri {
        KeyUri::File(path) => local(uri, file::private(uri, path, passphrase)?),
        KeyUri::Env(name) => local(uri, from_variable(uri, name, passphrase)?),
        KeyUri::Public(_) => Err(KeyError::PublicOnly { uri: uri.clone() }),
        KeyUri::Kms(name) => awskms::open(uri, name).await,
        KeyUri::Exec(path) => program::open(uri, path).await,
        #[cfg(unix)]
        KeyUri::Agent(name) => agent::open(uri, name).await,
        #[cfg(feature = "tough-keys")]
        KeyUri::Tough(path) => Ok(Box::new(tough::open(uri, path).await?)),
        #[cfg(feature = "tough-aws")]
        KeyUri::ToughAws(source) => Ok(Box::new(tough_aws::open(uri, source).await?)),
        #[cfg(feature = "pkcs11")]
        KeyUri::Token(token) => pkcs11::open(uri, token, passphrase).await,
    }
}

/// The public half of a key. A passphrase is asked for only if there is nothing but an encrypted private key.
pub async fn open_public(uri: &KeyUri, passphrase: &dyn Passphrase) -> Result<Key, KeyError> {
    match uri {
        KeyUri::File(path) | KeyUri::Public(path) => as_key(uri, file::public(uri, path, passphrase)?),
        KeyUri::Env(name) => as_key(uri, from_variable(uri, name, passphrase)?.public().clone()),
        KeyUri::Kms(name) => Ok(awskms::open(uri, name).await?.key().clone()),
        KeyUri::Exec(path) => Ok(program::open(uri, path).await?.key().clone()),
        #[cfg(unix)]
        KeyUri::Agent(name) => Ok(agent::open(uri, name).await?.key().clone()),
        #[cfg(feature = "tough-keys")]
        KeyUri::Tough(path) => Ok(tough::open(uri, path).await?.key().clone()),
        #[cfg(feature = "tough-aws")]
        KeyUri::ToughAws(source) => Ok(tough_aws::open(uri, source).await?.key().clone()),
        #[cfg(feature = "pkcs11")]
        KeyUri::Token(token) => pkcs11::open_public(uri, token, passphrase),
    }
}

/// Makes a key: in a new file, encrypted unless `plain`, or on a token, where `plain` says nothing.
///
/// # Errors
/// [`KeyError::CannotMake`] for other kinds of URI; [`KeyError::Exists`] and [`KeyError::TokenHasKey`] rather than
/// replacing a key.
#[cfg_attr(not(feature = "pkcs11"), expect(clippy::unused_async, reason = "tokens are async"))]
pub async fn generate(
    uri: &KeyUri,
    kind: NewKey,
    plain: bool,
    ask: &dyn Passphrase,
) -> Result<Key, KeyError> {
    match uri {
        KeyUri::File(path) if path.symlink_metadata().is_ok() => Err(KeyError::Exists { path: path.clone() }),
        KeyUri::File(path) => {
            let passphrase = if plain { None } else { Some(ask.for_new(uri)?) };
            let der = kind.generate().map_err(|cause| KeyError::Unusable { uri: uri.clone(), cause })?;
            write_new(path, &der, passphrase.as_ref().map(|text| text.as_str()))
        }
        #[cfg(feature = "pkcs11")]
        KeyUri::Token(token) => pkcs11::generate(uri, token, kind, ask).await,
        other => Err(KeyError::CannotMake { uri: other.clone() }),
    }
}

/// A signature from elsewhere, if it is one: whoever returned it is not trusted to have signed this, with this key.
fn checked(uri: &KeyUri, key: &Key, message: &[u8], signature: Vec<u8>) -> Result<Vec<u8>, KeyError> {
    if key.verifies(message, &signature) {
        Ok(signature)
    } else {
        Err(KeyError::BadSignature { uri: uri.clone() })
    }
}

fn from_variable(uri: &KeyUri, name: &str, passphrase: &dyn Passphrase) -> Result<SigningKey, KeyError> {
    let text =
        env::var(name).map(Zeroizing::new).map_err(|_| KeyError::NoVariable { name: name.to_owned() })?;
    pem::Block::find(uri, text.as_bytes())?.private(passphrase)
}

fn as_key(uri: &KeyUri, public: PublicKey) -> Result<Key, KeyError> {
    let scheme = public.default_scheme();
    Key::new(public, scheme).map_err(|cause| KeyError::Unusable { uri: uri.clone(), cause })
}

/// A private key in this process.
#[derive(Debug)]
struct LocalSigner {
    uri: KeyUri,
    key: Key,
    scheme: Scheme,
    private: SigningKey,
}

fn local(uri: &KeyUri, private: SigningKey) -> Result<Box<dyn Signer>, KeyError> {
    let key = as_key(uri, private.public().clone())?;
    let scheme = private.public().default_scheme();
    Ok(Box::new(LocalSigner { uri: uri.clone(), key, scheme, private }))
}

#[async_trait]
impl Signer for LocalSigner {
    fn key(&self) -> &Key {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let unusable = |cause| KeyError::Unusable { uri: self.uri.clone(), cause };
        self.private.sign(self.scheme, message).map_err(unusable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Knows one passphrase.
    pub(super) struct Given<'a>(pub(super) &'a str);

    impl Passphrase for Given<'_> {
        fn for_existing(&self, _uri: &KeyUri) -> Result<Zeroizing<String>, KeyError> {
            Ok(Zeroizing::new(self.0.to_owned()))
        }

        fn for_new(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError> {
            self.for_existing(uri)
        }

        fn pin(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError> {
            self.for_existing(uri)
        }
    }

    /// Must not be asked.
    pub(super) struct Nobody;

    impl Passphrase for Nobody {
        fn for_existing(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError> {
            Err(KeyError::NoPassphrase { uri: uri.clone(), variable: VARIABLE })
        }

        fn for_new(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError> {
            self.for_existing(uri)
        }

        fn pin(&self, uri: &KeyUri) -> Result<Zeroizing<String>, KeyError> {
            self.for_existing(uri)
        }
    }

    const PLAIN: &str = include_str!("fixtures/worthless-ed25519.pem");
    const PUBLIC: &str = include_str!("fixtures/worthless-ed25519.pub.pem");
    const ENCRYPTED: &str = include_str!("fixtures/worthless-ed25519-scrypt.pem");

    fn written(folder: &Path, name: &str, text: &str) -> KeyUri {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        KeyUri::File(path)
    }

    #[tokio::test]
    async fn a_key_file_signs_and_its_public_half_verifies() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("worthless-a.pem", PLAIN),
            ("worthless-b.pem", ENCRYPTED),
            ("worthless-c.pem", include_str!("fixtures/worthless-rsa.pem")),
            ("worthless-d.pem", include_str!("fixtures/worthless-p256-sec1.pem")),
        ] {
            let uri = written(folder.path(), name, text);
            let signer = open(&uri, &Given("worthless")).await.unwrap();
            let signature = signer.sign(b"message").await.unwrap();
            let public = open_public(&uri, &Given("worthless")).await.unwrap();
            assert!(public.verifies(b"message", &signature) && !public.verifies(b"massage", &signature));
            assert_eq!(public, *signer.key());
        }
    }

    #[tokio::test]
    async fn a_public_key_needs_no_passphrase_and_cannot_sign() {
        let folder = tempfile::tempdir().unwrap();
        let private = written(folder.path(), "worthless.pem", PLAIN);
        let uri = written(folder.path(), "root.pub", PUBLIC);
        let key = open_public(&private, &Nobody).await.unwrap();
        assert_eq!(open_public(&uri, &Nobody).await.as_ref(), Ok(&key));
        assert_eq!(open(&uri, &Nobody).await.unwrap_err(), KeyError::PublicOnly { uri: uri.clone() });
        let KeyUri::File(path) = uri else { unreachable!() };
        let uri = KeyUri::Public(path);
        assert_eq!(open_public(&uri, &Nobody).await.as_ref(), Ok(&key));
        assert_eq!(open(&uri, &Nobody).await.unwrap_err(), KeyError::PublicOnly { uri });
    }

    #[tokio::test]
    async fn an_encrypted_key_without_anybody_to_ask_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let uri = written(folder.path(), "worthless.pem", ENCRYPTED);
        let refused = open(&uri, &Nobody).await.unwrap_err();
        assert_eq!(refused, KeyError::NoPassphrase { uri, variable: VARIABLE });
    }

    #[tokio::test]
    async fn debug_of_a_signer_shows_no_private_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let uri = written(folder.path(), "worthless.pem", PLAIN);
        let shown = format!("{:?}", open(&uri, &Nobody).await.unwrap());
        let (_, der) = pkcs8::SecretDocument::from_pem(PLAIN).unwrap();
        let seed = &der.as_bytes()[16..];
        assert!(shown.contains("private: SigningKey { public: Ed25519("), "{shown}");
        assert!(!shown.contains(&hex::encode(seed)) && !shown.contains(&format!("{seed:?}")[1..40]));
    }

    #[tokio::test]
    async fn a_variable_that_is_absent_or_holds_no_key_is_refused() {
        let absent = open(&KeyUri::Env("WHEELSEAL_NO_SUCH".into()), &Nobody).await.unwrap_err();
        assert_eq!(absent, KeyError::NoVariable { name: "WHEELSEAL_NO_SUCH".into() });
        let other = open(&KeyUri::Env("PATH".into()), &Nobody).await.unwrap_err();
        assert!(matches!(other, KeyError::NotPem { .. }));
    }
}
