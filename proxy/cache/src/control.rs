//! Everything a response says about its caching, read once.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

use crate::date;
use crate::directives::{self, ResponseDirectives};
use crate::list::Elements;
use crate::targeted;
use crate::time::Timestamp;

/// Which field the directives came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No field says anything.
    None,
    /// `Cache-Control`.
    CacheControl,
    /// This targeted field (RFC 9213); `Cache-Control` and `Expires` do not count.
    Targeted(HeaderName),
}

/// `Expires` (RFC 9111 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    /// The field is absent, or overruled by a targeted field.
    Absent,
    /// It is no date or repeated, `0` above all: it has expired.
    Invalid,
    /// It is this date.
    At(Timestamp),
}

/// A response's caching information in typed form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The directives that count.
    pub directives: ResponseDirectives,
    /// Where they came from.
    pub origin: Origin,
    /// `Expires`.
    pub expires: Expires,
    /// `Date`; the time of receipt where it is missing or invalid (RFC 9110 §6.6.1).
    pub date: Timestamp,
    /// `Last-Modified`, if valid.
    pub last_modified: Option<Timestamp>,
    /// `Age`, if valid (RFC 9111 §5.1: of a list the first member counts, an invalid field is
    /// ignored).
    pub age: Duration,
}

impl Control {
    /// Reads the header of a response that was received at `received`.
    #[must_use]
    pub fn read(headers: &HeaderMap, targets: &[HeaderName], received: Timestamp) -> Self {
        let (origin, directives) = match targeted::select(headers, targets) {
            Some((name, directives)) => (Origin::Targeted(name.clone()), directives),
            None => match ResponseDirectives::parse(headers) {
                Some(directives) => (Origin::CacheControl, directives),
                None => (Origin::None, ResponseDirectives::default()),
            },
        };
        let expires = match date::parse_field(headers, header::EXPIRES, received) {
            _ if matches!(origin, Origin::Targeted(_)) => Expires::Absent,
            None => Expires::Absent,
            Some(None) => Expires::Invalid,
            Some(Some(at)) => Expires::At(at),
        };
        Self {
            directives,
            origin,
            expires,
            date: date::parse_field(headers, header::DATE, received)
                .flatten()
                .unwrap_or(received),
            last_modified: date::parse_field(headers, header::LAST_MODIFIED, received).flatten(),
            age: age(headers).unwrap_or_default(),
        }
    }

    /// Whether the origin itself said how long the response is fresh.
    #[must_use]
    pub fn has_explicit_freshness(&self) -> bool {
        self.directives.s_maxage.is_some()
            || self.directives.max_age.is_some()
            || self.expires != Expires::Absent
    }
}

/// `Age` in seconds, clamped to 2^31 (RFC 9111 §5.1).
#[must_use]
pub fn age(headers: &HeaderMap) -> Option<Duration> {
    let first = headers.get(header::AGE)?;
    directives::delta_seconds(Elements::new(first.as_bytes()).next()?)
}
