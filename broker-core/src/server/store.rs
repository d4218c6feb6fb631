//! The store of a broker without a data directory: sessions and Retained Messages live in memory, so a batch is
//! kept as well as it ever will be at the moment it is handed over, and the gate opens at once.

use crate::engine::keys::BatchNumber;
use crate::engine::store::StoreBatch;

/// Keeps nothing beyond the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory;

impl Memory {
    /// Takes a batch and says through which number everything is stored.
    pub(crate) fn keep(self, batch: StoreBatch) -> BatchNumber {
        batch.number
    }
}
