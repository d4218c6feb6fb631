#![cfg_attr(feature = "server", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "server"), doc = "The engine of the Culex MQTT broker: see [`engine`].")]
#![forbid(unsafe_code)]

#[cfg(feature = "server")]
pub mod client;
pub mod engine;
pub mod limits;
#[cfg(feature = "server")]
mod server;

pub use culex_codec::{self as codec, QoS};
#[cfg(feature = "server")]
pub use engine::access;
#[cfg(feature = "server")]
pub use engine::error::{CloseReason, ProtocolError, Refusal};
#[cfg(feature = "server")]
pub use engine::shard::{ConnectionInfo, Event, SessionInfo};
#[cfg(feature = "server")]
pub use engine::time::WallTime;
#[cfg(feature = "server")]
pub use engine::{MountPoint, MountPointError, Origin, TopicPart};
#[cfg(feature = "store-sqlite")]
pub use server::SqliteStore;
#[cfg(feature = "websocket")]
pub use server::WebSocket;
#[cfg(feature = "server")]
pub use server::hooks;
#[cfg(feature = "tls")]
pub use server::tls;
#[cfg(feature = "server")]
pub use server::{
    Address, Admin, AdminError, Broker, BrokerBuilder, Client, ClientBuilder, ConnectError, Cursor, Delivery,
    Durability, Events, Failure, Gone, Inbox, Lanes, Listener, Network, NetworkError, OpenedListeners, Page,
    Peer, PublishError, RetainedInfo, Saved, ServeError, ShutdownError, Snapshot, StartError, Store,
    StoreError, SubscribeError, Threads, WeakBroker,
};

/// A store without a broker: what is in it, whether it is whole, and how it is made whole.
#[cfg(feature = "store-sqlite")]
pub mod store {
    pub use crate::server::{Damage, Inspection, Repair, inspect, repair};
}

/// The blocks of the guide and of the README of the repository are compiled and run too.
#[cfg(all(doctest, feature = "server"))]
mod documents {
    #[doc = include_str!("../../docs/embedding.md")]
    struct Embedding;
    #[doc = include_str!("../../README.md")]
    struct Readme;
}
