//! `Accept-Encoding`, reduced to what a site caches (RFC 9110 §12.5.3).

use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue, header};
use smallvec::SmallVec;

use crate::list::{self, Elements};

/// A content coding that a site may ask its origin for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Brotli (RFC 7932).
    Br,
    /// Zstandard (RFC 9659).
    Zstd,
    /// gzip, and its old name `x-gzip`.
    Gzip,
    /// zlib (RFC 1950), for origins that have nothing else.
    Deflate,
}

impl Coding {
    /// The coding's registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn is(self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.as_str().as_bytes())
            || (self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip"))
    }
}

/// A normalised `Accept-Encoding`: the site's codings that the client accepts, in the site's order.
/// With n codings there are at most 2^(n+1) values, whatever clients send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptEncoding(String);

impl AcceptEncoding {
    /// Reduces the field to `codings`, best first. A coding counts unless its weight is 0; `*`
    /// stands for all that are not named. A request without the field gets `identity`, since a
    /// client that says nothing rarely decodes anything. A weight that cannot be read counts as 0.
    #[must_use]
    pub fn normalise(request: &HeaderMap, codings: &[Coding]) -> Self {
        let mut named: SmallVec<[(&[u8], bool); 8]> = SmallVec::new();
        for line in request.get_all(header::ACCEPT_ENCODING) {
            for member in Elements::new(line.as_bytes()) {
                named.push(weighted(member));
            }
        }
        let any = named
            .iter()
            .find(|(name, _)| *name == b"*")
            .map(|(_, accepted)| *accepted);
        let accepts = |is: &dyn Fn(&[u8]) -> bool, default: bool| {
            named
                .iter()
                .find(|(name, _)| is(name))
                .map_or(any.unwrap_or(default), |(_, accepted)| *accepted)
        };
        let mut out = String::new();
        for coding in codings {
            if accepts(&|name| coding.is(name), false) {
                // Writing to a String cannot fail.
                let _ = write!(
                    out,
                    "{}{}",
                    if out.is_empty() { "" } else { ", " },
                    coding.as_str()
                );
            }
        }
        let identity = accepts(&|name| name.eq_ignore_ascii_case(b"identity"), true);
        if !identity && !out.is_empty() {
            out.push_str(", identity;q=0");
        } else if out.is_empty() {
            // A client that takes nothing we have gets what the origin makes of `identity`.
            out.push_str("identity");
        }
        Self(out)
    }

    /// The text, as it goes into the variant's key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value to send to the origin in place of the client's.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        // Only our own names and punctuation are in it, so the conversion cannot fail.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("identity"))
    }
}

/// The coding's name and whether its weight (RFC 9110 §12.4.2) is above 0.
fn weighted(member: &[u8]) -> (&[u8], bool) {
    let mut parts = member.split(|b| *b == b';');
    let name = list::trim(parts.next().unwrap_or_default());
    let accepted = parts.all(|parameter| match list::trim(parameter) {
        [b'q' | b'Q', b'=', weight @ ..] => is_positive_weight(weight),
        _ => true,
    });
    (name, accepted)
}

fn is_positive_weight(weight: &[u8]) -> bool {
    match weight {
        [b'1'] => true,
        [b'1', b'.', rest @ ..] => rest.len() <= 3 && rest.iter().all(|b| *b == b'0'),
        [b'0', b'.', rest @ ..] => {
            rest.len() <= 3
                && rest.iter().all(u8::is_ascii_digit)
                && rest.iter().any(|b| *b != b'0')
        }
        _ => false,
    }
}
