//! Certificates, keys and CAs from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use super::provider;

/// Why a certificate, key or CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not PEM.
    #[error("{}: not PEM: {detail}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file has no certificate.
    #[error("{}: no certificate in it (\"-----BEGIN CERTIFICATE-----\")", .0.display())]
    NoCertificate(PathBuf),
    /// The file has no private key.
    #[error("{}: no private key in it (\"-----BEGIN PRIVATE KEY-----\"; encrypted keys are not supported)", .0.display())]
    NoKey(PathBuf),
    /// The key is of a kind that TLS here does not use.
    #[error("{}: unusable private key: {detail}; use ECDSA P-256 or P-384, Ed25519, or RSA of at least 2048 bits", path.display())]
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        detail: String,
    },
    /// A certificate is not one.
    #[error("{}: unusable certificate: {detail}", path.display())]
    UnusableCertificate {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        detail: String,
    },
    /// Certificate and key belong to different pairs.
    #[error("{}: the key does not match the certificate in {}; the certificate that belongs to the key comes first in its file", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// Reads a certificate chain, leaf first, and its private key.
///
/// # Errors
/// [`CertificateError`] names the file and what is wrong with it, a key of another certificate included.
pub fn load_certified_key(
    certificate: &Path,
    key: &Path,
) -> Result<Arc<CertifiedKey>, CertificateError> {
    let chain = certificates(certificate)?;
    let pem = read(key)?;
    let private = match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(private) => private,
        Err(PemError::NoItemsFound) => return Err(CertificateError::NoKey(key.to_owned())),
        Err(error) => {
            return Err(CertificateError::Pem {
                path: key.to_owned(),
                detail: error.to_string(),
            });
        }
    };
    let signer = provider()
        .key_provider
        .load_private_key(private)
        .map_err(|error| CertificateError::UnusableKey {
            path: key.to_owned(),
            detail: error.to_string(),
        })?;
    let pair = CertifiedKey::new(chain, signer);
    match pair.keys_match() {
        Ok(()) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(CertificateError::Mismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            })
        }
        Err(error) => Err(CertificateError::UnusableCertificate {
            path: certificate.to_owned(),
            detail: error.to_string(),
        }),
    }
}

/// Reads the CAs that client certificates are verified against.
///
/// # Errors
/// [`CertificateError`] names the file and what is wrong with it.
pub fn load_roots(path: &Path) -> Result<Arc<RootCertStore>, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| CertificateError::UnusableCertificate {
                path: path.to_owned(),
                detail: error.to_string(),
            })?;
    }
    Ok(Arc::new(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::Pem {
            path: path.to_owned(),
            detail: error.to_string(),
        })?;
    if chain.is_empty() {
        Err(CertificateError::NoCertificate(path.to_owned()))
    } else {
        Ok(chain)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Read {
        path: path.to_owned(),
        source,
    })
}
