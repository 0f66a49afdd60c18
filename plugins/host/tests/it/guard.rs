//! The table of what guests may write.

use anypop_plugins::{
    Fields,
    guard::{self, Place, Refused},
};
use bytes::Bytes;
use proptest::prelude::*;

use crate::support::*;

#[test]
fn names_and_values() {
    use Place::*;
    type Expected = Result<(&'static str, &'static str), Refused>;
    let cases: &[(Place, &str, &str, Expected)] = &[
        (Request, "X-A", "v", Ok(("x-a", "v"))),
        (Request, "x-a", " \tv w\t ", Ok(("x-a", "v w"))),
        (Request, "x-a", "", Ok(("x-a", ""))),
        (Request, "x-a", "a\tb", Ok(("x-a", "a\tb"))),
        (Request, "x-a", "ü", Ok(("x-a", "ü"))),
        (Request, "x-a", "a\nb", Err(Refused::Value)),
        (Request, "x-a", "a\rb", Err(Refused::Value)),
        (Request, "x-a", "a\0b", Err(Refused::Value)),
        (Request, "x-a", "a\u{7f}b", Err(Refused::Value)),
        (Request, "x a", "v", Err(Refused::Name)),
        (Request, "x:a", "v", Err(Refused::Name)),
        (Request, "x\r\na", "v", Err(Refused::Name)),
        (Request, "", "v", Err(Refused::Name)),
        (Request, "ü", "v", Err(Refused::Name)),
        (Request, "Content-Length", "1", Err(Refused::Framing)),
        (
            Response,
            "transfer-encoding",
            "chunked",
            Err(Refused::Framing),
        ),
        (Response, "Connection", "close", Err(Refused::Framing)),
        (Request, "cdn-loop", "", Err(Refused::Framing)),
        (Request, ":path", "/x?y", Ok((":path", "/x?y"))),
        (Request, ":path", "*", Ok((":path", "*"))),
        (Request, ":path", "x", Err(Refused::Pseudo)),
        (Request, ":path", "/#f", Err(Refused::Pseudo)),
        (Request, ":path", "/ü", Err(Refused::Pseudo)),
        (Request, ":path", "", Err(Refused::Pseudo)),
        (
            Request,
            "host",
            "a.example:81",
            Ok((":authority", "a.example:81")),
        ),
        (
            Request,
            ":authority",
            "user@a.example",
            Err(Refused::Pseudo),
        ),
        (
            Request,
            ":authority",
            "[::1]:80",
            Ok((":authority", "[::1]:80")),
        ),
        (Request, ":authority", "", Err(Refused::Pseudo)),
        (Request, ":method", "PURGE", Ok((":method", "PURGE"))),
        (Request, ":method", "CONNECT", Err(Refused::Pseudo)),
        (Request, ":scheme", "http", Err(Refused::Pseudo)),
        (Call, ":scheme", "http", Ok((":scheme", "http"))),
        (Response, ":path", "/", Err(Refused::Pseudo)),
        (Response, ":status", "599", Ok((":status", "599"))),
        (Response, ":status", "100", Err(Refused::Pseudo)),
        (Response, ":status", "600", Err(Refused::Pseudo)),
        (Response, ":status", "20", Err(Refused::Pseudo)),
        (Response, ":status", "2000", Err(Refused::Pseudo)),
        (Trailers, ":status", "200", Err(Refused::Pseudo)),
        (Trailers, "grpc-status", "0", Ok(("grpc-status", "0"))),
        (Trailers, "set-cookie", "a", Err(Refused::Framing)),
        (Trailers, "Cache-Control", "no-store", Err(Refused::Framing)),
    ];
    for (place, name, value, expected) in cases {
        let result = guard::check(*place, name.as_bytes(), value.as_bytes());
        let result = result
            .as_ref()
            .map(|(name, value)| (&**name, &**value))
            .map_err(|refused| *refused);
        let expected = expected.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert_eq!(result, expected, "{place:?} {name:?} {value:?}");
    }
    let long = "v".repeat(guard::MAX_VALUE + 1);
    assert_eq!(
        guard::check(Request, b"x", long.as_bytes()),
        Err(Refused::Length)
    );
}

#[test]
fn content_length_goes_but_other_framing_stays() {
    let mut fields = Fields::response(
        200,
        &headers(&[("content-length", "3"), ("transfer-encoding", "chunked")]),
    );
    assert_eq!(guard::remove(&mut fields, b"Content-Length"), Ok(()));
    assert_eq!(
        guard::remove(&mut fields, b"Transfer-Encoding"),
        Err(Refused::Framing)
    );
    assert_eq!(guard::remove(&mut fields, b":status"), Err(Refused::Pseudo));
    assert_eq!(
        guard::remove(&mut fields, b"connection"),
        Ok(()),
        "there is none"
    );
    assert_eq!(
        fields.to_headers(),
        headers(&[("transfer-encoding", "chunked")])
    );
}

#[test]
fn replacing_takes_the_place_of_all_values() {
    let mut fields = response();
    assert_eq!(
        guard::replace(&mut fields, Place::Response, b"Set-Cookie", b"c=3"),
        Ok(())
    );
    assert_eq!(
        fields.to_headers(),
        headers(&[("content-type", "text/plain"), ("set-cookie", "c=3")])
    );
    assert_eq!(
        guard::add(&mut fields, Place::Response, b"set-cookie", b"d=4"),
        Ok(())
    );
    assert_eq!(fields.to_headers().get_all("set-cookie").iter().count(), 2);
}

#[test]
fn writing_back_a_whole_head_changes_nothing() {
    let mut fields = post(3);
    let pairs: Vec<_> = fields
        .iter()
        .map(|(n, v)| (Bytes::copy_from_slice(n), Bytes::copy_from_slice(v)))
        .collect();
    assert_eq!(guard::replace_all(&mut fields, Place::Request, &pairs), 0);
    let mut names: Vec<_> = fields.iter().map(|(n, _)| n.to_vec()).collect();
    names.sort();
    assert_eq!(fields, post(3));
    // A scheme that changes and a length that lies are refused; a length left out is gone.
    let lies = [(":scheme", "http"), ("content-length", "99")]
        .map(|(n, v)| (Bytes::from(n), Bytes::from(v)));
    assert_eq!(guard::replace_all(&mut fields, Place::Request, &lies), 2);
    assert_eq!(
        (fields.text(":scheme"), fields.text("content-length")),
        (Some("https"), Some("3"))
    );
    assert_eq!(guard::replace_all(&mut fields, Place::Request, &[]), 0);
    assert_eq!(fields.text("content-length"), None);
    assert_eq!(fields.path(), "/form");
}

proptest! {
    #[test]
    fn whatever_passes_is_a_field(name: Vec<u8>, value: Vec<u8>) {
        for place in [Place::Request, Place::Response, Place::Trailers, Place::Call] {
            if let Ok((name, value)) = guard::check(place, &name, &value) {
                prop_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
                prop_assert!(!guard::host_only(&name));
                if !name.starts_with(b":") {
                    prop_assert!(http::HeaderName::from_bytes(&name).is_ok());
                    prop_assert!(http::HeaderValue::from_bytes(&value).is_ok());
                }
            }
        }
    }
}
