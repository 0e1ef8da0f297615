//! Keys in AWS by the key sources that tough's makers publish: `awsssm:` and the name of a parameter (tough-ssm), and
//! `tough-awskms:` and a key (tough-kms: RSA alone, and the AWS SDK instead of `awskms:`).
//!
//! A key in the parameter store is read into this process, as from a file: DER is of no use there, PEM of RSA alone is read.
//! Credentials, region and endpoint are those of the AWS SDK.

use std::str::FromStr;

use tough_kms::{KmsKeySource, KmsSigningAlgorithm};
use tough_ssm::SsmKeySource;

use super::{KeyError, KeyUri, ToughSigner};

/// Characters of a name, at most: what the parameter store allows.
const MAX_NAME: usize = 2_048;

/// A key that a source of tough finds in AWS. Names hold letters, digits and `:/_-.` alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ToughAws {
    /// A parameter of the parameter store.
    Ssm(Name),
    /// A key of the key service.
    Kms(Name),
}

/// A name as AWS knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl FromStr for Name {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '_' | '-' | '.');
        if text.is_empty() || text.len() > MAX_NAME || text.contains("-----") || !text.chars().all(allowed) {
            return Err(KeyError::BadUri { scheme: "AWS", reason: "not the name of a parameter or a key" });
        }
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for ToughAws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ssm(name) => write!(f, "awsssm:{}", name.0),
            Self::Kms(name) => write!(f, "tough-awskms:{}", name.0),
        }
    }
}

pub(super) async fn open(uri: &KeyUri, source: &ToughAws) -> Result<ToughSigner, KeyError> {
    // Another part of the program may have installed the same provider before; then that one stays.
    drop(rustls::crypto::ring::default_provider().install_default());
    match source {
        ToughAws::Ssm(name) => {
            let source = SsmKeySource { profile: None, parameter_name: name.0.clone(), key_id: None };
            ToughSigner::from_key_source(&uri.to_string(), &source).await
        }
        ToughAws::Kms(name) => {
            let source = KmsKeySource {
                profile: None,
                key_id: name.0.clone(),
                client: None,
                signing_algorithm: KmsSigningAlgorithm::RsassaPssSha256,
            };
            ToughSigner::from_key_source(&uri.to_string(), &source).await
        }
    }
}
