//! Gives the log to the disk while it grows, where no commit waits for that.
//!
//! With [`Durability::Kill`](super::Durability::Kill) nobody syncs what is in the log until a second is over or the log is
//! moved into the tables. Both hold everybody up while megabytes are written; so a thread syncs them before.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

/// A thread that syncs one file when it is asked to.
pub(super) struct Flusher {
    /// Nothing when it is to end.
    asks: Option<SyncSender<()>>,
    failure: Arc<Mutex<Option<io::Error>>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    pub(super) fn start(file: File) -> io::Result<Self> {
        // Asked twice while it is at it, it syncs once more.
        let (asks, asked) = sync_channel(1);
        let failure = Arc::<Mutex<_>>::default();
        let found = Arc::clone(&failure);
        let flush = move || *found.lock() = flush(&file, &asked).err();
        let thread = thread::Builder::new().name("culex-flush".to_owned()).spawn(flush)?;
        Ok(Self { asks: Some(asks), failure, thread: Some(thread) })
    }

    /// Has it synced soon; waits for nothing.
    pub(super) fn ask(&self) {
        // What it is asked already covers this. If it has ended, that is found when something is committed.
        let _ = self.asks.as_ref().map(|asks| asks.try_send(()));
    }

    /// Waits until it has failed.
    #[cfg(test)]
    pub(super) fn wait_for_failure(&mut self) {
        self.thread.take().unwrap().join().unwrap();
    }

    /// Why a sync failed, once. Nobody knows what the file has then: an operating system may tell of that only once, and
    /// SQLite would not hear of it.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.lock().take()
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.asks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn flush(file: &File, asked: &Receiver<()>) -> io::Result<()> {
    while asked.recv().is_ok() {
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_fails_is_told_once() {
        // A device that cannot be synced.
        let mut flusher = Flusher::start(File::open("/dev/null").unwrap()).unwrap();
        assert!(flusher.failure().is_none());
        flusher.ask();
        flusher.wait_for_failure();
        assert!(flusher.failure().is_some() && flusher.failure().is_none());
        flusher.ask();
    }
}
