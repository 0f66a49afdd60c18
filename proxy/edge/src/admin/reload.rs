//! `POST /v1/reload`

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::Refusal;
use crate::{
    edge::Edge,
    server::{Reloaded, reload as apply},
};

/// Reads the node's document and those of its sites again, and puts them in force.
#[utoipa::path(post, path = "/v1/reload", responses(
    (status = 200, body = Reloaded),
    (status = 409, body = Refusal, description = "Something is wrong with them; nothing has changed."),
))]
pub(super) async fn reload(State(edge): State<Arc<Edge>>) -> Result<Json<Reloaded>, Refusal> {
    // Reading 100,000 documents takes seconds.
    let done = tokio::task::spawn_blocking(move || apply(&edge)).await;
    match done {
        Ok(Ok(reloaded)) => Ok(Json(reloaded)),
        Ok(Err(wrong)) => Err(Refusal::new(StatusCode::CONFLICT, wrong.join("\n"))),
        Err(error) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
        )),
    }
}
