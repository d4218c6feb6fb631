//! Handles. A slot is reused, a generation never is, so an old handle finds nothing instead of a stranger's state.

/// One shard of the broker: the owner of the sessions whose ClientId hashes to it. Range 0 … 65,535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ShardId(pub u16);

/// A Session within its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// Index of the slot.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// A Network Connection within its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    /// Index of the slot.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// A Session that outlives its connection, as the store knows it. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// An Application Message that was accepted; increasing, the order of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicationId(pub u64);

/// A change of the Retained Messages; every set and every clear takes the next number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RetainedVersion(pub u64);

/// Number of a batch of records that a shard handed to the store; increasing by one within a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BatchNumber(pub u64);
