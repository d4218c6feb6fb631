//! Bytes of a connection, packet by packet.

use culex_codec::{Decoded, Packet, PacketType, ProtocolVersion, decode};

use crate::engine::error::{CloseReason, ProtocolError};
use crate::engine::keys::ConnectionKey;
use crate::engine::question::HookFailure;
use crate::engine::terms::{MountPoint, Terms};
use crate::engine::time::Tick;
use crate::engine::timers::Timer;
use crate::limits::Limits;

use super::room::Passage;
use super::{Shard, ShardMessage, Turn};

/// What became of the bytes that were handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumed {
    /// So many are done with; the rest has to come again, with what follows.
    pub bytes: usize,
    /// Complete packets may be left, because this turn has done enough or the connection waits.
    pub is_cut_short: bool,
}

/// Answers of one connection that may wait for the store before it is read on.
pub(super) const HELD_MAX: u32 = 1024;
/// Connections that may go on sending in one turn.
const RESUMED_PER_TURN: usize = 64;

impl Shard {
    /// Bytes of a connection, from the start of its first incomplete packet. A packet that is not allowed ends the
    /// connection; everything before it has been handled.
    pub fn handle_bytes(&mut self, turn: &mut Turn<'_>, key: ConnectionKey, bytes: &[u8]) -> Consumed {
        let mut done = 0;
        loop {
            let Some(connection) = self.connections.get_mut(key) else {
                return Consumed { bytes: bytes.len(), is_cut_short: false };
            };
            let rest = bytes.get(done..).unwrap_or_default();
            if !connection.is_reading() || (turn.deliveries_left == 0 && !rest.is_empty()) {
                if done > 0 {
                    self.note_partial(turn, key, 0, true);
                }
                return Consumed { bytes: done, is_cut_short: true };
            }
            let is_paced = connection.pace.is_some();
            let limits = Terms::limits(&connection.terms, &self.limits);
            let mount = Terms::mount_point(&connection.terms).cloned();
            let mut full = String::new();
            let result = match read(rest, connection.version, limits, mount.as_ref(), &mut full) {
                Ok(Decoded::Incomplete { .. }) => {
                    self.note_partial(turn, key, rest.len(), done > 0);
                    return Consumed { bytes: done, is_cut_short: false };
                }
                Ok(Decoded::Packet { packet, len }) => {
                    let passage = self.pass(turn, key, &packet);
                    if matches!(passage, Passage::Waits(_)) {
                        self.note_partial(turn, key, len, done > 0);
                        return Consumed { bytes: done, is_cut_short: true };
                    }
                    done += len;
                    self.stats.packets_received += 1;
                    self.stats.bytes_received += len as u64;
                    if is_paced {
                        self.keep_pace(turn, key, &packet, len);
                    }
                    if let Passage::Refused(handshake) = passage {
                        self.refuse_publish(turn, key, handshake);
                        continue;
                    }
                    self.on_packet(turn, key, &packet)
                }
                Err(reason) => Err(reason),
            };
            if let Err(reason) = result {
                self.close(turn, key, reason);
            }
        }
    }

    fn on_packet(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        packet: &Packet<'_>,
    ) -> Result<(), CloseReason> {
        match packet {
            Packet::Publish(publish) => self.on_publish(turn, key, publish),
            Packet::PubAck(ack) => self.on_puback(turn, key, ack),
            Packet::PubRec(ack) => self.on_pubrec(turn, key, ack),
            Packet::PubRel(ack) => self.on_pubrel(turn, key, ack),
            Packet::PubComp(ack) => self.on_pubcomp(turn, key, ack),
            Packet::Subscribe(subscribe) => self.on_subscribe(turn, key, subscribe),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(turn, key, unsubscribe),
            Packet::PingReq => {
                self.connections.send(key, &Packet::PingResp); // [MQTT-3.12.4-1]
                Ok(())
            }
            Packet::Disconnect(_) => Err(CloseReason::Disconnected),
            Packet::Connect(_) => Err(CloseReason::Protocol(ProtocolError::SecondConnect)), // [MQTT-3.1.0-2]
            Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => {
                let packet_type: PacketType = packet.packet_type();
                Err(CloseReason::Protocol(ProtocolError::ServerPacket(packet_type)))
            }
        }
    }

    /// A message of another shard.
    pub fn handle_message(&mut self, turn: &mut Turn<'_>, message: ShardMessage) {
        match message {
            ShardMessage::Deliver { publication, routes, generation, retained, publisher, waits } => {
                self.deliver_foreign(turn, &publication, &routes, (generation, retained), (publisher, waits));
            }
            ShardMessage::Queue { shard, session, is_full } => self.on_queue(turn, (shard, session), is_full),
        }
    }

    /// The peer has closed the connection, or it broke.
    pub fn handle_lost(&mut self, turn: &mut Turn<'_>, key: ConnectionKey) {
        self.close(turn, key, CloseReason::Lost);
    }

    /// The outbox of a connection got shorter: its memory is given back, and what waited for room goes on next turn.
    pub fn handle_written(&mut self, key: ConnectionKey, bytes: usize) {
        self.stats.bytes_sent += bytes as u64;
        self.connections.recycle(key);
        self.shrink_burst(key);
        let Some(connection) = self.connections.get(key) else { return };
        if self.session(connection.session).is_some_and(|session| session.has_more_to_send()) {
            self.resume_later(key);
        }
    }

    /// Time has passed: everything that is due happens.
    pub fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        while let Some(timer) = self.timers.pop_due(turn.now.tick) {
            match timer {
                Timer::KeepAlive(key) => self.on_keep_alive(turn, key),
                Timer::Answer(key) => self.close(turn, key, CloseReason::Hook(HookFailure::Late)),
                Timer::SessionExpiry(key) => {
                    self.stats.sessions_expired += 1;
                    self.end_session(turn, key);
                }
                Timer::Stalled => self.on_stalled(turn),
                Timer::Pace(key) => self.on_pace(turn, key),
            }
        }
        self.leave_routes(turn);
        for _ in 0..self.resuming.len().min(RESUMED_PER_TURN) {
            if turn.deliveries_left == 0 {
                return;
            }
            let Some(key) = self.resuming.pop_front() else { return };
            if let Some(connection) = self.connections.get_mut(key) {
                connection.is_resuming = false;
                let session = connection.session;
                self.send_more(turn, session);
            }
        }
    }

    fn on_keep_alive(&mut self, turn: &mut Turn<'_>, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.timer = None;
        if !connection.is_reading() {
            // What it sends is not looked at. The time that store or hook takes, or a rate, is not the client's.
            connection.last_packet = turn.now.tick;
        }
        let Some(deadline) = connection.silence_deadline() else { return };
        // What is left of a packet may come at once, and then the deadline is earlier again.
        let next_look = Tick(turn.now.tick.0.saturating_add(u64::from(connection.silence_max_ms)));
        if deadline <= turn.now.tick {
            self.close(turn, key, CloseReason::KeepAlive); // [MQTT-3.1.2-24]
        } else {
            self.arm_keep_alive(key, deadline.min(next_look));
        }
    }

    pub(super) fn arm_keep_alive(&mut self, key: ConnectionKey, deadline: Tick) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.timer = Some(deadline);
            self.timers.arm(deadline, Timer::KeepAlive(key));
        }
    }

    pub(super) fn resume_later(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.is_resuming
        {
            connection.is_resuming = true;
            self.resuming.push_back(key);
        }
    }
}

/// A packet as its client sent it; below a mount point with its topic in `full`.
fn read<'p>(
    bytes: &'p [u8],
    version: ProtocolVersion,
    limits: &Limits,
    mount: Option<&MountPoint>,
    full: &'p mut String,
) -> Result<Decoded<'p>, CloseReason> {
    let decoded = decode(bytes, version, limits.packet_bytes).map_err(CloseReason::Malformed)?;
    match (decoded, mount) {
        (Decoded::Packet { packet, len }, Some(mount)) => {
            let packet = mount.place(packet, full).map_err(CloseReason::Protocol)?;
            Ok(Decoded::Packet { packet, len })
        }
        (decoded, _) => Ok(decoded),
    }
}
