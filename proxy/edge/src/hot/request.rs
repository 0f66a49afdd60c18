//! Requests as the hot path sees them, and which of them may be answered from what is prepared, judged
//! by their heads alone.

use anypop_listen::head::{Authority, Head, Version};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_http::RequestHeader;

use crate::observe::labels::Protocol;

/// A request's head in the form that its protocol has.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    H1(&'a Head<'a>),
    H2(&'a RequestHeader),
}

impl Source<'_> {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::H1(head) if head.version() == Version::Http10 => Protocol::Http10,
            Self::H1(_) => Protocol::Http11,
            Self::H2(_) => Protocol::Http2,
        }
    }

    pub(super) fn authority(self) -> Option<Authority> {
        match self {
            Self::H1(head) => head.authority(),
            Self::H2(request) => request.extensions.get::<Authority>().cloned(),
        }
    }

    pub(super) fn headers(self) -> Option<HeaderMap> {
        let head = match self {
            Self::H1(head) => head,
            Self::H2(request) => return Some(request.headers.clone()),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in head.fields() {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers
                .try_append(name, HeaderValue::from_bytes(value).ok()?)
                .ok()?;
        }
        Some(headers)
    }
}

/// What of a request's fields matters on the hot path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    /// `Accept-Encoding`; `None` without.
    pub(super) accept_encoding: Option<&'a [u8]>,
    pub(super) user_agent: Option<&'a [u8]>,
    pub(super) referer: Option<&'a [u8]>,
    /// Names, values and four bytes a line, as the log counts heads.
    pub(super) bytes: u64,
}

impl<'a> Fields<'a> {
    /// Reads the fields; `None` when one of them could make the answer another one than a plain
    /// request gets.
    pub(super) fn read(lines: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let mut fields = Self::default();
        for (name, value) in lines {
            fields.bytes += (name.len() + value.len() + 4) as u64;
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                5 if is("range") => return None,
                6 if is("pragma") || is("expect") => return None,
                7 if is("upgrade") => return None,
                7 if is("referer") => {
                    fields.referer.get_or_insert(value);
                }
                8 if is("if-range") || is("if-match") || is("cdn-loop") => return None,
                10 if is("user-agent") => {
                    fields.user_agent.get_or_insert(value);
                }
                10 if is("tracestate") => return None,
                11 if is("traceparent") => return None,
                12 if is("x-request-id") || is("anypop-debug") => return None,
                13 if is("cache-control") || is("authorization") || is("if-none-match") => {
                    return None;
                }
                14 if is("content-length") => return None,
                // Two lines are one list to the cache; too rare to be read here.
                15 if is("accept-encoding") && fields.accept_encoding.replace(value).is_some() => {
                    return None;
                }
                17 if is("if-modified-since") || is("transfer-encoding") => return None,
                19 if is("if-unmodified-since") => return None,
                _ => {}
            }
        }
        Some(fields)
    }
}
