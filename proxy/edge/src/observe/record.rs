//! What one request leaves behind, and how it reads as one line of JSON.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::json::Object;
use super::labels::{
    CacheResult, Label as _, OriginResult, Protocol, Refusal, StatusClass, TlsVersion,
};
use super::request_id::RequestId;
use super::stamp;
use super::trace::{SpanId, TraceId};

/// The value of [`AccessRecord::error`] when the client left before its response was whole: the one error that is nobody's failure
/// here, and that RFC 9209 has no name for.
pub const CLIENT_GONE: &str = "client_gone";

/// Everything one request leaves behind. It borrows from the request and is written when the request has ended; what does not apply stays at
/// its default and is left out of the line. docs/logs.md explains every key.
#[derive(Debug, Clone)]
pub struct AccessRecord<'a> {
    /// When the first byte of the request arrived.
    pub time: SystemTime,
    /// The request's id.
    pub request_id: RequestId,
    /// The trace the request belongs to.
    pub trace_id: TraceId,
    /// This node's span in it.
    pub span_id: SpanId,
    /// The point of presence.
    pub pop: &'a str,
    /// The node.
    pub node: &'a str,
    /// The site's id; empty where no site has the host.
    pub site: &'a str,
    /// The client's address, as the PROXY header or a trusted forwarder says it.
    pub client: Option<IpAddr>,
    /// The client's port.
    pub client_port: u16,
    /// The client's protocol.
    pub protocol: Protocol,
    /// The client's TLS session; `None` for plain text.
    pub tls: Option<TlsRecord<'a>>,
    /// The method, as sent.
    pub method: &'a [u8],
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host or `:authority`, as sent.
    pub host: &'a [u8],
    /// Path and query, as sent.
    pub path: &'a [u8],
    /// The status sent to the client; 0 when none was sent.
    pub status: u16,
    /// What the cache did.
    pub cache: CacheResult,
    /// This node's member of Cache-Status (RFC 9211).
    pub cache_status: &'a str,
    /// Whether the request waited for, or read from, a fill that another one began.
    pub collapsed: bool,
    /// The response's age when it was served (RFC 9111 §4.2.3).
    pub age: Option<Duration>,
    /// Seconds for which the response was still fresh; negative when stale.
    pub ttl: Option<i64>,
    /// Bytes of the request's body.
    pub body_in: u64,
    /// Bytes of the request, head and framing included.
    pub bytes_in: u64,
    /// Bytes of the response's body that were sent.
    pub body_out: u64,
    /// Bytes of the response that were sent, head and framing included.
    pub bytes_out: u64,
    /// From the request's first byte to the response's last.
    pub duration: Duration,
    /// From the request's first byte to the response's first; `None` when none was sent.
    pub first_byte: Option<Duration>,
    /// The origin's part; `None` when no origin was asked.
    pub origin: Option<OriginRecord<'a>>,
    /// The error type of RFC 9209 §2.3, for example `connection_timeout`, or [`CLIENT_GONE`]; empty without error.
    pub error: &'a str,
    /// What went wrong, for people.
    pub error_detail: &'a [u8],
    /// Why the request was refused before it reached the cache.
    pub refused: Option<Refusal>,
    /// The Referer field.
    pub referer: &'a [u8],
    /// The User-Agent field.
    pub user_agent: &'a [u8],
}

/// The client's TLS session.
#[derive(Debug, Clone)]
pub struct TlsRecord<'a> {
    /// The version.
    pub version: TlsVersion,
    /// The cipher suite's IANA name.
    pub cipher: &'a str,
    /// The server name the client asked for; empty when it sent none.
    pub sni: &'a [u8],
    /// Whether the session was resumed.
    pub resumed: bool,
}

/// The origin's part in a request: its last try.
#[derive(Debug, Clone)]
pub struct OriginRecord<'a> {
    /// The server's URL from the site's document.
    pub server: &'a str,
    /// The address that was tried last.
    pub address: Option<SocketAddr>,
    /// The origin's status; 0 when none came.
    pub status: u16,
    /// How the last try ended.
    pub result: OriginResult,
    /// From the request's first byte to the beginning of the last try.
    pub started: Duration,
    /// Time to connect (TCP); `None` on a kept connection.
    pub connect: Option<Duration>,
    /// Time for the TLS handshake; `None` on a kept or plain connection.
    pub tls: Option<Duration>,
    /// From the beginning of the try to the response's first byte.
    pub first_byte: Option<Duration>,
    /// From the beginning of the try to its end.
    pub total: Duration,
    /// Tries before the last one.
    pub retries: u32,
    /// Whether a kept connection was used.
    pub reused: bool,
    /// Bytes received from the origin in all tries.
    pub bytes_in: u64,
    /// Bytes sent to the origin in all tries.
    pub bytes_out: u64,
}

impl Default for AccessRecord<'_> {
    fn default() -> Self {
        Self {
            time: UNIX_EPOCH,
            request_id: RequestId::default(),
            trace_id: TraceId::default(),
            span_id: SpanId::default(),
            pop: "",
            node: "",
            site: "",
            client: None,
            client_port: 0,
            protocol: Protocol::Http11,
            tls: None,
            method: b"",
            scheme: "",
            host: b"",
            path: b"",
            status: 0,
            cache: CacheResult::None,
            cache_status: "",
            collapsed: false,
            age: None,
            ttl: None,
            body_in: 0,
            bytes_in: 0,
            body_out: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            first_byte: None,
            origin: None,
            error: "",
            error_detail: b"",
            refused: None,
            referer: b"",
            user_agent: b"",
        }
    }
}

impl Default for OriginRecord<'_> {
    fn default() -> Self {
        Self {
            server: "",
            address: None,
            status: 0,
            result: OriginResult::Ok,
            started: Duration::ZERO,
            connect: None,
            tls: None,
            first_byte: None,
            total: Duration::ZERO,
            retries: 0,
            reused: false,
            bytes_in: 0,
            bytes_out: 0,
        }
    }
}

impl AccessRecord<'_> {
    /// Appends the record to `out` as one JSON object, without a line end. Nothing is allocated but what `out` grows by; no byte of the
    /// result is a line feed, whatever the client sent.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.word("time", &stamp::rfc3339(self.time));
        object.word("request_id", self.request_id.as_str().as_bytes());
        if self.trace_id.is_set() {
            object.word("trace_id", &self.trace_id.hex());
        }
        if self.span_id.is_set() {
            object.word("span_id", &self.span_id.hex());
        }
        object.text("pop", self.pop.as_bytes());
        object.text("node", self.node.as_bytes());
        object.text("site", self.site.as_bytes());
        if let Some(client) = self.client {
            object.display("client", client);
            if self.client_port != 0 {
                object.number("client_port", u64::from(self.client_port));
            }
        }
        object.word("protocol", self.protocol.as_str().as_bytes());
        if let Some(tls) = &self.tls {
            object.word("tls_version", tls.version.as_str().as_bytes());
            object.text("tls_cipher", tls.cipher.as_bytes());
            object.text("tls_sni", tls.sni);
            object.flag("tls_resumed", tls.resumed);
        }
        object.text("method", self.method);
        object.text("scheme", self.scheme.as_bytes());
        object.text("host", self.host);
        object.text("path", self.path);
        object.number("status", u64::from(self.status));
        object.word("cache", self.cache.as_str().as_bytes());
        object.text("cache_status", self.cache_status.as_bytes());
        object.flag("collapsed", self.collapsed);
        if let Some(age) = self.age {
            object.number("age", age.as_secs());
        }
        if let Some(ttl) = self.ttl {
            object.signed("ttl", ttl);
        }
        object.number("body_in", self.body_in);
        object.number("bytes_in", self.bytes_in);
        object.number("body_out", self.body_out);
        object.number("bytes_out", self.bytes_out);
        object.seconds("duration", self.duration);
        if let Some(first_byte) = self.first_byte {
            object.seconds("first_byte", first_byte);
        }
        if let Some(origin) = &self.origin {
            origin.write_json(&mut object);
        }
        object.text("error", self.error.as_bytes());
        object.text("error_detail", self.error_detail);
        if let Some(refused) = self.refused {
            object.word("refused", refused.as_str().as_bytes());
        }
        object.text("referer", self.referer);
        object.text("user_agent", self.user_agent);
        object.end();
    }

    /// The class of the status sent.
    pub fn status_class(&self) -> StatusClass {
        StatusClass::of(self.status)
    }
}

impl OriginRecord<'_> {
    fn write_json(&self, object: &mut Object<'_>) {
        object.text("origin_server", self.server.as_bytes());
        if let Some(address) = self.address {
            object.display("origin_address", address);
        }
        if self.status != 0 {
            object.number("origin_status", u64::from(self.status));
        }
        object.word("origin_result", self.result.as_str().as_bytes());
        object.seconds("origin_started", self.started);
        if let Some(connect) = self.connect {
            object.seconds("origin_connect", connect);
        }
        if let Some(tls) = self.tls {
            object.seconds("origin_tls", tls);
        }
        if let Some(first_byte) = self.first_byte {
            object.seconds("origin_first_byte", first_byte);
        }
        object.seconds("origin_duration", self.total);
        if self.retries != 0 {
            object.number("origin_retries", u64::from(self.retries));
        }
        object.flag("origin_reused", self.reused);
        object.number("origin_bytes_in", self.bytes_in);
        object.number("origin_bytes_out", self.bytes_out);
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
pub(super) mod tests;
