//! What a request says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use super::event::{HookEvent, Published, What};
use crate::clock::rfc3339;
use crate::config::BodyForm;

/// Levels of a JSON payload that is embedded as it is. Receivers give up beyond some: Python at about 1,000.
const JSON_DEPTH_MAX: usize = 100;
/// Digits of a number in it. A double has no more than 308, and Python reads no more than 4,300.
const JSON_DIGITS_MAX: usize = 300;

/// A body, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) content_type: &'static str,
    pub(super) bytes: Bytes,
}

/// The body of a request about these events: an array where there may be several.
pub(super) fn encode(form: BodyForm, events: &[HookEvent], is_array: bool) -> Body {
    let (content_type, object): (_, fn(&HookEvent) -> String) = match (form, events) {
        (BodyForm::Payload, [HookEvent { what: What::Message(message), .. }]) => return raw(message),
        (BodyForm::CloudEvents, _) if is_array => ("application/cloudevents-batch+json", cloud_event),
        (BodyForm::CloudEvents, _) => ("application/cloudevents+json", cloud_event),
        (BodyForm::Event | BodyForm::Payload, _) => ("application/json", event),
    };
    let objects: Vec<_> = events.iter().map(object).collect();
    let text = objects.join(",");
    let bytes = if is_array { format!("[{text}]") } else { text };
    Body { content_type, bytes: bytes.into() }
}

/// How many bytes an event needs at most, more or less: to know when a request is long enough.
pub(super) fn size(event: &HookEvent) -> usize {
    match &event.what {
        What::Message(message) => 512 + 2 * message.payload.len() + message.topic.len(),
        What::News(_) => 1024,
    }
}

fn raw(message: &Published) -> Body {
    let payload = Payload::of(&message.payload);
    let content_type = match payload {
        Payload::Json(_) => "application/json",
        Payload::Text(_) => "text/plain; charset=utf-8",
        Payload::Binary(_) => "application/octet-stream",
    };
    Body { content_type, bytes: message.payload.clone() }
}

/// A payload as a JSON document can have it.
enum Payload<'a> {
    /// JSON, byte for byte: numbers keep their digits, and keys their order.
    Json(&'a str),
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Payload<'a> {
    fn of(payload: &'a [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(payload) else { return Self::Binary(payload) };
        if !is_simple(payload) {
            return Self::Text(text);
        }
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Self::Json(raw.get()),
            Err(_) => Self::Text(text),
        }
    }
}

/// Whether text that may be JSON is neither so deep nor so exact that a receiver could fail at it.
fn is_simple(text: &[u8]) -> bool {
    let (mut depth, mut digits, mut is_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in text {
        if is_string {
            is_string = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            continue;
        }
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        match byte {
            b'"' => is_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX || digits > JSON_DIGITS_MAX {
            return false;
        }
    }
    true
}

/// The object of the default form.
fn event(event: &HookEvent) -> String {
    let mut object = Object::new();
    object.text("type", event.kind().word());
    object.text("id", &event.id);
    object.text("timestamp", &rfc3339(event.at));
    match &event.what {
        What::News(news) => news.fields.iter().for_each(|(name, value)| object.value(name, value)),
        What::Message(message) => {
            object.text("topic", &message.topic);
            let encoding = match Payload::of(&message.payload) {
                Payload::Json(json) => {
                    object.raw("payload", json);
                    "json"
                }
                Payload::Text(text) => {
                    object.text("payload", text);
                    "text"
                }
                Payload::Binary(bytes) => {
                    object.text("payload", &STANDARD.encode(bytes));
                    "base64"
                }
            };
            object.text("payload_encoding", encoding);
            object.value("qos", &Value::from(message.qos as u8));
            object.value("retain", &Value::from(message.retain));
            object.value("client_id", &Value::from(message.client_id.as_deref()));
            object.value("username", &Value::from(message.username.as_deref()));
        }
    }
    object.end()
}

/// The same as `CloudEvents` 1.0 has it, in the structured form.
fn cloud_event(event: &HookEvent) -> String {
    let mut object = Object::new();
    object.text("specversion", "1.0");
    object.text("id", &event.id);
    object.text("source", "/culex");
    object.text("type", &format!("culex.{}", event.kind().word()));
    object.text("time", &rfc3339(event.at));
    match &event.what {
        What::News(news) => {
            object.text("datacontenttype", "application/json");
            object.value("data", &Value::Object(news.fields.clone()));
        }
        What::Message(message) => {
            object.text("subject", &message.topic);
            match Payload::of(&message.payload) {
                Payload::Json(json) => {
                    object.text("datacontenttype", "application/json");
                    object.raw("data", json);
                }
                Payload::Text(text) => {
                    object.text("datacontenttype", "text/plain");
                    object.text("data", text);
                }
                Payload::Binary(bytes) => {
                    object.text("datacontenttype", "application/octet-stream");
                    object.text("data_base64", &STANDARD.encode(bytes));
                }
            }
            // Extension attributes: lower-case letters and digits, and never null.
            object.value("qos", &Value::from(message.qos as u8));
            object.value("retain", &Value::from(message.retain));
            for (name, value) in [("clientid", &message.client_id), ("username", &message.username)] {
                if let Some(value) = value {
                    object.text(name, value);
                }
            }
        }
    }
    object.end()
}

/// Writes a JSON object, with parts that are JSON already.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn text(&mut self, name: &str, text: &str) {
        self.value(name, &Value::from(text));
    }

    fn value(&mut self, name: &str, value: &Value) {
        self.raw(name, &value.to_string());
    }

    fn raw(&mut self, name: &str, json: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&Value::from(name).to_string());
        self.0.push(':');
        self.0.push_str(json);
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use culex_core::QoS;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn message(topic: &str, payload: impl Into<Bytes>) -> HookEvent {
        let payload = payload.into();
        let (qos, client_id, username) = (QoS::ExactlyOnce, Some("esp32".to_owned()), None);
        let what = What::Message(Published {
            topic: topic.into(),
            payload,
            qos,
            retain: false,
            client_id,
            username,
        });
        HookEvent { id: "msg_1".into(), at: UNIX_EPOCH + Duration::from_millis(1_795_227_228_125), what }
    }

    fn text_of(form: BodyForm, event: HookEvent) -> String {
        String::from_utf8(encode(form, &[event], false).bytes.to_vec()).unwrap()
    }

    #[test]
    fn json_is_embedded_byte_for_byte() {
        let payload = r#" {"temperatura": 21.50, "ação": 12345678901234567890123, "b": 1e400, "a": [] } "#;
        let text = text_of(BodyForm::Event, message("sensores/cozinha", payload));
        assert_eq!(
            text,
            "{\"type\":\"message.published\",\"id\":\"msg_1\",\"timestamp\":\"2026-11-21T02:13:48.125Z\",\
             \"topic\":\"sensores/cozinha\",\"payload\":{\"temperatura\": 21.50, \"ação\": 12345678901234567890123, \
             \"b\": 1e400, \"a\": [] },\"payload_encoding\":\"json\",\"qos\":2,\"retain\":false,\
             \"client_id\":\"esp32\",\"username\":null}"
        );
    }

    #[test]
    fn what_is_no_json_or_more_than_a_receiver_can_read_is_text() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        for (payload, expected) in [
            ("12.5".to_owned(), "json"),
            ("null".to_owned(), "json"),
            ("\"a\"".to_owned(), "json"),
            (String::new(), "text"),
            ("NaN".to_owned(), "text"),
            ("on".to_owned(), "text"),
            ("{\"a\":1} x".to_owned(), "text"),
            ("{'a':1}".to_owned(), "text"),
            (deep(100), "json"),
            (deep(101), "text"),
            (deep(10_000), "text"),
            ("9".repeat(300), "json"),
            ("9".repeat(301), "text"),
            (format!("\"{}\"", "9".repeat(5_000)), "json"),
            (format!("\"{}\\\"{}\"", "[".repeat(500), "[".repeat(500)), "json"),
        ] {
            let text = text_of(BodyForm::Event, message("t", payload.clone()));
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["payload_encoding"], expected, "{payload:.40}");
            if expected == "text" {
                assert_eq!(value["payload"], payload);
            }
        }
        let value: Value =
            serde_json::from_str(&text_of(BodyForm::Event, message("t", &b"\xff\x00"[..]))).unwrap();
        assert_eq!((&value["payload"], &value["payload_encoding"]), (&json!("/wA="), &json!("base64")));
    }

    proptest! {
        #[test]
        fn a_body_is_always_one_json_object(topic in ".{1,30}", payload in prop::collection::vec(any::<u8>(), 0..200)) {
            for form in [BodyForm::Event, BodyForm::CloudEvents] {
                let event = message(&topic, payload.clone());
                let value: Value = serde_json::from_str(&text_of(form, event.clone())).unwrap();
                let subject = if form == BodyForm::Event { "topic" } else { "subject" };
                prop_assert_eq!(value[subject].as_str(), Some(topic.as_str()));
                let array = encode(form, &[event.clone(), event], true);
                let array: Vec<Value> = serde_json::from_slice(&array.bytes).unwrap();
                prop_assert_eq!(array, [value.clone(), value]);
            }
        }

        #[test]
        fn text_and_json_of_any_kind_come_back(text in "\\PC{0,60}") {
            let value: Value = serde_json::from_str(&text_of(BodyForm::Event, message("t", text.clone()))).unwrap();
            match value["payload_encoding"].as_str() {
                Some("text") => prop_assert_eq!(value["payload"].as_str(), Some(text.as_str())),
                _ => prop_assert_eq!(&value["payload"], &serde_json::from_str::<Value>(&text).unwrap()),
            }
        }
    }

    #[test]
    fn a_cloud_event_has_its_payload_where_it_belongs() {
        let value = |payload: &'static [u8]| -> Value {
            serde_json::from_str(&text_of(BodyForm::CloudEvents, message("a/b", payload))).unwrap()
        };
        assert_eq!(
            value(b"{\"x\":1}"),
            json!({
                "specversion": "1.0", "id": "msg_1", "source": "/culex", "type": "culex.message.published",
                "time": "2026-11-21T02:13:48.125Z", "subject": "a/b", "datacontenttype": "application/json",
                "data": { "x": 1 }, "qos": 2, "retain": false, "clientid": "esp32",
            })
        );
        assert_eq!(value(b"\xff")["data_base64"], "/w==");
        assert_eq!(value(b"on")["data"], "on");
    }

    #[test]
    fn a_raw_body_is_the_payload() {
        for (payload, expected) in [
            (&b"{\"x\":1}"[..], "application/json"),
            (b"on", "text/plain; charset=utf-8"),
            (b"\xff", "application/octet-stream"),
        ] {
            let body = encode(BodyForm::Payload, &[message("t", payload)], false);
            assert_eq!((body.content_type, &*body.bytes), (expected, payload));
        }
    }
}
