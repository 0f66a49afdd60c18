//! Request cookies (RFC 6265 §5.4), as far as keys and origins want them.

use http::{HeaderMap, HeaderValue, header};

use crate::list::trim;

/// The values of the cookies named `name` in all `Cookie` lines, joined by `;` if there are
/// several; `None` if there is none. Names are compared byte by byte. A value cannot hold a `;`, so
/// different cookies never give the same result.
#[must_use]
pub fn value(request: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let mut found: Option<Vec<u8>> = None;
    for (cookie, value) in pairs(request) {
        if cookie == name.as_bytes() {
            match &mut found {
                None => found = Some(value.to_vec()),
                Some(values) => {
                    values.push(b';');
                    values.extend_from_slice(value);
                }
            }
        }
    }
    found
}

/// Keeps the cookies whose names `keep` accepts, in one line; removes the field when none is left.
pub fn retain(request: &mut HeaderMap, keep: impl Fn(&[u8]) -> bool) {
    if !request.contains_key(header::COOKIE) {
        return;
    }
    let mut kept: Vec<u8> = Vec::new();
    for line in request.get_all(header::COOKIE) {
        for pair in line.as_bytes().split(|b| *b == b';').map(trim) {
            if !pair.is_empty() && keep(split(pair).0) {
                if !kept.is_empty() {
                    kept.extend_from_slice(b"; ");
                }
                kept.extend_from_slice(pair);
            }
        }
    }
    request.remove(header::COOKIE);
    if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_bytes(&kept)) {
        request.insert(header::COOKIE, value);
    }
}

fn pairs(request: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    request
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|b| *b == b';'))
        .map(trim)
        .filter(|pair| !pair.is_empty())
        .map(split)
}

/// A pair without `=` is a cookie with that name and no value.
fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|b| *b == b'=') {
        Some(at) => {
            let (name, rest) = pair.split_at(at);
            (trim(name), trim(rest.get(1..).unwrap_or_default()))
        }
        None => (pair, b""),
    }
}
