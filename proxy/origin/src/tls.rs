//! The TLS side of a site's origin: whom to trust, who to be.
//!
//! Everything is checked when it is loaded: Pingora parses certificates anew for every connection
//! and panics on what it cannot read.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::catch_unwind;
use std::sync::Arc;

use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A certificate or key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// No certificate between `-----BEGIN CERTIFICATE-----` and its end.
    #[error("there is no PEM certificate in it")]
    NoCertificate,
    /// A certificate that does not parse.
    #[error("certificate {number} in it cannot be read: {reason}")]
    Certificate {
        /// Which one, from 1.
        number: usize,
        /// Why.
        reason: String,
    },
    /// No private key, or one that does not parse.
    #[error("there is no usable PEM private key in it: {0}")]
    Key(String),
    /// The key is not the certificate's.
    #[error("the private key does not belong to the certificate: {0}")]
    Mismatch(String),
}

/// The authorities that a server's certificate may come from, instead of the system's.
#[derive(Clone)]
pub struct Trust {
    authorities: Arc<[WrappedX509]>,
    der: Arc<[Vec<u8>]>,
}

impl Trust {
    /// Reads one or more PEM certificates.
    ///
    /// # Errors
    /// None in it, or one that cannot be an authority.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let der = certificates(pem)?;
        let mut store = RootCertStore::empty();
        for (at, certificate) in der.iter().enumerate() {
            store
                .add(CertificateDer::from(certificate.as_slice()))
                .map_err(|error| TlsError::Certificate {
                    number: at + 1,
                    reason: error.to_string(),
                })?;
        }
        let authorities = wrap(&der)?;
        Ok(Self {
            authorities: authorities.into(),
            der: der.into(),
        })
    }

    pub(crate) fn authorities(&self) -> &Arc<[WrappedX509]> {
        &self.authorities
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Trust {}

impl Hash for Trust {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.der.hash(state);
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} authorities)", self.der.len())
    }
}

/// A client certificate with its key, shown to origins that ask for one.
#[derive(Clone)]
pub struct Identity {
    pair: Arc<CertKey>,
    der: Arc<(Vec<Vec<u8>>, Vec<u8>)>,
}

impl Identity {
    /// Reads a PEM chain, the client's certificate first, and its PEM key.
    ///
    /// # Errors
    /// Either is missing or does not parse, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| TlsError::Key(e.to_string()))?;
        wrap(&chain)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let ders = chain.iter().map(|der| CertificateDer::from(der.clone()));
        CertifiedKey::from_der(ders.collect(), key.clone_key(), &provider)
            .map_err(|error| TlsError::Mismatch(error.to_string()))?;
        let key = key.secret_der().to_vec();
        Ok(Self {
            pair: Arc::new(CertKey::new(chain.clone(), key.clone())),
            der: Arc::new((chain, key)),
        })
    }

    pub(crate) fn pair(&self) -> &Arc<CertKey> {
        &self.pair
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.der.hash(state);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.der.0.len())
    }
}

/// How is TLS spoken to a site's servers?
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// The name in SNI, that the certificate must have. None: the host of the server's URL.
    pub sni: Option<String>,
    /// Is the server's certificate verified?
    pub verify: bool,
    /// Who may have signed it? None: the system's authorities.
    pub trust: Option<Trust>,
    /// The client certificate, if any.
    pub identity: Option<Identity>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            sni: None,
            verify: true,
            trust: None,
            identity: None,
        }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, TlsError> {
    let mut found = Vec::new();
    for (at, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let certificate = certificate.map_err(|error| TlsError::Certificate {
            number: at + 1,
            reason: error.to_string(),
        })?;
        found.push(certificate.to_vec());
    }
    if found.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    Ok(found)
}

/// Pingora's own parser accepts less than webpki and panics on the rest, so that it is asked here,
/// where a panic can be caught and told.
fn wrap(der: &[Vec<u8>]) -> Result<Vec<WrappedX509>, TlsError> {
    der.iter()
        .enumerate()
        .map(|(at, one)| {
            let one = one.clone();
            catch_unwind(|| WrappedX509::new(one, parse_x509)).map_err(|_| TlsError::Certificate {
                number: at + 1,
                reason: "it is not an X.509 certificate that the TLS client can read".to_owned(),
            })
        })
        .collect()
}
