//! PUBLISH, and whether it comes back where the same topic comes in too. Only with leave: whoever subscribes there gets it.

use std::time::Duration;

use bytes::Bytes;
use culex_codec::{PacketId, QoS, TopicFilter, TopicName};
use culex_core::client::{Connection, Event, Publication, Reason};
use tokio::time::{Instant, timeout_at};

use super::subscribe::{Answer, answer, gone};
use super::{Cause, Diagnosis, Finding, Stage, Step};
use crate::config::Mapping;

/// What stands in a topic for a wildcard.
const LEVEL: &str = "culex-bridge-test";
/// AWS IoT takes a moment before a subscription works (AIC-PUB-14), so the message is sent again each second.
const ROUND_TRIP_TIMES: u32 = 8;
const ROUND_TRIP_EVERY: Duration = Duration::from_secs(1);

impl Diagnosis<'_> {
    /// Publishes to a topic of each mapping, and waits for those that come back.
    pub(super) async fn messages(&mut self, mut connection: Connection) -> Step<Connection> {
        if self.bridge.outgoing.is_empty() {
            self.skipped(Stage::Publish, "nothing goes out");
            return Ok(connection);
        }
        if !self.options.publish {
            self.skipped(
                Stage::Publish,
                "only with --publish, which sends a message to a topic of each [[bridge.out]]",
            );
            self.skipped(Stage::RoundTrip, "only with --publish");
            return Ok(connection);
        }
        let mut has_round_trip = false;
        for mapping in &self.bridge.outgoing {
            let topic = topic_of(mapping);
            let (next, is_taken) = self.publish(connection, mapping, &topic).await?;
            connection = next;
            if is_taken && self.comes_in(&topic) {
                has_round_trip = true;
                connection = self.round_trip(connection, &topic).await?;
            }
        }
        if !has_round_trip {
            let text = "no topic goes out and comes in, so nothing can come back; that a message from the other side arrives is seen by \
                        publishing one there";
            self.skipped(Stage::RoundTrip, text);
        }
        Ok(connection)
    }

    fn comes_in(&self, topic: &str) -> bool {
        let Ok(name) = TopicName::new(topic) else { return false };
        self.bridge.incoming.iter().any(|mapping| {
            TopicFilter::new(&mapping.remote_filter()).is_ok_and(|filter| filter.matches(name))
        })
    }

    async fn publish(
        &mut self,
        connection: Connection,
        mapping: &Mapping,
        topic: &str,
    ) -> Step<(Connection, bool)> {
        let mut tries = vec![("PUBLISH", Publication::new(topic, payload(0), QoS::AtLeastOnce))];
        // Without a payload nothing stays. Where the filter is a topic of somebody, what is retained there would go as well.
        let is_own_topic = mapping.filter.contains(['+', '#']);
        if is_own_topic && mapping.retain.unwrap_or(!self.is_aws()) {
            tries
                .push(("RETAIN_PUBLISH", Publication::new(topic, Bytes::new(), QoS::AtLeastOnce).retained()));
        }
        let mut connection = connection;
        let mut is_taken = true;
        for (action, publication) in tries {
            let mut answer = send(&mut connection, publication.clone()).await;
            if matches!(answer, Answer::Closed(None)) {
                connection = self.again(Stage::Publish).await?;
                answer = send(&mut connection, publication).await;
            }
            let is_gone = !matches!(answer, Answer::Taken | Answer::Refused(_));
            let what =
                if action == "PUBLISH" { topic.to_owned() } else { format!("{topic}, to be retained") };
            match answer {
                Answer::Taken => self.good(Stage::Publish, what),
                Answer::Refused(reason) | Answer::Closed(Some(reason)) => {
                    is_taken = false;
                    self.not_published(&what, topic, action, Some(&reason));
                }
                Answer::Closed(None) => {
                    is_taken = false;
                    self.not_published(&what, topic, action, None);
                }
                Answer::Late => {
                    is_taken = false;
                    let why = "no PUBACK within 20 s: AWS IoT does not answer what it throttles";
                    self.bad(
                        Stage::Publish,
                        format!("{what}: no answer"),
                        Finding::new(Cause::Broker, why, "try it again"),
                    );
                }
                Answer::Other(error) => {
                    is_taken = false;
                    self.bad(
                        Stage::Publish,
                        format!("{what}: {error}"),
                        Finding::new(Cause::Broker, error, "try it again"),
                    );
                }
            }
            if is_gone {
                connection = self.again(Stage::Publish).await?;
            }
        }
        Ok((connection, is_taken))
    }

    fn not_published(&mut self, what: &str, topic: &str, action: &str, reason: Option<&Reason>) {
        let said = reason.map_or("the connection is closed".to_owned(), ToString::to_string);
        let text = format!("{what}: {said}");
        let is_about_rights = reason.is_none_or(|reason| matches!(reason.code, 0x80 | 0x87));
        let finding = if !is_about_rights {
            let cause = if reason.is_some_and(|reason| reason.code == 0x8e) {
                Cause::ClientId
            } else {
                Cause::Broker
            };
            Finding::new(cause, text.clone(), "see what the other broker takes: sizes, QoS, topics")
        } else if self.is_aws() {
            let right = if action == "PUBLISH" { "iot:Publish" } else { "iot:RetainPublish" };
            let why = format!(
                "the policy does not allow {right} on topic/{topic} (one topic of this mapping was tried)"
            );
            let mend = if action == "PUBLISH" {
                format!("allow what `culex bridge policy {}` prints", self.bridge.name)
            } else {
                "allow it, or leave `retain = true` out".to_owned()
            };
            let proof = self.prove_policy("PUBLISH", &format!("topic/{topic}"));
            Finding::new(Cause::Policy, why, mend).proof(proof)
        } else {
            let why = format!("the other broker does not let {} publish to {topic}", self.client_id());
            Finding::new(Cause::Policy, why, "give it the right to write there")
        };
        self.bad(Stage::Publish, text, finding);
    }

    /// A subscription may be allowed, and what it brings not: AWS IoT says nothing then (AIC-POL-07).
    async fn round_trip(&mut self, mut connection: Connection, topic: &str) -> Step<Connection> {
        for number in 1..=ROUND_TRIP_TIMES {
            let expected = payload(number);
            let publication = Publication::new(topic, expected.clone(), QoS::AtLeastOnce);
            if connection.publish(publication).is_err() {
                break;
            }
            let deadline = Instant::now() + ROUND_TRIP_EVERY;
            loop {
                match timeout_at(deadline, connection.event()).await {
                    Ok(Ok(Event::Message(message)))
                        if message.topic == topic && is_ours(&message.payload) =>
                    {
                        self.good(Stage::RoundTrip, format!("{topic} comes back"));
                        return Ok(connection);
                    }
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => {
                        connection = self.again(Stage::RoundTrip).await?;
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
        let text = format!("{topic} was published and does not come back");
        let finding = if self.is_aws() {
            let why = format!(
                "the policy allows to subscribe, but not iot:Receive on topic/{topic}: AWS IoT drops such messages in silence"
            );
            let mend = format!("allow what `culex bridge policy {}` prints", self.bridge.name);
            Finding::new(Cause::Policy, why, mend)
                .proof(self.prove_policy("RECEIVE", &format!("topic/{topic}")))
        } else if self.bridge.try_private == Some(true) {
            self.note(
                Stage::RoundTrip,
                "the other broker knows that this is a bridge, and sends nothing back",
            );
            return Ok(connection);
        } else {
            Finding::new(Cause::Policy, text.clone(), "give it the right to read there")
        };
        self.bad(Stage::RoundTrip, text, finding);
        Ok(connection)
    }
}

/// A topic that a mapping sends to.
fn topic_of(mapping: &Mapping) -> String {
    mapping.remote_filter().replace(['+', '#'], LEVEL)
}

fn payload(number: u32) -> Bytes {
    Bytes::from(format!("{{\"{LEVEL}\":{number}}}"))
}

fn is_ours(payload: &[u8]) -> bool {
    payload.windows(LEVEL.len()).any(|part| part == LEVEL.as_bytes())
}

async fn send(connection: &mut Connection, publication: Publication) -> Answer {
    let sent: PacketId = match connection.publish(publication) {
        Ok(Some(packet_id)) => packet_id,
        Ok(None) => return Answer::Taken,
        Err(error) => return gone(error),
    };
    answer(connection, |event| {
        let Event::Published { packet_id, reason } = event else { return None };
        (packet_id == sent).then_some(reason)
    })
    .await
}
