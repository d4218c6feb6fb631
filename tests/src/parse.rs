//! The packets that a Server sends, parsed strictly: the other half of [`crate::wire`].

use crate::wire::Publish;

/// A packet from the Server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// CONNACK.
    ConnAck {
        /// Session Present.
        session_present: bool,
        /// Return code.
        code: u8,
    },
    /// CONNACK in the format of MQTT 5.0: Reason Code, properties left aside.
    ConnAck5 {
        /// Reason Code.
        reason: u8,
    },
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK with its Packet Identifier.
    PubAck(u16),
    /// PUBREC with its Packet Identifier.
    PubRec(u16),
    /// PUBREL with its Packet Identifier.
    PubRel(u16),
    /// PUBCOMP with its Packet Identifier.
    PubComp(u16),
    /// SUBACK: Packet Identifier and return codes.
    SubAck(u16, Vec<u8>),
    /// UNSUBACK with its Packet Identifier.
    UnsubAck(u16),
    /// PINGRESP.
    PingResp,
}

/// The first packet of `bytes` and its length, or `None` while it is incomplete.
///
/// # Errors
///
/// A sentence that names the rule that the Server broke.
pub fn parse(bytes: &[u8]) -> Result<Option<(Received, usize)>, String> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((length, used)) = parse_remaining_length(rest)? else { return Ok(None) };
    let start = 1 + used;
    let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
    Ok(Some((parse_body(first, body)?, start + length)))
}

fn parse_remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut length = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err("Remaining Length of more than four bytes".to_owned()) } else { Ok(None) }
}

fn parse_body(first: u8, body: &[u8]) -> Result<Received, String> {
    // The first byte is compared whole: reserved flags must have their values. [MQTT-2.2.2-1]
    match (first, body) {
        (0x20, &[acknowledge, code]) => {
            if acknowledge > 1 {
                return Err(format!("reserved CONNACK flags are set: {acknowledge:#04x}"));
            }
            Ok(Received::ConnAck { session_present: acknowledge == 1, code })
        }
        (0x20, &[0, reason, _, ..]) => Ok(Received::ConnAck5 { reason }),
        (0x30..=0x3F, _) => parse_publish(first, body).map(Received::Publish),
        (0x40, _) => packet_id(body).map(Received::PubAck),
        (0x50, _) => packet_id(body).map(Received::PubRec),
        (0x62, _) => packet_id(body).map(Received::PubRel),
        (0x70, _) => packet_id(body).map(Received::PubComp),
        (0x90, &[high, low, ref codes @ ..]) if !codes.is_empty() => {
            // [MQTT-3.9.3-2]
            if let Some(code) = codes.iter().find(|code| !matches!(code, 0..=2 | 0x80)) {
                return Err(format!("SUBACK return code {code:#04x}"));
            }
            Ok(Received::SubAck(u16::from_be_bytes([high, low]), codes.to_vec()))
        }
        (0xB0, _) => packet_id(body).map(Received::UnsubAck),
        (0xD0, &[]) => Ok(Received::PingResp),
        _ => Err(format!("no packet of a Server: first byte {first:#04x}, body {body:02x?}")),
    }
}

fn packet_id(body: &[u8]) -> Result<u16, String> {
    match *body {
        [high, low] if (high, low) != (0, 0) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(format!("not a Packet Identifier: {body:02x?}")),
    }
}

fn parse_publish(first: u8, body: &[u8]) -> Result<Publish, String> {
    let (dup, qos, retain) = (first & 8 != 0, first >> 1 & 3, first & 1 != 0);
    if qos == 3 {
        return Err("PUBLISH with QoS 3".to_owned()); // [MQTT-3.3.1-4]
    }
    if dup && qos == 0 {
        return Err("PUBLISH with DUP 1 and QoS 0".to_owned()); // [MQTT-3.3.1-2]
    }
    let (topic, rest) = body
        .split_first_chunk::<2>()
        .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))))
        .ok_or("PUBLISH ends inside its topic")?;
    let topic = str::from_utf8(topic).map_err(|error| format!("Topic Name: {error}"))?.to_owned();
    if topic.is_empty() || topic.contains(['+', '#', '\0']) {
        return Err(format!("Topic Name {topic:?}")); // [MQTT-3.3.2-2] [MQTT-4.7.3-1] [MQTT-4.7.3-2]
    }
    // [MQTT-2.3.1-5]
    let (id, payload) = if qos == 0 {
        (None, rest)
    } else {
        let (id, payload) = rest.split_first_chunk::<2>().ok_or("PUBLISH without its Packet Identifier")?;
        (Some(packet_id(id)?), payload) // [MQTT-2.3.1-1]
    };
    Ok(Publish { dup, qos, retain, topic, id, payload: payload.to_vec() })
}
