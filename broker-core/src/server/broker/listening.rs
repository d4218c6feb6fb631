//! The listeners of a broker: those of its start, and what is opened and closed while it runs.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::listener::{Entrance, Listener, ListeningSocket};
use super::builder::with_driver;
use super::{Broker, Inner, StartError};

/// All listeners that are open.
#[derive(Default)]
pub(super) struct Listening {
    open: Vec<Open>,
    /// Of the next one; none has a number twice.
    next_number: usize,
    /// What else ends when nobody is accepted any more.
    others: Vec<JoinHandle<()>>,
}

struct Open {
    number: usize,
    address: Option<SocketAddr>,
    /// What who comes in finds.
    entrance: watch::Sender<Arc<Entrance>>,
    /// Accepts, and ends what has not come in when it ends.
    accepting: JoinHandle<()>,
}

/// Listeners that are open, at which nobody is accepted yet. Dropped, they are closed again.
#[must_use]
pub struct OpenedListeners {
    broker: Arc<Inner>,
    listeners: Vec<(ListeningSocket, Listener)>,
    first_number: usize,
}

impl Broker {
    /// The IP addresses that are listened on, in the order in which they were opened: first those of
    /// [`BrokerBuilder::listen`](crate::BrokerBuilder::listen).
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.inner.listening.lock().open.iter().filter_map(|open| open.address).collect()
    }

    /// Lets clients in, after a start with [`BrokerBuilder::accept_later`](crate::BrokerBuilder::accept_later); no matter
    /// otherwise.
    pub fn accept(&self) {
        self.inner.accepting.send_replace(true);
    }

    /// Opens more listeners, all of them or none; [`OpenedListeners::accept`] lets clients in. So a program can first take
    /// everything that it may not get, and then change to it.
    ///
    /// # Errors
    /// [`StartError::Bind`]; nothing is open then. [`StartError::NoDrivers`] if the runtime of the broker has ended.
    pub fn open_listeners(
        &self,
        listeners: impl IntoIterator<Item = Listener>,
    ) -> Result<OpenedListeners, StartError> {
        let _entered = self.inner.runtime.enter();
        let open = |listener: Listener| Ok((open(&listener)?, listener));
        let listeners = listeners.into_iter().map(open).collect::<Result<Vec<_>, StartError>>()?;
        let mut listening = self.inner.listening.lock();
        let first_number = listening.next_number;
        listening.next_number += listeners.len();
        drop(listening);
        Ok(OpenedListeners { broker: Arc::clone(&self.inner), listeners, first_number })
    }

    /// Closes the listeners with these numbers, see [`Login::listener`](crate::hooks::Login::listener); others are passed
    /// over. When this returns their addresses are free. Clients that have come in through them stay; who is still on the
    /// way in is closed.
    pub async fn close_listeners(&self, numbers: &[usize]) {
        let closed = self.inner.listening.lock().take(numbers);
        // All first: whoever does not wait for the end has ended them.
        closed.iter().for_each(|open| open.accepting.abort());
        for Open { accepting, .. } in closed {
            // It was ended, which is what it says.
            let _ = accepting.await;
        }
    }
}

impl OpenedListeners {
    /// What [`Login::listener`](crate::hooks::Login::listener) will say of them, in their order. No listener of a broker has
    /// the number of another, also not of one that is closed.
    pub fn numbers(&self) -> Range<usize> {
        self.first_number..self.first_number + self.listeners.len()
    }

    /// Lets clients in, unless the broker has stopped.
    pub fn accept(self) {
        let numbers = self.numbers();
        let mut listening = self.broker.listening.lock();
        for (number, (socket, listener)) in numbers.zip(self.listeners) {
            listening.begin(&self.broker, number, socket, listener);
        }
    }
}

impl Listening {
    /// Lets clients in at the listeners of the start.
    pub(super) fn start(&mut self, broker: &Inner, listeners: Vec<(ListeningSocket, Listener)>) {
        self.next_number = listeners.len();
        for (number, (socket, listener)) in listeners.into_iter().enumerate() {
            self.begin(broker, number, socket, listener);
        }
    }

    /// Whoever comes in there finds it so from now on; `false` if there is no such listener.
    pub(super) fn change(&mut self, number: usize, listener: Listener) -> bool {
        let Some(open) = self.open.iter().find(|open| open.number == number) else { return false };
        open.entrance.send_modify(|entrance| *entrance = Arc::new(entrance.changed(listener)));
        true
    }

    /// A task that ends with them.
    pub(super) fn add(&mut self, task: JoinHandle<()>) {
        self.others.push(task);
    }

    fn take(&mut self, numbers: &[usize]) -> Vec<Open> {
        self.open.extract_if(.., |open| numbers.contains(&open.number)).collect()
    }

    /// All of them, to wait for their end.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = JoinHandle<()>> + use<> {
        let others = std::mem::take(&mut self.others);
        std::mem::take(&mut self.open).into_iter().map(|open| open.accepting).chain(others)
    }

    fn begin(&mut self, broker: &Inner, number: usize, socket: ListeningSocket, listener: Listener) {
        let address = socket.local_addr();
        let entrance = Arc::new(Entrance::new(number, listener));
        let (entrance, found) = watch::channel(entrance);
        let (mut accepting, mut closing) = (broker.accepting.subscribe(), broker.closing.subscribe());
        let front_door = Arc::clone(&broker.front_door);
        let accept = async move {
            // Without a sender the broker is gone, which the front door finds too.
            tokio::select! {
                _ = accepting.wait_for(|is_accepting| *is_accepting) => {}
                _ = closing.wait_for(|is_closing| *is_closing) => {}
            }
            front_door.accept(socket, found, closing).await;
        };
        self.open.push(Open { number, address, entrance, accepting: broker.runtime.spawn(accept) });
    }
}

/// Needs the broker's runtime around it.
pub(super) fn open(listener: &Listener) -> Result<ListeningSocket, StartError> {
    let failed = |source| StartError::Bind { address: listener.address.clone(), source };
    with_driver(|| listener.open())?.map_err(failed)
}

impl std::fmt::Debug for OpenedListeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedListeners").field("numbers", &self.numbers()).finish_non_exhaustive()
    }
}
