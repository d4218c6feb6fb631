//! Lists, page by page, and what ends an entry.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use culex_core::Cursor;
use serde_json::json;

use super::caller::Caller;
use super::parameters::{Parameters, Segments};
use super::{Answer, Api, ApiProblem, view};
use crate::integration::Queue;

const PAGE: &[&str] = &["after", "limit"];
/// Sessions that one page of the list of all subscriptions looks at.
const SESSIONS_MAX: usize = 1000;

pub(super) async fn clients(State(api): State<Arc<Api>>, parameters: Parameters) -> Answer {
    parameters.only(PAGE)?;
    let (after, limit) = parameters.page()?;
    Ok(Json(view::page(&api.admin.clients(after, limit).await?, view::session)))
}

pub(super) async fn sessions(State(api): State<Arc<Api>>, parameters: Parameters) -> Answer {
    parameters.only(PAGE)?;
    let (after, limit) = parameters.page()?;
    Ok(Json(view::page(&api.admin.sessions(after, limit).await?, view::session)))
}

pub(super) async fn session(State(api): State<Arc<Api>>, Segments(client_id): Segments<String>) -> Answer {
    let session = api.admin.session(&client_id).await?;
    session.as_ref().map(|session| Json(view::session(session))).ok_or_else(|| no_session(&client_id))
}

pub(super) async fn subscriptions_of(
    State(api): State<Arc<Api>>,
    Segments(client_id): Segments<String>,
    parameters: Parameters,
) -> Answer {
    parameters.only(PAGE)?;
    let (after, limit) = parameters.page()?;
    let found = api.admin.subscriptions(&client_id, after, limit).await?;
    let found = found.ok_or_else(|| no_session(&client_id))?;
    Ok(Json(view::page(&found, |filter| json!({ "filter": filter }))))
}

/// Those of all sessions, session by session.
pub(super) async fn subscriptions(State(api): State<Arc<Api>>, parameters: Parameters) -> Answer {
    parameters.only(PAGE)?;
    let limit = parameters.limit()?;
    let wrong =
        || ApiProblem::of_field("after", "this cursor is not from this list; begin again without one");
    // Where the session is in the list of sessions, and the filter in that of the session.
    let after = parameters.get("after").unwrap_or("|");
    let (session, filter) = after.split_once('|').ok_or_else(wrong)?;
    let (mut session, mut filter): (Cursor, Cursor) = (session.parse()?, filter.parse()?);
    let mut items = Vec::new();
    for _ in 0..SESSIONS_MAX {
        let page = api.admin.sessions(session.clone(), 1).await?;
        if let Some(one) = page.items.first().filter(|one| one.subscriptions > 0) {
            let found = api.admin.subscriptions(&one.client_id, filter, limit - items.len()).await?;
            let (found, next) = found.map_or_else(Default::default, |page| (page.items, page.next));
            items.extend(found.iter().map(|filter| json!({ "client_id": one.client_id, "filter": filter })));
            if let Some(next) = next {
                return Ok(Json(json!({ "items": items, "next": format!("{session}|{next}") })));
            }
        }
        let Some(next) = page.next else { return Ok(Json(json!({ "items": items, "next": null }))) };
        (session, filter) = (next, Cursor::default());
        if items.len() >= limit {
            break;
        }
    }
    Ok(Json(json!({ "items": items, "next": format!("{session}|") })))
}

/// What the caller may receive of it.
pub(super) async fn retained(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    parameters: Parameters,
) -> Answer {
    parameters.only(&["after", "limit", "filter"])?;
    let (after, limit) = parameters.page()?;
    let filter = parameters.get("filter").unwrap_or("#");
    let mut page = api.admin.retained(filter, after, limit)?;
    page.items.retain(|message| caller.may_receive(&message.topic));
    Ok(Json(view::page(&page, view::retained)))
}

pub(super) async fn disconnect(
    State(api): State<Arc<Api>>,
    Segments(client_id): Segments<String>,
) -> Result<StatusCode, ApiProblem> {
    if api.admin.disconnect(&client_id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let what = format!("no client {} is connected", client_id.escape_debug());
    Err(ApiProblem::new(StatusCode::NOT_FOUND, what))
}

pub(super) async fn end_session(
    State(api): State<Arc<Api>>,
    Segments(client_id): Segments<String>,
) -> Result<StatusCode, ApiProblem> {
    if api.admin.end_session(&client_id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_session(&client_id))
    }
}

/// Each with the queues of its sessions.
pub(super) async fn webhooks(State(api): State<Arc<Api>>, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    let mut items = Vec::new();
    for (full_name, meter) in api.integrations.list() {
        let Some(name) = full_name.strip_prefix("webhook/") else { continue };
        let queue = Queue::of(&api.admin, &*api.integrations.sessions(&full_name)).await?;
        let mut item = meter.to_json();
        if let Some(fields) = item.as_object_mut() {
            fields.insert("name".to_owned(), name.into());
            fields.insert("queue".to_owned(), queue.to_json().into());
        }
        items.push(item);
    }
    Ok(Json(json!({ "items": items, "next": null })))
}

fn no_session(client_id: &str) -> ApiProblem {
    ApiProblem::new(StatusCode::NOT_FOUND, format!("there is no session of {}", client_id.escape_debug()))
}
