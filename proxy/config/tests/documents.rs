//! Whole documents: hostile texts, the forms that must mean the same, rules, the schemas and the examples in `conf/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::{fs, path::Path, time::Duration};

use anypop_config::{
    Diagnostic, Node, Site, SiteDocument, load_node, schema, site::QueryMode, value::HostPattern,
};
use http::{Method, StatusCode};
use proptest::prelude::*;

const GOOD: &str = r#"
id = "shop"
hostnames = ["www.shop.example", "*.img.shop.example"]
[origin]
servers = [{ url = "https://origin.shop.example" }, { url = "http://10.0.0.1:8080", weight = 3 }]
http2 = true
[cache]
query = { mode = "allow", names = ["v"], sort = true }
negative = { "404" = "10s" }
key_headers = ["X-Device"]
store_set_cookie = "keep"
browser_ttl = "5m"
[[rules]]
path = "/cart*"
bypass = true
[[rules]]
status = [404]
ttl = "1s"
[[rules]]
path = "/static/*"
methods = ["GET"]
ttl = "1h"
browser_ttl = "1d"
query = { mode = "none" }
[acl]
deny = ["192.0.2.0/24"]
[headers]
response = { set = { "X-Pop" = "pop1" }, remove = ["Server"] }
"#;

fn site(text: &str) -> Result<Site, Vec<Diagnostic>> {
    Site::from_toml(text, Path::new("site.toml"), Path::new("/nowhere"))
}

#[test]
fn a_site_is_read() {
    let site = site(GOOD).unwrap();
    assert_eq!(site.id.as_str(), "shop");
    assert_eq!(
        site.hostnames[1],
        HostPattern::Wildcard("img.shop.example".parse().unwrap())
    );
    assert_eq!(site.origin.servers[1].weight, 3);
    assert_eq!(
        site.cache.negative.ttl(StatusCode::NOT_FOUND),
        Some(Duration::from_secs(10))
    );
    assert_eq!(site.cache.negative.ttl(StatusCode::GONE), None);
    assert!(!site.acl.permits("192.0.2.7".parse().unwrap()));
    assert!(site.acl.permits("192.0.3.7".parse().unwrap()));
    assert!(site.tls.is_none() && site.limits.rate().is_none());
}

#[test]
fn a_byte_order_mark_and_crlf_are_no_mistakes() {
    let text = format!("\u{feff}{}", GOOD.trim_start().replace('\n', "\r\n"));
    assert_eq!(site(&text).unwrap(), site(GOOD).unwrap());
}

#[test]
fn a_site_keeps_below_the_nodes_largest_object() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sites")).unwrap();
    let node = "[[listen]]\naddress = '127.0.0.1:0'\n[cache]\nmax_object = '1MiB'\n";
    let node = Node::from_toml(node, Path::new("node.toml"), folder.path()).unwrap();
    let largest = |size: &str| {
        site(&GOOD.replace("[cache]", &format!("[cache]\nmax_object = '{size}'")))
            .unwrap()
            .max_object(&node)
            .bytes()
    };
    assert_eq!(
        (
            largest("2MiB"),
            largest("1KiB"),
            site(GOOD).unwrap().max_object(&node).bytes()
        ),
        (1 << 20, 1 << 10, 1 << 20)
    );
}

#[test]
fn the_first_rule_that_fits_applies() {
    let site = site(GOOD).unwrap();
    let settings = |path, method: &Method, status| site.settings(path, method, status);
    assert!(settings("/cart/1", &Method::GET, None).bypass);

    let asked = settings("/static/a.js", &Method::GET, None);
    assert_eq!(
        (asked.ttl, asked.query.mode),
        (Some(Duration::from_secs(3600)), QueryMode::None)
    );
    assert_eq!(asked.browser_ttl, Some(Duration::from_secs(86_400)));
    let posted = settings("/static/a.js", &Method::POST, None);
    assert_eq!((posted.ttl, posted.query.mode), (None, QueryMode::Allow));

    let missing = settings("/static/a.js", &Method::GET, Some(StatusCode::NOT_FOUND));
    assert_eq!(missing.ttl, Some(Duration::from_secs(1)));
    assert_eq!(missing.browser_ttl, Some(Duration::from_secs(300)));
}

#[test]
fn the_same_site_as_toml_and_as_json() {
    let from_toml = site(GOOD).unwrap();
    let document: SiteDocument = toml::from_str(GOOD).unwrap();
    let json = serde_json::to_string(&document).unwrap();
    assert_eq!(
        Site::from_json(&json, Path::new("/nowhere")).unwrap(),
        from_toml
    );
    let back: SiteDocument = toml::from_str(&toml::to_string(&document).unwrap()).unwrap();
    assert_eq!(back, document);
}

/// The schemas in `conf/`. After a change to the documents, `UPDATE_GOLDEN=1 cargo nextest run -p anypop-config` writes them anew.
#[test]
fn schemas_are_up_to_date() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf");
    for (name, schema) in [
        ("node.schema.json", schema::node_schema()),
        ("site.schema.json", schema::site_schema()),
    ] {
        let file = conf.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &schema).unwrap();
        }
        // As values: the order of the names in the text depends on the features that serde_json is built with.
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        let known = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            parse(&known) == parse(&schema),
            "{name} is out of date: run with UPDATE_GOLDEN=1"
        );
    }
}

fn copy_conf(to: &Path, change: impl Fn(&str) -> String) {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf");
    fs::create_dir(to.join("sites")).unwrap();
    for name in ["node.toml", "sites/shop.toml", "sites/media.toml"] {
        fs::write(
            to.join(name),
            change(&fs::read_to_string(conf.join(name)).unwrap()),
        )
        .unwrap();
    }
}

#[test]
fn the_examples_can_be_used() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf/node.toml");
    let loaded = load_node(&conf).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.snapshot.sites.len(), 2);
}

/// What stands behind `#` in the examples is right too: with every such line in force they can still be used.
#[test]
fn what_the_examples_leave_out_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    copy_conf(folder.path(), |text| {
        let lines = text.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    for name in ["debug.token", "admin.token", "tickets.keys"] {
        fs::write(folder.path().join(name), "0123456789abcdef0123456789abcdef").unwrap();
    }
    for name in [
        "shop.pem",
        "shop.key",
        "shop-clients.pem",
        "shop-origin.pem",
        "shop-edge.pem",
        "shop-edge.key",
    ] {
        fs::write(folder.path().join("sites").join(name), "read by others").unwrap();
    }
    let loaded =
        load_node(&folder.path().join("node.toml")).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(loaded.warnings, []);
    let node = loaded.snapshot.node;
    assert_eq!(
        node.limits,
        anypop_config::node::ProxyLimits::default(),
        "the example names the defaults"
    );
    assert_eq!(node.listen.len(), 2);
    assert!(node.admin_token.is_some() && node.debug_token.is_some());
    let shop = loaded.snapshot.sites.by_id("shop").unwrap();
    assert_eq!(
        shop.tls.as_ref().unwrap().certificate,
        folder.path().join("sites/shop.pem")
    );
}

#[test]
fn too_many_errors_end_somewhere() {
    let text: String = (0..5000).map(|at| format!("k{at} = 1\n")).collect();
    let found = site(&text).unwrap_err();
    assert!((200..300).contains(&found.len()), "{}", found.len());
}

#[test]
fn deep_documents_end_somewhere() {
    let dotted = format!("{} = 1", vec!["a"; 100_000].join("."));
    let header = format!("[{}]", vec!["a"; 100_000].join("."));
    let lists = format!("a = {}", "[".repeat(100_000));
    let tables = format!("a = {}", "{ a.b.c.d.e.f.g.h = ".repeat(10_000));
    for text in [dotted, header, lists, tables] {
        assert!(site(&text).is_err());
    }
    let json = "[".repeat(100_000);
    assert!(Site::from_json(&json, Path::new("/")).is_err());
    assert!(Site::from_json(&format!("{{\"a\":{json}"), Path::new("/")).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = site(&text);
        let _ = Site::from_json(&text, Path::new("/nowhere"));
        let _ = Node::from_toml(&text, Path::new("node.toml"), Path::new("/nowhere"));
    }

    /// A good document with a piece taken out or put in is read to its end, and every place named is in it.
    #[test]
    fn places_are_in_the_text(at in 0..GOOD.len(), length in 0..12_usize, put in "[\\[\\]{}=\"',.#\\na-z0-9]{0,6}") {
        let end = (at + length).min(GOOD.len());
        let text = format!("{}{put}{}", &GOOD[..at], &GOOD[end..]);
        let lines: Vec<&str> = text.split('\n').collect();
        for diagnostic in site(&text).err().unwrap_or_default() {
            prop_assert!(diagnostic.line >= 1 && diagnostic.line <= lines.len(), "{}", diagnostic);
            prop_assert!(diagnostic.column <= lines[diagnostic.line - 1].chars().count() + 1, "{}", diagnostic);
            prop_assert!(!diagnostic.to_string().contains('\n'));
        }
    }
}

/// Every key of a table's schema and of the tables below it.
fn keys(schema: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::Object(properties)) = object.get("properties") {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|inner| keys(inner, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|inner| keys(inner, found)),
        _ => {}
    }
}

#[test]
fn the_manual_names_every_key() {
    let manual = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md"),
    )
    .unwrap();
    for schema in [schema::node_schema(), schema::site_schema()] {
        let mut found = std::collections::BTreeSet::new();
        keys(&serde_json::from_str(&schema).unwrap(), &mut found);
        assert!(found.len() > 40);
        for key in found {
            let named = [format!("`{key}`"), format!("[{key}]"), format!("{key} = ")]
                .iter()
                .any(|form| manual.contains(form.as_str()));
            assert!(named, "docs/configuration.md says nothing about {key}");
        }
    }
}
