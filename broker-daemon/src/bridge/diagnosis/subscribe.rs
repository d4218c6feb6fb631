//! SUBSCRIBE, one filter at a time: AWS IoT closes the connection of 3.1.1 for one that is not allowed (AIC-POL-05).

use std::time::Duration;

use culex_codec::{QoS, TopicFilter};
use culex_core::client::{ClientError, Connection, Event, Reason};
use tokio::time::timeout;

use super::{Cause, Diagnosis, Finding, Stage, Step, Stop};
use crate::config::Mapping;

/// Time for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How a request ended.
#[derive(Debug)]
pub(super) enum Answer {
    Taken,
    /// An answer says no.
    Refused(Reason),
    /// The connection is gone; in 5.0 with a reason.
    Closed(Option<Reason>),
    Late,
    Other(String),
}

impl Diagnosis<'_> {
    /// Subscribes to what comes in. Gives a connection with all that was taken.
    pub(super) async fn subscribe(&mut self, mut connection: Connection) -> Step<Connection> {
        if self.bridge.incoming.is_empty() {
            self.skipped(Stage::Subscribe, "nothing comes in");
            return Ok(connection);
        }
        for mapping in &self.bridge.incoming {
            let filter = mapping.remote_filter();
            let mut answer = ask(&mut connection, &filter, self.qos(mapping)).await;
            if matches!(answer, Answer::Closed(None)) {
                // Somebody else may have taken the client id; what the policy forbids it forbids again.
                connection = self.again(Stage::Subscribe).await?;
                answer = ask(&mut connection, &filter, self.qos(mapping)).await;
            }
            let is_gone = !matches!(answer, Answer::Taken | Answer::Refused(_));
            match answer {
                Answer::Taken => self.good(Stage::Subscribe, filter),
                Answer::Refused(reason) | Answer::Closed(Some(reason)) => {
                    let (text, finding) = self.not_subscribed(&filter, Some(&reason));
                    self.bad(Stage::Subscribe, text, finding);
                }
                Answer::Closed(None) => {
                    let (text, finding) = self.not_subscribed(&filter, None);
                    self.bad(Stage::Subscribe, text, finding);
                }
                Answer::Late => {
                    let why = "no SUBACK within 20 s; to QoS 2 AWS IoT does not answer";
                    self.bad(
                        Stage::Subscribe,
                        format!("{filter}: no answer"),
                        Finding::new(Cause::Broker, why, "try it again"),
                    );
                }
                Answer::Other(error) => {
                    self.bad(
                        Stage::Subscribe,
                        format!("{filter}: {error}"),
                        Finding::new(Cause::Network, error, "try it again"),
                    );
                }
            }
            if is_gone {
                connection = self.again(Stage::Subscribe).await?;
            }
        }
        Ok(connection)
    }

    /// As the bridge does; AWS IoT has no QoS 2.
    pub(super) fn qos(&self, mapping: &Mapping) -> QoS {
        if self.is_aws() { mapping.qos.min(QoS::AtLeastOnce) } else { mapping.qos }
    }

    /// Another connection, for what is left to try.
    pub(super) async fn again(&mut self, stage: Stage) -> Step<Connection> {
        match self.reopen().await {
            Ok(connection) => Ok(connection),
            Err(refused) => {
                let why = format!("it was accepted a moment ago: {refused:?}");
                self.bad(
                    stage,
                    "the next connection is not accepted",
                    Finding::new(Cause::Broker, why, "try it again"),
                );
                Err(Stop)
            }
        }
    }

    fn not_subscribed(&self, filter: &str, reason: Option<&Reason>) -> (String, Finding) {
        let said = reason.map_or("the connection is closed".to_owned(), ToString::to_string);
        let text = format!("{filter}: {said}");
        let is_about_rights = reason.is_none_or(|reason| matches!(reason.code, 0x80 | 0x87));
        if !is_about_rights {
            let (cause, mend) = match reason.map_or(0, |reason| reason.code) {
                0x8e => (Cause::ClientId, "somebody else uses this client id: give every bridge its own"),
                0x8f => (Cause::Endpoint, "another filter: the other broker does not take this one"),
                _ => (Cause::Broker, "fewer subscriptions; AWS IoT takes 50 over one connection"),
            };
            return (text.clone(), Finding::new(cause, text, mend));
        }
        if !self.is_aws() {
            let why = format!("the other broker does not let {} subscribe to {filter}", self.client_id());
            return (text, Finding::new(Cause::Policy, why, "give it the right to read there"));
        }
        let why = format!(
            "the policy does not allow iot:Subscribe on topicfilter/{filter} (there `+` and `#` are letters like others)"
        );
        let mend = format!("allow what `culex bridge policy {}` prints", self.bridge.name);
        let proof = self.prove_policy("SUBSCRIBE", &format!("topicfilter/{filter}"));
        (text, Finding::new(Cause::Policy, why, mend).proof(proof))
    }
}

async fn ask(connection: &mut Connection, filter: &str, qos: QoS) -> Answer {
    let Ok(parsed) = TopicFilter::new(filter) else { return Answer::Other("no topic filter".to_owned()) };
    let asked = match connection.subscribe(&[(parsed, qos)]) {
        Ok(packet_id) => packet_id,
        Err(error) => return gone(error),
    };
    answer(connection, |event| {
        let Event::Subscribed { packet_id, codes, text } = event else { return None };
        (packet_id == asked).then(|| Reason { code: codes.first().copied().unwrap_or(0x80), text })
    })
    .await
}

/// Waits for the answer to a request: the first event of which there is a reason.
pub(super) async fn answer(
    connection: &mut Connection,
    mut reason_of: impl FnMut(Event) -> Option<Reason>,
) -> Answer {
    let answer = async {
        loop {
            match connection.event().await.map(&mut reason_of) {
                Ok(Some(reason)) if reason.is_error() => return Answer::Refused(reason),
                Ok(Some(_)) => return Answer::Taken,
                Ok(None) => {}
                Err(error) => return gone(error),
            }
        }
    };
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or(Answer::Late)
}

/// What the end of a connection says.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other error is told as it is")]
pub(super) fn gone(error: ClientError) -> Answer {
    match error {
        ClientError::Disconnected(reason) => Answer::Closed(Some(reason)),
        ClientError::Closed | ClientError::Io(_) => Answer::Closed(None),
        error => Answer::Other(error.to_string()),
    }
}
