//! Echo: the first shard, to measure a lane with.
use super::keys::ConnectionKey;
use super::outbox::{BufferPool, Outbox};

/// Sends back what comes.
#[derive(Debug, Default)]
pub struct Shard {
    outboxes: Vec<Option<Outbox>>,
    touched: Vec<ConnectionKey>,
    pool: BufferPool,
}

impl Shard {
    /// A connection begins.
    pub fn attach(&mut self) -> ConnectionKey {
        let slot = self.outboxes.iter().position(Option::is_none).unwrap_or(self.outboxes.len());
        if slot == self.outboxes.len() {
            self.outboxes.push(None);
        }
        self.outboxes[slot] = Some(Outbox::default());
        ConnectionKey { slot: slot as u32, generation: 0 }
    }
    /// A connection ends.
    pub fn detach(&mut self, key: ConnectionKey) {
        self.outboxes[key.slot as usize] = None;
    }
    /// Bytes come.
    pub fn handle_bytes(&mut self, key: ConnectionKey, bytes: &[u8]) -> usize {
        if let Some(outbox) = &mut self.outboxes[key.slot as usize] {
            outbox.append(&mut self.pool, bytes);
            self.touched.push(key);
        }
        bytes.len()
    }
    /// Bytes wait.
    pub fn touch(&mut self, key: ConnectionKey) {
        self.touched.push(key);
    }
    /// Who has bytes.
    pub fn next_touched(&mut self) -> Option<ConnectionKey> {
        self.touched.pop()
    }
    /// What waits.
    pub fn outbox(&mut self, key: ConnectionKey) -> Option<&mut Outbox> {
        self.outboxes[key.slot as usize].as_mut()
    }
    /// All is written.
    pub fn drained(&mut self, key: ConnectionKey) {
        if let Some(outbox) = &mut self.outboxes[key.slot as usize] {
            outbox.recycle(&mut self.pool);
        }
    }
}
