//! What a bridge owes to AWS IoT Core: each duty is a test with the id of the fact, on virtual time.

pub(crate) mod cloud;
mod connect;
mod outage;
mod publish;
mod subscribe;
