//! Is a response head one that has a single meaning?
//!
//! Pingora's parser is lenient, and removes a Content-Length beside a Transfer-Encoding without a
//! word. A response that two parsers could end at different bytes must not get into the cache.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Version};
use pingora_core::protocols::http::client::HttpSession;

use crate::error::{ErrorKind, FetchError};

/// The largest response head, in bytes. For HTTP/2: names and values, and 32 for each field.
pub const MAX_HEAD_BYTES: usize = 64 << 10;
/// The most fields of a response head.
pub const MAX_HEAD_FIELDS: usize = 200;

/// A final or informational response head.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
}

/// Takes the head that a session has read.
pub(crate) fn take(session: &HttpSession) -> Result<Head, FetchError> {
    let Some(header) = session.response_header() else {
        return Err(FetchError::new(
            ErrorKind::ProxyInternalError,
            "no head was read",
        ));
    };
    let size = match session {
        HttpSession::H1(h1) => {
            let raw = h1.get_headers_raw_bytes();
            check_h1(&raw, header.version, &header.headers)?;
            raw.len()
        }
        _ => header
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum(),
    };
    check(header.status, &header.headers, size)?;
    Ok(Head {
        status: header.status,
        version: header.version,
        headers: header.headers.clone(),
    })
}

fn check(status: StatusCode, headers: &HeaderMap, size: usize) -> Result<(), FetchError> {
    if size > MAX_HEAD_BYTES || headers.len() > MAX_HEAD_FIELDS {
        return Err(FetchError::new(
            ErrorKind::HttpResponseHeaderSectionSize,
            format!("{size} bytes in {} fields", headers.len()),
        ));
    }
    if !(100..600).contains(&status.as_u16()) {
        return Err(protocol(format!("status {status}")));
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(protocol("101 to a request that asked for no upgrade"));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = length.as_bytes();
        if lengths.next().is_some() || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(protocol("Content-Length is repeated or not a number"));
        }
    }
    Ok(())
}

/// RFC 9112 §6.1 and §6.3.
fn check_h1(raw: &[u8], version: Version, headers: &HeaderMap) -> Result<(), FetchError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if codings.next().is_some()
        || !coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    {
        return Err(FetchError::new(
            ErrorKind::HttpResponseTransferCoding,
            "Transfer-Encoding is not just chunked",
        ));
    }
    if version != Version::HTTP_11 {
        return Err(protocol("Transfer-Encoding before HTTP/1.1"));
    }
    if has_field(raw, b"content-length") {
        return Err(protocol("Content-Length beside Transfer-Encoding"));
    }
    Ok(())
}

fn protocol(detail: impl Into<std::borrow::Cow<'static, str>>) -> FetchError {
    FetchError::new(ErrorKind::HttpProtocolError, detail)
}

/// Whether a field of this name (in lower case) is among the raw lines.
fn has_field(raw: &[u8], name: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n').any(|line| {
        let field = line.split(|byte| *byte == b':').next().unwrap_or_default();
        field.len() < line.len() && field.trim_ascii().eq_ignore_ascii_case(name)
    })
}

/// How long the body is, where the head says it (RFC 9112 §6.3). None for a chunked one, for one
/// that ends with the connection, and where there is none.
pub(crate) fn length(head: &Head, is_head_request: bool) -> Option<u64> {
    if is_head_request || matches!(head.status.as_u16(), 204 | 304) {
        return None;
    }
    let length = head.headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// How long the server says that it keeps the connection: `Keep-Alive: timeout=5`.
pub(crate) fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let timeout = value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("timeout")
            .then_some(seconds)
    })?;
    timeout.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn framing() {
        let chunked = headers(&[("transfer-encoding", "Chunked")]);
        let plain = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert!(check_h1(plain, Version::HTTP_11, &chunked).is_ok());
        let kind =
            |raw: &[u8], version, map: &HeaderMap| check_h1(raw, version, map).unwrap_err().kind;
        assert_eq!(
            kind(plain, Version::HTTP_10, &chunked),
            ErrorKind::HttpProtocolError
        );
        let both = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH : 5\r\n\r\n";
        assert_eq!(
            kind(both, Version::HTTP_11, &chunked),
            ErrorKind::HttpProtocolError
        );
        for odd in ["gzip, chunked", "chunked, chunked", "identity", ""] {
            let odd = headers(&[("transfer-encoding", odd)]);
            let kind = kind(plain, Version::HTTP_11, &odd);
            assert_eq!(kind, ErrorKind::HttpResponseTransferCoding);
        }
    }

    #[test]
    fn lengths_and_sizes() {
        let ok = |fields: &[(&'static str, &'static str)]| {
            check(StatusCode::OK, &headers(fields), 100).is_ok()
        };
        assert!(ok(&[("content-length", "5")]));
        assert!(!ok(&[("content-length", "5"), ("content-length", "5")]));
        for odd in ["5, 5", "+5", "-1", "0x5", "", "5 "] {
            assert!(!ok(&[("content-length", odd)]), "{odd:?}");
        }
        assert!(check(StatusCode::OK, &headers(&[]), MAX_HEAD_BYTES + 1).is_err());
        assert!(check(StatusCode::SWITCHING_PROTOCOLS, &headers(&[]), 10).is_err());
        assert!(check(StatusCode::from_u16(600).unwrap(), &headers(&[]), 10).is_err());
    }

    #[test]
    fn keep_alive_is_read() {
        let of = |value| keep_alive(&headers(&[("keep-alive", value)]));
        assert_eq!(of("timeout=5, max=100"), Some(Duration::from_secs(5)));
        assert_eq!(of("max=100, Timeout= 7"), Some(Duration::from_secs(7)));
        assert_eq!(of("max=100"), None);
        assert_eq!(of("timeout=x"), None);
    }
}
