//! When each ClientId has connected last, of all bridges of a broker: AWS IoT Core takes one CONNECT a second of each
//! (AIC-CON-06), whichever bridge it is of and however often it is ordered to go and to come back.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::aws::CONNECT_GAP;

/// A ClientId, and where it connects to.
type Key = (String, String);

/// The last CONNECTs. Those that hold up nobody any more are forgotten.
#[derive(Debug, Default)]
pub(super) struct Connects(Mutex<HashMap<Key, Instant>>);

/// The right to connect once. The time counts from its end, because nobody knows when in between CONNECT arrived.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    connects: &'a Connects,
    key: Key,
}

impl Connects {
    /// Resolves when this ClientId may connect to this endpoint.
    pub(super) async fn turn(&self, client_id: &str, endpoint: &str) -> Turn<'_> {
        let key = (client_id.to_owned(), endpoint.to_owned());
        loop {
            let last = self.0.lock().get(&key).copied();
            match last.map(|last| last + CONNECT_GAP).filter(|at| *at > Instant::now()) {
                // Somebody else may be first.
                Some(at) => sleep_until(at).await,
                None => break,
            }
        }
        self.connected(client_id, endpoint);
        Turn { connects: self, key }
    }

    /// This ClientId has connected now, or somebody else may have done so with it.
    pub(super) fn connected(&self, client_id: &str, endpoint: &str) {
        self.put((client_id.to_owned(), endpoint.to_owned()));
    }

    fn put(&self, key: Key) {
        let (now, mut last) = (Instant::now(), self.0.lock());
        last.retain(|_, at| now.saturating_duration_since(*at) < CONNECT_GAP);
        last.insert(key, now);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.connects.put(std::mem::take(&mut self.key));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_id_waits_from_the_end_of_its_last_attempt_on() {
        let (connects, start) = (Connects::default(), Instant::now());
        let turn = connects.turn("a", "x").await;
        for (id, endpoint) in [("b", "x"), ("a", "y")] {
            drop(connects.turn(id, endpoint).await);
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "others do not wait");
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(turn);
        let turn = connects.turn("a", "x").await;
        assert_eq!(start.elapsed(), Duration::from_secs(3) + CONNECT_GAP);
        drop(turn);
        connects.connected("a", "x");
        assert_eq!(connects.0.lock().len(), 1, "the others are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn two_that_wait_go_one_after_the_other() {
        let (connects, start) = (Connects::default(), Instant::now());
        connects.connected("a", "x");
        let one = async {
            drop(connects.turn("a", "x").await);
            start.elapsed()
        };
        let other = async {
            drop(connects.turn("a", "x").await);
            start.elapsed()
        };
        let (one, other) = tokio::join!(one, other);
        assert_eq!((one.min(other), one.max(other)), (CONNECT_GAP, 2 * CONNECT_GAP));
    }
}
