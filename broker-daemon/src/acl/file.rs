//! An access control list on the disk.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use culex_core::client::describe_io;

use crate::config::AclSettings;

use super::{Acl, Mistake, parse};

/// More than a million rules; a larger file is something else.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why a file is no access control list.
#[derive(Debug)]
#[non_exhaustive]
pub enum AclError {
    /// It cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than 64 MiB.
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It has mistakes.
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them, at least one.
        mistakes: Vec<Mistake>,
    },
}

impl Acl {
    /// The list that a configuration has, in a file or in itself; `None` if it has none, and everybody may everything.
    ///
    /// # Errors
    /// As [`Acl::load`].
    pub fn configured(settings: &AclSettings) -> Result<Option<Self>, AclError> {
        match (&settings.file, settings.rules.as_slice()) {
            (Some(path), _) => Self::load(path).map(Some),
            (None, []) => Ok(None),
            (None, rules) => Ok(Some(Self::of(rules))),
        }
    }

    /// Reads a file in mosquitto's format.
    ///
    /// # Errors
    /// [`AclError`]: there is no list then, and nobody should be served without the one that was asked for.
    pub fn load(path: &Path) -> Result<Self, AclError> {
        let unread = |source| AclError::Read { path: path.to_owned(), source };
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
            .map_err(unread)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(AclError::TooLarge { path: path.to_owned() });
        }
        parse(&text).map_err(|mistakes| AclError::Mistakes { path: path.to_owned(), mistakes })
    }
}

/// One line for each thing that is wrong, each with its place.
impl fmt::Display for AclError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => {
                write!(
                    f,
                    "the access control list {} cannot be read: {}",
                    path.display(),
                    describe_io(source)
                )
            }
            Self::TooLarge { path } => {
                let path = path.display();
                write!(f, "{path} is larger than 64 MiB, so it is no access control list")
            }
            Self::Mistakes { path, mistakes } => {
                let path = path.display();
                for (n, Mistake { line, what }) in mistakes.iter().enumerate() {
                    let end = if n == 0 { "" } else { "\n" };
                    write!(f, "{end}{path}:{line}: {what}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for AclError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::TooLarge { .. } | Self::Mistakes { .. } => None,
        }
    }
}
