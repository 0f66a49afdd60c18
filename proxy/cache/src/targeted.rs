//! Targeted cache control (RFC 9213): a field meant for this class of caches replaces
//! `Cache-Control` and `Expires`.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::directives::{self, MAX_DELTA, ResponseDirectives};
use crate::surrogate::{self, SURROGATE_CONTROL};

/// The field meant for anypop alone; consumed here, never forwarded.
pub const ANYPOP_CACHE_CONTROL: HeaderName = HeaderName::from_static("anypop-cache-control");
/// The field meant for all CDNs (RFC 9213 §3.1); forwarded, for CDNs downstream of this one.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The target list (RFC 9213 §2.2), best first; last their forerunner, which has a syntax of its own.
pub const TARGETS: [HeaderName; 3] = [ANYPOP_CACHE_CONTROL, CDN_CACHE_CONTROL, SURROGATE_CONTROL];

/// The first field of `targets` with a valid, non-empty value, and its directives. `None`:
/// `Cache-Control` and `Expires` count.
#[must_use]
pub fn select<'t>(
    headers: &HeaderMap,
    targets: &'t [HeaderName],
) -> Option<(&'t HeaderName, ResponseDirectives)> {
    targets.iter().find_map(|name| {
        // Most responses have no targeted field: no allocation for them.
        let mut lines = headers.get_all(name).iter();
        let first = lines.next()?;
        let parse = if *name == SURROGATE_CONTROL {
            surrogate::parse
        } else {
            parse
        };
        let directives = match lines.next() {
            None => parse(first.as_bytes()),
            Some(_) => {
                let all: Vec<&[u8]> = headers.get_all(name).iter().map(|v| v.as_bytes()).collect();
                parse(&all.join(&b", "[..]))
            }
        };
        Some((name, directives?))
    })
}

/// Parses a combined field value as a structured-field dictionary; `None` if it is empty or
/// invalid, in which case the field is ignored (RFC 9213 §2.1). Unknown directives and parameters
/// are ignored. A freshness directive of another type than a non-negative integer counts as 0, as
/// it does in `Cache-Control`; of a repeated key the last counts, as structured fields say.
#[must_use]
pub fn parse(value: &[u8]) -> Option<ResponseDirectives> {
    let dictionary: Dictionary = Parser::new(value).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut found = ResponseDirectives::default();
    for (key, entry) in &dictionary {
        let set = !matches!(bare(entry), Some(BareItem::Boolean(false)));
        match key.as_str() {
            "max-age" => found.max_age = Some(delta(entry)),
            "s-maxage" => found.s_maxage = Some(delta(entry)),
            "stale-while-revalidate" => found.stale_while_revalidate = Some(delta(entry)),
            "stale-if-error" => found.stale_if_error = Some(delta(entry)),
            "no-store" => found.no_store = set,
            "no-cache" if set => found.no_cache.add(fields(entry)),
            "private" if set => found.private.add(fields(entry)),
            // What permits needs its exact form; what restricts does not.
            "public" => found.public = matches!(bare(entry), Some(BareItem::Boolean(true))),
            "immutable" => found.immutable = matches!(bare(entry), Some(BareItem::Boolean(true))),
            "must-revalidate" => found.must_revalidate = set,
            "proxy-revalidate" => found.proxy_revalidate = set,
            "must-understand" => found.must_understand = set,
            "no-transform" => found.no_transform = set,
            _ => {}
        }
    }
    Some(found)
}

fn bare(entry: &ListEntry) -> Option<&BareItem> {
    match entry {
        ListEntry::Item(item) => Some(&item.bare_item),
        ListEntry::InnerList(_) => None,
    }
}

fn delta(entry: &ListEntry) -> Duration {
    let secs = bare(entry)
        .and_then(BareItem::as_integer)
        .map_or(0, i64::from);
    Duration::from_secs(u64::try_from(secs).unwrap_or(0).min(MAX_DELTA.into()))
}

/// The argument of a qualified directive, in the form that [`directives::Qualified`] takes.
fn fields(entry: &ListEntry) -> Option<Option<directives::FieldNames>> {
    match bare(entry) {
        Some(BareItem::Boolean(true)) => None,
        Some(BareItem::String(names)) => Some(directives::field_names(names.as_str().as_bytes())),
        _ => Some(None),
    }
}
