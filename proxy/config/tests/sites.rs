//! Many sites: loading, finding, changing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::{fs, path::Path, sync::Arc};

use anypop_config::{Conflict, Live, Site, SiteIndex, Snapshot, load_node};
use proptest::prelude::*;

fn site(id: &str, hostnames: &[&str]) -> Arc<Site> {
    let text = format!(
        "id = \"{id}\"\nhostnames = {hostnames:?}\n[origin]\nservers = [{{ url = \"http://origin.example\" }}]\n"
    );
    Arc::new(Site::from_toml(&text, Path::new("site.toml"), Path::new("/")).unwrap())
}

fn index(sites: &[(&str, &[&str])]) -> SiteIndex {
    sites
        .iter()
        .fold(SiteIndex::default(), |index, (id, hostnames)| {
            index.with_site(site(id, hostnames)).unwrap()
        })
}

fn found<'a>(index: &'a SiteIndex, host: &str) -> Option<&'a str> {
    index.find(host).map(|site| site.id.as_str())
}

#[test]
fn the_nearest_pattern_wins() {
    let index = index(&[
        ("exact", &["a.shop.example", "[::1]"]),
        ("near", &["*.img.shop.example"]),
        ("far", &["*.shop.example"]),
        ("any", &["*"]),
    ]);
    for (host, id) in [
        ("a.shop.example", "exact"),
        ("b.shop.example", "far"),
        ("b.a.shop.example", "far"),
        ("img.shop.example", "far"),
        ("a.img.shop.example", "near"),
        ("b.a.img.shop.example", "near"),
        ("shop.example", "any"),
        ("[::1]", "exact"),
        ("", "any"),
        (".shop.example", "any"),
        ("192.0.2.1", "any"),
    ] {
        assert_eq!(found(&index, host), Some(id), "{host}");
    }
    assert_eq!(
        found(&index, &format!("{}shop.example", "a.".repeat(5000))),
        Some("any")
    );
    assert_eq!(found(&index.without_site("any"), "shop.example"), None);
}

#[test]
fn conflicts_name_the_owner() {
    let index = index(&[("one", &["a.example", "*.b.example", "*"])]);
    let conflicts = index
        .with_site(site("two", &["a.example", "*.b.example", "*", "c.example"]))
        .unwrap_err();
    assert_eq!(
        conflicts
            .iter()
            .map(Conflict::to_string)
            .collect::<Vec<_>>(),
        [
            "\"a.example\" belongs to site \"one\" already",
            "\"*.b.example\" belongs to site \"one\" already",
            "\"*\" belongs to site \"one\" already"
        ]
    );
    assert_eq!(
        found(&index, "c.example"),
        Some("one"),
        "nothing has changed"
    );
    assert!(
        index
            .with_site(site("two", &["b.example", "x.b.example"]))
            .is_ok(),
        "a name below a wildcard is no conflict"
    );
}

#[test]
fn a_change_leaves_the_old_index_alone() {
    let old = index(&[
        ("one", &["a.example", "b.example"]),
        ("two", &["c.example"]),
    ]);
    let new = old
        .with_site(site("one", &["b.example", "d.example"]))
        .unwrap();
    assert_eq!(
        (found(&old, "a.example"), found(&old, "d.example")),
        (Some("one"), None)
    );
    assert_eq!(
        (found(&new, "a.example"), found(&new, "d.example")),
        (None, Some("one"))
    );
    assert_eq!(
        (old.len(), new.len(), new.without_site("one").len()),
        (2, 2, 1)
    );
    assert_eq!(found(&new.without_site("one"), "b.example"), None);
    assert_eq!(new.without_site("none").len(), 2);
}

#[test]
fn live_counts_generations() {
    let snapshot = Snapshot::for_single_origin(
        "http://127.0.0.1:8000".parse().unwrap(),
        "127.0.0.1:0".parse().unwrap(),
        ["127.0.0.0/8".parse().unwrap()],
    );
    assert!(
        snapshot
            .node
            .origin
            .allow
            .contains("127.0.0.1".parse().unwrap())
    );
    assert_eq!(found(&snapshot.sites, "whatever.example"), Some("default"));
    let live = Live::new(snapshot);
    let before = live.snapshot();
    assert_eq!(live.put_site(site("one", &["a.example"])), Ok(2));
    assert!(live.put_site(site("two", &["a.example"])).is_err());
    assert_eq!(live.load().generation, 2);
    assert_eq!(live.remove_site("two"), None);
    assert_eq!(live.remove_site("one"), Some(3));
    assert_eq!(
        live.replace(Arc::clone(&before.node), before.sites.clone()),
        4
    );
    assert_eq!(before.generation, 1);
}

fn write_node(folder: &Path, extra: &str) {
    fs::create_dir(folder.join("sites")).unwrap();
    fs::write(
        folder.join("node.toml"),
        format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{extra}"),
    )
    .unwrap();
}

fn write_site(folder: &Path, name: &str, id: &str, hostnames: &[&str]) {
    let text = format!(
        "id = \"{id}\"\nhostnames = {hostnames:?}\n\n[origin]\nservers = [{{ url = \"http://origin.example\" }}]\n"
    );
    fs::write(folder.join("sites").join(name), text).unwrap();
}

#[test]
fn thousands_of_sites_load() {
    let folder = tempfile::tempdir().unwrap();
    write_node(folder.path(), "");
    for at in 0..2000 {
        write_site(
            folder.path(),
            &format!("{at}.toml"),
            &format!("site-{at}"),
            &[
                &format!("www.s{at}.example"),
                &format!("*.img.s{at}.example"),
            ],
        );
    }
    let snapshot = load_node(&folder.path().join("node.toml"))
        .unwrap()
        .snapshot;
    assert_eq!(
        (snapshot.sites.len(), snapshot.sites.iter().count()),
        (2000, 2000)
    );
    for at in 0..2000 {
        let id = format!("site-{at}");
        assert_eq!(
            found(&snapshot.sites, &format!("www.s{at}.example")),
            Some(&*id)
        );
        assert_eq!(
            found(&snapshot.sites, &format!("x.img.s{at}.example")),
            Some(&*id)
        );
        assert_eq!(found(&snapshot.sites, &format!("s{at}.example")), None);
    }
    let (first, last) = (
        snapshot.sites.by_id("site-0").unwrap(),
        snapshot.sites.by_id("site-1").unwrap(),
    );
    assert!(
        Arc::ptr_eq(&first.cache, &last.cache),
        "equal sections are shared"
    );
}

#[test]
fn everything_wrong_in_all_documents_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_node(path, "tls = true\nbad = 1\n[cache]\nmemory = \"64MiB\"\n");
    write_site(path, "a.toml", "one", &["a.example", "*.b.example"]);
    write_site(path, "b.toml", "one", &["c.example"]);
    write_site(
        path,
        "c.toml",
        "two",
        &["d.example", "a.example", "*.b.example"],
    );
    fs::write(path.join("sites/d.toml"), "id = 'three'\nhostnames = ['e.example']\norigin.servers = [{ url = 'http://o.example' }]\ncache.max_object = '1GiB'\n").unwrap();
    fs::write(
        path.join("sites/e.toml"),
        b"id = 'four'\nhostnames = ['\xff']\n",
    )
    .unwrap();
    fs::write(
        path.join("sites/f.toml"),
        "id = 'five'\ncolor = 1\n".as_bytes(),
    )
    .unwrap();
    fs::create_dir(path.join("sites/g.toml")).unwrap();
    fs::write(path.join("sites/.hidden.toml"), "no").unwrap();
    fs::write(path.join("sites/h.toml.bak"), "no").unwrap();
    let errors = load_node(&path.join("node.toml")).unwrap_err();
    let lines: Vec<String> = errors
        .iter()
        .map(|error| {
            error
                .to_string()
                .replace(&format!("{}/", path.display()), "")
        })
        .collect();
    assert_eq!(
        lines,
        [
            "node.toml:4: listen[0].bad: unknown key; here may stand: address, tls, http2, proxy_protocol",
            "sites/b.toml:1: id: site \"one\" exists already (sites/a.toml)",
            "sites/c.toml:2: hostnames[1]: \"a.example\" belongs to site \"one\" already (sites/a.toml)",
            "sites/c.toml:2: hostnames[2]: \"*.b.example\" belongs to site \"one\" already (sites/a.toml)",
            "sites/d.toml:4: cache.max_object: is more than the node's cache.max_object, 64MiB",
            "sites/e.toml:2: is no UTF-8 text",
            "sites/f.toml:1: hostnames: is missing: name the hosts that the site answers for, such as [\"www.shop.example\"]",
            "sites/f.toml:1: origin.servers: is missing: name at least one server, such as [{ url = \"https://origin.shop.example\" }]",
            "sites/f.toml:2: color: unknown key; here may stand: id, hostnames, methods, tls, origin, cache, rules, plugins, limits, acl, headers",
            "sites/g.toml: cannot read: is a directory",
        ]
    );
}

#[test]
fn tls_without_any_certificate_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    write_node(folder.path(), "tls = true\n");
    write_site(folder.path(), "a.toml", "one", &["a.example"]);
    let loaded = load_node(&folder.path().join("node.toml")).unwrap();
    let lines: Vec<String> = loaded
        .warnings
        .iter()
        .map(|warning| {
            warning
                .to_string()
                .replace(&format!("{}/", folder.path().display()), "")
        })
        .collect();
    assert_eq!(
        lines,
        [
            "sites: warning: no site here has a certificate, so every TLS handshake at 127.0.0.1:0 will fail"
        ]
    );
}

#[test]
fn a_missing_node_document_is_one_line() {
    let errors = load_node(Path::new("nowhere/node.toml")).unwrap_err();
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["nowhere/node.toml: cannot read: no such file or directory"]
    );
}

proptest! {
    /// The index finds what going through all patterns finds.
    #[test]
    fn as_a_walk_through_all_patterns(
        patterns in proptest::collection::hash_set("(\\*\\.)?([ab]\\.){0,2}[ab]", 0..12),
        hosts in proptest::collection::vec("([abc]\\.){0,4}[ab]", 1..20),
    ) {
        let sites: Vec<Arc<Site>> = patterns.iter().enumerate().map(|(at, pattern)| site(&at.to_string(), &[pattern])).collect();
        let index = sites.iter().fold(SiteIndex::default(), |index, site| index.with_site(Arc::clone(site)).unwrap());
        for host in hosts {
            let exact = sites.iter().find(|site| site.hostnames[0].to_string() == host);
            let widest = sites.iter().filter(|site| site.hostnames[0].matches(&host)).max_by_key(|site| site.hostnames[0].to_string().len());
            let expected = exact.or(widest).map(|site| site.id.as_str());
            prop_assert_eq!(found(&index, &host), expected, "{}", host);
        }
    }
}
