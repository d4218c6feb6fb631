//! What goes wrong with a store.

use std::io;
use std::path::PathBuf;

use crate::client::describe_io;

/// Why a store cannot be used, or not any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it.
    #[error("{} is in use by {holder}; give this broker a directory of its own", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, as far as is known.
        holder: String,
    },
    /// There is nothing to look at or to repair.
    #[error("there is no store in {}; the banner of the broker says where it keeps its state", .path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A file of another program stands where ours should. It was not touched.
    #[error("{} is not a store of Culex, and was left as it is", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer Culex. It was not touched.
    #[error("{} has format {found}, this version knows formats up to {known}; use the version that wrote it", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The file was written by an older Culex whose format is not read any more. It was not touched.
    #[error("{} has format {found}, this version reads format {known} alone; use the version that wrote it, or another directory", .path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The one that is read.
        known: u32,
    },
    /// Others could read or change what is in it. It was not touched.
    #[error("{} may be read or changed by others (mode {mode:03o}); `chmod 600 {}` if it should be used", .path.display(), .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file system says no.
    #[error("{}: {}", .path.display(), describe_io(source))]
    Io {
        /// What was wanted.
        path: PathBuf,
        /// Why it was not given.
        source: io::Error,
    },
    /// What was read is not what was written.
    #[error("{}: damaged: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// There is no room on the disk, by its size, a quota, or a limit on the size of files. Nothing is lost: the broker
    /// keeps what it has, and tries again.
    #[error("no space left for {}: {why}", .path.display())]
    Full {
        /// What has to grow.
        path: PathBuf,
        /// What was tried.
        why: String,
    },
    /// The engine of the store says no.
    #[error("{0}")]
    Engine(String),
}
