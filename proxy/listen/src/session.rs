//! What the sessions of HTTP/1 and HTTP/2 have in common.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{Digest, SocketDigest, TimingDigest};
use pingora_http::RequestHeader;

use crate::client::ClientInfo;
use crate::stream::ClientStream;

/// Pingora's side channel of custom protocols, which HTTP does not have.
pub(crate) type MessageReader = Box<
    dyn futures_core::Stream<Item = pingora_error::Result<Bytes>> + Unpin + Send + Sync + 'static,
>;

/// How much of a request body is kept for a retry; the same as Pingora's own sessions keep.
const RETRY_BYTES: usize = 64 * 1024;

/// A copy of the request body for another try at another origin server.
#[derive(Debug, Default)]
pub(crate) struct RetryBuffer {
    enabled: bool,
    bytes: BytesMut,
    truncated: bool,
}

impl RetryBuffer {
    pub(crate) fn enable(&mut self) {
        self.enabled = true;
    }

    pub(crate) fn add(&mut self, piece: &[u8]) {
        if !self.enabled || self.truncated {
            return;
        }
        if self.bytes.len().saturating_add(piece.len()) > RETRY_BYTES {
            self.truncated = true;
            self.bytes = BytesMut::new();
        } else {
            self.bytes.extend_from_slice(piece);
        }
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// What was kept, if it is everything and more than nothing.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        (!self.truncated && !self.bytes.is_empty()).then(|| self.bytes.clone().freeze())
    }
}

/// A connection's addresses and TLS parameters in Pingora's terms.
pub(crate) fn digest(client: &ClientInfo, stream: &ClientStream) -> Arc<Digest> {
    use std::os::fd::AsRawFd;
    let socket = SocketDigest::from_raw_fd(stream.socket().tcp().as_raw_fd());
    // New cells, so both are free.
    let _ = socket.peer_addr.set(Some(SocketAddr::Inet(client.peer)));
    let _ = socket.local_addr.set(Some(SocketAddr::Inet(client.local)));
    let tls = client.tls.as_ref().map(|tls| {
        let certificate = tls.client_certificate.as_ref();
        let sha256 = certificate
            .map(|certificate| certificate.sha256.to_vec())
            .unwrap_or_default();
        Arc::new(SslDigest::new(
            Cow::Owned(tls.cipher.clone()),
            Cow::Borrowed(tls.version),
            None,
            None,
            sha256,
        ))
    });
    Arc::new(Digest {
        ssl_digest: tls,
        timing_digest: vec![Some(TimingDigest {
            established_ts: std::time::SystemTime::now(),
            ..TimingDigest::default()
        })],
        proxy_digest: None,
        socket_digest: Some(Arc::new(socket)),
    })
}

/// The request as an HTTP/1.1 head; Pingora parses it again for subrequests.
pub(crate) fn raw_head(request: &RequestHeader) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    out.put_slice(request.method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(request.raw_path());
    out.put_slice(b" HTTP/1.1\r\n");
    request.header_to_h1_wire(&mut out);
    out.put_slice(b"\r\n");
    out.freeze()
}

/// "GET /path, Host: example.com", for logs.
pub(crate) fn summary(request: &RequestHeader) -> String {
    format!(
        "{} {}, Host: {}",
        request.method,
        String::from_utf8_lossy(request.raw_path()),
        request
            .headers
            .get(header::HOST)
            .map_or(Cow::Borrowed(""), |host| String::from_utf8_lossy(
                host.as_bytes()
            ))
    )
}
