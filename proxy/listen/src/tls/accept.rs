//! The handshake.

use tokio::io::AsyncWriteExt;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Certificates, Selected, info};
use crate::accept::Failed;
use crate::application::HandshakeFailure;
use crate::client::TlsInfo;
use crate::stream::{ClientStream, Socket};

/// A plaintext record with a fatal `unrecognized_name` (RFC 8446 §5.1 and §6, RFC 6066 §3): before the ServerHello alerts are plain.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Does the handshake with the configuration that `certificates` choose.
pub(crate) async fn accept(
    socket: Socket,
    certificates: &dyn Certificates,
    http2: bool,
) -> Result<(ClientStream, TlsInfo), Failed> {
    let failed = |error: std::io::Error| Failed::new(HandshakeFailure::Tls, error.to_string());
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket)
        .await
        .map_err(failed)?;
    let sni = start
        .client_hello()
        .server_name()
        .map(str::to_ascii_lowercase);
    let Some(Selected { config, site }) = certificates.select(sni.as_deref(), http2) else {
        let mut socket = start.io;
        // The client may be gone, which is as well.
        let _ = socket.write_all(&UNRECOGNIZED_NAME).await;
        let _ = socket.shutdown().await;
        return Err(Failed::new(
            HandshakeFailure::UnknownName,
            sni.unwrap_or_else(|| "no server name".to_owned()),
        ));
    };
    let stream: TlsStream<Socket> = start.into_stream(config).await.map_err(failed)?;
    let info = info::read(stream.get_ref().1, sni, site);
    Ok((ClientStream::Tls(Box::new(stream)), info))
}
