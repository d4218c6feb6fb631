//! One request to a service, for whoever wants to see whether it works: `culex webhook test`.

use std::io;
use std::time::{Duration, SystemTime};

use culex_core::QoS;
use tokio::time::Instant;

use super::event::{HookEvent, Published, What};
use super::reply::Verdict;
use super::request::{Composer, Request};
use super::sender::{Answer, SendError, Sender};
use super::supervisor::connector;
use super::target::Target;
use crate::config::{ConfigError, Webhook};

/// What was sent, and what came of it.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) request: Request,
    pub(crate) outcome: Result<Answer, SendError>,
    pub(crate) took: Duration,
}

/// Sends one message, once.
///
/// # Errors
/// What is wrong with which file of the configuration.
pub(crate) async fn attempt(webhook: &Webhook, topic: &str, payload: &[u8]) -> Result<Trial, ConfigError> {
    // A URL of a checked configuration is one.
    let target = Target::parse(&webhook.url)
        .map_err(|error| ConfigError::of_file(std::path::Path::new("url"), error.to_string()))?;
    let connector = connector(webhook, &target)?;
    let message = Published {
        topic: topic.to_owned(),
        payload: payload.to_vec().into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        client_id: Some("culex webhook test".to_owned()),
        username: None,
    };
    let at = SystemTime::now();
    let ms = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let event = HookEvent { id: format!("test_{ms}"), at, what: What::Message(message) };
    let request = Composer::new(webhook, &target.authority()).compose(&[event], at);
    let mut sender = Sender::new(webhook, target, connector);
    let began = Instant::now();
    let outcome = sender.send(&request).await;
    Ok(Trial { request, outcome, took: began.elapsed() })
}

impl Trial {
    /// Whether the service has taken it.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(&self.outcome, Ok(answer) if answer.reply.verdict() == Verdict::Taken)
    }

    /// What probably has to be done, if something has.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match &self.outcome {
            Ok(answer) => hint_of_status(answer.reply.status),
            Err(error) => Some(hint_of_error(error)),
        }
    }
}

const fn hint_of_status(status: u16) -> Option<&'static str> {
    Some(match status {
        200..=299 => return None,
        300..=399 => "redirects are not followed: write the place that it names as `url`",
        400 => {
            "the receiver could not read the body. It is JSON as long as `body` is not \"payload\"; in Flask \
             `request.get_json()` reads it"
        }
        401 | 403 => {
            "the receiver wants to know who sends: a header field under [webhook.headers], or a `secret` that both sides have"
        }
        404 => {
            "nothing is at this path: compare the path of `url` with the route of the receiver, `/` at the end included"
        }
        405 => {
            "the route does not take this method: in Flask `@app.route(\"/webhook\", methods=[\"POST\"])`, or another `method`"
        }
        408 | 504 => "the receiver was too slow: let it answer first and work afterwards",
        410 => "the receiver wants no requests any more, and the broker would send none",
        413 => "the body is too large for the receiver: raise its limit, or lower `batch`",
        415 => {
            "the receiver does not take this Content-Type: it expects JSON, and `body` says otherwise, or the other way round"
        }
        421 | 426 => {
            "the receiver speaks another protocol at this port: https instead of http, or the other way round"
        }
        429 => "the receiver has enough for now; the broker would wait and go on",
        500 => {
            "the receiver itself has failed, and its own log says why. In Flask a forgotten import does this: \
             `from flask import Flask, request`"
        }
        502 | 503 => "what stands before the receiver does not reach it: is it running?",
        _ => "the receiver refuses; its own log may say why",
    })
}

fn hint_of_error(error: &SendError) -> &'static str {
    match error {
        SendError::Resolve(super::guard::ResolveError::Unknown { .. }) => {
            "is the name in `url` written right?"
        }
        SendError::Resolve(super::guard::ResolveError::Blocked(blocked)) => blocked.help(),
        SendError::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            "nobody listens there: is the receiver running, and at this port? One in a container listens on 0.0.0.0"
        }
        SendError::Connect { .. } | SendError::ConnectTimeout(_) => {
            "is the receiver's computer on, and does no firewall stand between?"
        }
        SendError::Tls { .. } => {
            "is it https at this port, and who signed its certificate? `ca_file` under [webhook.tls] names a CA of your own"
        }
        SendError::Timeout(_) => "let the receiver answer first and work afterwards, or raise `timeout`",
        SendError::Http(_) => "is it HTTP at this port? https needs `https://`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_but_success_has_a_hint() {
        for status in 100..1000 {
            assert_eq!(hint_of_status(status).is_none(), (200..300).contains(&status), "{status}");
        }
    }

    #[tokio::test]
    async fn a_receiver_that_is_not_there_is_said_not_to_be() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let webhook = Webhook { url: format!("http://127.0.0.1:{port}/"), ..Webhook::default() };
        let trial = attempt(&webhook, "a/b", b"{}").await.unwrap();
        assert!(!trial.is_taken());
        assert!(trial.hint().unwrap().contains("is the receiver running"), "{:?}", trial.outcome);
    }
}
