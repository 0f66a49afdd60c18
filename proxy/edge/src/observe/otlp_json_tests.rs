#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
use super::super::record::tests::whole;
use super::super::trace::TraceParent;
use super::*;

fn attribute<'a>(span: &'a serde_json::Value, key: &str) -> &'a serde_json::Value {
    let all = span["attributes"].as_array().unwrap();
    all.iter()
        .find(|attribute| attribute["key"] == key)
        .map_or(&serde_json::Value::Null, |attribute| &attribute["value"])
}

fn json(span: &Span) -> serde_json::Value {
    serde_json::to_value(span).unwrap()
}

#[test]
fn spans_of_a_whole_record() {
    let record = whole();
    let parent = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let trace = Trace::begin(parent, Some("a=1".into()), true);

    let server = json(&server_span(&record, &trace));
    assert_eq!(server["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(server["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(server["spanId"], trace.span_id.to_string());
    assert_eq!(server["traceState"], "a=1");
    assert_eq!(server["name"], "GET");
    assert_eq!(server["kind"], 2);
    assert_eq!(server["startTimeUnixNano"], "1770091506000042000");
    assert_eq!(server["endTimeUnixNano"], "1770091508300498000");
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.scheme", "https"),
        ("url.path", "/a%20b"),
        ("url.query", "q=\"x\\y\""),
        ("server.address", "www.shop.example"),
        ("client.address", "2001:db8::7"),
        ("network.protocol.version", "2"),
        ("anypop.cache", "revalidated"),
        ("anypop.site", "shop"),
    ] {
        assert_eq!(attribute(&server, key)["stringValue"], value, "{key}");
    }
    assert_eq!(
        attribute(&server, "http.response.status_code")["intValue"],
        "200"
    );
    assert_eq!(attribute(&server, "anypop.collapsed")["boolValue"], true);

    let origin = json(&origin_span(
        &record,
        record.origin.as_ref().unwrap(),
        &trace,
    ));
    assert_eq!(origin["parentSpanId"], server["spanId"]);
    assert_eq!(origin["spanId"], trace.origin_span_id.to_string());
    assert_eq!(origin["kind"], 3);
    assert_eq!(origin["startTimeUnixNano"], "1770091506000162000");
    assert_eq!(
        attribute(&origin, "server.address")["stringValue"],
        "origin.shop.example"
    );
    assert_eq!(attribute(&origin, "server.port")["intValue"], "443");
    assert_eq!(
        attribute(&origin, "network.peer.address")["stringValue"],
        "2001:db8:1::1"
    );
    assert_eq!(
        attribute(&origin, "url.full")["stringValue"],
        "https://origin.shop.example/a%20b?q=\"x\\y\""
    );
    assert_eq!(
        attribute(&origin, "http.request.resend_count")["intValue"],
        "1"
    );
    assert!(origin.get("status").is_none());
}

#[test]
fn errors() {
    let trace = Trace::begin(None, None, true);
    for (status, error, kind) in [
        (200, "", None),
        (404, "", None),
        (400, "http_request_error", None),
        (0, "", None),
        (0, CLIENT_GONE, None),
        (200, CLIENT_GONE, None),
        (502, "connection_refused", Some("connection_refused")),
        (500, "", Some("500")),
        (
            200,
            "http_response_incomplete",
            Some("http_response_incomplete"),
        ),
    ] {
        let span = json(&server_span(
            &AccessRecord {
                status,
                error,
                ..AccessRecord::default()
            },
            &trace,
        ));
        assert_eq!(
            attribute(&span, "error.type")["stringValue"].as_str(),
            kind,
            "{status} {error}"
        );
        assert_eq!(
            span.get("status").is_some(),
            kind.is_some(),
            "{status} {error}"
        );
    }
    let origin = OriginRecord {
        status: 404,
        result: OriginResult::ClientError,
        ..OriginRecord::default()
    };
    let span = json(&origin_span(&AccessRecord::default(), &origin, &trace));
    assert_eq!(attribute(&span, "error.type")["stringValue"], "404");
    let origin = OriginRecord {
        result: OriginResult::Connect,
        ..OriginRecord::default()
    };
    let span = json(&origin_span(&AccessRecord::default(), &origin, &trace));
    assert_eq!(attribute(&span, "error.type")["stringValue"], "connect");
    assert_eq!(span["status"]["code"], 2);
}

#[test]
fn unknown_methods_and_odd_bytes() {
    let trace = Trace::begin(None, None, true);
    let record = AccessRecord {
        method: b"BREW",
        host: b"[2001:db8::1]:8080",
        user_agent: b"\xff",
        ..AccessRecord::default()
    };
    let span = json(&server_span(&record, &trace));
    assert_eq!(span["name"], "HTTP");
    assert_eq!(
        attribute(&span, "http.request.method")["stringValue"],
        "_OTHER"
    );
    assert_eq!(
        attribute(&span, "http.request.method_original")["stringValue"],
        "BREW"
    );
    assert_eq!(
        attribute(&span, "server.address")["stringValue"],
        "2001:db8::1"
    );
    assert_eq!(attribute(&span, "server.port")["intValue"], "8080");
    assert_eq!(
        attribute(&span, "user_agent.original")["stringValue"],
        "\u{fffd}"
    );
    assert!(span.get("parentSpanId").is_none());
}

#[test]
fn authorities() {
    for (authority, host, port) in [
        (&b"a.example"[..], &b"a.example"[..], None),
        (b"a.example:80", b"a.example", Some(80)),
        (b"[::1]", b"::1", None),
        (b"[::1]:443", b"::1", Some(443)),
        (b"", b"", None),
        (b":", b"", None),
        (b"a:x", b"a", None),
        (b"a:99999", b"a", None),
    ] {
        assert_eq!(host_and_port(authority), (host, port));
    }
}

#[test]
fn the_request_names_its_sender() {
    let resource = Resource {
        version: "1.2.3".into(),
        node: "pop1-a".into(),
        pop: "pop1".into(),
    };
    let trace = Trace::begin(None, None, true);
    let body = encode(&resource, &[server_span(&AccessRecord::default(), &trace)]).unwrap();
    let request: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let sender = &request["resourceSpans"][0];
    assert_eq!(
        attribute(&sender["resource"], "service.name")["stringValue"],
        "anypop"
    );
    assert_eq!(
        attribute(&sender["resource"], "service.instance.id")["stringValue"],
        "pop1-a"
    );
    assert_eq!(sender["scopeSpans"][0]["scope"]["name"], "anypop");
    assert_eq!(
        sender["scopeSpans"][0]["spans"].as_array().unwrap().len(),
        1
    );
}
