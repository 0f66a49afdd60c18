//! Probes by HTTP and HTTPS against a server that does, and does not, what it should.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::{net::SocketAddr, sync::Arc};

use anypop_bgp::{document::Document, probe::HttpProbe};
use axum::{Router, http::HeaderMap, routing::get};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// A probe as a document has it.
fn probe(lines: &str) -> HttpProbe {
    let text = format!(
        "[agent]\nasn = 64512\nrouter_id = \"192.0.2.2\"\n[[vip]]\nprefix = \"127.0.0.1/32\"\n[[vip.check]]\n{lines}"
    );
    let document = Document::unchecked(&text).unwrap();
    HttpProbe::new(&document.vip[0].check[0]).unwrap()
}

async fn web() -> SocketAddr {
    let router = Router::new()
        .route("/ok", get(|| async { "all is well" }))
        .route(
            "/host",
            get(|headers: HeaderMap| async move {
                headers["host"].to_str().unwrap_or_default().to_owned()
            }),
        )
        .route("/endless", get(|| async { vec![b'x'; 1 << 20] }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

#[tokio::test]
async fn status_and_body_must_be_as_configured() {
    let at = web().await;
    let run = async |lines: String| probe(&lines).run().await;
    assert_eq!(run(format!("url = \"http://{at}/ok\"")).await, Ok(()));
    let seen = run(format!("url = \"http://{at}/missing\"")).await;
    assert_eq!(seen, Err("status 404".to_owned()));
    let expected = format!("url = \"http://{at}/missing\"\nstatus = [200, 404]");
    assert_eq!(run(expected).await, Ok(()));
    let body = |path: &str, body: &str| format!("url = \"http://{at}/{path}\"\nbody = \"{body}\"");
    assert_eq!(run(body("ok", "is well")).await, Ok(()));
    assert!(run(body("ok", "is lost")).await.is_err());
    assert!(run(body("endless", "y")).await.is_err());
    assert_eq!(run(body("host", &at.to_string())).await, Ok(()));
    let named = format!("{}\nhost = \"shop.example\"", body("host", "shop.example"));
    assert_eq!(run(named).await, Ok(()));
    // Nobody listens there any more.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let seen = run(format!("url = \"http://{closed}/\""))
        .await
        .unwrap_err();
    assert!(seen.starts_with("connect:"), "{seen}");
}

#[tokio::test]
async fn certificates_are_verified_unless_told_not_to() {
    let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("ca.pem");
    std::fs::write(&pem, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that refuses the certificate ends the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await;
            let _ = stream.shutdown().await;
        }
    });
    let url = format!("url = \"https://{at}/\"");
    let run = async |more: &str| probe(&format!("{url}\n{more}")).run().await;
    assert_eq!(run("verify = false").await, Ok(()));
    let ca = format!("ca_file = {:?}", pem.to_str().unwrap());
    assert_eq!(run(&format!("{ca}\nhost = \"shop.example\"")).await, Ok(()));
    let seen = run(&format!("{ca}\nhost = \"other.example\""))
        .await
        .unwrap_err();
    assert!(seen.starts_with("TLS:"), "{seen}");
    assert!(run(&ca).await.is_err(), "the certificate is for no address");
}
