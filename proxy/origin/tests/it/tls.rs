//! TLS to origins: whom we trust, who we are, and what goes wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anypop_origin::{ErrorKind, FetchError, Identity, Pool, PoolSettings, TlsSettings, Trust};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fake::{client, network, settings, text};

/// An authority made for one test.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) key_pem: String,
    der: Vec<u8>,
    key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::from_pem(self.issuer.pem().as_bytes()).unwrap()
    }

    pub(crate) fn leaf(&self, name: &str) -> Leaf {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().to_vec(),
            key: key.serialize_der(),
        }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }
}

/// What the server says about itself: protocols by ALPN, and whose client certificates it wants.
pub(crate) fn server_config(
    leaf: &Leaf,
    alpn: &[&str],
    clients: Option<&Authority>,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(clients.roots(), provider)
                .build()
                .unwrap(),
        ),
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.key.clone()));
    let chain = vec![leaf.der.clone().into()];
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// An HTTP/1.1 origin over TLS, that answers with the server name it was asked for.
async fn origin(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(config);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let name = stream
                    .get_ref()
                    .1
                    .server_name()
                    .unwrap_or("none")
                    .to_owned();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let length = name.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

fn over_tls(port: u16, tls: TlsSettings) -> PoolSettings {
    let mut settings = settings(&[format!("https://origin.example:{port}")]);
    settings.tls = tls;
    settings
}

async fn ask(settings: PoolSettings) -> Result<String, FetchError> {
    let network = network(&[("origin.example", "127.0.0.1")]);
    text(&client(), &Pool::new(settings, network)).await
}

#[tokio::test]
async fn a_servers_certificate_is_verified_against_the_sites_authority() {
    let authority = Authority::new();
    let port = origin(server_config(&authority.leaf("origin.example"), &[], None))
        .await
        .port();
    let trusting = TlsSettings {
        trust: Some(authority.trust()),
        ..TlsSettings::default()
    };
    assert_eq!(
        ask(over_tls(port, trusting.clone())).await.unwrap(),
        "origin.example"
    );
    // The system's authorities do not know it.
    let error = ask(over_tls(port, TlsSettings::default()))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::TlsCertificateError, "{error}");
    // Nor does another authority.
    let other = TlsSettings {
        trust: Some(Authority::new().trust()),
        ..TlsSettings::default()
    };
    let error = ask(over_tls(port, other)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TlsCertificateError, "{error}");
    // Another name than the certificate's.
    let misnamed = TlsSettings {
        sni: Some("other.example".to_owned()),
        ..trusting.clone()
    };
    let error = ask(over_tls(port, misnamed)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TlsCertificateError, "{error}");
    // Not verified, if the site says so.
    let lax = TlsSettings {
        verify: false,
        sni: Some("other.example".to_owned()),
        ..TlsSettings::default()
    };
    assert_eq!(ask(over_tls(port, lax)).await.unwrap(), "other.example");
}

#[tokio::test]
async fn the_name_in_sni_can_be_another_than_the_urls() {
    let authority = Authority::new();
    let address = origin(server_config(&authority.leaf("inner.example"), &[], None)).await;
    let mut settings = settings(&[format!("https://{address}")]);
    settings.tls = TlsSettings {
        sni: Some("inner.example".to_owned()),
        trust: Some(authority.trust()),
        ..TlsSettings::default()
    };
    assert_eq!(ask(settings.clone()).await.unwrap(), "inner.example");
    // The handshake is measured.
    let pool = Pool::new(settings, network(&[]));
    let response = crate::fake::get(&client(), &pool).await.unwrap();
    assert!(response.timings.tls > Duration::ZERO);
    assert!(response.timings.connect > Duration::ZERO);
}

#[tokio::test]
async fn a_literal_is_verified_by_its_address() {
    let authority = Authority::new();
    let address = origin(server_config(&authority.leaf("127.0.0.1"), &[], None)).await;
    let mut settings = settings(&[format!("https://{address}")]);
    settings.tls.trust = Some(authority.trust());
    assert_eq!(ask(settings).await.unwrap(), "none");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let authority = Authority::new();
    let clients = Authority::new();
    let leaf = authority.leaf("origin.example");
    let port = origin(server_config(&leaf, &[], Some(&clients)))
        .await
        .port();
    let ours = clients.leaf("edge.example");
    let identity = Identity::from_pem(ours.pem.as_bytes(), ours.key_pem.as_bytes()).unwrap();
    let tls = TlsSettings {
        trust: Some(authority.trust()),
        identity: Some(identity),
        ..TlsSettings::default()
    };
    assert_eq!(
        ask(over_tls(port, tls.clone())).await.unwrap(),
        "origin.example"
    );
    let without = TlsSettings {
        identity: None,
        ..tls
    };
    let error = ask(over_tls(port, without)).await.unwrap_err();
    // TLS 1.3 tells the client after its own handshake has ended, so that it shows as an end of
    // the connection as well.
    assert!(
        matches!(
            error.kind,
            ErrorKind::TlsAlertReceived | ErrorKind::ConnectionTerminated
        ),
        "{error}"
    );
}

#[tokio::test]
async fn what_does_not_speak_tls_is_a_protocol_error() {
    let origin = crate::fake::Origin::start(|mut conn, _| async move {
        conn.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        conn.request().await;
    })
    .await;
    let error = ask(over_tls(origin.address.port(), TlsSettings::default())).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TlsProtocolError, "{error}");
}
