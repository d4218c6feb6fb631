//! Whether the file and its log belong together, and what the log has lost: asked before SQLite opens them.

use std::fmt::Write as _;

use super::super::StoreError;
use super::files::{self, Past, Paths};
use super::header::{self, PAGE_BYTES};
use super::log::{self, Scan};
use super::tally::Tally;

/// The only page of the first table, behind the schema and the first page of pointers.
pub(super) const TALLY_PAGE: u32 = 3;

/// What the files say of each other.
#[derive(Debug)]
pub(super) struct Examined {
    /// Of the file alone.
    pub(super) main: Option<Tally>,
    /// `None`: there is no log.
    pub(super) log: Option<Scan>,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They belong together.
    Whole,
    /// So do they, but the log has lost something in its middle. SQLite goes on with what stands before.
    Cut(String),
    /// They do not. Together they would give what never was.
    Apart(String),
}

/// Looks at both. Reads the log once; takes memory for one page.
///
/// # Errors
/// [`StoreError::Io`], and what is not ours.
pub(super) fn examine(paths: &Paths) -> Result<Examined, StoreError> {
    let main = match files::open_regular(&paths.main)? {
        Some(mut file) => {
            let found = header::tally_of(&mut file);
            found.map_err(|source| StoreError::Io { path: paths.main.clone(), source })?
        }
        None => None,
    };
    Ok(Examined { main, log: log::scan(&paths.log, PAGE_BYTES, TALLY_PAGE)? })
}

impl Examined {
    /// The last transaction of which anything is known.
    pub(super) fn last(&self) -> Tally {
        let log = self.log.as_ref();
        let of_log = log.and_then(|log| log.last_tally.max(log.tallies.map(|(_, last)| last)));
        self.main.max(of_log).unwrap_or_default()
    }

    /// What follows from it for a store with this past.
    pub(super) fn verdict(&self, past: Past) -> Verdict {
        let Some(log) = &self.log else {
            return match past {
                Past::Cut(_) => {
                    Verdict::Apart("its log culex.db-wal is missing, which had what was kept last".to_owned())
                }
                Past::New | Past::Closed(_) => self.against(past),
            };
        };
        if let (Some(main), Some((first, last))) = (self.main, log.tallies) {
            if first.0 > main.0 + 1 {
                let count = first.0 - main.0 - 1;
                return Verdict::Apart(format!(
                    "it is older than its log: {count} transactions between them are missing"
                ));
            }
            if last < main {
                let count = main.0 - last.0;
                let why = if log.is_damaged() { "damaged" } else { "older than the file" };
                return Verdict::Apart(format!(
                    "its log is {why}: {count} transactions in the file are not in it"
                ));
            }
        }
        match self.lost() {
            Some(what) => Verdict::Cut(what),
            None => self.against(past),
        }
    }

    /// Whether everything is there that was there once. A tally that cannot be read is damage of another kind.
    fn against(&self, past: Past) -> Verdict {
        let of_log = self.log.as_ref().and_then(|log| log.tallies).map(|(_, last)| last);
        match self.main.max(of_log) {
            Some(found) if found < past.tally() => {
                let count = past.tally().0 - found.0;
                Verdict::Apart(format!("it is older than what was here: {count} transactions are missing"))
            }
            Some(_) | None => Verdict::Whole,
        }
    }

    /// What stands behind the damage, in words.
    fn lost(&self) -> Option<String> {
        let log = self.log.as_ref().filter(|log| log.is_damaged())?;
        let rest = log.rest.as_ref()?;
        let mut text = format!(
            "the log is damaged at byte {}: {} bytes, {} frames from byte {} on are not used",
            rest.at, rest.bytes, rest.frames, log.end
        );
        let kept = log.tallies.map(|(_, last)| last).max(self.main);
        let lost = match (log.last_tally, kept) {
            (Some(last), Some(kept)) => last.0.saturating_sub(kept.0),
            (Some(_) | None, Some(_) | None) => rest.transactions,
        };
        // Writing to a string cannot fail.
        let _ = match lost {
            0 => write!(text, "; the file has had them before"),
            _ => write!(
                text,
                "; the last {lost} transactions are lost, by damage or because the power went before the disk had them"
            ),
        };
        Some(text)
    }
}
