//! The local end of a connection: a client in the process with a persistent session, which is the bridge's queue.

use std::time::Duration;

use culex_codec::TopicName;
use culex_core::limits::Limit;
use culex_core::{
    Client, ClientBuilder, ConnectError, Cursor, Gone, Inbox, QoS, ServeError, SubscribeError, TopicPart,
};

use super::shared::Shared;
use crate::config::{Bridge, BridgeQueue};

/// Filters of one question.
const PAGE: usize = 1000;
/// Which topics go over which of several connections depends on it.
const PARTS_SEED: u32 = 0;

/// A client and what comes for it.
pub(super) struct Local {
    pub(super) client: Client,
    pub(super) inbox: Inbox,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum LocalError {
    /// The broker has stopped.
    Stopped,
    /// Anything else; it is tried again.
    Other(String),
}

/// The ClientId here of a bridge's connection.
pub(super) fn client_id(name: &str, index: u16) -> String {
    if index == 0 { format!("$culex/bridge/{name}") } else { format!("$culex/bridge/{name}/{index}") }
}

/// Connects, and subscribes to what goes out and nothing else. What is subscribed to already is left alone, because
/// subscribing brings all Retained Messages.
pub(super) async fn connect(shared: &Shared, index: u16) -> Result<Local, LocalError> {
    let id = client_id(&shared.bridge.name, index);
    let builder = shared.broker.client(&*id).persistent(Duration::MAX).manual_ack();
    let (client, inbox) = with_options(builder, &shared.bridge, index).connect().await?;
    let present = filters(shared, &id).await?;
    let wanted: Vec<_> = shared.mappings.outgoing.iter().map(|way| way.filter.as_str()).collect();
    for filter in wanted.iter().filter(|filter| !present.iter().any(|present| **present == ***filter)) {
        // Whatever QoS goes over the wire, nothing that was promised here is lost before.
        client.subscribe(filter, QoS::ExactlyOnce).await?;
    }
    for filter in present.iter().filter(|present| !wanted.contains(&&***present)) {
        client.unsubscribe(filter).await?;
    }
    Ok(Local { client, inbox })
}

/// What this session wants that others do not.
fn with_options(builder: ClientBuilder, bridge: &Bridge, index: u16) -> ClientBuilder {
    let BridgeQueue { max_bytes, max_messages, max_age, when_full, qos0 } = bridge.queue;
    let share = |limit: Limit| match limit {
        Limit::AtMost(most) => {
            Limit::at_most(most.get().div_ceil(bridge.connections.into())).unwrap_or(limit)
        }
        Limit::Unlimited => limit,
    };
    let max_age = if max_age.is_zero() { Duration::MAX } else { max_age };
    let mut builder = builder
        .no_local()
        .retain_as_published()
        .queue_limits(share(max_messages), share(max_bytes), when_full)
        .max_age(max_age);
    if qos0 == Some(true) {
        builder = builder.queue_qos0();
    }
    match TopicPart::new(index, bridge.connections, PARTS_SEED) {
        Some(part) if bridge.connections > 1 => builder.only(part),
        Some(_) | None => builder,
    }
}

/// What a session has subscribed to.
async fn filters(shared: &Shared, id: &str) -> Result<Vec<Box<str>>, LocalError> {
    let mut found = Vec::new();
    let mut after = Some(Cursor::default());
    while let Some(cursor) = after {
        let page = shared.admin.subscriptions(id, cursor, PAGE).await.map_err(|_| LocalError::Stopped)?;
        let Some(page) = page else { break };
        found.extend(page.items);
        after = page.next;
    }
    Ok(found)
}

impl From<ConnectError> for LocalError {
    fn from(error: ConnectError) -> Self {
        if matches!(error, ConnectError::Serve(ServeError::Stopped)) {
            return Self::Stopped;
        }
        Self::Other(error.to_string())
    }
}

impl From<SubscribeError> for LocalError {
    fn from(error: SubscribeError) -> Self {
        if matches!(error, SubscribeError::Gone(Gone::Stopped)) {
            return Self::Stopped;
        }
        Self::Other(error.to_string())
    }
}

/// Which of so many sessions gets a topic.
pub(super) fn part_of(topic: &str, count: u16) -> u16 {
    let Ok(topic) = TopicName::new(topic) else { return 0 };
    let has = |index: &u16| TopicPart::new(*index, count, PARTS_SEED).is_some_and(|part| part.has(topic));
    (0..count).find(has).unwrap_or(0)
}

/// Sessions that have no connection any more, from this number on: they get nothing new, and end if nothing waits in them.
pub(super) async fn leave(shared: &Shared, from: u16) {
    for index in from..shared.bridge.connections {
        let id = client_id(&shared.bridge.name, index);
        // A broker that has stopped has no sessions.
        let Ok(filters) = filters(shared, &id).await else { return };
        let connected = shared.broker.client(&*id).persistent(Duration::MAX).manual_ack().connect().await;
        let Ok((client, _)) = connected else { return };
        for filter in &filters {
            let _ = client.unsubscribe(filter).await;
        }
        client.disconnect().await;
        let Ok(Some(session)) = shared.admin.session(&id).await else { continue };
        if session.queue_messages == 0 {
            let _ = shared.admin.end_session(&id).await;
            continue;
        }
        tracing::warn!(
            bridge = %shared.bridge.name,
            messages = session.queue_messages,
            "a bridge is gone, and messages wait for it: they are kept, and go out if it comes back; to drop them: \
             `culex ctl sessions end '{id}'`"
        );
    }
}
