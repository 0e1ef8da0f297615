//! The name of a key: `file:PATH`, `env:NAME`, `pub:PATH`, `tough:PATH`, `pkcs11:ATTRIBUTES`, `awskms:KEY`,
//! `ssh-agent:NAME`, `exec:PATH`, or a bare path, which means `file:`.
//!
//! Paths are taken as they stand: no percent-encoding, relative to the current folder. Text that looks like the key
//! itself is refused without being repeated.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::KeyError;
#[cfg(unix)]
use super::agent::AgentKey;
use super::awskms::KmsKey;
#[cfg(feature = "pkcs11")]
use super::pkcs11::TokenUri;
#[cfg(feature = "tough-aws")]
use super::tough_aws::ToughAws;

/// Schemes that a build may lack: how their URIs look, the feature or system that brings them, and whether this is one.
const OPTIONAL: [(&str, &str, &str, bool); 5] = [
    ("tough", "PATH", "tough-keys", cfg!(feature = "tough-keys")),
    ("pkcs11", "ATTRIBUTES", "pkcs11", cfg!(feature = "pkcs11")),
    ("ssh-agent", "NAME", "unix", cfg!(unix)),
    ("awsssm", "NAME", "tough-aws", cfg!(feature = "tough-aws")),
    ("tough-awskms", "KEY", "tough-aws", cfg!(feature = "tough-aws")),
];

/// The forms of a [`KeyUri`] that this build opens, for messages and help.
pub fn supported() -> String {
    let mut forms = "file:PATH, env:NAME, pub:PATH, awskms:KEY, exec:PATH".to_owned();
    for (scheme, rest, _, built) in OPTIONAL {
        if built {
            forms.push_str(&format!(", {scheme}:{rest}"));
        }
    }
    forms
}

/// Characters of a URI scheme, at most; longer text before a colon belongs to a path.
const MAX_SCHEME: usize = 20;

/// Where a key is. Paths are not empty and hold no control characters; variable names are those a shell can set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyUri {
    /// A PEM file: private, or public where a public key is enough.
    File(PathBuf),
    /// An environment variable that holds a PEM private key.
    Env(String),
    /// A PEM file that must hold a public key.
    Public(PathBuf),
    /// A key in the AWS key service.
    Kms(KmsKey),
    /// A program that signs.
    Exec(PathBuf),
    /// A key in an ssh agent.
    #[cfg(unix)]
    Agent(AgentKey),
    /// A key file of tuftool, read by the tough library.
    #[cfg(feature = "tough-keys")]
    Tough(PathBuf),
    /// A key that a key source of tough finds in AWS.
    #[cfg(feature = "tough-aws")]
    ToughAws(ToughAws),
    /// A key on a security token.
    #[cfg(feature = "pkcs11")]
    Token(Box<TokenUri>),
}

impl KeyUri {
    /// Reads a URI from a place where others may have written, such as the settings of a repository.
    ///
    /// # Errors
    /// [`KeyError::NamesCode`] if opening the key would run code that the URI names: only whoever runs the program may
    /// say which.
    pub fn untrusted(text: &str) -> Result<Self, KeyError> {
        let uri = Self::from_str(text)?;
        if uri.runs_code() { Err(KeyError::NamesCode { uri }) } else { Ok(uri) }
    }

    fn runs_code(&self) -> bool {
        match self {
            Self::Exec(_) => true,
            #[cfg(feature = "pkcs11")]
            Self::Token(token) => token.names_module(),
            _ => false,
        }
    }

    /// The same key without the code that the URI names, where it can be found without.
    pub fn without_code(&self) -> Self {
        match self {
            #[cfg(feature = "pkcs11")]
            Self::Token(token) => Self::Token(Box::new(token.without_module())),
            other => other.clone(),
        }
    }
}

impl FromStr for KeyUri {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) {
            None => path("file", text).map(Self::File),
            Some(("file", rest)) => path("file", rest).map(Self::File),
            Some(("pub", rest)) => path("pub", rest).map(Self::Public),
            #[cfg(feature = "tough-keys")]
            Some(("tough", rest)) => path("tough", rest).map(Self::Tough),
            #[cfg(feature = "tough-aws")]
            Some(("awsssm", rest)) => rest.parse().map(ToughAws::Ssm).map(Self::ToughAws),
            #[cfg(feature = "tough-aws")]
            Some(("tough-awskms", rest)) => rest.parse().map(ToughAws::Kms).map(Self::ToughAws),
            #[cfg(feature = "pkcs11")]
            Some(("pkcs11", rest)) => rest.parse().map(Box::new).map(Self::Token),
            Some(("exec", rest)) => path("exec", rest).map(Self::Exec),
            #[cfg(unix)]
            Some(("ssh-agent", rest)) => rest.parse().map(Self::Agent),
            Some(("awskms", rest)) => rest.parse().map(Self::Kms),
            Some(("env", rest)) => variable("env", rest).map(Self::Env),
            Some((scheme, _)) => Err(unknown(scheme)),
        }
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Public(path) => write!(f, "pub:{}", path.display()),
            Self::Kms(key) => write!(f, "awskms:{}", key.as_str()),
            Self::Exec(path) => write!(f, "exec:{}", path.display()),
            #[cfg(unix)]
            Self::Agent(key) => write!(f, "ssh-agent:{}", key.as_str()),
            #[cfg(feature = "tough-keys")]
            Self::Tough(path) => write!(f, "tough:{}", path.display()),
            #[cfg(feature = "tough-aws")]
            Self::ToughAws(source) => source.fmt(f),
            #[cfg(feature = "pkcs11")]
            Self::Token(token) => write!(f, "pkcs11:{}", token.text()),
        }
    }
}

/// RFC 3986 section 3.1, in lower case, and two letters at least: `C:` is a drive.
fn is_scheme(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    (2..=MAX_SCHEME).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(allowed)
}

fn unknown(scheme: &str) -> KeyError {
    match OPTIONAL.into_iter().find(|(known, ..)| *known == scheme) {
        Some((scheme, _, feature, _)) => KeyError::NotBuilt { scheme, feature },
        None => KeyError::UnknownScheme { scheme: scheme.to_owned() },
    }
}

pub(super) fn path(scheme: &'static str, text: &str) -> Result<PathBuf, KeyError> {
    let refused = |reason| Err(KeyError::BadUri { scheme, reason });
    if text.is_empty() {
        return refused("the path is empty");
    }
    if text.contains("-----") {
        return refused("this is a key, not the name of one");
    }
    if text.chars().any(char::is_control) {
        return refused("the path has control characters");
    }
    Ok(PathBuf::from(text))
}

pub(super) fn variable(scheme: &'static str, name: &str) -> Result<String, KeyError> {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return Ok(name.to_owned());
    }
    Err(KeyError::BadUri { scheme, reason: "not the name of an environment variable" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_reads_back_as_written_and_a_bare_path_is_a_file() {
        for text in [
            "file:a/b.pem",
            "file:/a:b",
            "file:awskms:x",
            "env:ROOT_KEY_1",
            "pub:k.pem",
            "awskms:alias/a",
            "exec:./sign",
        ] {
            assert_eq!(text.parse::<KeyUri>().unwrap().to_string(), text);
        }
        for path in ["root.pem", "./a:b", "C:\\keys\\root.pem", "/x/awskms:y", "Upper:z"] {
            assert_eq!(path.parse(), Ok(KeyUri::File(path.into())));
        }
    }

    #[cfg(feature = "tough-keys")]
    #[test]
    fn tough_keys_have_their_own_scheme() {
        assert_eq!("tough:k.der".parse(), Ok(KeyUri::Tough("k.der".into())));
    }

    #[test]
    fn an_unknown_scheme_is_refused_and_the_known_ones_are_named() {
        for scheme in ["azurekms", "gcpkms", "https"] {
            let refused = format!("{scheme}:key").parse::<KeyUri>().unwrap_err();
            assert_eq!(refused, KeyError::UnknownScheme { scheme: scheme.into() });
            assert!(
                refused.to_string().contains("expected one of file:PATH, env:NAME, pub:PATH"),
                "{refused}"
            );
        }
    }

    #[cfg(feature = "pkcs11")]
    #[test]
    fn a_uri_that_names_code_is_known_as_such() {
        let uri = |text: &str| text.parse::<KeyUri>().unwrap();
        let named = uri("pkcs11:object=a?module-path=/x.so");
        assert_eq!(KeyUri::untrusted(&named.to_string()), Err(KeyError::NamesCode { uri: named.clone() }));
        assert_eq!(named.without_code(), uri("pkcs11:object=a"));
        for text in ["pkcs11:object=a", "file:a"] {
            assert_eq!(KeyUri::untrusted(text), Ok(uri(text)));
        }
        assert_eq!(KeyUri::untrusted("exec:/x"), Err(KeyError::NamesCode { uri: uri("exec:/x") }));
        assert_eq!(uri("a").without_code(), uri("file:a"));
    }

    #[cfg(not(feature = "tough-aws"))]
    #[test]
    fn a_scheme_that_was_left_out_is_named_as_such() {
        let refused = "awsssm:/keys/root".parse::<KeyUri>().unwrap_err();
        assert_eq!(refused, KeyError::NotBuilt { scheme: "awsssm", feature: "tough-aws" });
    }

    #[test]
    fn a_key_pasted_as_a_name_is_refused_and_not_repeated() {
        let pem = include_str!("fixtures/worthless-ed25519.pem");
        let secret = pem.lines().nth(1).unwrap();
        for text in [
            pem.to_owned(),
            format!("file:{pem}"),
            format!("env:{pem}"),
            format!("env:{secret}"),
            String::new(),
        ] {
            let refused = text.parse::<KeyUri>().unwrap_err();
            assert!(matches!(refused, KeyError::BadUri { .. }), "{refused}");
            assert!(!format!("{refused} {refused:?}").contains(secret));
        }
    }
}
