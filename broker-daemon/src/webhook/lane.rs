//! One of the sessions that share the topics of a webhook.

use std::time::Duration;

use culex_core::{Broker, Client, ConnectError, Delivery, Gone, Inbox, QoS, TopicPart};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{error, warn};

use super::body;
use super::delivery::{Courier, End, entropy, stopped};
use super::identity::Names;
use crate::config::Webhook;
use crate::integration::Backoff;
use crate::integration::session::{self, FollowError};

/// Bytes of a request with several messages, more or less.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Parts of the topics do not change as long as there are as many.
const SEED: u32 = 0;
/// How often a session that is left over is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two attempts to be a client of the broker.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A lane with everything that it needs.
pub(super) struct Lane {
    pub(super) broker: Broker,
    pub(super) courier: Courier,
    pub(super) names: std::sync::Arc<Names>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) session: Session,
    /// Dropped when it is subscribed for the first time: from then on it misses nothing.
    pub(super) starting: Option<mpsc::Sender<()>>,
}

/// Which session a lane delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Session {
    /// One of those that share the topics.
    Part(u16),
    /// What an earlier configuration with another number of lanes has left: it gets nothing new, and ends when it is empty.
    Left(String),
}

/// The ClientId of a lane. Their number is part of it: with another number, topics are in other lanes.
pub(super) fn client_id(name: &str, index: u16, lanes: u16) -> String {
    format!("{}/{name}/{index}-of-{lanes}", super::CLIENT_ID)
}

impl Lane {
    /// Delivers until everything ends.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1, Duration::ZERO);
        loop {
            match self.connect().await {
                Ok((client, inbox)) => {
                    backoff.reset();
                    self.starting = None;
                    self.deliver(inbox).await;
                    if *self.stop.borrow() || self.has_ended().await {
                        // What was acknowledged is told before it goes.
                        client.disconnect().await;
                        return;
                    }
                    if matches!(client.ended(), Some(Gone::Stopped | Gone::TakenOver)) {
                        return;
                    }
                }
                Err(Trouble::Over) => return,
                Err(Trouble::Told(why)) => {
                    let name = &self.courier.shared.webhook.name;
                    error!(webhook = name, "it gets no messages: {why}");
                }
            }
            tokio::select! {
                () = sleep(backoff.next_delay(entropy())) => {}
                () = stopped(&mut self.stop) => return,
            }
        }
    }

    async fn connect(&self) -> Result<(Client, Inbox), Trouble> {
        let Webhook { name, topics, qos, concurrency, queue, .. } = &self.courier.shared.webhook;
        let (id, part, topics) = match &self.session {
            Session::Part(index) => {
                let part = TopicPart::new(*index, *concurrency, SEED).filter(|_| *concurrency > 1);
                (client_id(name, *index, *concurrency), part, topics.as_slice())
            }
            Session::Left(id) => (id.clone(), None, &[][..]),
        };
        let mut builder = self
            .broker
            .client(id)
            .persistent(Duration::MAX)
            .manual_ack()
            .tell_origin()
            .retain_as_published()
            .queue_limits(queue.max_messages, queue.max_bytes, queue.when_full)
            .max_age(if queue.max_age.is_zero() { Duration::MAX } else { queue.max_age });
        if queue.qos0 == Some(true) {
            builder = builder.queue_qos0();
        }
        if let Some(part) = part {
            builder = builder.only(part);
        }
        let (client, inbox) = builder.await?;
        let wanted: Vec<_> = topics.iter().map(String::as_str).collect();
        session::follow(&client, &self.broker.admin(), &wanted, *qos).await?;
        Ok((client, inbox))
    }

    async fn deliver(&mut self, mut inbox: Inbox) {
        let batch = usize::from(self.courier.shared.webhook.batch);
        loop {
            if self.has_ended().await {
                return;
            }
            let is_left = matches!(self.session, Session::Left(_));
            let first = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return,
                first = inbox.next() => first,
                // The last acknowledgement may still be on its way.
                () = sleep(LOOK_AGAIN), if is_left => continue,
            };
            let Some(first) = first else { return };
            let (deliveries, events) = self.gather(first, &mut inbox, batch).await;
            match self.courier.deliver(&events).await {
                End::Done => deliveries.iter().for_each(Delivery::ack),
                End::Stopped => return,
            }
        }
    }

    /// Whether the session was left by another configuration and is empty: then it is no more.
    async fn has_ended(&self) -> bool {
        let Session::Left(id) = &self.session else { return false };
        let admin = self.broker.admin();
        match admin.session(id).await {
            Ok(Some(session)) if session.queue_messages > 0 => false,
            // If it is not there, or the broker has stopped, the client finds that too.
            Ok(_) | Err(_) => admin.end_session(id).await.is_ok(),
        }
    }

    /// What waits already and may go together.
    async fn gather(
        &self,
        first: Delivery,
        inbox: &mut Inbox,
        batch: usize,
    ) -> (Vec<Delivery>, Vec<super::event::HookEvent>) {
        let mut events = vec![self.names.message(&first)];
        let mut deliveries = vec![first];
        let mut bytes = events.iter().map(body::size).sum::<usize>();
        while deliveries.len() < batch && bytes < BATCH_BYTES_MAX {
            let next = tokio::select! {
                biased;
                next = inbox.next() => next,
                // Nothing waits for more.
                () = std::future::ready(()) => None,
            };
            let Some(next) = next else { break };
            let event = self.names.message(&next);
            bytes += body::size(&event);
            events.push(event);
            deliveries.push(next);
        }
        (deliveries, events)
    }
}

/// Why a lane is no client.
pub(super) enum Trouble {
    /// The broker has stopped, or another one has its place.
    Over,
    /// It may be otherwise in a moment.
    Told(String),
}

impl From<ConnectError> for Trouble {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others may be over in a moment")]
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::TakenOver | ConnectError::Serve(culex_core::ServeError::Stopped) => Self::Over,
            error => Self::Told(error.to_string()),
        }
    }
}

impl From<culex_core::AdminError> for Trouble {
    fn from(error: culex_core::AdminError) -> Self {
        if error == culex_core::AdminError::Stopped { Self::Over } else { Self::Told(error.to_string()) }
    }
}

impl From<FollowError> for Trouble {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Admin(error) => error.into(),
            FollowError::Subscribe(error) => Self::Told(error.to_string()),
        }
    }
}

/// Lets a session of a webhook that is no more have no new messages, and ends it when nothing waits in it.
pub(super) async fn retire(broker: &Broker, client_id: &str) -> Result<u64, Trouble> {
    let (client, inbox) =
        broker.client(client_id).persistent(Duration::MAX).manual_ack().tell_origin().await?;
    drop(inbox);
    let admin = broker.admin();
    session::follow(&client, &admin, &[], QoS::AtMostOnce).await?;
    client.disconnect().await;
    let left = admin.session(client_id).await?.map_or(0, |session| session.queue_messages);
    if left == 0 {
        admin.end_session(client_id).await?;
    } else {
        warn!(
            client_id,
            messages = left,
            "messages of a webhook that is no more wait; `culex ctl end-session` throws them away"
        );
    }
    Ok(left as u64)
}
