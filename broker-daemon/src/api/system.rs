//! The broker as a whole: how it is, where it listens, what it runs with.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::caller::Caller;
use super::parameters::Parameters;
use super::{Answer, Api, ApiProblem, prometheus, view};

/// Longer than lanes and store need for a sign of life.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a sign of life is good for: whoever asks more often costs the broker nothing.
const PROBE_MEMORY: Duration = Duration::from_secs(1);

pub(super) async fn me(Extension(caller): Extension<Caller>) -> Json<Value> {
    Json(json!({ "role": caller.role().word(), "user_name": caller.user_name() }))
}

pub(super) async fn status(State(api): State<Arc<Api>>) -> Answer {
    let metrics = api.broker.metrics();
    let number = |name: &str| metrics.get(name).unwrap_or_default();
    let slowest = api.slowest.list(&api.admin).await?;
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
        "bytes_received": number("bytes_received"),
        "bytes_sent": number("bytes_sent"),
        "messages_dropped": prometheus::dropped(&metrics),
        "slowest": slowest.iter().map(view::slow).collect::<Vec<_>>(),
    })))
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Answer {
    let numbers = api.broker.metrics();
    Ok(Json(Value::Object(
        numbers.iter().map(|(metric, value)| (metric.name.to_owned(), value.into())).collect(),
    )))
}

/// For Prometheus.
pub(super) async fn exposition(State(api): State<Arc<Api>>) -> Result<Response, ApiProblem> {
    let text = prometheus::page(&api).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

pub(super) async fn listeners(State(api): State<Arc<Api>>, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    let mut bound = api.broker.local_addrs().into_iter();
    let listeners = api.reloader.listeners().await;
    let items: Vec<_> = listeners
        .iter()
        .map(|(listener, expires)| {
            // One that the system chose the port of is said as it is.
            let address = match listener.address.ip() {
                Some(wanted) => bound.next().unwrap_or(wanted).to_string(),
                None => listener.address.to_string(),
            };
            view::listener(listener, &address, *expires)
        })
        .collect();
    Ok(Json(json!({ "items": items, "next": null })))
}

/// What was read last, as a file would have it, without what is secret and what is as it is by default.
pub(super) async fn config(State(api): State<Arc<Api>>, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    Ok(Json(json!({ "toml": api.reloader.config().await.redacted().to_toml() })))
}

pub(super) async fn reload(State(api): State<Arc<Api>>) -> Answer {
    // To its end, also if whoever asked goes away meanwhile: half of it would be neither the old nor the new.
    let reloading = tokio::spawn(async move { api.reloader.reload(&api.broker).await });
    let failed =
        |_| ApiProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "the reload failed; the log has more");
    match reloading.await.map_err(failed)? {
        Ok(changes) => Ok(Json(json!({ "changes": changes.iter().map(view::change).collect::<Vec<_>>() }))),
        Err(error) => Err(ApiProblem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())),
    }
}

/// The program answers.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Every lane and the store answer.
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Answer {
    let mut last = api.probed.lock().await;
    let is_old = |(at, _): &(Instant, _)| at.elapsed() >= PROBE_MEMORY;
    if last.as_ref().is_none_or(is_old) {
        let probed = match timeout(PROBE_TIMEOUT, api.admin.probe()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ApiProblem::busy(error.to_string())),
            Err(_) => Err(ApiProblem::busy("the lanes or the store have not answered within 5 s")),
        };
        *last = Some((Instant::now(), probed));
    }
    if let Some((_, Err(problem))) = &*last {
        return Err(problem.clone());
    }
    Ok(Json(json!({ "status": "ready" })))
}

/// What this API is, for programs.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], super::OPENAPI).into_response()
}
