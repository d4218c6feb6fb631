//! Bridges: local topics to another broker, and its topics here.
//!
//! A bridge is a client in the process with a persistent session, so its queue, its limits and its crash safety are those
//! of any session ([`crate::integration`]), and a connection to the other broker, a client like `culex pub`. In between:
//! topics get other names ([`mod@aws`] has what AWS IoT Core wants of them), messages go at the pace that the other side
//! bears, and no message is acknowledged on one side before the other has it for good.
//!
//! ```text
//!   Bridges ─► Link per connection ─► local  ─ Inbox ─► outgoing ─► Connection ─► the other broker
//!      │                              session           incoming ◄─
//!      └─────► status: $SYS/broker/connection/<name>/…, API, metrics
//! ```

pub mod aws;
mod connects;
pub mod diagnosis;
mod dial;
mod incoming;
mod left;
mod link;
mod local;
mod loops;
mod mapping;
mod outgoing;
mod pending;
pub mod policy;
mod remote;
mod rules;
mod shared;
mod spacing;
mod status;
mod subscriber;
mod supervisor;
mod wanted;

pub use self::remote::{Connecting, Connector, Reached, check_files};
pub(crate) use self::supervisor::host_name;
pub use self::supervisor::{Bridges, Builder, NoBridge, OrderError, Prepared};
