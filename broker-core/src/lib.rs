//! The Culex MQTT broker as a library.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use culex_core::Broker;
//! use std::time::Duration;
//!
//! let broker = Broker::builder().listen("127.0.0.1:0".parse()?).start().await?;
//! println!("listening on {}", broker.local_addrs()[0]);
//! // … MQTT 3.1 and 3.1.1 clients publish and subscribe …
//! broker.shutdown(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`engine`] is the broker as deterministic state machines without any I/O; it builds alone with
//! `default-features = false`. [`Broker`] (feature `server`, on by default) drives it with threads and sockets.
#![forbid(unsafe_code)]

#[cfg(feature = "server")]
pub mod client;
pub mod engine;
pub mod limits;
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "server")]
pub use culex_codec::QoS;
#[cfg(feature = "server")]
pub use engine::shard::{ConnectionInfo, Event, SessionInfo};
#[cfg(feature = "server")]
pub use server::hooks;
#[cfg(feature = "server")]
pub use server::{
    Admin, AdminError, Broker, BrokerBuilder, Client, ClientBuilder, ConnectError, Cursor, Delivery, Events,
    Failure, Gone, Inbox, Lanes, Page, Peer, PublishError, RetainedInfo, ServeError, ShutdownError, Snapshot,
    StartError, SubscribeError, Threads, WeakBroker,
};
