//! Where requests go: `http://127.0.0.1:8080/path` or `https://…`.

#![expect(
    clippy::disallowed_types,
    reason = "one thread takes this Mutex, and poison is passed over: no dependency for that"
)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme};

/// One URL of one server.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether by TLS.
    pub tls: bool,
    /// Path and query.
    pub path: String,
    /// The name asked for by SNI.
    pub name: String,
    /// `Host`: the name with the port, as wrk and h2load send it, so that all ask for the same object.
    pub host: String,
}

impl Target {
    /// Reads a URL whose host is an IP address with a port.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(url: &str, name: &str) -> Result<Self, String> {
        let (tls, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(format!("{url}: begins with neither http:// nor https://"));
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let address: SocketAddr = authority
            .parse()
            .map_err(|_| format!("{authority}: not an IP address and a port"))?;
        Ok(Self {
            address,
            tls,
            path: path.to_owned(),
            name: name.to_owned(),
            host: format!("{name}:{}", address.port()),
        })
    }

    /// The head of a GET for this target, or for `path` in its place.
    #[must_use]
    pub fn request(&self, path: &str, fields: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", self.host).into_bytes()
    }
}

/// A TLS client that speaks 1.3 only, as all peers do.
///
/// # Errors
/// The provider lacks TLS 1.3: cannot happen with ring.
pub fn tls_client(alpn: &[u8], resume: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = if resume {
        Resumption::store(Arc::new(Tickets::default()))
    } else {
        Resumption::disabled()
    };
    Ok(Arc::new(config))
}

/// Every TLS 1.3 ticket that came, to be used once, the oldest first.
///
/// The store that comes with rustls keeps eight for each name: too few for connections made side by side.
#[derive(Debug, Default)]
struct Tickets(Mutex<VecDeque<Tls13ClientSessionValue>>);

const TICKETS: usize = 4096;

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _server_name: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server_name: &ServerName<'_>) -> Option<NamedGroup> {
        // X25519 comes first without a hint, and all peers take it.
        None
    }

    fn set_tls12_session(&self, _name: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server_name: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() < TICKETS {
            tickets.push_back(value);
        }
    }

    fn take_tls13_ticket(&self, _name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

/// Trusts whatever it is shown: the servers are the benchmark's own, on loopback.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn urls() {
        let target = Target::parse("https://127.0.0.1:8443/a?b", "bench.test").unwrap();
        assert!(target.tls);
        assert_eq!(target.address.port(), 8443);
        assert_eq!(target.path, "/a?b");
        assert_eq!(
            (target.name.as_str(), target.host.as_str()),
            ("bench.test", "bench.test:8443")
        );
        assert_eq!(Target::parse("http://127.0.0.1:1", "h").unwrap().path, "/");
        assert!(Target::parse("http://localhost:1/", "h").is_err());
        assert!(Target::parse("ftp://127.0.0.1:1/", "h").is_err());
    }
}
