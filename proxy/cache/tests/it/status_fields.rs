//! `Cache-Status` and `Proxy-Status`.

use anypop_cache::cache_status::{CacheStatus, Forward};
use anypop_cache::proxy_status::{PROXY_STATUS, ProxyError, ProxyStatus};
use anypop_cache::storability::Reason;
use http::{StatusCode, header};
use proptest::prelude::*;
use sfv::{List, ListEntry, Parser};

use crate::support::{field_value, headers};

#[test]
fn cache_status() {
    let hit = CacheStatus::hit()
        .ttl(-412)
        .key("shop|http://h/ä\"\\")
        .detail("memory");
    assert_eq!(
        hit.render("anypop"),
        r#"anypop;hit;ttl=-412;key="shop|http://h/%C3%A4\"\\";detail=memory"#
    );
    let reason = Reason::Authorization.to_string();
    let miss = CacheStatus::forward(Forward::Stale)
        .forward_status(StatusCode::NOT_MODIFIED)
        .stored(true)
        .collapsed(true)
        .detail(&reason);
    assert_eq!(
        miss.render("anypop"),
        "anypop;fwd=stale;fwd-status=304;stored;collapsed;detail=authorization"
    );
    assert_eq!(
        CacheStatus::hit()
            .stored(true)
            .collapsed(true)
            .render("pop 1"),
        "\"pop 1\";hit"
    );
    assert_eq!(
        CacheStatus::new().detail("only if cached").render("a"),
        "a;detail=\"only if cached\""
    );
    let all = [
        Forward::Bypass,
        Forward::Method,
        Forward::UriMiss,
        Forward::VaryMiss,
        Forward::Miss,
        Forward::Request,
        Forward::Stale,
        Forward::Partial,
    ];
    assert_eq!(
        all.map(Forward::as_str),
        [
            "bypass",
            "method",
            "uri-miss",
            "vary-miss",
            "miss",
            "request",
            "stale",
            "partial"
        ]
    );
}

#[test]
fn it_is_appended() {
    let mut map = headers(&["cache-status: Origin; hit; ttl=1"]);
    CacheStatus::hit().append_to(&mut map, "anypop");
    assert_eq!(
        map.get_all(header::CACHE_STATUS).iter().collect::<Vec<_>>(),
        ["Origin; hit; ttl=1", "anypop;hit"]
    );
    for hides_ours in [
        &["cache-status: HIT from x@y,,"][..],
        &["cache-status:"],
        &["cache-status: a; hit", "cache-status:"],
    ] {
        let mut map = headers(hides_ours);
        CacheStatus::hit().append_to(&mut map, "anypop");
        assert_eq!(
            map.get_all(header::CACHE_STATUS).iter().collect::<Vec<_>>(),
            ["anypop;hit"],
            "{hides_ours:?}"
        );
    }
}

#[test]
fn proxy_status() {
    let refused = ProxyStatus::error(ProxyError::ConnectionRefused)
        .next_hop("origin.example")
        .details("port 80");
    assert_eq!(
        refused.render("anypop"),
        "anypop;error=connection_refused;next-hop=origin.example;details=\"port 80\""
    );
    let dns = ProxyStatus::error(ProxyError::DnsError)
        .rcode("NXDOMAIN")
        .alert_id(3);
    assert_eq!(
        dns.render("anypop"),
        "anypop;error=dns_error;rcode=\"NXDOMAIN\""
    );
    let tls = ProxyStatus::error(ProxyError::TlsAlertReceived)
        .alert_id(40)
        .next_protocol("h2")
        .received_status(StatusCode::OK);
    assert_eq!(
        tls.render("anypop"),
        "anypop;error=tls_alert_received;next-protocol=h2;received-status=200;alert-id=40"
    );
    assert_eq!(
        ProxyError::DnsTimeout.recommended_status(),
        StatusCode::GATEWAY_TIMEOUT
    );
    assert_eq!(ProxyError::ALL.len(), 32);
    let mut map = headers(&[]);
    for error in ProxyError::ALL {
        ProxyStatus::error(*error).append_to(&mut map, "anypop");
        assert!(
            error.recommended_status().is_client_error()
                || error.recommended_status().is_server_error()
        );
    }
    let lines: Vec<&[u8]> = map
        .get_all(PROXY_STATUS)
        .iter()
        .map(|v| v.as_bytes())
        .collect();
    assert_eq!(
        Parser::new(&lines.join(&b", "[..]))
            .parse::<List>()
            .unwrap()
            .len(),
        32
    );
}

proptest! {
    /// Whatever is in names, keys and details, and whatever upstream sent, the field is a
    /// structured list with our member last.
    #[test]
    fn what_is_rendered_parses(name in "\\PC{1,10}", key in "\\PC{0,20}", detail in "\\PC{0,20}", ttl: i64, upstream in field_value()) {
        let mut map = http::HeaderMap::new();
        map.append(header::CACHE_STATUS, upstream);
        CacheStatus::forward(Forward::Miss).ttl(ttl).key(&key).detail(&detail).append_to(&mut map, &name);
        let lines: Vec<&[u8]> = map.get_all(header::CACHE_STATUS).iter().map(|v| v.as_bytes()).collect();
        let list: List = Parser::new(&lines.join(&b", "[..])).parse().unwrap();
        let Some(ListEntry::Item(last)) = list.last() else { panic!("no member") };
        prop_assert_eq!(last.params.get("fwd").and_then(|v| v.as_token()).map(|t| t.as_str()), Some("miss"));
        prop_assert!(last.params.contains_key("key") && last.params.contains_key("detail") && last.params.contains_key("ttl"));
    }
}
