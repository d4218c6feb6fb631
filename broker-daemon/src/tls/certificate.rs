//! What a certificate says of itself, for names and for messages.

use std::time::{SystemTime, UNIX_EPOCH};

use super::der::{Der, tag};
use super::name::Name;

/// A certificate (RFC 5280 section 4.1).
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    pub(super) issuer: Name<'a>,
    pub(super) subject: Name<'a>,
    pub(super) not_before: Seconds,
    pub(super) not_after: Seconds,
    /// Whether it may sign others. Those of version 1 do not say; they count as such.
    pub(super) is_ca: bool,
}

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seconds(i64);

/// basicConstraints, 2.5.29.19.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];

impl<'a> Certificate<'a> {
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut body = Der::new(der).enter(tag::SEQUENCE)?.enter(tag::SEQUENCE)?;
        let is_version_1 = body.expect(tag::explicit(0)).is_none();
        body.expect(tag::INTEGER)?;
        body.expect(tag::SEQUENCE)?;
        let issuer = Name(body.enter(tag::SEQUENCE)?);
        let mut validity = body.enter(tag::SEQUENCE)?;
        let (not_before, not_after) = (Seconds::read(&mut validity)?, Seconds::read(&mut validity)?);
        let subject = Name(body.enter(tag::SEQUENCE)?);
        body.expect(tag::SEQUENCE)?;
        // The unique identifiers of subject and issuer.
        while body.expect(0x81).or_else(|| body.expect(0x82)).is_some() {}
        let extensions = body.enter(tag::explicit(3)).and_then(|mut inside| inside.enter(tag::SEQUENCE));
        let is_ca = is_version_1 || extensions.and_then(is_ca).unwrap_or(false);
        Some(Self { issuer, subject, not_before, not_after, is_ca })
    }

    /// The subject, or what stands in for one.
    pub(super) fn title(&self) -> String {
        self.subject
            .rfc2253()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "a nameless subject".to_owned())
    }
}

fn is_ca(mut extensions: Der<'_>) -> Option<bool> {
    loop {
        let mut extension = extensions.enter(tag::SEQUENCE)?;
        if extension.expect(tag::OID)? == BASIC_CONSTRAINTS {
            extension.expect(tag::BOOLEAN);
            let mut constraints = Der::new(extension.expect(tag::OCTET_STRING)?).enter(tag::SEQUENCE)?;
            return Some(constraints.expect(tag::BOOLEAN) == Some(&[0xff]));
        }
    }
}

/// When a list of revoked certificates is to be replaced (RFC 5280 section 5.1); `None` if it does not say.
pub(super) fn next_update(der: &[u8]) -> Option<Seconds> {
    let mut body = Der::new(der).enter(tag::SEQUENCE)?.enter(tag::SEQUENCE)?;
    body.expect(tag::INTEGER);
    body.expect(tag::SEQUENCE)?;
    body.expect(tag::SEQUENCE)?;
    Seconds::read(&mut body)?;
    Seconds::read(&mut body)
}

impl Seconds {
    pub(super) fn now() -> Self {
        Self::at(SystemTime::now())
    }

    pub(super) fn at(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// Since 1970.
    pub(super) const fn since_1970(self) -> i64 {
        self.0
    }

    /// UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ`.
    fn read(der: &mut Der<'_>) -> Option<Self> {
        let (tag, text) = der.next()?;
        let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        let (year, rest) = match tag {
            tag::GENERALIZED_TIME => text.split_at_checked(4)?,
            tag::UTC_TIME => text.split_at_checked(2)?,
            _ => return None,
        };
        let year: i64 = year.parse().ok()?;
        let year = match (tag, year) {
            (tag::UTC_TIME, 50..) => year + 1900,
            (tag::UTC_TIME, _) => year + 2000,
            _ => year,
        };
        let mut fields = [0; 5];
        let mut rest = rest;
        for field in &mut fields {
            let (digits, behind) = rest.split_at_checked(2)?;
            *field = digits.parse().ok()?;
            rest = behind;
        }
        let [month, day, hour, minute, second] = fields;
        if !rest.is_empty() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        Some(Self(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second))
    }

    /// Whole days from now until then; less than 0 if it is over.
    pub(super) fn days_left(self) -> i64 {
        self.days_since(Self::now())
    }

    /// Whole days from `then` until this.
    pub(super) fn days_since(self, then: Self) -> i64 {
        (self.0 - then.0).div_euclid(86_400)
    }

    /// `2026-11-21`.
    pub(super) fn date(self) -> String {
        let days = self.0.div_euclid(86_400);
        // Not too late; then year by year, a few for each century.
        let mut year = 1970 + days.div_euclid(365).min(days.div_euclid(366));
        while self::days(year + 1, 1, 1) <= days {
            year += 1;
        }
        let month = (1..=12).rev().find(|month| self::days(year, *month, 1) <= days).unwrap_or(1);
        format!("{year:04}-{month:02}-{:02}", days - self::days(year, month, 1) + 1)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at their end.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, seconds, date) in [
            ("19700101000000Z", 0, "1970-01-01"),
            ("20000229120000Z", 951_825_600, "2000-02-29"),
            ("20261121083000Z", 1_795_249_800, "2026-11-21"),
            ("20991231235959Z", 4_102_444_799, "2099-12-31"),
            ("99991231235959Z", 253_402_300_799, "9999-12-31"),
        ] {
            let mut der = vec![tag::GENERALIZED_TIME, text.len() as u8];
            der.extend(text.bytes());
            let read = Seconds::read(&mut Der::new(&der)).unwrap();
            assert_eq!((read, read.date().as_str()), (Seconds(seconds), date));
        }
        let utc = |text: &str| {
            let mut der = vec![tag::UTC_TIME, text.len() as u8];
            der.extend(text.bytes());
            Seconds::read(&mut Der::new(&der))
        };
        assert_eq!(utc("491231000000Z").unwrap().date(), "2049-12-31");
        assert_eq!(utc("500101000000Z").unwrap().date(), "1950-01-01");
        for wrong in ["", "Z", "4912310000Z", "491331000000Z", "49123100000éZ", "491231000000+0100"] {
            assert_eq!(utc(wrong), None, "{wrong}");
        }
    }
}
