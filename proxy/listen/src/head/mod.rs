//! Request heads: bytes with one meaning, or a refusal.
//!
//! The parser is this project's own, because a gate has to know what was on the wire: parsers made for interoperability forgive bare
//! line feeds, folded lines and odd characters, and do not say that they did. What it takes is RFC 9112's grammar without its
//! recovery rules; where the RFC lets a recipient choose between repairing and refusing, it refuses.
//!
//! * [`parse()`] is the way in, for HTTP/1; HTTP/2 uses the same rules for fields and authorities.
//! * [`Head`] is a view of a parsed head.
//! * [`Authority`] is a host with an optional port, from `Host`, `:authority` or an absolute target.

mod authority;
mod bytes;
mod fields;
mod parse;
mod view;

pub use authority::Authority;
pub(crate) use authority::AuthorityRef;
pub(crate) use bytes::{is_field_value, is_target, is_token};
pub use fields::BodyLength;
pub(crate) use fields::{content_length, is_forbidden_trailer};
pub use parse::{HeadLimits, Parse, Parsed, parse};
pub use view::{Head, Scheme, Version};

/// Why a request is refused: a status for the client and a reason for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code of the answer, 400 to 599.
    pub status: u16,
    /// What is wrong, in a few words.
    pub reason: &'static str,
}

impl Refusal {
    pub(crate) const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self::new(400, reason)
    }
}

/// A run of bytes in a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// `None` when an end does not fit 32 bits, which the limits on heads exclude long before.
    pub(crate) fn new(start: usize, end: usize) -> Option<Self> {
        Some(Self {
            start: u32::try_from(start).ok()?,
            end: u32::try_from(end).ok()?,
        })
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }

    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Where a field's name and value are in a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSpan {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

#[cfg(test)]
mod tests;
