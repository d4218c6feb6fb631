//! Bridges: how they are, and an operator's hand on them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::{Answer, Api, ApiProblem, Shared};
use crate::bridge::NoBridge;

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/api/v1/bridges", get(list))
        .route("/api/v1/bridges/{name}", get(one))
        .route("/api/v1/bridges/{name}/pause", post(pause))
        .route("/api/v1/bridges/{name}/resume", post(resume))
}

async fn list(State(api): Shared) -> Answer {
    let items = match &api.bridges {
        Some(bridges) => bridges.list().await,
        None => Vec::new(),
    };
    Ok(Json(json!({ "items": items, "next": null })))
}

async fn one(State(api): Shared, Path(name): Path<String>) -> Answer {
    let found = match &api.bridges {
        Some(bridges) => bridges.list().await.into_iter().find(|bridge| bridge["name"] == name.as_str()),
        None => None,
    };
    found.map(Json).ok_or_else(|| NoBridge(name).into())
}

async fn pause(State(api): Shared, Path(name): Path<String>) -> Result<StatusCode, ApiProblem> {
    let bridges = api.bridges.as_ref().ok_or_else(|| NoBridge(name.clone()))?;
    bridges.pause(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn resume(State(api): Shared, Path(name): Path<String>) -> Result<StatusCode, ApiProblem> {
    let bridges = api.bridges.as_ref().ok_or_else(|| NoBridge(name.clone()))?;
    bridges.resume(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<NoBridge> for ApiProblem {
    fn from(error: NoBridge) -> Self {
        Self::new(StatusCode::NOT_FOUND, NoBridge(error.0.escape_debug().to_string()).to_string())
    }
}
