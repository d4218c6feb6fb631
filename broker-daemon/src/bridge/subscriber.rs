//! Subscriptions at the other broker: few at a time, asked for again without an answer, and again after it has forgotten
//! us.
//!
//! Filters for the questions of [`super::loops`] come last, and alone: what a broker thinks of them that wants every filter to
//! be allowed is nobody's concern, and if it closes the connection instead of an answer they are not asked for again.

use std::collections::VecDeque;
use std::time::Duration;

use culex_codec::{PacketId, QoS, RetainHandling, SubscriptionOptions, TopicFilter};
use culex_core::client::{ClientError, Connection};
use tokio::time::Instant;

use super::loops::is_for_questions;
use super::mapping::Way;
use super::shared::Shared;
use super::wanted::{Filter, Wanted};

/// Time for SUBACK.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// SUBSCRIBE packets without an answer, before another connection is tried.
const ASKED_MAX: usize = 3;
/// Why a filter is refused that has ended connections.
const CLOSED: &str = "the connection was closed instead of an answer, also to this filter alone: a policy may not allow it; \
                      asked for again after 10 minutes, or after pause and resume";
const SILENT: &str = "there was no answer, also to this filter alone; asked for again after 10 minutes, or after pause and resume";
/// From here on a code of SUBACK is a refusal.
const FAILURE: u8 = 0x80;

/// Why there will be no Subscriptions over this connection.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection is at its end.
    Lost(ClientError),
    /// The other side does not answer.
    Silent,
}

/// The Subscriptions of one connection.
#[derive(Debug)]
pub(super) struct Subscriber {
    wanted: Wanted,
    /// Filters for questions.
    questions: Vec<Filter>,
    are_questions_answered: bool,
    /// Filters of one SUBSCRIBE.
    at_once: usize,
    is_session_present: bool,
    todo: VecDeque<Vec<Filter>>,
    asked: Option<Asked>,
}

/// A SUBSCRIBE that has no answer yet.
#[derive(Debug)]
struct Asked {
    filters: Vec<Filter>,
    /// One for each time that it was sent.
    packet_ids: Vec<PacketId>,
    last: Instant,
    /// It is for one filter that is suspect, and no message is on its way.
    is_alone: bool,
}

impl Asked {
    fn is_for_questions(&self) -> bool {
        self.filters.iter().all(|(filter, _)| is_for_questions(filter))
    }
}

impl Subscriber {
    /// Those of the connection with this number; the first has them all.
    pub(super) fn new(shared: &Shared, index: u16) -> Self {
        let qos_max = shared.rules.qos_max;
        let ways = || shared.mappings.incoming.iter().filter(|_| index == 0);
        let mut questions: Vec<_> =
            ways().flat_map(Way::filters).filter(|filter| is_for_questions(filter)).collect();
        questions.sort_unstable();
        questions.dedup();
        Self {
            wanted: Wanted::new(ways().map(|way| (way.filter.clone(), way.qos.min(qos_max)))),
            questions: questions.into_iter().map(|filter| (filter.to_owned(), QoS::AtLeastOnce)).collect(),
            are_questions_answered: false,
            at_once: shared.rules.filters_per_subscribe,
            is_session_present: false,
            todo: VecDeque::new(),
            asked: None,
        }
    }

    /// A connection has begun. What an earlier life of this bridge has subscribed to there is not known.
    pub(super) fn begin(&mut self, is_session_present: bool, shared: &Shared) {
        self.asked = None;
        self.is_session_present = is_session_present;
        self.are_questions_answered &= is_session_present;
        self.todo = self.wanted.begin(is_session_present, self.at_once).into();
        if !self.are_questions_answered {
            self.todo.extend(self.questions.chunks(self.at_once).map(<[_]>::to_vec));
        }
        for filters in &self.todo {
            shared.forget_refused(filters);
        }
    }

    /// A connection has ended. `is_blamed`: the other side closed it, so it may have been what was asked for. Whether that
    /// is found now.
    pub(super) fn end(&mut self, is_blamed: bool, shared: &Shared) -> bool {
        if self.asked.as_ref().is_some_and(Asked::is_for_questions) {
            self.questions.clear();
            return false;
        }
        is_blamed && self.unanswered(CLOSED, shared)
    }

    fn unanswered(&mut self, why: &str, shared: &Shared) -> bool {
        let Some(asked) = &self.asked else { return false };
        let is_refused = self.wanted.unanswered(&asked.filters, asked.is_alone);
        if is_refused {
            shared.refused_filters(&asked.filters, why);
        }
        is_refused
    }

    /// Filters that there is no answer for.
    pub(super) fn asked_for(&self) -> Option<String> {
        let asked = self.asked.as_ref()?;
        Some(asked.filters.iter().map(|(filter, _)| format!("\"{filter}\"")).collect::<Vec<_>>().join(", "))
    }

    /// Somebody may have changed what was refused.
    pub(super) fn forgive(&mut self) {
        self.wanted.forgive();
    }

    /// Whether nothing else may go, until there is an answer.
    pub(super) fn is_alone(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.is_alone)
    }

    /// Asks for what is to be asked for now, beside so many messages; gives when to look again.
    pub(super) fn step(
        &mut self,
        connection: &mut Connection,
        in_flight: usize,
        shared: &Shared,
    ) -> Result<Option<Instant>, Trouble> {
        let now = Instant::now();
        if let Some(asked) = &mut self.asked {
            let due = asked.last + ANSWER_TIMEOUT;
            if now < due {
                return Ok(Some(due));
            }
            if asked.packet_ids.len() >= ASKED_MAX {
                if asked.is_alone {
                    // Messages have waited for it.
                    self.unanswered(SILENT, shared);
                }
                return Err(Trouble::Silent);
            }
            let packet_id =
                ask(connection, &asked.filters, self.is_session_present).map_err(Trouble::Lost)?;
            asked.packet_ids.push(packet_id);
            asked.last = now;
            return Ok(Some(now + ANSWER_TIMEOUT));
        }
        let Some(filters) = self.todo.pop_front().or_else(|| self.next_again(now, shared)) else {
            return Ok(self.wanted.wake());
        };
        let is_alone = in_flight == 0 && self.wanted.has_suspect(&filters);
        match ask(connection, &filters, self.is_session_present) {
            Ok(packet_id) => {
                self.asked = Some(Asked { filters, packet_ids: vec![packet_id], last: now, is_alone });
                Ok(Some(now + ANSWER_TIMEOUT))
            }
            Err(ClientError::NotGranted(code)) => {
                shared.refused_filters(&filters, &code.to_string());
                filters.iter().for_each(|filter| self.wanted.answered(filter, false));
                Ok(Some(now))
            }
            Err(error) => Err(Trouble::Lost(error)),
        }
    }

    /// A filter that was refused for long enough.
    fn next_again(&mut self, now: Instant, shared: &Shared) -> Option<Vec<Filter>> {
        let filters = vec![self.wanted.next_again(now)?];
        shared.forget_refused(&filters);
        Some(filters)
    }

    /// Nobody has read answers for so long.
    pub(super) fn held(&mut self, time: Duration) {
        if let Some(asked) = &mut self.asked {
            asked.last += time;
        }
    }

    /// SUBACK.
    pub(super) fn answered(
        &mut self,
        packet_id: PacketId,
        codes: &[u8],
        text: Option<&str>,
        shared: &Shared,
    ) {
        let Some(asked) = self.asked.take_if(|asked| asked.packet_ids.contains(&packet_id)) else { return };
        if asked.is_for_questions() {
            self.are_questions_answered = self.todo.is_empty();
            return;
        }
        for (place, filter) in asked.filters.iter().enumerate() {
            let code = codes.get(place);
            let is_granted = code.is_some_and(|code| *code < FAILURE);
            self.wanted.answered(filter, is_granted);
            if !is_granted {
                let code = code.map_or_else(|| "no answer".to_owned(), |code| format!("{code:#04x}"));
                let why =
                    text.map_or_else(|| code.clone(), |text| format!("{code}, {}", text.escape_debug()));
                shared.refused_filters(std::slice::from_ref(filter), &why);
            }
        }
    }
}

fn ask(
    connection: &mut Connection,
    filters: &[Filter],
    is_session_present: bool,
) -> Result<PacketId, ClientError> {
    let retain_handling = if is_session_present {
        RetainHandling::SendAtSubscribeIfNew
    } else {
        RetainHandling::SendAtSubscribe
    };
    // In 5.0: nothing of ours back, and RETAIN as it is.
    let options =
        |qos| SubscriptionOptions { qos, no_local: true, retain_as_published: true, retain_handling };
    let filters: Result<Vec<_>, ClientError> =
        filters.iter().map(|(filter, qos)| Ok((TopicFilter::new(filter)?, options(*qos)))).collect();
    connection.subscribe(&filters?)
}
