//! Everything before a session: accept, the CONNECT packet, and the deadline for both. Whoever does not get past
//! here never reaches a shard.
//!
//! ```text
//!   accept ─► read once ── CONNECT is there, nobody to ask ──────────────────────────────► lane
//!                 └─ else a task: rest of CONNECT ─► hooks ─► admitted ──────────────────► lane
//!                                                      └─ turn_away: told, counted, closed
//! ```
//!
//! A listener may secure its connections ([`secure`]): then the handshake comes first, within the same time.

mod connect;
#[cfg(feature = "tls")]
mod secure;
mod turn_away;

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
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
    deadline: Instant,
}

impl Caller {
    /// What holds for it, if that is other than for everybody.
    fn terms(&self) -> Option<&Arc<Terms>> {
        self.entrance.as_ref()?.terms.as_ref()
    }
}

/// What all listeners of a broker share.
pub(crate) struct FrontDoor {
    pub(crate) limits: Limits,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lanes: Vec<Arc<Mailbox<LaneMessage>>>,
    pub(crate) hash_keys: (u64, u64),
    pub(crate) accepted: AtomicU64,
    pub(crate) events: Weak<EventHub>,
    pub(crate) hooks: Arc<Hooks>,
}

impl FrontDoor {
    /// Accepts at `socket`, which belongs to `entrance`, until `closing` is true or its sender is gone. Then the address is
    /// free, and every connection that has not come to its lane is closed.
    pub(crate) async fn accept(
        self: Arc<Self>,
        socket: ListeningSocket,
        entrance: Arc<Entrance>,
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
        entrance: &Arc<Entrance>,
        entering: &mut JoinSet<()>,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = socket.async_io(Interest::READABLE, mio::net::TcpListener::accept) => accepted,
                Some(_) = entering.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.enter(stream, Peer::from(peer), entrance, entering);
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
        stream: mio::net::TcpStream,
        peer: Peer,
        entrance: &Arc<Entrance>,
        entering: &mut JoinSet<()>,
    ) {
        let peer = peer.through(entrance.number);
        let Ok((number, permit)) = self.number_and_permit(&peer) else { return };
        let caller = self.caller(peer, number, Some(Arc::clone(entrance)));
        if !INHERITS_NODELAY {
            // Small packets in both directions; the end of a turn is where we collect them.
            let _ = stream.set_nodelay(true);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = entrance.listener.tls.clone() {
            let front_door = Arc::clone(self);
            entering.spawn(async move { front_door.receive_tls(stream, caller, permit, tls).await });
            return;
        }
        self.enter_plain(stream, caller, permit, entering);
    }

    fn enter_plain(
        self: &Arc<Self>,
        mut stream: mio::net::TcpStream,
        caller: Caller,
        permit: Permit,
        entering: &mut JoinSet<()>,
    ) {
        let mut beginning = self.begin();
        match self.read_at_once(&mut stream, &mut beginning, &caller) {
            Ok(Some(arrival)) if !self.is_asked(&arrival) => {
                self.hand_over(Transport::Tcp(stream), arrival.admission, arrival.unread, permit);
            }
            begun => {
                let front_door = Arc::clone(self);
                entering.spawn(async move {
                    front_door.receive_tcp(stream, caller, permit, beginning, begun).await;
                });
            }
        }
    }

    /// From now on its time runs.
    fn caller(&self, peer: Peer, number: u64, entrance: Option<Arc<Entrance>>) -> Caller {
        let caller = Caller { peer, entrance, number, deadline: Instant::now() };
        let deadline = caller.deadline + self.limits(&caller).connect_timeout;
        Caller { deadline, ..caller }
    }

    /// What holds for it.
    fn limits<'a>(&'a self, caller: &'a Caller) -> &'a Limits {
        caller.terms().map_or(&self.limits, |terms| &terms.limits)
    }

    /// A client often has sent CONNECT by the time that it is accepted: that is one system call, and no task.
    /// `Ok(None)` if something is still to come.
    fn read_at_once(
        &self,
        stream: &mut mio::net::TcpStream,
        beginning: &mut Beginning,
        caller: &Caller,
    ) -> Result<Option<Arrival>, Turned> {
        match stream.read(self.room(beginning, caller)?) {
            Ok(0) => Err(Turned::Gone),
            Ok(count) => self.examine(beginning, count, caller),
            // Whatever else is wrong with it, the next read says so again.
            Err(_) => Ok(None),
        }
    }

    async fn receive_tcp(
        &self,
        stream: mio::net::TcpStream,
        caller: Caller,
        permit: Permit,
        beginning: Beginning,
        begun: Result<Option<Arrival>, Turned>,
    ) {
        let Some(waiting) = to_tokio(stream, &caller) else { return };
        let received = self.receive_rest(waiting, &caller, beginning, begun).await;
        let Some((stream, admission, unread)) = received else { return };
        if let Some(stream) = to_mio(stream, &caller) {
            self.hand_over(Transport::Tcp(stream), admission, unread, permit);
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
    pub(crate) fn number_and_permit(&self, peer: &Peer) -> Result<(u64, Permit), &'static str> {
        self.metrics.front_door.sockets_total.fetch_add(1, Ordering::Relaxed);
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        match self.rooms.enter(peer.address) {
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

/// For a task that waits for it.
fn to_tokio(stream: mio::net::TcpStream, caller: &Caller) -> Option<TcpStream> {
    TcpStream::from_std(stream.into())
        .inspect_err(|error| warn!(peer = %caller.peer, %error, "connection lost before CONNECT"))
        .ok()
}

/// For a lane.
fn to_mio(stream: TcpStream, caller: &Caller) -> Option<mio::net::TcpStream> {
    let stream = stream
        .into_std()
        .inspect_err(|error| warn!(peer = %caller.peer, %error, "connection lost on its way to its session"));
    stream.ok().map(mio::net::TcpStream::from_std)
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
