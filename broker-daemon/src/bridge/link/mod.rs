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

mod opening;
mod traffic;

use std::io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use culex_codec::PacketId;
use culex_core::client::{ClientError, Connection, Session};
use culex_core::{Client, Delivery, Gone};
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use self::opening::{Opened, open};
use super::incoming::Incoming;
use super::left::Waiting;
use super::local::{self, Local};
use super::loops::own_broker;
use super::outgoing::Outgoing;
use super::pending::Pending;
use super::shared::Shared;
use super::subscriber::{Subscriber, Trouble};
use crate::integration::Backoff;

/// A connection that lasted for so long was a good one.
const STABLE: Duration = Duration::from_secs(30);
/// Time for CONNACK, as in AWS's own clients.
const CONNACK_TIMEOUT: Duration = Duration::from_secs(20);
/// Dead letters that are being kept; beyond it no message is taken.
const LETTERS_MAX: usize = 16;
/// Messages that go out before answers are looked at.
const TOGETHER_MAX: usize = 64;
/// Time for what came over a connection that has ended; what takes longer may come twice.
const SETTLING: Duration = Duration::from_secs(10);
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

/// What follows a connection.
#[derive(Debug)]
enum Next {
    /// Another one, after so long.
    Again(Duration),
    /// What was ordered meanwhile.
    Ordered,
    /// Nothing, before somebody has changed something.
    GivenUp,
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
    /// What we have published ourselves and has no answer; no other connection sends it again, because the other side may
    /// close it for that.
    unanswered: Vec<PacketId>,
    /// The other side knows over this connection that we are there, or need not.
    is_announced: bool,
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
            unanswered: Vec::new(),
            is_announced: false,
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
        let mut is_paused = false;
        loop {
            let delay = match self.order() {
                Order::Stop => {
                    client.disconnect().await;
                    return None;
                }
                Order::Pause => {
                    self.shared.link_is_paused(self.index);
                    is_paused = true;
                    None
                }
                Order::Run if is_paused => {
                    self.shared.link_is_resumed(self.index);
                    self.subscriber.forgive();
                    is_paused = false;
                    continue;
                }
                Order::Run => match self.attempt(&client, &mut waiting).await {
                    Ok(Next::Again(delay)) => Some(delay),
                    Ok(Next::Ordered) => continue,
                    Ok(Next::GivenUp) => None,
                    Err(gone) => return (gone != Gone::Stopped).then_some(gone),
                },
            };
            if let Err(gone) = self.rest(delay, &client).await {
                return (gone != Gone::Stopped).then_some(gone);
            }
        }
    }

    /// What is to be done now. If whoever gave orders is gone: the end.
    fn order(&mut self) -> Order {
        if self.orders.has_changed().is_err() { Order::Stop } else { *self.orders.borrow_and_update() }
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
                _ = self.orders.changed() => break,
                delivery = self.letters.next() => delivery.ack(),
                done = self.incoming.next() => self.settled_late(&done),
            }
        }
        client.ended().map_or(Ok(()), Err)
    }

    /// One connection from its beginning to its end.
    async fn attempt(&mut self, client: &Client, waiting: &mut Waiting) -> Result<Next, Gone> {
        if !self.settle().await {
            return Ok(Next::Ordered);
        }
        let opened = tokio::select! {
            opened = open(&self.shared, self.index, &self.outgoing, &mut self.session) => opened,
            _ = self.orders.changed() => return Ok(Next::Ordered),
        };
        let why = match opened {
            Ok(mut opened) => {
                if is_ours(&self.shared, self.index, opened.our_end).await {
                    let _ = opened.connection.say_goodbye().await;
                    self.session = opened.connection.into_session();
                    let why = format!(
                        "the address {} leads to this broker itself: `address` must be that of another one; nothing is sent \
                         or fetched until that is changed",
                        opened.address
                    );
                    tracing::error!(bridge = %self.shared.bridge.name, link = self.index, "{why}");
                    self.shared.link_is_given_up(self.index, &why);
                    return Ok(Next::GivenUp);
                }
                let Opened { connection, address, .. } = opened;
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
                        return Ok(Next::Ordered);
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
        Ok(Next::Again(delay))
    }

    /// What came over the last connection and is still being published here is waited for: the next one brings it again,
    /// and then it must be known. False if there is another order.
    async fn settle(&mut self) -> bool {
        let enough = sleep(SETTLING);
        tokio::pin!(enough);
        while !self.incoming.is_empty() {
            tokio::select! {
                biased;
                _ = self.orders.changed() => return false,
                done = self.incoming.next() => self.settled_late(&done),
                () = &mut enough => self.incoming = Incoming::default(),
            }
        }
        true
    }

    /// A lost connection in words. Several that were short tell of another client with our ClientId.
    fn explain(&mut self, error: &ClientError, began: Instant) -> String {
        const SHORT: Duration = Duration::from_secs(10);
        let is_takeover = matches!(error, ClientError::Disconnected(reason) if reason.code == 0x8e);
        self.short_lived = if began.elapsed() < SHORT { self.short_lived + 1 } else { 0 };
        if let Some(filters) = self.subscriber.asked_for().filter(|_| is_blamed(error)) {
            return format!(
                "{error}, without an answer to SUBSCRIBE {filters}: a policy may not allow a filter"
            );
        }
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
        for packet_id in self.unanswered.drain(..) {
            self.session.give_up(packet_id);
        }
        if let Some(echoes) = self.shared.echoes.as_ref().filter(|_| self.index == 0) {
            echoes.lock().end();
        }
        let is_blamed = matches!(&ended, Ended::Lost(error) if is_blamed(error));
        if self.subscriber.end(is_blamed, &self.shared) {
            // What was wrong is found.
            self.backoff.reset();
        }
        if let Some(refused) = self.outgoing.end(is_blamed, &mut self.session) {
            self.refuse(refused);
        }
        self.shared.meter().set_in_flight(0);
        ended
    }

    fn begin(&mut self, connection: &mut Connection) {
        let is_session_present = connection.is_session_present();
        let window = self.outgoing.window();
        self.outgoing.begin(is_session_present, window);
        self.subscriber.begin(is_session_present, &self.shared);
        if let Some(echoes) = self.shared.echoes.as_ref().filter(|_| self.index == 0) {
            echoes.lock().begin(is_session_present, Instant::now());
        }
        self.is_announced = self.index != 0 || !self.shared.bridge.notifies_remote();
    }

    /// Says what the other side has to hear beside messages; gives when to look again.
    fn introduce(&mut self, connection: &mut Connection) -> Result<Option<Instant>, Ended> {
        if self.outgoing.has_suspect() {
            return Ok(None);
        }
        let in_flight = self.outgoing.in_flight();
        let wake =
            self.subscriber.step(connection, in_flight, &self.shared).map_err(|error| match error {
                Trouble::Lost(error) => Ended::Lost(error),
                Trouble::Silent => Ended::GivenUp("the other broker does not answer SUBSCRIBE".to_owned()),
            })?;
        if !self.is_announced && !self.subscriber.is_alone() {
            // If it cannot be told, the Will says that we are gone.
            let told = connection.publish(self.shared.remote_state(true));
            self.is_announced = !matches!(told, Err(ClientError::WindowFull));
            self.unanswered.extend(told.ok().flatten());
        }
        Ok(wake)
    }

    /// One thing that happens.
    async fn step(
        &mut self,
        connection: &mut Connection,
        client: &Client,
        waiting: &mut Waiting,
    ) -> Result<(), Ended> {
        if !self.incoming.has_room() {
            return self.hold(connection).await;
        }
        let subscribing = self.introduce(connection)?;
        let wake = if self.subscriber.is_alone() { None } else { self.send(connection)? };
        let wake = [wake, subscribing].into_iter().flatten().min();
        let alarm = async {
            match wake {
                Some(wake) => sleep_until(wake).await,
                None => std::future::pending().await,
            }
        };
        let wants_more = self.wants_more(connection);
        tokio::select! {
            biased;
            _ = self.orders.changed() => self.ordered()?,
            done = self.incoming.next() => self.settled(&done, connection)?,
            delivery = self.letters.next() => delivery.ack(),
            event = connection.event() => self.on_event(event.map_err(Ended::Lost)?, connection, client)?,
            () = alarm => {}
            delivery = waiting.next(), if wants_more => match delivery {
                Some(delivery) => self.on_deliveries(delivery, connection, waiting)?,
                None => return Err(Ended::Gone(client.ended().unwrap_or(Gone::Stopped))),
            },
        }
        Ok(())
    }

    fn send(&mut self, connection: &mut Connection) -> Result<Option<Instant>, Ended> {
        let progress = self.outgoing.send(connection).map_err(Ended::Lost)?;
        self.progressed(progress)
    }

    fn wants_more(&self, connection: &Connection) -> bool {
        !self.subscriber.is_alone()
            && self.outgoing.wants_more()
            && self.letters.len() < LETTERS_MAX
            && connection.has_room()
    }

    /// One that was waited for, and those behind it that are there: what is handed over before the connection is looked at
    /// again is written at once.
    fn on_deliveries(
        &mut self,
        first: Delivery,
        connection: &mut Connection,
        waiting: &mut Waiting,
    ) -> Result<(), Ended> {
        self.on_delivery(first, connection);
        for _ in 1..TOGETHER_MAX {
            self.send(connection)?;
            if !self.wants_more(connection) {
                break;
            }
            // Whoever waits for one hears of the end of the client.
            let Some(Some(delivery)) = waiting.next().now_or_never() else { break };
            self.on_delivery(delivery, connection);
        }
        Ok(())
    }

    /// There may be another order.
    fn ordered(&mut self) -> Result<(), Ended> {
        if self.order() == Order::Run { Ok(()) } else { Err(Ended::Order) }
    }

    /// Nothing more fits in here, so nothing is read until it does. The other side is not to blame for that time.
    async fn hold(&mut self, connection: &mut Connection) -> Result<(), Ended> {
        let began = Instant::now();
        while !self.incoming.has_room() {
            tokio::select! {
                biased;
                _ = self.orders.changed() => self.ordered()?,
                done = self.incoming.next() => self.settled(&done, connection)?,
                delivery = self.letters.next() => delivery.ack(),
                error = connection.hold() => return Err(Ended::Lost(error)),
            }
        }
        let held = began.elapsed();
        self.outgoing.held(held);
        self.subscriber.held(held);
        Ok(())
    }

    async fn say_goodbye(&mut self, connection: &mut Connection) {
        if self.index == 0 && self.shared.bridge.notifies_remote() {
            let _ = connection.publish(self.shared.remote_state(false));
        }
        // What is not said by then is left to the Will and the session.
        let _ = connection.say_goodbye().await;
    }
}

/// Whether a message may have been the reason for the end: the other side closed the connection, and not for a reason that
/// is none of a message's.
fn is_blamed(error: &ClientError) -> bool {
    if let ClientError::Disconnected(reason) = error {
        // Malformed, protocol error, implementation specific, not authorized, topic, too large, format, retain, QoS.
        return matches!(reason.code, 0x80..=0x83 | 0x87 | 0x90 | 0x95 | 0x97 | 0x99..=0x9b);
    }
    // Of a network that is gone nobody over there knows.
    let is_theirs = |kind| !matches!(kind, TimedOut | HostUnreachable | NetworkUnreachable | NetworkDown);
    matches!(error, ClientError::Closed) || matches!(error, ClientError::Io(error) if is_theirs(error.kind()))
}

/// Whether a connection leads to the broker here.
async fn is_ours(shared: &Shared, index: u16, our_end: Option<SocketAddr>) -> bool {
    match our_end {
        Some(our_end) => own_broker(&shared.admin, &shared.client_id(index), our_end).await,
        None => false,
    }
}

/// Resolves when the bridge shall end.
async fn stopped(orders: &mut watch::Receiver<Order>) {
    // Whoever gave orders is gone: the end.
    let _ = orders.wait_for(|order| *order == Order::Stop).await;
}
