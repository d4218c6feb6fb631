//! The row of a message as it is read.

use culex_codec::{QoS, TopicName};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use crate::engine::keys::PublicationId;
use crate::engine::publication::Publication;
use crate::engine::time::WallTime;

use super::receivers::{Members, decode};
use super::row::{Cells, Damage, RowError, is_damage, signed};
use super::schema::{MESSAGE, RECEIVERS};

/// A message with all that is known of it, where it lies.
pub(super) struct Message<'r> {
    /// Its place in the order of arrival.
    pub(super) seq: u64,
    pub(super) id: PublicationId,
    qos: QoS,
    is_retain: bool,
    expires_at: Option<WallTime>,
    topic: TopicName<'r>,
    payload: &'r [u8],
    pub(super) receivers: Receivers,
}

/// To whose queues a message came with its publication. Their cursors say who is done with it.
pub(super) enum Receivers {
    /// Few, or nobody.
    These(Members),
    /// A row of `receivers`.
    Set(u32),
}

impl<'r> Message<'r> {
    pub(super) fn read(cells: &Cells<'r>) -> Result<Self, Damage> {
        Ok(Self {
            seq: cells.number(0)?,
            id: PublicationId(cells.number(1)?),
            qos: cells.qos(2)?,
            is_retain: cells.flag(3)?,
            expires_at: cells.optional_number(4)?.map(WallTime),
            topic: TopicName::new(cells.text(6)?).map_err(|_| cells.senseless(6))?,
            payload: cells.bytes(7)?,
            receivers: receivers(cells)?,
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
        publication
    }
}

fn receivers(cells: &Cells<'_>) -> Result<Receivers, Damage> {
    let found = match cells.cell(5) {
        ValueRef::Null => Some(Receivers::These(Members::new())),
        ValueRef::Blob(list) => decode(list).map(Receivers::These),
        ValueRef::Integer(set) => u32::try_from(set).ok().map(Receivers::Set),
        ValueRef::Real(_) | ValueRef::Text(_) => None,
    };
    found.ok_or_else(|| cells.senseless(5))
}

/// The message at a place in the order of arrival.
pub(super) fn find(from: &Connection, seq: u64) -> Result<Option<Publication>, RowError> {
    let mut find = from.prepare_cached("SELECT * FROM message WHERE seq=?1")?;
    let mut rows = find.query([signed(seq)])?;
    match rows.next() {
        Ok(Some(row)) => Ok(Some(Message::read(&Cells::read(&MESSAGE, row)?)?.publication())),
        Ok(None) => Ok(None),
        Err(error) if is_damage(&error) => {
            let place = format!("table {}, row {seq}: {error}", MESSAGE.name);
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
pub(super) fn members_of(from: &Connection, set: u32) -> Result<Members, RowError> {
    let mut find = from.prepare_cached("SELECT * FROM receivers WHERE id=?1")?;
    let mut rows = find.query(params![set])?;
    let Some(row) = rows.next()? else { return Ok(Members::new()) };
    Ok(read_set(&Cells::read(&RECEIVERS, row)?)?.1)
}
