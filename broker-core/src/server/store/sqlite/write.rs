//! Records into rows.

use culex_codec::QoS;
use rusqlite::{Transaction, params};

use crate::engine::keys::{PublicationId, SessionId};
use crate::engine::publication::Publication;
use crate::engine::route::Cursor;
use crate::engine::store::{Record, RetainedChange};
use crate::engine::time::WallTime;

use super::Index;

/// Cleared Retained Messages that are remembered, in case that an older version of another shard comes late. What is in
/// the queue at a time is far less.
const CLEARED_MAX: usize = 65_536;

type Result = rusqlite::Result<()>;

pub(super) fn apply(to: &Transaction<'_>, index: &mut Index, record: &Record) -> Result {
    match record {
        Record::SessionBound { session, client_id, user_name, is_trusted, expiry_s, will } => {
            index.sessions.entry(number(session.0)).or_default();
            if *expiry_s != u32::MAX {
                index.mortal.insert(number(session.0));
            }
            let will = will.as_deref();
            let sql = "INSERT INTO session VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6, ?7, ?8, ?9) ON CONFLICT(id) DO UPDATE SET \
                       user_name=?3, is_trusted=?4, expiry_s=?5, left_at=NULL, \
                       will_topic=?6, will_payload=?7, will_qos=?8, will_retain=?9";
            to.prepare_cached(sql)?.execute(params![
                number(session.0),
                &**client_id,
                user_name.as_deref(),
                is_trusted,
                expiry_s,
                will.map(|will| will.topic().as_str()),
                will.map(|will| &*will.payload),
                will.map(|will| will.qos.bits()),
                will.map(|will| will.is_retain),
            ])?;
            Ok(())
        }
        Record::SessionEnded { session } => end_session(to, index, *session),
        Record::Published { publication, incoming, recipients, retained } => {
            if let Some((session, packet_id)) = incoming
                && index.sessions.contains_key(&number(session.0))
            {
                let sql = "INSERT OR IGNORE INTO incoming VALUES (?1, ?2)";
                to.prepare_cached(sql)?.execute(params![number(session.0), packet_id.get()])?;
            }
            for recipient in recipients {
                let entry = (recipient.session, publication.id);
                push(to, index, entry, publication, (recipient.qos, recipient.is_retain))?;
            }
            retain(to, index, publication, *retained)
        }
        Record::Queued { session, entry, publication, qos } => {
            push(to, index, (*session, *entry), publication, (*qos, true))
        }
        Record::Received { session, entry, ordinal } => {
            if !index.sessions.contains_key(&number(session.0)) {
                return Ok(());
            }
            pop(to, index, *session, *entry)?;
            let sql = "INSERT OR IGNORE INTO received VALUES (?1, ?2)";
            to.prepare_cached(sql)?.execute(params![number(session.0), number(*ordinal)])?;
            Ok(())
        }
        Record::Done { session, entry } => pop(to, index, *session, *entry),
        Record::WillGone { session }
        | Record::SessionLeft { session, .. }
        | Record::Subscribed { session, .. }
        | Record::Fed { session, .. }
        | Record::Unsubscribed { session, .. }
        | Record::InFlight { session, .. }
        | Record::Completed { session, .. }
        | Record::Released { session, .. } => {
            // A session that has ended has nothing.
            if index.sessions.contains_key(&number(session.0)) {
                apply_to_session(to, record)
            } else {
                Ok(())
            }
        }
    }
}

/// Records that change rows of one session and nothing else.
fn apply_to_session(to: &Transaction<'_>, record: &Record) -> Result {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result {
        to.prepare_cached(sql)?.execute(values).map(drop)
    };
    match record {
        Record::WillGone { session } => run(
            "UPDATE session SET will_topic=NULL, will_payload=NULL, will_qos=NULL, will_retain=NULL WHERE id=?1",
            params![number(session.0)],
        ),
        Record::SessionLeft { session, at } => {
            run("UPDATE session SET left_at=?2 WHERE id=?1", params![number(session.0), number(at.0)])
        }
        Record::Subscribed { session, filter, qos, up_to } => run(
            "INSERT OR REPLACE INTO subscription VALUES (?1, ?2, ?3, ?4, NULL)",
            params![number(session.0), &**filter, qos.bits(), number(up_to.0)],
        ),
        Record::Fed { session, filter, cursor: Cursor::End } => run(
            "UPDATE subscription SET up_to=NULL, cursor=NULL WHERE session=?1 AND filter=?2",
            params![number(session.0), &**filter],
        ),
        Record::Fed { session, filter, cursor } => {
            let after = if let Cursor::After(topic) = cursor { Some(&**topic) } else { None };
            run(
                "UPDATE subscription SET cursor=?3 WHERE session=?1 AND filter=?2 AND up_to IS NOT NULL",
                params![number(session.0), &**filter, after],
            )
        }
        Record::Unsubscribed { session, filter } => run(
            "DELETE FROM subscription WHERE session=?1 AND filter=?2",
            params![number(session.0), &**filter],
        ),
        Record::InFlight { session, entry, ordinal } => run(
            "UPDATE queue SET sent=?3 WHERE entry=?1 AND session=?2",
            params![number(entry.0), number(session.0), number(*ordinal)],
        ),
        Record::Completed { session, ordinal } => run(
            "DELETE FROM received WHERE session=?1 AND ordinal=?2",
            params![number(session.0), number(*ordinal)],
        ),
        Record::Released { session, packet_id } => run(
            "DELETE FROM incoming WHERE session=?1 AND packet_id=?2",
            params![number(session.0), packet_id.get()],
        ),
        Record::SessionBound { .. }
        | Record::SessionEnded { .. }
        | Record::Published { .. }
        | Record::Queued { .. }
        | Record::Received { .. }
        | Record::Done { .. } => Ok(()),
    }
}

fn end_session(to: &Transaction<'_>, index: &mut Index, session: SessionId) -> Result {
    let Some(entries) = index.sessions.remove(&number(session.0)) else { return Ok(()) };
    index.mortal.remove(&number(session.0));
    let mut delete = to.prepare_cached("DELETE FROM queue WHERE entry=?1 AND session=?2")?;
    for (entry, message) in entries {
        delete.execute(params![entry, number(session.0)])?;
        unname(to, index, message)?;
    }
    for sql in [
        "DELETE FROM session WHERE id=?1",
        "DELETE FROM subscription WHERE session=?1",
        "DELETE FROM received WHERE session=?1",
        "DELETE FROM incoming WHERE session=?1",
    ] {
        to.prepare_cached(sql)?.execute(params![number(session.0)])?;
    }
    Ok(())
}

fn push(
    to: &Transaction<'_>,
    index: &mut Index,
    (session, entry): (SessionId, PublicationId),
    publication: &Publication,
    (qos, is_retain): (QoS, bool),
) -> Result {
    let Some(entries) = index.sessions.get_mut(&number(session.0)) else { return Ok(()) };
    let message = number(publication.id.0);
    if entries.insert(number(entry.0), message).is_some() {
        return Ok(());
    }
    let sql = "INSERT INTO queue VALUES (?1, ?2, ?3, ?4, ?5, NULL)";
    let values = params![number(entry.0), number(session.0), message, qos.bits(), is_retain];
    to.prepare_cached(sql)?.execute(values)?;
    name(to, index, publication)
}

fn pop(to: &Transaction<'_>, index: &mut Index, session: SessionId, entry: PublicationId) -> Result {
    let entries = index.sessions.get_mut(&number(session.0));
    let Some(message) = entries.and_then(|entries| entries.remove(&number(entry.0))) else { return Ok(()) };
    let sql = "DELETE FROM queue WHERE entry=?1 AND session=?2";
    to.prepare_cached(sql)?.execute(params![number(entry.0), number(session.0)])?;
    unname(to, index, message)
}

/// One more needs the body.
fn name(to: &Transaction<'_>, index: &mut Index, publication: &Publication) -> Result {
    let count = index.messages.entry(number(publication.id.0)).or_default();
    *count += 1;
    if *count > 1 {
        return Ok(());
    }
    let sql = "INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    to.prepare_cached(sql)?.execute(params![
        number(publication.id.0),
        publication.topic().as_str(),
        &*publication.payload,
        publication.qos.bits(),
        publication.is_retain,
        publication.expires_at.map(|at| number(at.0)),
    ])?;
    Ok(())
}

/// One less needs the body.
fn unname(to: &Transaction<'_>, index: &mut Index, message: i64) -> Result {
    let Some(count) = index.messages.get_mut(&message) else { return Ok(()) };
    *count -= 1;
    if *count > 0 {
        return Ok(());
    }
    index.messages.remove(&message);
    to.prepare_cached("DELETE FROM message WHERE id=?1")?.execute(params![message])?;
    Ok(())
}

fn retain(
    to: &Transaction<'_>,
    index: &mut Index,
    publication: &Publication,
    change: RetainedChange,
) -> Result {
    let (version, is_set) = match change {
        RetainedChange::None => return Ok(()),
        RetainedChange::Set(version) => (number(version.0), true),
        RetainedChange::Clear(version) => (number(version.0), false),
    };
    let topic = publication.topic();
    let before = {
        let mut find = to.prepare_cached("SELECT version, message FROM retained WHERE topic=?1")?;
        let mut rows = find.query(params![topic.as_str()])?;
        match rows.next()? {
            Some(row) => Some((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)),
            None => None,
        }
    };
    if before.is_some_and(|(newest, _)| newest >= version) {
        return Ok(());
    }
    let message = is_set.then_some(number(publication.id.0));
    let sql = "INSERT OR REPLACE INTO retained VALUES (?1, ?2, ?3)";
    to.prepare_cached(sql)?.execute(params![topic.as_str(), version, message])?;
    if is_set {
        name(to, index, publication)?;
    } else {
        index.cleared.push_back((version, topic.as_str().into()));
    }
    match before {
        Some((_, Some(old))) => unname(to, index, old),
        Some((_, None)) | None => Ok(()),
    }
}

/// Forgets the oldest of too many topics that were cleared, unless they were set again.
pub(super) fn forget_cleared(to: &Transaction<'_>, index: &mut Index) -> Result {
    while index.cleared.len() > CLEARED_MAX {
        let Some((version, topic)) = index.cleared.pop_front() else { return Ok(()) };
        let sql = "DELETE FROM retained WHERE topic=?1 AND version=?2 AND message IS NULL";
        to.prepare_cached(sql)?.execute(params![&*topic, version])?;
    }
    Ok(())
}

pub(super) fn note_alive(to: &Transaction<'_>, now: WallTime) -> Result {
    to.prepare_cached("INSERT OR REPLACE INTO alive VALUES (0, ?1)")?.execute(params![number(now.0)])?;
    Ok(())
}

/// SQLite has signed numbers; ours stay far below the sign for longer than anything lasts.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
