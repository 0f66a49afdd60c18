//! An HTTP/2 request as strictly as one of HTTP/1 (RFC 9113 §8).
//!
//! The `h2` crate has checked what is malformed in HTTP/2's own terms: pseudo-header fields, letter case, `te`, and that the body is as
//! long as `content-length` says. Here the request gets the form that one of HTTP/1 has: target in origin form, one `Host`.

use std::sync::Arc;

use bytes::BytesMut;
use http::uri::{Parts as UriParts, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, request};
use pingora_http::RequestHeader;

use crate::client::ClientInfo;
use crate::head::{AuthorityRef, Refusal, content_length, is_field_value, is_target, is_token};
use crate::settings::Limits;

/// What the session has to know of a request beside its header.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) request: RequestHeader,
    pub(super) expects_continue: bool,
}

/// Checks a request and turns it into the header that the pipeline works on. `no_body` says that its stream is already closed by the client.
pub(super) fn check(
    mut parts: request::Parts,
    no_body: bool,
    client: &Arc<ClientInfo>,
    limits: &Limits,
) -> Result<Checked, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Refusal::new(405, "CONNECT is not served"));
    }
    if !matches!(parts.uri.scheme_str(), Some("http" | "https")) {
        return Err(Refusal::bad("no known scheme"));
    }
    let path = path(&parts.method, &parts.uri, limits)?;
    fields(&parts.headers, limits)?;
    let authority = authority(&parts)?;
    let length = single(
        &parts.headers,
        header::CONTENT_LENGTH,
        "more than one Content-Length",
    )?;
    if let Some(length) = length
        && content_length(length.as_bytes())? > 0
        && no_body
    {
        return Err(Refusal::bad("Content-Length without a body"));
    }
    let expects_continue = match single(&parts.headers, header::EXPECT, "more than one Expect")? {
        None => false,
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => !no_body,
        Some(_) => return Err(Refusal::new(417, "unknown expectation")),
    };

    let host = HeaderValue::from_str(&authority).map_err(|_| Refusal::bad("Host is not a host"))?;
    let known = AuthorityRef::parse(authority.as_bytes()).map(AuthorityRef::to_owned);
    parts.headers.insert(header::HOST, host);
    join_cookies(&mut parts.headers);
    let mut uri = UriParts::default();
    uri.path_and_query = Some(path);
    parts.uri =
        Uri::from_parts(uri).map_err(|_| Refusal::bad("character in the request target"))?;
    parts.version = Version::HTTP_2;
    parts.extensions.insert(Arc::clone(client));
    if let Some(known) = known {
        parts.extensions.insert(known);
    }
    Ok(Checked {
        request: RequestHeader::from(parts),
        expects_continue,
    })
}

fn path(method: &Method, uri: &Uri, limits: &Limits) -> Result<PathAndQuery, Refusal> {
    let path = uri.path_and_query().ok_or(Refusal::bad("no path"))?;
    let text = path.as_str();
    if text.len() > limits.uri_bytes {
        return Err(Refusal::new(414, "request target too long"));
    }
    if !is_target(text.as_bytes()) {
        return Err(Refusal::bad("character in the request target"));
    }
    if path.path().contains('\\') {
        return Err(Refusal::bad("backslash in the path"));
    }
    let known_form = text.starts_with('/') || (text == "*" && method == Method::OPTIONS);
    if !known_form {
        return Err(Refusal::bad("request target has no known form"));
    }
    Ok(path.clone())
}

fn fields(headers: &HeaderMap, limits: &Limits) -> Result<(), Refusal> {
    if headers.len() > limits.header_count {
        return Err(Refusal::new(431, "too many fields"));
    }
    // RFC 9113 §8.2.2; `te` has been checked below.
    const CONNECTION_SPECIFIC: [header::HeaderName; 3] = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    if CONNECTION_SPECIFIC
        .iter()
        .any(|name| headers.contains_key(name))
        || headers.contains_key("keep-alive")
        || headers.contains_key("proxy-connection")
    {
        return Err(Refusal::bad("connection-specific field"));
    }
    if headers
        .get_all(header::TE)
        .iter()
        .any(|value| value != "trailers")
    {
        return Err(Refusal::bad("te other than trailers"));
    }
    for (name, value) in headers {
        let value = value.as_bytes();
        if !is_token(name.as_str().as_bytes()) {
            return Err(Refusal::bad("field name is no token"));
        }
        // Trimmed by HTTP/1, kept by HTTP/2: refused (RFC 9113 §8.2.1).
        let edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if !is_field_value(value) || edge(value.first()) || edge(value.last()) {
            return Err(Refusal::bad(
                "control character or outer white space in a field value",
            ));
        }
    }
    Ok(())
}

/// The host, from `:authority` or `Host`; with both, they have to be the same (RFC 9113 §8.3.1).
fn authority(parts: &request::Parts) -> Result<String, Refusal> {
    let host = single(&parts.headers, header::HOST, "more than one Host")?;
    let host = match host {
        Some(host) => {
            Some(AuthorityRef::parse(host.as_bytes()).ok_or(Refusal::bad("Host is not a host"))?)
        }
        None => None,
    };
    let target = match parts.uri.authority() {
        Some(authority) => Some(
            AuthorityRef::parse(authority.as_str().as_bytes())
                .ok_or(Refusal::bad(":authority is not a host"))?,
        ),
        None => None,
    };
    let authority = match (target, host) {
        (Some(target), Some(host)) if !target.same(host) => {
            return Err(Refusal::bad("Host is not :authority"));
        }
        (Some(one), _) | (None, Some(one)) => one,
        (None, None) => return Err(Refusal::bad("no Host")),
    };
    Ok(match authority.port {
        Some(port) => format!("{}:{port}", authority.host),
        None => authority.host.to_owned(),
    })
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: header::HeaderName,
    repeated: &'static str,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        Err(Refusal::bad(repeated))
    } else {
        Ok(first)
    }
}

/// Cookie pairs may come in fields of their own; everybody else wants one field (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let Some(first) = cookies.next() else { return };
    let mut joined = BytesMut::from(first.as_bytes());
    let mut more = false;
    for cookie in cookies {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
        more = true;
    }
    // Each part is a field value, and so is their sum.
    if more && let Ok(value) = HeaderValue::from_maybe_shared(joined.freeze()) {
        headers.insert(header::COOKIE, value);
    }
}
