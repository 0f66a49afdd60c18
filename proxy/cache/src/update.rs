//! Updating stored responses from a 304 (RFC 9111 §4.3.4) or from a response to HEAD (§4.3.5).

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use smallvec::SmallVec;

use crate::control::Control;
use crate::fields;
use crate::freshness::{self, Clock};
use crate::policy::{Policy, SetCookie};
use crate::time::Timestamp;
use crate::validators::{ETag, Validators};

/// Which of the stored responses that a request validated a 304 selects for update; the index into
/// `stored`.
///
/// `stored` are the validators of those that the validation offered
/// ([`crate::conditional::set_validation`]), most recent first.
/// 1. A 304 with a strong entity tag selects the one with the same; if there is none, nothing may
///    be updated. (One exception to the letter: a stored weak tag with the same text matches too,
///    because nginx weakens the tag of what it compresses and does not weaken it in the 304.
///    [`merge`] keeps the weak one then.)
/// 2. A 304 with a weak one, or else with `Last-Modified`, selects the most recent match.
/// 3. A 304 without validators selects the only one offered. (§4.3.4 says so for stored responses
///    without validators; it was we who offered exactly this one, so the origin's 304 can mean no
///    other.)
///
/// `None`: the 304 belongs to nothing stored. Fetch again without conditions.
#[must_use]
pub fn select<'v>(
    stored: impl IntoIterator<Item = &'v Validators>,
    new: &Validators,
) -> Option<usize> {
    let stored: SmallVec<[&Validators; 4]> = stored.into_iter().collect();
    if let Some(tag) = &new.etag {
        let position = |is: &dyn Fn(&ETag) -> bool| {
            stored
                .iter()
                .position(|known| known.etag.as_ref().is_some_and(is))
        };
        return if tag.is_weak() {
            position(&|known| tag.weak_eq(known))
        } else {
            position(&|known| tag.strong_eq(known))
                .or_else(|| position(&|known| weakened(known, tag)))
        };
    }
    if let Some(modified) = new.last_modified {
        return stored
            .iter()
            .position(|known| known.last_modified == Some(modified));
    }
    (stored.len() == 1).then_some(0)
}

/// Whether `known` is the weak form of the strong `new`.
fn weakened(known: &ETag, new: &ETag) -> bool {
    known.is_weak() && !new.is_weak() && known.weak_eq(new)
}

/// Fields that an update does not replace (RFC 9111 §3.2), besides those that are never stored:
/// they describe the stored bytes. `Content-Type` is no such field: this cache does not depend on
/// it.
const DESCRIBES_CONTENT: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    header::TRAILER,
];

/// Updates a stored header (as [`fields::prepare_for_storage`] left it) from a newer one: every
/// field of the new one replaces the stored field of that name, all lines of it, except those of
/// RFC 9111 §3.1 and §3.2.
///
/// `new` is the header of the 304 or HEAD response as it came, `received` when.
pub fn merge(stored: &mut HeaderMap, new: &HeaderMap, policy: &Policy, received: Timestamp) {
    let named = fields::connection_named(new);
    let control = Control::read(new, &policy.targets, received);
    let qualified = |name: &HeaderName| {
        let said = &control.directives;
        !policy.ignore_origin
            && (said.no_cache.fields().contains(name) || said.private.fields().contains(name))
    };
    let skipped = |name: &HeaderName| {
        DESCRIBES_CONTENT.contains(name)
            || fields::HOP_BY_HOP.contains(name)
            || fields::PROXY_ONLY.contains(name)
            || named.contains(name)
            || *name == header::AGE
            || (*name == header::SET_COOKIE && policy.set_cookie != SetCookie::Store)
            || qualified(name)
    };
    let keeps_tag = match (ETag::of(stored), ETag::of(new)) {
        (Some(known), Some(new)) => weakened(&known, &new),
        _ => false,
    };
    for name in new.keys().filter(|name| !skipped(name)) {
        if keeps_tag && *name == header::ETAG {
            continue;
        }
        stored.remove(name);
        for value in new.get_all(name) {
            // Every update may bring new names; a map that is full (32,768 fields) takes no more of
            // them.
            let _ = stored.try_append(name.clone(), value.clone());
        }
    }
    if !new.contains_key(header::DATE) {
        // The update is of now; a Date that stayed behind would make it old.
        let _ = stored.try_insert(header::DATE, crate::date::header_value(received));
    }
}

/// [`merge`] and what follows from it: the response's new clock.
///
/// `status` is the stored response's; `requested` and `received` are of the exchange that brought
/// `new`. The age is that of `new`.
pub fn freshen(
    status: StatusCode,
    stored: &mut HeaderMap,
    new: &HeaderMap,
    policy: &Policy,
    requested: Timestamp,
    received: Timestamp,
) -> Clock {
    merge(stored, new, policy, received);
    let mut control = Control::read(stored, &policy.targets, received);
    control.age = crate::control::age(new).unwrap_or(Duration::ZERO);
    Clock {
        received,
        initial_age: freshness::initial_age(&control, requested, received),
        lifetime: freshness::lifetime(status, &control, policy),
    }
}

/// What a response to HEAD means for the response to GET that is stored under the same key and
/// variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadEffect {
    /// It is the same representation: [`freshen`] it.
    Update,
    /// It is another: the stored one is stale now (§4.3.5).
    Invalidate,
    /// It says nothing about it.
    Ignore,
}

/// Compares a HEAD response with the stored one (RFC 9111 §4.3.5): the validators and
/// `Content-Length` that the HEAD response has must be the stored ones.
#[must_use]
pub fn head_effect(
    method: &Method,
    status: StatusCode,
    new: &HeaderMap,
    received: Timestamp,
    stored: &HeaderMap,
    stored_length: Option<u64>,
) -> HeadEffect {
    if method != Method::HEAD || status != StatusCode::OK {
        return HeadEffect::Ignore;
    }
    let (new_validators, known) = (
        Validators::of(new, received),
        Validators::of(stored, received),
    );
    let tag_differs = new.contains_key(header::ETAG)
        && match (&new_validators.etag, &known.etag) {
            (Some(a), Some(b)) => a != b,
            // A tag that cannot be read matches nothing.
            _ => true,
        };
    let date_differs = new.contains_key(header::LAST_MODIFIED)
        && new.get(header::LAST_MODIFIED) != stored.get(header::LAST_MODIFIED);
    let length_differs = new.get(header::CONTENT_LENGTH).is_some_and(|length| {
        let length = length
            .to_str()
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        length.is_none() || (stored_length.is_some() && length != stored_length)
    });
    if tag_differs || date_differs || length_differs {
        HeadEffect::Invalidate
    } else {
        HeadEffect::Update
    }
}
