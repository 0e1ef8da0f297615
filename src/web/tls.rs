//! TLS with a certificate and key from files. The files are read again on [`Tls::reload`], so that a renewed certificate needs
//! no restart; connections that stand keep theirs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be spoken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TlsError {
    /// A file that cannot be read, or holds something else.
    #[error("{file}: {reason}")]
    File {
        /// Which file.
        file: String,
        /// What is wrong. Never what is in it.
        reason: String,
    },
    /// Certificate and key that do not belong together, or are of no use.
    #[error("{certificate} and {key}: {reason}")]
    Pair {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    now: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// From PEM files: the chain of certificates, the server's own first, and its private key (PKCS#8, PKCS#1 or SEC1).
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let now = RwLock::new(read(certificate, key)?);
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), now })
    }

    /// Reads both files again. If that fails, what was read before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = read(&self.certificate, &self.key)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let shown = |path: &Path| path.display().to_string();
    let bad = |file: &Path, reason: &dyn std::fmt::Display| TlsError::File {
        file: shown(file),
        reason: reason.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> = chain.map_err(|error| bad(certificate, &error))?;
    if chain.is_empty() {
        return Err(bad(certificate, &"it holds no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
    let pair = |error: rustls::Error| TlsError::Pair {
        certificate: shown(certificate),
        key: shown(key),
        reason: error.to_string(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(pair)?.with_no_client_auth().with_single_cert(chain, private);
    let mut config = config.map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
