//! The task of a client in the broker's process: requests into packets, packets into the inbox.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use culex_codec::{PacketId, ReasonCode, TopicFilter};
use tokio::sync::{oneshot, watch};
use tokio::task::consume_budget;
use tokio::time::timeout;
use tracing::warn;

use crate::client::{ClientError, Connection, Event, Message};
use crate::engine::error::CloseReason;

use super::super::pipe::PipeFate;
use super::error::Gone;
use super::inbox::Shared;
use super::kept::Hold;
use super::requests::Request;

/// Requests without an answer.
const PENDING_MAX: usize = 1024;
/// Time for what was begun before a disconnect, and for the broker to see it.
const GOODBYE: Duration = Duration::from_secs(5);

pub(super) struct Driver {
    /// The first field, so that a driver that is dropped tells why before its answers are missed.
    pub(super) ending: Ending,
    pub(super) connection: Connection,
    pub(super) fate: PipeFate,
    pub(super) hold: Option<Hold>,
    /// The broker waits for this to be dropped.
    pub(super) closing: watch::Receiver<bool>,
    /// Requests that wait for room in the window.
    pub(super) waiting: VecDeque<Request>,
    pub(super) pending: HashMap<PacketId, Pending>,
    /// Messages on their way into the inbox.
    pub(super) arrived: Vec<Message>,
    /// Answers on their way to those who wait.
    pub(super) answered: Vec<(Pending, u8)>,
}

/// Ends the inbox with the driver, even if its runtime drops it.
pub(super) struct Ending {
    pub(super) inbox: Arc<Shared>,
    pub(super) is_persistent: bool,
}

/// Who waits for an answer.
pub(super) enum Pending {
    Publish(oneshot::Sender<()>),
    Subscribe(oneshot::Sender<u8>),
    Unsubscribe(oneshot::Sender<()>),
}

/// Why the driver stops by itself.
enum End {
    Disconnect(Option<oneshot::Sender<()>>),
    MustLeave,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.inbox.end(Gone::Stopped, self.is_persistent);
    }
}

impl Driver {
    pub(super) async fn run(mut self) {
        let mut done = None;
        let gone = match self.drive().await {
            Ok(End::Disconnect(answer)) => {
                done = answer;
                // What is not done by then is left to the session.
                let _ = timeout(GOODBYE, self.say_goodbye()).await;
                Gone::Disconnected
            }
            Ok(End::MustLeave) => Gone::TakenOver,
            Err(error) => self.reason(&error),
        };
        let Self { ending, connection, fate, hold, closing, waiting, pending, .. } = self;
        let session = connection.into_session();
        // The lane handles what we wrote before it finds the end; the next connection comes behind that.
        let _ = timeout(GOODBYE, poll_fn(|context| fate.poll_end(context))).await;
        ending.inbox.end(gone, ending.is_persistent);
        drop((waiting, pending));
        if let Some(hold) = hold {
            hold.give_back(session);
        }
        drop(closing);
        if let Some(done) = done {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }

    async fn drive(&mut self) -> Result<End, ClientError> {
        let (mut has_handles, mut is_closing) = (true, false);
        loop {
            // Neither pipe nor inbox has a budget of its own.
            consume_budget().await;
            if let Some(end) = self.take_requests()? {
                return Ok(end);
            }
            // The answer that somebody waits for stands behind the messages that are not fetched.
            let may_pause = !is_closing && self.pending.is_empty() && self.connection.is_idle();
            let news = self.ending.inbox.take_news(may_pause);
            for packet_id in news.acknowledged {
                self.connection.acknowledge(packet_id)?;
            }
            if news.must_leave {
                return Ok(End::MustLeave);
            }
            if news.is_abandoned && !has_handles && self.waiting.is_empty() {
                return Ok(End::Disconnect(None));
            }
            let (inbox, waiting) = (&self.ending.inbox, &mut self.waiting);
            let may_take = has_handles && waiting.is_empty();
            tokio::select! {
                biased;
                () = poll_fn(|context| inbox.poll_news(context)) => {}
                more = poll_fn(|context| inbox.requests.poll_take(context, waiting)), if may_take => {
                    has_handles = more;
                }
                event = self.connection.event(), if !news.is_paused => self.on_events(event?)?,
                () = closed(&mut self.closing), if news.is_paused => is_closing = true,
            }
        }
    }

    /// As many of the requests that wait as there is room for, in their order.
    fn take_requests(&mut self) -> Result<Option<End>, ClientError> {
        while self.connection.has_room() && self.pending.len() < PENDING_MAX {
            match self.waiting.pop_front() {
                Some(Request::Disconnect { done }) => return Ok(Some(End::Disconnect(Some(done)))),
                Some(request) => self.on_request(request)?,
                None => break,
            }
        }
        Ok(None)
    }

    fn on_request(&mut self, request: Request) -> Result<(), ClientError> {
        let (packet_id, pending) = match request {
            Request::Packets(packets) => {
                self.connection.write_packets(packets);
                return Ok(());
            }
            Request::Publish { publication, taken } => match self.connection.publish(publication)? {
                Some(packet_id) => (packet_id, Pending::Publish(taken)),
                None => return Ok(()),
            },
            Request::Subscribe { filter, qos, answer } => {
                let filter = TopicFilter::new(&filter)?;
                (self.connection.subscribe(&[(filter, qos)])?, Pending::Subscribe(answer))
            }
            Request::Unsubscribe { filter, answer } => {
                let filter = TopicFilter::new(&filter)?;
                (self.connection.unsubscribe(&[filter])?, Pending::Unsubscribe(answer))
            }
            Request::Disconnect { done: _ } => return Ok(()),
        };
        self.pending.insert(packet_id, pending);
        Ok(())
    }

    /// An event, and all that came with it.
    fn on_events(&mut self, first: Event) -> Result<(), ClientError> {
        let mut next = Ok(Some(first));
        while let Ok(Some(event)) = next {
            self.on_event(event);
            next = self.connection.buffered_event();
        }
        // Whoever has an answer finds what came before it in the inbox.
        self.ending.inbox.push(&mut self.arrived);
        for (pending, code) in self.answered.drain(..) {
            // Whoever waited for it may have stopped waiting.
            match pending {
                Pending::Publish(taken) | Pending::Unsubscribe(taken) => drop(taken.send(())),
                Pending::Subscribe(answer) => drop(answer.send(code)),
            }
        }
        next.map(|_| ())
    }

    fn on_event(&mut self, event: Event) {
        let (packet_id, code) = match event {
            Event::Message(message) => return self.arrived.push(message),
            Event::Written => return,
            Event::Published { packet_id, reason } => (packet_id, reason.code),
            Event::Unsubscribed { packet_id } => (packet_id, 0),
            // One Topic Filter, so one code.
            Event::Subscribed { packet_id, codes, .. } => {
                (packet_id, codes.first().copied().unwrap_or(ReasonCode::UnspecifiedError.as_u8()))
            }
        };
        // It may be a message of an earlier connection.
        self.answered.extend(self.pending.remove(&packet_id).map(|pending| (pending, code)));
    }

    /// What was begun ends, then DISCONNECT.
    async fn say_goodbye(&mut self) -> Result<(), ClientError> {
        while !self.pending.is_empty() || self.connection.in_flight() > 0 {
            let event = self.connection.event().await?;
            self.on_events(event)?;
        }
        self.connection.say_goodbye().await
    }

    fn reason(&self, error: &ClientError) -> Gone {
        match self.fate.reason() {
            Some(CloseReason::TakenOver) => Gone::TakenOver,
            Some(reason) => Gone::Closed(reason),
            None => {
                if !matches!(error, ClientError::Closed | ClientError::Io(_)) {
                    warn!(%error, "a client in this process ended");
                }
                Gone::Stopped
            }
        }
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    // Without a sender the broker is gone.
    let _ = closing.wait_for(|is_closing| *is_closing).await;
}
