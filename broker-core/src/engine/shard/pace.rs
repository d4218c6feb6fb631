//! Connections that send faster than they may are not read for a while; nothing of theirs is dropped.
//!
//! The bytes stay where they are, so a client that goes on fills the buffers of the socket and then feels it. Its Keep
//! Alive rests meanwhile.

use culex_codec::Packet;

use crate::engine::keys::ConnectionKey;
use crate::engine::timers::Timer;

use super::{Effect, Event, Shard, Turn};

impl Shard {
    /// A packet of a connection with a rate was taken; if that was too much, it is the last one for now.
    pub(super) fn keep_pace(&mut self, turn: &Turn<'_>, key: ConnectionKey, packet: &Packet<'_>, len: usize) {
        let is_publish = matches!(packet, Packet::Publish(_));
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pace = connection.pace.as_mut();
        let Some(pause) = pace.and_then(|pace| pace.note_packet(turn.now.tick, is_publish, len)) else {
            return;
        };
        let session = connection.session;
        self.timers.arm(pause.until, Timer::Pace(key));
        self.stats.pace_pauses += 1;
        if let Some(limit) = pause.told
            && let Some(session) = self.session(session)
        {
            let client_id = session.client_id.clone();
            self.event(Event::Slowed { client_id, limit });
        }
    }

    /// There is time for one more packet.
    pub(super) fn on_pace(&mut self, turn: &Turn<'_>, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(pace) = &mut connection.pace {
            pace.pause = None;
        }
        if connection.is_reading() {
            connection.last_packet = turn.now.tick;
            self.effects.push_back(Effect::Resume { connection: key });
        }
    }
}
