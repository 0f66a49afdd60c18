//! The control commands' way to a daemon: one HTTP exchange over its Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// How long a daemon may take to answer a control command.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes: a list of 100,000 sites is about 20 MB.
const LONGEST_ANSWER: usize = 256 << 20;

/// What the daemon answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body; a string where it is no JSON.
    pub body: Value,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no daemon answers on {socket}: {source}; is it running, and is --socket or --config right?", socket = .socket.display())]
    Connect {
        /// The socket that was tried.
        socket: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The connection was made and then failed.
    #[error("the daemon's answer did not arrive: {0}")]
    Exchange(String),
}

/// Asks for `path` and returns the answer.
///
/// # Errors
/// When no daemon listens on `socket`, or the exchange breaks or takes more than 30 s.
pub fn get(socket: &Path, path: &str) -> Result<Answer, ClientError> {
    exchange(socket, Method::GET, path, Bytes::new())
}

/// Posts `body` as JSON to `path` and returns the answer.
///
/// # Errors
/// As [`get`].
pub fn post(socket: &Path, path: &str, body: &Value) -> Result<Answer, ClientError> {
    exchange(socket, Method::POST, path, Bytes::from(body.to_string()))
}

fn exchange(socket: &Path, method: Method, path: &str, body: Bytes) -> Result<Answer, ClientError> {
    let broken = |error: &dyn std::fmt::Display| ClientError::Exchange(error.to_string());
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| broken(&error))?
        .block_on(async {
            let stream =
                UnixStream::connect(socket)
                    .await
                    .map_err(|source| ClientError::Connect {
                        socket: socket.to_owned(),
                        source,
                    })?;
            let talk = async {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream))
                        .await
                        .map_err(|error| broken(&error))?;
                tokio::spawn(connection);
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header(header::HOST, "anypop")
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Full::new(body))
                    .map_err(|error| broken(&error))?;
                let response = sender
                    .send_request(request)
                    .await
                    .map_err(|error| broken(&error))?;
                let status = response.status();
                let body = Limited::new(response.into_body(), LONGEST_ANSWER)
                    .collect()
                    .await
                    .map_err(|error| broken(&error))?
                    .to_bytes();
                let body = serde_json::from_slice(&body)
                    .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body)));
                Ok(Answer { status, body })
            };
            tokio::time::timeout(PATIENCE, talk)
                .await
                .unwrap_or_else(|_| Err(ClientError::Exchange("it took more than 30 s".to_owned())))
        })
}
