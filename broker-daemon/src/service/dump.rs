//! The subscription tree, written to the log.

use culex_core::{Admin, AdminError, Cursor};

/// Lines of one dump, so that a signal cannot fill a disk. `culex ctl subscriptions` has them all.
const LINES_MAX: usize = 10_000;
const PAGE: usize = 1000;

/// Logs a line for each subscription: the Topic Filter and the ClientId. At most 10,000, then how many sessions were left
/// out.
///
/// # Errors
/// [`AdminError::Stopped`].
pub async fn subscriptions(admin: &Admin) -> Result<(), AdminError> {
    let (mut lines, mut left_out) = (0, 0_usize);
    let mut after = Cursor::default();
    loop {
        let page = admin.sessions(after, PAGE).await?;
        for session in page.items.iter().filter(|session| session.subscriptions > 0) {
            if lines < LINES_MAX {
                lines += of_session(admin, &session.client_id, LINES_MAX - lines).await?;
            } else {
                left_out += 1;
            }
        }
        let Some(next) = page.next else { break };
        after = next;
    }
    if left_out > 0 {
        tracing::info!("and the subscriptions of {left_out} more sessions, see `culex ctl subscriptions`");
    }
    tracing::info!(lines, "end of the subscriptions");
    Ok(())
}

/// Logs those of one session, at most `room`; says how many.
async fn of_session(admin: &Admin, client_id: &str, room: usize) -> Result<usize, AdminError> {
    let mut lines = 0;
    let mut after = Cursor::default();
    while lines < room {
        // It may have ended meanwhile.
        let Some(page) = admin.subscriptions(client_id, after, PAGE.min(room - lines)).await? else { break };
        for filter in &page.items {
            tracing::info!("subscription {} of {}", filter.escape_debug(), client_id.escape_debug());
        }
        lines += page.items.len();
        let Some(next) = page.next else { break };
        after = next;
    }
    Ok(lines)
}
