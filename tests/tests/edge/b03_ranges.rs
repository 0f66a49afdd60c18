//! Ranges (RFC 9110 §14) of what is stored.

use anypop_tests::{Edge, Origin, Reply};

async fn edge_with_digits(origin: &Origin) -> Edge {
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .field("ETag", "\"one\"")
            .body("0123456789"),
    );
    let edge = Edge::before(origin).await;
    edge.get("/a").await;
    edge
}

#[tokio::test(flavor = "multi_thread")]
async fn single_ranges() {
    let origin = Origin::start().await;
    let edge = edge_with_digits(&origin).await;
    let table = [
        ("bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=-30", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=8-99999999999999999", 206, "89", "bytes 8-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
    ];
    for (range, status, body, content_range) in table {
        let response = edge.get_with("/a", &[("Range", range)]).await;
        assert_eq!(response.status, status, "{range}");
        assert_eq!(
            response.header("content-range"),
            Some(content_range),
            "{range}"
        );
        if status == 206 {
            assert_eq!(response.text(), body, "{range}");
        }
    }
    for ignored in ["bytes=4-2", "lines=1-2", "bytes=a-b", "bytes=", "bytes 0-1"] {
        let response = edge.get_with("/a", &[("Range", ignored)]).await;
        assert!(
            matches!(
                (response.status, response.text().as_str()),
                (200, "0123456789") | (416, _)
            ),
            "{ignored}: {response:?}"
        );
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_come_as_parts() {
    let origin = Origin::start().await;
    // Ranges that nearly touch would be joined, hence some distance.
    let body: String = (0..200).map(|n| format!("{n:05}")).collect();
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body(&body),
    );
    let edge = Edge::before(&origin).await;
    edge.get("/a").await;
    let response = edge.get_with("/a", &[("Range", "bytes=5-9,995-999")]).await;
    assert_eq!(response.status, 206);
    let kind = response.header("content-type").unwrap();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap_or_else(|| panic!("{kind}"))
        .trim_matches('"');
    let text = response.text();
    assert_eq!(text.matches(&format!("--{boundary}")).count(), 3, "{text}");
    for (range, part) in [("bytes 5-9/1000", "00001"), ("bytes 995-999/1000", "00199")] {
        assert!(
            text.contains(range) && text.contains(&format!("\r\n\r\n{part}\r\n")),
            "{text}"
        );
    }
    assert!(
        text.trim_end().ends_with(&format!("--{boundary}--")),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_ranges_cost_no_more_than_the_whole() {
    let origin = Origin::start().await;
    let edge = edge_with_digits(&origin).await;
    let ranges = format!("bytes={}", vec!["0-"; 1000].join(","));
    let response = edge.get_with("/a", &[("Range", &ranges)]).await;
    assert!(
        matches!(response.status, 200 | 206 | 416),
        "{}",
        response.status
    );
    assert!(response.body.len() < 2000, "{}", response.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn if_range_gives_the_whole_when_it_differs() {
    let origin = Origin::start().await;
    let edge = edge_with_digits(&origin).await;
    let same = edge
        .get_with("/a", &[("Range", "bytes=1-2"), ("If-Range", "\"one\"")])
        .await;
    assert_eq!((same.status, same.text().as_str()), (206, "12"));
    for other in ["\"two\"", "W/\"one\"", "Mon, 06 Jan 2020 10:00:00 GMT"] {
        let response = edge
            .get_with("/a", &[("Range", "bytes=1-2"), ("If-Range", other)])
            .await;
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "0123456789"),
            "{other}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_an_origin_that_sends_parts_are_combined() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        let reply = Reply::new(206)
            .field("Cache-Control", "max-age=60")
            .field("ETag", "\"one\"");
        match request.header("range") {
            Some("bytes=0-4") => reply.field("Content-Range", "bytes 0-4/10").body("01234"),
            Some("bytes=5-9" | "bytes=5-") => {
                reply.field("Content-Range", "bytes 5-9/10").body("56789")
            }
            _ => Reply::new(200)
                .field("Cache-Control", "max-age=60")
                .field("ETag", "\"one\"")
                .body("0123456789"),
        }
    });
    let edge = Edge::before(&origin).await;
    for _ in 0..2 {
        let first = edge.get_with("/a", &[("Range", "bytes=0-4")]).await;
        assert_eq!((first.status, first.text().as_str()), (206, "01234"));
        let second = edge.get_with("/a", &[("Range", "bytes=5-9")]).await;
        assert_eq!((second.status, second.text().as_str()), (206, "56789"));
    }
    assert_eq!(edge.get("/a").await.text(), "0123456789");
    assert!(origin.count("/a") <= 3, "{}", origin.count("/a"));
}
