//! What is stored besides header and body.

use anypop_cache::meta::{BodyLength, Receipt, StoredMeta};
use anypop_cache::policy::Policy;
use anypop_cache::storability::{Reason, Storability};
use anypop_cache::tags::{Limits, Tags};
use anypop_cache::vary::Normalise;
use http::{Method, StatusCode};

use crate::support::{NOW, control, dated, headers, secs};

fn meta(status: u16, response: &[&str]) -> Option<StoredMeta> {
    let (request, response) = (headers(&["foo: 1"]), dated(response));
    let receipt = Receipt {
        site: "shop",
        request: &request,
        normalise: &Normalise::default(),
        status: StatusCode::from_u16(status).unwrap(),
        response: &response,
        requested: NOW.minus(secs(1)),
        received: NOW,
        purge_seq: 7,
    };
    StoredMeta::new(
        &receipt,
        &control(&response),
        &Tags::of(&response, &Limits::default()),
        &Policy::default(),
    )
}

#[test]
fn it_survives_the_disk() {
    for meta in [
        meta(
            200,
            &[
                "cache-control: max-age=60",
                "etag: W/\"a\u{e4}\"",
                "vary: Foo, Bar",
                "surrogate-key: a b",
                "content-length: 5",
                "age: 3",
            ],
        )
        .unwrap(),
        meta(
            206,
            &[
                "cache-control: max-age=60",
                "content-range: bytes 0-4/10",
                "content-length: 5",
            ],
        )
        .unwrap(),
    ] {
        let json = serde_json::to_string(&meta).unwrap();
        assert_eq!(serde_json::from_str::<StoredMeta>(&json).unwrap(), meta);
        assert_eq!(
            meta.clock.initial_age,
            if meta.status == StatusCode::OK {
                secs(4)
            } else {
                secs(1)
            }
        );
        assert_eq!((meta.purge_seq, meta.length), (7, BodyLength::Known(5)));
    }
    let part = meta(206, &["content-range: bytes 0-4/10"])
        .unwrap()
        .partial
        .unwrap();
    assert_eq!((part.complete, part.stored.total()), (10, 5));
    assert!(meta(206, &[]).is_none());
    assert!(meta(200, &["vary: *"]).is_none());
    assert!(meta(200, &["content-length: 5", "content-length: 6"]).is_none());
}

#[test]
fn it_knows_its_requests() {
    let meta = meta(200, &["vary: foo, bar"]).unwrap();
    assert!(meta.matches(&headers(&["foo: 1", "other: 1"]), &Normalise::default()));
    assert!(!meta.matches(&headers(&["foo: 1", "bar: 1"]), &Normalise::default()));
    assert!(!meta.matches(&headers(&["foo: 2"]), &Normalise::default()));
}

#[test]
fn validation_refreshes_it() {
    let meta = meta(
        200,
        &[
            "cache-control: max-age=60",
            "etag: \"a\"",
            "surrogate-key: a",
            "vary: foo",
            "content-length: 5",
        ],
    )
    .unwrap();
    let refresh = |request: &[&str], new: &[&str]| {
        let mut stored = dated(&[
            "cache-control: max-age=60",
            "etag: \"a\"",
            "surrogate-key: a",
            "vary: foo",
            "date: {-90}",
        ]);
        let (request, new) = (headers(request), dated(new));
        let receipt = Receipt {
            site: "shop",
            request: &request,
            normalise: &Normalise::default(),
            status: StatusCode::NOT_MODIFIED,
            response: &new,
            requested: NOW.plus(secs(99)),
            received: NOW.plus(secs(100)),
            purge_seq: 9,
        };
        (
            meta.refresh(
                &mut stored,
                &receipt,
                &Limits::default(),
                &Policy::default(),
            ),
            stored,
        )
    };
    let (found, stored) = refresh(
        &["foo: 1", "bar: 2"],
        &["cache-control: max-age=5", "vary: bar", "cache-tag: b"],
    );
    assert_eq!(found.verdict, Storability::Storable);
    assert_eq!(
        (
            found.meta.clock.initial_age,
            found.meta.clock.lifetime.fresh_for
        ),
        (secs(1), secs(5))
    );
    assert_eq!(
        (
            found.meta.purge_seq,
            found.meta.length,
            found.meta.tags.len()
        ),
        (9, meta.length, 2)
    );
    assert_eq!(found.meta.validators.etag, meta.validators.etag);
    assert!(
        found
            .meta
            .matches(&headers(&["bar: 2"]), &Normalise::default())
    );
    assert_eq!(stored["vary"], "bar");

    for (request, new, reason) in [
        (
            &["foo: 1"][..],
            &["cache-control: no-store"][..],
            Reason::NoStore,
        ),
        (&["foo: 1"], &["cache-control: private"], Reason::Private),
        (&["foo: 1"], &["vary: *"], Reason::VaryStar),
        (&["foo: 1", "authorization: x"], &[], Reason::Authorization),
    ] {
        let (found, _) = refresh(request, new);
        assert_eq!(found.verdict, Storability::NotStorable(reason));
        assert_eq!(reason.is_about_request(), reason == Reason::Authorization);
    }
}

#[test]
fn body_lengths() {
    let of = |method: &Method, status: u16, lines: &[&str]| {
        BodyLength::of(
            method,
            StatusCode::from_u16(status).unwrap(),
            &headers(lines),
        )
    };
    assert_eq!(
        of(&Method::GET, 200, &["content-length: 5"]),
        Some(BodyLength::Known(5))
    );
    assert_eq!(
        of(
            &Method::GET,
            200,
            &["content-length: 5", "content-length: 5"]
        ),
        Some(BodyLength::Known(5))
    );
    assert_eq!(of(&Method::GET, 200, &[]), Some(BodyLength::Unknown));
    for bad in [
        "content-length: +5",
        "content-length:",
        "content-length: 5, 5",
        "content-length: 99999999999999999999999",
    ] {
        assert_eq!(of(&Method::GET, 200, &[bad]), None, "{bad}");
    }
    assert_eq!(
        of(&Method::HEAD, 200, &["content-length: 5"]),
        Some(BodyLength::Known(0))
    );
    assert_eq!(of(&Method::GET, 204, &[]), Some(BodyLength::Known(0)));
    assert!(
        BodyLength::Known(5).accepts(5)
            && !BodyLength::Known(5).accepts(4)
            && BodyLength::Unknown.accepts(4)
    );
}
