//! Filters that the other side is asked for, and what has come of each.
//!
//! A broker of 3.1.1 closes the connection for a filter that it does not allow (AIC-POL-05), as for a message. So filters
//! without an answer are suspect after that: each is asked for alone over the next connection, before any message, and one
//! that ends connections again is refused.

use std::time::Duration;

use culex_codec::QoS;
use tokio::time::Instant;

/// Connections that ended instead of an answer for a filter, the last one for it alone, and it is refused.
const ENDS_MAX: u8 = 3;
/// And for so long it is not asked for again.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// A filter, and the QoS that is wanted.
pub(super) type Filter = (String, QoS);

/// What has come of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is to be asked for.
    Open,
    /// The session there has it.
    Granted,
    /// By an answer, for the session there.
    Refused,
    /// Without an answer.
    RefusedUntil(Instant),
}

#[derive(Debug)]
struct Each {
    filter: Filter,
    standing: Standing,
    /// Connections that ended instead of an answer.
    ends: u8,
}

/// The filters of one connection.
#[derive(Debug)]
pub(super) struct Wanted(Vec<Each>);

impl Wanted {
    pub(super) fn new(filters: impl Iterator<Item = Filter>) -> Self {
        Self(filters.map(|filter| Each { filter, standing: Standing::Open, ends: 0 }).collect())
    }

    /// What a connection asks for when it begins, each list in one SUBSCRIBE: those that are suspect come first, and alone.
    pub(super) fn begin(&mut self, is_session_present: bool, at_once: usize) -> Vec<Vec<Filter>> {
        for each in &mut self.0 {
            if !is_session_present && matches!(each.standing, Standing::Granted | Standing::Refused) {
                each.standing = Standing::Open;
            }
        }
        let open = self.0.iter().filter(|each| each.standing == Standing::Open);
        let (suspect, others): (Vec<_>, Vec<_>) = open.partition(|each| each.ends > 0);
        let others: Vec<_> = others.into_iter().map(|each| each.filter.clone()).collect();
        let suspect = suspect.into_iter().map(|each| vec![each.filter.clone()]);
        suspect.chain(others.chunks(at_once).map(<[_]>::to_vec)).collect()
    }

    /// Whether one of them has ended a connection already.
    pub(super) fn has_suspect(&self, filters: &[Filter]) -> bool {
        self.0.iter().any(|each| each.ends > 0 && filters.contains(&each.filter))
    }

    /// There is an answer.
    pub(super) fn answered(&mut self, filter: &Filter, is_granted: bool) {
        let standing = if is_granted { Standing::Granted } else { Standing::Refused };
        for each in self.0.iter_mut().filter(|each| each.filter == *filter) {
            (each.standing, each.ends) = (standing, 0);
        }
    }

    /// The connection has ended instead. Whether they are refused now; `is_alone`: nothing else was on its way.
    pub(super) fn unanswered(&mut self, filters: &[Filter], is_alone: bool) -> bool {
        let mut is_refused = false;
        for each in self.0.iter_mut().filter(|each| filters.contains(&each.filter)) {
            each.ends = each.ends.saturating_add(1);
            if is_alone && each.ends >= ENDS_MAX {
                each.standing = Standing::RefusedUntil(Instant::now() + REFUSED_FOR);
                is_refused = true;
            }
        }
        is_refused
    }

    /// One that was refused for long enough. Its next end is the last.
    pub(super) fn next_again(&mut self, now: Instant) -> Option<Filter> {
        let is_due =
            |each: &&mut Each| matches!(each.standing, Standing::RefusedUntil(until) if until <= now);
        let each = self.0.iter_mut().find(is_due)?;
        (each.standing, each.ends) = (Standing::Open, ENDS_MAX - 1);
        Some(each.filter.clone())
    }

    /// When there is such a one.
    pub(super) fn wake(&self) -> Option<Instant> {
        let until = |each: &Each| match each.standing {
            Standing::RefusedUntil(until) => Some(until),
            Standing::Open | Standing::Granted | Standing::Refused => None,
        };
        self.0.iter().filter_map(until).min()
    }

    /// Somebody may have changed what was refused.
    pub(super) fn forgive(&mut self) {
        for each in self.0.iter_mut().filter(|each| each.standing != Standing::Granted) {
            (each.standing, each.ends) = (Standing::Open, 0);
        }
    }
}
