//! The head of an HTTP/1 request (RFC 9112 §2 to §6).

use super::authority::AuthorityRef;
use super::bytes::{is_target, is_token};
use super::fields::{BodyLength, FieldsParse, Meaning, next_line, parse_fields};
use super::view::{Scheme, Version};
use super::{FieldSpan, Refusal, Span};

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, request line and empty line included.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            bytes: 32 * 1024,
            fields: 128,
            target: 16 * 1024,
        }
    }
}

/// What [`parse`] made of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// Nothing is wrong so far, but the head is not whole.
    Partial,
    /// A whole head; [`Parsed::view`] shows it.
    Complete(Parsed),
    /// Not a head with one meaning, or beyond the limits. The connection is to be closed after the answer.
    Refused(Refusal),
}

/// A parsed head, as offsets into the bytes it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub(super) len: usize,
    pub(super) method: Span,
    pub(super) path: Span,
    pub(super) host: Span,
    pub(super) scheme: Option<Scheme>,
    pub(super) version: Version,
    pub(super) meaning: Meaning,
    pub(super) body: BodyLength,
}

impl Parsed {
    /// How many bytes the head has, with its empty line.
    pub fn head_len(&self) -> usize {
        self.len
    }
}

/// Parses a request head at the start of `bytes`; `spans` is cleared and gets the fields.
///
/// Refusals: 400 for whatever has no meaning or two; 405 for CONNECT; 414 and 431 beyond the limits; 417 for an unknown expectation;
/// 501 for a transfer coding other than "chunked"; 505 for an HTTP version other than 1.0 and 1.1.
pub fn parse(bytes: &[u8], limits: &HeadLimits, spans: &mut Vec<FieldSpan>) -> Parse {
    match parse_head(bytes, limits, spans) {
        Ok(Some(parsed)) if parsed.len > limits.bytes => {
            Parse::Refused(Refusal::new(431, "head too large"))
        }
        Ok(Some(parsed)) => Parse::Complete(parsed),
        Ok(None) if bytes.len() >= limits.bytes => {
            Parse::Refused(Refusal::new(431, "head too large"))
        }
        Ok(None) => Parse::Partial,
        Err(refusal) => Parse::Refused(refusal),
    }
}

fn parse_head(
    bytes: &[u8],
    limits: &HeadLimits,
    spans: &mut Vec<FieldSpan>,
) -> Result<Option<Parsed>, Refusal> {
    // One empty line before the request line is forgiven (RFC 9112 §2.2): old clients send it after a body.
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let rest = bytes.get(start..).unwrap_or_default();
    // Bytes that no request line has, such as those of a TLS handshake, are refused before a line's end comes.
    if rest
        .first()
        .is_some_and(|first| !is_token(&[*first]) && *first != b'\r')
    {
        return Err(Refusal::bad("not an HTTP request"));
    }
    let Some(line) = next_line(rest)? else {
        // Method and version have at most 32 + 8 bytes beside the target.
        return if rest.len() > limits.target.saturating_add(64) {
            Err(TARGET_TOO_LONG)
        } else {
            Ok(None)
        };
    };
    let request_line = request_line(line, limits)?;
    let fields_start = start + line.len() + 2;
    let (meaning, len) = match parse_fields(bytes, fields_start, limits.fields, spans)? {
        FieldsParse::Partial => return Ok(None),
        FieldsParse::Complete(meaning, len) => (meaning, len),
    };
    finish(bytes, start, request_line, meaning, len).map(Some)
}

const TARGET_TOO_LONG: Refusal = Refusal::new(414, "request target too long");

/// Method, target and version; the spans count from the start of the line.
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
}

fn request_line<'a>(line: &'a [u8], limits: &HeadLimits) -> Result<RequestLine<'a>, Refusal> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::bad("request line is not three words"));
    };
    if !is_token(method) || method.len() > 32 {
        return Err(Refusal::bad("method is no token"));
    }
    if target.len() > limits.target {
        return Err(TARGET_TOO_LONG);
    }
    if !is_target(target) {
        return Err(Refusal::bad("character in the request target"));
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::new(505, "HTTP version not supported"));
        }
        _ => return Err(Refusal::bad("no HTTP version")),
    };
    if method == b"CONNECT" {
        return Err(Refusal::new(405, "CONNECT is not served"));
    }
    Ok(RequestLine {
        method,
        target,
        version,
    })
}

/// Checks what request line and fields say together.
fn finish(
    bytes: &[u8],
    start: usize,
    line: RequestLine<'_>,
    meaning: Meaning,
    len: usize,
) -> Result<Parsed, Refusal> {
    let Some(host) = meaning.host else {
        return Err(Refusal::bad("no Host"));
    };
    let Some(authority) = AuthorityRef::parse(host.of(bytes)) else {
        return Err(Refusal::bad("Host is not a host"));
    };
    let target_start = start + line.method.len() + 1;
    let (scheme, path_offset) = match line.target {
        [b'/', ..] => (None, 0),
        b"*" if line.method == b"OPTIONS" => (None, 0),
        target => {
            let (scheme, offset) = absolute_form(target, authority)?;
            (Some(scheme), offset)
        }
    };
    let path = line.target.get(path_offset..).unwrap_or_default();
    // "\" is no path character (RFC 3986 §3.3), and some servers take it for "/".
    if path
        .split(|b| *b == b'?')
        .next()
        .is_some_and(|path| path.contains(&b'\\'))
    {
        return Err(Refusal::bad("backslash in the path"));
    }
    let body = match (meaning.chunked, meaning.content_length) {
        (true, Some(_)) => return Err(Refusal::bad("Content-Length beside Transfer-Encoding")),
        (true, None) if line.version == Version::Http10 => {
            return Err(Refusal::bad("Transfer-Encoding in HTTP/1.0"));
        }
        (true, None) => BodyLength::Chunked,
        (false, Some(length)) => BodyLength::Length(length),
        (false, None) => BodyLength::None,
    };
    let method = Span::new(start, start + line.method.len());
    let path = Span::new(target_start + path_offset, target_start + line.target.len());
    let (Some(method), Some(path)) = (method, path) else {
        return Err(Refusal::new(431, "head too large"));
    };
    Ok(Parsed {
        len,
        method,
        path,
        host,
        scheme,
        version: line.version,
        meaning,
        body,
    })
}

/// The scheme and where the path starts in "http://host/path" (RFC 9112 §3.2.2). Its host must be the one of `Host`: the RFC lets
/// the target win, other recipients let `Host` win.
fn absolute_form(target: &[u8], host: AuthorityRef<'_>) -> Result<(Scheme, usize), Refusal> {
    const NO_FORM: Refusal = Refusal::bad("request target has no known form");
    let colon = target.iter().position(|b| *b == b':').ok_or(NO_FORM)?;
    let (scheme, rest) = target.split_at(colon);
    let scheme = if scheme.eq_ignore_ascii_case(b"http") {
        Scheme::Http
    } else if scheme.eq_ignore_ascii_case(b"https") {
        Scheme::Https
    } else {
        return Err(NO_FORM);
    };
    let authority = rest.strip_prefix(b"://").ok_or(NO_FORM)?;
    let end = authority
        .iter()
        .position(|b| matches!(b, b'/' | b'?'))
        .unwrap_or(authority.len());
    let (authority, path) = authority.split_at(end);
    match AuthorityRef::parse(authority) {
        Some(authority) if authority.same(host) => {}
        Some(_) => return Err(Refusal::bad("Host is not the target's host")),
        None => return Err(Refusal::bad("target's host is not a host")),
    }
    if path.first() == Some(&b'?') {
        return Err(Refusal::bad("query without a path"));
    }
    Ok((scheme, colon + 3 + end))
}
