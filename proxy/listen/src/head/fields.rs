//! Field lines, and the fields that decide about a message's length and its connection.

use super::bytes::{is_field_value, is_token, trim_ows};
use super::{FieldSpan, Refusal, Span};

/// How long a request's body is (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// Neither `Content-Length` nor `Transfer-Encoding`: no body.
    #[default]
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What the fields of a head say about message and connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) host: Option<Span>,
    pub(crate) content_length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) connection_upgrade: bool,
    pub(crate) upgrade: bool,
    pub(crate) expect_continue: bool,
    pub(crate) te_trailers: bool,
}

/// What [`parse_fields`] found.
pub(crate) enum FieldsParse {
    /// The empty line has not come yet.
    Partial,
    /// Fields up to and with the empty line, which ends before this offset.
    Complete(Meaning, usize),
}

/// Parses field lines from `start` to the empty line (RFC 9112 §5); the spans are offsets into `bytes`.
pub(crate) fn parse_fields(
    bytes: &[u8],
    start: usize,
    max_fields: usize,
    spans: &mut Vec<FieldSpan>,
) -> Result<FieldsParse, Refusal> {
    spans.clear();
    let mut meaning = Meaning::default();
    let mut at = start;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(line) = next_line(rest)? else {
            return Ok(FieldsParse::Partial);
        };
        let line_start = at;
        // The CRLF is part of `rest`, so the sum is at most the length of `bytes`.
        at += line.len() + 2;
        if line.is_empty() {
            return Ok(FieldsParse::Complete(meaning, at));
        }
        if spans.len() >= max_fields {
            return Err(Refusal::new(431, "too many fields"));
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::bad("folded field line"));
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            return Err(Refusal::bad("field line without a colon"));
        };
        let (name, value) = line.split_at(colon);
        if !is_token(name) {
            return Err(Refusal::bad("field name is no token"));
        }
        let value = value.get(1..).unwrap_or_default();
        if !is_field_value(value) {
            return Err(Refusal::bad("control character in a field value"));
        }
        let trimmed = trim_ows(value);
        let value_start = line_start + colon + 1 + (value.len() - trim_start_len(value));
        let name_span = Span::new(line_start, line_start + colon);
        let value_span = Span::new(value_start, value_start + trimmed.len());
        let (Some(name_span), Some(value_span)) = (name_span, value_span) else {
            return Err(Refusal::new(431, "head too large"));
        };
        spans.push(FieldSpan {
            name: name_span,
            value: value_span,
        });
        interpret(name, trimmed, value_span, &mut meaning)?;
    }
}

/// The length of `value` without its leading OWS.
fn trim_start_len(value: &[u8]) -> usize {
    value
        .iter()
        .position(|b| !matches!(b, b' ' | b'\t'))
        .map_or(0, |first| value.len() - first)
}

/// The bytes before the next CRLF, `None` if it has not come yet; CR or LF alone are refused (RFC 9112 §2.2 would let a recipient
/// take a bare LF; two recipients that differ in this see two different messages).
pub(super) fn next_line(rest: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let Some(lf) = memchr::memchr(b'\n', rest) else {
        // A CR that is followed by anything but LF is wrong already; one at the end may still get its LF.
        return match memchr::memchr(b'\r', rest) {
            Some(cr) if cr + 1 < rest.len() => Err(Refusal::bad("bare CR")),
            _ => Ok(None),
        };
    };
    let Some((b'\r', line)) = rest.get(..lf).and_then(<[u8]>::split_last) else {
        return Err(Refusal::bad("bare LF"));
    };
    if memchr::memchr(b'\r', line).is_some() {
        return Err(Refusal::bad("bare CR"));
    }
    Ok(Some(line))
}

fn interpret(name: &[u8], value: &[u8], span: Span, meaning: &mut Meaning) -> Result<(), Refusal> {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.len() {
        2 if is("te") => {
            // A member with parameters (a weight) other than "trailers" is about codings, which nobody here applies.
            meaning.te_trailers |= list(value).any(|token| token.eq_ignore_ascii_case(b"trailers"));
        }
        4 if is("host") && meaning.host.replace(span).is_some() => {
            return Err(Refusal::bad("more than one Host"));
        }
        6 if is("expect") => {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::new(417, "unknown expectation"));
            }
            meaning.expect_continue = true;
        }
        7 if is("upgrade") => meaning.upgrade = true,
        10 if is("connection") => connection(value, meaning)?,
        14 if is("content-length") => {
            let length = content_length(value)?;
            if meaning.content_length.replace(length).is_some() {
                return Err(Refusal::bad("more than one Content-Length"));
            }
        }
        17 if is("transfer-encoding") => {
            if meaning.chunked {
                return Err(Refusal::bad("more than one Transfer-Encoding"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(
                    if list(value).all(is_token)
                        && !list(value).any(|coding| coding.eq_ignore_ascii_case(b"chunked"))
                    {
                        Refusal::new(501, "transfer coding not supported")
                    } else {
                        Refusal::bad("Transfer-Encoding is not exactly \"chunked\"")
                    },
                );
            }
            meaning.chunked = true;
        }
        _ => {}
    }
    Ok(())
}

/// 1*DIGIT that fits 64 bits (RFC 9110 §8.6); no sign, no list, not even of equal members.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    const BAD: Refusal = Refusal::bad("Content-Length is not a number");
    if value.is_empty() {
        return Err(BAD);
    }
    value.iter().try_fold(0u64, |sum, byte| {
        if !byte.is_ascii_digit() {
            return Err(BAD);
        }
        sum.checked_mul(10)
            .and_then(|sum| sum.checked_add(u64::from(byte - b'0')))
            .ok_or(Refusal::bad("Content-Length is too large"))
    })
}

fn connection(value: &[u8], meaning: &mut Meaning) -> Result<(), Refusal> {
    // Fields without which the message means something else: whoever names them wants a hop to drop them (RFC 9110 §7.6.1).
    const PROTECTED: [&str; 4] = [
        "host",
        "content-length",
        "transfer-encoding",
        "authorization",
    ];
    for option in list(value) {
        if option.eq_ignore_ascii_case(b"close") {
            meaning.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            meaning.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            meaning.connection_upgrade = true;
        } else if !is_token(option) {
            return Err(Refusal::bad("Connection has a member that is no token"));
        } else if PROTECTED
            .iter()
            .any(|name| option.eq_ignore_ascii_case(name.as_bytes()))
        {
            return Err(Refusal::bad(
                "Connection names a field that may not be dropped",
            ));
        }
    }
    Ok(())
}

/// The members of a list of tokens; empty ones are skipped (RFC 9110 §5.6.1.2).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(trim_ows)
        .filter(|member| !member.is_empty())
}

/// Fields that may not stand in a trailer section because they are about framing, routing or the connection (RFC 9110 §6.5.1).
pub(crate) fn is_forbidden_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: [&str; 14] = [
        "transfer-encoding",
        "content-length",
        "content-encoding",
        "content-type",
        "content-range",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "authorization",
    ];
    FORBIDDEN
        .iter()
        .any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
}
