//! HTTP/2 to origins.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anypop_origin::{ErrorKind, Http2, Pool, TlsSettings};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::fake::{client, fetch, get, network, read, request, settings, signal, text};
use crate::tls::{Authority, server_config};

type Request = http::Request<RecvStream>;
type Respond = SendResponse<Bytes>;

struct Origin {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Origin {
    /// Plays `script` for every request of every connection, spoken with prior knowledge.
    async fn start<F, R>(script: F) -> Self
    where
        F: Fn(Request, Respond) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::serve(move |stream| serve(stream, script.clone())).await
    }

    async fn serve<F, R>(connection: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(connection(stream));
            }
        });
        Self { address, accepted }
    }

    fn pool(&self) -> Arc<Pool> {
        let mut settings = settings(&[format!("http://{}", self.address)]);
        settings.http2 = Http2::PriorKnowledge;
        Pool::new(settings, network(&[]))
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn serve<S, F, R>(stream: S, script: F)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    F: Fn(Request, Respond) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(script(request, respond));
    }
}

fn ok() -> Response<()> {
    Response::new(())
}

async fn hello(_request: Request, mut respond: Respond) {
    let mut body = respond.send_response(ok(), false).unwrap();
    body.send_data("hello".into(), true).unwrap();
}

#[tokio::test]
async fn requests_share_a_connection() {
    let origin = Origin::start(hello).await;
    let (client, pool) = (client(), origin.pool());
    let mut first = get(&client, &pool).await.unwrap();
    assert_eq!(first.version, Version::HTTP_2);
    assert_eq!(first.address, Some(origin.address));
    let mut second = get(&client, &pool).await.unwrap();
    assert!(second.reused);
    assert_eq!(read(&mut first.body).await.unwrap(), "hello");
    assert_eq!(read(&mut second.body).await.unwrap(), "hello");
    // Given up: the stream is reset, the connection stays.
    drop(get(&client, &pool).await.unwrap());
    assert_eq!(text(&client, &pool).await.unwrap(), "hello");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn the_request_has_an_authority_and_no_host() {
    let origin = Origin::start(|request: Request, mut respond: Respond| async move {
        let uri = request.uri().to_string();
        let host = request.headers().contains_key("host");
        let told = format!(
            "{} {uri} {host} {}",
            request.method(),
            request.body().is_end_stream()
        );
        let mut body = respond.send_response(ok(), false).unwrap();
        body.send_data(told.into(), true).unwrap();
    })
    .await;
    assert_eq!(
        text(&client(), &origin.pool()).await.unwrap(),
        "GET http://www.shop.example/a?b=1 false true"
    );
}

#[tokio::test]
async fn trailers_come_after_the_body() {
    let origin = Origin::start(|_, mut respond: Respond| async move {
        let mut body = respond.send_response(ok(), false).unwrap();
        body.send_data("hello".into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        body.send_trailers(trailers).unwrap();
    })
    .await;
    let mut response = get(&client(), &origin.pool()).await.unwrap();
    assert!(response.body.take_trailers().is_none());
    assert_eq!(read(&mut response.body).await.unwrap(), "hello");
    assert_eq!(response.body.take_trailers().unwrap()["x-sum"], "1");
}

#[tokio::test]
async fn responses_without_a_body() {
    let origin = Origin::start(|request: Request, mut respond: Respond| async move {
        let mut response = ok();
        if request.method() == Method::HEAD {
            let length = HeaderValue::from_static("5");
            response.headers_mut().insert("content-length", length);
        } else {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        respond.send_response(response, true).unwrap();
    })
    .await;
    let (client, pool) = (client(), origin.pool());
    let head = fetch(&client, &pool, &request(Method::HEAD)).await.unwrap();
    assert_eq!(head.headers["content-length"], "5");
    assert!(head.body.is_ended());
    assert!(get(&client, &pool).await.unwrap().body.is_ended());
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_reset_within_the_body_is_an_error_whatever_its_reason() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR] {
        let (arrived, arrival) = signal();
        let origin = Origin::start(move |_, mut respond: Respond| {
            let arrival = Arc::clone(&arrival);
            async move {
                let mut body = respond.send_response(ok(), false).unwrap();
                body.send_data("hello".into(), false).unwrap();
                arrival.acquire().await.unwrap().forget();
                body.send_reset(reason);
            }
        })
        .await;
        let mut response = get(&client(), &origin.pool()).await.unwrap();
        assert_eq!(response.body.next().await.unwrap().unwrap(), "hello");
        arrived.add_permits(1);
        let error = read(&mut response.body).await.unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::HttpResponseIncomplete,
            "{reason}: {error}"
        );
    }
}

#[tokio::test]
async fn a_body_shorter_or_longer_than_said_is_an_error() {
    for sent in ["hell", "hello!"] {
        let origin = Origin::start(move |_, mut respond: Respond| async move {
            let mut response = ok();
            let length = HeaderValue::from_static("5");
            response.headers_mut().insert("content-length", length);
            let mut body = respond.send_response(response, false).unwrap();
            body.send_data(sent.into(), true).unwrap();
        })
        .await;
        let mut response = get(&client(), &origin.pool()).await.unwrap();
        assert!(read(&mut response.body).await.is_err(), "{sent}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_within_the_body_is_an_error() {
    let (cut, wait) = signal();
    let origin = Origin::serve(move |stream| {
        let wait = Arc::clone(&wait);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            let mut body = respond.send_response(ok(), false).unwrap();
            body.send_data("hello".into(), false).unwrap();
            tokio::select! {
                _ = connection.accept() => {}
                permit = wait.acquire() => permit.unwrap().forget(),
            }
        }
    })
    .await;
    let mut response = get(&client(), &origin.pool()).await.unwrap();
    assert_eq!(response.body.next().await.unwrap().unwrap(), "hello");
    cut.add_permits(1);
    let error = read(&mut response.body).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::HttpResponseIncomplete, "{error}");
}

#[tokio::test]
async fn a_refused_stream_is_tried_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start(move |_request, mut respond: Respond| {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            respond.send_response(ok(), true).unwrap();
        }
    })
    .await;
    let response = get(&client(), &origin.pool()).await.unwrap();
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.retries, 0);
}

#[tokio::test]
async fn a_hint_before_the_response_does_no_harm() {
    let origin = Origin::start(|_, mut respond: Respond| async move {
        let mut hint = ok();
        *hint.status_mut() = StatusCode::EARLY_HINTS;
        respond.send_informational(hint).unwrap();
        let mut body = respond.send_response(ok(), false).unwrap();
        body.send_data("hello".into(), true).unwrap();
    })
    .await;
    assert_eq!(text(&client(), &origin.pool()).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_connection_that_has_ended_is_replaced() {
    let origin = Origin::serve(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_response(ok(), true).unwrap();
        connection.graceful_shutdown();
        while connection.accept().await.is_some() {}
    })
    .await;
    let (client, pool) = (client(), origin.pool());
    for _ in 0..4 {
        assert_eq!(text(&client, &pool).await.unwrap(), "");
    }
}

#[tokio::test]
async fn what_does_not_speak_http2_is_a_protocol_error() {
    let origin = crate::fake::Origin::start(|mut conn, _| async move {
        conn.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await;
        conn.request().await;
    })
    .await;
    let mut settings = settings(&[format!("http://{}", origin.address)]);
    settings.http2 = Http2::PriorKnowledge;
    let error = get(&client(), &Pool::new(settings, network(&[])))
        .await
        .unwrap_err();
    assert_eq!(error.status(), StatusCode::BAD_GATEWAY, "{error}");
}

/// HTTP/2 where it is agreed on by ALPN, HTTP/1.1 where it is not.
#[tokio::test]
async fn alpn_decides() {
    let authority = Authority::new();
    let leaf = authority.leaf("127.0.0.1");
    for (offered, agreed, version) in [
        (Http2::Offered, &["h2", "http/1.1"][..], Version::HTTP_2),
        (Http2::Offered, &["http/1.1"][..], Version::HTTP_11),
        (Http2::Offered, &[][..], Version::HTTP_11),
        (Http2::Off, &["h2", "http/1.1"][..], Version::HTTP_11),
    ] {
        let acceptor = TlsAcceptor::from(server_config(&leaf, agreed, None));
        let origin = Origin::serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    return serve(stream, hello).await;
                }
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut head).await.unwrap();
                }
                let response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                stream.write_all(response).await.unwrap();
                let _ = stream.read_buf(&mut head).await;
            }
        })
        .await;
        let mut settings = settings(&[format!("https://{}", origin.address)]);
        settings.http2 = offered;
        settings.tls = TlsSettings {
            trust: Some(authority.trust()),
            ..TlsSettings::default()
        };
        let (client, pool) = (client(), Pool::new(settings, network(&[])));
        let mut response = get(&client, &pool).await.unwrap();
        assert_eq!(response.version, version, "{offered:?} {agreed:?}");
        assert_eq!(read(&mut response.body).await.unwrap(), "hello");
        assert!(get(&client, &pool).await.is_ok());
    }
    // Over plain TCP nothing can be offered.
    let origin = crate::fake::Origin::kept().await;
    let mut settings = settings(&[format!("http://{}", origin.address)]);
    settings.http2 = Http2::Offered;
    let pool = Pool::new(settings, network(&[]));
    assert_eq!(text(&client(), &pool).await.unwrap(), "0");
}

/// Where HTTP/2 was offered and HTTP/1.1 agreed on, kept connections die as those of HTTP/1.1 do.
#[tokio::test]
async fn a_kept_connection_after_a_refused_offer_is_replaced() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(server_config(&authority.leaf("127.0.0.1"), &[], None));
    let origin = Origin::serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut head).await.unwrap();
            }
            let response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
            stream.write_all(response).await.unwrap();
            // Dies on the next request, without a byte.
            let _ = stream.read_buf(&mut head).await;
        }
    })
    .await;
    let mut settings = settings(&[format!("https://{}", origin.address)]);
    settings.http2 = Http2::Offered;
    settings.retries = 0;
    settings.tls.trust = Some(authority.trust());
    let (client, pool) = (client(), Pool::new(settings, network(&[])));
    for _ in 0..3 {
        assert_eq!(text(&client, &pool).await.unwrap(), "hello");
    }
    assert_eq!(origin.accepted(), 3);
}
