//! Everything before a session: accept, the CONNECT packet, and the deadline for both. Whoever does not get past
//! here never reaches a shard.
//!
//! ```text
//!   accept ─► read once ── CONNECT is there, nobody to ask ──────────────────────────────► lane
//!                 └─ else a task: rest of CONNECT ─► hooks ─► admitted ──────────────────► lane
//!                                                      └─ turn_away: told, counted, closed
//! ```
//!
//! Before CONNECT, and within the same time, comes what the listener wants, from outside to inside:
//!
//! ```text
//!   socket ─► proxy: whom it speaks for ─► secure: handshake of TLS ─► upgrade: WebSocket ─► CONNECT
//! ```

mod connect;
mod proxy;
#[cfg(feature = "tls")]
mod secure;
mod turn_away;
#[cfg(feature = "websocket")]
mod upgrade;

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::engine::shard::{Event, shard_of};
use crate::engine::{Admission, Terms};
use crate::limits::Limits;

use super::admit::{Permit, Rooms};
use super::events::EventHub;
use super::hooks::Hooks;
use super::lane::{LaneMessage, Newcomer};
use super::listener::{Entrance, INHERITS_NODELAY, ListeningSocket};
use super::mailbox::Mailbox;
use super::metrics::Metrics;
use super::peer::Peer;
use super::socket::{Socket, Waiting};
use super::sync::RwLock;
use super::transport::Transport;

use self::connect::{Arrival, Beginning};
use self::turn_away::Turned;

/// Pause after a failed accept, for example because no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that was accepted.
struct Caller {
    peer: Peer,
    /// Where it came in; a stream that was handed over came in nowhere.
    entrance: Option<Arc<Entrance>>,
    /// Its place in the order of all.
    number: u64,
    /// When it must have come in.
    deadline: Deadline,
    /// The limits of everybody, as they were when it came.
    all: Arc<Limits>,
}

/// The end of the time that a connection has to come in.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    fn after(allowed: Duration) -> Self {
        Self { at: Instant::now() + allowed, allowed }
    }

    /// What comes of `step` within the time; `late` otherwise.
    async fn keep<T>(
        self,
        step: impl Future<Output = Result<T, Turned>>,
        late: fn(Duration) -> Turned,
    ) -> Result<T, Turned> {
        timeout_at(self.at, step).await.unwrap_or_else(|_| Err(late(self.allowed)))
    }
}

impl Caller {
    /// What holds for it, if that is other than for everybody.
    fn terms(&self) -> Option<&Arc<Terms>> {
        self.entrance.as_ref()?.terms.as_ref()
    }

    /// The limits that hold for it.
    fn limits(&self) -> &Limits {
        self.terms().map_or(&self.all, |terms| terms.limits_or(&self.all))
    }
}

/// What all listeners of a broker share.
pub(crate) struct FrontDoor {
    /// Those of who comes in now.
    pub(crate) limits: RwLock<Arc<Limits>>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lanes: Vec<Arc<Mailbox<LaneMessage>>>,
    pub(crate) hash_keys: (u64, u64),
    pub(crate) accepted: AtomicU64,
    pub(crate) events: Weak<EventHub>,
    pub(crate) hooks: Arc<Hooks>,
}

impl FrontDoor {
    /// Accepts at `socket`, which belongs to `entrance` as it is when somebody comes, until `closing` is true or its sender is gone. Then the address is
    /// free, and every connection that has not come to its lane is closed.
    pub(crate) async fn accept(
        self: Arc<Self>,
        socket: ListeningSocket,
        entrance: watch::Receiver<Arc<Entrance>>,
        mut closing: watch::Receiver<bool>,
    ) {
        let mut entering = JoinSet::new();
        tokio::select! {
            () = self.accept_into(&socket, &entrance, &mut entering) => {}
            () = async { let _ = closing.wait_for(|is_closing| *is_closing).await; } => {}
        }
        drop(socket);
        entering.shutdown().await;
    }

    async fn accept_into(
        self: &Arc<Self>,
        socket: &ListeningSocket,
        entrance: &watch::Receiver<Arc<Entrance>>,
        entering: &mut JoinSet<()>,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                Some(_) = entering.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let entrance = Arc::clone(&entrance.borrow());
                    self.enter(stream, peer, &entrance, entering);
                }
                // That one is gone already; the next may be there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.metrics.front_door.accept_errors.fetch_add(1, Ordering::Relaxed);
                    warn!(%error, "cannot accept connections for the moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn enter(
        self: &Arc<Self>,
        socket: Socket,
        peer: Peer,
        entrance: &Arc<Entrance>,
        entering: &mut JoinSet<()>,
    ) {
        let peer = peer.through(entrance.number);
        if !entrance.listener.admits(peer.address) {
            self.metrics.front_door.proxy_refused.fetch_add(1, Ordering::Relaxed);
            warn!(%peer, "connection closed: only proxies may connect here (proxy_protocol), and this is none of them");
            return;
        }
        let Ok((number, permit)) = self.number_and_permit(&peer, Some(entrance)) else { return };
        let caller = self.caller(peer, number, Some(Arc::clone(entrance)));
        if !INHERITS_NODELAY {
            // Small packets in both directions; the end of a turn is where we collect them.
            let _ = socket.set_nodelay();
        }
        if entrance.listener.is_plain() {
            self.enter_plain(socket, caller, permit, entering);
        } else {
            let (front_door, entrance) = (Arc::clone(self), Arc::clone(entrance));
            entering
                .spawn(async move { front_door.receive_layered(socket, caller, permit, &entrance).await });
        }
    }

    fn enter_plain(
        self: &Arc<Self>,
        mut socket: Socket,
        caller: Caller,
        permit: Permit,
        entering: &mut JoinSet<()>,
    ) {
        let mut beginning = self.begin();
        match self.read_at_once(&mut socket, &mut beginning, &caller) {
            Ok(Some(arrival)) if !self.is_asked(&arrival) => {
                self.hand_over(Transport::Socket(socket), arrival.admission, arrival.unread, permit);
            }
            begun => {
                let front_door = Arc::clone(self);
                entering.spawn(async move {
                    let Some(stream) = to_waiting(socket, &caller) else { return };
                    front_door.receive_stream(stream, caller, permit, beginning, begun).await;
                });
            }
        }
    }

    /// From now on its time runs.
    fn caller(&self, peer: Peer, number: u64, entrance: Option<Arc<Entrance>>) -> Caller {
        let all = self.limits();
        let deadline = Deadline::after(
            entrance.as_ref().map_or(&*all, |entrance| Terms::limits(&entrance.terms, &all)).connect_timeout,
        );
        Caller { peer, entrance, number, deadline, all }
    }

    /// Those of everybody who comes in now.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read())
    }

    /// A client often has sent CONNECT by the time that it is accepted: that is one system call, and no task.
    /// `Ok(None)` if something is still to come.
    fn read_at_once(
        &self,
        socket: &mut Socket,
        beginning: &mut Beginning,
        caller: &Caller,
    ) -> Result<Option<Arrival>, Turned> {
        match socket.read(self.room(beginning, caller)?) {
            Ok(0) => Err(Turned::Gone),
            Ok(count) => self.examine(beginning, count, caller),
            // Whatever else is wrong with it, the next read says so again.
            Err(_) => Ok(None),
        }
    }

    /// A connection whose listener wants something before CONNECT.
    async fn receive_layered(
        &self,
        socket: Socket,
        mut caller: Caller,
        mut permit: Permit,
        entrance: &Entrance,
    ) {
        let Some(mut stream) = to_waiting(socket, &caller) else { return };
        let mut beginning = self.begin();
        if entrance.listener.has_proxies() {
            let deadline = caller.deadline;
            let introduced = self.introduce(&mut stream, &mut caller, &mut permit, &mut beginning);
            if let Err(turned) = deadline.keep(introduced, Turned::Late).await {
                self.note_turned(&caller.peer, &turned);
                return;
            }
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &entrance.listener.tls {
            let secured = self.receive_tls(stream, &caller, &mut beginning, tls).await;
            if let Some(stream) = secured {
                self.receive_inner(stream, caller, permit, beginning, entrance).await;
            }
            return;
        }
        self.receive_inner(stream, caller, permit, beginning, entrance).await;
    }

    /// A connection that is secured, if its listener wants that.
    async fn receive_inner<S: IntoTransport>(
        &self,
        #[cfg_attr(not(feature = "websocket"), expect(unused_mut, reason = "an upgrade reads from it"))]
        mut stream: S,
        caller: Caller,
        permit: Permit,
        #[cfg_attr(not(feature = "websocket"), expect(unused_mut, reason = "an upgrade counts there"))]
        mut beginning: Beginning,
        #[cfg_attr(
            not(feature = "websocket"),
            expect(unused_variables, reason = "it says whether to upgrade")
        )]
        entrance: &Entrance,
    ) {
        #[cfg(feature = "websocket")]
        if let Some(settings) = &entrance.listener.websocket {
            let upgraded = self.upgrade(&mut stream, settings, &mut beginning);
            match caller.deadline.keep(upgraded, Turned::Late).await {
                Ok(()) => {
                    let stream = upgrade::Upgraded::new(stream);
                    self.receive_stream(stream, caller, permit, beginning, Ok(None)).await;
                }
                Err(turned) => self.turn_away(stream, &caller.peer, &turned).await,
            }
            return;
        }
        self.receive_stream(stream, caller, permit, beginning, Ok(None)).await;
    }

    /// A connection that goes on with CONNECT.
    async fn receive_stream<S: IntoTransport>(
        &self,
        stream: S,
        caller: Caller,
        permit: Permit,
        beginning: Beginning,
        begun: Result<Option<Arrival>, Turned>,
    ) {
        let received = self.receive_rest(stream, &caller, beginning, begun).await;
        let Some((stream, admission, unread)) = received else { return };
        match stream.into_transport() {
            Ok(transport) => self.hand_over(transport, admission, unread, permit),
            Err(error) => warn!(peer = %caller.peer, %error, "connection lost on its way to its session"),
        }
    }

    /// Reads CONNECT from a stream that was not looked at. Gives it back with what was read behind it, or `None` if it
    /// does not get in.
    pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        peer: &Peer,
        number: u64,
    ) -> Option<(S, Admission, Vec<u8>)> {
        self.receive_rest(stream, &self.caller(peer.clone(), number, None), self.begin(), Ok(None)).await
    }

    /// The place of a new connection in the order of all, and its room; or the limit that is in the way, which is
    /// counted and told.
    pub(crate) fn number_and_permit(
        &self,
        peer: &Peer,
        entrance: Option<&Arc<Entrance>>,
    ) -> Result<(u64, Permit), &'static str> {
        self.metrics.front_door.sockets_total.fetch_add(1, Ordering::Relaxed);
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        // What comes through a proxy counts for its client, when that is known.
        let address =
            peer.address.filter(|_| !entrance.is_some_and(|entrance| entrance.listener.has_proxies()));
        match self.rooms.enter(address, entrance) {
            Ok(permit) => Ok((number, permit)),
            Err(limit) => {
                self.metrics.front_door.sockets_refused.fetch_add(1, Ordering::Relaxed);
                warn!(%peer, limit, "connection closed: too many");
                Err(limit)
            }
        }
    }

    /// Gives an admitted connection to the lane of its session.
    pub(crate) fn hand_over(
        &self,
        transport: Transport,
        admission: Admission,
        unread: Vec<u8>,
        permit: Permit,
    ) {
        let count = u16::try_from(self.lanes.len()).unwrap_or(u16::MAX);
        let shard = shard_of(&admission.client_id, self.hash_keys, count);
        if let Some(lane) = self.lanes.get(usize::from(shard.0)) {
            let newcomer = Newcomer { transport, admission, unread, permit };
            lane.send([LaneMessage::Attach(Box::new(newcomer))], 0);
        }
    }

    fn tell(&self, event: Event) {
        // Without lanes nobody is left to be told.
        if let Some(hub) = self.events.upgrade() {
            hub.tell(event);
        }
    }
}

/// What CONNECT is read from, and a lane reads and writes later.
trait IntoTransport: AsyncRead + AsyncWrite + Unpin {
    /// For a lane.
    fn into_transport(self) -> io::Result<Transport>;
}

impl IntoTransport for Waiting {
    fn into_transport(self) -> io::Result<Transport> {
        self.into_socket().map(Transport::Socket)
    }
}

/// For a task that waits for it.
fn to_waiting(socket: Socket, caller: &Caller) -> Option<Waiting> {
    let waiting = socket.into_waiting();
    waiting.inspect_err(|error| warn!(peer = %caller.peer, %error, "connection lost before CONNECT")).ok()
}

/// A ClientId that nobody can guess or has already [MQTT-3.1.3-6].
pub(crate) fn generated_client_id() -> Box<str> {
    let mut random = [0; 12];
    if getrandom::fill(&mut random).is_err() {
        // Without a source of random numbers the broker does not start, so this is out of reach; a counter would
        // still be unique.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        random = [0; 12];
        random.iter_mut().zip(next.to_le_bytes()).for_each(|(to, from)| *to = from);
    }
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("auto-{hex}").into()
}
