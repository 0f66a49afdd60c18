//! Origins to fetch from, and a client set up for loopback.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anypop_origin::{
    Answer, BodyStream, Client, Family, FetchError, Guard, Lookup, LookupError, Network, Pool,
    PoolSettings, Request, Resolver, Response, ServerSettings, ServerUrl, TcpDial,
};
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What one play may take at most before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(20);

/// An HTTP/1.1 origin that plays a script on each connection.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Origin {
    /// Plays `script` on every connection; it gets the connection and its number, from 0.
    pub(crate) async fn start<F, R>(script: F) -> Self
    where
        F: Fn(Conn, usize) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let read = Vec::new();
                tokio::spawn(script(Conn { stream, read }, number));
            }
        });
        Self {
            address,
            accepted,
            task,
        }
    }

    /// Sends the same bytes to every first request of a connection, and closes it.
    pub(crate) async fn once(response: &'static str) -> Self {
        Self::start(move |mut conn, _| async move {
            conn.request().await;
            conn.send(response).await;
        })
        .await
    }

    /// Answers every request of every connection with 200 and the connection's number.
    pub(crate) async fn kept() -> Self {
        Self::start(|mut conn, number| async move {
            while conn.request().await.is_some() {
                let body = number.to_string();
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                conn.send(&(head + &body)).await;
            }
        })
        .await
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, as the origin has it.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Conn {
    /// The next request head; None at the end.
    pub(crate) async fn request(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                let head = std::mem::replace(&mut self.read, rest);
                return Some(String::from_utf8(head).unwrap());
            }
            if self.stream.read_buf(&mut self.read).await.ok()? == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        // The other side may have gone away: that is part of some plays.
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Ends the connection by RST.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// Something that a test tells a script: one permit for each time.
pub(crate) fn signal() -> (Arc<Semaphore>, Arc<Semaphore>) {
    let signal = Arc::new(Semaphore::new(0));
    (Arc::clone(&signal), signal)
}

/// A port of loopback where nothing listens.
pub(crate) fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Names that tests need, without a DNS server.
pub(crate) struct Names(pub(crate) Vec<(&'static str, &'static str)>);

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, name: &str, family: Family) -> Result<Answer, LookupError> {
        let found: Vec<_> = self.0.iter().filter(|(known, _)| *known == name).collect();
        if found.is_empty() {
            return Err(LookupError::NoSuchName { ttl: None });
        }
        let addresses = found.iter().map(|(_, ip)| ip.parse().unwrap());
        let right = |ip: &std::net::IpAddr| ip.is_ipv4() == (family == Family::V4);
        Ok(Answer {
            addresses: addresses.filter(right).collect(),
            ttl: Duration::from_secs(60),
        })
    }
}

/// A network in which loopback is allowed.
pub(crate) fn network(names: &[(&'static str, &'static str)]) -> Arc<Network> {
    guarded(names, &["127.0.0.0/8", "::1/128"])
}

pub(crate) fn guarded(names: &[(&'static str, &'static str)], allow: &[&str]) -> Arc<Network> {
    let resolver = Resolver::new(Arc::new(Names(names.to_vec())));
    let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    Network::new(resolver, Guard::new(allow), Arc::new(TcpDial))
}

pub(crate) fn server(url: &str) -> ServerSettings {
    ServerSettings {
        url: ServerUrl::parse(url).unwrap(),
        weight: 1,
    }
}

/// Settings with limits short enough for tests that wait for them.
pub(crate) fn settings(urls: &[String]) -> PoolSettings {
    let servers = urls.iter().map(|url| server(url)).collect();
    PoolSettings::new("shop", servers)
}

pub(crate) fn pool_of(address: SocketAddr) -> Arc<Pool> {
    Pool::new(settings(&[format!("http://{address}")]), network(&[]))
}

pub(crate) fn client() -> Client {
    Client::new(100)
}

pub(crate) fn request(method: Method) -> Request {
    Request {
        method,
        authority: HeaderValue::from_static("www.shop.example"),
        path_and_query: "/a?b=1".into(),
        headers: HeaderMap::new(),
        client: None,
        informational: None,
    }
}

/// A GET.
pub(crate) async fn get(client: &Client, pool: &Arc<Pool>) -> Result<Response, FetchError> {
    fetch(client, pool, &request(Method::GET)).await
}

pub(crate) async fn fetch(
    client: &Client,
    pool: &Arc<Pool>,
    request: &Request,
) -> Result<Response, FetchError> {
    let fetched = tokio::time::timeout(LIMIT, client.fetch(pool, request));
    fetched.await.expect("the fetch hangs")
}

/// The whole body.
pub(crate) async fn read(body: &mut BodyStream) -> Result<String, FetchError> {
    let mut whole = Vec::new();
    let all = async {
        while let Some(piece) = body.next().await? {
            assert!(!piece.is_empty());
            whole.extend_from_slice(&piece);
        }
        Ok(())
    };
    let read = tokio::time::timeout(LIMIT, all).await;
    read.expect("the body hangs")?;
    Ok(String::from_utf8(whole).unwrap())
}

/// A GET with its body.
pub(crate) async fn text(client: &Client, pool: &Arc<Pool>) -> Result<String, FetchError> {
    let mut response = get(client, pool).await?;
    read(&mut response.body).await
}
