//! Rows back into state. Everything that was read is checked: what is not as it was written is damage, and is said.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use culex_codec::{PacketId, QoS, TopicFilter, TopicName};
use rusqlite::{Connection, Row};

use crate::engine::Will;
use crate::engine::keys::{PublicationId, RetainedVersion, SessionId};
use crate::engine::publication::Publication;
use crate::engine::route::Cursor;
use crate::engine::store::{Stored, StoredFeed, StoredMessage, StoredSession, StoredSubscription};
use crate::engine::time::WallTime;

use super::super::StoreError;
use super::Index;

/// Why a row cannot be had.
pub(super) enum LoadError {
    Sqlite(rusqlite::Error),
    Damaged(String),
}

impl LoadError {
    pub(super) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Damaged(what) => StoreError::Damaged { path: path.to_owned(), what },
            Self::Sqlite(error) => StoreError::Damaged { path: path.to_owned(), what: error.to_string() },
        }
    }
}

impl From<rusqlite::Error> for LoadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

type Result<T> = std::result::Result<T, LoadError>;

/// Reads everything, and fills the index. Rows of sessions that are not there belong to nobody and are removed.
pub(super) fn load(from: &Connection, index: &mut Index) -> Result<Stored> {
    // Nothing is on its way now that could come late.
    let retained_version = one(from, "SELECT max(version) FROM retained")?.unwrap_or(0);
    for table in ["queue", "subscription", "received", "incoming"] {
        let sql = format!("DELETE FROM {table} WHERE session NOT IN (SELECT id FROM session)");
        from.execute(&sql, [])?;
    }
    from.execute("DELETE FROM retained WHERE message IS NULL", [])?;
    from.execute(
        "DELETE FROM message WHERE id NOT IN (SELECT message FROM queue) AND id NOT IN (SELECT message FROM retained)",
        [],
    )?;
    let messages = messages(from)?;
    let mut sessions = sessions(from)?;
    let mut place: HashMap<i64, usize> = HashMap::new();
    for (number, session) in sessions.iter().enumerate() {
        let id = signed(session.id.0);
        place.insert(id, number);
        index.sessions.insert(id, HashMap::new());
        if session.expiry_s != u32::MAX {
            index.mortal.insert(id);
        }
    }
    let mut with = |id: i64, change: &mut dyn FnMut(&mut StoredSession)| {
        if let Some(session) = place.get(&id).and_then(|number| sessions.get_mut(*number)) {
            change(session);
        }
    };
    each(from, "SELECT session, filter, qos, up_to, cursor FROM subscription", |row| {
        let filter: Box<str> = row.get::<_, String>(1)?.into();
        TopicFilter::new(&filter).map_err(|_| damaged("topic filter", &filter))?;
        let cursor = row.get::<_, Option<String>>(4)?;
        let feed = row.get::<_, Option<i64>>(3)?.map(|up_to| StoredFeed {
            up_to: RetainedVersion(up_to.unsigned_abs()),
            cursor: cursor.map_or(Cursor::Start, |topic| Cursor::After(topic.into())),
        });
        let subscription = StoredSubscription { filter, qos: qos(row.get(2)?)?, feed };
        with(row.get(0)?, &mut |session| session.subscriptions.push(subscription.clone()));
        Ok(())
    })?;
    each(from, "SELECT session, entry, message, qos, is_retain, sent FROM queue ORDER BY entry", |row| {
        let (id, entry, message): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let found = messages.get(&message);
        let publication = found.ok_or_else(|| damaged("message", &message.to_string()))?;
        let stored = StoredMessage {
            entry: PublicationId(entry.unsigned_abs()),
            publication: Arc::clone(publication),
            qos: qos(row.get(3)?)?,
            is_retain: row.get(4)?,
            sent: row.get::<_, Option<i64>>(5)?.map(i64::unsigned_abs),
        };
        index.sessions.entry(id).or_default().insert(entry, message);
        *index.messages.entry(message).or_default() += 1;
        with(id, &mut |session| session.queue.push(stored.clone()));
        Ok(())
    })?;
    each(from, "SELECT session, ordinal FROM received", |row| {
        let ordinal = row.get::<_, i64>(1)?.unsigned_abs();
        with(row.get(0)?, &mut |session| session.received.push(ordinal));
        Ok(())
    })?;
    each(from, "SELECT session, packet_id FROM incoming", |row| {
        let number: u16 = row.get(1)?;
        let packet_id = PacketId::new(number).ok_or_else(|| damaged("packet identifier", "0"))?;
        with(row.get(0)?, &mut |session| session.incoming.push(packet_id));
        Ok(())
    })?;
    let mut retained = Vec::new();
    each(from, "SELECT version, message FROM retained ORDER BY topic", |row| {
        let (version, message): (i64, i64) = (row.get(0)?, row.get(1)?);
        let found = messages.get(&message);
        let publication = found.ok_or_else(|| damaged("retained message", &message.to_string()))?;
        *index.messages.entry(message).or_default() += 1;
        retained.push((RetainedVersion(version.unsigned_abs()), Arc::clone(publication)));
        Ok(())
    })?;
    Ok(Stored {
        sessions,
        retained,
        retained_version: RetainedVersion(retained_version.unsigned_abs()),
        alive_at: one(from, "SELECT max(at) FROM alive")?.map(|at| WallTime(at.unsigned_abs())),
    })
}

fn messages(from: &Connection) -> Result<HashMap<i64, Arc<Publication>>> {
    let mut messages = HashMap::new();
    each(from, "SELECT id, topic, payload, qos, is_retain, expires_at FROM message", |row| {
        let id: i64 = row.get(0)?;
        let topic = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let topic = TopicName::new(topic).map_err(|_| damaged("topic", topic))?;
        let payload = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let number = PublicationId(id.unsigned_abs());
        let mut publication = Publication::new(number, topic, payload, qos(row.get(3)?)?, row.get(4)?);
        publication.expires_at = row.get::<_, Option<i64>>(5)?.map(|at| WallTime(at.unsigned_abs()));
        messages.insert(id, Arc::new(publication));
        Ok(())
    })?;
    Ok(messages)
}

fn sessions(from: &Connection) -> Result<Vec<StoredSession>> {
    let mut sessions = Vec::new();
    let sql = "SELECT id, client_id, user_name, expiry_s, left_at, will_topic, will_payload, will_qos, will_retain, is_trusted \
               FROM session ORDER BY id";
    each(from, sql, |row| {
        let will = match row.get::<_, Option<String>>(5)? {
            None => None,
            Some(topic) => {
                let name = TopicName::new(&topic).map_err(|_| damaged("will topic", &topic))?;
                let payload = Bytes::from(row.get::<_, Vec<u8>>(6)?);
                Some(Box::new(Will::new(name, payload, qos(row.get(7)?)?, row.get(8)?)))
            }
        };
        sessions.push(StoredSession {
            id: SessionId(row.get::<_, i64>(0)?.unsigned_abs()),
            client_id: row.get::<_, String>(1)?.into(),
            user_name: row.get::<_, Option<String>>(2)?.map(Into::into),
            is_trusted: row.get(9)?,
            expiry_s: row.get(3)?,
            will,
            left_at: row.get::<_, Option<i64>>(4)?.map(|at| WallTime(at.unsigned_abs())),
            subscriptions: Vec::new(),
            queue: Vec::new(),
            received: Vec::new(),
            incoming: Vec::new(),
        });
        Ok(())
    })?;
    Ok(sessions)
}

fn each(from: &Connection, sql: &str, mut row: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
    let mut statement = from.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(found) = rows.next()? {
        row(found)?;
    }
    Ok(())
}

fn one(from: &Connection, sql: &str) -> Result<Option<i64>> {
    Ok(from.query_row(sql, [], |row| row.get(0))?)
}

fn qos(bits: u8) -> Result<QoS> {
    QoS::from_bits(bits).ok_or_else(|| damaged("QoS", &bits.to_string()))
}

fn damaged(what: &str, value: &str) -> LoadError {
    LoadError::Damaged(format!("{what} {value:?} makes no sense"))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
