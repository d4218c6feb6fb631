//! A request, from the body to the header fields.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::body;
use super::event::{HookEvent, What};
use super::header::Header;
use super::sign::SigningKey;
use crate::config::{BodyForm, Webhook};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TOPIC: HeaderName = HeaderName::from_static("x-culex-topic");

/// What of a topic stands in a header field as it is: nothing that could end the field.
const TOPIC_PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'$');

/// A request that is ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How the requests of a webhook are made.
#[derive(Debug)]
pub(crate) struct Composer {
    form: BodyForm,
    method: &'static str,
    is_array: bool,
    headers: Vec<Header>,
    key: Option<SigningKey>,
    host: HeaderValue,
}

impl Composer {
    /// For a webhook whose configuration was checked; what could not stand in a request is left out.
    pub(crate) fn new(webhook: &Webhook, authority: &str) -> Self {
        let headers =
            webhook.headers.iter().filter_map(|(name, value)| Header::parse(name, value.reveal()).ok());
        Self {
            form: webhook.body,
            method: webhook.method.word(),
            is_array: webhook.batch > 1,
            headers: headers.collect(),
            key: webhook.secret.as_ref().and_then(|secret| SigningKey::parse(secret.reveal())),
            host: HeaderValue::from_str(authority).unwrap_or(HeaderValue::from_static("")),
        }
    }

    /// The request about these events, to be sent at this time. Its id is that of the event, or follows from those of all.
    pub(super) fn compose(&self, events: &[HookEvent], now: SystemTime) -> Request {
        let body = body::encode(self.form, events, self.is_array);
        let mut headers = HeaderMap::with_capacity(10 + self.headers.len());
        headers.insert(header::HOST, self.host.clone());
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("culex/", env!("CARGO_PKG_VERSION"))),
        );
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(body.content_type));
        for Header { name, value } in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        let id = id_of(events);
        let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut put = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put(IDEMPOTENCY_KEY, &id);
        put(ID, &id);
        put(TIMESTAMP, &timestamp.to_string());
        if let Some(key) = &self.key {
            put(SIGNATURE, &key.sign(&id, timestamp, &body.bytes));
        }
        if let (BodyForm::Payload, [HookEvent { what: What::Message(message), .. }]) = (self.form, events) {
            put(TOPIC, &utf8_percent_encode(&message.topic, TOPIC_PLAIN).to_string());
        }
        Request { method: self.method, headers, body: body.bytes }
    }
}

/// The id of a request: the same whenever the same events are sent together.
fn id_of(events: &[HookEvent]) -> String {
    match events {
        [event] => event.id.clone(),
        events => {
            let mut hash = Sha256::new();
            for event in events {
                hash.update(event.id.as_bytes());
                hash.update(b"\n");
            }
            let hash = hash.finalize();
            let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            format!("batch_{hex}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use culex_core::QoS;
    use culex_core::client::Secret;

    use super::*;
    use crate::webhook::event::Published;

    fn message(id: &str, topic: &str) -> HookEvent {
        let what = What::Message(Published {
            topic: topic.to_owned(),
            payload: Bytes::from_static(b"x"),
            qos: QoS::AtLeastOnce,
            retain: false,
            client_id: None,
            username: None,
        });
        HookEvent { id: id.to_owned(), at: UNIX_EPOCH, what }
    }

    fn compose(webhook: &Webhook, events: &[HookEvent]) -> Request {
        let now = UNIX_EPOCH + Duration::from_secs(1_614_265_330);
        Composer::new(webhook, "example.org").compose(events, now)
    }

    #[test]
    fn a_topic_never_ends_a_header_field() {
        let webhook = Webhook { body: BodyForm::Payload, ..Webhook::default() };
        let request = compose(&webhook, &[message("msg_1", "a/b\r\nX-Evil: 1%0d%0aé \u{7f}")]);
        assert_eq!(
            request.headers[TOPIC],
            "a/b%0D%0AX%2DEvil%3A%201%250d%250a%C3%A9%20%7F".replace("%2D", "-")
        );
        assert_eq!(request.headers.get("x-evil"), None);
        assert_eq!(&*request.body, b"x");
    }

    #[test]
    fn a_request_says_who_it_is_and_is_signed_if_there_is_a_key() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let headers = vec![("Authorization".to_owned(), Secret::new("Bearer abc"))];
        let webhook = Webhook { secret: Some(secret), headers, ..Webhook::default() };
        let request = compose(&webhook, &[message("msg_1", "t")]);
        for (name, expected) in [
            ("host", "example.org"),
            ("content-type", "application/json"),
            ("authorization", "Bearer abc"),
            ("webhook-id", "msg_1"),
            ("idempotency-key", "msg_1"),
            ("webhook-timestamp", "1614265330"),
        ] {
            assert_eq!(request.headers[name], expected);
        }
        assert!(request.headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
        assert!(
            compose(&Webhook::default(), &[message("a", "t")]).headers.get("webhook-signature").is_none()
        );
    }

    #[test]
    fn the_id_of_a_batch_follows_from_those_of_its_messages() {
        let webhook = Webhook { batch: 10, ..Webhook::default() };
        let id = |ids: &[&str]| {
            let events: Vec<_> = ids.iter().map(|id| message(id, "t")).collect();
            compose(&webhook, &events).headers["webhook-id"].to_str().unwrap().to_owned()
        };
        assert_eq!(id(&["a"]), "a");
        assert_eq!(id(&["a", "b"]), id(&["a", "b"]));
        assert_ne!(id(&["a", "b"]), id(&["b", "a"]));
        assert!(compose(&webhook, &[message("a", "t")]).body.starts_with(b"["));
    }
}
