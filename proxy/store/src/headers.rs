//! Header maps that hold their own bytes.

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Bytes that a map spends on a field besides its name and value.
const FIELD: usize = 104;

/// Copies a map such that its values share one buffer of just their bytes. Values as parsed are slices of the network
/// buffer they came in, and would pin all of it.
pub(crate) fn compact(headers: &HeaderMap) -> HeaderMap {
    let total = headers.values().map(HeaderValue::len).sum();
    let mut buffer = BytesMut::with_capacity(total);
    headers
        .values()
        .for_each(|value| buffer.extend_from_slice(value.as_bytes()));
    let mut values = buffer.freeze();
    let mut copy = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let bytes = values.split_to(value.len());
        copy.append(own_name(name), own_value(bytes, value));
    }
    copy
}

/// What a map costs, in bytes.
pub(crate) fn weight(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD)
        .sum()
}

fn own_name(name: &HeaderName) -> HeaderName {
    // Always a name, since it was one; the standard names take no memory either way.
    HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone())
}

fn own_value(bytes: Bytes, value: &HeaderValue) -> HeaderValue {
    let mut own = HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| value.clone());
    own.set_sensitive(value.is_sensitive());
    own
}
