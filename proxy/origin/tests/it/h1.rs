//! HTTP/1.1: heads, bodies, and the ways in which they break.

use std::time::Duration;

use anypop_origin::{ErrorKind, Pool, Timeouts};
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::mpsc;

use crate::fake::{
    Origin, client, fetch, get, network, pool_of, read, request, settings, signal, text,
};

#[tokio::test]
async fn a_request_is_what_it_should_be() {
    let (heads, mut seen) = mpsc::channel(1);
    let origin = Origin::start(move |mut conn, _| {
        let heads = heads.clone();
        async move {
            let head = conn.request().await.unwrap();
            conn.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            heads.send(head).await.unwrap();
        }
    })
    .await;
    let mut request = request(Method::GET);
    for (name, value) in [
        ("accept", "text/html"),
        ("accept", "*/*"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
        ("host", "evil.example"),
        ("keep-alive", "5"),
    ] {
        request
            .headers
            .append(name, HeaderValue::from_static(value));
    }
    let response = fetch(&client(), &pool_of(origin.address), &request)
        .await
        .unwrap();
    assert_eq!(response.status, StatusCode::NO_CONTENT);
    assert!(response.body.is_ended());
    assert_eq!(response.address, Some(origin.address));
    assert_eq!(&*response.server, format!("http://{}", origin.address));
    assert!(!response.reused);
    assert_eq!(
        seen.recv().await.unwrap(),
        "GET /a?b=1 HTTP/1.1\r\nHost: www.shop.example\r\naccept: text/html\r\naccept: */*\r\n\r\n"
    );
}

#[tokio::test]
async fn the_sites_host_overrides_the_clients() {
    let origin = Origin::start(|mut conn, _| async move {
        let head = conn.request().await.unwrap();
        let told = head.contains("Host: inner.example\r\n");
        let length = told.to_string().len();
        conn.send(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{told}"
        ))
        .await;
    })
    .await;
    let mut settings = settings(&[format!("http://{}", origin.address)]);
    settings.host = Some(HeaderValue::from_static("inner.example"));
    let pool = Pool::new(settings, network(&[]));
    assert_eq!(text(&client(), &pool).await.unwrap(), "true");
}

#[tokio::test]
async fn bodies_of_every_framing_come_whole() {
    for (response, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
            "hello",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.0 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", ""),
    ] {
        let origin = Origin::once(response).await;
        let pool = pool_of(origin.address);
        let mut got = get(&client(), &pool).await.unwrap();
        assert_eq!(read(&mut got.body).await.unwrap(), expected, "{response:?}");
        assert!(got.body.is_ended());
        assert_eq!(got.body.received(), expected.len() as u64);
    }
}

#[tokio::test]
async fn a_head_response_has_no_body() {
    let origin = Origin::once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    let pool = pool_of(origin.address);
    let mut response = fetch(&client(), &pool, &request(Method::HEAD))
        .await
        .unwrap();
    assert_eq!(response.headers["content-length"], "5");
    assert_eq!(response.body.expected(), None);
    assert_eq!(read(&mut response.body).await.unwrap(), "");
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error_again_and_again() {
    for (response, kind) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            ErrorKind::HttpResponseIncomplete,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
            ErrorKind::HttpResponseIncomplete,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            ErrorKind::HttpResponseIncomplete,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            ErrorKind::HttpResponseIncomplete,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            ErrorKind::HttpResponseIncomplete,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
            ErrorKind::HttpResponseTransferCoding,
        ),
    ] {
        let origin = Origin::once(response).await;
        let pool = pool_of(origin.address);
        let mut got = get(&client(), &pool).await.unwrap();
        let error = read(&mut got.body).await.unwrap_err();
        assert_eq!(error.kind, kind, "{response:?}: {error}");
        assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(error.site.as_deref(), Some("shop"));
        assert_eq!(error.address, Some(origin.address));
        assert_eq!(got.body.next().await, Err(error));
        assert!(!got.body.is_ended());
    }
}

#[tokio::test]
async fn a_reset_within_the_body_is_an_error() {
    let (arrived, arrival) = signal();
    let origin = Origin::start(move |mut conn, _| {
        let arrival = arrival.clone();
        async move {
            conn.request().await;
            conn.send("HTTP/1.1 200 OK\r\n\r\nhello").await;
            arrival.acquire().await.unwrap().forget();
            conn.reset();
        }
    })
    .await;
    let mut got = get(&client(), &pool_of(origin.address)).await.unwrap();
    assert_eq!(got.body.next().await.unwrap().unwrap(), "hello");
    arrived.add_permits(1);
    let error = read(&mut got.body).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::HttpResponseIncomplete, "{error}");
}

#[tokio::test]
async fn heads_with_two_meanings_are_refused() {
    use ErrorKind::{HttpProtocolError, HttpResponseTransferCoding};
    for (response, kind) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HttpProtocolError,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            HttpProtocolError,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            HttpProtocolError,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            HttpProtocolError,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HttpProtocolError,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            HttpResponseTransferCoding,
        ),
        (
            "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
            HttpProtocolError,
        ),
        (
            "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
            HttpProtocolError,
        ),
        ("HTTP/1.1 20 OK\r\n\r\n", HttpProtocolError),
        ("HTTP/3.0 200 OK\r\n\r\n", HttpProtocolError),
        ("SSH-2.0-OpenSSH_9.2\r\n", HttpProtocolError),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            HttpProtocolError,
        ),
    ] {
        let origin = Origin::once(response).await;
        let error = get(&client(), &pool_of(origin.address)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{response:?}: {error}");
        // The same answer would come again.
        assert_eq!(origin.accepted(), 1, "{response:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let origin = Origin::start(|mut conn, _| async move {
        conn.request().await;
        let field = format!("x-filler: {}\r\n", "y".repeat(1000));
        let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", field.repeat(80));
        conn.send(&head).await;
    })
    .await;
    let error = get(&client(), &pool_of(origin.address)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::HttpResponseHeaderSectionSize);
}

#[tokio::test]
async fn early_hints_are_passed_on_and_do_not_end_the_wait() {
    let both = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let origin = Origin::once(both).await;
    let (sender, mut hints) = mpsc::channel(8);
    let mut request = request(Method::GET);
    request.informational = Some(sender);
    let mut got = fetch(&client(), &pool_of(origin.address), &request)
        .await
        .unwrap();
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(read(&mut got.body).await.unwrap(), "ok");
    let hint = hints.recv().await.unwrap();
    assert_eq!(hint.status.as_u16(), 103);
    assert_eq!(hint.headers["link"], "</a.css>");
    assert_eq!(hints.recv().await.unwrap().status.as_u16(), 100);
}

#[tokio::test]
async fn a_hint_comes_before_the_final_head() {
    let (go, wait) = signal();
    let origin = Origin::start(move |mut conn, _| {
        let wait = wait.clone();
        async move {
            conn.request().await;
            conn.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
            wait.acquire().await.unwrap().forget();
            conn.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    let (sender, mut hints) = mpsc::channel(8);
    let mut request = request(Method::GET);
    request.informational = Some(sender);
    let (client, pool) = (client(), pool_of(origin.address));
    let fetching = tokio::spawn(async move { fetch(&client, &pool, &request).await });
    assert_eq!(hints.recv().await.unwrap().status.as_u16(), 103);
    go.add_permits(1);
    assert_eq!(fetching.await.unwrap().unwrap().status.as_u16(), 204);
}

#[tokio::test]
async fn informational_responses_without_end_are_refused() {
    let origin = Origin::start(|mut conn, _| async move {
        conn.request().await;
        conn.send(&"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20))
            .await;
    })
    .await;
    let error = get(&client(), &pool_of(origin.address)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::HttpProtocolError);
}

/// Sends `text`, then holds the connection open without a further byte.
async fn silent_after(text: &'static str) -> Origin {
    Origin::start(move |mut conn, _| async move {
        conn.request().await;
        conn.send(text).await;
        conn.request().await;
    })
    .await
}

fn impatient(origin: &Origin) -> std::sync::Arc<Pool> {
    let mut settings = settings(&[format!("http://{}", origin.address)]);
    settings.timeouts = Timeouts {
        first_byte: Duration::from_millis(100),
        between_bytes: Duration::from_millis(100),
        ..Timeouts::default()
    };
    Pool::new(settings, network(&[]))
}

#[tokio::test]
async fn a_head_that_does_not_come_whole_in_time_is_an_error() {
    for text in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let origin = silent_after(text).await;
        let error = get(&client(), &impatient(&origin)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::ConnectionReadTimeout);
        assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT);
        // It was asked once: a slow origin is not asked twice for the same thing.
        assert_eq!(origin.accepted(), 1);
    }
}

#[tokio::test]
async fn a_head_that_comes_drop_by_drop_is_bounded_as_a_whole() {
    let origin = Origin::start(|mut conn, _| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\n").await;
        let mut drop = tokio::time::interval(Duration::from_millis(20));
        loop {
            drop.tick().await;
            conn.send("x: y\r\n").await;
        }
    })
    .await;
    let error = get(&client(), &impatient(&origin)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConnectionReadTimeout);
}

#[tokio::test]
async fn a_body_that_stalls_is_an_error() {
    let origin = silent_after("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
    let mut got = get(&client(), &impatient(&origin)).await.unwrap();
    let error = read(&mut got.body).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConnectionReadTimeout);
    assert_eq!(got.body.received(), 5);
}

#[tokio::test]
async fn other_methods_are_not_for_fetch() {
    let origin = Origin::kept().await;
    let error = fetch(&client(), &pool_of(origin.address), &request(Method::POST)).await;
    assert_eq!(error.unwrap_err().kind, ErrorKind::ProxyInternalError);
    assert_eq!(origin.accepted(), 0);
}
