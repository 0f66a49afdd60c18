//! Spans, and the JSON form of OTLP's `ExportTraceServiceRequest` (opentelemetry-proto 1.x, "JSON Protobuf Encoding").
//!
//! The message is small and frozen. Written here it costs a hundred lines; the `opentelemetry` crates would bring their own pipeline of
//! globals, an HTTP client or gRPC, and a second copy of much that the edge already does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::labels::{Label as _, OriginResult, Protocol};
use super::record::{AccessRecord, CLIENT_GONE, OriginRecord};
use super::trace::{SpanId, Trace};

/// The most bytes of one text in a span. The whole of it is in the access log.
const TEXT_LIMIT: usize = 4096;

/// One span, ready to be sent.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<Box<str>>,
    name: String,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Debug, Clone, Serialize)]
struct Status {
    code: u8,
    message: String,
}

#[derive(Debug, Clone, Serialize)]
struct Attribute {
    key: &'static str,
    value: Value,
}

#[derive(Debug, Clone, Serialize)]
enum Value {
    #[serde(rename = "stringValue")]
    Text(String),
    /// 64-bit numbers are strings in protobuf's JSON.
    #[serde(rename = "intValue")]
    Number(String),
    #[serde(rename = "boolValue")]
    Flag(bool),
}

const KIND_SERVER: u8 = 2;
const KIND_CLIENT: u8 = 3;
const STATUS_ERROR: u8 = 2;

/// Who sends the spans.
#[derive(Debug, Clone, Default)]
pub struct Resource {
    /// The program's version.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// The point of presence.
    pub pop: String,
}

/// The body of one export.
pub(super) fn encode(resource: &Resource, spans: &[Span]) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Request<'a> {
        resource_spans: [ResourceSpans<'a>; 1],
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ResourceSpans<'a> {
        resource: Attributes,
        scope_spans: [ScopeSpans<'a>; 1],
    }
    #[derive(Serialize)]
    struct Attributes {
        attributes: Vec<Attribute>,
    }
    #[derive(Serialize)]
    struct ScopeSpans<'a> {
        scope: Scope<'a>,
        spans: &'a [Span],
    }
    #[derive(Serialize)]
    struct Scope<'a> {
        name: &'static str,
        version: &'a str,
    }

    let mut attributes = Fields::default();
    attributes.text("service.name", "anypop");
    attributes.text("service.version", &resource.version);
    attributes.text("service.instance.id", &resource.node);
    attributes.text("anypop.pop", &resource.pop);
    serde_json::to_vec(&Request {
        resource_spans: [ResourceSpans {
            resource: Attributes {
                attributes: attributes.0,
            },
            scope_spans: [ScopeSpans {
                scope: Scope {
                    name: "anypop",
                    version: &resource.version,
                },
                spans,
            }],
        }],
    })
}

/// The span of the request as served here (semantic conventions for HTTP servers, 1.x).
pub(super) fn server_span(record: &AccessRecord<'_>, trace: &Trace) -> Span {
    let mut fields = Fields::default();
    fields.method(record.method);
    fields.text("url.scheme", record.scheme);
    let (path, query) = split_once(record.path, b'?');
    fields.bytes("url.path", path);
    fields.bytes("url.query", query);
    let (host, port) = host_and_port(record.host);
    fields.bytes("server.address", host);
    if let Some(port) = port {
        fields.number("server.port", port);
    }
    if let Some(client) = record.client {
        fields.text("client.address", &client.to_string());
        if record.client_port != 0 {
            fields.number("client.port", record.client_port);
        }
    }
    fields.text("network.protocol.name", "http");
    fields.text(
        "network.protocol.version",
        match record.protocol {
            Protocol::Http10 => "1.0",
            Protocol::Http11 => "1.1",
            Protocol::Http2 => "2",
        },
    );
    if let Some(tls) = &record.tls {
        fields.text("tls.protocol.version", tls.version.as_str());
        fields.flag("tls.resumed", tls.resumed);
    }
    if record.status != 0 {
        fields.number("http.response.status_code", record.status);
    }
    fields.number("http.request.body.size", record.body_in);
    fields.number("http.response.body.size", record.body_out);
    fields.bytes("user_agent.original", record.user_agent);
    fields.text("anypop.site", record.site);
    fields.text("anypop.request_id", record.request_id.as_str());
    fields.text("anypop.cache", record.cache.as_str());
    fields.text("anypop.cache_status", record.cache_status);
    fields.flag("anypop.collapsed", record.collapsed);

    // Only the server's own failures are errors of a server span, among them a response that broke off after its head (its status
    // looks well). A refused request and a client that left are none.
    let broke_off = record.status < 400 && !record.error.is_empty() && record.error != CLIENT_GONE;
    let failed = record.status >= 500 || broke_off;
    fields.error(failed, record.error, record.status);
    let status = failed.then(|| Status {
        code: STATUS_ERROR,
        message: lossy(record.error_detail),
    });
    let ends = record
        .time
        .checked_add(record.duration)
        .unwrap_or(record.time);
    Span {
        kind: KIND_SERVER,
        attributes: fields.0,
        status,
        ..span(
            record,
            trace,
            trace.span_id,
            trace.parent,
            (record.time, ends),
        )
    }
}

/// The span of the last try at the origin (semantic conventions for HTTP clients, 1.x).
pub(super) fn origin_span(
    record: &AccessRecord<'_>,
    origin: &OriginRecord<'_>,
    trace: &Trace,
) -> Span {
    let mut fields = Fields::default();
    fields.method(record.method);
    let uri: Option<http::Uri> = origin.server.parse().ok();
    if let Some(uri) = &uri {
        fields.text("server.address", uri.host().unwrap_or_default());
        let default = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        fields.number("server.port", uri.port_u16().unwrap_or(default));
    }
    fields.text(
        "url.full",
        &format!(
            "{}{}",
            origin.server.trim_end_matches('/'),
            lossy(record.path)
        ),
    );
    if let Some(address) = origin.address {
        fields.text("network.peer.address", &address.ip().to_string());
        fields.number("network.peer.port", address.port());
    }
    if origin.status != 0 {
        fields.number("http.response.status_code", origin.status);
    }
    if origin.retries != 0 {
        fields.number("http.request.resend_count", origin.retries);
    }
    fields.flag("anypop.origin.reused", origin.reused);
    let failed = origin.result != OriginResult::Ok;
    let kind = if origin.status == 0 {
        origin.result.as_str()
    } else {
        ""
    };
    fields.error(failed, kind, origin.status);
    let status = failed.then(|| Status {
        code: STATUS_ERROR,
        message: origin.result.as_str().to_owned(),
    });
    let starts = record
        .time
        .checked_add(origin.started)
        .unwrap_or(record.time);
    let ends = starts.checked_add(origin.total).unwrap_or(starts);
    Span {
        kind: KIND_CLIENT,
        attributes: fields.0,
        status,
        ..span(
            record,
            trace,
            trace.origin_span_id,
            Some(trace.span_id),
            (starts, ends),
        )
    }
}

fn span(
    record: &AccessRecord<'_>,
    trace: &Trace,
    id: SpanId,
    parent: Option<SpanId>,
    (starts, ends): (SystemTime, SystemTime),
) -> Span {
    Span {
        trace_id: trace.trace_id.to_string(),
        span_id: id.to_string(),
        parent_span_id: parent.map(|parent| parent.to_string()),
        trace_state: trace.tracestate().map(Into::into),
        // A span's name is bounded; a path is not, and routes are the origin's business.
        name: known_method(record.method).unwrap_or("HTTP").to_owned(),
        kind: KIND_SERVER,
        start_time_unix_nano: nanos(starts),
        end_time_unix_nano: nanos(ends),
        attributes: Vec::new(),
        status: None,
    }
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_nanos()
        .to_string()
}

/// The methods that semantic conventions know; all others become `_OTHER`.
fn known_method(method: &[u8]) -> Option<&'static str> {
    [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY",
    ]
    .into_iter()
    .find(|known| known.as_bytes() == method)
}

fn split_once(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|&byte| byte == at) {
        Some(place) => (&bytes[..place], &bytes[place + 1..]),
        None => (bytes, b""),
    }
}

/// Splits `host:port`; an IPv6 address keeps its colons and loses its brackets.
fn host_and_port(authority: &[u8]) -> (&[u8], Option<u16>) {
    let (host, port) = match authority.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !authority[colon..].contains(&b']') => {
            let port = std::str::from_utf8(&authority[colon + 1..])
                .ok()
                .and_then(|port| port.parse().ok());
            (&authority[..colon], port)
        }
        _ => (authority, None),
    };
    let bare = host
        .strip_prefix(b"[")
        .and_then(|host| host.strip_suffix(b"]"))
        .unwrap_or(host);
    (bare, port)
}

fn lossy(bytes: &[u8]) -> String {
    let shown = bytes.get(..TEXT_LIMIT).unwrap_or(bytes);
    String::from_utf8_lossy(shown).into_owned()
}

/// Attributes being gathered; empty texts are left out.
#[derive(Default)]
struct Fields(Vec<Attribute>);

impl Fields {
    fn text(&mut self, key: &'static str, value: &str) {
        self.bytes(key, value.as_bytes());
    }

    fn bytes(&mut self, key: &'static str, value: &[u8]) {
        if !value.is_empty() {
            self.0.push(Attribute {
                key,
                value: Value::Text(lossy(value)),
            });
        }
    }

    fn number(&mut self, key: &'static str, value: impl Into<u64>) {
        self.0.push(Attribute {
            key,
            value: Value::Number(value.into().to_string()),
        });
    }

    fn flag(&mut self, key: &'static str, value: bool) {
        self.0.push(Attribute {
            key,
            value: Value::Flag(value),
        });
    }

    fn method(&mut self, method: &[u8]) {
        match known_method(method) {
            Some(known) => self.text("http.request.method", known),
            None => {
                self.text("http.request.method", "_OTHER");
                self.bytes("http.request.method_original", method);
            }
        }
    }

    /// `error.type`: the kind of error, or else the status.
    fn error(&mut self, failed: bool, kind: &str, status: u16) {
        if failed && kind.is_empty() {
            self.text("error.type", &status.to_string());
        } else if failed {
            self.text("error.type", kind);
        }
    }
}

#[cfg(test)]
#[path = "otlp_json_tests.rs"]
mod tests;
