//! Messages that an integration gave up on: looked at, tried again, thrown away.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::parameters::{Parameters, Segments};
use super::{Answer, Api, ApiProblem};
use crate::clock::rfc3339;
use crate::integration::{DeadLetterError, DeadLetters, Letter};

/// After this time a replay answers with what it has done; whoever asked goes on where it stopped.
const REPLAY_TIME: Duration = Duration::from_secs(15);

/// What a request is about: `bridge/aws/ID`, `bridge/aws`, or nothing, which is all of them.
struct Selection<'a> {
    integration: &'a str,
    id: Option<&'a str>,
}

impl<'a> Selection<'a> {
    fn of(query: &'a Parameters) -> Result<Self, ApiProblem> {
        let of = query.get("of").unwrap_or_default();
        let is_name = |text: &str| !text.is_empty() && !text.contains(['+', '#', '\0']);
        let parts: Vec<_> = of.split('/').collect();
        if of.is_empty() {
            return Ok(Self { integration: "", id: None });
        }
        if !parts.iter().all(|part| is_name(part)) || !(2..=3).contains(&parts.len()) {
            let what = "an integration such as `bridge/aws`, or a letter such as `bridge/aws/0123456789ab`";
            return Err(ApiProblem::of_field("of", what));
        }
        Ok(match of.rsplit_once('/') {
            Some((integration, id)) if parts.len() == 3 => Self { integration, id: Some(id) },
            Some(_) | None => Self { integration: of, id: None },
        })
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>, query: Parameters) -> Answer {
    query.only(&["of", "after", "limit"])?;
    let (after, limit) = query.page()?;
    let selection = Selection::of(&query)?;
    let (letters, next) = DeadLetters::new(&api.broker, selection.integration).list(after, limit)?;
    let wanted = |letter: &&Letter| selection.id.is_none_or(|id| id == letter.id);
    let items: Vec<_> = letters.iter().filter(wanted).map(summary).collect();
    Ok(Json(json!({ "items": items, "next": next.map(|next| next.to_string()) })))
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Segments((kind, name, id)): Segments<(String, String, String)>,
) -> Result<Json<Value>, ApiProblem> {
    let letter = DeadLetters::new(&api.broker, &format!("{kind}/{name}")).show(&id)?;
    let mut view = summary(&letter);
    let payload = &letter.letter.payload;
    let (encoding, text) = match std::str::from_utf8(payload) {
        Ok(text) => ("text", text.to_owned()),
        Err(_) => ("base64", STANDARD.encode(payload)),
    };
    if let Some(view) = view.as_object_mut() {
        view.insert("retain".into(), letter.letter.retain.into());
        view.insert("reply".into(), letter.letter.reply.clone().into());
        view.insert("payload_encoding".into(), encoding.into());
        view.insert("payload".into(), text.into());
    }
    Ok(Json(view))
}

/// `to=topic` publishes to the topic that the message had; without it the integration tries again, if it runs.
pub(super) async fn replay(State(api): State<Arc<Api>>, query: Parameters) -> Answer {
    query.only(&["of", "to", "after", "limit"])?;
    let (mut after, limit) = query.page()?;
    let selection = Selection::of(&query)?;
    let to_topic = match query.get("to") {
        None | Some("integration") => false,
        Some("topic") => true,
        Some(_) => {
            return Err(ApiProblem::of_field("to", "`topic` or `integration`"));
        }
    };
    let letters = DeadLetters::new(&api.broker, selection.integration);
    let (mut replayed, mut failed) = (0_u64, Vec::new());
    let began = Instant::now();
    let mut next = None;
    if let Some(id) = selection.id {
        let letter = letters.show(id)?;
        replay_one(&api, &letters, &letter, to_topic).await.map_err(|why| {
            ApiProblem::new(StatusCode::BAD_GATEWAY, format!("it is a dead letter still: {why}"))
        })?;
        return Ok(Json(json!({ "replayed": 1, "failed": [], "next": null })));
    }
    for _ in 0..limit {
        // One at a time, so that there is a place to go on from behind each.
        let (found, behind) = letters.list(after, 1)?;
        for letter in &found {
            match replay_one(&api, &letters, letter, to_topic).await {
                Ok(()) => replayed += 1,
                Err(why) => failed.push(json!({ "letter": name(letter), "why": why })),
            }
        }
        next = behind;
        match &next {
            Some(behind) if began.elapsed() < REPLAY_TIME => after = behind.clone(),
            Some(_) | None => break,
        }
    }
    Ok(Json(json!({ "replayed": replayed, "failed": failed, "next": next.map(|next| next.to_string()) })))
}

async fn replay_one(api: &Api, letters: &DeadLetters, letter: &Letter, to_topic: bool) -> Result<(), String> {
    if !to_topic
        && let Some(done) = api.integrations.hand_back(&letter.integration, letter.letter.clone()).await
    {
        done?;
        let removed = letters.remove(&letter.integration, &letter.id).await;
        return removed.map_err(|error| error.to_string());
    }
    letters.replay(letter).await.map_err(|error| error.to_string())
}

pub(super) async fn purge(State(api): State<Arc<Api>>, query: Parameters) -> Answer {
    query.only(&["of"])?;
    let selection = Selection::of(&query)?;
    if selection.integration.is_empty() {
        return Err(ApiProblem::of_field("of", "whose dead letters, such as `bridge/aws`"));
    }
    let letters = DeadLetters::new(&api.broker, selection.integration);
    let purged = match selection.id {
        None => letters.purge().await?,
        Some(id) => {
            letters.remove(selection.integration, id).await?;
            1
        }
    };
    Ok(Json(json!({ "purged": purged })))
}

fn name(letter: &Letter) -> String {
    format!("{}/{}", letter.integration, letter.id)
}

fn summary(letter: &Letter) -> Value {
    let name = name(letter);
    let letter = &letter.letter;
    json!({
        "letter": name,
        "at": rfc3339(letter.at),
        "topic": letter.topic,
        "qos": letter.qos as u8,
        "bytes": letter.payload.len(),
        "attempts": letter.attempts,
        "reason": letter.reason,
    })
}

impl From<DeadLetterError> for ApiProblem {
    fn from(error: DeadLetterError) -> Self {
        let text = error.to_string();
        match error {
            DeadLetterError::Absent(_) => Self::new(StatusCode::NOT_FOUND, text),
            DeadLetterError::Bad(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, text),
            DeadLetterError::Admin(error) => error.into(),
            DeadLetterError::Full(_)
            | DeadLetterError::NoRoom
            | DeadLetterError::Connect(_)
            | DeadLetterError::Publish(_) => Self::busy(text),
        }
    }
}
