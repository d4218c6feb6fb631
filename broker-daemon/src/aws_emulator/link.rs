//! One Network Connection, as the service knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culex_codec::{Connect, Packet, ProtocolVersion, QoS};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::policy::{Policy, Principal};
use super::rate::Window;
use super::registry::PeerIdentity;

/// How far it is.
#[derive(Debug)]
pub(super) enum Stage {
    /// CONNECT has not come.
    First,
    /// CONNACK is held back until then. AIC-CON-02
    Waiting(Box<Request>, Instant),
    /// CONNACK was sent.
    Open(Instant),
    /// Nothing more is read; `is_cut` without a proper end.
    Over { is_cut: bool },
}

/// A CONNECT, kept while CONNACK is held back.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) version: ProtocolVersion,
    pub(super) clean_start: bool,
    pub(super) keep_alive: u16,
    pub(super) client_id: String,
    pub(super) will: Option<WillRequest>,
    pub(super) has_credentials: bool,
    pub(super) session_expiry: u32,
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes_max: u32,
    pub(super) summary: String,
}

#[derive(Clone, Debug)]
pub(super) struct WillRequest {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) properties: Vec<u8>,
    pub(super) expiry: Option<u32>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

impl Request {
    pub(super) fn new(connect: &Connect<'_>) -> Self {
        let will = connect.will.map(|will| WillRequest {
            topic: will.topic.as_str().to_owned(),
            payload: Bytes::copy_from_slice(will.payload),
            properties: will.properties.as_bytes().to_vec(),
            expiry: will.properties.message_expiry_interval(),
            qos: will.qos,
            retain: will.retain,
        });
        Self {
            version: connect.version,
            clean_start: connect.clean_start,
            keep_alive: connect.keep_alive,
            client_id: connect.client_id.as_str().to_owned(),
            will,
            has_credentials: connect.user_name.is_some_and(|name| !name.is_empty())
                && connect.password.is_some_and(|password| !password.is_empty()),
            session_expiry: connect.properties.session_expiry_interval().unwrap_or(0),
            receive_maximum: connect.properties.receive_maximum().map_or(u16::MAX, u16::from),
            packet_bytes_max: connect.properties.maximum_packet_size().map_or(u32::MAX, u32::from),
            summary: summary(&Packet::Connect(*connect)),
        }
    }

    /// Whether its session shall outlive the connection.
    pub(super) fn is_persistent(&self) -> bool {
        if self.version.is_v5() { self.session_expiry > 0 } else { !self.clean_start }
    }
}

/// A packet that waits to be written.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    /// The Packet Identifier that it acknowledges, if it is a PUBACK.
    pub(super) acknowledges: Option<u16>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) identity: PeerIdentity,
    pub(super) policies: Arc<[Policy]>,
    pub(super) principal: Principal,
    pub(super) wake: Arc<Notify>,
    pub(super) opened: Instant,
    pub(super) stage: Stage,
    pub(super) version: ProtocolVersion,
    pub(super) keep_alive: Duration,
    pub(super) last_packet: Instant,
    pub(super) will: Option<WillRequest>,
    pub(super) receive_maximum: usize,
    pub(super) packet_bytes_max: u32,
    pub(super) session_expiry: u32,
    /// Topic Aliases of the client. AIC-V5-02
    pub(super) aliases: BTreeMap<u16, String>,
    /// Packet Identifiers without a PUBACK. AIC-PUB-09
    pub(super) unanswered: BTreeSet<u16>,
    pub(super) input: Vec<u8>,
    /// By when they are due, then in order.
    output: BTreeMap<(Instant, u64), Frame>,
    output_bytes: usize,
    next_frame: u64,
    pub(super) acks: u64,
    pub(super) discarded: u32,
    pub(super) publishes_in: Window,
    pub(super) accepted_in: Window,
    pub(super) bytes_in: Window,
    pub(super) publishes_out: Window,
    pub(super) bytes_out: Window,
    /// Nothing is read before. AIC-PUB-08
    pub(super) read_at: Instant,
    /// When what has authenticated it is over. AIC-CON-16
    pub(super) until: Option<Instant>,
}

/// Beyond this, a client that does not read is not read either.
const OUTPUT_BYTES_MAX: usize = 512 << 10;

impl Link {
    pub(super) fn new(id: u64, identity: PeerIdentity, wake: Arc<Notify>, now: Instant) -> Self {
        Self {
            id,
            identity,
            policies: Arc::from([]),
            principal: Principal::default(),
            wake,
            opened: now,
            stage: Stage::First,
            version: ProtocolVersion::V5,
            keep_alive: Duration::MAX,
            last_packet: now,
            will: None,
            receive_maximum: 0,
            packet_bytes_max: u32::MAX,
            session_expiry: 0,
            aliases: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            input: Vec::new(),
            output: BTreeMap::new(),
            output_bytes: 0,
            next_frame: 0,
            acks: 0,
            discarded: 0,
            publishes_in: Window::default(),
            accepted_in: Window::default(),
            bytes_in: Window::default(),
            publishes_out: Window::default(),
            bytes_out: Window::default(),
            read_at: now,
            until: None,
        }
    }

    pub(super) fn client_id(&self) -> &str {
        &self.principal.client_id
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over { .. })
    }

    /// Whether more may be put out, or is to be read.
    pub(super) fn has_room(&self) -> bool {
        self.output_bytes < OUTPUT_BYTES_MAX
    }

    /// Puts out a packet of the connection's version.
    pub(super) fn put(&mut self, packet: Packet<'_>, due: Instant) {
        let mut bytes = Vec::new();
        // What the emulator says, it can say.
        if packet.encode(self.version, &mut bytes).is_ok() {
            let acknowledges =
                if let Packet::PubAck(ack) = packet { Some(ack.packet_id.get()) } else { None };
            self.put_frame(Frame { bytes, acknowledges }, due);
        }
    }

    pub(super) fn put_frame(&mut self, frame: Frame, due: Instant) {
        self.output_bytes += frame.bytes.len();
        self.next_frame += 1;
        self.output.insert((due, self.next_frame), frame);
    }

    /// The next packet that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Frame> {
        let entry = self.output.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let frame = entry.remove();
        self.output_bytes -= frame.bytes.len();
        Some(frame)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.output.first_key_value().map(|((due, _), _)| *due)
    }

    /// Forgets what is not due yet: it comes too late.
    pub(super) fn drop_later(&mut self, now: Instant) {
        let later = self.output.split_off(&(now, u64::MAX));
        self.output_bytes -= later.values().map(|frame| frame.bytes.len()).sum::<usize>();
    }
}

/// A packet in a few words, for the log. Texts of peers are shortened.
pub(super) fn summary(packet: &Packet<'_>) -> String {
    let short = |text: &str| -> String {
        let mut short: String = text.chars().take(64).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        short
    };
    match packet {
        Packet::Connect(connect) => format!(
            "CONNECT level {} client id {:?} clean {} keep alive {}",
            connect.version.level() | if connect.is_bridge { 0x80 } else { 0 },
            short(connect.client_id.as_str()),
            connect.clean_start,
            connect.keep_alive
        ),
        Packet::Publish(publish) => format!(
            "PUBLISH {:?} QoS {}{} {} bytes",
            short(publish.topic.map_or("", |topic| topic.as_str())),
            publish.qos.bits(),
            if publish.retain { " RETAIN" } else { "" },
            publish.payload.len()
        ),
        Packet::Subscribe(subscribe) => {
            let filters: Vec<_> =
                subscribe.filters.iter().take(9).map(|one| short(one.filter.as_str())).collect();
            format!("SUBSCRIBE {} filters {filters:?}", subscribe.filters.len())
        }
        Packet::ConnAck(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::SubAck(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => packet.packet_type().to_string(),
    }
}
