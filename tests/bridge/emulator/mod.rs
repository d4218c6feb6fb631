//! The stand-in for AWS IoT Core: each of its duties is a test with the id of the duty, on virtual time.

mod connect;
mod https;
pub(crate) mod peer;
mod publish;
mod reserved;
mod rumqtt;
mod scenarios;
mod sdk;
mod sessions;
mod subscribe;
mod things;
mod tls;
mod v5;
mod websocket;
