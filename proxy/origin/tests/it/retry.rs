//! Reuse, retries, and the guard at every connect.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anypop_origin::{Dial, ErrorKind, Guard, Network, Pool, Resolver};
use async_trait::async_trait;
use http::StatusCode;
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use crate::fake::{
    Names, Origin, client, closed_port, get, guarded, network, pool_of, read, settings, signal,
    text,
};

#[tokio::test]
async fn a_connection_is_kept_after_a_clean_end_only() {
    let origin = Origin::kept().await;
    let (client, pool) = (client(), pool_of(origin.address));
    let mut first = get(&client, &pool).await.unwrap();
    assert!(!first.reused);
    assert_eq!(read(&mut first.body).await.unwrap(), "0");
    let mut second = get(&client, &pool).await.unwrap();
    assert!(second.reused);
    assert_eq!(second.timings.connect, std::time::Duration::ZERO);
    assert_eq!(second.address, Some(origin.address));
    assert_eq!(read(&mut second.body).await.unwrap(), "0");
    // Given up in the middle: that connection is closed.
    drop(get(&client, &pool).await.unwrap());
    assert_eq!(text(&client, &pool).await.unwrap(), "1");
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn a_server_that_says_close_is_believed() {
    for field in ["Connection: close", "Keep-Alive: timeout=1"] {
        let origin = Origin::start(move |mut conn, _| async move {
            while conn.request().await.is_some() {
                conn.send(&format!(
                    "HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 0\r\n\r\n"
                ))
                .await;
            }
        })
        .await;
        let (client, pool) = (client(), pool_of(origin.address));
        text(&client, &pool).await.unwrap();
        text(&client, &pool).await.unwrap();
        assert_eq!(origin.accepted(), 2, "{field}");
    }
}

#[tokio::test]
async fn bytes_beyond_a_response_are_not_taken_for_the_next_one() {
    let smuggle = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\
                   Content-Length: 4\r\n\r\nevil";
    let origin = Origin::start(move |mut conn, _| async move {
        while conn.request().await.is_some() {
            conn.send(smuggle).await;
        }
    })
    .await;
    let (client, pool) = (client(), pool_of(origin.address));
    assert_eq!(text(&client, &pool).await.unwrap(), "ok");
    assert_eq!(text(&client, &pool).await.unwrap(), "ok");
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn a_kept_connection_that_dies_on_the_next_request_is_replaced() {
    // The first connection answers once, and dies when asked again, without a byte.
    let origin = Origin::start(|mut conn, number| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
            .await;
        if number == 0 {
            conn.request().await;
            conn.reset();
            return;
        }
        while conn.request().await.is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb")
                .await;
        }
    })
    .await;
    let mut settings = settings(&[format!("http://{}", origin.address)]);
    // It is not one of the retries: these are for failures of the server.
    settings.retries = 0;
    let (client, pool) = (client(), Pool::new(settings, network(&[])));
    assert_eq!(text(&client, &pool).await.unwrap(), "a");
    let mut second = get(&client, &pool).await.unwrap();
    assert!(!second.reused);
    assert_eq!(second.retries, 0);
    assert_eq!(read(&mut second.body).await.unwrap(), "a");
    // The new connection is kept under the old identity.
    let mut third = get(&client, &pool).await.unwrap();
    assert!(third.reused);
    assert_eq!(read(&mut third.body).await.unwrap(), "b");
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn many_kept_connections_that_died_cost_one_try() {
    let barrier = Arc::new(Barrier::new(5));
    let origin = Origin::start(move |mut conn, number| {
        let barrier = Arc::clone(&barrier);
        async move {
            conn.request().await;
            if number < 5 {
                // All at once, so that five connections are made.
                barrier.wait().await;
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
                .await;
            conn.request().await;
            conn.reset();
        }
    })
    .await;
    let (client, pool) = (client(), pool_of(origin.address));
    let all: Vec<_> = (0..5)
        .map(|_| {
            let (client, pool) = (client.clone(), Arc::clone(&pool));
            tokio::spawn(async move { text(&client, &pool).await })
        })
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert_eq!(origin.accepted(), 5);
    assert_eq!(text(&client, &pool).await.unwrap(), "a");
    assert_eq!(origin.accepted(), 6);
}

#[tokio::test]
async fn a_refused_connection_goes_to_the_next_server() {
    let origin = Origin::kept().await;
    let urls = [
        format!("http://127.0.0.1:{}", closed_port()),
        format!("http://{}", origin.address),
    ];
    let pool = Pool::new(settings(&urls), network(&[]));
    let mut response = get(&client(), &pool).await.unwrap();
    assert_eq!(response.retries, 1);
    assert_eq!(&*response.server, urls[1]);
    assert_eq!(read(&mut response.body).await.unwrap(), "0");
}

#[tokio::test]
async fn a_lone_server_that_refuses_is_not_asked_again() {
    let port = closed_port();
    let pool = Pool::new(
        settings(&[format!("http://127.0.0.1:{port}")]),
        network(&[]),
    );
    let error = get(&client(), &pool).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConnectionRefused);
    assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(error.address.unwrap().port(), port);
    assert_eq!(
        error.server.as_deref(),
        Some(format!("http://127.0.0.1:{port}").as_str())
    );
}

#[tokio::test]
async fn a_connection_that_ends_before_a_response_is_tried_again_so_often() {
    let origin = Origin::start(|mut conn, number| async move {
        conn.request().await;
        if number < 2 {
            return;
        }
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
            .await;
    })
    .await;
    let response = get(&client(), &pool_of(origin.address)).await.unwrap();
    assert_eq!(response.retries, 2);
    let origin = Origin::start(|mut conn, _| async move {
        conn.request().await;
    })
    .await;
    let error = get(&client(), &pool_of(origin.address)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConnectionTerminated);
    assert_eq!(origin.accepted(), 3);
}

#[tokio::test]
async fn a_retry_goes_to_another_address_of_the_same_server() {
    // Two addresses of one name; whoever is asked first hangs up.
    let asked = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start({
        let asked = Arc::clone(&asked);
        move |mut conn, _| {
            let asked = Arc::clone(&asked);
            async move {
                conn.request().await;
                if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                    return;
                }
                let ip = conn.stream.local_addr().unwrap().ip().to_string();
                let length = ip.len();
                conn.send(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{ip}"
                ))
                .await;
            }
        }
    })
    .await;
    // The listener is on 127.0.0.1 alone; 127.0.0.2 leads to it by way of the dialler.
    let log = Arc::new(tokio::sync::Mutex::default());
    let names = Names(vec![
        ("origin.example", "127.0.0.1"),
        ("origin.example", "127.0.0.2"),
    ]);
    let network = Network::new(
        Resolver::new(Arc::new(names)),
        Guard::new(vec!["127.0.0.0/8".parse().unwrap()]),
        Arc::new(Detour {
            to: origin.address,
            log: Arc::clone(&log),
        }),
    );
    let pool = Pool::new(settings(&["http://origin.example:80".to_owned()]), network);
    let response = get(&client(), &pool).await.unwrap();
    assert_eq!(response.retries, 1);
    let dialled = log.lock().await.clone();
    assert_eq!(dialled.len(), 2);
    assert_ne!(dialled[0], dialled[1]);
}

/// Dials one listener, whatever the address.
#[derive(Debug)]
struct Detour {
    to: std::net::SocketAddr,
    log: Arc<tokio::sync::Mutex<Vec<std::net::SocketAddr>>>,
}

#[async_trait]
impl Dial for Detour {
    async fn dial(&self, address: std::net::SocketAddr) -> std::io::Result<TcpStream> {
        self.log.lock().await.push(address);
        TcpStream::connect(self.to).await
    }
}

#[tokio::test]
async fn the_guard_is_asked_at_every_connect() {
    let origin = Origin::kept().await;
    let url = format!("http://{}", origin.address);
    // Not allowed: a literal, a name, and a name that leads to the node itself.
    for (names, allow, url) in [
        (&[][..], &["10.0.0.0/8"][..], url.clone()),
        (
            &[("inner.example", "127.0.0.1")][..],
            &[][..],
            format!("http://inner.example:{}", origin.address.port()),
        ),
    ] {
        let pool = Pool::new(settings(&[url]), guarded(names, allow));
        let error = get(&client(), &pool).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::DestinationIpProhibited);
        assert!(error.to_string().contains("origin.allow"), "{error}");
    }
    assert_eq!(origin.accepted(), 0);
    // Allowed, and taken away again.
    let network = network(&[]);
    let (client, pool) = (client(), Pool::new(settings(&[url]), Arc::clone(&network)));
    drop(get(&client, &pool).await.unwrap());
    network.set_guard(Guard::default());
    let error = get(&client, &pool).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::DestinationIpProhibited);
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let pool = Pool::new(settings(&["http://gone.example".to_owned()]), network(&[]));
    let error = get(&client(), &pool).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::DnsError);
    assert_eq!(error.rcode(), Some("NXDOMAIN"));
}

#[tokio::test]
async fn the_cap_on_exchanges_fails_at_once_and_is_freed_by_the_end() {
    let (end, wait) = signal();
    let origin = Origin::start(move |mut conn, _| {
        let wait = wait.clone();
        async move {
            while conn.request().await.is_some() {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
                    .await;
                wait.acquire().await.unwrap().forget();
                conn.send("a").await;
            }
        }
    })
    .await;
    let mut settings = settings(&[format!("http://{}", origin.address)]);
    settings.max_connections = 1;
    let (client, pool) = (client(), Pool::new(settings, network(&[])));
    let mut first = get(&client, &pool).await.unwrap();
    let error = get(&client, &pool).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConnectionLimitReached);
    assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
    end.add_permits(2);
    assert_eq!(read(&mut first.body).await.unwrap(), "a");
    // The place is free although the response itself still lives; so it is after a drop.
    let second = get(&client, &pool).await.unwrap();
    assert!(second.reused);
    drop(second);
    assert!(get(&client, &pool).await.is_ok());
    drop(first);
}

#[tokio::test]
async fn a_host_with_both_families_is_reached_by_the_one_that_answers() {
    // localhost is ::1 and 127.0.0.1; the origin listens on the second alone.
    let origin = Origin::kept().await;
    let url = format!("http://localhost:{}", origin.address.port());
    let pool = Pool::new(settings(&[url]), network(&[]));
    let (client, pool) = (client(), pool);
    let mut response = get(&client, &pool).await.unwrap();
    assert_eq!(response.address, Some(origin.address));
    assert_eq!(response.retries, 0);
    read(&mut response.body).await.unwrap();
    // Kept although the peer's address is not known beforehand.
    assert!(get(&client, &pool).await.unwrap().reused);
}
