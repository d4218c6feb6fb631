//! mosquitto's configuration file, as mosquitto 2.0 reads it, into the same draft as `culex.toml`.
//!
//! ```text
//!   file, include_dir ─► statement: NAME VALUE ─► options: the one table ─► reading ─► finish ─► Draft
//!                                                    └─► page: docs/mosquitto.md
//! ```
//!
//! Each option of mosquitto.conf(5) is in the table: it goes into the configuration, or is ignored because that is harmless,
//! which is said, or it stops the start with its place, because without it the broker would do something else than what was
//! asked for.

mod bridge;
mod finish;
mod options;
pub(super) mod page;
mod reading;
mod statement;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::config::problem::{Complaint, Note, Place, Report};
use crate::config::source::Source;
use crate::config::suggest::nearest;
use crate::config::validate::Draft;

pub(super) use self::reading::Machine;
use self::reading::Reading;
pub(super) use self::statement::{Statement, statements};

/// More files than this in an `include_dir` are another folder.
const INCLUDED_MAX: usize = 1000;

/// Whether mosquitto has an option of this name.
pub(super) fn is_option(name: &str) -> bool {
    options::find(name).is_some()
}

/// The option that was meant, if it is a slip.
pub(super) fn nearest_option(name: &str) -> Option<&'static str> {
    nearest(name, options::all().map(|option| option.name))
}

/// Reads a file and what it includes. What is ignored, or is otherwise than in mosquitto, comes with the draft; mistakes go to
/// `report`.
pub(super) fn read(source: &Source, machine: Machine, report: &mut Report) -> (Draft, Vec<Note>) {
    let mut reading = Reading::new(machine);
    read_source(source, &mut reading, report, Level::Main);
    finish::finish(reading, report)
}

/// Which file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Main,
    /// One of an `include_dir`, which includes no more.
    Included,
}

fn read_source(source: &Source, reading: &mut Reading, report: &mut Report, level: Level) {
    for statement in statements(source.text()) {
        let place = source.place(&statement.span);
        reading.here.clone_from(&place);
        let applied = match (statement.name, level) {
            ("include_dir", Level::Main) => include(statement.value, reading, report),
            ("include_dir", Level::Included) => {
                Err(Complaint::new("`include_dir` is for the main file alone, as in mosquitto"))
            }
            (name, _) => match options::find(name) {
                Some(option) => reading.apply(option, name, statement.value),
                None => Err(unknown(&statement)),
            },
        };
        if let Err(complaint) = applied {
            report.add(place, complaint);
        }
    }
}

/// What of an unknown option is repeated: behind a tab, which separates nothing here, may be a password.
pub(super) fn shown(name: &str) -> &str {
    let lead = name.len() - name.trim_start_matches('\t').len();
    let end = name.get(lead..).and_then(|rest| rest.find('\t')).map_or(name.len(), |at| lead + at);
    name.get(..end).unwrap_or_default()
}

fn unknown(statement: &Statement<'_>) -> Complaint {
    let name = statement.name;
    let complaint = Complaint::new(format!("unknown option `{}`", shown(name).escape_debug()));
    if name.starts_with('#') {
        complaint.help("a comment begins at the start of its line, as in mosquitto")
    } else if name.contains('\t') {
        complaint.help("between an option and its value is a space, and none but spaces before it")
    } else if let Some(near) = nearest_option(name) {
        complaint.help(format!("did you mean `{near}`?"))
    } else {
        complaint.help("docs/mosquitto.md has all options that there are")
    }
}

/// All files of a folder whose name ends with `.conf`, in mosquitto's order. Each begins without a listener, and the file that
/// includes them goes on with its own.
fn include(folder: &str, reading: &mut Reading, report: &mut Report) -> Result<(), Complaint> {
    if folder.is_empty() {
        return Err(reading::is_empty("include_dir"));
    }
    let outer = reading.enter();
    for path in included(Path::new(folder))? {
        match Source::read(&path) {
            Ok(source) => read_source(&source, reading, report, Level::Included),
            Err(complaint) => report.add(Place::File { file: path.display().to_string() }, complaint),
        }
        reading.enter();
    }
    reading.leave(outer);
    Ok(())
}

fn included(folder: &Path) -> Result<Vec<PathBuf>, Complaint> {
    let cannot = |error: std::io::Error| {
        Complaint::new(format!(
            "cannot read the folder {}: {}",
            folder.display(),
            crate::cli::human::io(&error)
        ))
        .help("check the path; it is relative to the present folder")
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        let Some(name) = name.to_str().filter(|name| name.ends_with(".conf") && name.len() > ".conf".len())
        else {
            continue;
        };
        found.push(name.to_owned());
        if found.len() > INCLUDED_MAX {
            let message = format!("there are more than {INCLUDED_MAX} files in {}", folder.display());
            return Err(Complaint::new(message).help("give it a folder with configurations alone"));
        }
    }
    // Letters in the order of the alphabet, upper case before lower case of the same one.
    found.sort_by_cached_key(|name| (name.to_ascii_lowercase(), name.clone()));
    Ok(found.into_iter().map(|name| folder.join(name)).collect())
}
