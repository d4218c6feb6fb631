//! A message in its bundle, and the row of a bundle as it is read.
//!
//! ```text
//!   id   flags: QoS (bits 0, 1), RETAIN (2), expires (3), dated (4), author (5), who has a user name (6)
//!   [expires_at]   [accepted_at]   [ClientId]   [user name]   topic   payload
//! ```
//!
//! Numbers are [`packed`]; texts and payload are each behind their length.

use std::sync::Arc;

use culex_codec::{QoS, TopicName};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use crate::engine::keys::PublicationId;
use crate::engine::publication::Publication;
use crate::engine::question::Identity;
use crate::engine::time::WallTime;

use super::bundle::{self, BUNDLE_MAX};
use super::packed;
use super::receivers::{Members, decode};
use super::row::{Cells, Damage, RowError, is_damage, signed};
use super::schema::{MESSAGE, RECEIVERS};

const RETAIN: u8 = 4;
const EXPIRES: u8 = 8;
const DATED: u8 = 16;
const AUTHOR: u8 = 32;
const NAMED: u8 = 64;

/// A message with all that is known of it, where it lies.
pub(super) struct Message<'r> {
    pub(super) id: PublicationId,
    qos: QoS,
    is_retain: bool,
    expires_at: Option<WallTime>,
    accepted_at: Option<WallTime>,
    /// ClientId and user name.
    author: Option<(&'r str, Option<&'r str>)>,
    topic: TopicName<'r>,
    payload: &'r [u8],
}

/// To whose queues a message came with its publication. Their cursors say who is done with it.
pub(super) enum Receivers {
    /// Few, or nobody.
    These(Members),
    /// A row of `receivers`.
    Set(u32),
}

/// Appends a message to a bundle.
pub(super) fn put(to: &mut Vec<u8>, publication: &Publication) {
    let topic = publication.topic().as_str();
    packed::put(to, publication.id.0);
    let retain = if publication.is_retain { RETAIN } else { 0 };
    let expires = if publication.expires_at.is_some() { EXPIRES } else { 0 };
    let dated = if publication.accepted_at.is_some() { DATED } else { 0 };
    let author = publication.author.as_deref();
    let name = author.and_then(|author| author.user_name.as_deref());
    let authored = if author.is_some() { AUTHOR } else { 0 } | if name.is_some() { NAMED } else { 0 };
    to.push(publication.qos.bits() | retain | expires | dated | authored);
    for at in [publication.expires_at, publication.accepted_at].into_iter().flatten() {
        packed::put(to, at.0);
    }
    let names = [author.map(|author| &*author.client_id), name].into_iter().flatten().map(str::as_bytes);
    for part in names.chain([topic.as_bytes(), &*publication.payload]) {
        packed::put(to, part.len() as u64);
        to.extend_from_slice(part);
    }
}

impl<'r> Message<'r> {
    /// Takes one from the front; nothing if there is none.
    fn take(from: &mut &'r [u8]) -> Option<Self> {
        let id = PublicationId(packed::take(from)?);
        let flags = *from.split_off_first().filter(|flags| **flags < 2 * NAMED)?;
        let mut time = |flag| match flags & flag {
            0 => Some(None),
            _ => packed::take(from).map(|at| Some(WallTime(at))),
        };
        let (expires_at, accepted_at) = (time(EXPIRES)?, time(DATED)?);
        let mut text = || str::from_utf8(packed::take_bytes(from)?).ok();
        let author = match flags & (AUTHOR | NAMED) {
            0 => None,
            AUTHOR => Some((text()?, None)),
            NAMED => return None,
            _ => Some((text()?, Some(text()?))),
        };
        let topic = text()?;
        Some(Self {
            id,
            qos: QoS::from_bits(flags & 3)?,
            is_retain: flags & RETAIN != 0,
            expires_at,
            accepted_at,
            author,
            topic: TopicName::new(topic).ok()?,
            payload: packed::take_bytes(from)?,
        })
    }

    /// See [`Publication::bytes`].
    pub(super) fn bytes(&self) -> usize {
        self.topic.as_str().len() + self.payload.len()
    }

    /// A copy of it.
    pub(super) fn publication(&self) -> Publication {
        let mut publication = Publication::new(self.id, self.topic, self.payload, self.qos, self.is_retain);
        publication.expires_at = self.expires_at;
        publication.accepted_at = self.accepted_at;
        publication.author = self.author.map(|(id, name)| Arc::new(Identity::new(id, name)));
        publication
    }
}

/// The messages of a row, each with its place in the order of arrival.
pub(super) fn messages<'r>(cells: &Cells<'r>) -> Result<Vec<(u64, Message<'r>)>, Damage> {
    let (bundle, mut rest) = (cells.number(0)?, cells.bytes(2)?);
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let place = u8::try_from(messages.len()).ok().filter(|place| *place < BUNDLE_MAX);
        let seq = place.and_then(|place| bundle::seq(bundle, place));
        let found = seq.and_then(|seq| Some((seq, Message::take(&mut rest)?)));
        messages.push(found.ok_or_else(|| cells.senseless(2))?);
    }
    Ok(messages)
}

/// The receivers of all messages of a row.
pub(super) fn receivers(cells: &Cells<'_>) -> Result<Receivers, Damage> {
    let found = match cells.cell(1) {
        ValueRef::Null => Some(Receivers::These(Members::new())),
        ValueRef::Blob(list) => decode(list).map(Receivers::These),
        ValueRef::Integer(set) => u32::try_from(set).ok().map(Receivers::Set),
        ValueRef::Real(_) | ValueRef::Text(_) => None,
    };
    found.ok_or_else(|| cells.senseless(1))
}

/// The message at a place in the order of arrival, and its neighbours in the same row; none if there is no such row.
pub(super) fn row_of(from: &Connection, seq: u64) -> Result<Vec<(u64, Publication)>, RowError> {
    let found = with_bundle_of(from, seq, |cells| {
        let copy = |(place, message): (u64, Message<'_>)| (place, message.publication());
        Ok(Some(messages(cells)?.into_iter().map(copy).collect()))
    })?;
    Ok(found.unwrap_or_default())
}

/// Who receives the message at a place in the order of arrival; nobody if it is not there.
pub(super) fn receivers_of(from: &Connection, seq: u64) -> Result<Members, RowError> {
    match with_bundle_of(from, seq, |cells| receivers(cells).map(Some))? {
        Some(Receivers::These(members)) => Ok(members),
        Some(Receivers::Set(set)) => members_of(from, set),
        None => Ok(Members::new()),
    }
}

fn with_bundle_of<T>(
    from: &Connection,
    seq: u64,
    take: impl FnOnce(&Cells<'_>) -> Result<Option<T>, Damage>,
) -> Result<Option<T>, RowError> {
    let bundle = bundle::of(seq);
    let mut find = from.prepare_cached("SELECT * FROM message WHERE bundle=?1")?;
    let mut rows = find.query([signed(bundle)])?;
    match rows.next() {
        Ok(Some(row)) => Ok(take(&Cells::read(&MESSAGE, row)?)?),
        Ok(None) => Ok(None),
        Err(error) if is_damage(&error) => {
            let place = format!("table {}, row {bundle}: {error}", MESSAGE.name);
            Err(Damage { place, lost: MESSAGE.holds }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Number and members of a set.
pub(super) fn read_set(cells: &Cells<'_>) -> Result<(u32, Members), Damage> {
    let set = u32::try_from(cells.number(0)?).map_err(|_| cells.senseless(0))?;
    let members = decode(cells.bytes(1)?).ok_or_else(|| cells.senseless(1))?;
    Ok((set, members))
}

/// The members of one set; nobody if it is not there.
fn members_of(from: &Connection, set: u32) -> Result<Members, RowError> {
    let mut find = from.prepare_cached("SELECT * FROM receivers WHERE id=?1")?;
    let mut rows = find.query(params![set])?;
    let Some(row) = rows.next()? else { return Ok(Members::new()) };
    Ok(read_set(&Cells::read(&RECEIVERS, row)?)?.1)
}
