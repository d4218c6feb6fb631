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

/// Time for SUBACK.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// SUBSCRIBE packets without an answer, before another connection is tried.
const ASKED_MAX: usize = 3;
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
    filters: Vec<(String, QoS)>,
    /// Those for questions.
    questions: Vec<(String, QoS)>,
    /// Filters of one SUBSCRIBE.
    at_once: usize,
    /// The other side had them all, in the lifetime of this bridge.
    is_subscribed: bool,
    is_session_present: bool,
    todo: VecDeque<Vec<(String, QoS)>>,
    asked: Option<Asked>,
}

/// A SUBSCRIBE that has no answer yet.
#[derive(Debug)]
struct Asked {
    filters: Vec<(String, QoS)>,
    /// One for each time that it was sent.
    packet_ids: Vec<PacketId>,
    last: Instant,
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
            filters: ways().map(|way| (way.filter.clone(), way.qos.min(qos_max))).collect(),
            questions: questions.into_iter().map(|filter| (filter.to_owned(), QoS::AtLeastOnce)).collect(),
            at_once: shared.rules.filters_per_subscribe,
            is_subscribed: false,
            is_session_present: false,
            todo: VecDeque::new(),
            asked: None,
        }
    }

    /// A connection has begun.
    pub(super) fn begin(&mut self, is_session_present: bool, shared: &Shared) {
        if self.asked.take().is_some_and(|asked| asked.is_for_questions()) {
            self.questions.clear();
        }
        self.is_session_present = is_session_present;
        self.todo.clear();
        if !(is_session_present && self.is_subscribed) {
            // What an earlier life of this bridge has subscribed to there is not known.
            self.is_subscribed = false;
            for filters in [&self.filters, &self.questions] {
                self.todo.extend(filters.chunks(self.at_once).map(<[_]>::to_vec));
            }
            if !self.todo.is_empty() {
                shared.forget_refused();
            }
        }
    }

    /// Asks for what is to be asked for now; gives when to look again.
    pub(super) fn step(
        &mut self,
        connection: &mut Connection,
        shared: &Shared,
    ) -> Result<Option<Instant>, Trouble> {
        let now = Instant::now();
        if let Some(asked) = &mut self.asked {
            let due = asked.last + ANSWER_TIMEOUT;
            if now < due {
                return Ok(Some(due));
            }
            if asked.packet_ids.len() >= ASKED_MAX {
                return Err(Trouble::Silent);
            }
            let packet_id =
                ask(connection, &asked.filters, self.is_session_present).map_err(Trouble::Lost)?;
            asked.packet_ids.push(packet_id);
            asked.last = now;
            return Ok(Some(now + ANSWER_TIMEOUT));
        }
        let Some(filters) = self.todo.pop_front() else { return Ok(None) };
        match ask(connection, &filters, self.is_session_present) {
            Ok(packet_id) => {
                self.asked = Some(Asked { filters, packet_ids: vec![packet_id], last: now });
                Ok(Some(now + ANSWER_TIMEOUT))
            }
            Err(ClientError::NotGranted(code)) => {
                shared.refused_filters(&filters, &code.to_string());
                Ok(Some(now))
            }
            Err(error) => Err(Trouble::Lost(error)),
        }
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
        let is_refused = |code: Option<&u8>| code.is_none_or(|code| *code >= FAILURE);
        let wanted = if asked.is_for_questions() { &[][..] } else { &asked.filters };
        for (place, filter) in wanted.iter().enumerate() {
            if is_refused(codes.get(place)) {
                let code =
                    codes.get(place).map_or_else(|| "no answer".to_owned(), |code| format!("{code:#04x}"));
                let why =
                    text.map_or_else(|| code.clone(), |text| format!("{code}, {}", text.escape_debug()));
                shared.refused_filters(std::slice::from_ref(filter), &why);
            }
        }
        self.is_subscribed = self.todo.is_empty();
    }
}

fn ask(
    connection: &mut Connection,
    filters: &[(String, QoS)],
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
