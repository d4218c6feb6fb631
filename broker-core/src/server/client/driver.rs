//! The task of a client in the broker's process: commands into packets, packets into the inbox.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use culex_codec::{PacketId, TopicFilter};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

use crate::client::{ClientError, Connection, Event};
use crate::engine::error::CloseReason;

use super::super::pipe::PipeFate;
use super::Command;
use super::error::Gone;
use super::inbox::Shared;
use super::kept::Hold;

/// Requests without an answer.
const PENDING_MAX: usize = 1024;
/// Time for what was begun before a disconnect, and for the broker to see it.
const GOODBYE: Duration = Duration::from_secs(5);

pub(super) struct Driver {
    /// The first field, so that a driver that is dropped tells why before its answers are missed.
    pub(super) ending: Ending,
    pub(super) connection: Connection,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) fate: PipeFate,
    pub(super) hold: Option<Hold>,
    /// The broker waits for this to be dropped.
    pub(super) closing: watch::Receiver<bool>,
    pub(super) pending: HashMap<PacketId, Pending>,
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
        let Self { ending, connection, commands, fate, hold, closing, pending } = self;
        let session = connection.into_session();
        // The lane handles what we wrote before it finds the end; the next connection comes behind that.
        let _ = timeout(GOODBYE, poll_fn(|context| fate.poll_end(context))).await;
        ending.inbox.end(gone, ending.is_persistent);
        drop((commands, pending));
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
            // The answer that somebody waits for stands behind the messages that are not fetched.
            let may_pause = !is_closing && self.pending.is_empty() && self.connection.is_idle();
            let news = self.ending.inbox.take_news(may_pause);
            for packet_id in news.acknowledged {
                self.connection.acknowledge(packet_id)?;
            }
            if news.must_leave {
                return Ok(End::MustLeave);
            }
            if news.is_abandoned && !has_handles {
                return Ok(End::Disconnect(None));
            }
            let has_room = self.connection.has_room() && self.pending.len() < PENDING_MAX;
            let inbox = &self.ending.inbox;
            tokio::select! {
                biased;
                () = poll_fn(|context| inbox.poll_news(context)) => {}
                command = self.commands.recv(), if has_room && has_handles => match command {
                    Some(Command::Disconnect { done }) => return Ok(End::Disconnect(Some(done))),
                    Some(command) => self.on_command(command)?,
                    None => has_handles = false,
                },
                event = self.connection.event(), if !news.is_paused => self.on_event(event?),
                () = closed(&mut self.closing), if news.is_paused => is_closing = true,
            }
        }
    }

    fn on_command(&mut self, command: Command) -> Result<(), ClientError> {
        let (packet_id, pending) = match command {
            Command::Publish { publication, taken, _room } => {
                match (self.connection.publish(publication)?, taken) {
                    (Some(packet_id), Some(taken)) => (packet_id, Pending::Publish(taken)),
                    (Some(_) | None, _) => return Ok(()),
                }
            }
            Command::Subscribe { filter, qos, answer } => {
                let filter = TopicFilter::new(&filter)?;
                (self.connection.subscribe(&[(filter, qos)])?, Pending::Subscribe(answer))
            }
            Command::Unsubscribe { filter, answer } => {
                let filter = TopicFilter::new(&filter)?;
                (self.connection.unsubscribe(&[filter])?, Pending::Unsubscribe(answer))
            }
            Command::Disconnect { done: _ } => return Ok(()),
        };
        self.pending.insert(packet_id, pending);
        Ok(())
    }

    fn on_event(&mut self, event: Event) {
        // Whoever waited for an answer may have stopped waiting.
        match event {
            Event::Message(message) => self.ending.inbox.push(message),
            Event::Published { packet_id, code: _ } | Event::Unsubscribed { packet_id } => {
                match self.pending.remove(&packet_id) {
                    Some(Pending::Publish(taken) | Pending::Unsubscribe(taken)) => drop(taken.send(())),
                    // A message of an earlier connection.
                    Some(Pending::Subscribe(_)) | None => {}
                }
            }
            Event::Subscribed { packet_id, codes } => {
                if let (Some(Pending::Subscribe(answer)), Some(code)) =
                    (self.pending.remove(&packet_id), codes.first())
                {
                    let _ = answer.send(*code);
                }
            }
            Event::Written => {}
        }
    }

    /// What was begun ends, then DISCONNECT.
    async fn say_goodbye(&mut self) -> Result<(), ClientError> {
        while !self.pending.is_empty() || self.connection.in_flight() > 0 {
            let event = self.connection.event().await?;
            self.on_event(event);
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
