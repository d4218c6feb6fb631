//! Limits of topic names and filters, and the reserved part of the topic space.

use crate::limits::Limits;

use super::error::ProtocolError;

/// How long and how deep a Topic Name or Topic Filter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimits {
    /// Levels.
    pub levels_max: u64,
    /// Bytes.
    pub bytes_max: u16,
}

impl From<&Limits> for TopicLimits {
    fn from(limits: &Limits) -> Self {
        Self { levels_max: limits.topic_levels.get(), bytes_max: limits.topic_bytes }
    }
}

impl TopicLimits {
    /// Whether `topic` is within them. Cost: one pass over its bytes, none if it is too short to be too deep.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub fn check(&self, topic: &str) -> Result<(), ProtocolError> {
        let bytes = topic.len();
        if bytes > usize::from(self.bytes_max) {
            return Err(ProtocolError::TopicTooLong { bytes, max: self.bytes_max });
        }
        if bytes as u64 >= self.levels_max {
            let levels = topic.bytes().filter(|byte| *byte == b'/').count() as u64 + 1;
            if levels > self.levels_max {
                return Err(ProtocolError::TopicTooDeep { levels, max: self.levels_max });
            }
        }
        Ok(())
    }
}

/// Whether only the broker publishes there.
pub(crate) fn is_reserved(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/")
}

/// Whether only clients of the host publish and subscribe there: `topic` is a Topic Name or Topic Filter. A wildcard at the
/// first level does not reach it [MQTT-4.7.2-1].
pub fn is_of_host(topic: &str) -> bool {
    topic == "$CULEX" || topic.starts_with("$CULEX/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_the_host_is_whole_levels() {
        for topic in ["$CULEX", "$CULEX/", "$CULEX/a", "$CULEX/#"] {
            assert!(is_of_host(topic) && !is_reserved(topic), "{topic}");
        }
        for topic in ["$CULEXA", "CULEX/a", "$culex/a", "a/$CULEX", "#", "+/a", "$SYS/a"] {
            assert!(!is_of_host(topic), "{topic}");
        }
    }

    #[test]
    fn levels_and_bytes_are_counted_exactly() {
        let limits = TopicLimits { levels_max: 3, bytes_max: 8 };
        for (topic, is_ok) in [("a/b/c", true), ("//", true), ("///", false), ("a/b/c/d", false)] {
            assert_eq!(limits.check(topic).is_ok(), is_ok, "{topic}");
        }
        assert!(limits.check("12345678").is_ok());
        assert_eq!(limits.check("123456789"), Err(ProtocolError::TopicTooLong { bytes: 9, max: 8 }));
    }
}
