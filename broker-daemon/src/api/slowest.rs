//! Who is behind: the sessions with the longest queues.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use culex_core::{Admin, AdminError, Cursor, SessionInfo};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Sessions that are named.
const NAMED: usize = 10;
/// Sessions that a look goes through, as pages of a thousand. What lies beyond comes with the next look.
const PAGES: usize = 50;
/// How often is looked at most.
const INTERVAL: Duration = Duration::from_secs(2);

/// The slowest, as they were a moment ago.
#[derive(Debug, Default)]
pub(super) struct Slowest(Mutex<Look>);

#[derive(Debug, Default)]
struct Look {
    at: Option<Instant>,
    /// Where the next look begins, if the last one did not come to the end.
    from: Cursor,
    found: Arc<Vec<SessionInfo>>,
}

impl Slowest {
    /// At most ten, the slowest first. Among more than 50,000 sessions it takes several looks to find them.
    ///
    /// # Errors
    /// [`AdminError::Stopped`].
    pub(super) async fn list(&self, admin: &Admin) -> Result<Arc<Vec<SessionInfo>>, AdminError> {
        let mut look = self.0.lock().await;
        let now = Instant::now();
        if look.at.is_some_and(|at| now.saturating_duration_since(at) < INTERVAL) {
            return Ok(Arc::clone(&look.found));
        }
        let mut found = Vec::new();
        // Those of before are looked at again, wherever they stand.
        let is_whole = look.from == Cursor::default();
        for old in look.found.iter().filter(|_| !is_whole) {
            found.extend(admin.session(&old.client_id).await?);
        }
        let mut next = Some(look.from.clone());
        for _ in 0..PAGES {
            let Some(from) = next else { break };
            let page = admin.sessions(from, 1000).await?;
            found.extend(page.items);
            keep_slowest(&mut found);
            next = page.next;
        }
        *look = Look { at: Some(now), from: next.unwrap_or_default(), found: Arc::new(found) };
        Ok(Arc::clone(&look.found))
    }
}

/// Bytes that wait for it.
pub(super) fn waiting(session: &SessionInfo) -> u64 {
    session.queue_bytes + session.connection.as_ref().map_or(0, |connection| connection.outbox_bytes)
}

fn keep_slowest(sessions: &mut Vec<SessionInfo>) {
    sessions.retain(|session| session.queue_messages > 0 || waiting(session) > 0);
    sessions.sort_by(|a, b| {
        let key = |session: &SessionInfo| Reverse((session.queue_messages, waiting(session)));
        key(a).cmp(&key(b)).then_with(|| a.client_id.cmp(&b.client_id))
    });
    sessions.dedup_by(|a, b| a.client_id == b.client_id);
    sessions.truncate(NAMED);
}
