//! Drives the engine: lanes with their sockets, the front door before them, and what they share.
//!
//! ```text
//!   listener ─► front_door (tokio tasks)   Attach    lane ── lane ── …   a Shard, its poll and its links,
//!               accept, CONNECT, deadline ────────►  │  mailbox  │        driven by workers, their threads
//!               admit: room for connections          └─ commons ─┘        routing table, Retained Messages
//! ```

mod admin;
mod admit;
mod broker;
mod client;
mod clock;
mod commons;
mod departure;
mod events;
mod front_door;
pub mod hooks;
#[cfg(test)]
#[cfg(culex_loom)]
mod interleavings;
mod journal;
mod lane;
mod link;
mod listener;
mod mailbox;
mod metrics;
mod peer;
mod pipe;
mod refuse;
mod serve;
mod socket;
mod store;
mod sync;
mod sys;
#[cfg(feature = "tls")]
pub mod tls;
mod transport;
#[cfg(feature = "websocket")]
mod websocket;
mod worker;

pub use self::admin::{Admin, AdminError, Cursor, Page, RetainedInfo};
pub use self::broker::{
    Broker, BrokerBuilder, Failure, OpenedListeners, ShutdownError, StartError, Threads, WeakBroker,
};
pub use self::client::{
    Client, ClientBuilder, ConnectError, Delivery, Gone, Inbox, PublishError, SubscribeError,
};
pub use self::events::Events;
pub use self::listener::{Address, Listener, Network, NetworkError};
pub use self::metrics::Snapshot;
pub use self::peer::Peer;
pub use self::serve::ServeError;
#[cfg(feature = "store-sqlite")]
pub use self::store::{Damage, Inspection, Repair, SqliteStore, inspect, repair};
pub use self::store::{Durability, Saved, Store, StoreError};
#[cfg(feature = "websocket")]
pub use self::websocket::WebSocket;
pub use self::worker::Lanes;
