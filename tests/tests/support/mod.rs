//! Clients that keep the state of their sessions over connections, as the standard asks of them.

pub(crate) mod chance;
pub(crate) mod link;
pub(crate) mod network;
pub(crate) mod publisher;
pub(crate) mod subscriber;
pub(crate) mod switch;
