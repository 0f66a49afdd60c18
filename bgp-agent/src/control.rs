//! The API on the agent's Unix socket, and metrics by TCP.

use std::{convert::Infallible, io, path::Path, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{metrics, status::Status};

/// What the agent is asked through its socket.
#[derive(Debug)]
pub enum Command {
    /// How are you?
    Status(oneshot::Sender<Status>),
    /// Drain, please.
    Drain(DrainRequest, oneshot::Sender<Result<Answer, String>>),
    /// Come back, please.
    Undrain(oneshot::Sender<Result<Answer, String>>),
}

/// The body of `POST /v1/drain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainRequest {
    /// Why, for the log and for whoever looks.
    pub reason: String,
    /// Also against the fleet's will.
    pub force: bool,
}

/// The answer to a drain or an undrain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was done.
    pub message: String,
    /// What `force` overrode, if anything.
    pub overridden: Option<String>,
}

/// What handlers share.
#[derive(Clone, Debug)]
struct Api {
    commands: mpsc::Sender<Command>,
    changes: watch::Receiver<u64>,
}

/// The control socket; its file goes with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: Arc<Path>,
}

impl Control {
    /// Binds the socket, in place of one that nobody serves any more. Only the agent's own user may
    /// use it.
    ///
    /// # Errors
    /// When a living process serves it, something else is there, or the folder cannot be written.
    pub fn bind(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "a file that is no socket is there",
                ));
            }
            match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                }
                Err(error) => return Err(error),
                Ok(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::AddrInUse,
                        "another agent serves it",
                    ));
                }
            }
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.into(),
        })
    }

    /// Serves until dropped.
    pub async fn serve(self, commands: mpsc::Sender<Command>, changes: watch::Receiver<u64>) {
        let _file = Unlinked(self.path);
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/metrics", get(render))
            .route("/v1/status", get(status))
            .route("/v1/watch", get(watch_status))
            .route("/v1/drain", post(drain))
            .route("/v1/undrain", post(undrain))
            .with_state(Api { commands, changes });
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!(%error, "the control socket is closed");
        }
    }
}

struct Unlinked(Arc<Path>);

impl Drop for Unlinked {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Serves metrics by TCP until dropped; nothing else is to be had there.
pub async fn serve_metrics(
    listener: TcpListener,
    commands: mpsc::Sender<Command>,
    changes: watch::Receiver<u64>,
) {
    let router = Router::new()
        .route("/metrics", get(render))
        .with_state(Api { commands, changes });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics are not served any more");
    }
}

fn gone() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending\n").into_response()
}

async fn ask(api: &Api) -> Option<Status> {
    let (sender, answer) = oneshot::channel();
    api.commands.send(Command::Status(sender)).await.ok()?;
    answer.await.ok()
}

async fn status(State(api): State<Api>) -> Response {
    match ask(&api).await {
        Some(status) => Json(status).into_response(),
        None => gone(),
    }
}

async fn render(State(api): State<Api>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    match ask(&api).await {
        Some(status) => (kind, metrics::render(&status)).into_response(),
        None => gone(),
    }
}

/// A JSON line at once, one at every change, and one at least every second.
async fn watch_status(State(api): State<Api>) -> Response {
    let lines = futures_util::stream::unfold((api, true), |(mut api, first)| async move {
        if !first {
            // Neither silence nor the agent's end is an error here; the latter shows in `ask`.
            let _ = timeout(Duration::from_secs(1), api.changes.changed()).await;
        }
        api.changes.borrow_and_update();
        let status = ask(&api).await?;
        let mut line = serde_json::to_vec(&status).ok()?;
        line.push(b'\n');
        Some((Ok::<_, Infallible>(line), (api, false)))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(lines)).into_response()
}

async fn drain(State(api): State<Api>, Json(request): Json<DrainRequest>) -> Response {
    let (sender, answer) = oneshot::channel();
    let sent = api.commands.send(Command::Drain(request, sender)).await;
    reply(sent.is_ok(), answer).await
}

async fn undrain(State(api): State<Api>) -> Response {
    let (sender, answer) = oneshot::channel();
    let sent = api.commands.send(Command::Undrain(sender)).await;
    reply(sent.is_ok(), answer).await
}

async fn reply(sent: bool, answer: oneshot::Receiver<Result<Answer, String>>) -> Response {
    if !sent {
        return gone();
    }
    match answer.await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(refusal)) => (StatusCode::CONFLICT, refusal).into_response(),
        Err(_) => gone(),
    }
}
