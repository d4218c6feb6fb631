//! The sessions of integrations in this broker: what they are subscribed to, and what their client is to be subscribed to.

use culex_core::{Admin, AdminError, Client, Cursor, QoS, SubscribeError};

/// Filters, or sessions, of one question.
const PAGE: usize = 1000;

/// Why a client could not subscribe to what it should.
#[derive(Debug)]
pub(crate) enum FollowError {
    /// What it is subscribed to is not known.
    Admin(AdminError),
    /// It asked, and did not get it.
    Subscribe(SubscribeError),
}

/// Subscribes a client to `wanted` and nothing else. What it is subscribed to already is left alone: to subscribe again
/// would bring every Retained Message again.
pub(crate) async fn follow(
    client: &Client,
    admin: &Admin,
    wanted: &[&str],
    qos: QoS,
) -> Result<(), FollowError> {
    let present = filters(admin, client.client_id()).await.map_err(FollowError::Admin)?;
    for filter in wanted.iter().filter(|wanted| !present.iter().any(|filter| filter == *wanted)) {
        client.subscribe(filter, qos).await.map_err(FollowError::Subscribe)?;
    }
    for filter in present.iter().filter(|filter| !wanted.contains(&filter.as_str())) {
        client.unsubscribe(filter).await.map_err(FollowError::Subscribe)?;
    }
    Ok(())
}

/// What a session is subscribed to; nothing if it is not there.
pub(crate) async fn filters(admin: &Admin, client_id: &str) -> Result<Vec<String>, AdminError> {
    let mut filters = Vec::new();
    let mut next = Some(Cursor::default());
    while let Some(after) = next {
        let Some(page) = admin.subscriptions(client_id, after, PAGE).await? else { break };
        filters.extend(page.items.into_iter().map(String::from));
        next = page.next;
    }
    Ok(filters)
}

/// The ClientIds that are wanted of all sessions. A broker that has stopped has none.
pub(crate) async fn ids(admin: &Admin, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut ids = Vec::new();
    let mut next = Some(Cursor::default());
    while let Some(after) = next {
        let Ok(page) = admin.sessions(after, PAGE).await else { break };
        let found = page.items.iter().map(|session| &*session.client_id);
        ids.extend(found.filter(|id| is_wanted(id)).map(str::to_owned));
        next = page.next;
    }
    ids
}
