//! Sessions, and what belongs to them but messages.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use culex_codec::{PacketId, TopicFilter, TopicName};

use crate::engine::Will;
use crate::engine::keys::{RetainedVersion, SessionId};
use crate::engine::route::Cursor;
use crate::engine::store::{StoredFeed, StoredSession, StoredSubscription};
use crate::engine::time::WallTime;

use super::super::options;
use super::super::row::each;
use super::super::schema::{ALIVE, ALONE, CURSOR, FEED, INCOMING, RECEIVED, SESSION, SUBSCRIPTION, WILL};
use super::{Loaded, Loader};

impl Loader<'_> {
    pub(super) fn sessions(&mut self) -> rusqlite::Result<()> {
        let Loaded { stored, index, damages, .. } = &mut self.loaded;
        each(self.from, &SESSION, damages, |row| {
            let id = row.number(0)?;
            let (is_trusted, options) = options::read(row, 3)?;
            let session = StoredSession {
                id: SessionId(id),
                client_id: row.text(1)?.into(),
                user_name: row.optional_text(2)?.map(Into::into),
                is_trusted,
                expiry_s: u32::try_from(row.number(4)?).map_err(|_| row.senseless(4))?,
                options,
                will: None,
                left_at: None,
                subscriptions: Vec::new(),
                queue: Vec::new(),
                received: Vec::new(),
                incoming: Vec::new(),
            };
            index.sessions.entry(id).or_default();
            if session.expiry_s != u32::MAX {
                index.mortal.insert(id);
            }
            self.place.insert(id, stored.sessions.len());
            stored.sessions.push(session);
            Ok(())
        })?;
        each(self.from, &ALIVE, damages, |row| {
            stored.alive_at = Some(WallTime(row.number(1)?));
            Ok(())
        })?;
        self.of_sessions(&WILL, |session, _, row| {
            let topic = TopicName::new(row.text(1)?).map_err(|_| row.senseless(1))?;
            let payload = Bytes::copy_from_slice(row.bytes(2)?);
            session.will = Some(Box::new(Will::new(topic, payload, row.qos(3)?, row.flag(4)?)));
            Ok(())
        })?;
        self.of_sessions(&ALONE, |session, _, row| {
            session.left_at = Some(WallTime(row.number(1)?));
            Ok(())
        })?;
        self.of_sessions(&RECEIVED, |session, _, row| {
            session.received.push(row.number(1)?);
            Ok(())
        })?;
        self.of_sessions(&INCOMING, |session, _, row| {
            let packet_id = u16::try_from(row.number(1)?).ok().and_then(PacketId::new);
            session.incoming.push(packet_id.ok_or_else(|| row.senseless(1))?);
            Ok(())
        })
    }

    pub(super) fn subscriptions(&mut self) -> rusqlite::Result<()> {
        let mut feeds = HashMap::new();
        self.of_sessions(&FEED, |session, _, row| {
            let cursor = row.optional_text(3)?.map_or(Cursor::Start, |topic| Cursor::After(topic.into()));
            let feed = StoredFeed { up_to: RetainedVersion(row.number(2)?), cursor };
            feeds.insert((session.id, Box::<str>::from(row.text(1)?)), feed);
            Ok(())
        })?;
        self.of_sessions(&SUBSCRIPTION, |session, _, row| {
            let filter: Box<str> = row.text(1)?.into();
            TopicFilter::new(&filter).map_err(|_| row.senseless(1))?;
            let key = (session.id, filter);
            let feed = feeds.remove(&key);
            session.subscriptions.push(StoredSubscription { filter: key.1, qos: row.qos(2)?, feed });
            Ok(())
        })?;
        for (session, filter) in feeds.into_keys() {
            self.lacks(&FEED, format!("{} {filter:?}", session.0), "its subscription");
        }
        Ok(())
    }

    pub(super) fn cursors(&mut self) -> rusqlite::Result<()> {
        let mut last_seq = 0;
        let mut without: HashSet<u64> = self.place.keys().copied().collect();
        self.of_sessions(&CURSOR, |session, queue, row| {
            queue.cursor = row.number(1)?;
            last_seq = last_seq.max(queue.cursor);
            without.remove(&session.id.0);
            Ok(())
        })?;
        self.loaded.index.last_seq = last_seq;
        for session in without {
            self.lacks(&SESSION, session.to_string(), "its cursor");
        }
        Ok(())
    }
}
