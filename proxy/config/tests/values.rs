//! Values: what they mean, and that render → parse gives the same again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::{net::IpAddr, time::Duration};

use anypop_config::value::{
    AccessLog, ByteSize, CookieName, HostPattern, Hostname, HttpUrl, MethodSet, Network, Networks,
    PathGlob, ServerUrl, SiteId, Token, duration,
};
use http::Method;
use proptest::prelude::*;

#[test]
fn durations() {
    for (text, millis) in [
        ("0s", 0),
        ("250ms", 250),
        ("3s", 3_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("365d", 31_536_000_000),
    ] {
        assert_eq!(
            duration::parse(text).unwrap(),
            Duration::from_millis(millis),
            "{text}"
        );
        assert_eq!(duration::render(Duration::from_millis(millis)), text);
    }
    assert_eq!(duration::render(Duration::from_secs(120)), "2m");
    for text in [
        "",
        "s",
        "5",
        "5 s",
        "-1s",
        "1.5s",
        "1S",
        "5mins",
        "36501d",
        "99999999999999999999s",
        "18446744073709551615d",
        "٣s",
    ] {
        assert!(duration::parse(text).is_err(), "{text}");
    }
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("1024", 1024),
        ("7B", 7),
        ("32KiB", 32 << 10),
        ("512MiB", 512 << 20),
        ("20GiB", 20 << 30),
        ("100MB", 100_000_000),
        ("2TB", 2_000_000_000_000),
    ] {
        assert_eq!(text.parse::<ByteSize>().unwrap().bytes(), bytes, "{text}");
    }
    for text in [
        "",
        "MiB",
        "1 MiB",
        "1mib",
        "1.5GiB",
        "-1",
        "1PiB",
        "99999999TiB",
        "9223372036854775808",
    ] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
}

#[test]
fn hosts() {
    assert_eq!(
        "WWW.Shop.Example".parse::<Hostname>().unwrap().as_str(),
        "www.shop.example"
    );
    assert_eq!(
        "xn--mnchen-3ya.example"
            .parse::<Hostname>()
            .unwrap()
            .as_str(),
        "xn--mnchen-3ya.example"
    );
    assert_eq!(
        "[2001:DB8:0::1]".parse::<Hostname>().unwrap().as_str(),
        "[2001:db8::1]"
    );
    assert_eq!(
        "192.0.2.1".parse::<Hostname>().unwrap().as_str(),
        "192.0.2.1"
    );
    let long = format!("{}.example", ["a"; 123].join("."));
    assert_eq!(long.len(), 253);
    assert!(long.parse::<Hostname>().is_ok());
    assert!(format!("a{long}").parse::<Hostname>().is_err());
    assert!(
        format!("{}.example", "a".repeat(64))
            .parse::<Hostname>()
            .is_err()
    );
    assert!("[::1".parse::<Hostname>().is_err());

    let wildcard: HostPattern = "*.Shop.example".parse().unwrap();
    for (host, fits) in [
        ("a.shop.example", true),
        ("a.b.shop.example", true),
        ("shop.example", false),
        (".shop.example", false),
        ("ashop.example", false),
    ] {
        assert_eq!(wildcard.matches(host), fits, "{host}");
    }
    assert_eq!("*".parse::<HostPattern>().unwrap(), HostPattern::Any);
    assert!("**.shop.example".parse::<HostPattern>().is_err());
    assert!("*shop.example".parse::<HostPattern>().is_err());
}

#[test]
fn globs() {
    for (pattern, path, fits) in [
        ("/a", "/a", true),
        ("/a", "/a/", false),
        ("/static/*", "/static/", true),
        ("/static/*", "/static/a/b.js", true),
        ("/static/*", "/static", false),
        ("*.js", "/a/b.js", true),
        ("*.js", "/a/b.jsx", false),
        ("*", "", true),
        ("/*/img/*.png", "/a/b/img/c/d.png", true),
        ("/*/img/*.png", "/img/d.png", false),
        ("/a*a", "/a", false),
        ("/a*a", "/aa", true),
        ("/a*b*c", "/a-c-b-c", true),
        ("/a*b*c", "/a-c-b", false),
        ("/**", "/x", true),
    ] {
        assert_eq!(
            pattern.parse::<PathGlob>().unwrap().matches(path),
            fits,
            "{pattern} {path}"
        );
    }
    assert_eq!(
        "/a**b".parse::<PathGlob>().unwrap(),
        "/a*b".parse().unwrap()
    );
    assert_eq!("*".parse::<PathGlob>().unwrap(), PathGlob::any());
    assert_eq!("**".parse::<PathGlob>().unwrap(), PathGlob::any());
    for pattern in ["", "static/*", "/a b", "/ä", "/a?b=1", "/a#b"] {
        assert!(pattern.parse::<PathGlob>().is_err(), "{pattern}");
    }
}

#[test]
fn servers() {
    for (text, shown, authority, port) in [
        (
            "https://origin.shop.example",
            "https://origin.shop.example",
            "origin.shop.example",
            443,
        ),
        (
            "https://origin.shop.example:443/",
            "https://origin.shop.example",
            "origin.shop.example",
            443,
        ),
        (
            "http://Origin.example:8080",
            "http://origin.example:8080",
            "origin.example:8080",
            8080,
        ),
        ("http://[::1]:8000", "http://[::1]:8000", "[::1]:8000", 8000),
        ("http://127.0.0.1", "http://127.0.0.1", "127.0.0.1", 80),
    ] {
        let url: ServerUrl = text.parse().unwrap();
        assert_eq!(
            (url.to_string(), url.authority(), url.port),
            (shown.into(), authority.into(), port),
            "{text}"
        );
    }
    for text in [
        "",
        "origin.example",
        "ftp://a",
        "https://",
        "https://a/b",
        "https://a?b",
        "https://u:p@a",
        "http://a:0",
        "http://a:65536",
        "http://a:+80",
        "http://a:",
        "http://[::1",
        "http://[::1]80",
        "HTTP://a",
    ] {
        assert!(text.parse::<ServerUrl>().is_err(), "{text}");
    }
}

#[test]
fn networks() {
    let set: Networks = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "192.0.2.1",
        "2001:db8::/32",
        "192.0.2.0",
    ]
    .iter()
    .map(|text| text.parse::<Network>().unwrap())
    .collect();
    assert_eq!(
        set.iter()
            .map(|network| network.to_string())
            .collect::<Vec<_>>(),
        ["10.0.0.0/8", "192.0.2.0/31", "2001:db8::/32"]
    );
    for (address, inside) in [
        ("9.255.255.255", false),
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("::ffff:10.2.3.4", true),
        ("2001:db8::1", true),
        ("2001:db9::", false),
        ("::", false),
    ] {
        assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
    }
    assert!(!Networks::default().contains("10.0.0.1".parse().unwrap()));
}

#[test]
fn methods() {
    let set = MethodSet::from_names(["GET", "PURGE", "POST", "PURGE"]).unwrap();
    assert_eq!(set.names().collect::<Vec<_>>(), ["GET", "POST", "PURGE"]);
    assert!(set.contains(&Method::GET) && set.contains(&Method::from_bytes(b"PURGE").unwrap()));
    assert!(
        !set.contains(&Method::PUT) && !set.contains(&Method::from_bytes(b"PROPFIND").unwrap())
    );
    assert_eq!(MethodSet::usual().names().count(), 7);
}

#[test]
fn tokens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "  0123456789abcdef\n").unwrap();
    let token = Token::read(&file).unwrap();
    assert!(token.matches(b"0123456789abcdef"));
    for wrong in [
        &b""[..],
        b"0123456789abcdeg",
        b"0123456789abcde",
        b"0123456789abcdef0",
    ] {
        assert!(!token.matches(wrong));
    }
    assert!(!format!("{token:?}").contains("0123"));
    for bad in ["", "short", "two words of sixteen", &"a".repeat(5000)] {
        std::fs::write(&file, bad).unwrap();
        assert!(Token::read(&file).is_err(), "{bad}");
    }
}

/// Parses a text as every kind of value; none may panic, and what parses must survive being rendered.
fn round_trips(text: &str) {
    macro_rules! check {
        ($($type:ty),*) => {$(
            if let Ok(value) = text.parse::<$type>() {
                let rendered = value.to_string();
                assert_eq!(rendered.parse::<$type>().as_ref(), Ok(&value), "{text:?} as {}", stringify!($type));
            }
        )*};
    }
    check!(
        duration::Text,
        ByteSize,
        Hostname,
        HostPattern,
        SiteId,
        PathGlob,
        Network,
        ServerUrl,
        HttpUrl,
        AccessLog,
        CookieName
    );
    let _ = MethodSet::from_names([text]);
}

/// A glob by trying everything, to compare with.
fn plain_glob(pattern: &[u8], path: &[u8]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((b'*', rest)) => (0..=path.len()).any(|skip| plain_glob(rest, &path[skip..])),
        Some((byte, rest)) => path
            .split_first()
            .is_some_and(|(first, path)| first == byte && plain_glob(rest, path)),
    }
}

proptest! {
    #[test]
    fn any_text(text in "\\PC*") {
        round_trips(&text);
    }

    #[test]
    fn likely_text(text in "(\\*\\.|https?://|\\[|file:|syslog:)?[a-zA-Z0-9.:*/\\[\\]-]{0,24}(ms|[smhd]|[KMGT]i?B|:[0-9]{1,6}|/[0-9]{1,3}|/)?") {
        round_trips(&text);
    }

    #[test]
    fn every_duration(millis in 0..=36_500 * 86_400_000_u64) {
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(duration::parse(&duration::render(duration)).unwrap(), duration);
    }

    #[test]
    fn every_size(bytes in 0..=i64::MAX as u64) {
        let size = ByteSize::new(bytes);
        prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
    }

    #[test]
    fn every_address(address: IpAddr) {
        let name = Hostname::from_address(address);
        prop_assert_eq!(name.as_str().parse::<Hostname>().unwrap(), name);
    }

    #[test]
    fn globs_as_plain_ones(pattern in "[/*][ab*]{0,8}", path in "/?[ab]{0,10}") {
        let glob: PathGlob = pattern.parse().unwrap();
        prop_assert_eq!(glob.matches(&path), plain_glob(pattern.as_bytes(), path.as_bytes()), "{} {}", pattern, path);
    }

    #[test]
    fn networks_as_a_list(nets in proptest::collection::vec((0_u32..64, 24_u8..=32), 0..8), address in 0_u32..20_000) {
        let list: Vec<Network> = nets
            .iter()
            .map(|(high, length)| {
                let net = ipnet::Ipv4Net::new((high << 8 | high).into(), *length).unwrap().trunc();
                net.to_string().parse().unwrap()
            })
            .collect();
        let address = IpAddr::V4(address.into());
        let set: Networks = list.iter().copied().collect();
        prop_assert_eq!(set.contains(address), list.iter().any(|network| network.net().contains(&address)));
    }
}
