//! Looking at the sockets for a moment instead of sleeping at once.
//!
//! A client that sends one message and waits for what comes of it leaves nothing to do in between. Two cores that fall
//! asleep and are woken are most of its round, and cost as much CPU time as looking does. So while few connections are
//! served, and always the same, and their next bytes come at once, the thread stays awake for them. Many that send now
//! and then would keep a core busy for nothing: for them it sleeps.

use std::time::Duration;

/// How long it looks. What comes later is cheaper to be woken for.
pub(super) const LOOK_MAX: Duration = Duration::from_micros(50);
/// It looks when so many rounds in a row have served nobody but those served before.
const FAMILIAR_ROUNDS: u32 = 64;
/// Rounds in which it does not look after it did so in vain; twice as many each time, up to as many as it began with.
const PAUSE_MIN: u32 = 4;

/// Whether to look, learned from whom the last rounds served.
#[derive(Debug)]
pub(super) struct BusyPoll {
    /// How often a lane has served somebody else than before.
    strangers: u64,
    familiar_rounds: u32,
    pause: u32,
}

impl Default for BusyPoll {
    fn default() -> Self {
        Self { strangers: 0, familiar_rounds: 0, pause: PAUSE_MIN }
    }
}

impl BusyPoll {
    /// After a round: how often the lanes have served somebody else than before, since the start.
    pub(super) fn note_round(&mut self, strangers: u64) {
        let is_familiar = std::mem::replace(&mut self.strangers, strangers) == strangers;
        self.familiar_rounds = if is_familiar { self.familiar_rounds.saturating_add(1) } else { 0 };
    }

    pub(super) fn pays(&self) -> bool {
        self.familiar_rounds >= FAMILIAR_ROUNDS
    }

    /// Whether something came in time.
    pub(super) fn note_look(&mut self, has_come: bool) {
        if has_come {
            self.pause = PAUSE_MIN;
        } else {
            self.familiar_rounds = FAMILIAR_ROUNDS - self.pause;
            self.pause = (self.pause * 2).min(FAMILIAR_ROUNDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds until it pays.
    fn rounds(busy_poll: &mut BusyPoll, strangers: u64) -> u32 {
        (1..=FAMILIAR_ROUNDS)
            .find(|_| {
                busy_poll.note_round(strangers);
                busy_poll.pays()
            })
            .unwrap()
    }

    #[test]
    fn it_pays_for_few_that_are_served_again_and_again() {
        let mut busy_poll = BusyPoll::default();
        assert!(!busy_poll.pays());
        assert_eq!(rounds(&mut busy_poll, 0), FAMILIAR_ROUNDS);
        busy_poll.note_round(1);
        assert!(!busy_poll.pays());
        assert_eq!(rounds(&mut busy_poll, 1), FAMILIAR_ROUNDS);
        // Each round serves somebody else.
        for strangers in 2..1000 {
            busy_poll.note_round(strangers);
            assert!(!busy_poll.pays());
        }
    }

    #[test]
    fn looking_in_vain_is_tried_less_and_less_often() {
        let mut busy_poll = BusyPoll::default();
        rounds(&mut busy_poll, 0);
        for expected in [4, 8, 16, 32, 64, 64] {
            busy_poll.note_look(false);
            assert!(!busy_poll.pays());
            assert_eq!(rounds(&mut busy_poll, 0), expected);
        }
        busy_poll.note_look(true);
        assert!(busy_poll.pays());
        busy_poll.note_look(false);
        assert_eq!(rounds(&mut busy_poll, 0), PAUSE_MIN);
    }
}
