//! What a cache knows about status codes (RFC 9110 §15).

use http::StatusCode;

/// Whether a response with this status may be reused without explicit freshness (RFC 9110 §15.1).
/// 206 is left out: parts without explicit freshness are not worth keeping.
#[must_use]
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// Whether this cache understands the status' caching requirements, as `must-understand` asks (RFC
/// 9111 §5.2.2.3).
#[must_use]
pub fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=206 | 300..=304 | 307 | 308 | 400..=417 | 421..=429 | 431 | 451 | 500..=505 | 511
    )
}

/// Whether a response with this status from the origin lets a stored response step in (RFC 5861
/// §4).
#[must_use]
pub fn is_origin_error(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
