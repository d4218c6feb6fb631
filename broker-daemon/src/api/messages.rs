//! Messages by HTTP: published from JSON or raw, and the Retained Message of a topic.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use culex_core::client::Publication;
use culex_core::codec::{QoS, TopicName};
use culex_core::{Cursor, PublishError};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::caller::Caller;
use super::idempotency::{Answered, Request};
use super::parameters::Parameters;
use super::payload::{Body, content_type, is_too_deep, too_deep};
use super::{Api, ApiProblem};

/// Where topics begin in a path.
pub(super) const TOPICS: &str = "/api/v1/topics/";
/// Messages of one request.
const BATCH_MAX: usize = 1000;

/// A message as the body of a request has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    topic: String,
    #[serde(borrow, default, deserialize_with = "written")]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    payload_encoding: Option<Encoding>,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
}

/// What is there, `null` too.
fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// What `payload` is.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// Itself, as it is written.
    Json,
    /// A string with the payload.
    Text,
    /// A string with the payload in base 64.
    Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    messages: Vec<Written<'a>>,
}

impl Written<'_> {
    fn publication(&self) -> Result<Publication, ApiProblem> {
        let qos = QoS::from_bits(self.qos).ok_or_else(|| ApiProblem::of_field("qos", "0, 1 or 2"))?;
        let publication = Publication::new(self.topic.as_str(), self.payload()?, qos);
        Ok(if self.retain { publication.retained() } else { publication })
    }

    fn payload(&self) -> Result<Bytes, ApiProblem> {
        let Some(payload) = self.payload else { return Ok(Bytes::new()) };
        let text = serde_json::from_str::<String>(payload.get());
        let wrong = |what: &str| ApiProblem::of_field("payload", what);
        match (self.payload_encoding, text) {
            (Some(Encoding::Base64), Ok(text)) => STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|_| wrong("not base 64, with padding (RFC 4648 section 4)")),
            (Some(Encoding::Base64 | Encoding::Text), Err(_)) => {
                Err(wrong("a string is needed with this payload_encoding"))
            }
            (Some(Encoding::Text) | None, Ok(text)) => Ok(text.into()),
            (Some(Encoding::Json) | None, _) => Ok(payload.get().to_owned().into()),
        }
    }
}

/// `POST /api/v1/publish`.
pub(super) async fn publish(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    parameters: Parameters,
    Body(body): Body,
) -> Result<Response, ApiProblem> {
    parameters.only(&[])?;
    let request = Request::new(&caller, "publish", &headers, &body)?;
    let publication = parse::<Written<'_>>(&headers, &body)?.publication()?;
    publish_once(&api, &caller, request, publication).await
}

/// Publishes if the caller may, and once for each Idempotency-Key.
async fn publish_once(
    api: &Arc<Api>,
    caller: &Caller,
    request: Request,
    publication: Publication,
) -> Result<Response, ApiProblem> {
    check(caller, &publication)?;
    let answered = answered(&publication);
    let task = {
        let (api, user) = (Arc::clone(api), caller.user_name().map(str::to_owned));
        async move {
            api.publisher.publish(user.as_deref(), publication).await?;
            Ok(Answered::ok(answered))
        }
    };
    api.idempotency.once(request, task).await
}

/// `POST /api/v1/publish/batch`: what is wrong with one message does not hold up the others.
pub(super) async fn publish_batch(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    parameters: Parameters,
    Body(body): Body,
) -> Result<Response, ApiProblem> {
    parameters.only(&[])?;
    let request = Request::new(&caller, "batch", &headers, &body)?;
    let batch = parse::<Batch<'_>>(&headers, &body)?;
    if batch.messages.is_empty() || batch.messages.len() > BATCH_MAX {
        return Err(ApiProblem::of_field("messages", format!("1 to {BATCH_MAX} messages")));
    }
    let publications: Vec<_> = batch
        .messages
        .iter()
        .map(|written| {
            let publication = written.publication()?;
            check(&caller, &publication).map(|()| publication)
        })
        .collect();
    let task = {
        let (api, user) = (Arc::clone(&api), caller.user_name().map(str::to_owned));
        async move {
            let publish = |publication: Result<Publication, ApiProblem>| async {
                api.publisher.publish(user.as_deref(), publication?).await
            };
            // They begin in their order, so they are published in it.
            let results: Vec<_> =
                publications.into_iter().map(publish).collect::<FuturesOrdered<_>>().collect().await;
            // None was taken for now: that is no answer to be remembered, and all may be sent again.
            let is_busy = |one: &Result<(), ApiProblem>| {
                one.as_ref().is_err_and(|problem| problem.status() == StatusCode::SERVICE_UNAVAILABLE)
            };
            if let Some(Err(problem)) = results.first().filter(|_| results.iter().all(is_busy)) {
                return Err(problem.clone());
            }
            let results: Vec<_> = results.into_iter().map(result).collect();
            Ok(Answered::ok(json!({ "results": results })))
        }
    };
    api.idempotency.once(request, task).await
}

fn result(result: Result<(), ApiProblem>) -> Value {
    match result {
        Ok(()) => json!({ "status": 200 }),
        Err(problem) => json!({ "status": problem.status().as_u16(), "detail": problem.detail() }),
    }
}

/// `PUT /api/v1/topics/{topic}`: the body is the payload. It is retained unless `retain=false`.
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    parameters: Parameters,
    Body(body): Body,
) -> Result<Response, ApiProblem> {
    parameters.only(&["qos", "retain"])?;
    let topic = topic(uri.path())?;
    let qos = parameters.number("qos", 0, 2)?.and_then(|qos| QoS::from_bits(u8::try_from(qos).ok()?));
    let request = Request::new(&caller, &uri.to_string(), &headers, &body)?;
    let publication = Publication::new(topic, body, qos.unwrap_or(QoS::AtLeastOnce));
    let is_retained = parameters.switch("retain")?.unwrap_or(true);
    let publication = if is_retained { publication.retained() } else { publication };
    publish_once(&api, &caller, request, publication).await
}

/// `GET /api/v1/topics/{topic}`: the payload of the Retained Message, as it is.
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    parameters: Parameters,
) -> Result<Response, ApiProblem> {
    parameters.only(&[])?;
    let topic = topic(uri.path())?;
    let name = TopicName::new(&topic).map_err(PublishError::from)?;
    if !caller.may_receive(name.as_str()) {
        return Err(denied("receive", &topic));
    }
    let page = api.admin.retained(&topic, Cursor::default(), 1)?;
    match page.items.into_iter().next() {
        Some(message) => {
            let kind = [(header::CONTENT_TYPE, content_type(&message.payload))];
            Ok((kind, message.payload).into_response())
        }
        None => {
            let what = format!("there is no retained message at {}", topic.escape_debug());
            Err(ApiProblem::new(StatusCode::NOT_FOUND, what))
        }
    }
}

/// The topic in a path: one segment with `%2F`, or plain slashes; empty levels are levels.
fn topic(path: &str) -> Result<String, ApiProblem> {
    let written = path.strip_prefix(TOPICS).unwrap_or_default();
    let topic = percent_decode_str(written).decode_utf8();
    let topic = topic.map_err(|_| ApiProblem::of_field("topic", "not UTF-8"))?;
    Ok(topic.into_owned())
}

fn parse<'a, T: Deserialize<'a>>(headers: &HeaderMap, body: &'a [u8]) -> Result<T, ApiProblem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let what = "the body must be JSON; send `Content-Type: application/json`. For a raw payload there is PUT /api/v1/topics/TOPIC";
        return Err(ApiProblem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
    }
    if is_too_deep(body) {
        return Err(too_deep());
    }
    serde_json::from_slice(body).map_err(|error| ApiProblem::of_field("the body", error.to_string()))
}

/// Whether this caller may publish this, before anything is done.
fn check(caller: &Caller, publication: &Publication) -> Result<(), ApiProblem> {
    let topic = TopicName::new(&publication.topic).map_err(PublishError::from)?;
    if caller.may_publish(topic) { Ok(()) } else { Err(denied("publish to", &publication.topic)) }
}

fn denied(what: &str, topic: &str) -> ApiProblem {
    let what = format!("the access control list does not let you {what} {}", topic.escape_debug());
    ApiProblem::new(StatusCode::FORBIDDEN, what).about("topic")
}

fn answered(publication: &Publication) -> Value {
    let Publication { topic, payload, qos, is_retained, .. } = publication;
    json!({ "topic": topic, "bytes": payload.len(), "qos": *qos as u8, "retain": is_retained })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_what_stands_behind_the_prefix() {
        for (path, expected) in [
            ("/api/v1/topics/a%2Fb", "a/b"),
            ("/api/v1/topics/a/b", "a/b"),
            ("/api/v1/topics//a//", "/a//"),
            ("/api/v1/topics/..%2F../etc", "../../etc"),
            ("/api/v1/topics/%2Ba%23", "+a#"),
            ("/api/v1/topics/a+b%20c", "a+b c"),
        ] {
            assert_eq!(topic(path).unwrap(), expected);
        }
        assert!(topic("/api/v1/topics/%ff").is_err());
    }

    #[test]
    fn a_payload_is_text_json_or_base_64() {
        for (payload, encoding, expected) in [
            ("\"21.5\"", "", "21.5"),
            ("21.50", "", "21.50"),
            ("{\"b\": 1, \"a\": 2}", "", "{\"b\": 1, \"a\": 2}"),
            ("\"21.5\"", "json", "\"21.5\""),
            ("\"b2w=\"", "base64", "ol"),
            ("\"b2w=\"", "text", "b2w="),
        ] {
            let encoding = if encoding.is_empty() {
                String::new()
            } else {
                format!(", \"payload_encoding\": \"{encoding}\"")
            };
            let text = format!("{{\"topic\": \"t\", \"payload\": {payload}{encoding}}}");
            let written: Written<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(written.publication().unwrap().payload, expected, "{text}");
        }
        let text = "{\"topic\": \"t\", \"payload\": 1, \"payload_encoding\": \"base64\"}";
        assert!(serde_json::from_str::<Written<'_>>(text).unwrap().publication().is_err());
    }
}
