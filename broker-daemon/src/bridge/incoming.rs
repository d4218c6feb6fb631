//! What comes in: from the other broker to the local one, which has it for good before the other one is told.
//!
//! ```text
//!   PUBLISH ─► been here before? ─► topic here ─► published here ─ PUBACK of this broker ─► PUBACK to the other one
//!                                                    └─ refused ─► dead letter, kept ─────────┘
//! ```

use culex_codec::{PacketId, QoS};
use culex_core::client::{Message, Publication};
use culex_core::{Client, Gone, PublishError};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::time::Instant;

use super::loops::{Echoes, Passage, Side};
use super::pending::Pending;
use super::shared::Shared;
use crate::integration::{DeadLetter, DeadLetterError, DeadLetters, Outcome};

/// Messages that are being published here; beyond it the other side is not read.
const PENDING_MAX: usize = 100;

/// A message that is done with.
#[derive(Debug)]
pub(super) struct Done {
    /// What the other side knows it by, at QoS 1 and 2.
    pub(super) packet_id: Option<PacketId>,
    /// With which it came.
    pub(super) qos: QoS,
    /// Bytes of its payload.
    pub(super) bytes: usize,
    pub(super) outcome: Result<Outcome, Unsettled>,
}

/// It could neither be published nor kept, so the other side must send it again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsettled {
    #[error("{0}")]
    Gone(Gone),
    #[error("a message from the other broker can neither be published here nor kept: {0}")]
    Letter(#[from] DeadLetterError),
}

/// Messages between the other side and the broker here.
#[derive(Default)]
pub(super) struct Incoming {
    pending: Pending<Done>,
}

/// What a message that came in is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is being published.
    Taken,
    /// One that we have sent.
    Echo,
    /// One that has been here before, round about.
    Again,
    /// No mapping has its topic.
    Unplaced,
}

impl Incoming {
    /// Whether another message may be read.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < PENDING_MAX
    }

    /// Whether all messages are done with.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.len() == 0
    }

    /// A message of the other side. `own` publishes it here if the client for its topic is not there yet.
    pub(super) fn take(&mut self, message: Message, shared: &Shared, own: &Client) -> Arrival {
        let is_ours =
            |echoes: &Mutex<Echoes>| echoes.lock().is_ours(&message.topic, &message.payload, Instant::now());
        if shared.echoes.as_ref().is_some_and(is_ours) {
            return Arrival::Echo;
        }
        let passage = shared.circles.as_ref().map_or(Passage::Goes, |circles| circles.comes_in(&message));
        match passage {
            Passage::Goes | Passage::Asks | Passage::Strange | Passage::Closes(_) => {}
            Passage::Again => return Arrival::Again,
            Passage::Ends => return Arrival::Echo,
        }
        let (packet_id, qos) = (message.packet_id, message.qos);
        let Some(placed) = shared.mappings.place_in(&message.topic, &message.payload) else {
            return Arrival::Unplaced;
        };
        if let Some(why) = placed.objection {
            let mut letter = DeadLetter::new(placed.topic, placed.payload);
            (letter.qos, letter.retain, letter.reason) = (message.qos, message.is_retained, why);
            let letters = Arc::clone(&shared.letters);
            self.pending.push(async move {
                let bytes = letter.payload.len();
                Done { packet_id, qos, bytes, outcome: keep(&letter, &letters).await }
            });
            return Arrival::Taken;
        }
        let publication = Publication::new(placed.topic, placed.payload, message.qos.min(placed.qos));
        let publication =
            if message.is_retained && placed.retain { publication.retained() } else { publication };
        let bytes = publication.payload.len();
        let client = shared.client_for(&publication.topic).unwrap_or_else(|| own.clone());
        if let Some(circles) = shared.circles.as_ref().filter(|_| passage == Passage::Asks) {
            circles.ask(Side::In, &publication.topic, |question| {
                let client = client.clone();
                // One a minute at most; if nobody takes it there is no answer, and it is asked again.
                tokio::spawn(async move { client.send(question).await });
                true
            });
        }
        let letters = Arc::clone(&shared.letters);
        self.pending.push(async move {
            Done { packet_id, qos, bytes, outcome: settle(publication, &client, &letters).await }
        });
        Arrival::Taken
    }

    /// The next message that is done with; never if there is none.
    pub(super) async fn next(&mut self) -> Done {
        self.pending.next().await
    }
}

async fn settle(
    publication: Publication,
    client: &Client,
    letters: &DeadLetters,
) -> Result<Outcome, Unsettled> {
    let mut letter = DeadLetter::new(publication.topic.clone(), publication.payload.clone());
    (letter.qos, letter.retain) = (publication.qos, publication.is_retained);
    match client.send(publication).await {
        Ok(()) => Ok(Outcome::Delivered),
        Err(PublishError::Gone(gone)) => Err(Unsettled::Gone(gone)),
        Err(error) => {
            letter.reason = format!("from the other broker, and not taken here: {error}");
            keep(&letter, letters).await
        }
    }
}

async fn keep(letter: &DeadLetter, letters: &DeadLetters) -> Result<Outcome, Unsettled> {
    letters.put(letter).await?;
    Ok(Outcome::DeadLettered)
}
