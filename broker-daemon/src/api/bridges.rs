//! Bridges: how they are, and an operator's hand on them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::parameters::{Parameters, Segments};
use super::{Answer, Api, ApiProblem};
use crate::bridge::{NoBridge, OrderError};

pub(super) async fn list(State(api): State<Arc<Api>>, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    let items = match &api.bridges {
        Some(bridges) => bridges.list().await,
        None => Vec::new(),
    };
    Ok(Json(json!({ "items": items, "next": null })))
}

pub(super) async fn one(State(api): State<Arc<Api>>, Segments(name): Segments<String>) -> Answer {
    let found = match &api.bridges {
        Some(bridges) => bridges.list().await.into_iter().find(|bridge| bridge["name"] == name.as_str()),
        None => None,
    };
    found.map(Json).ok_or_else(|| NoBridge(name).into())
}

pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Segments(name): Segments<String>,
) -> Result<StatusCode, ApiProblem> {
    let bridges = api.bridges.as_ref().ok_or_else(|| NoBridge(name.clone()))?;
    bridges.pause(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Segments(name): Segments<String>,
) -> Result<StatusCode, ApiProblem> {
    let bridges = api.bridges.as_ref().ok_or_else(|| NoBridge(name.clone()))?;
    bridges.resume(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<OrderError> for ApiProblem {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::NoBridge(error) => error.into(),
            OrderError::Late(_) => Self::new(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
        }
    }
}

impl From<NoBridge> for ApiProblem {
    fn from(error: NoBridge) -> Self {
        Self::new(StatusCode::NOT_FOUND, NoBridge(error.0.escape_debug().to_string()).to_string())
    }
}
