//! Fields that are not stored or not forwarded (RFC 9110 §7.6.1, RFC 9111 §3.1).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use crate::control::Control;
use crate::date;
use crate::list::{self, Elements};
use crate::policy::{Policy, SetCookie};
use crate::targeted;
use crate::time::Timestamp;

/// Fields that concern one connection only.
pub const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Fields between a client and the next proxy (RFC 9111 §3.1): neither stored nor passed on.
pub const PROXY_ONLY: [HeaderName; 3] = [
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHORIZATION,
];

/// Fields that `Connection` cannot name away. They concern everybody on the way (RFC 9110 §7.6.1
/// forbids naming them), and who could remove them could reframe a message, make a private response
/// public, or hide a loop.
const PROTECTED: [HeaderName; 17] = [
    header::VIA,
    HeaderName::from_static("cdn-loop"),
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CACHE_CONTROL,
    header::CDN_CACHE_CONTROL,
    header::EXPIRES,
    header::DATE,
    header::AGE,
    header::VARY,
    header::AUTHORIZATION,
    header::COOKIE,
    targeted::ANYPOP_CACHE_CONTROL,
    crate::surrogate::SURROGATE_CONTROL,
];

/// The fields that `Connection` names, without those that concern everybody.
#[must_use]
pub fn connection_named(headers: &HeaderMap) -> SmallVec<[HeaderName; 4]> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| Elements::new(line.as_bytes()))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !PROTECTED.contains(name))
        .collect()
}

/// Removes what must not be forwarded, from a request or a response: hop-by-hop fields, those that
/// `Connection` names, and those for proxies only. Who passes an upgrade or `TE: trailers` on puts
/// these back.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in connection_named(headers) {
        headers.remove(&name);
    }
    for name in HOP_BY_HOP.iter().chain(&PROXY_ONLY) {
        headers.remove(name);
    }
}

/// Makes a response's header what is stored of it: [`strip_hop_by_hop`], without `Age` (it is in
/// [`crate::freshness::Clock`]), without the fields of qualified `no-cache` and `private`, without
/// `Set-Cookie` unless it is stored, and with a `Date` (RFC 9110 §6.6.1).
///
/// The field meant for anypop alone stays, so that a later validation can judge the response again;
/// [`strip_for_client`] removes it.
pub fn prepare_for_storage(
    headers: &mut HeaderMap,
    control: &Control,
    policy: &Policy,
    received: Timestamp,
) {
    strip_hop_by_hop(headers);
    headers.remove(header::AGE);
    if !policy.ignore_origin {
        for name in control
            .directives
            .no_cache
            .fields()
            .iter()
            .chain(control.directives.private.fields())
        {
            headers.remove(name);
        }
    }
    if policy.set_cookie != SetCookie::Store {
        headers.remove(header::SET_COOKIE);
    }
    if date::parse_field(headers, header::DATE, received)
        .flatten()
        .is_none()
    {
        headers.insert(header::DATE, date::header_value(received));
    }
}

/// Removes what is consumed here: the targeted field meant for anypop, and the tag fields
/// ([`crate::tags`]).
pub fn strip_for_client(headers: &mut HeaderMap) {
    headers.remove(targeted::ANYPOP_CACHE_CONTROL);
    headers.remove(crate::surrogate::SURROGATE_CONTROL);
    crate::tags::strip(headers);
}

/// Gives clients a lifetime of their own: `max-age` in place of every other freshness in
/// `Cache-Control` and `Expires`; other directives stay.
///
/// Browsers count `Age` against it, so `age` (what is sent as `Age`) is added. Whole seconds.
pub fn set_browser_ttl(headers: &mut HeaderMap, ttl: Duration, age: Duration) {
    const REPLACED: [&[u8]; 3] = [b"max-age", b"s-maxage", b"immutable"];
    let mut value = format!("max-age={}", ttl.as_secs().saturating_add(age.as_secs())).into_bytes();
    for line in headers.get_all(header::CACHE_CONTROL) {
        for element in Elements::new(line.as_bytes()) {
            let name = element
                .split(|b| !list::is_tchar(*b))
                .next()
                .unwrap_or_default();
            if !REPLACED
                .iter()
                .any(|replaced| name.eq_ignore_ascii_case(replaced))
            {
                value.extend_from_slice(b", ");
                value.extend_from_slice(element);
            }
        }
    }
    headers.remove(header::EXPIRES);
    if let Ok(value) = HeaderValue::from_bytes(&value) {
        headers.insert(header::CACHE_CONTROL, value);
    }
}

/// The lines of a field as one value, joined by `, `; `None` if it is absent.
#[must_use]
pub fn combined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let rest: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
    if rest.is_empty() {
        return Some(first.clone());
    }
    let mut all = first.as_bytes().to_vec();
    for line in rest {
        all.extend_from_slice(b", ");
        all.extend_from_slice(line);
    }
    HeaderValue::from_bytes(&all).ok()
}
