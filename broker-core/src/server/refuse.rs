//! CONNACK for a CONNECT that was not accepted.

use culex_codec::{ProtocolVersion, ReasonCode};

use crate::engine::error::Refusal;
use crate::engine::shard::connack;

/// The bytes of a CONNACK that refuses; `None` where no code fits and the close says it all [MQTT-3.2.2-6].
pub(crate) fn refusal_bytes(version: ProtocolVersion, refusal: Refusal) -> Option<Vec<u8>> {
    match refusal {
        Refusal::Superseded => None,
        Refusal::UnsupportedVersion
        | Refusal::EmptyClientId
        | Refusal::BadCredentials
        | Refusal::NotAuthorized
        | Refusal::WillNotAuthorized
        | Refusal::Unavailable
        | Refusal::StoreFull
        | Refusal::TooManySessions
        | Refusal::WillTopic
        | Refusal::KeepAlive { .. }
        | Refusal::ReservedClientId => connack_bytes(version, refusal.reason_code()),
    }
}

/// The bytes of a CONNACK with this code [MQTT-3.2.2-4].
pub(crate) fn connack_bytes(version: ProtocolVersion, code: ReasonCode) -> Option<Vec<u8>> {
    let mut packet = Vec::new();
    connack(false, code).encode(version, &mut packet).ok()?;
    Some(packet)
}
