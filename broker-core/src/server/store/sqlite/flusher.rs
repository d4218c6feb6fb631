//! Gives the log to the disk while it grows, where no commit waits for that.
//!
//! With [`Durability::Kill`](super::Durability::Kill) nobody syncs what is in the log until a second is over or the log is
//! moved into the tables. Both hold everybody up while megabytes are written; so a thread syncs them before.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

/// A thread that syncs one file when it is asked to.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_asked: bool,
    is_syncing: bool,
    is_over: bool,
    /// Why it has ended. Nobody knows what the file has then: an operating system may tell of that only once, and SQLite
    /// would not hear of it.
    failure: Option<io::Error>,
}

impl Flusher {
    pub(super) fn start(file: File) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new().name("culex-flush".to_owned()).spawn(move || its.run(&file))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has it synced soon; waits for nothing. Asked twice while it is at it, it syncs once more.
    pub(super) fn ask(&self) {
        let mut state = self.shared.state.lock();
        // Nothing is synced after an error.
        state.is_asked = !state.is_over;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until it has failed.
    #[cfg(test)]
    pub(super) fn wait_for_failure(&self) {
        let mut state = self.shared.state.lock();
        while state.failure.is_none() {
            self.shared.changed.wait(&mut state);
        }
    }

    /// Why a sync failed, if one did; told once.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.shared.state.lock().failure.take()
    }

    /// The same, when nothing is synced any more.
    pub(super) fn rest(&self) -> Option<io::Error> {
        let mut state = self.shared.state.lock();
        while state.is_asked || state.is_syncing {
            self.shared.changed.wait(&mut state);
        }
        state.failure.take()
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.state.lock().is_over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, file: &File) {
        let mut state = self.state.lock();
        while !state.is_over {
            if state.is_asked {
                (state.is_asked, state.is_syncing) = (false, true);
                drop(state);
                let failure = file.sync_all().err();
                state = self.state.lock();
                state.is_syncing = false;
                state.is_over |= failure.is_some();
                state.failure = failure;
                self.changed.notify_all();
            } else {
                self.changed.wait(&mut state);
            }
        }
        state.is_asked = false;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_fails_is_told_once() {
        // A device that cannot be synced.
        let flusher = Flusher::start(File::open("/dev/null").unwrap()).unwrap();
        assert!(flusher.failure().is_none() && flusher.rest().is_none());
        flusher.ask();
        assert!(flusher.rest().is_some());
        flusher.ask();
        assert!(flusher.rest().is_none());
    }

    #[test]
    fn it_rests_when_all_that_was_asked_for_is_done() {
        let flusher = Flusher::start(tempfile::tempfile().unwrap()).unwrap();
        for _ in 0..100 {
            flusher.ask();
        }
        assert!(flusher.rest().is_none());
        flusher.ask();
    }
}
