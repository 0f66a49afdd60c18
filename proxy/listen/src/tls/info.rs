//! What a handshake settled, for requests and logs.

use std::sync::Arc;

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::client::{ClientCertificate, TlsInfo};

pub(super) fn read(connection: &ServerConnection, sni: Option<String>, site: Arc<str>) -> TlsInfo {
    TlsInfo {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "unknown",
        },
        cipher: connection
            .negotiated_cipher_suite()
            .map_or_else(String::new, |suite| {
                // rustls writes "TLS13_AES_128_GCM_SHA256"; the registry's name has no version.
                let name = format!("{:?}", suite.suite());
                match name.strip_prefix("TLS13_") {
                    Some(rest) => format!("TLS_{rest}"),
                    None => name,
                }
            }),
        key_exchange: connection
            .negotiated_key_exchange_group()
            .map(|group| format!("{:?}", group.name())),
        sni,
        site: Some(site),
        alpn: connection
            .alpn_protocol()
            .map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
        client_certificate: connection
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|der| certificate(der.as_ref())),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}

fn certificate(der: &[u8]) -> ClientCertificate {
    let subject = X509Certificate::from_der(der).map_or_else(
        |_| String::new(),
        |(_, certificate)| certificate.subject().to_string(),
    );
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref());
    ClientCertificate {
        der: der.to_vec(),
        subject,
        sha256,
    }
}
