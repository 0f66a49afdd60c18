//! What a successful unsafe request makes invalid (RFC 9111 §4.4).

use http::{HeaderMap, Method, StatusCode, header};
use smallvec::SmallVec;
use url::Url;

use crate::key::Scheme;

/// The URI of a request or of something to invalidate, in the parts that a key wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The scheme.
    pub scheme: Scheme,
    /// The host, with a port unless it is the scheme's default.
    pub host: String,
    /// Path and query.
    pub path_and_query: String,
}

/// Whether a method is safe (RFC 9110 §9.2.1, and those registered as safe since). Of an unknown
/// one nobody knows, so it is not.
#[must_use]
pub fn is_safe(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY"
    )
}

/// What to invalidate after a response with `status` to `method` on `request`: on success (2xx,
/// 3xx) of an unsafe method the URI itself, and those in `Location` and `Content-Location` that
/// have the same origin (RFC 9110 §4.3.1). Empty otherwise.
#[must_use]
pub fn targets(
    method: &Method,
    status: StatusCode,
    request: &Target,
    response: &HeaderMap,
) -> SmallVec<[Target; 3]> {
    let mut found = SmallVec::new();
    if is_safe(method) || !(status.is_success() || status.is_redirection()) {
        return found;
    }
    found.push(request.clone());
    let base = Url::parse(&format!(
        "{}://{}{}",
        request.scheme, request.host, request.path_and_query
    ))
    .ok();
    let Some(base) = base else { return found };
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        for value in response.get_all(name) {
            if let Some(target) = value
                .to_str()
                .ok()
                .and_then(|text| same_origin(&base, text, request))
                && !found.contains(&target)
            {
                found.push(target);
            }
        }
    }
    found
}

fn same_origin(base: &Url, reference: &str, request: &Target) -> Option<Target> {
    let url = base.join(reference).ok()?;
    if url.origin() != base.origin() {
        return None;
    }
    let mut path_and_query = url.path().to_owned();
    if let Some(query) = url.query() {
        path_and_query.push('?');
        path_and_query.push_str(query);
    }
    // The request's own spelling of the host, since the origin is the same: keys are made of it.
    Some(Target {
        scheme: request.scheme,
        host: request.host.clone(),
        path_and_query,
    })
}
