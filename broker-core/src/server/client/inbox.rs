//! Between the driver of a client and whoever receives: bounded, and nobody is woken without need.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use culex_codec::{PacketId, QoS};
use parking_lot::Mutex;

use crate::client::Message;
use crate::engine::Origin;

use super::error::Gone;
use super::requests::Requests;

/// The receiving half of a client in the broker's process.
///
/// It is bounded in messages and bytes. QoS 0 beyond that is dropped and counted ([`Inbox::dropped`]). Of QoS 1 and 2 no
/// more than the bound in messages is ever on its way here, as the rest waits in the session, under its limits. Beyond
/// the bound in bytes nothing more is fetched for the moment, except while the client itself waits for an answer, which
/// comes behind those messages: then the bound in messages is the one that holds.
///
/// Dropping it leaves what was not acknowledged to the session.
#[derive(Debug)]
pub struct Inbox {
    shared: Arc<Shared>,
}

/// A message that was taken out of an [`Inbox`].
#[derive(Debug)]
pub struct Delivery {
    message: Message,
    origin: Origin,
    acknowledging: Option<Acknowledging>,
}

#[derive(Debug)]
struct Acknowledging {
    shared: Arc<Shared>,
    packet_id: PacketId,
    is_done: AtomicBool,
}

impl Inbox {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The next message; `None` when the client has ended ([`Client::ended`](super::Client::ended) says why) and all that
    /// came before is taken. Dropping the future loses nothing.
    ///
    /// Unless [`ClientBuilder::manual_ack`](super::ClientBuilder::manual_ack) was called, this acknowledges the message.
    pub async fn next(&mut self) -> Option<Delivery> {
        let mut message = poll_fn(|context| self.shared.poll_take(context)).await?;
        let origin = match self.shared.tells_origin {
            true => Origin::split_off(&mut message.payload),
            false => Origin::default(),
        };
        let acknowledging = message.packet_id.filter(|_| self.shared.is_manual).map(|packet_id| {
            let shared = Arc::clone(&self.shared);
            Acknowledging { shared, packet_id, is_done: AtomicBool::new(false) }
        });
        Some(Delivery { message, origin, acknowledging })
    }

    /// QoS 0 messages that were dropped because the inbox was full.
    pub fn dropped(&self) -> u64 {
        self.shared.state.lock().dropped
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl Delivery {
    /// Acknowledges the message, if that is manual; a second time means nothing. The broker hears of it when all messages
    /// before are acknowledged too [MQTT-4.6.0-2]. After the end of the client it means nothing either: a persistent
    /// session brings the message again.
    pub fn ack(&self) {
        if let Some(acknowledging) = &self.acknowledging
            && !acknowledging.is_done.swap(true, Ordering::Relaxed)
        {
            acknowledging.shared.acknowledge(acknowledging.packet_id);
        }
    }

    /// Where it comes from; nothing is known without [`ClientBuilder::tell_origin`](super::ClientBuilder::tell_origin).
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The message alone; whoever has to acknowledge it did so before.
    pub fn into_message(self) -> Message {
        self.message
    }
}

impl Deref for Delivery {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// What driver, inbox and handles share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) requests: Requests,
    messages_max: usize,
    bytes_max: usize,
    is_manual: bool,
    tells_origin: bool,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    bytes: usize,
    /// Those of QoS 1 and 2, which cannot be dropped.
    promised_bytes: usize,
    dropped: u64,
    gone: Option<Gone>,
    reader: Option<Waker>,
    driver: Option<Waker>,
    /// The driver has something to look at.
    is_news: bool,
    /// The driver fetches nothing until there is room.
    is_paused: bool,
    acknowledged: Vec<PacketId>,
    is_abandoned: bool,
    must_leave: bool,
}

/// What the driver has to know.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) acknowledged: Vec<PacketId>,
    /// The inbox is gone.
    pub(super) is_abandoned: bool,
    /// Another client has taken over.
    pub(super) must_leave: bool,
    /// Nothing is to be fetched.
    pub(super) is_paused: bool,
}

impl Shared {
    pub(super) fn new(messages_max: usize, bytes_max: usize, is_manual: bool, tells_origin: bool) -> Self {
        let (state, requests) = (Mutex::default(), Requests::new());
        Self { state, requests, messages_max, bytes_max, is_manual, tells_origin }
    }

    pub(super) fn gone(&self) -> Option<Gone> {
        self.state.lock().gone
    }

    /// Asks the client to make room for another one with its ClientId.
    pub(super) fn ask_to_leave(&self) {
        self.tell_driver(|state| state.must_leave = true);
    }

    fn abandon(&self) {
        self.tell_driver(|state| {
            state.is_abandoned = true;
            state.forget(|_| false);
        });
    }

    fn acknowledge(&self, packet_id: PacketId) {
        self.tell_driver(|state| state.acknowledged.push(packet_id));
    }

    fn tell_driver(&self, change: impl FnOnce(&mut State)) {
        let driver = {
            let mut state = self.state.lock();
            if state.gone.is_some() {
                return;
            }
            change(&mut state);
            state.is_news = true;
            state.driver.take()
        };
        wake(driver);
    }

    fn poll_take(&self, context: &Context<'_>) -> Poll<Option<Message>> {
        let mut state = self.state.lock();
        let Some(message) = state.queue.pop_front() else {
            if state.gone.is_some() {
                return Poll::Ready(None);
            }
            register(&mut state.reader, context);
            return Poll::Pending;
        };
        state.uncount(&message);
        let has_room_again = state.is_paused && state.promised_bytes < self.bytes_max;
        let acknowledged = message.packet_id.filter(|_| !self.is_manual && state.gone.is_none());
        state.acknowledged.extend(acknowledged);
        let driver = if has_room_again || acknowledged.is_some() {
            state.is_news = true;
            state.driver.take()
        } else {
            None
        };
        drop(state);
        wake(driver);
        Poll::Ready(Some(message))
    }

    /// Messages for the inbox, all at once: one lock, one wake-up.
    pub(super) fn push(&self, messages: &mut Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if state.is_abandoned {
            drop(state);
            // Unacknowledged, so the session keeps what it promised.
            messages.clear();
            return;
        }
        for message in messages.drain(..) {
            let is_full = state.queue.len() >= self.messages_max || state.bytes >= self.bytes_max;
            if is_full && message.qos == QoS::AtMostOnce {
                state.dropped += 1;
                continue;
            }
            let bytes = size_of(&message);
            state.bytes += bytes;
            state.promised_bytes += if message.qos == QoS::AtMostOnce { 0 } else { bytes };
            state.queue.push_back(message);
        }
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    /// Ready when [`Self::take_news`] has some.
    pub(super) fn poll_news(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.is_news {
            return Poll::Ready(());
        }
        register(&mut state.driver, context);
        Poll::Pending
    }

    /// What has changed; and if `may_pause`, whether nothing is to be fetched.
    pub(super) fn take_news(&self, may_pause: bool) -> News {
        let mut state = self.state.lock();
        state.is_news = false;
        let acknowledged = std::mem::take(&mut state.acknowledged);
        state.is_paused =
            may_pause && acknowledged.is_empty() && state.promised_bytes >= self.bytes_max.max(1);
        let State { is_abandoned, must_leave, is_paused, .. } = *state;
        News { acknowledged, is_abandoned, must_leave, is_paused }
    }

    /// The client has ended; the first reason counts. What was promised and not taken comes again if the session stays, so
    /// it is forgotten here.
    pub(super) fn end(&self, gone: Gone, is_persistent: bool) {
        let mut state = self.state.lock();
        if state.gone.is_some() {
            return;
        }
        state.gone = Some(gone);
        state.driver = None;
        if is_persistent {
            state.forget(|message| message.qos == QoS::AtMostOnce);
        }
        let reader = state.reader.take();
        drop(state);
        self.requests.end();
        wake(reader);
    }
}

impl State {
    fn uncount(&mut self, message: &Message) {
        let bytes = size_of(message);
        self.bytes -= bytes;
        self.promised_bytes -= if message.qos == QoS::AtMostOnce { 0 } else { bytes };
    }

    fn forget(&mut self, is_kept: impl Fn(&Message) -> bool) {
        for message in std::mem::take(&mut self.queue) {
            if is_kept(&message) {
                self.queue.push_back(message);
            } else {
                self.uncount(&message);
            }
        }
    }
}

/// What a message counts in an inbox.
fn size_of(message: &Message) -> usize {
    std::mem::size_of::<Message>() + message.topic.len() + message.payload.len()
}

pub(super) fn register(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        none => *none = Some(context.waker().clone()),
    }
}

pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
