//! TLS over real sockets: names, versions, resumption, client certificates; and PROXY headers in front of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{Node, PATIENCE, loopback, start_with};
use anypop_listen::tls::{
    CertificateStore, Certificates, ClientAuth, MinVersion, SiteTls, TicketKeys,
    load_certified_key, load_roots,
};
use anypop_listen::{Limits, ListenSettings};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A CA, files of its certificates, and clients that trust it.
struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn leaf(&self, names: &[&str], subject: &str) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn site(&self, site: &str, names: &[&str], client_auth: ClientAuth) -> SiteTls {
        let (certificate, key) = self.leaf(
            &names
                .iter()
                .copied()
                .filter(|name| *name != "*")
                .collect::<Vec<_>>(),
            site,
        );
        let (certificate_file, key_file) = (
            self.path(&format!("{site}.pem")),
            self.path(&format!("{site}.key")),
        );
        std::fs::write(&certificate_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        SiteTls {
            site: site.into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            key: load_certified_key(&certificate_file, &key_file).unwrap(),
            client_auth,
        }
    }

    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        subject: Option<&str>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        match subject {
            None => builder.with_no_client_auth(),
            Some(subject) => {
                let (certificate, key) = self.leaf(&["client.example"], subject);
                let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
                builder
                    .with_client_auth_cert(
                        chain,
                        PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
                    )
                    .unwrap()
            }
        }
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

fn tls() -> ListenSettings {
    ListenSettings {
        tls: true,
        ..loopback()
    }
}

fn keys() -> Option<Arc<TicketKeys>> {
    Some(Arc::new(TicketKeys::random(Instant::now()).unwrap()))
}

fn store(sites: Vec<SiteTls>, default: Option<&str>) -> Arc<CertificateStore> {
    let store = CertificateStore::new(MinVersion::Tls12, keys()).unwrap();
    store.replace(sites, default).unwrap();
    Arc::new(store)
}

async fn node(store: Arc<CertificateStore>) -> Node {
    start_with(tls(), Limits::default(), store).await
}

async fn connect(
    node: &Node,
    config: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = node.connect().await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    timeout(
        PATIENCE,
        TlsConnector::from(Arc::clone(config)).connect(name, stream),
    )
    .await
    .expect("a handshake in time")
}

/// What the application sees of the client.
async fn seen(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream
        .write_all(b"GET /client HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("an answer in time")?;
    Ok(String::from_utf8(answer).unwrap())
}

async fn visit(node: &Node, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<String> {
    seen(&mut connect(node, config, name).await?).await
}

#[tokio::test]
async fn certificates_by_name() {
    let ca = Ca::new();
    let sites = vec![
        ca.site(
            "shop",
            &["www.shop.example", "*.img.shop.example"],
            ClientAuth::None,
        ),
        ca.site("exact", &["a.img.shop.example"], ClientAuth::None),
    ];
    let mut node = node(store(sites, Some("shop"))).await;
    let config = Arc::new(ca.client(BOTH, None));
    for (name, common_name) in [
        ("www.shop.example", "shop"),
        ("b.img.shop.example", "shop"),
        ("a.img.shop.example", "exact"),
    ] {
        let mut stream = connect(&node, &config, name).await.unwrap();
        let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        assert_eq!(
            leaf.subject().to_string(),
            format!("CN={common_name}"),
            "{name}"
        );
        let answer = seen(&mut stream).await.unwrap();
        assert!(
            answer.contains(&format!("tls=TLSv1.3 sni={name} "))
                && answer.contains("group=X25519MLKEM768"),
            "{answer}"
        );
    }
    for name in ["unknown.example", "shop.example", "a.b.img.shop.example"] {
        let error = connect(&node, &config, name).await.unwrap_err();
        assert!(
            error.to_string().contains("UnrecognizedName")
                || error.to_string().contains("UnrecognisedName"),
            "{error}"
        );
        assert_eq!(
            node.event("handshake").await,
            format!("handshake: UnknownName: {name}")
        );
    }
    // No name: the default site's certificate, whose names do not fit the address.
    let error = connect(&node, &config, "127.0.0.1").await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn no_name_and_no_default_is_refused() {
    let ca = Ca::new();
    let mut node = node(store(
        vec![ca.site("shop", &["shop.example"], ClientAuth::None)],
        None,
    ))
    .await;
    let config = Arc::new(ca.client(BOTH, None));
    connect(&node, &config, "127.0.0.1").await.unwrap_err();
    assert_eq!(
        node.event("handshake").await,
        "handshake: UnknownName: no server name"
    );
}

#[tokio::test]
async fn certificates_are_replaced_while_connections_live() {
    let ca = Ca::new();
    let store = store(vec![ca.site("one", &["a.example"], ClientAuth::None)], None);
    let node = node(Arc::clone(&store)).await;
    let config = Arc::new(ca.client(BOTH, None));
    let mut before = connect(&node, &config, "a.example").await.unwrap();
    store
        .replace(vec![ca.site("two", &["b.example"], ClientAuth::None)], None)
        .unwrap();
    assert!(seen(&mut before).await.unwrap().contains("200 OK"));
    connect(&node, &config, "a.example").await.unwrap_err();
    visit(&node, &config, "b.example").await.unwrap();
}

#[tokio::test]
async fn versions() {
    let ca = Ca::new();
    let site = ca.site("a", &["a.example"], ClientAuth::None);
    let old = Arc::new(ca.client(&[&version::TLS12], None));
    let node_both = node(store(vec![site.clone()], None)).await;
    assert!(
        visit(&node_both, &old, "a.example")
            .await
            .unwrap()
            .contains("tls=TLSv1.2")
    );
    let strict = CertificateStore::new(MinVersion::Tls13, None).unwrap();
    strict.replace(vec![site], None).unwrap();
    let node_strict = node(Arc::new(strict)).await;
    connect(&node_strict, &old, "a.example").await.unwrap_err();
}

#[tokio::test]
async fn protocols() {
    let ca = Ca::new();
    let store = store(vec![ca.site("a", &["a.example"], ClientAuth::None)], None);
    let node_h2 = node(Arc::clone(&store)).await;
    let mut config = ca.client(BOTH, None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let stream = connect(&node_h2, &config, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://a.example/client")
        .body(())
        .unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    let mut body = timeout(PATIENCE, response)
        .await
        .unwrap()
        .unwrap()
        .into_body();
    let text = body.data().await.unwrap().unwrap();
    assert!(
        String::from_utf8_lossy(&text).contains(" H2 tls=TLSv1.3 sni=a.example "),
        "{text:?}"
    );

    let node_h1 = start_with(
        ListenSettings {
            http2: false,
            ..tls()
        },
        Limits::default(),
        store,
    )
    .await;
    let stream = connect(&node_h1, &config, "a.example").await.unwrap();
    assert_eq!(
        stream.get_ref().1.alpn_protocol(),
        Some(b"http/1.1".as_slice())
    );
}

#[tokio::test]
async fn sessions_are_resumed_by_every_node_that_has_the_keys() {
    let ca = Ca::new();
    let file = ca.path("tickets.keys");
    std::fs::write(&file, format!("a:{}\n", "5a".repeat(32))).unwrap();
    let site = ca.site("a", &["a.example"], ClientAuth::None);
    let other_site = ca.site("b", &["b.example"], ClientAuth::None);
    let shared = || {
        let store = CertificateStore::new(
            MinVersion::Tls12,
            Some(Arc::new(TicketKeys::from_file(&file).unwrap())),
        )
        .unwrap();
        store
            .replace(vec![site.clone(), other_site.clone()], None)
            .unwrap();
        Arc::new(store)
    };
    let (one, two) = (node(shared()).await, node(shared()).await);
    let stranger = node(store(vec![site.clone()], None)).await;
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        let config = Arc::new(ca.client(versions, None));
        assert!(
            visit(&one, &config, "a.example")
                .await
                .unwrap()
                .contains("resumed=false")
        );
        assert!(
            visit(&one, &config, "a.example")
                .await
                .unwrap()
                .contains("resumed=true")
        );
        assert!(
            visit(&two, &config, "a.example")
                .await
                .unwrap()
                .contains("resumed=true")
        );
        assert!(
            visit(&two, &config, "b.example")
                .await
                .unwrap()
                .contains("resumed=false")
        );
        assert!(
            visit(&stranger, &config, "a.example")
                .await
                .unwrap()
                .contains("resumed=false")
        );
    }
}

#[tokio::test]
async fn client_certificates() {
    let (ca, other_ca) = (Ca::new(), Ca::new());
    let roots = load_roots(&ca.path("ca.pem")).unwrap();
    let sites = vec![
        ca.site(
            "strict",
            &["strict.example"],
            ClientAuth::Required(Arc::clone(&roots)),
        ),
        ca.site("lax", &["lax.example"], ClientAuth::Optional(roots)),
    ];
    let node = node(store(sites, None)).await;
    let with = Arc::new(ca.client(BOTH, Some("alice")));
    let without = Arc::new(ca.client(BOTH, None));
    // Trusts the servers, and has a certificate of another CA.
    let mut stranger = ca.client(BOTH, None);
    let from_other = other_ca.client(BOTH, Some("mallory"));
    stranger.client_auth_cert_resolver = from_other.client_auth_cert_resolver;
    let stranger = Arc::new(stranger);

    for _ in 0..2 {
        let answer = visit(&node, &with, "strict.example").await.unwrap();
        assert!(
            answer.contains("subject=CN=alice resumed=false"),
            "{answer}"
        );
    }
    visit(&node, &without, "strict.example").await.unwrap_err();
    visit(&node, &stranger, "strict.example").await.unwrap_err();
    assert!(
        visit(&node, &with, "lax.example")
            .await
            .unwrap()
            .contains("subject=CN=alice")
    );
    assert!(
        visit(&node, &without, "lax.example")
            .await
            .unwrap()
            .contains("subject=- ")
    );
    visit(&node, &stranger, "lax.example").await.unwrap_err();
}

#[tokio::test]
async fn a_ticket_from_before_a_site_asked_for_certificates_is_worth_nothing() {
    let ca = Ca::new();
    let open = ca.site("a", &["a.example"], ClientAuth::None);
    let store = store(vec![open.clone()], None);
    let node = node(Arc::clone(&store)).await;
    let config = Arc::new(ca.client(BOTH, None));
    visit(&node, &config, "a.example").await.unwrap();
    assert!(
        visit(&node, &config, "a.example")
            .await
            .unwrap()
            .contains("resumed=true")
    );
    let roots = load_roots(&ca.path("ca.pem")).unwrap();
    store
        .replace(
            vec![SiteTls {
                client_auth: ClientAuth::Required(roots),
                ..open
            }],
            None,
        )
        .unwrap();
    visit(&node, &config, "a.example").await.unwrap_err();
}

#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let ca = Ca::new();
    let limits = Limits {
        tls_handshake: Duration::from_millis(200),
        ..Limits::default()
    };
    let store = store(vec![ca.site("a", &["a.example"], ClientAuth::None)], None);
    let mut node = start_with(tls(), limits, store).await;
    let mut stream = node.connect().await;
    stream.write_all(&[22, 3, 1]).await.unwrap();
    assert_eq!(
        node.event("handshake").await,
        "handshake: Timeout: no whole TLS handshake in time"
    );
    // And what is no handshake at all.
    let mut stream = node.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(
        node.event("handshake")
            .await
            .starts_with("handshake: Tls: ")
    );
}

#[tokio::test]
async fn proxy_headers_come_before_tls() {
    let ca = Ca::new();
    let store = store(vec![ca.site("a", &["a.example"], ClientAuth::None)], None);
    let settings = ListenSettings {
        proxy_protocol: vec!["127.0.0.0/8".parse().unwrap()],
        ..tls()
    };
    let mut node = start_with(settings, Limits::default(), store).await;
    let config = Arc::new(ca.client(BOTH, None));
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend_from_slice(&[192, 0, 2, 1, 203, 0, 113, 10, 0x30, 0x39, 0x01, 0xbb]);
    for header in [
        b"PROXY TCP4 192.0.2.1 203.0.113.10 12345 443\r\n".as_slice(),
        &v2,
    ] {
        let mut stream = node.connect().await;
        stream.write_all(header).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let mut stream = timeout(
            PATIENCE,
            TlsConnector::from(Arc::clone(&config)).connect(name, stream),
        )
        .await
        .unwrap()
        .unwrap();
        let answer = seen(&mut stream).await.unwrap();
        assert!(
            answer.contains("192.0.2.1:12345 203.0.113.10:443 "),
            "{answer}"
        );
    }
    connect(&node, &config, "a.example").await.unwrap_err();
    assert!(
        node.event("handshake")
            .await
            .starts_with("handshake: ProxyProtocol: no PROXY header")
    );
}

#[tokio::test]
async fn proxy_headers_on_plain_connections() {
    let settings = ListenSettings {
        proxy_protocol: vec!["127.0.0.0/8".parse().unwrap()],
        ..loopback()
    };
    let limits = Limits {
        connections_per_client: 1,
        tls_handshake: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut node = start_with(settings, limits, Arc::new(crate::common::NoCertificates)).await;
    let request = "GET /client HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = node
        .exchange(format!(
            "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n{request}"
        ))
        .await;
    assert!(
        answer.contains("[2001:db8::1]:1 [2001:db8::2]:2 "),
        "{answer}"
    );
    // A request that came with the header, and is longer than the buffers on the way.
    let long = format!(
        "PROXY TCP4 192.0.2.7 192.0.2.9 1 2\r\nGET /client HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n",
        "y".repeat(9000)
    );
    assert!(node.exchange(long).await.contains("192.0.2.7:1 "));
    // Health checks of the balancer come from itself.
    let answer = node.exchange(format!("PROXY UNKNOWN\r\n{request}")).await;
    assert!(answer.contains("\r\n\r\n127.0.0.1:"), "{answer}");
    // Limits count clients, not balancers.
    let mut held = node.connect().await;
    held.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    crate::common::read_until(&mut held, "hello").await;
    assert_eq!(
        node.exchange(format!("PROXY TCP4 192.0.2.1 192.0.2.9 3 4\r\n{request}"))
            .await,
        ""
    );
    assert_eq!(node.event("refused").await, "refused: PerClient");
    assert!(
        node.exchange(format!("PROXY TCP4 192.0.2.2 192.0.2.9 3 4\r\n{request}"))
            .await
            .contains("200 OK")
    );
    // Required, whole, and in time.
    assert_eq!(node.exchange(request).await, "");
    assert_eq!(
        node.event("handshake").await,
        "handshake: ProxyProtocol: no PROXY header"
    );
    assert_eq!(node.exchange("PROXY TCP4 1").await, "");
    assert_eq!(
        node.event("handshake").await,
        "handshake: ProxyProtocol: no whole PROXY header in time"
    );
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let ca = Ca::new();
    let site = |name: &str| {
        let _ = ca.site(name, &["a.example"], ClientAuth::None);
        (
            ca.path(&format!("{name}.pem")),
            ca.path(&format!("{name}.key")),
        )
    };
    let ((one, one_key), (_, two_key)) = (site("one"), site("two"));
    let error = |certificate: &Path, key: &Path| {
        load_certified_key(certificate, key)
            .unwrap_err()
            .to_string()
    };
    assert!(error(&one, &two_key).contains("does not match the certificate in"));
    assert!(error(&one, &one).contains("no private key in it"));
    assert!(error(&one_key, &one_key).contains("no certificate in it"));
    assert!(error(Path::new("/nowhere.pem"), &one_key).starts_with("/nowhere.pem: "));
    std::fs::write(
        ca.path("bad.pem"),
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert!(error(&ca.path("bad.pem"), &one_key).contains("not PEM"));
    std::fs::write(
        ca.path("odd.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert!(error(&ca.path("odd.pem"), &one_key).contains("unusable certificate"));
    assert!(
        load_roots(&one_key)
            .unwrap_err()
            .to_string()
            .contains("no certificate in it")
    );
}

#[test]
fn names_belong_to_one_site() {
    let ca = Ca::new();
    let store = CertificateStore::new(MinVersion::Tls12, None).unwrap();
    let one = ca.site("one", &["a.example", "*.example"], ClientAuth::None);
    let two = ca.site("two", &["A.example"], ClientAuth::None);
    let error = store.replace(vec![one.clone(), two], None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sites \"one\" and \"two\" both have the name \"a.example\""
    );
    assert!(store.select(Some("a.example"), true).is_none());
    assert!(
        store
            .replace(vec![one.clone()], Some("three"))
            .unwrap_err()
            .to_string()
            .contains("three")
    );
    let any = ca.site("any", &["*"], ClientAuth::None);
    store.replace(vec![one, any], None).unwrap();
    let site = |name: Option<&str>| store.select(name, true).unwrap().site;
    assert_eq!(&*site(Some("b.example")), "one");
    assert_eq!(&*site(Some("b.c.example")), "any");
    assert_eq!(&*site(None), "any");
}
