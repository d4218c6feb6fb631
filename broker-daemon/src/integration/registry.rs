//! Which integrations there are, for those who list them and for those who hand messages back to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::letter::DeadLetter;
use super::meter::{Meter, StateChange};

/// Dead letters that wait to be taken back by one integration.
const HANDBACKS_MAX: usize = 16;
/// Changes that a reader may be behind; then it misses the oldest.
const CHANGES_BEHIND_MAX: usize = 256;

/// All integrations of a broker. A cheap handle: clones mean the same ones.
#[derive(Debug, Clone, Default)]
pub struct Integrations(Arc<All>);

#[derive(Debug)]
struct All {
    entries: Mutex<BTreeMap<Box<str>, Entry>>,
    changes: broadcast::Sender<StateChange>,
}

impl Default for All {
    fn default() -> Self {
        Self { entries: Mutex::default(), changes: broadcast::Sender::new(CHANGES_BEHIND_MAX) }
    }
}

#[derive(Debug)]
struct Entry {
    meter: Arc<Meter>,
    /// The ClientIds of its sessions.
    sessions: Arc<[String]>,
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
    /// reload, is replaced. Its session is `$culex/` and that name, unless it says otherwise with
    /// [`Registration::set_sessions`].
    pub fn register(&self, name: &str) -> Registration {
        let (send, back) = mpsc::channel(HANDBACKS_MAX);
        let meter = Arc::new(Meter::announced(name, self.0.changes.clone()));
        let sessions = [format!("$culex/{name}")].into();
        let entry = Entry { meter: Arc::clone(&meter), sessions, back: send };
        self.0.entries.lock().insert(name.into(), entry);
        Registration { all: self.clone(), name: name.into(), meter, back }
    }

    /// All of them, by kind and name.
    pub fn list(&self) -> Vec<(Box<str>, Arc<Meter>)> {
        self.0.entries.lock().iter().map(|(name, entry)| (name.clone(), Arc::clone(&entry.meter))).collect()
    }

    /// The numbers of one.
    pub fn meter(&self, name: &str) -> Option<Arc<Meter>> {
        self.0.entries.lock().get(name).map(|entry| Arc::clone(&entry.meter))
    }

    /// The ClientIds of the sessions of one.
    pub fn sessions(&self, name: &str) -> Arc<[String]> {
        self.0.entries.lock().get(name).map(|entry| Arc::clone(&entry.sessions)).unwrap_or_default()
    }

    /// What becomes of them from now on.
    pub fn changes(&self) -> broadcast::Receiver<StateChange> {
        self.0.changes.subscribe()
    }

    /// Has the integration try a dead letter again, and waits for what became of it; `None` if it is not there or takes
    /// none back.
    pub async fn hand_back(&self, name: &str, letter: DeadLetter) -> Option<Result<(), String>> {
        let back = self.0.entries.lock().get(name).map(|entry| entry.back.clone())?;
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

    /// The ClientIds of its sessions.
    pub fn set_sessions(&self, sessions: impl IntoIterator<Item = String>) {
        if let Some(entry) = self.all.0.entries.lock().get_mut(&self.name) {
            entry.sessions = sessions.into_iter().collect();
        }
    }

    /// Under what it is entered.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut all = self.all.0.entries.lock();
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
