//! A message that its integration gave up on, and how it is written down.
//!
//! ```text
//!   {"integration":"bridge/aws","topic":"a/b","qos":1,…}\n        one line of JSON: everything about it
//!   the payload, as it came                                        byte for byte, to the end
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use culex_core::QoS;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Bytes of each text of a letter; what is longer is cut, as a reply of the other side may be.
const TEXT_BYTES_MAX: usize = 4096;
/// Bytes of the hash that names a letter.
const ID_BYTES: usize = 12;

/// A message that the other side refused for good, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The Topic Name, as it is here.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// The QoS it came with.
    pub qos: QoS,
    /// Whether it was a Retained Message.
    pub retain: bool,
    /// Why, for people: at most 4 KiB.
    pub reason: String,
    /// What the other side answered, if it did: at most 4 KiB.
    pub reply: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub at: SystemTime,
    /// What tells this message from another one with the same content: what the integration knows it by, the same at
    /// every attempt. May be empty; then equal messages are one letter.
    pub key: String,
}

/// A dead letter in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Whose it is, such as `webhook/sensors`.
    pub integration: String,
    /// Its name there.
    pub id: String,
    /// The letter itself.
    pub letter: DeadLetter,
}

/// What is kept is no letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is kept at this place is no dead letter; purge it")]
pub struct BadLetter;

impl DeadLetter {
    /// A message of QoS 0 that was given up now, after one attempt, for no reason yet.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            reason: String::new(),
            reply: None,
            attempts: 1,
            at: SystemTime::now(),
            key: String::new(),
        }
    }

    /// The name of this letter among those of an integration: it follows from the message and nothing else, so a message
    /// that is given up once more after a crash takes the place that it had.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.key.as_bytes(), self.topic.as_bytes(), &[self.qos as u8, u8::from(self.retain)]] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(&self.payload);
        hash.finalize().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn encode(&self, integration: &str) -> Vec<u8> {
        let at = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = json!({
            "integration": integration,
            "topic": self.topic,
            "qos": self.qos as u8,
            "retain": self.retain,
            "reason": cut(&self.reason),
            "reply": self.reply.as_deref().map(cut),
            "attempts": self.attempts,
            "at_ms": u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            "key": self.key,
        });
        let mut text = head.to_string().into_bytes();
        text.push(b'\n');
        text.extend_from_slice(&self.payload);
        text
    }

    pub(super) fn decode(kept: &Bytes) -> Result<Self, BadLetter> {
        let end = kept.iter().position(|byte| *byte == b'\n').ok_or(BadLetter)?;
        let head: Value = serde_json::from_slice(kept.get(..end).ok_or(BadLetter)?).map_err(|_| BadLetter)?;
        let text = |name: &str| head.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| head.get(name).and_then(Value::as_u64);
        let qos = number("qos").and_then(|qos| QoS::from_bits(u8::try_from(qos).ok()?));
        Ok(Self {
            topic: text("topic").ok_or(BadLetter)?,
            payload: kept.slice(end + 1..),
            qos: qos.ok_or(BadLetter)?,
            retain: head.get("retain").and_then(Value::as_bool).ok_or(BadLetter)?,
            reason: text("reason").unwrap_or_default(),
            reply: text("reply"),
            attempts: number("attempts").and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
            at: UNIX_EPOCH + Duration::from_millis(number("at_ms").unwrap_or_default()),
            key: text("key").unwrap_or_default(),
        })
    }
}

/// The beginning of a text that is too long.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_letter() -> impl Strategy<Value = DeadLetter> {
        let texts = (".{1,40}", ".*", prop::option::of(".*"), ".{0,20}");
        let rest = (prop::collection::vec(any::<u8>(), 0..300), 0_u8..3, any::<bool>(), any::<u32>());
        (texts, rest, 0_u64..4_000_000_000_000).prop_map(|((topic, reason, reply, key), rest, at_ms)| {
            let (payload, qos, retain, attempts) = rest;
            let at = UNIX_EPOCH + Duration::from_millis(at_ms);
            let qos = QoS::from_bits(qos).unwrap();
            DeadLetter { topic, payload: payload.into(), qos, retain, reason, reply, attempts, at, key }
        })
    }

    proptest! {
        #[test]
        fn a_letter_is_read_as_it_was_written(letter in any_letter()) {
            let kept = Bytes::from(letter.encode("bridge/aws"));
            prop_assert_eq!(DeadLetter::decode(&kept), Ok(letter));
        }

        #[test]
        fn nothing_that_is_kept_makes_it_panic(kept in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = DeadLetter::decode(&Bytes::from(kept));
        }
    }

    #[test]
    fn the_id_is_that_of_the_message_alone() {
        let letter = DeadLetter { reason: "404".to_owned(), ..DeadLetter::new("a", &b"x"[..]) };
        let again = DeadLetter { reason: "500".to_owned(), attempts: 7, at: UNIX_EPOCH, ..letter.clone() };
        assert_eq!(letter.id(), again.id());
        assert_eq!(letter.id().len(), 24);
        for other in [
            DeadLetter { topic: "b".to_owned(), ..letter.clone() },
            DeadLetter { payload: Bytes::from_static(b"y"), ..letter.clone() },
            DeadLetter { qos: QoS::AtLeastOnce, ..letter.clone() },
            DeadLetter { retain: true, ..letter.clone() },
            DeadLetter { key: "2".to_owned(), ..letter.clone() },
        ] {
            assert_ne!(letter.id(), other.id(), "{other:?}");
        }
    }

    #[test]
    fn a_long_reply_is_cut_between_two_characters() {
        let letter = DeadLetter { reply: Some("é".repeat(4000)), ..DeadLetter::new("a", &b""[..]) };
        let kept = Bytes::from(letter.encode("webhook/x"));
        assert_eq!(DeadLetter::decode(&kept).unwrap().reply.unwrap(), "é".repeat(2048));
    }
}
