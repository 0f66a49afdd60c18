//! Range requests (RFC 9110 §14).

use std::fmt;

use http::{HeaderMap, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::date;
use crate::list::{self, Elements};
use crate::time::Timestamp;
use crate::validators::{ETag, Validators};

/// Bytes of a representation, both ends inclusive. Never empty: `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    first: u64,
    last: u64,
}

impl ByteRange {
    /// `None` unless `first <= last < u64::MAX`.
    #[must_use]
    pub const fn new(first: u64, last: u64) -> Option<Self> {
        // Below the maximum, so that the length and the next byte are numbers too.
        if first <= last && last < u64::MAX {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The first byte.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The last byte, inclusive.
    #[must_use]
    pub const fn last(self) -> u64 {
        self.last
    }

    /// The byte after the last.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.last + 1
    }

    /// How many bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u64 {
        self.last - self.first + 1
    }
}

/// One element of a `Range` field, before the length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `0-499`
    Within(ByteRange),
    /// `500-`
    From(u64),
    /// `-500`: the last bytes.
    Suffix(u64),
}

impl RangeSpec {
    /// The bytes meant of a representation of `len` bytes; `None` if there are none (RFC 9110
    /// §14.1.2).
    #[must_use]
    pub fn resolve(self, len: u64) -> Option<ByteRange> {
        let end = len.checked_sub(1)?;
        match self {
            Self::Within(range) => ByteRange::new(range.first, range.last.min(end)),
            Self::From(first) => ByteRange::new(first, end),
            Self::Suffix(0) => None,
            Self::Suffix(count) => ByteRange::new(len.saturating_sub(count), end),
        }
    }
}

/// The elements of a `Range` field.
pub type RangeSpecs = SmallVec<[RangeSpec; 2]>;

/// How many ranges a request may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// More than this many: the field is ignored, as RFC 9110 §14.2 permits, and the whole
    /// representation is the answer.
    pub max_ranges: usize,
    /// Ranges with a gap of at most this many bytes are joined: the head of a further part would be
    /// longer.
    pub coalesce_gap: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_ranges: 16,
            coalesce_gap: 80,
        }
    }
}

/// Parses a `Range` value. `None`: another unit than `bytes`, a syntax error or too many ranges;
/// the field is to be ignored.
#[must_use]
pub fn parse(value: &[u8], max_ranges: usize) -> Option<RangeSpecs> {
    let (unit, set) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut specs = RangeSpecs::new();
    for element in Elements::new(set) {
        if specs.len() == max_ranges {
            return None;
        }
        specs.push(spec(element)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn spec(element: &[u8]) -> Option<RangeSpec> {
    let dash = element.iter().position(|b| *b == b'-')?;
    let (first, last) = (element.get(..dash)?, element.get(dash + 1..)?);
    Some(match (first, last) {
        ([], last) => RangeSpec::Suffix(number(last)?),
        (first, []) => RangeSpec::From(number(first)?),
        (first, last) => {
            // A last byte beyond u64 is beyond any representation, which is fine; a first one past
            // the last is an error.
            let (first, last) = (number(first)?, number(last)?.min(u64::MAX - 1));
            RangeSpec::Within(ByteRange::new(first, last)?)
        }
    })
}

/// Digits; larger numbers than u64 saturate.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| {
        b.is_ascii_digit()
            .then(|| n.saturating_mul(10).saturating_add(u64::from(b - b'0')))
    })
}

/// What a request's `Range` comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// 200 with everything.
    Whole,
    /// 206 with `Content-Range`.
    Single(ByteRange),
    /// 206 with `multipart/byteranges`: two or more ranges that neither overlap nor come close.
    Multi(SmallVec<[ByteRange; 4]>),
    /// 416 with `Content-Range: bytes */length`.
    Unsatisfiable,
}

/// Selects the bytes to send of a representation of `len` bytes (RFC 9110 §14.2). Call it after the
/// conditions came to [`crate::conditional::Outcome::Proceed`] and only for a stored 200.
///
/// `Range` counts for GET, in one field line, if [`if_range`] holds. Ranges that overlap or nearly
/// touch are joined, and then sorted; others keep the client's order. Several ranges that together
/// amount to the whole become [`Selection::Whole`].
#[must_use]
pub fn select(
    method: &Method,
    request: &HeaderMap,
    stored: &Validators,
    len: u64,
    limits: &Limits,
    now: Timestamp,
) -> Selection {
    if method != Method::GET {
        return Selection::Whole;
    }
    let Some(specs) = requested(request, limits) else {
        return Selection::Whole;
    };
    if !if_range(request, stored, now) {
        return Selection::Whole;
    }
    resolve(&specs, len, limits)
}

/// The ranges a request asks for; `None` if it has no `Range` or one that is ignored.
#[must_use]
pub fn requested(request: &HeaderMap, limits: &Limits) -> Option<RangeSpecs> {
    let mut lines = request.get_all(header::RANGE).iter();
    let first = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    parse(first.as_bytes(), limits.max_ranges)
}

/// [`select`] for parsed ranges.
#[must_use]
pub fn resolve(specs: &[RangeSpec], len: u64, limits: &Limits) -> Selection {
    let mut ranges: SmallVec<[ByteRange; 4]> =
        specs.iter().filter_map(|spec| spec.resolve(len)).collect();
    if ranges.is_empty() {
        // The last bytes of nothing are nothing: satisfiable (RFC 9110 §14.1.2), but no
        // Content-Range can say so.
        let suffix = specs
            .iter()
            .any(|spec| matches!(spec, RangeSpec::Suffix(count) if *count > 0));
        return if len == 0 && suffix {
            Selection::Whole
        } else {
            Selection::Unsatisfiable
        };
    }
    if ranges.len() > 1 {
        let mut sorted = ranges.clone();
        sorted.sort_unstable();
        let joined = coalesce(&sorted, limits.coalesce_gap);
        if joined.len() < ranges.len() {
            ranges = joined;
        }
        if matches!(ranges.as_slice(), [all] if all.len() == len) {
            return Selection::Whole;
        }
    }
    match ranges.as_slice() {
        [range] => Selection::Single(*range),
        _ => Selection::Multi(ranges),
    }
}

fn coalesce(sorted: &[ByteRange], gap: u64) -> SmallVec<[ByteRange; 4]> {
    let mut joined: SmallVec<[ByteRange; 4]> = SmallVec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(known) if range.first <= known.end().saturating_add(gap) => {
                known.last = known.last.max(range.last)
            }
            _ => joined.push(*range),
        }
    }
    joined
}

/// Whether `If-Range` lets `Range` count (RFC 9110 §13.1.5): there is none, or it holds the very
/// entity tag, both strong, or the very modification date, a strong one.
#[must_use]
pub fn if_range(request: &HeaderMap, stored: &Validators, now: Timestamp) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    let Some(first) = lines.next() else {
        return true;
    };
    if lines.next().is_some() {
        return false;
    }
    let value = list::trim(first.as_bytes());
    if let Some(tag) = ETag::parse(value) {
        return stored
            .etag
            .as_ref()
            .is_some_and(|known| known.strong_eq(&tag));
    }
    match date::parse(value, now) {
        Some(date) => stored.strong_last_modified() == Some(date),
        None => false,
    }
}

/// `Content-Range` (RFC 9110 §14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes 0-4/10`, or `bytes 0-4/*` without a length.
    Satisfied {
        /// The bytes in the content.
        range: ByteRange,
        /// The length of the whole representation.
        complete: Option<u64>,
    },
    /// `bytes */10`, in a 416.
    Unsatisfied {
        /// The length of the whole representation.
        complete: u64,
    },
}

impl ContentRange {
    /// Parses a value; `None` if it is invalid, e.g. if the range reaches beyond the length.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (unit, rest) = value.split_at_checked(6)?;
        if !unit.eq_ignore_ascii_case(b"bytes ") {
            return None;
        }
        let slash = rest.iter().position(|b| *b == b'/')?;
        let (range, complete) = (rest.get(..slash)?, rest.get(slash + 1..)?);
        let complete = match complete {
            b"*" => None,
            text => Some(exact(text)?),
        };
        if range == b"*" {
            return Some(Self::Unsatisfied {
                complete: complete?,
            });
        }
        let dash = range.iter().position(|b| *b == b'-')?;
        let range = ByteRange::new(exact(range.get(..dash)?)?, exact(range.get(dash + 1..)?)?)?;
        if complete.is_some_and(|complete| range.last >= complete) {
            return None;
        }
        Some(Self::Satisfied { range, complete })
    }

    /// The part that a 206 holds and the length of the whole, if the field is valid, there once,
    /// and says both.
    #[must_use]
    pub fn part(response: &HeaderMap) -> Option<(ByteRange, u64)> {
        let mut lines = response.get_all(header::CONTENT_RANGE).iter();
        let first = lines.next()?;
        match (lines.next(), Self::parse(first.as_bytes())?) {
            (
                None,
                Self::Satisfied {
                    range,
                    complete: Some(complete),
                },
            ) => Some((range, complete)),
            _ => None,
        }
    }

    /// As a field value.
    #[must_use]
    pub fn header_value(self) -> HeaderValue {
        // Digits and ASCII punctuation only, so the conversion cannot fail.
        HeaderValue::try_from(self.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("bytes */0"))
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Satisfied {
                range,
                complete: Some(complete),
            } => {
                write!(f, "bytes {}-{}/{complete}", range.first, range.last)
            }
            Self::Satisfied {
                range,
                complete: None,
            } => write!(f, "bytes {}-{}/*", range.first, range.last),
            Self::Unsatisfied { complete } => write!(f, "bytes */{complete}"),
        }
    }
}

/// Digits that fit.
fn exact(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| {
        n.checked_mul(10)?.checked_add(u64::from(b - b'0'))
    })
}
