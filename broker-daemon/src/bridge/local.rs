//! The local end of a connection: a client in the process with a persistent session, which is the bridge's queue.

use std::time::Duration;

use culex_codec::TopicName;
use culex_core::limits::Limit;
use culex_core::{
    Admin, Broker, Client, ClientBuilder, ConnectError, Gone, Inbox, QoS, ServeError, SubscribeError,
    TopicPart,
};

use super::mapping::Way;
use super::shared::Shared;
use crate::config::{Bridge, BridgeQueue};
use crate::integration::session::{self, FollowError};

/// What the ClientIds here of all bridges begin with.
const CLIENT_ID: &str = "$culex/bridge/";
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
    if index == 0 { format!("{CLIENT_ID}{name}") } else { format!("{CLIENT_ID}{name}/{index}") }
}

/// Connects, and subscribes to what goes out and nothing else.
pub(super) async fn connect(shared: &Shared, index: u16) -> Result<Local, LocalError> {
    let id = client_id(&shared.bridge.name, index);
    let builder = shared.broker.client(&*id).persistent(Duration::MAX).manual_ack();
    let builder = with_options(builder, &shared.bridge);
    let builder = match TopicPart::new(index, shared.bridge.connections, PARTS_SEED) {
        Some(part) if shared.bridge.connections > 1 => builder.only(part),
        Some(_) | None => builder,
    };
    let (client, inbox) = builder.connect().await?;
    let mut wanted: Vec<_> = shared.mappings.outgoing.iter().flat_map(Way::filters).collect();
    wanted.sort_unstable();
    wanted.dedup();
    // Whatever QoS goes over the wire, nothing that was promised here is lost before.
    session::follow(&client, &shared.admin, &wanted, QoS::ExactlyOnce).await?;
    Ok(Local { client, inbox })
}

/// What the sessions of a bridge want that others do not.
fn with_options(builder: ClientBuilder, bridge: &Bridge) -> ClientBuilder {
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
        .tell_origin()
        .queue_limits(share(max_messages), share(max_bytes), when_full)
        .max_age(max_age);
    if qos0 == Some(true) {
        builder = builder.queue_qos0();
    }
    builder
}

impl From<ConnectError> for LocalError {
    fn from(error: ConnectError) -> Self {
        if matches!(error, ConnectError::Serve(ServeError::Stopped)) {
            return Self::Stopped;
        }
        Self::Other(error.to_string())
    }
}

impl From<FollowError> for LocalError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Admin(_) | FollowError::Subscribe(SubscribeError::Gone(Gone::Stopped)) => {
                Self::Stopped
            }
            FollowError::Subscribe(error) => Self::Other(error.to_string()),
        }
    }
}

/// Which of so many sessions gets a topic.
pub(super) fn part_of(topic: &str, count: u16) -> u16 {
    let part = TopicName::new(topic).ok().and_then(|topic| TopicPart::of(topic, count, PARTS_SEED));
    part.map_or(0, |part| part.parts().0)
}

/// Connects to a session that no connection has any more, and lets it get nothing new.
pub(super) async fn connect_left(shared: &Shared, id: &str) -> Result<Local, LocalError> {
    let builder = shared.broker.client(id).persistent(Duration::MAX).manual_ack();
    let (client, inbox) = with_options(builder, &shared.bridge).connect().await?;
    session::follow(&client, &shared.admin, &[], QoS::ExactlyOnce).await?;
    Ok(Local { client, inbox })
}

/// The ClientIds of the sessions of all bridges, of now and of before.
pub(super) async fn sessions(admin: &Admin) -> Vec<String> {
    session::ids(admin, |id| owner(id).is_some()).await
}

/// Which bridge has a session, and which of its connections; the reverse of [`client_id`].
pub(super) fn owner(id: &str) -> Option<(&str, u16)> {
    let rest = id.strip_prefix(CLIENT_ID)?;
    match rest.split_once('/') {
        None => Some((rest, 0)),
        Some((name, index)) => Some((name, index.parse().ok()?)),
    }
}

/// The session of a bridge that is no more: it gets nothing new, and ends if nothing waits in it.
pub(super) async fn leave(broker: &Broker, id: &str) {
    let admin = broker.admin();
    // A broker that has stopped has no sessions.
    let Ok(filters) = session::filters(&admin, id).await else { return };
    if !filters.is_empty() {
        let connected = broker.client(id).persistent(Duration::MAX).manual_ack().connect().await;
        let Ok((client, _)) = connected else { return };
        for filter in &filters {
            let _ = client.unsubscribe(filter).await;
        }
        client.disconnect().await;
    }
    let Ok(Some(session)) = admin.session(id).await else { return };
    if session.queue_messages == 0 {
        let _ = admin.end_session(id).await;
        return;
    }
    tracing::warn!(
        messages = session.queue_messages,
        "a bridge is gone, and messages wait for it: they are kept, and go out if it comes back; to drop them: `culex ctl \
         end-session '{id}'`"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_tells_whose_it_is() {
        for (name, index) in [("b", 0), ("b", 1), ("b.c-d", 63)] {
            assert_eq!(owner(&client_id(name, index)), Some((name, index)));
        }
        for id in ["b", "$culex/webhook/b/0-of-1", "$culex/bridge/b/x", "$culex/bridge/b/1/2"] {
            assert_eq!(owner(id), None, "{id}");
        }
    }
}
