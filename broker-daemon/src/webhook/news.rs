//! Events of the broker, told to a service one after another.

use std::sync::Arc;

use culex_core::Events;
use tokio::sync::{broadcast, mpsc, watch};

use super::delivery::{Courier, End, stopped};
use super::event::{EventKind, HookEvent, News};
use super::identity::Names;
use crate::integration::{Direction, Meter, Outcome, StateChange};

/// Events that wait for a service. One more is dropped, and counted.
const WAITING_MAX: usize = 1024;

/// Picks those events and changes that a webhook wants, and delivers them.
pub(super) async fn run(
    (events, changes): (Events, broadcast::Receiver<StateChange>),
    names: Arc<Names>,
    mut courier: Courier,
    mut stop: watch::Receiver<bool>,
) {
    let kinds = courier.shared.webhook.events.clone();
    let (send, mut waiting) = mpsc::channel(WAITING_MAX);
    let meter = Arc::clone(&courier.shared.meter);
    let collecting = collect(events, changes, &kinds, &names, &send, &meter);
    let delivering = async {
        while let Some(event) = waiting.recv().await {
            if courier.deliver(std::slice::from_ref(&event)).await == End::Stopped {
                return;
            }
        }
    };
    tokio::select! {
        () = collecting => {}
        () = delivering => {}
        () = stopped(&mut stop) => {}
    }
}

async fn collect(
    mut events: Events,
    mut changes: broadcast::Receiver<StateChange>,
    kinds: &[EventKind],
    names: &Names,
    send: &mpsc::Sender<HookEvent>,
    meter: &Meter,
) {
    loop {
        let news = tokio::select! {
            event = events.next() => match event {
                None => return,
                Some(event) => News::of(&event),
            },
            change = changes.recv() => match change {
                Ok(change) => change.name.strip_prefix("bridge/").map(|name| {
                    News::of_bridge(name, change.standing.word(), &change.why)
                }),
                Err(broadcast::error::RecvError::Lagged(_)) => None,
                Err(broadcast::error::RecvError::Closed) => return,
            },
        };
        let Some(news) = news.filter(|news| kinds.contains(&news.kind)) else { continue };
        if send.try_send(names.news(news)).is_err() {
            meter.count(Direction::Out, Outcome::Dropped, 0);
        }
    }
}
