//! Everything before a session: accept, the CONNECT packet, and the deadline for both. Whoever does not get past
//! here never reaches a shard.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use culex_codec::{Connect, DecodeError, Decoded, Packet, PacketType, ProtocolVersion, ReasonCode, decode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use crate::engine::error::{Refusal, statement_of};
use crate::engine::shard::{Event, shard_of};
use crate::engine::{Admission, TopicLimits, admit};
use crate::limits::Limits;

use super::admit::{Permit, PreAuthBytes, Rooms};
use super::events::EventHub;
use super::hooks::{Hooks, Login};
use super::lane::{LaneMessage, Newcomer};
use super::mailbox::Mailbox;
use super::metrics::Metrics;
use super::peer::Peer;
use super::refuse::connack_bytes;
use super::transport::Transport;

/// Pause after a failed accept, for example because no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a refused client has to read its CONNACK.
const LINGER: Duration = Duration::from_secs(1);
const READ_CHUNK: usize = 1024;

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

/// A CONNECT that is complete, and what follows it.
struct Arrival {
    admission: Admission,
    login: Option<Login>,
    unread: Vec<u8>,
    /// Until it is admitted.
    budget: PreAuthBytes,
}

/// Why a connection did not get in.
#[derive(Debug, thiserror::Error)]
enum Turned {
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    #[error("the first packet is not CONNECT [MQTT-3.1.0-1]")]
    NotConnect,
    #[error("{refusal}")]
    Refused { refusal: Refusal, version: ProtocolVersion, client_id: Box<str> },
    #[error("{refusal}")]
    NotAdmitted {
        refusal: Refusal,
        version: ProtocolVersion,
        client_id: Box<str>,
        user_name: Option<Box<str>>,
    },
    #[error("more than {0} bytes before CONNECT was complete (limit {1})")]
    OverBudget(u64, &'static str),
    #[error("closed before CONNECT")]
    Gone,
    #[error("no CONNECT within {0:?} (limit connect_timeout)")]
    Late(Duration),
}

impl FrontDoor {
    /// Accepts until `closing` is true or its sender is gone. Then the address is free, and every connection that has
    /// not come to its lane is closed.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener, mut closing: watch::Receiver<bool>) {
        let mut entering = JoinSet::new();
        tokio::select! {
            () = self.accept_into(&listener, &mut entering) => {}
            () = async { let _ = closing.wait_for(|is_closing| *is_closing).await; } => {}
        }
        drop(listener);
        entering.shutdown().await;
    }

    async fn accept_into(self: &Arc<Self>, listener: &TcpListener, entering: &mut JoinSet<()>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = entering.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => self.enter(stream, peer, entering),
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

    fn enter(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, entering: &mut JoinSet<()>) {
        let peer = Peer::from(peer);
        let Ok((number, permit)) = self.number_and_permit(&peer) else { return };
        let front_door = Arc::clone(self);
        entering.spawn(async move {
            // Small packets in both directions; the end of a turn is where we collect them.
            let _ = stream.set_nodelay(true);
            if let Some((stream, admission, unread)) = front_door.receive(stream, &peer, number).await {
                front_door.attach(stream, admission, unread, permit);
            }
        });
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

    /// Reads CONNECT. Gives the stream back with what was read behind it, or `None` if it does not get in.
    pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        peer: &Peer,
        number: u64,
    ) -> Option<(S, Admission, Vec<u8>)> {
        let timeout = self.limits.connect_timeout;
        let deadline = Instant::now() + timeout;
        let result = match timeout_at(deadline, self.read_connect(&mut stream, peer, number)).await {
            Ok(Ok(arrival)) => self.ask_hooks(arrival, deadline).await,
            Ok(Err(turned)) => Err(turned),
            Err(_) => Err(Turned::Late(timeout)),
        };
        match result {
            Ok((admission, unread)) => Some((stream, admission, unread)),
            Err(turned) => {
                self.turn_away(stream, peer, turned).await;
                None
            }
        }
    }

    async fn read_connect<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        peer: &Peer,
        accept_number: u64,
    ) -> Result<Arrival, Turned> {
        let mut budget = self.rooms.pre_auth();
        let mut bytes = Vec::new();
        loop {
            let mut chunk = [0; READ_CHUNK];
            // What follows a CONNECT of the allowed size does not count: it stays where it is.
            let left = (self.limits.pre_auth_bytes as usize).saturating_sub(bytes.len());
            let room = chunk.get_mut(..left.min(READ_CHUNK)).unwrap_or_default();
            if room.is_empty() {
                return Err(Turned::OverBudget(u64::from(self.limits.pre_auth_bytes), "pre_auth_bytes"));
            }
            let count = match stream.read(room).await {
                Ok(0) | Err(_) => return Err(Turned::Gone),
                Ok(count) => count,
            };
            if !budget.grow(count as u64) {
                return Err(Turned::OverBudget(
                    self.limits.pre_auth_total_bytes.get(),
                    "pre_auth_total_bytes",
                ));
            }
            bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
            // Before anything else, and before anything is kept for it: is it a CONNECT?
            if bytes.first().is_some_and(|first| first >> 4 != PacketType::Connect as u8) {
                return Err(Turned::NotConnect);
            }
            let max = self.limits.pre_auth_bytes.min(self.limits.packet_bytes);
            match decode(&bytes, ProtocolVersion::V311, max)? {
                Decoded::Incomplete { .. } => {}
                Decoded::Packet { packet: Packet::Connect(connect), len } => {
                    let admission = self.admit(&connect, peer, accept_number)?;
                    let login = self.hooks.login(&admission, connect.password);
                    let unread = bytes.get(len..).unwrap_or_default().to_vec();
                    return Ok(Arrival { admission, login, unread, budget });
                }
                Decoded::Packet { .. } => return Err(Turned::NotConnect),
            }
        }
    }

    async fn ask_hooks(&self, arrival: Arrival, deadline: Instant) -> Result<(Admission, Vec<u8>), Turned> {
        let Arrival { mut admission, login, unread, budget } = arrival;
        let result = self.hooks.admit(&mut admission, login, deadline).await;
        drop(budget);
        match result {
            Ok(()) => Ok((admission, unread)),
            Err(refusal) => {
                let Admission { version, client_id, user_name, .. } = admission;
                Err(Turned::NotAdmitted { refusal, version, client_id, user_name })
            }
        }
    }

    fn admit(&self, connect: &Connect<'_>, peer: &Peer, number: u64) -> Result<Admission, Turned> {
        let limits = TopicLimits::from(&self.limits);
        admit(connect, generated_client_id, &limits, number, peer.label.clone()).map_err(|refusal| {
            let client_id = connect.client_id.as_str().into();
            Turned::Refused { refusal, version: connect.version, client_id }
        })
    }

    fn attach(&self, stream: TcpStream, admission: Admission, unread: Vec<u8>, permit: Permit) {
        let transport = match stream.into_std() {
            Ok(stream) => Transport::Tcp(mio::net::TcpStream::from_std(stream)),
            Err(error) => {
                warn!(peer = %admission.peer, %error, "connection lost on its way to its session");
                return;
            }
        };
        self.hand_over(transport, admission, unread, permit);
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

    async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, peer: &Peer, turned: Turned) {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let cells = &self.metrics.front_door;
        match &turned {
            Turned::Malformed(DecodeError::UnsupportedProtocolLevel { .. }) => {
                count(&cells.connect_refused);
                warn!(%peer, "connection closed: {turned} [MQTT-3.1.2-2]");
                let code = ReasonCode::UnsupportedProtocolVersion;
                refuse(stream, ProtocolVersion::V311, code).await;
            }
            Turned::Refused { refusal, version, client_id } => {
                count(&cells.connect_refused);
                let (client_id, refusal) = (client_id.clone(), *refusal);
                self.tell(Event::Refused { client_id, peer: peer.label.clone(), refusal });
                refuse(stream, *version, refusal.reason_code()).await;
            }
            Turned::NotAdmitted { refusal, version, client_id, user_name } => {
                let (client_id, refusal, peer) = (client_id.clone(), *refusal, peer.label.clone());
                if matches!(refusal, Refusal::BadCredentials | Refusal::NotAuthorized) {
                    count(&cells.connect_unauthorized);
                    self.tell(Event::AuthenticationFailed { client_id, peer, user_name: user_name.clone() });
                } else {
                    let is_denied = refusal == Refusal::WillNotAuthorized;
                    count(if is_denied { &cells.connect_unauthorized } else { &cells.connect_unavailable });
                    self.tell(Event::Refused { client_id, peer, refusal });
                }
                refuse(stream, *version, refusal.reason_code()).await;
            }
            Turned::Malformed(error) => {
                count(&cells.connect_malformed);
                warn!(%peer, "connection closed: malformed CONNECT: {error}{}", statement_of(error));
            }
            Turned::NotConnect => {
                count(&cells.connect_malformed);
                warn!(%peer, "connection closed: {turned}");
            }
            Turned::OverBudget(..) => {
                count(&cells.connect_over_budget);
                warn!(%peer, "connection closed: {turned}");
            }
            Turned::Late(_) => {
                count(&cells.connect_timeouts);
                info!(%peer, "connection closed: {turned}");
            }
            Turned::Gone => debug!(%peer, "{turned}"),
        }
    }
}

/// Says no and lets the peer read it: a close with unread bytes would destroy the CONNACK on its way.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    version: ProtocolVersion,
    code: ReasonCode,
) {
    let Some(packet) = connack_bytes(version, code) else { return };
    let goodbye = async {
        stream.write_all(&packet).await?;
        stream.shutdown().await?;
        let mut sink = [0; READ_CHUNK];
        let mut left = 64;
        while left > 0 && stream.read(&mut sink).await? > 0 {
            left -= 1;
        }
        io::Result::Ok(())
    };
    // Whether the peer read it or not, this was all.
    let _ = tokio::time::timeout(LINGER, goodbye).await;
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
