//! Subscriptions at the other broker: few at a time, asked for again without an answer, and again after it has forgotten
//! us.
//!
//! Filters for the questions of [`super::loops`] come last, and alone: what a broker thinks of them that wants every filter to
//! be allowed is nobody's concern, and if it closes the connection instead of an answer they are not asked for again.
//!
//! A broker of 3.1.1 closes the connection for a filter that it does not allow (AIC-POL-05), as for a message. So filters
//! without an answer are suspect after that: each is asked for alone over the next connection, and while it has no answer
//! nothing else goes. If that connection is closed too, the others and all messages flow without it.

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
/// Connections that are closed instead of an answer for a filter, the last one for it alone, and it is refused.
const CLOSES_MAX: u8 = 3;
/// And for so long it is not asked for again.
const REFUSED_FOR: Duration = Duration::from_secs(600);
/// Why.
const CLOSED: &str = "the other broker closed the connection instead of an answer, also to this filter alone: a policy may not \
                      allow it; asked for again after 10 minutes, or after pause and resume";
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

/// A filter, and the QoS that is wanted.
type Filter = (String, QoS);

/// The Subscriptions of one connection.
#[derive(Debug)]
pub(super) struct Subscriber {
    wanted: Vec<Wanted>,
    /// Those for questions.
    questions: Vec<Filter>,
    /// Filters of one SUBSCRIBE.
    at_once: usize,
    /// The other side had them all, in the lifetime of this bridge.
    is_subscribed: bool,
    is_session_present: bool,
    todo: VecDeque<Vec<Filter>>,
    asked: Option<Asked>,
}

/// A filter of the configuration.
#[derive(Debug)]
struct Wanted {
    filter: Filter,
    /// Connections that were closed instead of an answer.
    closes: u8,
    /// When it is asked for again, after too many of them.
    again: Option<Instant>,
}

/// A SUBSCRIBE that has no answer yet.
#[derive(Debug)]
struct Asked {
    filters: Vec<Filter>,
    /// One for each time that it was sent.
    packet_ids: Vec<PacketId>,
    last: Instant,
    /// It is for one filter that is suspect, and nothing else is on its way.
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
        let wanted =
            |way: &Way| Wanted { filter: (way.filter.clone(), way.qos.min(qos_max)), closes: 0, again: None };
        Self {
            wanted: ways().map(wanted).collect(),
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
        self.asked = None;
        self.is_session_present = is_session_present;
        self.todo.clear();
        if is_session_present && self.is_subscribed {
            return;
        }
        // What an earlier life of this bridge has subscribed to there is not known.
        self.is_subscribed = false;
        let (suspect, others): (Vec<_>, Vec<_>) =
            self.wanted.iter().filter(|wanted| wanted.again.is_none()).partition(|wanted| wanted.closes > 0);
        let others: Vec<_> = others.into_iter().map(|wanted| wanted.filter.clone()).collect();
        self.todo.extend(suspect.into_iter().map(|wanted| vec![wanted.filter.clone()]));
        for filters in [&others, &self.questions] {
            self.todo.extend(filters.chunks(self.at_once).map(<[_]>::to_vec));
        }
        for filters in &self.todo {
            shared.forget_refused(filters);
        }
    }

    /// A connection has ended. `is_blamed`: the other side closed it, so it may have been what was asked for.
    pub(super) fn end(&mut self, is_blamed: bool, shared: &Shared) {
        let Some(asked) = &self.asked else { return };
        if asked.is_for_questions() {
            self.questions.clear();
            return;
        }
        if !is_blamed {
            return;
        }
        for wanted in self.wanted.iter_mut().filter(|wanted| asked.filters.contains(&wanted.filter)) {
            wanted.closes = wanted.closes.saturating_add(1);
            if wanted.closes >= CLOSES_MAX && asked.is_alone {
                wanted.again = Some(Instant::now() + REFUSED_FOR);
                shared.refused_filters(&asked.filters, CLOSED);
            }
        }
    }

    /// Filters that there is no answer for.
    pub(super) fn asked_for(&self) -> Option<String> {
        let asked = self.asked.as_ref()?;
        Some(asked.filters.iter().map(|(filter, _)| format!("\"{filter}\"")).collect::<Vec<_>>().join(", "))
    }

    /// Somebody may have changed what was refused.
    pub(super) fn forgive(&mut self) {
        self.is_subscribed = false;
        for wanted in &mut self.wanted {
            (wanted.closes, wanted.again) = (0, None);
        }
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
                return Err(Trouble::Silent);
            }
            let packet_id =
                ask(connection, &asked.filters, self.is_session_present).map_err(Trouble::Lost)?;
            asked.packet_ids.push(packet_id);
            asked.last = now;
            return Ok(Some(now + ANSWER_TIMEOUT));
        }
        let Some(filters) = self.todo.pop_front().or_else(|| self.next_again(now, shared)) else {
            return Ok(self.wanted.iter().filter_map(|wanted| wanted.again).min());
        };
        let is_suspect = |wanted: &Wanted| wanted.closes > 0 && filters.contains(&wanted.filter);
        let is_alone = in_flight == 0 && self.wanted.iter().any(is_suspect);
        match ask(connection, &filters, self.is_session_present) {
            Ok(packet_id) => {
                self.asked = Some(Asked { filters, packet_ids: vec![packet_id], last: now, is_alone });
                Ok(Some(now + ANSWER_TIMEOUT))
            }
            Err(ClientError::NotGranted(code)) => {
                shared.refused_filters(&filters, &code.to_string());
                Ok(Some(now))
            }
            Err(error) => Err(Trouble::Lost(error)),
        }
    }

    /// A filter that was refused for long enough.
    fn next_again(&mut self, now: Instant, shared: &Shared) -> Option<Vec<Filter>> {
        let wanted = self.wanted.iter_mut().find(|wanted| wanted.again.is_some_and(|again| again <= now))?;
        (wanted.closes, wanted.again) = (0, None);
        // Until there is an answer.
        self.is_subscribed = false;
        let filters = vec![wanted.filter.clone()];
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
        for wanted in self.wanted.iter_mut().filter(|wanted| asked.filters.contains(&wanted.filter)) {
            wanted.closes = 0;
        }
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
