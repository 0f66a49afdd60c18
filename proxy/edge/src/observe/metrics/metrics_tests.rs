#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
use std::collections::{BTreeMap, BTreeSet};

use super::super::labels::OriginResult;
use super::super::record::OriginRecord;
use super::*;

/// An exposition, read back: each sample by its name and labels as written.
struct Exposition {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

/// Reads OpenMetrics text, strictly in what this program writes: every sample belongs to the family announced before it, with the suffix
/// that its type has; families do not repeat, nor do samples; the end is marked.
fn read(text: &str) -> Exposition {
    let mut families = BTreeMap::new();
    let mut samples = BTreeMap::new();
    let mut current = (String::new(), String::new());
    let body = text.strip_suffix("# EOF\n").expect("the end mark");
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            if words[0] == "TYPE" {
                current = (words[1].to_owned(), words[2].to_owned());
                assert!(
                    families
                        .insert(words[1].to_owned(), words[2].to_owned())
                        .is_none(),
                    "{line} twice"
                );
            } else if words[0] == "UNIT" {
                assert!(words[1].ends_with(&format!("_{}", words[2])), "{line}");
            } else {
                assert_eq!(words[0], "HELP");
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let bare = name.split('{').next().unwrap();
        let suffix = bare
            .strip_prefix(current.0.as_str())
            .unwrap_or_else(|| panic!("{line} outside its family"));
        let allowed: &[&str] = match current.1.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_count", "_sum"],
            "info" => &["_info"],
            other => panic!("{other}"),
        };
        assert!(allowed.contains(&suffix), "{line}");
        let value: f64 = value.parse().unwrap();
        assert!(
            samples.insert(name.to_owned(), value).is_none(),
            "{line} twice"
        );
    }
    Exposition { families, samples }
}

fn sample(status: u16, cache: CacheResult) -> RequestSample {
    RequestSample {
        status,
        cache,
        protocol: Protocol::Http11,
        bytes_in: 100,
        bytes_out: 2000,
        duration: Duration::from_millis(3),
        first_byte: Some(Duration::from_millis(2)),
    }
}

/// Metrics in which every family has a sample.
fn busy() -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::new(Build {
        version: "1.2.3",
        commit: "abc",
    }));
    let shop = metrics.site("shop");
    metrics.request(&shop, &sample(200, CacheResult::Hit));
    metrics.request(&shop, &sample(200, CacheResult::Hit));
    metrics.request(&metrics.site(""), &sample(421, CacheResult::Synthetic));
    metrics.record(
        &shop,
        &AccessRecord {
            status: 503,
            cache: CacheResult::Miss,
            protocol: Protocol::Http2,
            collapsed: true,
            refused: Some(Refusal::Rate),
            origin: Some(OriginRecord {
                result: OriginResult::Timeout,
                retries: 2,
                bytes_in: 7,
                bytes_out: 300,
                ..OriginRecord::default()
            }),
            ..AccessRecord::default()
        },
    );
    metrics.connections_open.up();
    metrics.connections_accepted.add(3);
    metrics
        .connections_refused
        .inc(ConnectionRefusal::ClientLimit);
    metrics
        .handshakes
        .inc((TlsVersion::Tls13, HandshakeResult::Ok, Resumption::Resumed));
    metrics.fills.inc(FillEvent::Started);
    metrics.fill_failures.inc(FillFailure::Truncated);
    metrics.purges.inc((PurgeScope::Tag, PurgeKind::Soft));
    metrics.lost.add(LogKind::Access, 5);
    metrics.reloaded(
        Outcome::Failed,
        7,
        3,
        UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    );
    metrics.set_store_source(|| {
        vec![(
            "memory",
            StoreFigures {
                objects: 4,
                bytes: 5,
                capacity: 6,
                evictions: 7,
            },
        )]
    });
    metrics.set_origin_source(|| {
        let origin = |site: &str, health| OriginHealth {
            site: site.into(),
            server: "http://o".into(),
            health,
        };
        vec![origin("shop", Health::Down), origin("quiet", Health::Up)]
    });
    metrics
}

#[test]
fn the_exposition_reads_back() {
    let exposition = read(&busy().render());
    for (name, value) in [
        (
            r#"anypop_requests_total{site="shop",status="2xx",cache="hit",protocol="HTTP/1.1"}"#,
            2.0,
        ),
        (
            r#"anypop_requests_total{site="shop",status="5xx",cache="miss",protocol="HTTP/2"}"#,
            1.0,
        ),
        (
            r#"anypop_requests_total{site="none",status="4xx",cache="synthetic",protocol="HTTP/1.1"}"#,
            1.0,
        ),
        (
            r#"anypop_traffic_bytes_total{site="shop",direction="client_out"}"#,
            4000.0,
        ),
        (
            r#"anypop_traffic_bytes_total{site="shop",direction="origin_in"}"#,
            7.0,
        ),
        (
            r#"anypop_origin_requests_total{site="shop",result="timeout"}"#,
            1.0,
        ),
        (r#"anypop_origin_retries_total{site="shop"}"#, 2.0),
        (r#"anypop_request_duration_seconds_count{cache="hit"}"#, 2.0),
        (r#"anypop_request_duration_seconds_sum{cache="hit"}"#, 0.006),
        (
            r#"anypop_request_duration_seconds_bucket{le="0.0025",cache="hit"}"#,
            0.0,
        ),
        (
            r#"anypop_request_duration_seconds_bucket{le="0.005",cache="hit"}"#,
            2.0,
        ),
        (
            r#"anypop_request_duration_seconds_bucket{le="+Inf",cache="hit"}"#,
            2.0,
        ),
        (
            r#"anypop_request_first_byte_seconds_bucket{le="0.0025",cache="hit"}"#,
            2.0,
        ),
        (r#"anypop_refusals_total{reason="rate"}"#, 1.0),
        (r#"anypop_connections_open"#, 1.0),
        (r#"anypop_connections_accepted_total"#, 3.0),
        (
            r#"anypop_connections_refused_total{reason="client_limit"}"#,
            1.0,
        ),
        (
            r#"anypop_connections_refused_total{reason="node_limit"}"#,
            0.0,
        ),
        (
            r#"anypop_tls_handshakes_total{version="1.3",result="ok",resumed="yes"}"#,
            1.0,
        ),
        (r#"anypop_fills_total{event="started"}"#, 1.0),
        (r#"anypop_fill_failures_total{reason="truncated"}"#, 1.0),
        (r#"anypop_collapsed_total"#, 1.0),
        (r#"anypop_purges_total{scope="tag",kind="soft"}"#, 1.0),
        (r#"anypop_store_objects{tier="memory"}"#, 4.0),
        (r#"anypop_store_used_bytes{tier="memory"}"#, 5.0),
        (r#"anypop_store_capacity_bytes{tier="memory"}"#, 6.0),
        (r#"anypop_store_evictions_total{tier="memory"}"#, 7.0),
        (r#"anypop_origins{state="up"}"#, 1.0),
        (r#"anypop_origins{state="down"}"#, 1.0),
        (r#"anypop_origin_up{site="shop",server="http://o"}"#, 0.0),
        (r#"anypop_lost_total{log="access"}"#, 5.0),
        (r#"anypop_lost_total{log="spans"}"#, 0.0),
        (r#"anypop_config_generation"#, 7.0),
        (r#"anypop_config_sites"#, 3.0),
        (r#"anypop_config_reloads_total{result="failed"}"#, 1.0),
        (r#"anypop_config_last_reload_ok"#, 0.0),
        (
            r#"anypop_config_last_reload_timestamp_seconds"#,
            1_700_000_000.0,
        ),
        (r#"anypop_build_info{version="1.2.3",commit="abc"}"#, 1.0),
    ] {
        assert_eq!(exposition.samples.get(name), Some(&value), "{name}");
    }
    assert!(exposition.samples["process_resident_memory_bytes"] > 0.0);
    assert!(exposition.samples["process_start_time_seconds"] > 1.6e9);
    assert!(
        !exposition.samples.keys().any(|name| name.contains("quiet")),
        "a site without traffic has no series"
    );
    assert!(
        !exposition
            .samples
            .keys()
            .any(|name| name.contains(r#"site="other""#)),
        "nor has an empty collective series"
    );
}

/// The manual lists exactly the families there are, with their types.
#[test]
fn the_manual_lists_every_family() {
    let manual = include_str!("../../../../../docs/metrics.md");
    let mut listed: BTreeSet<(String, String)> = manual
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`');
            Some((name.to_owned(), cells.next()?.to_owned()))
        })
        .filter(|(name, _)| name.starts_with("anypop_") || name.starts_with("process_"))
        .collect();
    let rendered: BTreeSet<(String, String)> = read(&busy().render())
        .families
        .into_iter()
        .map(|(name, kind)| {
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            (format!("{name}{suffix}"), kind)
        })
        .collect();
    // Where descriptors are unlimited there is no limit to show.
    let unlimited = ("process_max_fds".to_owned(), "gauge".to_owned());
    if !rendered.contains(&unlimited) {
        listed.remove(&unlimited);
    }
    assert_eq!(
        listed, rendered,
        "docs/metrics.md (left) and the exposition (right)"
    );
}

#[test]
fn sites_beyond_the_cap_share_a_series() {
    let metrics = Arc::new(Metrics::with_site_cap(Build::default(), 2));
    for id in ["a", "b", "c", "d", "a"] {
        metrics.request(&metrics.site(id), &sample(200, CacheResult::Hit));
    }
    let name = |site| {
        format!(
            r#"anypop_requests_total{{site="{site}",status="2xx",cache="hit",protocol="HTTP/1.1"}}"#
        )
    };
    let exposition = read(&metrics.render());
    assert_eq!(exposition.samples[&name("a")], 2.0);
    assert_eq!(exposition.samples[&name("b")], 1.0);
    assert_eq!(exposition.samples[&name(OTHER)], 2.0);
    assert!(!exposition.samples.contains_key(&name("c")));

    metrics.retain_sites(|id| id != "a");
    metrics.request(&metrics.site("c"), &sample(200, CacheResult::Hit));
    let exposition = read(&metrics.render());
    assert_eq!(
        exposition.samples[&name("c")],
        1.0,
        "a removed site leaves room"
    );
    assert!(!exposition.samples.contains_key(&name("a")));
}

#[test]
fn one_handle_for_one_site() {
    let metrics = Metrics::default();
    assert!(Arc::ptr_eq(&metrics.site("shop"), &metrics.site("shop")));
    assert_eq!(metrics.site("shop").id(), "shop");
    assert!(Arc::ptr_eq(&metrics.site(""), &metrics.site(NO_SITE)));
}
