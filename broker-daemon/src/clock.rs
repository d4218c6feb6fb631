//! Wall time as text, in UTC: the standard library knows no time zone, and a log of messages should not change its
//! clock in summer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment of the calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Utc {
    pub(crate) year: u64,
    pub(crate) month: u64,
    pub(crate) day: u64,
    pub(crate) hour: u64,
    pub(crate) minute: u64,
    pub(crate) second: u64,
    pub(crate) nanosecond: u32,
}

/// Time since 1970; a clock before that counts as 1970.
pub(crate) fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Utc {
    /// The calendar date of a moment (Gregorian, as in Hinnant's "chrono-compatible low-level date algorithms").
    pub(crate) fn of(at: SystemTime) -> Self {
        let since = since_epoch(at);
        let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Days since 0000-03-01, so that the leap day is the last of its year.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self {
            year,
            month,
            day,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
            nanosecond: since.subsec_nanos(),
        }
    }

    /// `2026-11-21T02:13:48`
    pub(crate) fn date_and_time(&self) -> String {
        let Self { year, month, day, hour, minute, second, .. } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

/// A moment as RFC 3339 has it, to the millisecond: `2026-11-21T02:13:48.125Z`.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let utc = Utc::of(at);
    format!("{}.{:03}Z", utc.date_and_time(), utc.nanosecond / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_at_the_borders_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_795_227_228, "2026-11-21T02:13:48"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(Utc::of(at).date_and_time(), expected);
        }
        assert_eq!(
            rfc3339(UNIX_EPOCH + Duration::from_micros(1_795_227_228_125_999)),
            "2026-11-21T02:13:48.125Z"
        );
        assert_eq!(Utc::of(UNIX_EPOCH - Duration::from_secs(1)).year, 1970);
    }
}
