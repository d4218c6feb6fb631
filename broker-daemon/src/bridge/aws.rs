//! What AWS IoT Core wants of a client: every number once, with the id of the fact.
//!
//! They are the defaults of its large Regions (AWS IoT Core endpoints and quotas, AWS IoT Core Developer Guide). A bridge
//! keeps a distance where going over a limit is silent.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Bytes of a ClientId (AIC-CON-03).
pub const CLIENT_ID_BYTES_MAX: usize = 128;
/// Keep Alive in seconds; what is outside is changed there (AIC-CON-10).
pub const KEEP_ALIVE_S: RangeInclusive<u64> = 30..=1200;
/// Between two CONNECTs of a ClientId, of which one a second is taken (AIC-CON-06).
pub const CONNECT_GAP: Duration = Duration::from_millis(1100);
/// PUBLISH packets a second over one connection; 100 are allowed and what is beyond is discarded in silence (AIC-PUB-06).
pub const MESSAGES_PER_SECOND: u64 = 95;
/// Bytes a second over one connection, of 512 KiB (AIC-PUB-08).
pub const BYTES_PER_SECOND: u64 = 480 << 10;
/// QoS 1 messages in flight, of 100 (AIC-PUB-09).
pub const IN_FLIGHT_MAX: u16 = 50;
/// Between two Retained Messages of one topic, which may have one a second (AIC-RET-04).
pub const RETAINED_GAP: Duration = Duration::from_millis(1100);
/// Bytes of a payload (AIC-PUB-03).
pub const PAYLOAD_BYTES_MAX: usize = 128 << 10;
/// Bytes of a topic, without `$aws/rules/<rule>/` (AIC-PUB-05).
pub const TOPIC_BYTES_MAX: usize = 256;
/// Slashes of a topic, without the same (AIC-PUB-05).
pub const TOPIC_SLASHES_MAX: usize = 7;
/// Topic filters of one SUBSCRIBE (AIC-SUB-01).
pub const FILTERS_PER_SUBSCRIBE: usize = 8;
/// Subscriptions of one connection (AIC-SUB-02).
pub const SUBSCRIPTIONS_MAX: usize = 50;
/// What a topic for a rule begins with (AIC-TOP-02).
pub const RULES: &str = "$aws/rules/";
/// Application protocol on port 443 with a certificate (AIC-NET-03).
pub const ALPN_CERTIFICATE: &str = "x-amzn-mqtt-ca";
/// Application protocol on port 443 with a user name (AIC-NET-04).
pub const ALPN_USER: &str = "mqtt";
/// The port where the application protocol must be said (AIC-NET-03).
pub const PORT_WITH_ALPN: u16 = 443;
/// Time from the last packet of a PUBLISH to its PUBACK; without one it was throttled (AIC-PUB-07).
pub const ACK_TIMEOUT: Duration = Duration::from_secs(20);

/// A topic without what AWS does not count of it: `$aws/rules/<rule>/`.
pub fn counted(topic: &str) -> &str {
    let rule_and_rest = topic.strip_prefix(RULES).and_then(|rest| rest.split_once('/'));
    rule_and_rest.map_or(topic, |(_, rest)| rest)
}

/// Why AWS would not take a topic or filter; `None` if it would.
pub fn objection(topic: &str) -> Option<String> {
    let counted = counted(topic);
    let slashes = counted.bytes().filter(|byte| *byte == b'/').count();
    if slashes > TOPIC_SLASHES_MAX {
        return Some(format!("it has {slashes} slashes, and AWS IoT takes {TOPIC_SLASHES_MAX}"));
    }
    if counted.len() > TOPIC_BYTES_MAX {
        return Some(format!("it has {} bytes, and AWS IoT takes {TOPIC_BYTES_MAX}", counted.len()));
    }
    if topic.starts_with('$') && !topic.starts_with(RULES) {
        return Some("topics that begin with `$` are reserved by AWS".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_a_rule_does_not_count() {
        assert_eq!(counted("$aws/rules/r/a/b"), "a/b");
        assert_eq!(counted("a/b"), "a/b");
        assert_eq!(objection(&format!("$aws/rules/r/{}", "x".repeat(256))), None);
        assert_eq!(objection("a/b/c/d/e/f/g/h"), None);
        for topic in ["a/b/c/d/e/f/g/h/i", "$SYS/x", "$aws/things/x", &*"x".repeat(257)] {
            assert!(objection(topic).is_some(), "{topic}");
        }
    }
}
