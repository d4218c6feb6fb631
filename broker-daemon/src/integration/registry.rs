//! Which integrations there are, for those who list them and for those who hand messages back to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::letter::DeadLetter;
use super::meter::Meter;

/// Dead letters that wait to be taken back by one integration.
const HANDBACKS_MAX: usize = 16;

/// All integrations of a broker. A cheap handle: clones mean the same ones.
#[derive(Debug, Clone, Default)]
pub struct Integrations(Arc<Mutex<BTreeMap<Box<str>, Entry>>>);

#[derive(Debug)]
struct Entry {
    meter: Arc<Meter>,
    back: mpsc::Sender<Handback>,
}

/// A dead letter that its integration shall try again.
#[derive(Debug)]
pub struct Handback {
    /// The message.
    pub letter: DeadLetter,
    /// What became of it: `Ok` when the other side has taken it, otherwise why not. If this is dropped, nothing is known.
    pub done: oneshot::Sender<Result<(), String>>,
}

/// An integration while it runs; it is off the list when this is dropped.
#[derive(Debug)]
pub struct Registration {
    all: Integrations,
    name: Box<str>,
    meter: Arc<Meter>,
    /// Dead letters that come back. Whoever does not read it takes none: they go to their topics.
    pub back: mpsc::Receiver<Handback>,
}

impl Integrations {
    /// Enters one under its kind and name, such as `webhook/sensors`; one with that name that is there already, as at a
    /// reload, is replaced.
    pub fn register(&self, name: &str) -> Registration {
        let (send, back) = mpsc::channel(HANDBACKS_MAX);
        let meter = Arc::new(Meter::default());
        self.0.lock().insert(name.into(), Entry { meter: Arc::clone(&meter), back: send });
        Registration { all: self.clone(), name: name.into(), meter, back }
    }

    /// All of them, by kind and name.
    pub fn list(&self) -> Vec<(Box<str>, Arc<Meter>)> {
        self.0.lock().iter().map(|(name, entry)| (name.clone(), Arc::clone(&entry.meter))).collect()
    }

    /// The numbers of one.
    pub fn meter(&self, name: &str) -> Option<Arc<Meter>> {
        self.0.lock().get(name).map(|entry| Arc::clone(&entry.meter))
    }

    /// Has the integration try a dead letter again, and waits for what became of it; `None` if it is not there or takes
    /// none back.
    pub async fn hand_back(&self, name: &str, letter: DeadLetter) -> Option<Result<(), String>> {
        let back = self.0.lock().get(name).map(|entry| entry.back.clone())?;
        let (done, answer) = oneshot::channel();
        back.send(Handback { letter, done }).await.ok()?;
        Some(answer.await.unwrap_or_else(|_| Err("the integration ended before it had an answer".to_owned())))
    }
}

impl Registration {
    /// Its numbers.
    pub const fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Under what it is entered.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        // Another one may have its place.
        if all.get(&self.name).is_some_and(|entry| Arc::ptr_eq(&entry.meter, &self.meter)) {
            all.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_gone_is_off_the_list_and_takes_nothing_back() {
        let all = Integrations::default();
        let mut first = all.register("webhook/a");
        let letter = DeadLetter::new("t", &b"x"[..]);
        let (given, ()) = tokio::join!(all.hand_back("webhook/a", letter.clone()), async {
            let handback = first.back.recv().await.unwrap();
            assert_eq!(handback.letter, letter);
            handback.done.send(Ok(())).unwrap();
        });
        assert_eq!(given, Some(Ok(())));
        let second = all.register("webhook/a");
        drop(first);
        assert_eq!(all.list().len(), 1, "the newer one stays");
        drop(second);
        assert!(all.list().is_empty());
        assert_eq!(all.hand_back("webhook/a", letter).await, None);
    }
}
