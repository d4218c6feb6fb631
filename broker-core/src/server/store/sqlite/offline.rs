//! A store without a broker: what is in it, whether it is whole, and how it is made whole.

use std::fmt;
use std::path::Path;

use rusqlite::Connection;

use crate::engine::keys::{PublicationId, SessionId};
use crate::engine::publication::Publication;
use crate::engine::store::Stored;

use super::super::StoreError;
use super::examine::{Examined, Verdict, examine};
use super::files::{self, Lock, Paths};
use super::header::{self, Header};
use super::index::Index;
use super::load::load;
use super::message;
use super::row::{Damage, RowError};
use super::tally::Tally;
use super::view::{self, Depth, structure};
use super::{engine, repair::rebuild};

pub use super::repair::Repair;

/// A store that was looked into. Nobody else can use it as long as this is there.
pub struct Inspection {
    /// Everything that can be used, without the messages in the queues: see [`Inspection::message`].
    pub stored: Stored,
    /// Everything that cannot. Empty: the store is whole.
    pub damages: Vec<Damage>,
    source: Option<Source>,
    files: Files,
}

/// What messages are read from.
struct Source {
    connection: Connection,
    index: Index,
}

impl Inspection {
    /// The message of an entry in a session's queue, read when it is asked for; `None` if there is no such entry.
    ///
    /// # Errors
    /// [`StoreError`], also if it is damaged.
    pub fn message(
        &self,
        session: SessionId,
        entry: PublicationId,
    ) -> Result<Option<Publication>, StoreError> {
        let Some(Source { connection, index }) = &self.source else { return Ok(None) };
        let Some(seq) = index.seq_of(session.0, entry.0) else { return Ok(None) };
        let path = &self.files.paths.main;
        match message::row_of(connection, seq) {
            Ok(row) => Ok(row.into_iter().find(|(place, _)| *place == seq).map(|(_, message)| message)),
            Err(RowError::Sqlite(error)) => Err(engine(path, &error)),
            Err(RowError::Damaged(damage)) => {
                Err(StoreError::Damaged { path: path.clone(), what: damage.to_string() })
            }
        }
    }
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspection").field("stored", &self.stored).field("damages", &self.damages).finish()
    }
}

/// Reads the store in a directory and changes nothing. It costs the memory that a start does, and reads everything three
/// times.
///
/// # Errors
/// [`StoreError`]: a broker is using it, it is not a store of this version, or the file system says no. Damage is no
/// error.
pub fn inspect(directory: &Path) -> Result<Inspection, StoreError> {
    let files = Files::lock(directory)?;
    let (found, _) = files.inspect()?;
    Ok(Inspection { stored: found.stored, damages: found.damages, source: found.source, files })
}

/// Makes a damaged store usable: everything that can be read goes into a new file, which then takes the place of the old
/// one; the old files stay in the directory under another name. A store that is whole is left as it is. If it is cut
/// short, it can be started again.
///
/// # Errors
/// As [`inspect`], and when there is no room for the new file. The old ones are in their place then.
pub fn repair(directory: &Path) -> Result<Repair, StoreError> {
    let files = Files::lock(directory)?;
    let (found, examined) = files.inspect()?;
    if found.damages.is_empty() {
        return Ok(Repair { stored: found.stored, ..Repair::default() });
    }
    let damages = found.damages;
    drop(found.source);
    rebuild(&files, &examined, damages)
}

#[derive(Default)]
struct Found {
    stored: Stored,
    damages: Vec<Damage>,
    source: Option<Source>,
}

/// The files of a store that nobody else has.
pub(super) struct Files {
    pub(super) paths: Paths,
    pub(super) header: Header,
    pub(super) lock: Lock,
}

impl Files {
    fn lock(directory: &Path) -> Result<Self, StoreError> {
        let paths = Paths::of(directory);
        let is_there = |path| files::open_regular(path).map(|file| file.is_some());
        // Also to say whose the file is, before a lock is made beside it.
        let has_main = header::look(&paths.main)? != Header::Missing;
        if !has_main && !is_there(&paths.log)? && !is_there(&paths.lock)? {
            return Err(StoreError::Missing { path: directory.to_owned() });
        }
        let lock = Lock::take(directory)?;
        Ok(Self { header: header::look(&paths.main)?, paths, lock })
    }

    fn inspect(&self) -> Result<(Found, Examined), StoreError> {
        let examined = examine(&self.paths)?;
        let mut found = Found::default();
        let verdict = self.verdict(&examined);
        match &verdict {
            Verdict::Whole => {}
            Verdict::Cut(what) | Verdict::Apart(what) => {
                found.damages.push(Damage { place: what.clone(), lost: "what was kept last" });
            }
        }
        match self.header {
            Header::Sound => self.read(&verdict, &mut found)?,
            Header::Damaged => {
                found
                    .damages
                    .push(Damage { place: "the first page of the file".to_owned(), lost: "perhaps nothing" });
            }
            Header::Missing => {}
        }
        Ok((found, examined))
    }

    /// Whether the file and the log belong together.
    pub(super) fn verdict(&self, examined: &Examined) -> Verdict {
        if self.header == Header::Missing {
            return Verdict::Apart("the file culex.db is missing".to_owned());
        }
        examined.verdict(self.lock.past)
    }

    fn read(&self, verdict: &Verdict, found: &mut Found) -> Result<(), StoreError> {
        let connection = self.open(&self.paths.main, verdict)?;
        let mut read = || {
            found.damages.extend(structure(&connection, Depth::Full)?);
            if !view::has_our_tables(&connection)? {
                return Ok(None);
            }
            let loaded = load(&connection)?;
            found.stored = loaded.stored;
            found.damages.extend(loaded.damages);
            Tally::read(&connection, &mut found.damages)?;
            Ok(Some(loaded.index))
        };
        let index = read().map_err(|error| engine(&self.paths.main, &error))?;
        found.source = index.map(|index| Source { connection, index });
        Ok(())
    }

    /// Opens a file to read: with its log, unless that does not belong to it.
    pub(super) fn open(&self, main: &Path, verdict: &Verdict) -> Result<Connection, StoreError> {
        let has_log = files::open_regular(&self.paths.log)?.is_some();
        let is_apart = matches!(verdict, Verdict::Apart(_));
        let opened = if has_log && !is_apart { view::with_log(main) } else { view::alone(main) };
        opened.map_err(|error| engine(main, &error))
    }
}
