//! What holds for the connections of a bridge: its configuration, and what the preset makes of it.

use std::time::Duration;

use culex_codec::QoS;
use culex_core::limits::Limit;

use super::aws;
use crate::config::Bridge;
use crate::integration::Bucket;

/// Topic filters of one SUBSCRIBE where nothing is known of the other side.
const FILTERS_PER_SUBSCRIBE: usize = 100;
/// Time for the answer to a PUBLISH, as in AWS's own clients three tries make a minute.
const ACK_TIMEOUT: Duration = Duration::from_secs(20);

/// The rules of one bridge.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// The other side is AWS IoT Core, or said to be so.
    pub(super) is_aws: bool,
    /// The highest QoS there.
    pub(super) qos_max: QoS,
    /// Topic filters of one SUBSCRIBE.
    pub(super) filters_per_subscribe: usize,
    /// QoS 1 and 2 messages in flight.
    pub(super) in_flight: u16,
    /// Time for the answer to a PUBLISH.
    pub(super) ack_timeout: Duration,
    /// Between two Retained Messages of one topic.
    pub(super) retained_gap: Option<Duration>,
    /// PUBLISH packets in a second.
    pub(super) messages_per_second: Limit,
    /// Bytes of PUBLISH packets in a second.
    pub(super) bytes_per_second: Limit,
}

impl Rules {
    pub(super) fn of(bridge: &Bridge) -> Self {
        let is_aws = bridge.is_aws_iot();
        let at_most = |limit: Limit, most: u64| {
            if is_aws { Limit::at_most(limit.get().min(most)).unwrap_or(limit) } else { limit }
        };
        let pace = &bridge.pace;
        Self {
            is_aws,
            qos_max: if is_aws { QoS::AtLeastOnce } else { QoS::ExactlyOnce },
            filters_per_subscribe: if is_aws { aws::FILTERS_PER_SUBSCRIBE } else { FILTERS_PER_SUBSCRIBE },
            in_flight: if is_aws { pace.in_flight.min(aws::IN_FLIGHT_MAX) } else { pace.in_flight },
            ack_timeout: if is_aws { aws::ACK_TIMEOUT } else { ACK_TIMEOUT },
            retained_gap: is_aws.then_some(aws::RETAINED_GAP),
            messages_per_second: at_most(pace.messages_per_second, aws::MESSAGES_PER_SECOND),
            bytes_per_second: at_most(pace.bytes_per_second, aws::BYTES_PER_SECOND),
        }
    }

    /// Why the other side would close the connection for a message; `None` if it would not.
    pub(super) fn objection(&self, topic: &str, payload_len: usize) -> Option<String> {
        if !self.is_aws {
            return None;
        }
        if payload_len > aws::PAYLOAD_BYTES_MAX {
            let most = aws::PAYLOAD_BYTES_MAX;
            return Some(format!("the payload has {payload_len} bytes, and AWS IoT takes {most}"));
        }
        aws::objection(topic).map(|why| format!("topic \"{topic}\" there: {why}"))
    }

    /// What keeps to the rates.
    pub(super) fn pace(&self) -> Pace {
        Pace {
            messages: bucket(self.messages_per_second, MESSAGES_AT_ONCE),
            bytes: bucket(self.bytes_per_second, BYTES_AT_ONCE),
        }
    }
}

/// So many messages may follow each other at once, so that a timer that is late costs nothing.
const MESSAGES_AT_ONCE: u32 = 2;
/// A message of AWS's largest size, and its head.
const BYTES_AT_ONCE: u32 = 129 << 10;

/// In any second no more than the limit: a bucket lets through its rate and what it holds.
fn bucket(limit: Limit, at_once: u32) -> Option<Bucket> {
    let Limit::AtMost(limit) = limit else { return None };
    let limit = u32::try_from(limit.get()).unwrap_or(u32::MAX);
    let at_once = at_once.min(limit / 2).max(1);
    Some(Bucket::new(limit.saturating_sub(at_once).max(1), at_once))
}

/// Two rates at once.
#[derive(Debug)]
pub(super) struct Pace {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Pace {
    /// Takes a message of so many bytes.
    ///
    /// # Errors
    /// How long to wait; nothing was taken.
    pub(super) fn take(&mut self, bytes: usize, now: tokio::time::Instant) -> Result<(), Duration> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // Neither is paid for alone.
        if let Some(bucket) = &self.bytes {
            bucket.clone().take(bytes, now)?;
        }
        if let Some(bucket) = &mut self.messages {
            bucket.take(1, now)?;
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes, now)?;
        }
        Ok(())
    }

    /// Counts what was sent at once by somebody else.
    pub(super) fn owe(&mut self, messages: usize, now: tokio::time::Instant) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        if let Some(bucket) = self.messages.as_mut().filter(|_| messages > 0) {
            // A full bucket lets any amount through.
            let _ = bucket.take(messages, now);
        }
    }

    /// The other side does not follow.
    pub(super) fn slow_down(&mut self, now: tokio::time::Instant) {
        for bucket in [&mut self.messages, &mut self.bytes].into_iter().flatten() {
            bucket.slow_down(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn aws() -> Bridge {
        Bridge { preset: crate::config::Preset::AwsIot, ..Bridge::default() }
    }

    #[test]
    fn the_preset_makes_less_of_what_was_written_and_never_more() {
        let mut bridge = aws();
        bridge.pace.in_flight = 80;
        let rules = Rules::of(&bridge);
        assert_eq!(
            (rules.in_flight, rules.messages_per_second.get(), rules.qos_max),
            (50, 95, QoS::AtLeastOnce)
        );
        bridge.pace.messages_per_second = Limit::at_most(10).unwrap();
        bridge.pace.in_flight = 5;
        let rules = Rules::of(&bridge);
        assert_eq!((rules.in_flight, rules.messages_per_second.get()), (5, 10));
        bridge.preset = crate::config::Preset::None;
        assert_eq!(Rules::of(&bridge).qos_max, QoS::ExactlyOnce);
        assert_eq!(Rules::of(&bridge).objection("$SYS", 1 << 20), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_the_limit() {
        let mut pace = Rules::of(&aws()).pace();
        let mut sent: Vec<(Instant, usize)> = Vec::new();
        // Small ones and large ones by turns.
        for n in 0..2000_usize {
            let bytes = if n % 40 == 39 { 128 << 10 } else { 200 };
            while let Err(wait) = pace.take(bytes, Instant::now()) {
                tokio::time::sleep(wait).await;
            }
            sent.push((Instant::now(), bytes));
        }
        for (n, (begin, _)) in sent.iter().enumerate() {
            let end = *begin + Duration::from_secs(1);
            let window: Vec<_> = sent.iter().skip(n).take_while(|(at, _)| *at < end).collect();
            let bytes: usize = window.iter().map(|(_, bytes)| bytes).sum();
            assert!(window.len() <= 95 && bytes <= 480 << 10, "{} messages, {bytes} bytes", window.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_nearly_what_is_allowed() {
        let mut pace = Rules::of(&aws()).pace();
        let begin = Instant::now();
        for _ in 0..930 {
            while let Err(wait) = pace.take(200, Instant::now()) {
                tokio::time::sleep(wait).await;
            }
        }
        assert!(begin.elapsed() <= Duration::from_secs(11), "{:?}", begin.elapsed());
    }
}
