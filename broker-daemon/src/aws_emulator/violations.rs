//! Who has broken which rule of the service, and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::observe::Latest;

/// What was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The connection was closed, without a word in 3.1.1.
    Closed,
    /// It was answered with this Reason Code of 5.0.
    Refused(u8),
    /// No PUBACK, and nobody got the message.
    Discarded,
    /// It was done later.
    Delayed,
    /// It was done: the real service may or may not.
    Accepted,
    /// HTTPS was answered with this status.
    Answered(u16),
    /// The TLS handshake was refused.
    NoHandshake,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed the connection"),
            Self::Refused(code) => write!(f, "answered 0x{code:02x}"),
            Self::Discarded => f.write_str("discarded it, no PUBACK"),
            Self::Delayed => f.write_str("delayed it"),
            Self::Accepted => f.write_str("accepted it; the service may not"),
            Self::Answered(status) => write!(f, "answered HTTP {status}"),
            Self::NoHandshake => f.write_str("refused the handshake"),
        }
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, since the start of the emulator.
    pub at: Duration,
    /// The id of the rule, `AIC-…`.
    pub id: &'static str,
    /// Client id; empty before CONNECT.
    pub client_id: String,
    /// The packet in short.
    pub packet: String,
    /// What was done.
    pub action: Action,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, id, client_id, packet, action } = self;
        write!(f, "{:>10.3} {id} {client_id:?}: {packet}: {action}", at.as_secs_f64())
    }
}

/// All of them. The latest are kept, all are counted.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    records: Latest<Violation>,
    counts: BTreeMap<&'static str, u64>,
}

impl Violations {
    pub(super) fn push(&mut self, violation: Violation, records_max: usize) {
        *self.counts.entry(violation.id).or_default() += 1;
        self.records.push(violation, records_max);
    }

    /// The latest.
    pub fn records(&self) -> &Latest<Violation> {
        &self.records
    }

    /// How many there were of each rule.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// How many there were of one rule.
    pub fn count(&self, id: &str) -> u64 {
        self.counts.get(id).copied().unwrap_or_default()
    }

    /// That exactly these rules were broken, each at least once; none, if there are no ids.
    ///
    /// # Errors
    /// What was not declared, or did not happen.
    pub fn are_exactly(&self, ids: &[&str]) -> Result<(), String> {
        let mut complaints = Vec::new();
        for (id, count) in self.counts.iter().filter(|(id, _)| !ids.contains(id)) {
            let latest = self.records.iter().rev().find(|violation| violation.id == *id);
            let latest = latest.map(ToString::to_string).unwrap_or_default();
            complaints.push(format!("not declared: {count} × {id}, the latest: {latest}"));
        }
        let missing = ids.iter().filter(|id| !self.counts.contains_key(**id));
        complaints.extend(missing.map(|id| format!("did not happen: {id}")));
        if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_as_declared_or_says_how_it_is_not() {
        let mut violations = Violations::default();
        assert_eq!(violations.are_exactly(&[]), Ok(()));
        assert!(violations.are_exactly(&["AIC-PUB-02"]).unwrap_err().contains("did not happen: AIC-PUB-02"));
        let violation = |id| Violation {
            at: Duration::from_millis(1500),
            id,
            client_id: "a".into(),
            packet: "PUBLISH".into(),
            action: Action::Closed,
        };
        violations.push(violation("AIC-PUB-02"), 1);
        violations.push(violation("AIC-SUB-01"), 1);
        assert_eq!((violations.records().iter().count(), violations.records().total()), (1, 2));
        assert_eq!((violations.records().after(1).count(), violations.records().after(2).count()), (1, 0));
        assert!(
            violations.are_exactly(&["AIC-SUB-01"]).unwrap_err().contains("not declared: 1 × AIC-PUB-02")
        );
        assert_eq!(violations.are_exactly(&["AIC-SUB-01", "AIC-PUB-02"]), Ok(()));
    }
}
