//! Names of events: the same at every attempt, after a crash too, and another one for every other event.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use culex_core::client::Message;
use culex_core::{Delivery, Origin};
use sha2::{Digest, Sha256};

use super::event::{HookEvent, News, Published, What};
use crate::integration::DeadLetter;

/// Bytes of a hash that names something.
const ID_BYTES: usize = 16;

/// Names what has no number of its own, and nothing twice.
#[derive(Debug)]
pub(super) struct Names {
    /// Another one at every start.
    run: u128,
    next: AtomicU64,
}

impl Names {
    /// `seed` is a random number.
    pub(super) const fn new(seed: u128) -> Self {
        Self { run: seed, next: AtomicU64::new(0) }
    }

    /// A message from the session.
    pub(super) fn message(&self, delivery: &Delivery) -> HookEvent {
        let (message, origin): (&Message, _) = (delivery, delivery.origin());
        let accepted = origin.accepted_at.map(|at| UNIX_EPOCH + Duration::from_millis(at.0));
        let author = origin.author.as_ref();
        HookEvent {
            id: self.id_of(message, origin),
            at: accepted.unwrap_or_else(SystemTime::now),
            what: What::Message(Published {
                topic: message.topic.clone(),
                payload: message.payload.clone(),
                qos: message.qos,
                retain: message.is_retained,
                client_id: author.map(|author| author.client_id.to_string()),
                username: author.and_then(|author| author.user_name.as_deref()).map(str::to_owned),
            }),
        }
    }

    /// Something else that has just happened.
    pub(super) fn news(&self, news: News) -> HookEvent {
        let id = format!("evt_{}", hex(&self.fresh()));
        HookEvent { id, at: SystemTime::now(), what: What::News(news) }
    }

    /// The number of a message alone is not enough: a broker that is started again without any message kept begins at 1.
    /// The time at which it was accepted is kept with it, too.
    fn id_of(&self, message: &Message, origin: &Origin) -> String {
        let mut hash = Sha256::new();
        match origin.number {
            Some(number) => {
                hash.update(number.to_be_bytes());
                hash.update(origin.accepted_at.unwrap_or_default().0.to_be_bytes());
            }
            // Nobody keeps it, so it is never brought again.
            None => hash.update(self.fresh()),
        }
        hash.update([message.qos as u8]);
        hash.update((message.topic.len() as u64).to_be_bytes());
        hash.update(message.topic.as_bytes());
        hash.update(&message.payload);
        format!("msg_{}", hex(&hash.finalize()))
    }

    fn fresh(&self) -> [u8; ID_BYTES] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.run.wrapping_add(u128::from(number)).to_be_bytes()
    }
}

/// A dead letter once more: the event that it was.
pub(super) fn revived(letter: &DeadLetter) -> HookEvent {
    let what = What::Message(Published {
        topic: letter.topic.clone(),
        payload: letter.payload.clone(),
        qos: letter.qos,
        retain: letter.retain,
        client_id: None,
        username: None,
    });
    HookEvent { id: letter.key.clone(), at: letter.at, what }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}
