//! Where a broker's store comes from.

use std::fmt;
#[cfg(feature = "store-sqlite")]
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "store-sqlite")]
use super::{Durability, SqliteStore};
use super::{Store, StoreError};

type Open = dyn Fn() -> Result<Box<dyn Store>, StoreError> + Send + Sync;

/// What a builder was told.
#[derive(Clone, Default)]
pub(crate) enum Source {
    /// Nothing outlives the process.
    #[default]
    Memory,
    /// SQLite in this directory.
    #[cfg(feature = "store-sqlite")]
    Directory(PathBuf),
    /// An embedder's.
    Custom(Arc<Open>),
}

impl Source {
    pub(crate) fn custom<S: Store>(open: impl Fn() -> Result<S, StoreError> + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(move || Ok(Box::new(open()?))))
    }

    pub(crate) fn open(
        &self,
        #[cfg(feature = "store-sqlite")] durability: Durability,
    ) -> Result<Option<Box<dyn Store>>, StoreError> {
        match self {
            Self::Memory => Ok(None),
            #[cfg(feature = "store-sqlite")]
            Self::Directory(path) => Ok(Some(Box::new(SqliteStore::open(path, durability)?))),
            Self::Custom(open) => open().map(Some),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("Memory"),
            #[cfg(feature = "store-sqlite")]
            Self::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}
