//! A probe of the data path: one connection, one request, as a client would.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::tls;
use crate::document::Probe;

/// How much of a body is looked at.
const BODY: usize = 64 * 1024;

/// A probe, ready to be run again and again.
#[derive(Clone)]
pub struct HttpProbe {
    address: SocketAddr,
    target: String,
    host: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    status: Vec<u16>,
    body: Option<Bytes>,
}

impl HttpProbe {
    /// From a checked document.
    ///
    /// # Errors
    /// When what it names is not there any more.
    pub fn new(probe: &Probe) -> Result<Self, String> {
        let ip = match probe.url.host() {
            Some(url::Host::Ipv4(address)) => IpAddr::V4(address),
            Some(url::Host::Ipv6(address)) => IpAddr::V6(address),
            _ => return Err("the URL's host is no address".to_owned()),
        };
        let port = probe
            .url
            .port_or_known_default()
            .ok_or("the URL has no port")?;
        let host = match (&probe.host, probe.url.host_str(), probe.url.port()) {
            (Some(host), ..) => host.clone(),
            (None, Some(host), Some(port)) => format!("{host}:{port}"),
            (None, host, None) => host.unwrap_or_default().to_owned(),
            (None, None, Some(_)) => String::new(),
        };
        let tls = if probe.url.scheme() == "https" {
            let roots = match &probe.ca_file {
                Some(file) => Some(tls::roots(file)?),
                None => None,
            };
            let name = match &probe.host {
                Some(host) => {
                    let name = host.split(':').next().unwrap_or_default();
                    ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?
                }
                None => ServerName::IpAddress(ip.into()),
            };
            let client = tls::client(roots)?;
            Some((TlsConnector::from(Arc::new(client)), name))
        } else {
            None
        };
        let target = match probe.url.query() {
            Some(query) => format!("{}?{query}", probe.url.path()),
            None => probe.url.path().to_owned(),
        };
        Ok(Self {
            address: SocketAddr::new(ip, port),
            target,
            host,
            tls,
            status: probe.status.clone(),
            body: probe.body.clone().map(Bytes::from),
        })
    }

    /// Probes once. The caller sets the time limit.
    ///
    /// # Errors
    /// What is not as it should be.
    pub async fn run(&self) -> Result<(), String> {
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|error| format!("connect: {error}"))?;
        match &self.tls {
            None => self.exchange(stream).await,
            Some((connector, name)) => {
                let stream = connector
                    .connect(name.clone(), stream)
                    .await
                    .map_err(|error| format!("TLS: {error}"))?;
                self.exchange(stream).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<(), String> {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(BODY)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let request = Request::get(&self.target)
            .header("host", &self.host)
            .header("user-agent", "anypop-bgp")
            .header("connection", "close")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let look = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| error.to_string())?;
            let status = response.status().as_u16();
            if !self.status.contains(&status) {
                return Err(format!("status {status}"));
            }
            match &self.body {
                None => Ok(()),
                Some(wanted) => contains(response.into_body(), wanted).await,
            }
        };
        tokio::pin!(look, connection);
        tokio::select! {
            biased;
            seen = &mut look => seen,
            // The connection may end with the response still in hand.
            _ = &mut connection => look.await,
        }
    }
}

async fn contains(mut body: hyper::body::Incoming, wanted: &[u8]) -> Result<(), String> {
    let mut seen: Vec<u8> = Vec::new();
    while seen.len() < BODY {
        let Some(frame) = body.frame().await else {
            break;
        };
        let frame = frame.map_err(|error| error.to_string())?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let room = BODY - seen.len();
        seen.extend(data.iter().take(room));
    }
    if seen.windows(wanted.len()).any(|part| part == wanted) {
        Ok(())
    } else {
        Err("the body does not contain what it should".to_owned())
    }
}
