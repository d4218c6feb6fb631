//! `POST /topics/<topic>`: one message, with its properties in query and headers. AIC-NET-06

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use culex_codec::{EncodeError, PropertiesBuf, Property, PropertyContext, QoS, ReasonCode, TopicName};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::time::Instant;

use super::super::policy::Principal;
use super::super::publish::Published;
use super::super::registry::PeerIdentity;
use super::super::rules::Fault;
use super::super::service::Service;
use super::{Answer, Door, Refusal, query};

/// What a request says beside its topic and payload.
#[derive(Debug, Default)]
struct Options {
    qos: QoS,
    retain: bool,
    expiry: Option<u32>,
    properties: PropertiesBuf,
}

impl Door {
    pub(super) async fn publish(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let identity = match self.identity(&request)? {
            Some(identity) => identity,
            None if request.headers().contains_key("x-amz-customauthorizer-name") => {
                PeerIdentity::CustomAuthorizer
            }
            None => {
                return Err(Refusal::new(
                    "AIC-NET-06",
                    StatusCode::FORBIDDEN,
                    "Forbidden: nobody has signed it",
                ));
            }
        };
        let (head, body) = request.into_parts();
        let wrong = |why: String| Refusal::new("AIC-NET-06", StatusCode::BAD_REQUEST, why);
        let topic = head.uri.path().strip_prefix("/topics/").unwrap_or_default();
        let topic =
            percent_decode_str(topic).decode_utf8().ok().filter(|topic| TopicName::new(topic).is_ok());
        let topic = topic.ok_or_else(|| wrong("The path is no topic".to_owned()))?.into_owned();
        let options = Options::read(&query(&head.uri), &head.headers)
            .map_err(|(id, why)| Refusal::new(id, StatusCode::BAD_REQUEST, why))?;
        let payload_max = self.shared.lock().limits.payload_bytes;
        let payload = match Limited::new(body, payload_max).collect().await {
            Ok(payload) => payload.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let why = format!("The payload has more than {payload_max} bytes");
                return Err(Refusal::new("AIC-PUB-03", StatusCode::PAYLOAD_TOO_LARGE, why));
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        let done = self.shared.lock().publish_over_https(&identity, topic, payload, &options, Instant::now());
        done.map(|()| self.say(StatusCode::OK, "OK"))
    }
}

impl Service {
    fn publish_over_https(
        &mut self,
        identity: &PeerIdentity,
        topic: String,
        payload: Bytes,
        options: &Options,
        now: Instant,
    ) -> Result<(), Refusal> {
        let forbidden = |id| Refusal::new(id, StatusCode::FORBIDDEN, "Forbidden");
        let (policies, thing) = self.rights_of(identity).map_err(forbidden)?;
        if let Some(Fault { id, code, .. }) = self.fault(&topic, payload.len(), options.retain) {
            return Err(Refusal::new(id, StatusCode::BAD_REQUEST, code.to_string()));
        }
        // There is no client id over HTTPS.
        let principal = Principal { thing, ..Principal::default() };
        if let Some(id) = self.missing_right(&policies, &principal, &topic, options.retain) {
            return Err(forbidden(id));
        }
        if let Some(id) = self.spent(&topic, options.retain, payload.is_empty(), now) {
            self.observations.throttled += 1;
            return Err(Refusal::new(id, StatusCode::TOO_MANY_REQUESTS, "Too many requests"));
        }
        self.account_publishes.add(1, now);
        let properties = options.properties.as_properties(PropertyContext::Publish);
        let published = Published {
            client_id: String::new(),
            publisher: u64::MAX,
            topic,
            payload,
            properties: properties.unwrap_or_default().as_bytes().to_vec(),
            expiry: options.expiry,
            qos: options.qos,
            retain: options.retain,
            dup: false,
            packet_id: None,
        };
        self.accept(published, now);
        Ok(())
    }
}

type Wrong = (&'static str, String);

impl Options {
    fn read(query: &[(String, String)], headers: &HeaderMap) -> Result<Self, Wrong> {
        let mut options = Self::default();
        for (name, value) in query {
            options.parameter(name, value)?;
        }
        for (name, value) in headers {
            let value = value.to_str().map_err(|_| ("AIC-NET-06", format!("{name} is no text")))?;
            options.header(name.as_str(), value)?;
        }
        Ok(options)
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        let wrong = |takes: &str| Err(("AIC-NET-06", format!("{name} is {takes}")));
        match (name, value) {
            ("qos", "0") => self.qos = QoS::AtMostOnce,
            ("qos", "1") => self.qos = QoS::AtLeastOnce,
            ("qos", "2") => return Err(("AIC-PUB-02", ReasonCode::QoSNotSupported.to_string())),
            ("qos", _) => return wrong("0 or 1"),
            ("retain", "true" | "1") => self.retain = true,
            ("retain", "false" | "0") => self.retain = false,
            ("retain", _) => return wrong("true or false"),
            ("contentType", _) => self.push(name, Property::ContentType(value))?,
            ("responseTopic", _) => match TopicName::new(value) {
                Ok(topic) => self.push(name, Property::ResponseTopic(topic))?,
                Err(_) => return wrong("a topic"),
            },
            ("messageExpiry", _) => match value.parse::<u32>() {
                // 0 is none.
                Ok(seconds) => self.expiry = (seconds > 0).then_some(seconds),
                Err(_) => return wrong("a number of seconds"),
            },
            // Of signatures, and of custom authorisers.
            _ => {}
        }
        Ok(())
    }

    fn header(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        let wrong = |takes: &str| ("AIC-NET-06", format!("{name} is {takes}"));
        match name {
            "x-amz-mqtt5-payload-format-indicator" => match value {
                "UTF8_DATA" => self.push(name, Property::PayloadFormatIndicator(true)),
                "UNSPECIFIED_BYTES" => self.push(name, Property::PayloadFormatIndicator(false)),
                _ => Err(wrong("UTF8_DATA or UNSPECIFIED_BYTES")),
            },
            "x-amz-mqtt5-correlation-data" => {
                let data = BASE64_STANDARD.decode(value).map_err(|_| wrong("data in base64"))?;
                self.push(name, Property::CorrelationData(&data))
            }
            "x-amz-mqtt5-user-properties" => {
                let all = user_properties(value)
                    .ok_or_else(|| wrong("a JSON list of objects with texts, in base64"))?;
                all.iter().try_for_each(|(key, value)| self.push(name, Property::UserProperty(key, value)))
            }
            _ => Ok(()),
        }
    }

    fn push(&mut self, name: &str, property: Property<'_>) -> Result<(), Wrong> {
        let pushed = self.properties.push(property);
        pushed.map_err(|error: EncodeError| ("AIC-NET-06", format!("{name}: {error}")))
    }
}

/// `[{"name": "value"}, …]`
fn user_properties(value: &str) -> Option<Vec<(String, String)>> {
    let json: Value = serde_json::from_slice(&BASE64_STANDARD.decode(value).ok()?).ok()?;
    let objects = json.as_array()?.iter().map(Value::as_object).collect::<Option<Vec<_>>>()?;
    let pairs = objects.into_iter().flatten();
    pairs.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
