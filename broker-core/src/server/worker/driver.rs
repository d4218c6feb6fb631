//! Drives a lane, and the guests whose polls are nested in its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use std::{fmt, io, thread};

use crate::engine::time::Tick;

use super::super::clock::tick_of;
use super::super::lane::{Lane, Stage};
use super::busy_poll::{BusyPoll, LOOK_MAX};
use super::load::{GATHER_WINDOW, MOVE_PAUSE, SPREAD_WINDOW, Window, busiest};
use super::trial::{Step, Trial};
use super::{Lanes, Movement, Team};

/// The lanes that one thread holds.
pub(super) struct Driver<'a> {
    team: &'a Team,
    /// The lane in whose poll the thread sleeps.
    own: Held,
    guests: Vec<Held>,
    window: Window,
    busy_poll: BusyPoll,
    /// The lead's sleep when the window began.
    lead_slept: Duration,
    /// Whether spreading pays. For the lead.
    trial: Trial,
    now: Duration,
    /// All that had come by then was reported by the own lane's poll.
    polled: Tick,
    #[cfg(test)]
    rounds: u32,
}

struct Held {
    lane: Box<Lane>,
    /// Its poll has something, and has to be looked at until it is empty: nesting reports edges.
    has_events: bool,
    /// It is to have a turn in this round.
    is_due: bool,
}

impl<'a> Driver<'a> {
    pub(super) fn new(team: &'a Team, lane: Box<Lane>) -> Self {
        let now = team.clock.elapsed();
        Self {
            team,
            own: Held { lane, has_events: false, is_due: false },
            guests: Vec::new(),
            window: Window::new(now),
            busy_poll: BusyPoll::default(),
            lead_slept: team.lead_sleep.slept(now),
            trial: Trial::default(),
            now,
            polled: Tick(0),
            #[cfg(test)]
            rounds: 0,
        }
    }

    /// Takes a lane in. Its timeouts and its sockets are looked after from the next round on.
    pub(super) fn adopt(&mut self, lane: Box<Lane>) -> Result<(), Box<Lane>> {
        if self.own.lane.nest(&lane).is_err() {
            return Err(lane);
        }
        self.guests.push(Held { lane, has_events: true, is_due: false });
        Ok(())
    }

    /// Gives the lane up, for somebody else to drive.
    pub(super) fn into_own(mut self) -> Box<Lane> {
        self.own.lane.moved_at = Some(self.now);
        self.own.lane
    }

    /// Whether a lane is left that has not ended.
    pub(super) fn is_needed(&self) -> bool {
        self.own.is_alive() || !self.guests.is_empty()
    }

    /// Sleeps if there is nothing to do, and lets each lane that has work do a turn.
    pub(super) fn round(&mut self) {
        #[cfg(test)]
        {
            self.rounds += 1;
        }
        let before = self.team.clock.elapsed();
        let timeout = self.park(tick_of(before));
        if !self.poll(before, timeout) {
            return;
        }
        self.turns(Lane::has_work);
        // Once more for those who got mail from lanes behind them: no need to ask the poll for that.
        if !self.guests.is_empty() {
            self.turns(|lane, _| lane.has_mail());
        }
        // The last, because its thread takes this core from the lanes that have not had their turn.
        for held in std::iter::once(&mut self.own).chain(&mut self.guests) {
            held.lane.wake_store();
        }
        self.guests.retain(Held::is_alive);
        let lanes = std::iter::once(&self.own).chain(&self.guests);
        self.busy_poll.note_round(lanes.map(|held| held.lane.partners.strangers()).sum());
    }

    /// How long to sleep: not at all if one lane has work.
    fn park(&mut self, now: Tick) -> Option<Duration> {
        let mut shortest = self.look_again();
        for held in std::iter::once(&mut self.own).chain(&mut self.guests) {
            let limit = if held.has_events {
                Some(Duration::ZERO)
            } else {
                held.lane.park(now, &self.team.neighbours)
            };
            shortest = match (shortest, limit) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            if shortest == Some(Duration::ZERO) {
                break;
            }
        }
        shortest
    }

    /// A home that is quiet has to wake up once to notice it, and the lead to end a trial.
    fn look_again(&self) -> Option<Duration> {
        // The lead counts rounds, and may have nobody who talks to it: ClientIds are spread by chance.
        #[cfg(test)]
        if matches!(self.team.movement, Movement::Every(..)) {
            return Some(Duration::from_millis(1));
        }
        let is_adaptive = matches!(self.team.movement, Movement::Chosen(Lanes::Adaptive));
        let is_home = self.own.lane.id().0 > 0;
        let window = if is_home { GATHER_WINDOW } else { SPREAD_WINDOW };
        (is_adaptive && (is_home || self.trial.is_on())).then_some(window)
    }

    /// Waits in the own lane's poll. `false` if the poll is broken, and with it all that depends on it.
    fn poll(&mut self, before: Duration, timeout: Option<Duration>) -> bool {
        let may_sleep = timeout != Some(Duration::ZERO);
        let is_lead = self.own.lane.id().0 == 0;
        if may_sleep && is_lead {
            self.team.lead_sleep.begin(before);
        }
        let polled = if may_sleep { self.wait(before, timeout) } else { self.look(timeout) };
        self.now = before;
        if may_sleep {
            self.now = self.team.clock.elapsed();
            let slept = self.now.saturating_sub(before);
            self.window.note_sleep(slept);
            if is_lead {
                self.team.lead_sleep.end(slept);
            }
        }
        match polled {
            Ok(true) => {
                self.own.has_events = false;
                self.polled = tick_of(before);
            }
            Ok(false) => self.own.has_events = true,
            Err(error) => {
                self.own.fail(self.team, format_args!("waiting for connections failed: {error}"));
                self.guests.clear();
                return false;
            }
        }
        for guest in self.guests.iter_mut().filter(|guest| guest.has_events) {
            match guest.lane.poll(Some(Duration::ZERO), |_| {}) {
                Ok(is_drained) => guest.has_events = !is_drained,
                Err(error) => guest.fail(self.team, format_args!("waiting for connections failed: {error}")),
            }
        }
        true
    }

    /// As [`Self::look`]; before the thread sleeps it looks for a moment if that pays, as one thread of the process may.
    fn wait(&mut self, before: Duration, timeout: Option<Duration>) -> io::Result<bool> {
        let is_alone = self.guests.len() + 1 == self.team.neighbours.mailboxes.len();
        if is_alone && self.busy_poll.pays() {
            let span = timeout.map_or(LOOK_MAX, |timeout| timeout.min(LOOK_MAX));
            while self.team.clock.elapsed().saturating_sub(before) < span {
                let is_drained = self.look(Some(Duration::ZERO))?;
                if self.own.lane.has_reported() {
                    self.busy_poll.note_look(true);
                    return Ok(is_drained);
                }
                // Whoever else wants this core goes first, the client among them.
                thread::yield_now();
            }
            self.busy_poll.note_look(false);
        }
        self.look(timeout)
    }

    /// Waits in the own lane's poll at most so long. `false` if there may be more already.
    fn look(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let guests = &mut self.guests;
        self.own.lane.poll(timeout, |id| {
            for guest in guests.iter_mut().filter(|guest| guest.lane.id() == id) {
                guest.has_events = true;
            }
        })
    }

    /// All are asked before the first has its turn: from then on no mailbox is parked, and what one sends to another behind it
    /// does not wake the poll, which would cost a system call there and one to look at it.
    fn turns(&mut self, is_due: fn(&mut Lane, Tick) -> bool) {
        for held in std::iter::once(&mut self.own).chain(&mut self.guests) {
            held.is_due = held.is_alive() && is_due(&mut held.lane, self.polled);
        }
        for held in std::iter::once(&mut self.own).chain(&mut self.guests) {
            if held.is_due {
                // What was not reported may be older.
                let polled = if held.has_events { Tick(0) } else { self.polled };
                held.turn(self.team, polled);
            }
        }
    }

    /// The guest that should be at home, by the load of the last window. For the lead, which also calls those back that
    /// are there for nothing.
    pub(super) fn spread_one(&mut self) -> Option<Box<Lane>> {
        let place = match self.team.movement {
            Movement::Chosen(Lanes::Adaptive) => self.excess_guest()?,
            Movement::Chosen(Lanes::Spread) => return None,
            #[cfg(test)]
            Movement::Every(rounds, moves) => {
                if !self.rounds.is_multiple_of(rounds) {
                    return None;
                }
                if self.guests.is_empty() {
                    self.team.recall();
                    return None;
                }
                moves.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                (self.rounds / rounds) as usize % self.guests.len()
            }
        };
        let is_moving = self.guests.get(place).is_some_and(|guest| guest.lane.stage() == Stage::Working);
        if !is_moving || self.own.lane.release(&self.guests.get(place)?.lane).is_err() {
            return None;
        }
        let mut guest = self.guests.swap_remove(place);
        guest.lane.moved_at = Some(self.now);
        self.team.end_recall();
        Some(guest.lane)
    }

    fn excess_guest(&mut self) -> Option<usize> {
        let lanes = self.team.neighbours.mailboxes.len();
        if lanes < 2 || self.window.length(self.now) < SPREAD_WINDOW {
            return None;
        }
        let is_busy = self.window.is_busy(self.now);
        self.window = Window::new(self.now);
        let held = std::iter::once(&mut self.own).chain(&mut self.guests);
        let loads: Vec<_> = held.map(|held| std::mem::take(&mut held.lane.load)).collect();
        let place = busiest(&loads).filter(|_| is_busy).and_then(|place| place.checked_sub(1));
        let place = place
            .filter(|place| self.guests.get(*place).is_some_and(|guest| may_move(&guest.lane, self.now)));
        match self.trial.look(self.team.reading(self.now), place.is_some(), loads.len() == lanes) {
            Step::Stay => None,
            Step::Send => place,
            Step::Recall => {
                self.team.recall();
                None
            }
        }
    }

    /// Whether the lead may have the lane back. For a home.
    pub(super) fn may_gather(&mut self) -> bool {
        if self.own.lane.stage() != Stage::Working {
            return false;
        }
        if self.team.is_recalled() {
            return true;
        }
        match self.team.movement {
            Movement::Chosen(Lanes::Adaptive) => {}
            Movement::Chosen(Lanes::Spread) => return false,
            #[cfg(test)]
            Movement::Every(..) => return false,
        }
        if self.window.length(self.now) < GATHER_WINDOW {
            return false;
        }
        let lead_slept = self.team.lead_sleep.slept(self.now);
        let is_quiet = self.window.is_quiet(self.now, lead_slept.saturating_sub(self.lead_slept));
        (self.window, self.lead_slept) = (Window::new(self.now), lead_slept);
        is_quiet && may_move(&self.own.lane, self.now)
    }
}

fn may_move(lane: &Lane, now: Duration) -> bool {
    lane.moved_at.is_none_or(|at| now.saturating_sub(at) >= MOVE_PAUSE)
}

impl Held {
    fn is_alive(&self) -> bool {
        self.lane.stage() != Stage::Gone
    }

    /// A panic outside of a connection's input leaves nothing to go on with.
    fn turn(&mut self, team: &Team, polled: Tick) {
        let turn = AssertUnwindSafe(|| self.lane.turn(polled, &team.neighbours));
        let is_over = catch_unwind(turn).is_err();
        let number = self.lane.id().0;
        if is_over {
            self.fail(team, format_args!("shard {number} panicked outside of a connection's input"));
        } else if self.lane.is_failed() {
            self.fail(team, format_args!("shard {number} panicked twice within a minute"));
        }
    }

    fn fail(&mut self, team: &Team, why: fmt::Arguments<'_>) {
        self.lane.fail();
        (team.on_failure)(why.to_string());
    }
}
