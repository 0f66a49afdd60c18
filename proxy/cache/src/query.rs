//! Which part of a query goes into the key, and into the request to the origin.
//!
//! The result of [`QueryRules::apply`] is meant for both. Then no two different requests to the
//! origin share a key, whatever the origin makes of the bytes. For sites that send the origin the
//! client's own query, dropping errs on the side of keeping: an allow list keeps every parameter
//! that some origin might read as an allowed one (percent-encoded, `+` for a space, in other case,
//! with `[]`, with `.` for `_`, or hidden behind a `;`), and a deny list drops only what has
//! exactly a denied name, byte by byte.

use std::borrow::Cow;

/// Which parameters stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryMode {
    /// The query stays as it is.
    #[default]
    All,
    /// Only parameters with these names, given decoded.
    Allow(Vec<String>),
    /// All but those with these names, compared as raw bytes.
    Deny(Vec<String>),
    /// None: the query goes.
    None,
}

/// A site's rules for queries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryRules {
    /// Which parameters stay.
    pub mode: QueryMode,
    /// Whether they are sorted by name. Parameters that an origin might read as one name keep their
    /// order, and a query with a `;` is left alone, since its parameters are a matter of taste.
    pub sort: bool,
}

impl QueryRules {
    /// What stays of `query`; `None` if nothing does. Without rules the query stays byte by byte,
    /// an empty one included.
    #[must_use]
    pub fn apply<'q>(&self, query: Option<&'q str>) -> Option<Cow<'q, str>> {
        let query = query?;
        let kept = match &self.mode {
            QueryMode::All => Cow::Borrowed(query),
            QueryMode::None => return None,
            QueryMode::Allow(names) => {
                filter(query, |parameter| {
                    // `;` may begin another parameter to the origin: then it is not for us to say
                    // what this one is called.
                    parameter.contains(';')
                        || names
                            .iter()
                            .any(|name| canonical(name).eq(canonical(name_of(parameter))))
                })?
            }
            QueryMode::Deny(names) => filter(query, |parameter| {
                parameter.contains(';') || !names.iter().any(|name| name == name_of(parameter))
            })?,
        };
        Some(if self.sort { sorted(kept) } else { kept })
    }
}

fn name_of(parameter: &str) -> &str {
    parameter
        .split_once('=')
        .map_or(parameter, |(name, _)| name)
}

fn filter(query: &str, keep: impl Fn(&str) -> bool) -> Option<Cow<'_, str>> {
    if query.split('&').all(&keep) {
        return Some(Cow::Borrowed(query));
    }
    let kept: Vec<&str> = query
        .split('&')
        .filter(|parameter| keep(parameter))
        .collect();
    (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
}

fn sorted(query: Cow<'_, str>) -> Cow<'_, str> {
    if query.contains(';') || !query.contains('&') {
        return query;
    }
    let mut parameters: Vec<(Vec<u8>, &str)> = query
        .split('&')
        .map(|p| (canonical(name_of(p)).collect(), p))
        .collect();
    if parameters.is_sorted_by(|a, b| a.0 <= b.0) {
        return query;
    }
    // Stable: what has one name to the origin keeps its order.
    parameters.sort_by(|a, b| a.0.cmp(&b.0));
    let texts: Vec<&str> = parameters.iter().map(|(_, text)| *text).collect();
    Cow::Owned(texts.join("&"))
}

/// The name that a lenient origin may read: decoded, lower case, `.`, ` ` and `+` as `_`, cut at
/// `[`.
fn canonical(name: &str) -> impl Iterator<Item = u8> {
    let mut bytes = name.bytes();
    let mut begun = false;
    std::iter::from_fn(move || {
        let byte = match bytes.next()? {
            b'%' => decode(&mut bytes).unwrap_or(b'%'),
            byte => byte,
        };
        if byte == b'[' && begun {
            // Nothing after it counts: at the next call there is nothing left.
            bytes = "".bytes();
            return None;
        }
        begun = true;
        Some(match byte {
            b'.' | b' ' | b'+' => b'_',
            _ => byte.to_ascii_lowercase(),
        })
    })
}

/// The byte of the two hex digits that come next; takes them only if they are.
fn decode(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let mut ahead = bytes.clone();
    let hex = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (high, low) = (hex(ahead.next()?)?, hex(ahead.next()?)?);
    *bytes = ahead;
    Some(high << 4 | low)
}
