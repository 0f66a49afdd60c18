//! The admin API: what an operator can ask of a running daemon, over its Unix socket and, with a
//! token, over TCP. The OpenAPI document at `/v1/openapi.json` is made from these handlers.

pub mod client;
mod explain;
mod purges;
mod reload;
mod sites;
mod status;

use std::sync::Arc;

use anypop_config::value::Token;
use axum::{
    Json, Router,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use crate::edge::Edge;

/// An answer that says no.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Refusal {
    /// What is wrong, and what to do.
    error: String,
    #[serde(skip)]
    status: StatusCode,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            status,
        }
    }

    fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "anypop admin API", description = "Control of one node."),
    paths(
        status::status,
        status::healthz,
        status::readyz,
        status::metrics,
        sites::sites,
        explain::explain,
        purges::purge,
        reload::reload
    ),
    components(schemas(Refusal))
)]
struct Document;

/// The API's routes over `edge`.
pub fn router(edge: Arc<Edge>) -> Router {
    Router::new()
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .route("/v1/status", get(status::status))
        .route("/v1/sites", get(sites::sites))
        .route("/v1/explain", get(explain::explain))
        .route("/v1/purges", axum::routing::post(purges::purge))
        .route("/v1/reload", axum::routing::post(reload::reload))
        .route(
            "/v1/openapi.json",
            get(|| async { Json(Document::openapi()) }),
        )
        .fallback(|| async {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "no such resource; /v1/openapi.json lists them",
            )
        })
        .method_not_allowed_fallback(|| async {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this resource has no such method",
            )
        })
        .with_state(edge)
}

/// The routes for the TCP listener: all but the health checks want the token.
pub fn guarded(edge: Arc<Edge>, token: Token) -> Router {
    let token = Arc::new(token);
    router(edge).layer(axum::middleware::from_fn(
        move |request: axum::extract::Request, next: axum::middleware::Next| {
            let token = token.clone();
            async move {
                let open = matches!(request.uri().path(), "/healthz" | "/readyz");
                if open || authorised(&token, request.headers().get(header::AUTHORIZATION)) {
                    return next.run(request).await;
                }
                let refusal = Refusal::new(
                    StatusCode::UNAUTHORIZED,
                    "this needs 'Authorization: Bearer TOKEN' with the token of admin.token_file",
                );
                ([(header::WWW_AUTHENTICATE, "Bearer")], refusal).into_response()
            }
        },
    ))
}

/// Whether an `Authorization` field shows the token (RFC 6750, section 2.1).
fn authorised(token: &Token, field: Option<&HeaderValue>) -> bool {
    field
        .and_then(|field| field.as_bytes().split_at_checked(7))
        .is_some_and(|(scheme, shown)| {
            scheme.eq_ignore_ascii_case(b"bearer ") && token.matches(shown.trim_ascii())
        })
}
