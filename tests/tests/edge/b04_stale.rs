//! What may be served although it is stale (RFC 5861), and what may not.

use anypop_tests::{Edge, Gate, Origin, Reply, within};
use serde_json::json;

/// Stale on arrival: older than it may become.
fn stale(more: &str) -> Reply {
    Reply::new(200)
        .field("Cache-Control", &format!("max-age=10{more}"))
        .field("Age", "20")
        .field("ETag", "\"one\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_while_revalidate_answers_first() {
    let origin = Origin::start().await;
    origin.on("/a", stale(", stale-while-revalidate=600").body("old"));
    let edge = Edge::before(&origin).await;
    edge.get("/a").await;

    let gate = Gate::new();
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .wait(&gate)
            .body("new"),
    );
    // The origin answers nothing yet, and still there is an answer.
    let response = edge.get("/a").await;
    assert_eq!(response.text(), "old");
    assert!(response.is_hit(), "{}", response.cache_status());
    gate.reached(1).await;
    // A second client does not start a second one.
    assert_eq!(edge.get("/a").await.text(), "old");
    gate.open();
    within("the new response", async {
        loop {
            let response = edge.get("/a").await;
            if response.text() == "new" {
                break assert!(response.is_hit(), "{}", response.cache_status());
            }
            assert_eq!(response.text(), "old");
        }
    })
    .await;
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_if_error_hides_a_failing_origin() {
    let origin = Origin::start().await;
    origin.on("/a", stale(", stale-if-error=600").body("old"));
    origin.on(
        "/b",
        stale(", stale-if-error=600, must-revalidate").body("old"),
    );
    origin.on("/c", stale("").body("old"));
    let edge = Edge::before(&origin).await;
    for path in ["/a", "/b", "/c"] {
        edge.get(path).await;
        origin.on(path, Reply::new(503).body("down"));
    }
    let response = edge.get("/a").await;
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "old"),
        "{}",
        response.cache_status()
    );
    for path in ["/b", "/c"] {
        let response = edge.get(path).await;
        assert!(response.status >= 500, "{path}: {}", response.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_if_error_hides_an_origin_that_is_gone() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("old"),
    );
    let edge = Edge::before_with(&origin, "[cache]\nstale_if_error = \"1d\"").await;
    edge.get("/a").await;
    edge.purge(json!({ "site": "any", "scope": "everything", "soft": true }))
        .await;
    drop(origin);
    let response = edge.get("/a").await;
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "old"),
        "{}",
        response.cache_status()
    );
    assert_eq!(edge.get("/never-seen").await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn negative_answers_are_remembered_only_when_the_site_says_so() {
    for (more, hits) in [
        ("", false),
        ("[cache]\nnegative = { \"404\" = \"10s\" }", true),
    ] {
        let origin = Origin::start().await;
        origin.on("/a", Reply::new(404).body("none"));
        let edge = Edge::before_with(&origin, more).await;
        edge.get("/a").await;
        let second = edge.get("/a").await;
        assert_eq!(second.status, 404);
        if hits {
            assert!(second.is_hit(), "{}", second.cache_status());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heuristic_freshness_is_a_tenth_of_the_age() {
    let origin = Origin::start().await;
    let date = |age: u64| {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        httpdate(then)
    };
    origin.on(
        "/a",
        Reply::new(200)
            .field("Date", &date(0))
            .field("Last-Modified", &date(1_000_000))
            .body("a"),
    );
    origin.on(
        "/b",
        Reply::new(200)
            .field("Date", &date(0))
            .field("Last-Modified", &date(0))
            .body("b"),
    );
    let edge = Edge::before(&origin).await;
    edge.get("/a").await;
    edge.get("/b").await;
    assert!(edge.get("/a").await.is_hit());
    assert!(!edge.get("/b").await.is_hit());
}

/// IMF-fixdate (RFC 9110 §5.6.7) by civil-from-days.
fn httpdate(when: std::time::SystemTime) -> String {
    let seconds = when
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let days = i64::try_from(seconds / 86400).unwrap();
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let weekday =
        ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from(days % 7).unwrap()];
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let name = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ][usize::try_from(month - 1).unwrap()];
    format!("{weekday}, {day:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT")
}
