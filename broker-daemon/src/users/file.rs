//! The password file, in mosquitto's format: a line `user:hash` for each user; `#` begins a comment line.
//!
//! Read strictly: mosquitto before 1.5.6 took a malformed line for a user without a password (CVE-2018-12551), later
//! versions skip it. Here every such line is an error with its position, and a file with one is not used at all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cli::human;
use crate::config::{Complaint, ConfigError, Place, Report};

use super::hash::Hash;

/// A larger file is not a password file; this is room for 500,000 users.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// More mistakes than this are counted only: somebody named another kind of file.
const PROBLEMS_MAX: usize = 20;
/// Of an MQTT string [MQTT-1.5.3].
const NAME_BYTES_MAX: usize = 65_535;

/// All users of a correct password file; at least one.
#[derive(Debug)]
pub struct PasswordFile {
    pub(super) users: Vec<Hash>,
    /// Name to place.
    pub(super) names: HashMap<Box<str>, usize>,
    warning: Option<String>,
}

impl PasswordFile {
    /// Reads a file.
    ///
    /// # Errors
    /// With file and line, all mistakes at once: it cannot be read, has no user, or a line that is none.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let alone = |complaint| {
            let mut report = Report::default();
            report.add(Place::File { file: name.clone() }, complaint);
            report.fail()
        };
        let (bytes, mode) = read_all(path).map_err(|error| alone(unreadable(&error)))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(alone(Complaint::new("this file is larger than 64 MiB; is it a password file?")));
        }
        let mut file = Self::parse(&name, &bytes)?;
        if mode & 0o007 != 0 {
            file.warning = Some(format!(
                "{name}: every user of this computer can read the hashes of the passwords; \
                 `chmod o= {name}` ends that"
            ));
        }
        Ok(file)
    }

    /// Reads what a file of this name has.
    ///
    /// # Errors
    /// As [`PasswordFile::read`].
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut report = Report::default();
        let mut file = Self { users: Vec::new(), names: HashMap::new(), warning: None };
        let mut lines = HashMap::new();
        let mut mistakes = 0_usize;
        for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
            let Err(complaint) = file.add(line, number, &mut lines) else { continue };
            mistakes += 1;
            if mistakes <= PROBLEMS_MAX {
                let (complaint, column) = complaint;
                report.add(Place::Position { file: name.to_owned(), line: number, column }, complaint);
            }
        }
        let whole = Place::File { file: name.to_owned() };
        if mistakes > PROBLEMS_MAX {
            report
                .add(whole, Complaint::new(format!("{mistakes} lines are wrong; the first of them follow")));
        } else if mistakes == 0 && file.users.is_empty() {
            let complaint = Complaint::new("this password file has no user, so nobody could connect");
            report.add(whole, complaint.help(format!("`culex passwd {name} USER` adds one")));
        }
        report.finish(file)
    }

    /// One line; `lines` says where a name was seen first. A complaint comes with its column.
    fn add(
        &mut self,
        line: &[u8],
        number: usize,
        lines: &mut HashMap<Box<str>, usize>,
    ) -> Result<(), (Complaint, usize)> {
        let line =
            std::str::from_utf8(line).map_err(|_| (Complaint::new("this line is not UTF-8 text"), 1))?;
        let Some(record) = Line::split(line) else { return Ok(()) };
        let Line { name, hash, column } = record.map_err(|complaint| (complaint, 1))?;
        check_name(name).map_err(|complaint| (complaint, 1))?;
        match lines.entry(name.into()) {
            Entry::Occupied(first) => {
                let complaint = Complaint::new(format!("line {} has this user already", first.get()));
                return Err((complaint.help("remove one of the two"), 1));
            }
            Entry::Vacant(place) => place.insert(number),
        };
        let hash = Hash::parse(hash).map_err(|complaint| (complaint, column))?;
        self.names.insert(name.into(), self.users.len());
        self.users.push(hash);
        Ok(())
    }

    /// How many users it has; at least 1.
    pub fn count(&self) -> usize {
        self.users.len()
    }

    /// What an operator should know of a file that can be used all the same.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

/// A line that stands for a user.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) hash: &'a str,
    /// Of the hash, in characters from 1.
    column: usize,
}

impl<'a> Line<'a> {
    /// `None` for an empty line and a comment. Blanks around name and hash do not count, as in mosquitto.
    pub(super) fn split(line: &'a str) -> Option<Result<Self, Complaint>> {
        if line.starts_with('#') || line.trim().is_empty() {
            return None;
        }
        let Some((name, hash)) = line.split_once(':') else {
            let complaint = Complaint::new("this line has no `:` between a user name and a hash");
            return Some(Err(complaint.help("a line is `user:hash`, or a comment that begins with `#`")));
        };
        let column = name.chars().count() + 2;
        Some(Ok(Self { name: name.trim(), hash: hash.trim(), column }))
    }
}

/// Whether a user may be called so.
///
/// # Errors
/// Why not.
pub(crate) fn check_name(name: &str) -> Result<(), Complaint> {
    let wrong = if name.is_empty() {
        "a user name cannot be empty"
    } else if name.len() > NAME_BYTES_MAX {
        "a user name has at most 65,535 bytes"
    } else if name.contains(':') {
        "a user name cannot have `:`, which ends it in the file"
    } else if name.chars().any(char::is_control) {
        "a user name cannot have control characters"
    } else if name.starts_with('#') {
        "a user name cannot begin with `#`, which begins a comment in the file"
    } else if name.trim() != name {
        "a user name cannot begin or end with a space"
    } else {
        return Ok(());
    };
    Err(Complaint::new(wrong))
}

/// Content and mode. At most a byte more than is allowed is read, so that a device does not fill the memory.
fn read_all(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok((bytes, mode))
}

fn unreadable(error: &io::Error) -> Complaint {
    let complaint = Complaint::new(format!("cannot read this password file: {}", human::io(error)));
    if error.kind() == io::ErrorKind::NotFound {
        complaint.help("`culex passwd -c FILE USER` makes one; a path is relative to the present folder")
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        complaint.help("the broker's own user must be able to read it: see `ls -l` and `chown`")
    } else {
        complaint
    }
}
