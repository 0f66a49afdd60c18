//! Many sites behind one address, and what each of them lets in.

use anypop_tests::{Edge, Origin, Reply, edge::site};

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.on(
        "/",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("home"),
    );
    origin
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_finds_its_site_and_an_unknown_one_none() {
    let origin = origin().await;
    let edge = Edge::builder()
        .site(
            "shop",
            &site(
                "shop",
                &["www.shop.example", "*.img.shop.example"],
                &origin,
                "",
            ),
        )
        .site("blog", &site("blog", &["blog.example"], &origin, ""))
        .start()
        .await;
    let table = [
        ("www.shop.example", 200),
        ("WWW.Shop.Example", 200),
        ("www.shop.example:8080", 200),
        ("www.shop.example.", 200),
        ("a.img.shop.example", 200),
        ("blog.example", 200),
        ("img.shop.example", 421),
        ("shop.example", 421),
        ("xwww.shop.example", 421),
        ("example", 421),
        ("127.0.0.1", 421),
    ];
    for (host, status) in table {
        // Whether a trailing dot is the same name is the site index's choice: either found, or misdirected, but never an error of another kind.
        let got = edge.get_with("/", &[("Host", host)]).await.status;
        if host.ends_with('.') {
            assert!(matches!(got, 200 | 400 | 421), "{host}: {got}");
        } else {
            assert_eq!(got, status, "{host}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hosts_cache_is_not_anothers() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body(request.header("host").unwrap_or_default())
    });
    let edge = Edge::before(&origin).await;
    for _ in 0..2 {
        for host in ["one.example", "two.example"] {
            assert_eq!(edge.get_with("/a", &[("Host", host)]).await.text(), host);
        }
    }
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_outside_the_list_get_405() {
    let origin = origin().await;
    let text = format!(
        "methods = [\"GET\", \"HEAD\"]\n{}",
        site("any", &["*"], &origin, "")
    );
    let edge = Edge::builder().site("any", &text).start().await;
    for method in ["POST", "DELETE", "TRACE", "M-SEARCH"] {
        let response = edge
            .client()
            .await
            .request(method, "/", &[("Content-Length", "0")])
            .await;
        assert_eq!(response.status, 405, "{method}");
        assert!(
            response.header("allow").unwrap_or_default().contains("GET"),
            "{method}: RFC 9110 wants Allow"
        );
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_get_508() {
    let origin = origin().await;
    let edge = Edge::before(&origin).await;
    edge.get("/").await;
    let identity = origin.seen_at("/")[0]
        .header("cdn-loop")
        .unwrap()
        .to_owned();
    for value in [
        identity.clone(),
        format!("other, {identity}"),
        format!("{identity}; x=1, other"),
        format!("other,{identity}"),
    ] {
        let response = edge.get_with("/looping", &[("CDN-Loop", &value)]).await;
        assert_eq!(response.status, 508, "{value}");
    }
    let passed = edge
        .get_with("/others", &[("CDN-Loop", "someone-else")])
        .await;
    assert_eq!(passed.status, 404, "another CDN before us is no loop");
    assert!(
        origin.seen_at("/others")[0]
            .header("cdn-loop")
            .unwrap()
            .starts_with("someone-else")
    );
    assert_eq!(origin.count("/looping"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_may_be_kept_out() {
    let origin = origin().await;
    for (acl, status) in [
        ("[acl]\ndeny = [\"127.0.0.0/8\"]", 403),
        ("[acl]\nallow = [\"192.0.2.0/24\"]", 403),
        ("[acl]\nallow = [\"127.0.0.0/8\"]", 200),
        (
            "[acl]\nallow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.1/32\"]",
            403,
        ),
    ] {
        let edge = Edge::before_with(&origin, acl).await;
        assert_eq!(edge.get("/").await.status, status, "{acl}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_get_429() {
    let origin = origin().await;
    let edge = Edge::before_with(&origin, "[limits]\nrequests_per_second = 1\nburst = 3").await;
    let mut statuses = Vec::new();
    let mut client = edge.client().await;
    for _ in 0..10 {
        statuses.push(client.get("/").await.status);
    }
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_set_and_removed_both_ways() {
    let origin = Origin::start().await;
    origin.on(
        "/",
        Reply::new(200)
            .field("X-Powered-By", "age")
            .field("Cache-Control", "max-age=60")
            .body("a"),
    );
    let more = "[headers]\nrequest = { set = { \"X-Pop\" = \"p\" }, remove = [\"X-Client\"] }\nresponse = { set = { \"X-Frame-Options\" = \"DENY\" }, remove = [\"X-Powered-By\"] }";
    let edge = Edge::before_with(&origin, more).await;
    for _ in 0..2 {
        let response = edge.get_with("/", &[("X-Client", "1")]).await;
        assert_eq!(
            (
                response.header("x-frame-options"),
                response.header("x-powered-by")
            ),
            (Some("DENY"), None)
        );
    }
    let seen = &origin.seen_at("/")[0];
    assert_eq!(
        (seen.header("x-pop"), seen.header("x-client")),
        (Some("p"), None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sites() {
    let origin = origin().await;
    let mut builder = Edge::builder();
    for n in 0..1000 {
        builder = builder.site(
            &format!("s{n}"),
            &site(&format!("s{n}"), &[&format!("s{n}.example")], &origin, ""),
        );
    }
    let edge = builder.start().await;
    for n in [0, 1, 500, 999] {
        assert_eq!(
            edge.get_with("/", &[("Host", &format!("s{n}.example"))])
                .await
                .status,
            200
        );
    }
    assert_eq!(
        edge.get_with("/", &[("Host", "s1000.example")])
            .await
            .status,
        421
    );
}
