//! `Surrogate-Control` (W3C Note "Edge Architecture Specification", 2001): what Varnish, Fastly and
//! Akamai have long obeyed, read as one more targeted field.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::directives::{self, ResponseDirectives};
use crate::list::{self, Elements};

/// The response field; consumed here, never forwarded.
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");
/// The request field by which an origin learns that somebody on the way obeys the other one.
pub const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");
/// This cache's device token: directives may be targeted at it.
const DEVICE: &[u8] = b"anypop";

/// This cache's member of `Surrogate-Capability`.
#[must_use]
pub fn capability() -> HeaderValue {
    HeaderValue::from_static("anypop=\"Surrogate/1.0\"")
}

/// Parses a field line; `None` if nothing in it is for this cache.
///
/// Directives are separated by commas. A parameter that is a bare token targets a directive at the
/// device of that name; without one it is for every surrogate. A directive for this device counts
/// before one for all. `max-age=N+M` grants M more seconds in which the response may be served
/// stale. White space around `=` makes a directive unknown.
#[must_use]
pub fn parse(value: &[u8]) -> Option<ResponseDirectives> {
    let mut for_all = ResponseDirectives::default();
    let mut for_us = ResponseDirectives::default();
    let (mut all, mut us) = (false, false);
    for element in Elements::new(value) {
        let mut parts = element.split(|byte| *byte == b';').map(list::trim);
        let directive = parts.next().unwrap_or_default();
        let mut targets = parts.filter(|part| list::is_token(part)).peekable();
        let (found, any) = if targets.peek().is_none() {
            (&mut for_all, &mut all)
        } else if targets.any(|target| target.eq_ignore_ascii_case(DEVICE)) {
            (&mut for_us, &mut us)
        } else {
            continue;
        };
        *any |= add(found, directive);
    }
    match (us, all) {
        (true, _) => Some(for_us),
        (false, true) => Some(for_all),
        (false, false) => None,
    }
}

/// Says whether the directive is one.
fn add(found: &mut ResponseDirectives, directive: &[u8]) -> bool {
    if directive.eq_ignore_ascii_case(b"no-store")
        || directive.eq_ignore_ascii_case(b"no-store-remote")
    {
        found.no_store = true;
        return true;
    }
    let Some((name, value)) = directive.split_at_checked(8) else {
        return false;
    };
    if !name.eq_ignore_ascii_case(b"max-age=") {
        return false;
    }
    let mut parts = value.splitn(2, |byte| *byte == b'+');
    let seconds = |text: Option<&[u8]>| text.and_then(directives::delta_seconds);
    // What cannot be read is stale, as it is in Cache-Control.
    let fresh = seconds(parts.next()).unwrap_or(Duration::ZERO);
    found.max_age = Some(found.max_age.map_or(fresh, |other| other.min(fresh)));
    if let Some(extension) = seconds(parts.next()) {
        found.stale_while_revalidate = Some(extension);
        found.stale_if_error = Some(extension);
    }
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn max_age(value: &str) -> Option<u64> {
        parse(value.as_bytes())?.max_age.map(|age| age.as_secs())
    }

    #[test]
    fn max_age_and_its_extension() {
        assert_eq!(max_age("max-age=3600"), Some(3600));
        assert_eq!(max_age("foobar, MaX-aGe=3600"), Some(3600));
        assert_eq!(max_age("max-age=99999999999"), Some(1 << 31));
        assert_eq!(max_age("max-age=ten"), Some(0));
        assert_eq!(max_age("max-age =100"), None, "an unknown directive");
        assert_eq!(
            max_age("max-age=5, max-age=9"),
            Some(5),
            "the more restrictive"
        );
        let extended = parse(b"max-age=60+30").unwrap();
        assert_eq!(extended.max_age, Some(Duration::from_secs(60)));
        assert_eq!(
            extended.stale_while_revalidate,
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn targets() {
        assert_eq!(max_age("max-age=60;other"), None);
        assert_eq!(max_age("max-age=60;anypop"), Some(60));
        assert_eq!(max_age("max-age=5, max-age=60;anypop"), Some(60));
        assert_eq!(max_age("max-age=5;other, max-age=60"), Some(60));
    }

    #[test]
    fn no_store() {
        assert!(parse(b"no-store").unwrap().no_store);
        assert!(
            parse(b"no-store-remote, content=\"ESI/1.0\"")
                .unwrap()
                .no_store
        );
        assert_eq!(parse(b"content=\"ESI/1.0\""), None);
        assert_eq!(parse(b""), None);
    }
}
