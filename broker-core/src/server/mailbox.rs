//! Messages into a lane, without a lost wake-up and without a needless one.
//!
//! A vector and the flag `parked` stand behind one mutex. The lane sets the flag only if it finds the vector empty,
//! and a sender takes the flag after it has pushed. Either the sleeper sees the message or the sender sees the flag.

use std::io;
use std::sync::Arc;

use mio::{Poll, Token, Waker};
use parking_lot::Mutex;

/// The token under which a lane's poll reports its mailbox.
pub(crate) const MAILBOX: Token = Token(usize::MAX);

/// The way into a lane.
pub(crate) struct Mailbox<M> {
    state: Mutex<State<M>>,
    waker: Waker,
}

struct State<M> {
    messages: Vec<M>,
    parked: bool,
}

impl<M> Mailbox<M> {
    /// A mailbox that wakes `poll`.
    pub(crate) fn new(poll: &Poll) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            state: Mutex::new(State { messages: Vec::new(), parked: false }),
            waker: Waker::new(poll.registry(), MAILBOX)?,
        }))
    }

    /// Appends `messages` in order and wakes the lane if it sleeps. One lock, at most one wake-up.
    pub(crate) fn send(&self, messages: impl IntoIterator<Item = M>) {
        let wake = {
            let mut state = self.state.lock();
            state.messages.extend(messages);
            !state.messages.is_empty() && std::mem::take(&mut state.parked)
        };
        if wake {
            // It fails only if the poll is gone, and then nobody is left to wake.
            let _ = self.waker.wake();
        }
    }

    /// Takes all messages into `into`, which must be empty, and leaves its memory for the next ones.
    pub(crate) fn take(&self, into: &mut Vec<M>) {
        let mut state = self.state.lock();
        state.parked = false;
        std::mem::swap(&mut state.messages, into);
    }

    /// Asks to be woken by the next message. `false` if there is one already, and then nobody may sleep.
    pub(crate) fn park(&self) -> bool {
        let mut state = self.state.lock();
        state.parked = state.messages.is_empty();
        state.parked
    }
}
