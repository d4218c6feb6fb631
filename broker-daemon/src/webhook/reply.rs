//! What an answer of the service means.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// The longest time that a service may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Bytes of a reply that a dead letter keeps.
const REPLY_KEPT: usize = 1024;

/// An answer, as much of it as was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// `Retry-After`, if it can be understood.
    pub(crate) retry_after: Option<Duration>,
    /// `Content-Type` and `Location`, for people.
    pub(crate) content_type: Option<String>,
    pub(crate) location: Option<String>,
    /// At most 64 KiB.
    pub(crate) body: Bytes,
}

/// What to do about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was taken.
    Taken,
    /// The service cannot take anything now: everything waits, for this long at least.
    Busy(Option<Duration>),
    /// It has failed at this request, and may not at the next attempt.
    Failed(Option<Duration>),
    /// It does not want this request.
    Refused,
    /// It wants no request ever again.
    Gone,
}

impl Reply {
    pub(super) const fn verdict(&self) -> Verdict {
        match self.status {
            200..=299 => Verdict::Taken,
            410 => Verdict::Gone,
            429 | 502..=504 => Verdict::Busy(self.retry_after),
            408 | 425 | 500..=599 => Verdict::Failed(self.retry_after),
            _ => Verdict::Refused,
        }
    }

    /// The beginning of the body as text, for a dead letter.
    pub(super) fn beginning(&self) -> String {
        let kept = self.body.get(..REPLY_KEPT).unwrap_or(&self.body);
        String::from_utf8_lossy(kept).into_owned()
    }
}

/// Reads `Retry-After`: seconds, or a date [RFC 9110 section 10.2.3]. An hour at most.
pub(super) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    pub(super) fn reply(status: u16) -> Reply {
        Reply { status, retry_after: None, content_type: None, location: None, body: Bytes::new() }
    }

    #[test]
    fn each_status_has_its_class() {
        for status in 100..1000 {
            let expected = match status {
                200..=299 => Verdict::Taken,
                410 => Verdict::Gone,
                429 | 502 | 503 | 504 => Verdict::Busy(None),
                408 | 425 | 500..=599 => Verdict::Failed(None),
                _ => Verdict::Refused,
            };
            assert_eq!(reply(status).verdict(), expected, "{status}");
        }
        let busy = Reply { retry_after: Some(Duration::from_secs(7)), ..reply(503) };
        assert_eq!(busy.verdict(), Verdict::Busy(Some(Duration::from_secs(7))));
    }

    #[test]
    fn a_service_may_ask_for_an_hour_at_most() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("999999999999", Some(3600)),
            ("18446744073709551616", None),
            ("-1", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:00:00 GMT", Some(3600)),
        ] {
            assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn of_a_reply_the_first_kibibyte_is_kept() {
        let long = Reply { body: Bytes::from(vec![b'x'; 5000]), ..reply(404) };
        assert_eq!(long.beginning(), "x".repeat(1024));
    }
}
