//! The operator's view as HTTP and JSON: what is there, and the means to end or reload it.
//!
//! One set of handlers for every way in. Today that is the control socket ([`crate::control`]), whose peer is the
//! owner of the broker.

mod bridges;
mod dead_letters;
mod problem;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use culex_core::{Admin, Broker};
use serde_json::{Value, json};

pub use self::problem::ApiProblem;

use crate::bridge::Bridges;
use crate::integration::Integrations;
use crate::reload::Reloader;

/// Entries of a page where nobody said how many.
const PAGE: usize = 100;
/// Entries of a page at most.
const PAGE_MAX: usize = 1000;

/// What the handlers need.
#[derive(Debug)]
pub struct Api {
    broker: Broker,
    admin: Admin,
    reloader: Arc<Reloader>,
    integrations: Integrations,
    bridges: Option<Bridges>,
    started: Instant,
}

impl Api {
    /// For this broker.
    pub fn new(broker: Broker, reloader: Arc<Reloader>) -> Self {
        let integrations = Integrations::default();
        Self { admin: broker.admin(), broker, reloader, integrations, bridges: None, started: Instant::now() }
    }

    /// With its bridges.
    #[must_use]
    pub fn bridges(mut self, bridges: Bridges) -> Self {
        self.bridges = Some(bridges);
        self
    }

    /// With what carries messages out of it.
    #[must_use]
    pub fn integrations(mut self, integrations: Integrations) -> Self {
        self.integrations = integrations;
        self
    }
}

type Shared = State<Arc<Api>>;
type Answer = Result<Json<Value>, ApiProblem>;

/// Every route.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/metrics", get(metrics))
        .route("/api/v1/clients", get(clients))
        .route("/api/v1/clients/{client_id}", get(client).delete(disconnect))
        .route("/api/v1/sessions", get(sessions))
        .route("/api/v1/sessions/{client_id}", get(client).delete(end_session))
        .route("/api/v1/sessions/{client_id}/subscriptions", get(subscriptions))
        .route("/api/v1/retained", get(retained))
        .route("/api/v1/reload", post(reload))
        .merge(dead_letters::routes())
        .merge(bridges::routes())
        .fallback(async || ApiProblem::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .with_state(Arc::new(api))
}

async fn status(State(api): Shared) -> Answer {
    let metrics = api.broker.metrics();
    let number = |name: &str| metrics.get(name).unwrap_or_default();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": api.started.elapsed().as_secs(),
        "listeners": api.broker.local_addrs().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "connections": number("connections"),
        "sessions": number("sessions"),
        "subscriptions": number("subscriptions"),
        "retained_messages": number("retained_messages"),
        "queue_messages": number("queue_messages"),
        "messages_received": number("messages_received"),
        "messages_sent": number("messages_sent"),
    })))
}

async fn metrics(State(api): Shared) -> Answer {
    let numbers = api.broker.metrics();
    Ok(Json(Value::Object(
        numbers.iter().map(|(metric, value)| (metric.name.to_owned(), value.into())).collect(),
    )))
}

async fn clients(State(api): Shared, Query(query): Query<HashMap<String, String>>) -> Answer {
    let (after, limit) = page(&query)?;
    Ok(Json(view::page(&api.admin.clients(after, limit).await?, view::session)))
}

async fn sessions(State(api): Shared, Query(query): Query<HashMap<String, String>>) -> Answer {
    let (after, limit) = page(&query)?;
    Ok(Json(view::page(&api.admin.sessions(after, limit).await?, view::session)))
}

async fn client(State(api): Shared, Path(client_id): Path<String>) -> Answer {
    let session = api.admin.session(&client_id).await?;
    session.as_ref().map(|session| Json(view::session(session))).ok_or_else(|| no_session(&client_id))
}

async fn subscriptions(
    State(api): Shared,
    Path(client_id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let (after, limit) = page(&query)?;
    let found = api.admin.subscriptions(&client_id, after, limit).await?;
    let found = found.ok_or_else(|| no_session(&client_id))?;
    Ok(Json(view::page(&found, |filter| json!({ "filter": filter }))))
}

async fn disconnect(State(api): Shared, Path(client_id): Path<String>) -> Result<StatusCode, ApiProblem> {
    if api.admin.disconnect(&client_id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let what = format!("no client {} is connected", client_id.escape_debug());
    Err(ApiProblem::new(StatusCode::NOT_FOUND, what))
}

async fn end_session(State(api): Shared, Path(client_id): Path<String>) -> Result<StatusCode, ApiProblem> {
    if api.admin.end_session(&client_id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_session(&client_id))
    }
}

async fn retained(State(api): Shared, Query(query): Query<HashMap<String, String>>) -> Answer {
    let (after, limit) = page(&query)?;
    let filter = query.get("filter").map_or("#", String::as_str);
    Ok(Json(view::page(&api.admin.retained(filter, after, limit)?, view::retained)))
}

async fn reload(State(api): Shared) -> Answer {
    match api.reloader.reload(&api.broker).await {
        Ok(changes) => Ok(Json(json!({ "changes": changes.iter().map(view::change).collect::<Vec<_>>() }))),
        Err(error) => Err(ApiProblem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())),
    }
}

fn no_session(client_id: &str) -> ApiProblem {
    ApiProblem::new(StatusCode::NOT_FOUND, format!("there is no session of {}", client_id.escape_debug()))
}

/// Where a page begins and how long it is.
fn page(query: &HashMap<String, String>) -> Result<(culex_core::Cursor, usize), ApiProblem> {
    let bad = |what: String| ApiProblem::new(StatusCode::BAD_REQUEST, what);
    let after = match query.get("after") {
        None => culex_core::Cursor::default(),
        Some(text) => text.parse().map_err(|error| bad(format!("after: {error}")))?,
    };
    let limit = match query.get("limit") {
        None => PAGE,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=PAGE_MAX) => limit,
            Ok(_) | Err(_) => return Err(bad(format!("limit: a number from 1 to {PAGE_MAX}"))),
        },
    };
    Ok((after, limit))
}
