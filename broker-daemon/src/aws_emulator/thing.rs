//! What clients ask of a thing, below `$aws/things/`: of its shadows (AIC-TOP-03) and its jobs (AIC-TOP-06).

use std::sync::Arc;

use bytes::Bytes;
use culex_codec::QoS;
use serde_json::Value;
use tokio::time::Instant;

use super::jobs;
use super::service::Service;
use super::session::{Message, Outgoing};
use super::topic::matches;

/// A request, as its topic says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Shadow { thing: &'a str, name: Option<&'a str>, what: ShadowRequest },
    Jobs(JobsRequest<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShadowRequest {
    Get,
    Update,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobsRequest<'a> {
    List,
    StartNext,
    Get(&'a str),
    Update(&'a str),
}

impl<'a> Request<'a> {
    /// What a topic asks; `None` if clients may not publish to it.
    pub(super) fn of(topic: &'a str) -> Option<Self> {
        let mut levels = topic.strip_prefix("$aws/things/")?.split('/');
        let thing = levels.next().filter(|thing| !thing.is_empty())?;
        let levels: Vec<_> = levels.take(5).collect();
        let shadow = |name, what| Some(Self::Shadow { thing, name, what: ShadowRequest::of(what)? });
        match levels.as_slice() {
            ["shadow", "name", name, what] if !name.is_empty() => shadow(Some(*name), what),
            ["shadow", what] => shadow(None, what),
            ["jobs", "get"] => Some(Self::Jobs(JobsRequest::List)),
            ["jobs", "start-next"] => Some(Self::Jobs(JobsRequest::StartNext)),
            ["jobs", job, "get"] => Some(Self::Jobs(JobsRequest::Get(job))),
            ["jobs", job, "update"] => Some(Self::Jobs(JobsRequest::Update(job))),
            _ => None,
        }
    }
}

impl ShadowRequest {
    fn of(level: &str) -> Option<Self> {
        Some(match level {
            "get" => Self::Get,
            "update" => Self::Update,
            "delete" => Self::Delete,
            _ => return None,
        })
    }

    /// The last level of its topic.
    pub(super) const fn level(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl Service {
    /// Answers a request that has been accepted. Answers of jobs reach who asks without a Subscription.
    pub(super) fn ask_thing(&mut self, client_id: &str, topic: &str, payload: &[u8], now: Instant) {
        let unix = self.unix_ms(now) / 1000;
        match Request::of(topic) {
            Some(Request::Shadow { thing, name, what }) => {
                let stem = topic.rsplit_once('/').map_or(topic, |(stem, _)| stem);
                if what == ShadowRequest::Update {
                    // AIC-TOP-04: the request itself is counted already.
                    let more = self.limits.shadow_update_publishes.saturating_sub(1);
                    self.account_publishes.add(more, now);
                }
                for (answer, body) in self.shadows.ask((thing, name), what, payload, unix, &self.limits) {
                    self.publish_by_cloud(
                        &format!("{stem}/{answer}"),
                        text(&body),
                        QoS::AtLeastOnce,
                        false,
                        now,
                    );
                }
            }
            Some(Request::Jobs(request)) => {
                let (answer, body) = jobs::answer(request, payload, unix);
                self.reply(client_id, format!("{topic}/{answer}"), text(&body), now);
            }
            None => {}
        }
    }

    /// A message of the service itself to everybody who has subscribed, and once to this client in any case.
    fn reply(&mut self, client_id: &str, topic: String, payload: Bytes, now: Instant) {
        let has_subscribed = self.sessions.get(client_id).is_some_and(|session| {
            session
                .subscriptions
                .iter()
                .any(|(filter, subscription)| subscription.begins <= now && matches(filter, &topic))
        });
        let message = Arc::new(Message::of_service(topic, payload, now));
        if !has_subscribed {
            self.give(client_id, Outgoing::new(Arc::clone(&message), QoS::AtLeastOnce, false), now);
        }
        self.route(&message, false, now);
    }

    /// The time of day, in milliseconds since 1970.
    pub(super) fn unix_ms(&self, now: Instant) -> u64 {
        u64::try_from(self.at(now).as_millis()).unwrap_or(u64::MAX).saturating_add(self.started_unix_ms)
    }
}

fn text(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

/// What the answer to a request says beside its matter: the time, and the token of the request.
pub(super) fn envelope(request: &Value, unix: u64) -> serde_json::Map<String, Value> {
    let mut body = serde_json::Map::new();
    body.insert("timestamp".to_owned(), unix.into());
    if let Some(token) = request.get("clientToken") {
        body.insert("clientToken".to_owned(), token.clone());
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aic_top_03_and_06_only_requests_are_published_to() {
        let check = |topic: &str, expected: Option<Request<'_>>| {
            assert_eq!(Request::of(&format!("$aws/things/{topic}")), expected, "{topic}");
        };
        let shadow = |name, what| Some(Request::Shadow { thing: "pump", name, what });
        check("pump/shadow/get", shadow(None, ShadowRequest::Get));
        check("pump/shadow/name/site/update", shadow(Some("site"), ShadowRequest::Update));
        check("pump/shadow/delete", shadow(None, ShadowRequest::Delete));
        check("pump/jobs/get", Some(Request::Jobs(JobsRequest::List)));
        check("pump/jobs/start-next", Some(Request::Jobs(JobsRequest::StartNext)));
        check("pump/jobs/7/get", Some(Request::Jobs(JobsRequest::Get("7"))));
        check("pump/jobs/7/update", Some(Request::Jobs(JobsRequest::Update("7"))));
        for answer in [
            "shadow/get/accepted",
            "shadow/update/delta",
            "jobs/notify",
            "jobs/7/get/accepted",
            "shadow",
            "jobs",
        ] {
            check(&format!("pump/{answer}"), None);
        }
        check("/shadow/get", None);
        check("pump/shadow/name//get", None);
    }
}
