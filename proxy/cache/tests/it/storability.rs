//! What may be stored.

use anypop_cache::control::Control;
use anypop_cache::freshness::lifetime;
use anypop_cache::policy::{Policy, SetCookie};
use anypop_cache::storability::{Exchange, Reason, Storability, decide};
use http::{Method, StatusCode};

use crate::support::{NOW, dated, headers, secs};

fn decided(
    method: &Method,
    request: &[&str],
    status: u16,
    response: &[&str],
    policy: &Policy,
) -> Option<Reason> {
    let (request, response) = (headers(request), dated(response));
    let status = StatusCode::from_u16(status).unwrap();
    let control = Control::read(&response, &policy.targets, NOW);
    let lifetime = lifetime(status, &control, policy);
    let exchange = Exchange {
        method,
        request: &request,
        status,
        response: &response,
        control: &control,
        lifetime: &lifetime,
    };
    match decide(&exchange, policy) {
        Storability::Storable => None,
        Storability::NotStorable(reason) => Some(reason),
    }
}

#[test]
fn rfc_9111_section_3() {
    let fresh = "cache-control: max-age=60";
    let auth = &["authorization: x"][..];
    for (request, status, response, expected) in [
        (&[][..], 200, &[fresh][..], None),
        (&[], 299, &[fresh], None),
        (&[], 302, &[fresh], None),
        (&[], 404, &[fresh], None),
        (&[], 499, &[fresh], None),
        (&[], 503, &[fresh], None),
        (
            &[],
            599,
            &["cache-control: max-age=60, must-understand"],
            Some(Reason::MustUnderstand),
        ),
        (
            &[],
            200,
            &["cache-control: max-age=60, must-understand, no-store"],
            None,
        ),
        (
            &[],
            200,
            &["cache-control: max-age=60, no-store"],
            Some(Reason::NoStore),
        ),
        (
            &[],
            200,
            &["cache-control: max-age=60, private"],
            Some(Reason::Private),
        ),
        (
            &[],
            200,
            &["cache-control: max-age=60, private=\"a\""],
            None,
        ),
        (
            &[],
            200,
            &["cdn-cache-control: max-age=60", "cache-control: no-store"],
            None,
        ),
        (
            &[],
            200,
            &["cdn-cache-control: no-store", fresh],
            Some(Reason::NoStore),
        ),
        (
            &["cache-control: no-store"],
            200,
            &[fresh],
            Some(Reason::RequestNoStore),
        ),
        (auth, 200, &[fresh], Some(Reason::Authorization)),
        (
            auth,
            200,
            &["expires: {+60}", "date: {0}"],
            Some(Reason::Authorization),
        ),
        (auth, 200, &["cache-control: max-age=60, public"], None),
        (
            auth,
            200,
            &["cache-control: max-age=60, must-revalidate"],
            None,
        ),
        (auth, 200, &["cache-control: s-maxage=60"], None),
        (
            auth,
            200,
            &["cache-control: max-age=60, proxy-revalidate"],
            Some(Reason::Authorization),
        ),
        (&[], 200, &[fresh, "vary: *"], Some(Reason::VaryStar)),
        (
            &[],
            200,
            &[fresh, "vary: a", "vary: b, *"],
            Some(Reason::VaryStar),
        ),
        (&[], 200, &[fresh, "vary: a b"], Some(Reason::VaryStar)),
        (&[], 200, &[fresh, "vary: a"], None),
        (
            &[],
            200,
            &[fresh, "set-cookie: a=b"],
            Some(Reason::SetCookie),
        ),
        (&[], 206, &[fresh, "content-range: bytes 0-4/10"], None),
        (
            &[],
            206,
            &[fresh, "content-range: bytes 0-4/*"],
            Some(Reason::Status),
        ),
        (
            &[],
            206,
            &[fresh, "content-range: bytes 0-14/10"],
            Some(Reason::Status),
        ),
        (
            &[],
            206,
            &[fresh, "content-type: multipart/byteranges; boundary=x"],
            Some(Reason::Status),
        ),
        (&[], 304, &[fresh], Some(Reason::Status)),
        (&[], 200, &[], Some(Reason::NeverReusable)),
        (&[], 200, &["etag: \"a\""], None),
        (&[], 200, &["last-modified: {-1000}"], None),
        (
            &[],
            200,
            &["cache-control: max-age=0"],
            Some(Reason::NeverReusable),
        ),
        (
            &[],
            200,
            &["cache-control: max-age=0, stale-if-error=60"],
            None,
        ),
        (
            &[],
            200,
            &["cache-control: no-cache, max-age=60"],
            Some(Reason::NeverReusable),
        ),
        (&[], 200, &["cache-control: no-cache", "etag: \"a\""], None),
        (&[], 302, &[], Some(Reason::NoFreshness)),
        (&[], 302, &["etag: \"a\""], Some(Reason::NoFreshness)),
        (&[], 302, &["cache-control: public", "etag: \"a\""], None),
        (
            &[],
            403,
            &["last-modified: {-1000}"],
            Some(Reason::NoFreshness),
        ),
    ] {
        assert_eq!(
            decided(&Method::GET, request, status, response, &Policy::default()),
            expected,
            "{request:?} {status} {response:?}"
        );
    }
    for method in [
        Method::HEAD,
        Method::POST,
        Method::OPTIONS,
        Method::from_bytes(b"M-SEARCH").unwrap(),
    ] {
        assert_eq!(
            decided(&method, &[], 200, &[fresh], &Policy::default()),
            Some(Reason::Method)
        );
    }
}

#[test]
fn site_rules() {
    let get = |request: &[&str], status, response: &[&str], policy: &Policy| {
        decided(&Method::GET, request, status, response, policy)
    };
    let fresh = "cache-control: max-age=60";
    for set_cookie in [SetCookie::Strip, SetCookie::Store] {
        let policy = Policy {
            set_cookie,
            ..Policy::default()
        };
        assert_eq!(get(&[], 200, &[fresh, "set-cookie: a=b"], &policy), None);
    }
    let ignoring = Policy {
        ignore_origin: true,
        ignore_client: true,
        ttl: Some(secs(60)),
        ..Policy::default()
    };
    assert_eq!(
        get(
            &["cache-control: no-store"],
            200,
            &["cache-control: private, no-store"],
            &ignoring
        ),
        None
    );
    assert_eq!(
        get(
            &["authorization: x"],
            200,
            &["cache-control: private"],
            &ignoring
        ),
        Some(Reason::Authorization)
    );
    let rule = Policy {
        ttl: Some(secs(60)),
        ..Policy::default()
    };
    assert_eq!(get(&[], 302, &[], &rule), None);
    assert_eq!(
        get(&[], 200, &["cache-control: private"], &rule),
        Some(Reason::Private)
    );
    let stale = Policy {
        stale_if_error: secs(60),
        ..Policy::default()
    };
    assert_eq!(
        get(&[], 200, &[], &stale),
        Some(Reason::NeverReusable),
        "nobody ever said that this is cacheable"
    );
    let parts = Policy {
        store_partial: false,
        ..Policy::default()
    };
    assert_eq!(
        get(&[], 206, &[fresh, "content-range: bytes 0-4/10"], &parts),
        Some(Reason::Status)
    );
}
