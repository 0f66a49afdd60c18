//! What the proxy is asked for during a drain, through its admin socket.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};

use crate::policy::Ask;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of one is read.
const LONGEST: usize = 4 * 1024 * 1024;

/// Asks the proxy: `POST /v1/drain` with the step, or `POST /v1/undrain`.
///
/// # Errors
/// What went wrong; the drain goes on by time alone.
pub async fn ask(socket: &Path, ask: Ask) -> Result<(), String> {
    let (path, body) = match ask {
        Ask::Bleed => ("/v1/drain", r#"{"step":"bleed","by":"anypop-bgp"}"#),
        Ask::Quiesce => ("/v1/drain", r#"{"step":"quiesce","by":"anypop-bgp"}"#),
        Ask::Resume => ("/v1/undrain", r#"{"by":"anypop-bgp"}"#),
    };
    let (status, answer) = timeout(PATIENCE, request(socket, "POST", path, body.to_owned()))
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))?;
    if (200..300).contains(&status) {
        Ok(())
    } else {
        Err(format!("status {status}: {}", answer.trim()))
    }
}

/// One HTTP request over a Unix socket: the status and the body.
///
/// # Errors
/// When nobody answers in HTTP.
pub async fn request(
    socket: &Path,
    method: &str,
    path: &str,
    body: String,
) -> Result<(u16, String), String> {
    let mut sender = connect(socket).await?;
    let response = sender
        .send_request(build(method, path, body)?)
        .await
        .map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), LONGEST)
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    Ok((
        status,
        String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    ))
}

/// Opens a connection for requests.
///
/// # Errors
/// When nobody answers.
pub(crate) async fn connect(socket: &Path) -> Result<http1::SendRequest<Full<Bytes>>, String> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| format!("{}: {error}", socket.display()))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// A request with a JSON body.
///
/// # Errors
/// None with the methods and paths used here.
pub(crate) fn build(
    method: &str,
    path: &str,
    body: String,
) -> Result<Request<Full<Bytes>>, String> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())
}
