//! Validators: entity tags and modification dates (RFC 9110 §8.8).

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use crate::date;
use crate::list;
use crate::time::Timestamp;

/// An entity tag (RFC 9110 §8.8.3).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ETag {
    weak: bool,
    /// The opaque tag without its quotes.
    opaque: Box<[u8]>,
}

impl ETag {
    /// Parses `"tag"` or `W/"tag"`, and nothing else: no unquoted tag, no lower-case `w/`.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (tag, rest) = split_first(list::trim(value))?;
        rest.is_empty().then(|| tag.to_owned())
    }

    /// The `ETag` of a response; `None` if it is absent, invalid or repeated.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::ETAG).iter();
        let first = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(first.as_bytes())
    }

    /// Whether it is weak.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.weak
    }

    /// The opaque tag without its quotes.
    #[must_use]
    pub fn opaque(&self) -> &[u8] {
        &self.opaque
    }

    /// Strong comparison (RFC 9110 §8.8.3.2): both are strong and the same.
    #[must_use]
    pub fn strong_eq(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison (RFC 9110 §8.8.3.2): the same but for weakness.
    #[must_use]
    pub fn weak_eq(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }

    /// As a field value.
    #[must_use]
    pub fn header_value(&self) -> Option<HeaderValue> {
        let mut text = Vec::with_capacity(self.opaque.len() + 4);
        if self.weak {
            text.extend_from_slice(b"W/");
        }
        text.push(b'"');
        text.extend_from_slice(&self.opaque);
        text.push(b'"');
        HeaderValue::from_bytes(&text).ok()
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\"{}\"",
            if self.weak { "W/" } else { "" },
            self.opaque.escape_ascii()
        )
    }
}

/// An entity tag in somebody else's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ETagRef<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl ETagRef<'_> {
    fn to_owned(self) -> ETag {
        ETag {
            weak: self.weak,
            opaque: self.opaque.into(),
        }
    }

    fn weak_eq(self, other: &ETag) -> bool {
        self.opaque == &*other.opaque
    }

    fn strong_eq(self, other: &ETag) -> bool {
        !self.weak && !other.weak && self.opaque == &*other.opaque
    }
}

/// Takes the first entity tag off `bytes`.
fn split_first(bytes: &[u8]) -> Option<(ETagRef<'_>, &[u8])> {
    let (weak, bytes) = match bytes {
        [b'W', b'/', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let [b'"', rest @ ..] = bytes else {
        return None;
    };
    // A tag may hold commas and backslashes but neither quotes, spaces nor controls (RFC 9110
    // §8.8.3).
    let end = rest
        .iter()
        .position(|b| !matches!(b, 0x21 | 0x23..=0x7e | 0x80..=0xff))?;
    let (opaque, tail) = rest.split_at(end);
    match tail {
        [b'"', tail @ ..] => Some((ETagRef { weak, opaque }, tail)),
        _ => None,
    }
}

/// Whether a list of entity tags (`If-None-Match`, `If-Match`) or `*` matches.
///
/// The tags of a list are read up to the first that is none; what follows matches nothing. `stored`
/// is what there is, if it has a tag; `*` matches any stored response.
#[must_use]
pub fn matches(
    request: &HeaderMap,
    name: &header::HeaderName,
    stored: Option<&ETag>,
    strong: bool,
) -> bool {
    request.get_all(name).iter().any(|line| {
        let mut rest = list::trim(line.as_bytes());
        if rest == b"*" {
            return true;
        }
        let Some(stored) = stored else { return false };
        loop {
            while let [b',' | b' ' | b'\t', tail @ ..] = rest {
                rest = tail;
            }
            let Some((tag, tail)) = split_first(rest) else {
                return false;
            };
            // Only a comma or the end may follow a tag.
            let tail = list::trim(tail);
            if !(tail.is_empty() || tail.starts_with(b",")) {
                return false;
            }
            if if strong {
                tag.strong_eq(stored)
            } else {
                tag.weak_eq(stored)
            } {
                return true;
            }
            rest = tail;
        }
    })
}

/// What a stored response can be compared by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`, if valid.
    pub etag: Option<ETag>,
    /// `Last-Modified`, if valid.
    pub last_modified: Option<Timestamp>,
    /// `Date`; the time of receipt if it had none.
    pub date: Timestamp,
}

impl Validators {
    /// Of a response that was received at `received`.
    #[must_use]
    pub fn of(headers: &HeaderMap, received: Timestamp) -> Self {
        let date = |name| date::parse_field(headers, name, received).flatten();
        Self {
            etag: ETag::of(headers),
            last_modified: date(header::LAST_MODIFIED),
            date: date(header::DATE).unwrap_or(received),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    /// The entity tag, if strong.
    #[must_use]
    pub fn strong_etag(&self) -> Option<&ETag> {
        self.etag.as_ref().filter(|tag| !tag.is_weak())
    }

    /// `Last-Modified`, if it is strong: at least a second before `Date`, so that no second change
    /// can hide in it (RFC 9110 §8.8.2.2).
    #[must_use]
    pub fn strong_last_modified(&self) -> Option<Timestamp> {
        self.last_modified
            .filter(|modified| self.date.since(*modified) >= Duration::from_secs(1))
    }

    /// Whether both are of the same representation, byte by byte: by entity tag where both have
    /// one, else by strong dates.
    #[must_use]
    pub fn same_strong(&self, other: &Self) -> bool {
        match (&self.etag, &other.etag) {
            (Some(a), Some(b)) => a.strong_eq(b),
            (None, None) => {
                matches!((self.strong_last_modified(), other.strong_last_modified()), (Some(a), Some(b)) if a == b)
            }
            _ => false,
        }
    }
}
