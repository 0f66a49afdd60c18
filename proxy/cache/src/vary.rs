//! `Vary`: which stored response belongs to a request (RFC 9111 §4.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::encoding::AcceptEncoding;
use crate::key::{KeyHash, hash128};
use crate::list::{self, Elements};

/// The field names of a response's `Vary`, sorted and without repetition.
pub type VaryNames = SmallVec<[HeaderName; 4]>;

/// A response's `Vary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// The response depends on these request fields; on none if it is empty.
    Fields(VaryNames),
    /// `*`, or a member that is no field name: it never matches (RFC 9111 §4.1).
    Any,
}

impl Vary {
    /// Reads all lines of `Vary`.
    #[must_use]
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut names = VaryNames::new();
        for line in headers.get_all(header::VARY) {
            for member in Elements::new(line.as_bytes()) {
                // `*` would be a valid token, hence the first test.
                match HeaderName::from_bytes(member) {
                    Ok(name) if member != b"*" => names.push(name),
                    _ => return Self::Any,
                }
            }
        }
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        Self::Fields(names)
    }

    /// The names; `None` for `*`.
    #[must_use]
    pub fn names(&self) -> Option<&[HeaderName]> {
        match self {
            Self::Fields(names) => Some(names),
            Self::Any => None,
        }
    }
}

/// How request fields are made comparable before they select a variant. What is normalised here
/// must go to the origin in that form as well, or two clients share a response that the origin
/// would not have given both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Normalise {
    /// The normalised `Accept-Encoding` of this request, as it is sent to the origin; `None`: the
    /// field counts as it came.
    pub accept_encoding: Option<AcceptEncoding>,
    /// Whether `Accept-Language: de, en` and `en, de` are the same. Their order has no meaning
    /// among equal weights (RFC 9110 §12.5.4), but some origins give it one.
    pub ignore_language_order: bool,
}

/// The request fields that selected a variant. Equality is exact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VaryKey(Box<[u8]>);

impl VaryKey {
    /// The values that `request` has for the names of a stored response's `Vary`. Two requests
    /// select the same variant if these are equal.
    ///
    /// Several lines of a field are combined, and white space around list members goes, in fields
    /// that may be lists (RFC 9111 §4.1). An absent field and an empty one differ.
    #[must_use]
    pub fn new(names: &[HeaderName], request: &HeaderMap, rules: &Normalise) -> Self {
        let mut encoding = Vec::new();
        for name in names {
            push(&mut encoding, name.as_str().as_bytes());
            match value(name, request, rules) {
                Some(value) => {
                    encoding.push(1);
                    push(&mut encoding, &value);
                }
                None => encoding.push(0),
            }
        }
        Self(encoding.into())
    }

    /// Whether no field selects: the response has no `Vary`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its hash, for a store that keeps variants under one key.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(hash128(&self.0))
    }

    /// The encoding that is compared.
    #[must_use]
    pub fn encoding(&self) -> &[u8] {
        &self.0
    }
}

fn push(encoding: &mut Vec<u8>, bytes: &[u8]) {
    // A request header is far below 4 GiB; should it not be, the cut length still keeps the
    // encoding's parts apart from others'.
    encoding.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    encoding.extend_from_slice(bytes);
}

/// Fields whose commas do not separate members, or whose order and spaces are part of the value.
const SINGLETONS: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::USER_AGENT,
    header::REFERER,
    header::ORIGIN,
    header::HOST,
    header::FROM,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::DATE,
];

fn value(name: &HeaderName, request: &HeaderMap, rules: &Normalise) -> Option<Vec<u8>> {
    if *name == header::ACCEPT_ENCODING
        && let Some(normalised) = &rules.accept_encoding
    {
        return Some(normalised.as_str().as_bytes().to_vec());
    }
    let mut lines = request
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .peekable();
    lines.peek()?;
    if SINGLETONS.contains(name) {
        let lines: Vec<&[u8]> = lines.map(list::trim).collect();
        // A line cannot hold a line feed.
        return Some(lines.join(&b"\n"[..]));
    }
    let mut members: Vec<Vec<u8>> = lines.flat_map(Elements::new).map(<[u8]>::to_vec).collect();
    if *name == header::ACCEPT_LANGUAGE {
        for member in &mut members {
            // Language ranges, `q` and its digits: all of it ignores case (RFC 9110 §12.5.4), and
            // spaces around `;` mean nothing.
            member.retain(|byte| *byte != b' ' && *byte != b'\t');
            member.make_ascii_lowercase();
        }
        if rules.ignore_language_order {
            members.sort();
        }
    }
    Some(members.join(&b","[..]))
}
