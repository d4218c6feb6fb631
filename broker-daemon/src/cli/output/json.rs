//! A message as one JSON object, with mosquitto_sub's names.

use std::time::SystemTime;

use culex_core::client::Message;
use serde_json::Value;

use crate::cli::output::NotJson;
use crate::clock::Utc;

/// What becomes of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// A JSON string (`%j`).
    Text,
    /// JSON itself (`%J`).
    Json,
}

/// Appends the object.
///
/// # Errors
/// If the payload shall be JSON and is not; `out` is unchanged then.
pub(super) fn print(
    payload: Payload,
    message: &Message,
    at: SystemTime,
    out: &mut Vec<u8>,
) -> Result<(), NotJson> {
    let payload_json = match payload {
        Payload::Text => Value::from(String::from_utf8_lossy(&message.payload)).to_string().into_bytes(),
        Payload::Json => compact(&message.payload)?,
    };
    let utc = Utc::of(at);
    let head = format!(
        "{{\"tst\":\"{}.{:06}Z+0000\",\"topic\":{},\"qos\":{},\"retain\":{},\"payloadlen\":{}",
        utc.date_and_time(),
        utc.nanosecond / 1_000,
        Value::from(message.topic.as_str()),
        message.qos.bits(),
        u8::from(message.is_retained),
        message.payload.len(),
    );
    out.extend_from_slice(head.as_bytes());
    if let Some(packet_id) = message.packet_id {
        out.extend_from_slice(format!(",\"mid\":{}", packet_id.get()).as_bytes());
    }
    out.extend_from_slice(b",\"payload\":");
    out.extend_from_slice(&payload_json);
    out.push(b'}');
    Ok(())
}

/// The same JSON without white space, so that it stays on one line; keys keep their order and numbers their digits.
fn compact(json: &[u8]) -> Result<Vec<u8>, NotJson> {
    serde_json::from_slice::<Value>(json).map_err(|_| NotJson)?;
    let mut compact = Vec::with_capacity(json.len());
    let (mut is_in_string, mut is_escaped) = (false, false);
    for &byte in json {
        if is_in_string {
            is_in_string = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            is_in_string = byte == b'"';
        }
        compact.push(byte);
    }
    Ok(compact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_strings_stay() {
        for (json, expected) in [
            ("{ \"b\" : 1.50,\n\"a\":[ 1 , \"x \\\" y\" ] }", Some("{\"b\":1.50,\"a\":[1,\"x \\\" y\"]}")),
            (" \"a\\\\\" ", Some("\"a\\\\\"")),
            ("1", Some("1")),
            ("", None),
            ("hello", None),
            ("{", None),
        ] {
            let found = compact(json.as_bytes()).ok();
            assert_eq!(found.as_deref().map(|json| std::str::from_utf8(json).unwrap()), expected, "{json}");
        }
        assert!(compact(&[b'['; 100_000]).is_err());
    }
}
