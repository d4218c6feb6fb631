//! One connection of a bridge with its local session, from the start of the bridge to its end.
//!
//! ```text
//!   local session ─► Waiting ► Outgoing ─► ┐            ┌─► the other broker
//!                                         ├ Connection ┤
//!   local broker ◄─ Client ◄─ Incoming ◄─ ┘            └─◄
//! ```
//!
//! One task does all of it, so nothing is shared and nothing waits for a lock; what takes long (a local PUBACK, a dead
//! letter) waits beside the others. The local session is there all the time: while the other broker is away, messages
//! wait in it, on the disk and within its limits.

use std::sync::Arc;
use std::time::Duration;

use culex_codec::{PacketId, QoS};
use culex_core::client::{ClientError, Connection, Event, Message, Options, Publication, Session, Will};
use culex_core::{Client, Delivery, Gone};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::incoming::{Arrival, Done, Incoming, Unsettled};
use super::left::Waiting;
use super::local::{self, Local};
use super::outgoing::{Answer, Fate, Outgoing, Progress, Refused};
use super::pending::Pending;
use super::shared::Shared;
use super::subscriber::{Subscriber, Trouble};
use crate::integration::{Backoff, Direction, Outcome};

/// A connection that lasted for so long was a good one.
const STABLE: Duration = Duration::from_secs(30);
/// Time for CONNACK, as in AWS's own clients.
const CONNACK_TIMEOUT: Duration = Duration::from_secs(20);
/// Dead letters that are being kept; beyond it no message is taken.
const LETTERS_MAX: usize = 16;
/// The next attempt to keep a dead letter.
const LETTER_AGAIN: Duration = Duration::from_secs(10);
/// Between the first CONNECTs of several connections.
const STAGGER: Duration = Duration::from_millis(20);

/// What a bridge shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Be connected.
    Run,
    /// Be away; messages wait.
    Pause,
    /// End.
    Stop,
}

/// Why a connection to the other broker has ended.
#[derive(Debug)]
enum Ended {
    /// By order.
    Order,
    /// The local client has ended.
    Gone(Gone),
    /// By the other side, or by what it did.
    Lost(ClientError),
    /// By us, and why.
    GivenUp(String),
}

/// One connection of a bridge.
pub(super) struct Link {
    shared: Arc<Shared>,
    /// Which one, from 0; that one brings what comes in.
    index: u16,
    orders: watch::Receiver<Order>,
    backoff: Backoff,
    incoming: Incoming,
    outgoing: Outgoing,
    letters: Pending<Delivery>,
    session: Session,
    subscriber: Subscriber,
    /// Connections that ended soon after they had begun, one after another.
    short_lived: u32,
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, index: u16, orders: watch::Receiver<Order>) -> Self {
        let bridge = &shared.bridge;
        let backoff = Backoff::new(bridge.reconnect_min, bridge.reconnect_max, STABLE);
        let outgoing = Outgoing::new(shared.rules.clone());
        let subscriber = Subscriber::new(&shared, index);
        Self {
            index,
            orders,
            backoff,
            incoming: Incoming::default(),
            outgoing,
            letters: Pending::default(),
            session: Session::default(),
            subscriber,
            short_lived: 0,
            shared,
        }
    }

    /// Until it is ordered to stop, or the broker has stopped.
    pub(super) async fn run(mut self) {
        let mut again = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), STABLE);
        loop {
            let connected = tokio::select! {
                connected = local::connect(&self.shared, self.index) => connected,
                () = stopped(&mut self.orders) => return,
            };
            let gone = match connected {
                Ok(local) => {
                    again.connected(Instant::now());
                    match self.serve(local).await {
                        None => return,
                        Some(gone) => gone.to_string(),
                    }
                }
                Err(local::LocalError::Stopped) => return,
                Err(local::LocalError::Other(error)) => error,
            };
            again.lost(Instant::now());
            self.shared.link_is_down(self.index, &format!("the broker here: {gone}"));
            let delay = again.next_delay(self.shared.entropy());
            tokio::select! {
                () = sleep(delay) => {}
                () = stopped(&mut self.orders) => return,
            }
        }
    }

    /// With a local client; gives why that has ended, or `None` at the end of the bridge.
    async fn serve(&mut self, local: Local) -> Option<Gone> {
        let Local { client, inbox } = local;
        self.shared.put_client(self.index, client.clone());
        let mut waiting = Waiting::new(inbox, &self.shared, self.index);
        // What the last client brought comes again.
        self.incoming = Incoming::default();
        self.letters = Pending::default();
        self.outgoing = Outgoing::new(self.shared.rules.clone());
        self.session = Session::default();
        sleep(STAGGER * u32::from(self.index)).await;
        loop {
            let order = *self.orders.borrow_and_update();
            let delay = match order {
                Order::Stop => {
                    client.disconnect().await;
                    return None;
                }
                Order::Pause => {
                    self.shared.link_is_paused(self.index);
                    None
                }
                Order::Run => match self.attempt(&client, &mut waiting).await {
                    Ok(Some(delay)) => Some(delay),
                    // Ordered to do something else.
                    Ok(None) => continue,
                    Err(gone) => return (gone != Gone::Stopped).then_some(gone),
                },
            };
            if let Err(gone) = self.rest(delay, &client).await {
                return (gone != Gone::Stopped).then_some(gone);
            }
        }
    }

    /// Does nothing for a time, or until there is another order.
    async fn rest(&mut self, delay: Option<Duration>, client: &Client) -> Result<(), Gone> {
        let resting = async {
            match delay {
                Some(delay) => sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(resting);
        loop {
            tokio::select! {
                () = &mut resting => break,
                changed = self.orders.changed() => {
                    // Whoever gave orders is gone: the end.
                    if changed.is_err() { return Err(Gone::Stopped); }
                    break;
                }
                delivery = self.letters.next() => delivery.ack(),
                done = self.incoming.next() => self.settled_late(&done),
            }
        }
        client.ended().map_or(Ok(()), Err)
    }

    /// One connection from its beginning to its end; gives how long to wait for the next, `None` if there was an order.
    async fn attempt(&mut self, client: &Client, waiting: &mut Waiting) -> Result<Option<Duration>, Gone> {
        let opened = tokio::select! {
            opened = open(&self.shared, self.index, &self.outgoing, &mut self.session) => opened,
            _ = self.orders.changed() => return Ok(None),
        };
        let why = match opened {
            Ok((connection, address)) => {
                let began = Instant::now();
                self.backoff.connected(began);
                self.shared.link_is_up(self.index, &address);
                match self.talk(connection, client, waiting).await {
                    Ended::Order => {
                        // What is ordered is done next, and there it is said.
                        let is_pause = *self.orders.borrow() == Order::Pause;
                        if !is_pause {
                            self.shared.link_is_down(self.index, "by order");
                        }
                        return Ok(None);
                    }
                    Ended::Gone(gone) => return Err(gone),
                    Ended::GivenUp(why) => why,
                    Ended::Lost(error) => self.explain(&error, began),
                }
            }
            Err(why) => why,
        };
        self.backoff.lost(Instant::now());
        self.shared.meter().reconnected();
        self.shared.link_is_down(self.index, &why);
        let delay = self.backoff.next_delay(self.shared.entropy());
        tracing::info!(bridge = %self.shared.bridge.name, link = self.index, "{why}; again in {} ms", delay.as_millis());
        Ok(Some(delay))
    }

    /// A lost connection in words. Several that were short tell of another client with our ClientId.
    fn explain(&mut self, error: &ClientError, began: Instant) -> String {
        const SHORT: Duration = Duration::from_secs(10);
        let is_takeover = matches!(error, ClientError::Disconnected(reason) if reason.code == 0x8e);
        self.short_lived = if began.elapsed() < SHORT { self.short_lived + 1 } else { 0 };
        if is_takeover || self.short_lived >= 3 {
            let id = self.shared.client_id(self.index);
            return format!(
                "{error}, soon after it had accepted us: another client may use the client id \"{id}\" too, or a policy does \
                 not allow a topic"
            );
        }
        error.to_string()
    }

    async fn talk(&mut self, mut connection: Connection, client: &Client, waiting: &mut Waiting) -> Ended {
        self.begin(&mut connection);
        let ended = loop {
            match self.step(&mut connection, client, waiting).await {
                Ok(()) => {}
                Err(ended) => break ended,
            }
        };
        if matches!(ended, Ended::Order) {
            self.say_goodbye(&mut connection).await;
        }
        self.session = connection.into_session();
        if let Some(echoes) = self.shared.echoes.as_ref().filter(|_| self.index == 0) {
            echoes.lock().end();
        }
        let is_blamed = matches!(&ended, Ended::Lost(error) if is_blamed(error));
        if let Some(refused) = self.outgoing.end(is_blamed, &mut self.session) {
            self.refuse(refused);
        }
        // Nothing of it is acknowledged, so the other side sends it again.
        self.incoming = Incoming::default();
        self.shared.meter().set_in_flight(0);
        ended
    }

    fn begin(&mut self, connection: &mut Connection) {
        let is_session_present = connection.is_session_present();
        let window = self.outgoing.window();
        self.outgoing.begin(is_session_present, window);
        self.subscriber.begin(is_session_present);
        if let Some(echoes) = self.shared.echoes.as_ref().filter(|_| self.index == 0) {
            echoes.lock().begin(is_session_present, Instant::now());
        }
        if self.index == 0 && self.shared.bridge.notifies_remote() {
            // If it cannot be told, the Will says that we are gone.
            let _ = connection.publish(self.shared.remote_state(true));
        }
    }

    /// One thing that happens.
    async fn step(
        &mut self,
        connection: &mut Connection,
        client: &Client,
        waiting: &mut Waiting,
    ) -> Result<(), Ended> {
        let progress = self.outgoing.send(connection).map_err(Ended::Lost)?;
        let wake = self.progressed(progress)?;
        let subscribing = self.subscriber.step(connection, &self.shared).map_err(|error| match error {
            Trouble::Lost(error) => Ended::Lost(error),
            Trouble::Silent => Ended::GivenUp("the other broker does not answer SUBSCRIBE".to_owned()),
        })?;
        let wake = [wake, subscribing].into_iter().flatten().min();
        let alarm = async {
            match wake {
                Some(wake) => sleep_until(wake).await,
                None => std::future::pending().await,
            }
        };
        let wants_more =
            self.outgoing.wants_more() && self.letters.len() < LETTERS_MAX && connection.has_room();
        let has_room = self.incoming.has_room();
        tokio::select! {
            biased;
            changed = self.orders.changed() => {
                if changed.is_err() || *self.orders.borrow() != Order::Run { return Err(Ended::Order); }
            }
            done = self.incoming.next() => self.settled(&done, connection)?,
            delivery = self.letters.next() => delivery.ack(),
            event = connection.event(), if has_room => self.on_event(event.map_err(Ended::Lost)?, connection, client)?,
            () = alarm => {}
            delivery = waiting.next(), if wants_more => match delivery {
                Some(delivery) => self.on_delivery(delivery),
                None => return Err(Ended::Gone(client.ended().unwrap_or(Gone::Stopped))),
            },
        }
        Ok(())
    }

    fn on_delivery(&mut self, delivery: Delivery) {
        let bytes = delivery.payload.len();
        match self.outgoing.take(delivery, &self.shared.mappings) {
            Fate::Waits => {}
            Fate::Unplaced => self.shared.meter().count(Direction::Out, Outcome::Dropped, bytes),
            Fate::Refused(refused) => self.refuse(*refused),
        }
    }

    fn on_event(&mut self, event: Event, connection: &mut Connection, client: &Client) -> Result<(), Ended> {
        match event {
            Event::Message(message) => self.on_message(message, connection, client),
            Event::Published { packet_id, reason } => {
                let shared = Arc::clone(&self.shared);
                let meter = shared.meter();
                match self.outgoing.answered(packet_id, &reason) {
                    Answer::Taken(bytes, latency) => {
                        meter.count(Direction::Out, Outcome::Delivered, bytes);
                        meter.answered_in(latency);
                        self.short_lived = 0;
                    }
                    Answer::Refused(refused) => self.refuse(*refused),
                    Answer::Throttled => {
                        meter.throttled();
                        meter.count(Direction::Out, Outcome::Retried, 0);
                    }
                    Answer::Unknown => {}
                }
                meter.set_in_flight(self.outgoing.in_flight() as u64);
                Ok(())
            }
            Event::Subscribed { packet_id, codes, text } => {
                self.subscriber.answered(packet_id, &codes, text.as_deref(), &self.shared);
                Ok(())
            }
            Event::Unsubscribed { .. } | Event::Written => Ok(()),
        }
    }

    fn on_message(
        &mut self,
        message: Message,
        connection: &mut Connection,
        client: &Client,
    ) -> Result<(), Ended> {
        let (packet_id, bytes) = (message.packet_id, message.payload.len());
        match self.incoming.take(message, &self.shared, client) {
            Arrival::Taken => Ok(()),
            Arrival::Echo => acknowledge(connection, packet_id),
            Arrival::Unplaced => {
                self.shared.meter().count(Direction::In, Outcome::Dropped, bytes);
                acknowledge(connection, packet_id)
            }
        }
    }

    /// A message that came in is done with.
    fn settled(&mut self, done: &Done, connection: &mut Connection) -> Result<(), Ended> {
        match &done.outcome {
            Ok(outcome) => {
                self.shared.meter().count(Direction::In, *outcome, done.bytes);
                acknowledge(connection, done.packet_id)
            }
            Err(Unsettled::Gone(gone)) => Err(Ended::Gone(*gone)),
            Err(error @ Unsettled::Letter(_)) => Err(Ended::GivenUp(error.to_string())),
        }
    }

    /// The same when its connection is gone: it will come again.
    fn settled_late(&mut self, done: &Done) {
        if let Ok(outcome) = done.outcome {
            self.shared.meter().count(Direction::In, outcome, done.bytes);
        }
    }

    fn progressed(&mut self, progress: Progress) -> Result<Option<Instant>, Ended> {
        let meter = self.shared.meter();
        for bytes in progress.unpromised {
            meter.count(Direction::Out, Outcome::Delivered, bytes);
        }
        for _ in 0..progress.resent {
            meter.throttled();
            meter.count(Direction::Out, Outcome::Retried, 0);
        }
        meter.set_in_flight(self.outgoing.in_flight() as u64);
        if let Some(echoes) = self.shared.echoes.as_ref().filter(|_| !progress.sent.is_empty()) {
            let (mut echoes, now) = (echoes.lock(), Instant::now());
            for (topic, payload) in &progress.sent {
                if self.shared.mappings.comes_in(topic) {
                    echoes.sent(topic, payload, now);
                }
            }
        }
        for refused in progress.refused {
            self.refuse(refused);
        }
        if progress.is_stuck {
            self.shared.meter().throttled();
            return Err(Ended::GivenUp("the other broker does not answer PUBLISH".to_owned()));
        }
        Ok(progress.wake)
    }

    /// A message that the other side will never take: a dead letter, and acknowledged when that is kept.
    fn refuse(&mut self, refused: Refused) {
        let shared = Arc::clone(&self.shared);
        let Refused { delivery, letter } = refused;
        tracing::warn!(bridge = %shared.bridge.name, topic = %letter.topic, "a message becomes a dead letter: {}", letter.reason);
        self.letters.push(async move {
            while let Err(error) = shared.letters.put(&letter).await {
                tracing::error!(bridge = %shared.bridge.name, "a dead letter cannot be kept, so its message waits: {error}");
                sleep(LETTER_AGAIN).await;
            }
            shared.meter().count(Direction::Out, Outcome::DeadLettered, 0);
            delivery
        });
    }

    async fn say_goodbye(&mut self, connection: &mut Connection) {
        if self.index == 0 && self.shared.bridge.notifies_remote() {
            let _ = connection.publish(self.shared.remote_state(false));
        }
        // What is not said by then is left to the Will and the session.
        let _ = connection.say_goodbye().await;
    }
}

fn acknowledge(connection: &mut Connection, packet_id: Option<PacketId>) -> Result<(), Ended> {
    packet_id.map_or(Ok(()), |packet_id| connection.acknowledge(packet_id)).map_err(Ended::Lost)
}

/// Whether a message may have been the reason for the end: the other side closed the connection, and not for a reason that
/// is none of a message's.
fn is_blamed(error: &ClientError) -> bool {
    if let ClientError::Disconnected(reason) = error {
        // Malformed, protocol error, implementation specific, not authorized, topic, too large, format, retain, QoS.
        return matches!(reason.code, 0x80..=0x83 | 0x87 | 0x90 | 0x95 | 0x97 | 0x99..=0x9b);
    }
    matches!(error, ClientError::Closed | ClientError::Io(_))
}

/// Connects to the first address that can be reached; gives which.
async fn open(
    shared: &Shared,
    index: u16,
    outgoing: &Outgoing,
    session: &mut Session,
) -> Result<(Connection, String), String> {
    let mut why = "no address".to_owned();
    for address in &shared.bridge.addresses {
        let connector = shared.connector();
        let stream = match connector.connect(address).await {
            Ok(stream) => stream,
            Err(error) => {
                why = format!("cannot connect to {address}: {}", describe(&error));
                continue;
            }
        };
        let options = options(shared, index, outgoing.window(), address);
        return match Connection::resume_over(stream, &options, session).await {
            Ok(connection) => Ok((connection, address.to_string())),
            Err(error) => Err(format!("{address}: {}", explain_connect(shared, &error))),
        };
    }
    Err(why)
}

/// An error of the network in words.
fn describe(error: &std::io::Error) -> String {
    explain_tls(error).map_or_else(|| culex_core::client::describe_io(error), str::to_owned)
}

/// What a failed handshake means, without the options of a command that has another place for them.
fn explain_tls(error: &std::io::Error) -> Option<&'static str> {
    crate::tls::client::explain(error).and_then(|text| text.split(" (-").next())
}

/// What a refused CONNECT means.
fn explain_connect(shared: &Shared, error: &ClientError) -> String {
    // TLS 1.3 refuses a certificate when the handshake seems to be over.
    if let ClientError::Io(error) = error
        && explain_tls(error).is_some()
    {
        return describe(error);
    }
    let is_silent = matches!(error, ClientError::Closed | ClientError::Io(_));
    if shared.rules.is_aws && is_silent {
        // AIC-CON-12, AIC-TLS-09.
        return format!(
            "{error} without an answer to CONNECT: the policy may not allow this client id, or AWS does not know the \
             certificate, or it is not ACTIVE in this Region"
        );
    }
    error.to_string()
}

fn options(shared: &Shared, index: u16, window: u16, address: &crate::config::RemoteAddress) -> Options {
    let bridge = &shared.bridge;
    let mut options = Options::default();
    options.host.clone_from(&address.host);
    options.port = address.port_or_default(bridge.has_tls());
    options.version = bridge.protocol.version();
    options.client_id = shared.client_id(index);
    options.clean_session = bridge.clean_start == Some(true);
    options.keep_alive = u16::try_from(bridge.keep_alive.as_secs()).unwrap_or(u16::MAX);
    options.user_name.clone_from(&bridge.user);
    options.password.clone_from(&bridge.password);
    options.in_flight = window;
    options.is_manual_ack = true;
    options.receive_maximum = 100;
    options.packet_bytes_max = shared.packet_bytes_max;
    options.connect_timeout = CONNACK_TIMEOUT;
    options.is_bridge = bridge.try_private == Some(true) && !options.version.is_v5();
    if index == 0 && bridge.notifies_remote() {
        let Publication { topic, payload, .. } = shared.remote_state(false);
        options.will = Some(Will { topic, payload, qos: QoS::AtLeastOnce, is_retained: true });
    }
    options
}

/// Resolves when the bridge shall end.
async fn stopped(orders: &mut watch::Receiver<Order>) {
    // Whoever gave orders is gone: the end.
    let _ = orders.wait_for(|order| *order == Order::Stop).await;
}
