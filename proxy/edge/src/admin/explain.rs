//! `GET /v1/explain?url=…`: what the cache would do with a request, and why.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
};

use super::{Refusal, purges::Target};
use crate::{
    edge::Edge,
    pipeline::{Asked, Explanation},
};

/// Tells how a GET for a URL would be keyed, what is stored for it, how old that is, and whether
/// and why it would or would not be served. Nothing is fetched and nothing counted.
#[utoipa::path(get, path = "/v1/explain",
    params(
        ("url" = String, Query, description = "An absolute URL, as a client would ask for it."),
        ("header" = Option<Vec<String>>, Query, description = "Request fields, as 'Name: value'."),
    ),
    responses(
        (status = 200, body = Explanation),
        (status = 400, body = Refusal, description = "There is no URL, or none that can be read."),
        (status = 404, body = Refusal, description = "No site has the host."),
    )
)]
pub(super) async fn explain(
    State(edge): State<Arc<Edge>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Explanation>, Refusal> {
    let mut url = None;
    let mut headers = HeaderMap::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "url" => url = Some(value.into_owned()),
            "header" => add(&mut headers, &value)?,
            other => {
                return Err(Refusal::bad_request(format!(
                    "there is no parameter {other:?}"
                )));
            }
        }
    }
    let url = url.ok_or_else(|| Refusal::bad_request("the parameter 'url' is missing"))?;
    let target = Target::parse(&url)?;
    let snapshot = edge.live.snapshot();
    let site = snapshot.sites.find(&target.host).ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("no site has the host {:?}", target.host),
        )
    })?;
    let asked = Asked {
        tls: target.tls,
        authority: &target.authority,
        path: &target.path,
        query: target.query.as_deref(),
        headers: &headers,
    };
    Ok(Json(crate::pipeline::explain(&edge, site, &asked).await))
}

fn add(headers: &mut HeaderMap, line: &str) -> Result<(), Refusal> {
    let refuse = || Refusal::bad_request(format!("{line:?} is no field: write 'Name: value'"));
    let (name, value) = line.split_once(':').ok_or_else(refuse)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| refuse())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| refuse())?;
    headers.append(name, value);
    Ok(())
}
