//! MQTT Clients inside the broker's process, without a socket: what an embedder publishes and subscribes with, and what
//! an integration is made of.
//!
//! ```text
//!   Client ──► requests, bounded ──► driver ◄── bytes ──► pipe ──► lane, as any connection
//!   Client ──►                       (a task) ──► Inbox, bounded
//! ```
//!
//! Behind CONNACK nothing is special about such a connection: QoS state, limits, queues and order are those of every
//! session. Only its way in is: nobody has to authenticate, and there is no deadline.

mod builder;
mod driver;
mod error;
mod inbox;
mod kept;
mod requests;

use std::sync::Arc;

use bytes::Bytes;
use culex_codec::{Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, TopicFilter, TopicName};
use tokio::sync::oneshot;

use crate::client::Publication;
use crate::engine::{TopicLimits, is_of_host, is_reserved};

use self::inbox::Shared;
use self::requests::{Ended, Request};

pub use self::builder::ClientBuilder;
pub use self::error::{ConnectError, Gone, PublishError, SubscribeError};
pub use self::inbox::{Delivery, Inbox};
pub(crate) use self::kept::KeptSessions;

/// The version that clients in this process speak; nobody sees it but the engine.
const VERSION: ProtocolVersion = ProtocolVersion::V311;

/// The sending half of a client in the broker's process, from [`Broker::client`](crate::Broker::client). A cheap handle:
/// clones are the same client.
///
/// The client ends, in order, with [`Client::disconnect`] or when all its handles and its [`Inbox`] are dropped; and it
/// ends with the broker, which it does not keep alive.
///
/// Every call waits when too much waits already (1 MiB for the driver, in which a request other than QoS 0 counts 256 bytes beside its packet; 100 messages without
/// acknowledgement). Dropping a future does harm to nothing: what it asked for has not begun, or goes on without it. No
/// call waits for the [`Inbox`] to be emptied, so it is safe to publish from the loop that receives.
#[derive(Clone)]
pub struct Client(Arc<Handles>);

/// What all handles of a client have.
struct Handles {
    requests: Sending,
    client_id: Box<str>,
    is_session_present: bool,
    topic_limits: TopicLimits,
    packet_bytes_max: u32,
    has_host_topics: bool,
}

impl Client {
    /// The ClientId.
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// Whether the broker had a session of this client when it connected: its subscriptions are there already, and what
    /// was queued comes.
    pub fn is_session_present(&self) -> bool {
        self.0.is_session_present
    }

    /// Publishes a message. Resolves at QoS 0 when it is handed in, at QoS 1 and 2 when the broker has taken it over
    /// (PUBACK, PUBCOMP), which with a store means that it is stored. Who the receivers are makes no difference.
    ///
    /// # Errors
    /// [`PublishError`]. Only [`PublishError::Gone`] is about the connection; after any other it goes on.
    pub async fn publish(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: QoS,
    ) -> Result<(), PublishError> {
        let payload = payload.into();
        if qos == QoS::AtMostOnce {
            return self.send_at_most_once(topic, &payload, false).await;
        }
        self.send(Publication::new(topic, payload, qos)).await
    }

    /// As [`Self::publish`], for a message that may become a Retained Message: [`Publication::retained`].
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub async fn send(&self, publication: Publication) -> Result<(), PublishError> {
        // Clients in the process speak 3.1.1, which has no properties.
        let Publication { topic, payload, qos, is_retained, properties: _ } = &publication;
        if *qos == QoS::AtMostOnce {
            return self.send_at_most_once(topic, payload, *is_retained).await;
        }
        let (_, bytes) = self.packet(topic, payload, PacketId::new(1), (*qos, *is_retained))?;
        let (taken, answer) = oneshot::channel();
        self.0.requests.send(Request::Publish { publication, taken }, bytes).await?;
        Ok(self.answered(answer).await?)
    }

    async fn send_at_most_once(
        &self,
        topic: &str,
        payload: &[u8],
        is_retained: bool,
    ) -> Result<(), PublishError> {
        let (packet, bytes) = self.packet(topic, payload, None, (QoS::AtMostOnce, is_retained))?;
        Ok(self.0.requests.send_packet(&packet, bytes).await?)
    }

    /// Subscribes, or changes the QoS of a subscription. Resolves with the QoS granted, when the broker has answered:
    /// from then on no message is missed, and Retained Messages that match are on their way.
    ///
    /// # Errors
    /// [`SubscribeError`]. Only [`SubscribeError::Gone`] is about the connection; after any other it goes on.
    pub async fn subscribe(&self, filter: &str, qos: QoS) -> Result<QoS, SubscribeError> {
        let filter = self.check_filter(filter)?;
        let (answer, answered) = oneshot::channel();
        let bytes = filter.len();
        self.0.requests.send(Request::Subscribe { filter, qos, answer }, bytes).await?;
        let code = self.answered(answered).await?;
        QoS::from_bits(code).ok_or(SubscribeError::Refused)
    }

    /// Ends a subscription; of one that does not exist too. What is in the [`Inbox`] stays there.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub async fn unsubscribe(&self, filter: &str) -> Result<(), SubscribeError> {
        let filter = self.check_filter(filter)?;
        let (answer, answered) = oneshot::channel();
        let bytes = filter.len();
        self.0.requests.send(Request::Unsubscribe { filter, answer }, bytes).await?;
        Ok(self.answered(answered).await?)
    }

    /// Ends the connection in order, for all handles: what was asked before is done first, for 5 s at most. A persistent
    /// session stays. Nothing is left to do if the client has ended already.
    pub async fn disconnect(&self) {
        let (done, answer) = oneshot::channel();
        if self.0.requests.send(Request::Disconnect { done }, 0).await.is_ok() {
            // Without an answer it has ended in another way.
            let _ = self.answered(answer).await;
        }
    }

    /// Whether the client has ended, and why.
    pub fn ended(&self) -> Option<Gone> {
        self.0.requests.0.gone()
    }

    /// The PUBLISH of a message and its length, if the broker would take it.
    fn packet<'a>(
        &self,
        topic: &'a str,
        payload: &'a [u8],
        packet_id: Option<PacketId>,
        (qos, retain): (QoS, bool),
    ) -> Result<(Packet<'a>, usize), PublishError> {
        let topic = TopicName::new(topic)?;
        self.0.topic_limits.check(topic.as_str()).map_err(PublishError::Limit)?;
        if is_reserved(topic.as_str()) || self.is_of_another(topic.as_str()) {
            return Err(PublishError::Reserved);
        }
        let (topic, properties) = (Some(topic), Properties::EMPTY);
        let publish = Publish { dup: false, qos, retain, topic, packet_id, properties, payload };
        let packet = Packet::Publish(publish);
        let max = self.0.packet_bytes_max;
        match packet.encoded_len(VERSION) {
            Ok(bytes) if bytes <= max as usize => Ok((packet, bytes)),
            Ok(bytes) => Err(PublishError::TooLarge { bytes, max }),
            // Larger than any packet.
            Err(_) => Err(PublishError::TooLarge { bytes: payload.len(), max }),
        }
    }

    fn is_of_another(&self, topic: &str) -> bool {
        !self.0.has_host_topics && is_of_host(topic)
    }

    fn check_filter(&self, filter: &str) -> Result<Box<str>, SubscribeError> {
        TopicFilter::new(filter)?;
        self.0.topic_limits.check(filter).map_err(SubscribeError::Limit)?;
        if self.is_of_another(filter) {
            return Err(SubscribeError::Reserved);
        }
        Ok(filter.into())
    }

    async fn answered<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, Gone> {
        answer.await.map_err(|_| self.0.requests.gone_now())
    }
}

/// The sending side, which tells the driver when it is gone.
struct Sending(Arc<Shared>);

impl Sending {
    async fn send_packet(&self, packet: &Packet<'_>, bytes: usize) -> Result<(), Gone> {
        self.0.requests.send_packet(packet, bytes).await.map_err(|Ended| self.gone_now())
    }

    async fn send(&self, request: Request, bytes: usize) -> Result<(), Gone> {
        self.0.requests.send(request, bytes).await.map_err(|Ended| self.gone_now())
    }

    /// Why there is no answer.
    fn gone_now(&self) -> Gone {
        self.0.gone().unwrap_or(Gone::Stopped)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.requests.forsake();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("client_id", &self.0.client_id).finish_non_exhaustive()
    }
}
