//! What happens to the connections of a host: opened, carried on, broken, written to, closed.

use culex_core::engine::keys::ConnectionKey;
use culex_core::engine::time::Tick;

use super::host::{Host, Note};
use super::network::{Link, Stage};
use super::report::Reach;

/// Bytes by which an outbox may exceed its limit: what one turn answers, and one message.
const OUTBOX_SLACK_BYTES: u64 = 1 << 10;

impl Host {
    /// A connection that a client opens. Its number is its place in the order of accept().
    pub(super) fn dial(&mut self, client: usize, shard: u16, is_reliable: bool) -> usize {
        self.links.push(Link::new(client, shard, self.plan.pipe_bytes, is_reliable));
        self.links.len() - 1
    }

    /// Bytes of a client leave.
    pub(super) fn send_up(&mut self, link: usize, bytes: &[u8]) {
        let due = self.due();
        let found = &mut self.links[link];
        found.up.write(bytes, due);
        found.sent += bytes.len();
        self.progress += 1;
    }

    fn due(&mut self) -> u64 {
        self.now.tick.0 + self.rng.below(self.plan.delay_max_ms + 1)
    }

    /// Connections that are not closed on both sides.
    pub(super) fn live_links(&self) -> Vec<usize> {
        let is_live = |link: &Link| !(link.is_closed() && link.is_abandoned);
        self.links.iter().enumerate().filter(|(_, link)| is_live(link)).map(|(index, _)| index).collect()
    }

    /// A connection by chance, of those with bytes that are due.
    pub(super) fn pick_due(&mut self) -> Option<usize> {
        let now = self.now.tick.0;
        let is_due = |link: &Link| {
            let up = link.up.next_due().filter(|_| !link.is_closed());
            let down = link.down.next_due().filter(|_| !link.is_abandoned);
            up.is_some_and(|due| due <= now) || down.is_some_and(|due| due <= now)
        };
        self.pick_where(is_due)
    }

    /// A connection by chance, of those in the front door.
    pub(super) fn pick_newcomer(&mut self) -> Option<usize> {
        let is_new = |link: &Link| match link.stage {
            Stage::Dialing => !link.up.received.is_empty() || link.up.is_reset(),
            Stage::Checking(_) => true,
            Stage::Mailed | Stage::Attached(_) | Stage::Closed => false,
        };
        self.pick_where(is_new)
    }

    fn pick_where(&mut self, is_wanted: impl Fn(&Link) -> bool) -> Option<usize> {
        let wanted: Vec<usize> =
            (0..self.links.len()).filter(|index| self.links.get(*index).is_some_and(&is_wanted)).collect();
        (!wanted.is_empty()).then(|| self.rng.pick(&wanted))
    }

    /// Some bytes of a connection arrive, in one direction; all in both if `is_all`.
    pub(super) fn arrive(&mut self, link: usize, is_all: bool) {
        let now = if is_all { u64::MAX } else { self.now.tick.0 };
        let is_up = is_all || self.rng.chance(500);
        let found = &mut self.links[link];
        let mut has_moved = false;
        if is_up {
            let rng = (!is_all).then_some(&mut self.rng);
            let has_arrived = found.up.arrive(now, rng, &mut self.counts);
            found.has_news |= has_arrived;
            has_moved |= has_arrived;
        }
        if (!is_up || is_all) && !found.is_abandoned {
            let rng = (!is_all).then_some(&mut self.rng);
            has_moved |= found.down.arrive(now, rng, &mut self.counts);
        }
        self.progress += u64::from(has_moved);
    }

    /// A client closes its end. With bytes that it has not read, that is a reset.
    pub(super) fn hang_up(&mut self, link: usize) {
        let found = &mut self.links[link];
        found.is_abandoned = true;
        found.is_gone = true;
        found.up.finish();
        if found.is_blocked || !found.down.received.is_empty() {
            found.up.reset();
        }
        self.progress += 1;
    }

    /// A client lets go of a connection without telling; what it sent may still come.
    pub(super) fn abandon(&mut self, link: usize) {
        let found = &mut self.links[link];
        found.is_abandoned = true;
        found.down.mute();
    }

    /// A client lets go of a connection, and nothing more comes of it.
    pub(super) fn let_go(&mut self, link: usize) {
        self.abandon(link);
        self.links[link].up.mute();
    }

    /// Breaks a connection for both sides, or for one only.
    pub(super) fn break_link(&mut self, link: usize) {
        let is_half = self.rng.chance(400);
        let found = &mut self.links[link];
        found.down.reset();
        if is_half {
            found.up.mute();
            found.down.mute();
        } else {
            found.up.reset();
        }
        self.trace.note(format_args!("network breaks L{link}, half-open: {is_half}"));
        self.counts.add(if is_half { Reach::NetHalfOpen } else { Reach::NetReset });
    }

    pub(super) fn write(
        &mut self,
        number: u16,
        key: ConnectionKey,
        bytes: &[u8],
        now: Tick,
    ) -> Option<usize> {
        let index = *self.keys.get(&(number, key))?;
        let due = now.0 + self.rng.below(self.plan.delay_max_ms + 1);
        let link = &mut self.links[index];
        if link.is_blocked {
            return None;
        }
        if link.is_gone && !bytes.is_empty() {
            link.up.reset();
            self.progress += 1;
            return Some(bytes.len());
        }
        let written = link.down.write(bytes, due);
        if written < bytes.len() {
            link.is_blocked = true;
            self.counts.add(Reach::NetFull);
        }
        if !bytes.is_empty() {
            self.trace.note(format_args!("s{number} writes {written} of {} to L{index}", bytes.len()));
        }
        self.progress += written as u64;
        Some(written)
    }

    /// What a turn wants to write is within the limit, but for what it answers, and one message.
    pub(super) fn check_outbox(&mut self, number: u16, key: ConnectionKey, bytes: usize) {
        let limits = &self.plan.limits;
        let max = limits.outbox_bytes.get().saturating_add(limits.outbox_burst_bytes.get());
        if bytes as u64 > max.saturating_add(OUTBOX_SLACK_BYTES) {
            let text = format!("s{number} has {bytes} bytes for {key:?}, limit {max}");
            self.notes.push_back(Note::Broken(text));
        }
    }

    pub(super) fn close(&mut self, number: u16, key: ConnectionKey, bytes: &[u8]) {
        let Some(index) = self.keys.remove(&(number, key)) else {
            self.notes.push_back(Note::Broken(format!("s{number} closes a connection twice")));
            return;
        };
        let due = self.due();
        let link = &mut self.links[index];
        if !link.is_blocked {
            link.down.write(bytes, due);
        }
        link.down.finish();
        link.stage = Stage::Closed;
        self.progress += 1;
    }

    pub(super) fn resume(&mut self, number: u16, key: ConnectionKey) {
        if let Some(index) = self.keys.get(&(number, key)) {
            let link = &mut self.links[*index];
            link.has_news |= !link.up.received.is_empty();
            // The time that store or hook took is not the client's.
            link.heard = self.now.tick.0;
        }
    }
}
