//! The broker's own topics, `$SYS/broker/…`: what it counts, for whoever subscribes.
//!
//! ```text
//!   timer ─► metrics ─► Tree: values that have changed ─► lane 0, a message for each topic ─► Retained Messages, routes
//! ```
//!
//! Names, units and averages are mosquitto's. A value is published when it is another one than before: QoS 0, retained,
//! not stored. One timer for all of it, and none without an interval.

mod load;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use culex_codec::TopicName;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::engine::shard::{Shard, Turn};

use super::lane::LaneMessage;
use super::mailbox::Mailbox;
use super::metrics::Metrics;

use self::tree::{Memory, Tree};

/// What is published there, and how often.
#[derive(Debug, Clone)]
pub(crate) struct SystemTopics {
    pub(crate) version: String,
    pub(crate) interval: Duration,
}

impl SystemTopics {
    /// Publishes until `closing` is true or its sender is gone.
    pub(crate) async fn publish(
        self,
        metrics: Arc<Metrics>,
        lane: Arc<Mailbox<LaneMessage>>,
        mut closing: watch::Receiver<bool>,
    ) {
        let begin = Instant::now();
        let mut tree = Tree::new(&self.version);
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = async { let _ = closing.wait_for(|is_closing| *is_closing).await; } => return,
            }
            let changed = tree.update(begin.elapsed(), &metrics.snapshot(), Memory::now());
            // Each on its own, so that very many subscribers are served over several turns.
            lane.send(changed.into_iter().map(|(topic, value)| message(topic, value)), 0);
        }
    }
}

fn message(topic: String, value: String) -> LaneMessage {
    LaneMessage::Visit(Box::new(move |shard: &mut Shard, turn: &mut Turn<'_>| {
        shard.publish_system(turn, TopicName::assume_valid(&topic), value.as_bytes());
    }))
}
