//! Ranges that are fetched as such: kept as parts, served from, and put together.

use anypop_tests::{Edge, Origin, Reply, within};

/// Bytes of the object; a range that begins beyond the first MiB is fetched alone.
const LENGTH: usize = 3 << 20;

fn content() -> Vec<u8> {
    (0..LENGTH).map(|at| (at % 251) as u8).collect()
}

/// An origin that does ranges, with a version that it gives when asked for the `n`th time.
async fn origin(version: fn(usize) -> &'static str) -> Origin {
    let origin = Origin::start().await;
    let asked = std::sync::atomic::AtomicUsize::new(0);
    origin.answer("/film", move |request| {
        let version = version(asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
        let content = content();
        let condition = request.header("if-range");
        let range = request
            .header("range")
            .filter(|_| condition.is_none_or(|tag| tag == version));
        let reply = |status| {
            Reply::new(status)
                .field("Cache-Control", "max-age=60")
                .field("ETag", version)
        };
        let Some(range) = range else {
            return reply(200).body(&content);
        };
        let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let last = last.parse().unwrap_or(LENGTH - 1);
        reply(206)
            .field("Content-Range", &format!("bytes {first}-{last}/{LENGTH}"))
            .body(&content[first..=last])
    });
    origin
}

async fn range(edge: &Edge, range: &str) -> (u16, Vec<u8>, bool) {
    let response = edge.get_with("/film", &[("Range", range)]).await;
    let hit = response.is_hit();
    // A client can have all bytes before the store has heard that they were the last.
    within("the fills to end", async {
        while filling(edge).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    (response.status, response.body, hit)
}

async fn filling(edge: &Edge) -> bool {
    let told = edge
        .admin_json("/v1/explain?url=http://test.example/film")
        .await;
    let variants = told["variants"].as_array().unwrap();
    variants.iter().any(|variant| variant["filling"] == true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_kept_and_answers_what_lies_within_it() {
    let origin = origin(|_| "\"v1\"").await;
    let edge = Edge::before(&origin).await;
    let (status, body, hit) = range(&edge, "bytes=2000000-2099999").await;
    assert_eq!((status, hit), (206, false));
    assert!(body == content()[2_000_000..2_100_000]);
    let (status, body, hit) = range(&edge, "bytes=2050000-2050009").await;
    assert_eq!((status, hit), (206, true));
    assert!(body == content()[2_050_000..2_050_010]);
    let (_, body, hit) = range(&edge, "bytes=2099990-2100009").await;
    assert!(!hit, "not all of it is there");
    assert!(body == content()[2_099_990..2_100_010]);
    assert_eq!(origin.count("/film"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_missing_is_fetched_and_the_whole_is_put_together() {
    let origin = origin(|_| "\"v1\"").await;
    let edge = Edge::before(&origin).await;
    range(&edge, "bytes=2000000-").await;
    let whole = edge.get("/film").await;
    assert_eq!(whole.status, 200);
    assert!(whole.body == content());
    let asked = origin.seen_at("/film");
    assert_eq!(asked[1].header("range"), Some("bytes=0-1999999"));
    assert_eq!(asked[1].header("if-range"), Some("\"v1\""));
    let again = edge.get("/film").await;
    assert!(again.is_hit() && again.body == content());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_missing_part_makes_a_whole() {
    let origin = origin(|_| "\"v1\"").await;
    let edge = Edge::before(&origin).await;
    range(&edge, "bytes=1048576-2000000").await;
    range(&edge, "bytes=2000001-").await;
    let (status, body, _) = range(&edge, "bytes=0-9").await;
    assert_eq!(status, 206);
    assert!(body == content()[..10], "from the fill of what was missing");
    assert_eq!(
        origin.seen_at("/film")[2].header("range"),
        Some("bytes=0-1048575")
    );
    assert!(edge.get("/film").await.body == content());
    assert_eq!(origin.count("/film"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_two_versions_are_never_mixed() {
    let origin = origin(|asked| if asked == 0 { "\"v1\"" } else { "\"v2\"" }).await;
    let edge = Edge::before(&origin).await;
    range(&edge, "bytes=2000000-").await;
    let whole = edge.get("/film").await;
    assert_eq!(whole.status, 200);
    assert_eq!(whole.header("etag"), Some("\"v2\""));
    assert!(whole.body == content());
    assert_eq!(
        origin.count("/film"),
        2,
        "If-Range brought the whole at once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_nobody_asked_for_is_not_kept() {
    let origin = Origin::start().await;
    origin.on(
        "/odd",
        Reply::new(206)
            .field("Cache-Control", "max-age=60")
            .field("Content-Range", "bytes 4-8/10")
            .body("45678"),
    );
    let edge = Edge::before(&origin).await;
    assert_eq!(edge.get("/odd").await.status, 206);
    assert!(!edge.get("/odd").await.is_hit());
}
