//! What a guest writes into a head or into trailers, checked. Nothing that passes here can split a message,
//! change its framing, or be read in two ways by the next hop.
//!
//! SDKs turn every answer but `Ok` into a panic, and a value that a client sent is often what makes a write
//! wrong: so a refused write is no error for the guest, it does not happen, and is counted and logged.

use bytes::Bytes;

use crate::{
    abi::Direction,
    fields::{Fields, alias},
};

/// Longest value that a guest may write, in bytes.
pub const MAX_VALUE: usize = 128 << 10;
/// Longest name that a guest may write, in bytes.
pub const MAX_NAME: usize = 1 << 10;

/// Where a field would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A request's head.
    Request,
    /// A response's head.
    Response,
    /// Trailers of either.
    Trailers,
    /// The head of a call-out's request.
    Call,
}

impl Place {
    /// The head that goes this way.
    pub fn head(direction: Direction) -> Self {
        match direction {
            Direction::Request => Self::Request,
            Direction::Response => Self::Response,
        }
    }
}

/// Why a write does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The name is no token (RFC 9110 §5.6.2).
    #[error("the name is not a token")]
    Name,
    /// The value holds a control character (RFC 9110 §5.5).
    #[error("the value holds CR, LF, NUL or another control character")]
    Value,
    /// Name or value is too long.
    #[error("the name or value is too long")]
    Length,
    /// The field frames the message, or belongs to one connection only.
    #[error("the host alone writes fields that frame a message or belong to one hop")]
    Framing,
    /// A pseudo-header in the wrong place, with a bad value, or removed.
    #[error("the pseudo-header cannot be changed like that")]
    Pseudo,
}

/// Fields that only the host writes: framing (RFC 9112 §6) and those of one hop (RFC 9110 §7.6.1).
const HOST_ONLY: [&[u8]; 10] = [
    b"connection",
    b"content-length",
    b"http2-settings",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"cdn-loop",
];

/// Fields that make no sense in trailers because they would be obeyed too late (RFC 9110 §6.5.1).
const NOT_IN_TRAILERS: [&[u8]; 9] = [
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"cookie",
    b"set-cookie",
    b"vary",
    b"age",
];

/// True for fields that guests can neither write nor, but for Content-Length, remove.
pub fn host_only(name: &[u8]) -> bool {
    HOST_ONLY.contains(&name)
}

/// Checks one name and value; gives back the name in lower case and the value without blanks around it.
///
/// # Errors
/// When the field may not be written at `place`.
pub fn check(place: Place, name: &[u8], value: &[u8]) -> Result<(Bytes, Bytes), Refused> {
    let name = alias(name);
    let value = value.trim_ascii();
    if name.len() > MAX_NAME || value.len() > MAX_VALUE {
        return Err(Refused::Length);
    }
    if !value
        .iter()
        .all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f))
    {
        return Err(Refused::Value);
    }
    if name.starts_with(b":") {
        return pseudo(place, name, value).map(|name| (name, Bytes::copy_from_slice(value)));
    }
    if !is_token(name) {
        return Err(Refused::Name);
    }
    let name = name.to_ascii_lowercase();
    if host_only(&name) {
        return Err(Refused::Framing);
    }
    if place == Place::Trailers && (NOT_IN_TRAILERS.contains(&name.as_slice()) || name == b"host") {
        return Err(Refused::Framing);
    }
    Ok((Bytes::from(name), Bytes::copy_from_slice(value)))
}

fn pseudo(place: Place, name: &[u8], value: &[u8]) -> Result<Bytes, Refused> {
    let (known, good): (&'static [u8], bool) = match (place, name) {
        (Place::Request | Place::Call, b":method") => {
            (b":method", is_token(value) && value != b"CONNECT")
        }
        (Place::Request | Place::Call, b":path") => (b":path", is_target(value)),
        (Place::Request | Place::Call, b":authority") => (b":authority", is_authority(value)),
        // The scheme is part of the cache key and of what the client did: a guest cannot make http of https.
        (Place::Call, b":scheme") => (b":scheme", value == b"http" || value == b"https"),
        (Place::Response, b":status") => (b":status", is_status(value)),
        _ => return Err(Refused::Pseudo),
    };
    if good {
        Ok(Bytes::from_static(known))
    } else {
        Err(Refused::Pseudo)
    }
}

/// Adds a value; of pseudo-headers there is always exactly one, so adding replaces.
///
/// # Errors
/// As [`check`].
pub fn add(fields: &mut Fields, place: Place, name: &[u8], value: &[u8]) -> Result<(), Refused> {
    let (name, value) = check(place, name, value)?;
    if name.starts_with(b":") {
        fields.set(name, value)
    } else {
        fields.push(name, value)
    }
    Ok(())
}

/// Sets a value in place of all that are there.
///
/// # Errors
/// As [`check`].
pub fn replace(
    fields: &mut Fields,
    place: Place,
    name: &[u8],
    value: &[u8],
) -> Result<(), Refused> {
    // Guests copy whole heads back: the value that is there already is no offence.
    if fields.value(name).is_some_and(|old| *old == value) && host_only(&name.to_ascii_lowercase())
    {
        return Ok(());
    }
    let (name, value) = check(place, name, value)?;
    fields.set(name, value);
    Ok(())
}

/// Removes a field. Content-Length may go (the host frames anew), other framing fields stay.
///
/// # Errors
/// When the field is a pseudo-header or host-only.
pub fn remove(fields: &mut Fields, name: &[u8]) -> Result<(), Refused> {
    let name = alias(name);
    if name.starts_with(b":") {
        return Err(Refused::Pseudo);
    }
    let name = name.to_ascii_lowercase();
    if host_only(&name) && name != b"content-length" && fields.value(&name).is_some() {
        return Err(Refused::Framing);
    }
    fields.remove(&name);
    Ok(())
}

/// Replaces all pairs. Pseudo-headers and host-only fields that the guest left out or wrote wrongly keep their
/// old values, but a Content-Length left out is gone, as with [`remove`]. Gives back how many pairs were refused.
pub fn replace_all(fields: &mut Fields, place: Place, pairs: &[(Bytes, Bytes)]) -> usize {
    let mut refused = 0;
    let old = fields.clone();
    let keeps_length = pairs
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
    fields.retain(|name| {
        name.starts_with(b":") || (host_only(name) && (name != b"content-length" || keeps_length))
    });
    for (name, value) in pairs {
        let lower = alias(name).to_ascii_lowercase();
        if (lower.starts_with(b":") || host_only(&lower))
            && old.value(&lower).is_some_and(|was| was == value)
        {
            continue;
        }
        if add(fields, place, name, value).is_err() {
            refused += 1;
        }
    }
    refused
}

/// True for a token (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Origin form (RFC 9112 §3.2.1), or `*`; visible ASCII without a fragment.
fn is_target(value: &[u8]) -> bool {
    value == b"*"
        || (value.starts_with(b"/")
            && value
                .iter()
                .all(|byte| byte.is_ascii_graphic() && *byte != b'#'))
}

fn is_authority(value: &[u8]) -> bool {
    !value.is_empty()
        && value.len() <= 261
        && value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte))
}

/// A final status: 1xx are the host's, 101 would end HTTP.
fn is_status(value: &[u8]) -> bool {
    matches!(value, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'])
}
