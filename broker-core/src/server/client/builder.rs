//! How a client in the broker's process is made.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use culex_codec::ClientId;
use tokio::sync::{oneshot, watch};

use crate::client::{Connection, Options, Session};
use crate::engine::error::{CloseReason, Refusal};
use crate::engine::{Admission, QueueLimits, SessionOptions, Terms, TopicLimits, TopicPart};
use crate::limits::{Limit, Limits, WhenFull};

use super::super::broker::Broker;
use super::super::front_door::{FrontDoor, generated_client_id};
use super::super::peer::Peer;
use super::super::pipe::{PipeFate, pipe};
use super::super::serve::ServeError;
use super::super::transport::Transport;
use super::driver::{Driver, Ending};
use super::error::ConnectError;
use super::inbox::{Inbox, Shared};
use super::kept::{Hold, KeptSessions};
use super::{Client, Handles, Sending, VERSION};

/// QoS 1 and 2 messages of a client without acknowledgement, or fewer by the limit `incoming_in_flight`.
const IN_FLIGHT_MAX: u16 = 100;
const INBOX_MESSAGES: u16 = 1024;
const INBOX_BYTES: usize = 4 << 20;
/// Bytes of a packet beyond the limit `packet_bytes` where the host itself publishes.
const HOST_BYTES: u32 = 512 << 10;
/// [MQTT-2.2.3]: Remaining Length has at most that.
const PACKET_BYTES_MAX: u32 = 268_435_455;
const PEER: &str = "in-process";

/// What a client in the broker's process connects with; from [`Broker::client`]. Await it, or [`Self::connect`].
#[derive(Debug, Clone)]
#[must_use = "a client connects when this is awaited"]
pub struct ClientBuilder {
    broker: Broker,
    client_id: String,
    user_name: Option<Box<str>>,
    /// Seconds that the session outlives the connection.
    session_expiry_s: u32,
    is_manual_ack: bool,
    inbox_messages: u16,
    inbox_bytes: usize,
    session_options: SessionOptions,
    tells_origin: bool,
    has_host_topics: bool,
}

impl Broker {
    /// A client in this process with this ClientId; an empty one is made up. It needs no socket and no listener, and
    /// nobody asks it who it is. As long as its session is there, nobody else gets in with its ClientId (CONNACK 0x02);
    /// a session of the network with this ClientId is ended, not inherited.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use culex_core::{Broker, QoS};
    ///
    /// let broker = Broker::builder().without_listener().start().await?;
    /// let (app, mut inbox) = broker.client("app").await?;
    /// app.subscribe("sensors/#", QoS::AtLeastOnce).await?;
    /// app.publish("sensors/cellar", "12.5", QoS::AtLeastOnce).await?;
    /// let message = inbox.next().await.ok_or("the broker has stopped")?;
    /// assert_eq!((&*message.topic, &*message.payload), ("sensors/cellar", &b"12.5"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn client(&self, client_id: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            broker: self.clone(),
            client_id: client_id.into(),
            user_name: None,
            session_expiry_s: 0,
            is_manual_ack: false,
            inbox_messages: INBOX_MESSAGES,
            inbox_bytes: INBOX_BYTES,
            session_options: SessionOptions::default(),
            tells_origin: false,
            has_host_topics: false,
        }
    }
}

impl ClientBuilder {
    /// Publishes for this user: receivers find ClientId and user name in [`Origin::author`](crate::Origin::author), and a
    /// Retained Message reaches new subscriptions as long as this user may publish it, see
    /// [`AccessControl::checks_retain_source`](crate::access::AccessControl::checks_retain_source). What the client itself
    /// publishes and subscribes to is checked no more than without: whoever calls this has done so.
    pub fn on_behalf_of(mut self, user_name: impl Into<Box<str>>) -> Self {
        self.user_name = Some(user_name.into());
        self
    }

    /// Keeps the session (Clean Session 0): subscriptions, and messages of QoS 1 and 2 that come meanwhile, under the
    /// limits `queue_messages` and `queue_bytes`. It ends when no client with this ClientId was there for so long, in
    /// whole seconds rounded up, at least 1 s; [`Duration::MAX`] is for ever. Default: it ends with the connection.
    pub fn persistent(mut self, expiry: Duration) -> Self {
        let seconds = expiry.as_secs().saturating_add(u64::from(expiry.subsec_nanos() > 0));
        self.session_expiry_s = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
        self
    }

    /// QoS 1 and 2 messages are acknowledged by [`Delivery::ack`](super::Delivery::ack) only; otherwise by being taken out
    /// of the inbox. When as many are taken and not acknowledged as the broker has in flight (100 by default), no more
    /// come.
    pub fn manual_ack(mut self) -> Self {
        self.is_manual_ack = true;
        self
    }

    /// Messages that the inbox holds, 1 … 65,535. Default 1024. Of QoS 1 and 2 never more than the limit `in_flight`.
    pub fn inbox_messages(mut self, messages: u16) -> Self {
        self.inbox_messages = messages.max(1);
        self
    }

    /// Bytes of messages from which on the inbox is full. Default 4 MiB.
    pub fn inbox_bytes(mut self, bytes: usize) -> Self {
        self.inbox_bytes = bytes;
        self
    }

    /// What this client publishes is not delivered to it, whatever it subscribes to (as 5.0 No Local).
    ///
    /// This and the options that follow are those of the session: stored with it, they hold for what comes before the
    /// client is there again, and from each connect on they are what that connect says. Messages that are in the queue
    /// already stay as they are.
    pub fn no_local(mut self) -> Self {
        self.session_options.no_local = true;
        self
    }

    /// [`Message::is_retained`](crate::client::Message::is_retained) of what comes live is RETAIN as it was published (as
    /// 5.0 Retain As Published); otherwise it says that a message is there because of a new subscription.
    pub fn retain_as_published(mut self) -> Self {
        self.session_options.retain_as_published = true;
        self
    }

    /// QoS 0 messages wait in the session like others, and come with QoS 1: they are lost neither while the client is
    /// away nor when the inbox is full. Whoever publishes them is not told when the queue is full.
    pub fn queue_qos0(mut self) -> Self {
        self.session_options.queue_qos0 = true;
        self
    }

    /// Limits of this session's queue, in place of `queue_messages`, `queue_bytes` (topic and payload) and `when_full`
    /// of the broker. The limit `queue_total_bytes` of all queues together holds too. What a client with such limits
    /// publishes never waits for another queue ([`WhenFull::Block`]): behind it would lie its acknowledgements.
    pub fn queue_limits(mut self, messages: Limit, bytes: Limit, when_full: WhenFull) -> Self {
        self.session_options.queue = Some(QueueLimits { messages, bytes, when_full });
        self
    }

    /// A message that has waited for longer than this by the wall clock is dropped and counted (`dropped_aged`) when its
    /// turn comes or room is needed. Not one in flight, and not a Retained Message that came with a new subscription.
    /// With [`Duration::MAX`] none is dropped, but [`SessionInfo::oldest_at`](crate::SessionInfo::oldest_at) is known.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.session_options.max_age_ms = Some(u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Of what it subscribes to it gets the topics of this part: so several clients share the work, each topic in its
    /// order. When parts are changed, what is published before all clients are connected with theirs may reach two of
    /// them or none.
    pub fn only(mut self, part: TopicPart) -> Self {
        self.session_options.part = Some(part);
        self
    }

    /// Messages come with their [`Origin`](crate::Origin): see [`Delivery::origin`](super::Delivery::origin).
    pub fn tell_origin(mut self) -> Self {
        self.tells_origin = true;
        self
    }

    /// Lets this client publish and subscribe below `$CULEX/`, where nobody else may: for what the host itself has to
    /// keep, which may be 64 KiB larger than the limit `packet_bytes`. Not for a client that publishes or subscribes where others say.
    pub fn host_topics(mut self) -> Self {
        self.has_host_topics = true;
        self
    }

    /// Connects, which ends an older client with this ClientId, and resolves when the broker has accepted. The work is done
    /// by a task on the broker's runtime; dropping this future disconnects.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(self) -> Result<(Client, Inbox), ConnectError> {
        let client_id = self.client_id()?;
        let inner = &self.broker.inner;
        // The driver lives as long as it has this: `shutdown` waits for it.
        let closing = inner.closing.subscribe();
        if *closing.borrow() {
            return Err(ServeError::Stopped.into());
        }
        let is_persistent = self.session_expiry_s > 0;
        let shared = Arc::new(Shared::new(
            self.inbox_messages.into(),
            self.inbox_bytes,
            self.is_manual_ack,
            self.tells_origin,
        ));
        // From here on the driver knows when nobody is there any more.
        let inbox = Inbox::new(Arc::clone(&shared));
        let requests = Sending(Arc::clone(&shared));
        let limits = inner.front_door.limits();
        let (topic_limits, has_host_topics) = (TopicLimits::from(&*limits), self.has_host_topics);
        let terms = has_host_topics.then(|| Arc::new(host_terms(&limits)));
        let packet_bytes_max = Terms::limits(&terms, &limits).packet_bytes;
        let newcomer = Newcomer {
            front_door: Arc::clone(&inner.front_door),
            kept: Arc::clone(&inner.kept),
            options: self.options(&limits),
            client_id: client_id.clone(),
            user_name: self.user_name.clone(),
            session_expiry_s: self.session_expiry_s,
            inbox_messages: self.inbox_messages,
            session_options: self.session_options,
            tells_origin: self.tells_origin,
            terms,
            ending: Ending { inbox: shared, is_persistent },
            closing,
        };
        let (accepted, answer) = oneshot::channel();
        inner.runtime.spawn(newcomer.run(accepted));
        drop(self);
        let is_session_present = answer.await.unwrap_or(Err(ServeError::Stopped.into()))?;
        let handles = Handles {
            requests,
            client_id,
            is_session_present,
            topic_limits,
            packet_bytes_max,
            has_host_topics,
        };
        Ok((Client(Arc::new(handles)), inbox))
    }

    fn client_id(&self) -> Result<Box<str>, ConnectError> {
        if self.client_id.is_empty() {
            return match self.session_expiry_s {
                0 => Ok(generated_client_id()),
                // [MQTT-3.1.3-8]
                _ => Err(ConnectError::Refused(Refusal::EmptyClientId)),
            };
        }
        ClientId::new(&self.client_id).map_err(ConnectError::ClientId)?;
        Ok(self.client_id.as_str().into())
    }

    fn options(&self, limits: &Limits) -> Options {
        Options {
            version: VERSION,
            clean_session: self.session_expiry_s == 0,
            // A pipe does not fall silent.
            keep_alive: 0,
            in_flight: IN_FLIGHT_MAX.min(limits.incoming_in_flight),
            is_manual_ack: true,
            ..Options::default()
        }
    }
}

impl IntoFuture for ClientBuilder {
    type Output = Result<(Client, Inbox), ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.connect())
    }
}

/// What the host keeps about a message has room beside the largest message.
fn host_terms(limits: &Limits) -> Terms {
    let packet_bytes = limits.packet_bytes.saturating_add(HOST_BYTES).min(PACKET_BYTES_MAX);
    Terms { limits: Some(Limits { packet_bytes, ..limits.clone() }), mount_point: None }
}

/// A client before CONNACK.
struct Newcomer {
    ending: Ending,
    front_door: Arc<FrontDoor>,
    kept: Arc<KeptSessions>,
    options: Options,
    client_id: Box<str>,
    user_name: Option<Box<str>>,
    session_expiry_s: u32,
    inbox_messages: u16,
    session_options: SessionOptions,
    tells_origin: bool,
    terms: Option<Arc<Terms>>,
    closing: watch::Receiver<bool>,
}

impl Newcomer {
    async fn run(self, accepted: oneshot::Sender<Result<bool, ConnectError>>) {
        match self.attach().await {
            Ok(driver) => {
                // If nobody waits any more, handles and inbox are gone, and the driver finds that.
                let _ = accepted.send(Ok(driver.connection.is_session_present()));
                driver.run().await;
            }
            Err(error) => drop(accepted.send(Err(error))),
        }
    }

    async fn attach(self) -> Result<Driver, ConnectError> {
        let mut hold = self.hold().await;
        // Before the session is taken: without room for the client it stays where it is.
        let (number, permit) =
            self.front_door.number_and_permit(&Peer::from(PEER), None).map_err(ServeError::TooMany)?;
        let session = hold.as_mut().map_or_else(Session::default, Hold::take_session);
        let admission = self.admission(number);
        let (end, stream) = pipe();
        let fate = stream.fate();
        let mut connection = Connection::attached(Box::new(stream), &self.options, session);
        self.front_door.hand_over(Transport::Pipe(end), admission, Vec::new(), permit);
        if connection.accepted().await.is_err() {
            if let Some(hold) = hold {
                hold.give_back(connection.into_session());
            }
            return Err(refused(&fate));
        }
        let Self { ending, closing, .. } = self;
        Ok(Driver {
            ending,
            connection,
            fate,
            hold,
            closing,
            waiting: Default::default(),
            pending: Default::default(),
            arrived: Vec::new(),
            answered: Vec::new(),
        })
    }

    async fn hold(&self) -> Option<Hold> {
        if self.ending.is_persistent {
            return Some(self.kept.take(&self.client_id, &self.ending.inbox).await);
        }
        self.kept.forget(&self.client_id);
        None
    }

    fn admission(&self, accept_number: u64) -> Admission {
        Admission {
            version: VERSION,
            client_id: self.client_id.clone(),
            user_name: self.user_name.clone(),
            is_trusted: true,
            clean_start: self.session_expiry_s == 0,
            session_expiry_s: self.session_expiry_s,
            keep_alive: 0,
            receive_maximum: self.inbox_messages,
            will: None,
            terms: self.terms.clone(),
            options: self.session_options,
            tells_origin: self.tells_origin,
            accept_number,
            peer: PEER.into(),
        }
    }
}

fn refused(fate: &PipeFate) -> ConnectError {
    match fate.reason() {
        Some(CloseReason::Refused(Refusal::Superseded) | CloseReason::TakenOver) => ConnectError::TakenOver,
        Some(CloseReason::Refused(refusal)) => ConnectError::Refused(refusal),
        Some(_) | None => ServeError::Stopped.into(),
    }
}
