//! The order in which lanes end: nobody leaves while a message is still on its way to somebody.
//!
//! ```text
//!   begin ──► Settle to every lane        a lane: stops reading, handles its mail up to Settle, ends its turn,
//!               ▲            │            then says that it has settled, and whether it has sent anything since
//!               │            ▼            it said so last
//!       somebody has      all settled
//!       sent something ◄────┤
//!                           │ nobody has sent anything
//!                           ▼
//!                         Leave to every lane: writes what waits, closes its connections, is gone
//! ```
//!
//! A mailbox keeps its order, so what was sent before a round began is handled before its receiver settles in that
//! round. If nothing was sent in a whole round, every mailbox is empty. Lanes that do not read only send what they
//! are sent, so there are two or three rounds. A lane that is gone, because it left or because it failed, is not
//! waited for.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::keys::ShardId;

use super::lane::LaneMessage;
use super::mailbox::Mailbox;

/// Who has settled, and what the lanes are told next.
pub(crate) struct Departure {
    state: Mutex<State>,
    mailboxes: Vec<Arc<Mailbox<LaneMessage>>>,
}

struct State {
    lanes: Vec<Presence>,
    is_begun: bool,
    has_sent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Working,
    Settled,
    Gone,
}

impl Departure {
    /// All lanes are at work.
    pub(crate) fn new(mailboxes: Vec<Arc<Mailbox<LaneMessage>>>) -> Self {
        let lanes = vec![Presence::Working; mailboxes.len()];
        Self { state: Mutex::new(State { lanes, is_begun: false, has_sent: false }), mailboxes }
    }

    /// Tells all lanes to end. Again has no effect.
    pub(crate) fn begin(&self) {
        if !std::mem::replace(&mut self.state.lock().is_begun, true) {
            self.tell(|| LaneMessage::Settle);
        }
    }

    /// The lane handled its mail up to `Settle`, and what it sent is in the mailboxes.
    pub(crate) fn settled(&self, lane: ShardId, has_sent: bool) {
        self.note(lane, Presence::Settled, has_sent);
    }

    /// The lane takes no message any more.
    pub(crate) fn gone(&self, lane: ShardId) {
        self.note(lane, Presence::Gone, false);
    }

    fn note(&self, lane: ShardId, presence: Presence, has_sent: bool) {
        let next = {
            let mut state = self.state.lock();
            if let Some(place) = state.lanes.get_mut(usize::from(lane.0)) {
                *place = presence;
            }
            state.has_sent |= has_sent;
            state.next_round()
        };
        match next {
            Some(Round::Settle) => self.tell(|| LaneMessage::Settle),
            Some(Round::Leave) => self.tell(|| LaneMessage::Leave),
            None => {}
        }
    }

    fn tell(&self, message: impl Fn() -> LaneMessage) {
        for mailbox in &self.mailboxes {
            mailbox.send([message()], 0);
        }
    }
}

enum Round {
    Settle,
    Leave,
}

impl State {
    fn next_round(&mut self) -> Option<Round> {
        let is_over = !self.lanes.contains(&Presence::Working) && self.lanes.contains(&Presence::Settled);
        if !self.is_begun || !is_over {
            return None;
        }
        for lane in self.lanes.iter_mut().filter(|lane| **lane == Presence::Settled) {
            *lane = Presence::Working;
        }
        Some(if std::mem::take(&mut self.has_sent) { Round::Settle } else { Round::Leave })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use mio::Poll;

    use super::*;

    fn departure(lanes: usize) -> (Departure, Vec<Poll>) {
        let polls: Vec<_> = (0..lanes).map(|_| Poll::new().unwrap()).collect();
        let mailboxes = polls.iter().map(|poll| Mailbox::new(poll).unwrap()).collect();
        (Departure::new(mailboxes), polls)
    }

    /// What lies in the mailboxes: `S`ettle, `L`eave.
    fn told(departure: &Departure) -> Vec<String> {
        let told = departure.mailboxes.iter().map(|mailbox| {
            let mut taken = VecDeque::new();
            mailbox.take(&mut taken);
            let is_settle = |message: &LaneMessage| matches!(message, LaneMessage::Settle);
            taken.iter().map(|message| if is_settle(message) { 'S' } else { 'L' }).collect()
        });
        told.collect()
    }

    #[test]
    fn nobody_leaves_in_a_round_in_which_somebody_sent_something() {
        let (departure, _polls) = departure(2);
        departure.begin();
        departure.begin();
        assert_eq!(told(&departure), ["S", "S"]);
        departure.settled(ShardId(0), true);
        assert_eq!(told(&departure), ["", ""]);
        departure.settled(ShardId(1), false);
        assert_eq!(told(&departure), ["S", "S"]);
        departure.settled(ShardId(1), true);
        departure.settled(ShardId(0), false);
        assert_eq!(told(&departure), ["S", "S"]);
        departure.settled(ShardId(1), false);
        departure.settled(ShardId(0), false);
        assert_eq!(told(&departure), ["L", "L"]);
        departure.gone(ShardId(1));
        departure.gone(ShardId(0));
        assert_eq!(told(&departure), ["", ""]);
    }

    #[test]
    fn a_lane_that_failed_is_not_waited_for() {
        let (departure, _polls) = departure(3);
        departure.gone(ShardId(1));
        departure.begin();
        told(&departure);
        departure.settled(ShardId(0), false);
        // The last one that is waited for fails instead.
        departure.gone(ShardId(2));
        assert_eq!(told(&departure), ["L", "L", "L"]);
    }
}
