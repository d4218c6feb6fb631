//! The stand-in for AWS IoT Core: each of its duties is a test with the id of the duty, on virtual time.

mod connect;
mod peer;
mod publish;
mod reserved;
mod scenarios;
mod sessions;
mod subscribe;
mod v5;
