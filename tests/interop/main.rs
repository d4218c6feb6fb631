//! Real clients against the built broker: `mosquitto_pub` and `mosquitto_sub`, paho-mqtt 1.x and 2.x, mqtt.js, rumqttc.
//!
//! Every client is an actor that says what happens in lines (`CONNECTED`, `SUBSCRIBED`, `MESSAGE`…), so a case waits for
//! an event and never for time. A client that is not installed is skipped with a message, and is a failure where
//! `CULEX_REQUIRE_CLIENTS=1`. `CULEX_TEST_BROKER=HOST:PORT` runs the same cases against another broker. Ours
//! has four shards, or as many as `CULEX_TEST_SHARDS` says.

#![expect(clippy::panic, reason = "a client that misbehaves is a failed case, said where it is noticed")]

mod actor;
mod cli;
mod connect;
mod event;
mod kind;
mod matrix;
mod payload;
mod programs;
mod retained;
mod rumqtt;
mod session;
mod setup;
mod will;
