//! The threads that drive lanes, and who holds which lane.
//!
//! Worker 0 is the lead; the home of lane i is worker i. A lane is held by its home or by the lead, by nobody else, and
//! moves as a whole, so within a turn there is one thread and no lock.
//!
//! ```text
//!   gathered (at start, and while little happens)     spread
//!   lead   lane 0 ◄─nested polls─ lane 1, lane 2 …    lead      lane 0, lane 2 …
//!   home 1 parked                                     home 1    lane 1, in its own poll
//!           ────────── a lane and its mailbox, through a channel ──────────►
//!           ◄─────────────────────────────────────────────────────────────
//! ```
//!
//! A quiet broker is one thread because waking another core for one message costs more than the message. The lead sleeps
//! in lane 0's poll, which has the polls of its guests nested; before that it parks the mailboxes of all lanes it
//! holds. While it is awake none of them is parked, so messages between its lanes wake nobody.
//!
//! Nothing is lost when a lane moves: its mailbox wakes its own poll, which moves with it; nesting a poll reports what
//! it has already; and a new holder looks at everything before it sleeps.
//!
//! Lanes that were sent home and carry less there than before are recalled: see [`trial`].
//!
//! A lane whose shard has failed is closed, and those on the same thread go on.

mod busy_poll;
mod driver;
mod load;
#[cfg(test)]
mod tests;
mod trial;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock::Clock;
use super::lane::{Lane, Neighbours};
use super::metrics::LaneCells;

use self::driver::Driver;
use self::load::SleepCell;
use self::trial::Reading;

/// When lanes have a thread to themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Lanes {
    /// One thread drives all of them until it has no time left to sleep and several have many clients to serve at
    /// once; then lanes get their own threads, until they are quiet again. If that carries fewer messages than before,
    /// because other programs need the cores, one thread goes on alone, and it is tried again later. The least CPU for
    /// little traffic, and all cores for much.
    #[default]
    Adaptive,
    /// Always. For measurements, and where a constant load makes the choice beforehand.
    Spread,
}

/// What makes lanes move.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Movement {
    Chosen(Lanes),
    /// Whatever the load, after so many rounds of the lead a lane goes home, or all are recalled if it has none to send; the
    /// moves to a home are counted.
    #[cfg(test)]
    Every(u32, &'static std::sync::atomic::AtomicU64),
}

impl Default for Movement {
    fn default() -> Self {
        Self::Chosen(Lanes::default())
    }
}

/// What the workers of a broker share.
pub(crate) struct Team {
    neighbours: Neighbours,
    clock: Clock,
    movement: Movement,
    lead_sleep: SleepCell,
    /// What each lane counts.
    cells: Vec<Arc<LaneCells>>,
    /// Homes give their lanes back. Whoever misses a change does with the next round.
    is_recalled: AtomicBool,
    /// Told why, when a lane or a worker has failed.
    on_failure: Box<dyn Fn(String) + Send + Sync>,
}

impl Team {
    pub(crate) fn new(
        neighbours: Neighbours,
        clock: Clock,
        movement: Movement,
        cells: Vec<Arc<LaneCells>>,
        on_failure: Box<dyn Fn(String) + Send + Sync>,
    ) -> Arc<Self> {
        let (lead_sleep, is_recalled) = (SleepCell::default(), AtomicBool::new(false));
        Arc::new(Self { neighbours, clock, movement, lead_sleep, cells, is_recalled, on_failure })
    }

    /// What all lanes have done, until the last turn of each.
    fn reading(&self, at: Duration) -> Reading {
        let mut reading = Reading { at, packets: 0, worked: Duration::ZERO };
        for cells in &self.cells {
            let (packets, worked) = cells.done();
            reading.packets = reading.packets.saturating_add(packets);
            reading.worked = reading.worked.saturating_add(worked);
        }
        reading
    }

    fn is_recalled(&self) -> bool {
        self.is_recalled.load(Ordering::Relaxed)
    }

    /// Who gets a lane from now on may keep it.
    fn end_recall(&self) {
        self.is_recalled.store(false, Ordering::Relaxed);
    }

    /// Has all homes give their lanes back, those that sleep too.
    fn recall(&self) {
        self.is_recalled.store(true, Ordering::Relaxed);
        self.neighbours.mailboxes.iter().skip(1).for_each(|mailbox| mailbox.wake());
    }
}

/// Starts a thread for each lane; the first is the lead and holds all of them. They end when their lanes have.
pub(crate) fn start(team: Arc<Team>, lanes: Vec<Lane>) -> io::Result<Vec<JoinHandle<()>>> {
    let (back, returning) = channel();
    let mut homes = Vec::new();
    let mut threads = Vec::new();
    for number in 1..lanes.len() {
        let (home, arriving) = channel();
        let (team, back) = (Arc::clone(&team), back.clone());
        // If this fails, the channels of those before it close, and they end.
        threads.push(spawn(number, Arc::clone(&team), move || be_home(&team, &arriving, &back))?);
        homes.push(home);
    }
    // The lead comes first, as lane 0 does.
    let lead = spawn(0, Arc::clone(&team), move || lead(&team, lanes, &homes, &returning))?;
    threads.insert(0, lead);
    Ok(threads)
}

fn spawn(number: usize, team: Arc<Team>, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let run = move || {
        // A lane's panics are caught where it is driven; this one is the worker's own.
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            (team.on_failure)(format!("worker {number} panicked"));
        }
    };
    thread::Builder::new().name(format!("culex-lane-{number}")).spawn(run)
}

/// Drives all lanes that are not at home.
fn lead(team: &Team, lanes: Vec<Lane>, homes: &[Sender<Box<Lane>>], returning: &Receiver<Box<Lane>>) {
    let mut lanes = lanes.into_iter().map(Box::new);
    let Some(own) = lanes.next() else { return };
    let mut driver = Driver::new(team, own);
    for lane in lanes {
        if matches!(team.movement, Movement::Chosen(Lanes::Spread)) {
            send_home(&mut driver, homes, lane);
        } else {
            adopt(&mut driver, homes, lane);
        }
    }
    while driver.is_needed() {
        driver.round();
        // Before the next sleep: who hands a lane back wakes lane 0's poll after it is in the channel.
        while let Ok(lane) = returning.try_recv() {
            adopt(&mut driver, homes, lane);
        }
        if let Some(lane) = driver.spread_one() {
            send_home(&mut driver, homes, lane);
        }
    }
}

fn adopt(driver: &mut Driver<'_>, homes: &[Sender<Box<Lane>>], lane: Box<Lane>) {
    // A poll that cannot be nested is driven where it can be slept in.
    if let Err(lane) = driver.adopt(lane) {
        send_home(driver, homes, lane);
    }
}

fn send_home(driver: &mut Driver<'_>, homes: &[Sender<Box<Lane>>], lane: Box<Lane>) {
    let home = usize::from(lane.id().0).checked_sub(1).and_then(|number| homes.get(number));
    let refused = match home {
        Some(home) => home.send(lane).err().map(|refused| refused.0),
        None => Some(lane),
    };
    // Its home has ended, which only a panic of the worker itself brings about. If the lane cannot be nested either, it
    // is dropped, and with it closed.
    if let Some(lane) = refused {
        let _ = driver.adopt(lane);
    }
}

/// Drives its lane whenever the lead sends it; sleeps otherwise, without any cost.
fn be_home(team: &Team, arriving: &Receiver<Box<Lane>>, back: &Sender<Box<Lane>>) {
    while let Ok(lane) = arriving.recv() {
        let mut driver = Driver::new(team, lane);
        loop {
            driver.round();
            if !driver.is_needed() {
                return;
            }
            if driver.may_gather() {
                match back.send(driver.into_own()) {
                    Ok(()) => break,
                    // The lead has ended, after a failure of its own lanes.
                    Err(refused) => driver = Driver::new(team, refused.0),
                }
            }
        }
        if let Some(lead) = team.neighbours.mailboxes.first() {
            lead.wake();
        }
    }
}
