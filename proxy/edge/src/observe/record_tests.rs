#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
use super::*;

/// A record with every field set.
pub(in crate::observe) fn whole() -> AccessRecord<'static> {
    AccessRecord {
        time: UNIX_EPOCH + Duration::from_micros(1_770_091_506_000_042),
        request_id: RequestId::from_bits([0xab; 16]),
        trace_id: TraceId::from_bits([0x11; 16]),
        span_id: SpanId::from_bits([0x22; 8]),
        pop: "pop1",
        node: "pop1-a",
        site: "shop",
        client: Some("2001:db8::7".parse().unwrap()),
        client_port: 51_312,
        protocol: Protocol::Http2,
        tls: Some(TlsRecord {
            version: TlsVersion::Tls13,
            cipher: "TLS_AES_128_GCM_SHA256",
            sni: b"www.shop.example",
            resumed: true,
        }),
        method: b"GET",
        scheme: "https",
        host: b"www.shop.example",
        path: b"/a%20b?q=\"x\\y\"",
        status: 200,
        cache: CacheResult::Revalidated,
        cache_status: "pop1; hit; fwd=stale; fwd-status=304; ttl=60",
        collapsed: true,
        age: Some(Duration::from_millis(12_700)),
        ttl: Some(-3),
        body_in: 0,
        bytes_in: 412,
        body_out: 1024,
        bytes_out: 1380,
        duration: Duration::from_micros(2_300_456),
        first_byte: Some(Duration::from_micros(1_200_003)),
        origin: Some(OriginRecord {
            server: "https://origin.shop.example",
            address: Some("[2001:db8:1::1]:443".parse().unwrap()),
            status: 304,
            result: OriginResult::Ok,
            started: Duration::from_micros(120),
            connect: Some(Duration::from_micros(10_000)),
            tls: Some(Duration::from_micros(20_500)),
            first_byte: Some(Duration::from_micros(900_000)),
            total: Duration::from_micros(901_234),
            retries: 1,
            reused: true,
            bytes_in: 210,
            bytes_out: 380,
        }),
        error: "connection_timeout",
        error_detail: b"192.0.2.1:443: no answer within 3s",
        refused: Some(Refusal::Rate),
        referer: b"https://www.shop.example/\xff",
        user_agent: "Prüfer/1.0\n".as_bytes(),
    }
}

fn line(record: &AccessRecord<'_>) -> String {
    let mut out = Vec::new();
    record.write_json(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_whole_record_reads_as_the_golden_file() {
    let line = line(&whole());
    assert_eq!(
        line,
        include_str!("golden/record.json").trim_end(),
        "golden/record.json: {line}"
    );
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["path"], "/a%20b?q=\"x\\y\"");
    assert_eq!(value["user_agent"], "Prüfer/1.0\n");
}

#[test]
fn an_empty_record_has_only_what_every_request_has() {
    let value: serde_json::Value = serde_json::from_str(&line(&AccessRecord::default())).unwrap();
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    let mut always = [
        "time",
        "protocol",
        "status",
        "cache",
        "body_in",
        "bytes_in",
        "body_out",
        "bytes_out",
        "duration",
    ];
    always.sort_unstable();
    let mut keys: Vec<&str> = keys.into_iter().map(String::as_str).collect();
    keys.retain(|key| *key != "request_id");
    keys.sort_unstable();
    assert_eq!(keys, always);
}

/// The manual explains every key that a line can have.
#[test]
fn the_manual_names_every_key() {
    let manual = include_str!("../../../../docs/logs.md");
    let value: serde_json::Value = serde_json::from_str(&line(&whole())).unwrap();
    for key in value.as_object().unwrap().keys() {
        assert!(
            manual.contains(&format!("| `{key}` |")),
            "docs/logs.md lacks {key}"
        );
    }
}

#[test]
fn a_reused_buffer_is_appended_to() {
    let mut out = b"before\n".to_vec();
    AccessRecord::default().write_json(&mut out);
    assert!(out.starts_with(b"before\n{\"time\":\"1970-01-01T00:00:00.000000Z\""));
    assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
}
