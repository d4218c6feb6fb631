//! What the broker tells, as JSON.

use culex_core::codec::ProtocolVersion;
use culex_core::{Page, RetainedInfo, SessionInfo};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

use super::slowest;
use crate::config::{Change, Holds, Listener, Protocol};

/// Bytes of a payload that a list shows.
const PAYLOAD_SHOWN: usize = 256;

pub(super) fn page<T>(page: &Page<T>, item: impl Fn(&T) -> Value) -> Value {
    let items: Vec<_> = page.items.iter().map(item).collect();
    json!({ "items": items, "next": page.next.as_ref().map(ToString::to_string) })
}

pub(super) fn session(session: &SessionInfo) -> Value {
    let connection = session.connection.as_ref().map(|connection| {
        json!({
            "peer": connection.peer,
            "version": version(connection.version),
            "keep_alive_seconds": connection.keep_alive_s,
            "connected_at": connection.connected_at.0 / 1000,
            "outbox_bytes": connection.outbox_bytes,
        })
    });
    json!({
        "client_id": session.client_id,
        "user_name": session.user_name,
        "expiry_seconds": if session.expiry_s == u32::MAX { Value::Null } else { session.expiry_s.into() },
        "subscriptions": session.subscriptions,
        "queue_messages": session.queue_messages,
        "queue_bytes": session.queue_bytes,
        "in_flight": session.in_flight,
        "connection": connection,
    })
}

const fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V31 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    }
}

/// With the beginning of its payload if that is text.
pub(super) fn retained(message: &RetainedInfo) -> Value {
    let payload = std::str::from_utf8(&message.payload).ok();
    let shown = payload.map(|text| text.chars().take(PAYLOAD_SHOWN).collect::<String>());
    json!({ "topic": message.topic, "qos": message.qos as u8, "bytes": message.payload.len(), "payload": shown })
}

pub(super) fn change(change: &Change) -> Value {
    json!({
        "key": change.key,
        "old": change.old,
        "new": change.new,
        "is_in_force": change.holds != Holds::FromNextStart,
        "holds": change.holds.words(),
    })
}

/// One who is behind.
pub(super) fn slow(session: &SessionInfo) -> Value {
    json!({
        "client_id": session.client_id,
        "queue_messages": session.queue_messages,
        "queue_bytes": slowest::waiting(session),
    })
}

/// `expires` is when its certificate does, in seconds since 1970.
pub(super) fn listener(listener: &Listener, address: &str, expires: Option<i64>) -> Value {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    json!({
        "address": address,
        "protocol": match listener.protocol {
            Protocol::Mqtt => "mqtt",
            Protocol::WebSockets => "websockets",
        },
        "tls": listener.tls.is_some(),
        "certificate_days": expires.map(|expires| (expires - now).div_euclid(24 * 3600)),
    })
}
