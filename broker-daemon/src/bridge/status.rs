//! What everybody may know of a bridge: `$SYS/broker/connection/<name>/state` as mosquitto has it, everything as JSON
//! beside it, and the same for the API.

use std::sync::Arc;
use std::time::Duration;

use culex_core::QoS;
use culex_core::client::Publication;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::link::Order;
use super::local;
use super::loops::Circles;
use super::shared::{LinkState, Shared};
use crate::integration::{Direction, Load, Outcome, Queue, Registration, Standing};

/// How often queues are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// Samples in a row with more than the connections carry, before that is said.
const SAMPLES: u32 = 3;

/// Publishes the state until the bridge ends.
pub(super) async fn report(
    shared: Arc<Shared>,
    registration: Registration,
    mut orders: watch::Receiver<Order>,
) {
    let mut reporter = Reporter { shared, last: None, busy: 0, published: (String::new(), String::new()) };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_tick = tokio::select! {
            _ = ticks.tick() => true,
            () = reporter.shared.changed.notified() => false,
            stopped = orders.wait_for(|order| *order == Order::Stop) => {
                // Whoever gave orders is gone: the end too.
                drop(stopped);
                break;
            }
        };
        reporter.round(is_tick).await;
    }
    reporter.publish_state("0").await;
    drop(registration);
}

/// How much there was to do at a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    /// Messages that have left the queue for good.
    gone: u64,
    queued: u64,
}

struct Reporter {
    shared: Arc<Shared>,
    last: Option<Sample>,
    /// Samples in a row with more than the connections carry.
    busy: u32,
    /// State and JSON as they were published last.
    published: (String, String),
}

impl Reporter {
    async fn round(&mut self, is_tick: bool) {
        let queue = queue(&self.shared).await;
        let offered = if is_tick { self.sample(&queue) } else { None };
        let shared = &self.shared;
        shared.meter().set_load(Load {
            offered_per_second: offered.unwrap_or_else(|| shared.offered_per_second()),
            carried_per_second_max: shared.carried(),
            queue_messages: queue.messages,
            queue_bytes: queue.bytes,
        });
        if is_tick {
            self.warn();
        }
        let is_up = self.shared.meter().standing().0 == Standing::Up;
        self.publish_state(if is_up { "1" } else { "0" }).await;
        let text = view(&self.shared, &queue).to_string();
        if text != self.published.1 && self.shared.bridge.notifications != Some(false) {
            let topic = format!("$SYS/broker/connection/{}/status", self.shared.bridge.name);
            // A broker that has stopped has nobody to tell.
            let _ = self.shared.admin.publish_system(&topic, text.clone());
            self.published.1 = text;
        }
    }

    /// Messages a second that came since the last look.
    fn sample(&mut self, queue: &Queue) -> Option<u64> {
        let meter = self.shared.meter();
        let gone = [Outcome::Delivered, Outcome::DeadLettered, Outcome::Dropped]
            .map(|outcome| meter.messages(Direction::Out, outcome))
            .iter()
            .sum();
        let sample = Sample { at: Instant::now(), gone, queued: queue.messages };
        let last = self.last.replace(sample)?;
        let seconds = sample.at.saturating_duration_since(last.at).as_secs().max(1);
        let taken = sample.gone.saturating_sub(last.gone);
        Some((taken + sample.queued).saturating_sub(last.queued) / seconds)
    }

    /// Says when more is offered for some time than the connections may carry.
    fn warn(&mut self) {
        let advice = advice(&self.shared);
        self.busy = if advice.is_some() { self.busy + 1 } else { 0 };
        if let Some(advice) = advice.filter(|_| self.busy == SAMPLES) {
            tracing::warn!(bridge = %self.shared.bridge.name, "{advice}");
        }
    }

    async fn publish_state(&mut self, state: &str) {
        let bridge = &self.shared.bridge;
        if bridge.notifications == Some(false) || self.published.0 == state {
            return;
        }
        let topic = bridge.state_topic();
        if topic.starts_with("$SYS/") {
            let _ = self.shared.admin.publish_system(&topic, state.to_owned());
        } else if let Some(client) = self.shared.client(0) {
            let publication = Publication::new(topic, state.to_owned(), QoS::AtLeastOnce).retained();
            if client.send(publication).await.is_err() {
                return;
            }
        } else {
            return;
        }
        state.clone_into(&mut self.published.0);
    }
}

/// What waits in all sessions of a bridge; nothing if the broker has stopped.
pub(super) async fn queue(shared: &Shared) -> Queue {
    let own = (0..shared.bridge.connections).map(|index| local::client_id(&shared.bridge.name, index));
    Queue::of(&shared.admin, own.chain(shared.left.iter().cloned())).await.unwrap_or_default()
}

/// More is offered than the connections may carry: what to do.
fn advice(shared: &Shared) -> Option<String> {
    let (carried, offered) = (shared.carried()?, shared.offered_per_second());
    if offered <= carried {
        return None;
    }
    let each = carried / u64::from(shared.bridge.connections);
    let wanted = offered.div_ceil(each.max(1));
    Some(format!(
        "{offered} messages/s are offered, and the connections may carry {carried}: the queue grows; `connections = {wanted}` \
         would do"
    ))
}

/// Everything about a bridge.
pub(super) fn view(shared: &Shared, queue: &Queue) -> Value {
    let bridge = &shared.bridge;
    let links = shared.links();
    let up: Vec<_> = links
        .iter()
        .filter_map(|link| match link {
            LinkState::Up(address) => Some(address),
            LinkState::Starting | LinkState::Down(_) | LinkState::GivenUp(_) | LinkState::Paused => None,
        })
        .collect();
    let mut view = shared.meter().to_json();
    let addresses: Vec<_> = bridge.addresses.iter().map(ToString::to_string).collect();
    let mut waiting = queue.to_json();
    waiting.insert("max_messages".to_owned(), limit(bridge.queue.max_messages).into());
    waiting.insert("max_bytes".to_owned(), limit(bridge.queue.max_bytes).into());
    let own = json!({
        "name": bridge.name,
        "addresses": addresses,
        "address": up.first(),
        "preset": if shared.rules.is_aws { "aws-iot" } else { "none" },
        "client_id": shared.client_id(0),
        "connections": { "wanted": bridge.connections, "up": up.len() },
        "queue": waiting,
        "messages_per_second": { "offered": shared.offered_per_second(), "carried_at_most": shared.carried() },
        "advice": advice(shared),
        "refused_subscriptions": shared.refused(),
        "going_round": shared.circles.as_ref().map(Circles::view),
        "certificate_days": shared.connector().certificate_days(),
    });
    if let (Value::Object(view), Value::Object(own)) = (&mut view, own) {
        view.extend(own);
    }
    view
}

fn limit(limit: culex_core::limits::Limit) -> Option<u64> {
    match limit {
        culex_core::limits::Limit::AtMost(most) => Some(most.get()),
        culex_core::limits::Limit::Unlimited => None,
    }
}
