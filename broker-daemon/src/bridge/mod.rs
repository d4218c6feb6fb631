//! Bridges: local topics to another broker, and its topics here.

pub mod aws;
