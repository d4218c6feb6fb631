//! Messages into a lane, without a lost wake-up and without a needless one.
//!
//! A queue and the flag `parked` stand behind one mutex. The lane sets the flag only if it finds the queue empty,
//! and a sender takes the flag after it has pushed. Either the sleeper sees the message or the sender sees the flag.
//!
//! A message always enters, so no lane ever waits for a lane. But a lane that finds a neighbour's mailbox full stops
//! reading its own connections until there is room, and with them whoever fills it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mio::{Poll, Token, Waker};

use super::sync::{AtomicUsize, Mutex};

/// The token under which a lane's poll reports its mailbox.
pub(crate) const MAILBOX: Token = Token(usize::MAX);
/// Bytes from which on a mailbox is full.
const FULL_BYTES: usize = 16 << 20;

/// What ends the sleep of a lane: at once, or the next one if it does not sleep yet.
pub(crate) trait Wake {
    fn wake(&self);
}

impl Wake for Waker {
    fn wake(&self) {
        // It fails only if the poll is gone, and then nobody is left to wake.
        let _ = Self::wake(self);
    }
}

/// The way into a lane.
pub(crate) struct Mailbox<M, W = Waker> {
    state: Mutex<State<M>>,
    /// Written under the lock, read without it.
    bytes: AtomicUsize,
    waker: W,
}

struct State<M> {
    messages: VecDeque<M>,
    parked: bool,
    is_closed: bool,
}

impl<M> Mailbox<M> {
    /// A mailbox that wakes `poll`.
    pub(crate) fn new(poll: &Poll) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self::waking(Waker::new(poll.registry(), MAILBOX)?)))
    }
}

impl<M, W: Wake> Mailbox<M, W> {
    /// A mailbox that wakes by `waker`.
    pub(crate) fn waking(waker: W) -> Self {
        let state = State { messages: VecDeque::new(), parked: false, is_closed: false };
        Self { state: Mutex::new(state), bytes: AtomicUsize::new(0), waker }
    }

    /// Appends `messages` in order and wakes the lane if it sleeps. One lock, at most one wake-up. They count `bytes`
    /// until they are taken. What is sent to a lane that has ended is dropped.
    pub(crate) fn send(&self, messages: impl IntoIterator<Item = M>, bytes: usize) {
        let wake = {
            let mut state = self.state.lock();
            if state.is_closed {
                drop(state);
                // Dropped outside the lock, connections among them closed.
                return;
            }
            state.messages.extend(messages);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            !state.messages.is_empty() && std::mem::take(&mut state.parked)
        };
        if wake {
            self.wake();
        }
    }

    /// Takes all messages into `into`, which must be empty, and leaves its memory for the next ones.
    pub(crate) fn take(&self, into: &mut VecDeque<M>) {
        let mut state = self.state.lock();
        state.parked = false;
        self.bytes.store(0, Ordering::Relaxed);
        std::mem::swap(&mut state.messages, into);
    }

    /// Asks to be woken by the next message. `false` if there is one already, and then nobody may sleep.
    pub(crate) fn park(&self) -> bool {
        let mut state = self.state.lock();
        state.parked = state.messages.is_empty();
        state.parked
    }

    /// Wakes who sleeps in the lane's poll, for another reason than a message.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Whether the lane is far behind.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= FULL_BYTES
    }

    /// Whether the lane has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// The lane has ended: drops what waits and whatever still comes.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.is_closed = true;
            self.bytes.store(0, Ordering::Relaxed);
            std::mem::take(&mut state.messages)
        };
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_mailbox_keeps_nothing() {
        let poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(&poll).unwrap();
        let message = Arc::new(());
        mailbox.send([Arc::clone(&message)], 1);
        mailbox.close();
        mailbox.send([Arc::clone(&message)], 1);
        assert_eq!(Arc::strong_count(&message), 1);
    }

    #[test]
    fn a_mailbox_is_full_until_it_is_taken() {
        let poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(&poll).unwrap();
        mailbox.send([()], FULL_BYTES - 1);
        assert!(!mailbox.is_full());
        mailbox.send([()], 1);
        assert!(mailbox.is_full());
        let mut taken = VecDeque::new();
        mailbox.take(&mut taken);
        assert!(!mailbox.is_full());
        assert_eq!(taken.len(), 2);
    }
}
