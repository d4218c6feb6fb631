//! MQTT Clients inside the broker's process, without a socket: what an embedder publishes and subscribes with, and what
//! an integration is made of.
//!
//! ```text
//!   Client ──► commands, bounded ──► driver ◄── bytes ──► pipe ──► lane, as any connection
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

use std::sync::Arc;

use bytes::Bytes;
use culex_codec::{ProtocolVersion, QoS, TopicFilter, TopicName};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::client::{ClientError, Publication, encoded_len};
use crate::engine::{TopicLimits, is_reserved};

use self::inbox::Shared;

pub use self::builder::ClientBuilder;
pub use self::error::{ConnectError, Gone, PublishError, SubscribeError};
pub use self::inbox::{Delivery, Inbox};
pub(crate) use self::kept::KeptSessions;

/// The version that clients in this process speak; nobody sees it but the engine.
const VERSION: ProtocolVersion = ProtocolVersion::V311;
/// Requests that wait for the driver.
const COMMANDS_MAX: usize = 64;
/// Bytes of publications that wait for the driver; one that is larger goes alone.
const COMMAND_BYTES_MAX: u32 = 1 << 20;

/// The sending half of a client in the broker's process, from [`Broker::client`](crate::Broker::client). A cheap handle:
/// clones are the same client.
///
/// The client ends, in order, with [`Client::disconnect`] or when all its handles and its [`Inbox`] are dropped; and it
/// ends with the broker, which it does not keep alive.
///
/// Every call waits when too much waits already (64 requests or 1 MiB for the driver, 100 messages without
/// acknowledgement). Dropping a future does harm to nothing: what it asked for has not begun, or goes on without it. No
/// call waits for the [`Inbox`] to be emptied, so it is safe to publish from the loop that receives.
#[derive(Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    inbox: Arc<Shared>,
    about: Arc<About>,
}

/// What all handles of a client know.
struct About {
    client_id: Box<str>,
    is_session_present: bool,
    topic_limits: TopicLimits,
    packet_bytes_max: u32,
}

/// What a handle asks the driver to do. An answer that never comes says that the client has ended.
enum Command {
    Publish {
        publication: Publication,
        /// None at QoS 0.
        taken: Option<oneshot::Sender<()>>,
        _room: OwnedSemaphorePermit,
    },
    Subscribe {
        filter: Box<str>,
        qos: QoS,
        answer: oneshot::Sender<u8>,
    },
    Unsubscribe {
        filter: Box<str>,
        answer: oneshot::Sender<()>,
    },
    Disconnect {
        done: oneshot::Sender<()>,
    },
}

impl Client {
    /// The ClientId.
    pub fn client_id(&self) -> &str {
        &self.about.client_id
    }

    /// Whether the broker had a session of this client when it connected: its subscriptions are there already, and what
    /// was queued comes.
    pub fn is_session_present(&self) -> bool {
        self.about.is_session_present
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
        self.send(Publication::new(topic, payload, qos)).await
    }

    /// As [`Self::publish`], for a message that may become a Retained Message: [`Publication::retained`].
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub async fn send(&self, publication: Publication) -> Result<(), PublishError> {
        let bytes = self.check(&publication)?;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(COMMAND_BYTES_MAX);
        let room = Arc::clone(&self.inbox.room).acquire_many_owned(bytes).await.map_err(|_| self.gone())?;
        let (taken, answer) = match publication.qos {
            QoS::AtMostOnce => (None, None),
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                let (taken, answer) = oneshot::channel();
                (Some(taken), Some(answer))
            }
        };
        self.ask(Command::Publish { publication, taken, _room: room }).await?;
        match answer {
            Some(answer) => Ok(self.await_answer(answer).await?),
            None => Ok(()),
        }
    }

    /// Subscribes, or changes the QoS of a subscription. Resolves with the QoS granted, when the broker has answered:
    /// from then on no message is missed, and Retained Messages that match are on their way.
    ///
    /// # Errors
    /// [`SubscribeError`]. Only [`SubscribeError::Gone`] is about the connection; after any other it goes on.
    pub async fn subscribe(&self, filter: &str, qos: QoS) -> Result<QoS, SubscribeError> {
        let filter = self.check_filter(filter)?;
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Subscribe { filter, qos, answer }).await?;
        let code = self.await_answer(answered).await?;
        QoS::from_bits(code).ok_or(SubscribeError::Refused)
    }

    /// Ends a subscription; of one that does not exist too. What is in the [`Inbox`] stays there.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub async fn unsubscribe(&self, filter: &str) -> Result<(), SubscribeError> {
        let filter = self.check_filter(filter)?;
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Unsubscribe { filter, answer }).await?;
        Ok(self.await_answer(answered).await?)
    }

    /// Ends the connection in order, for all handles: what was asked before is done first, for 5 s at most. A persistent
    /// session stays. Nothing is left to do if the client has ended already.
    pub async fn disconnect(&self) {
        let (done, answer) = oneshot::channel();
        if self.ask(Command::Disconnect { done }).await.is_ok() {
            // Without an answer it has ended in another way.
            let _ = self.await_answer(answer).await;
        }
    }

    /// Whether the client has ended, and why.
    pub fn ended(&self) -> Option<Gone> {
        self.inbox.gone()
    }

    fn check(&self, publication: &Publication) -> Result<usize, PublishError> {
        let topic = TopicName::new(&publication.topic)?;
        self.about.topic_limits.check(topic.as_str()).map_err(PublishError::Limit)?;
        if is_reserved(topic.as_str()) {
            return Err(PublishError::Reserved);
        }
        let max = self.about.packet_bytes_max;
        match encoded_len(publication, VERSION) {
            Ok(bytes) if bytes <= max as usize => Ok(bytes),
            Ok(bytes) => Err(PublishError::TooLarge { bytes, max }),
            Err(ClientError::Topic(error)) => Err(error.into()),
            // Larger than any packet.
            Err(_) => Err(PublishError::TooLarge { bytes: publication.payload.len(), max }),
        }
    }

    fn check_filter(&self, filter: &str) -> Result<Box<str>, SubscribeError> {
        TopicFilter::new(filter)?;
        self.about.topic_limits.check(filter).map_err(SubscribeError::Limit)?;
        Ok(filter.into())
    }

    async fn ask(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).await.map_err(|_| self.gone())
    }

    async fn await_answer<T>(&self, mut answer: oneshot::Receiver<T>) -> Result<T, Gone> {
        // A command that comes into the channel after the driver has emptied it for the last time would lie there as
        // long as there are handles. But the driver says that it is gone before that.
        if let Some(gone) = self.inbox.gone() {
            return answer.try_recv().map_err(|_| gone);
        }
        answer.await.map_err(|_| self.gone())
    }

    fn gone(&self) -> Gone {
        self.inbox.gone().unwrap_or(Gone::Stopped)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("client_id", &self.about.client_id).finish_non_exhaustive()
    }
}
