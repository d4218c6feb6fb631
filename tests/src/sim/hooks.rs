//! The embedder of a simulation: what it is asked, and what it answers after a while. What becomes of a message is
//! decided when its client sends it, so that it is the same however often that is asked about; whether and when there
//! is an answer is decided anew each time.

use culex_codec::QoS;
use culex_core::engine::keys::ConnectionKey;
use culex_core::engine::question::{FilterRequest, HookFailure, Message, Question, Verdict};

use super::host::{Host, Mail, Note};
use super::names::TOPICS;
use super::report::Reach;

/// What a hook does with a message that does not go through as it is.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Change { topic: usize, payload: String, qos: QoS, is_retain: bool },
    Refuse,
    Drop,
}

/// A question that has no answer yet.
#[derive(Debug)]
pub(super) struct OpenQuestion {
    shard: u16,
    key: ConnectionKey,
    /// When it is answered at the earliest.
    due: u64,
    /// `None`: never.
    verdict: Option<Verdict>,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) is_publish: bool,
    pub(super) since: u64,
    pub(super) deadline: u64,
    /// The shard was told that there will be no answer.
    pub(super) failure: Option<HookFailure>,
}

/// A payload that a hook replaces has this behind its number, where others have a semicolon.
pub(super) const REPLACED: char = '!';

impl Host {
    /// A shard asks.
    pub(super) fn ask(&mut self, shard: u16, key: ConnectionKey, question: Question) {
        self.progress += 1;
        let Some(&link) = self.keys.get(&(shard, key)) else {
            self.notes.push_back(Note::Broken(format!("s{shard} asks for a connection that is closed")));
            return;
        };
        let now = self.now.tick.0;
        let timeout = u64::try_from(self.plan.limits.hook_timeout.as_millis()).unwrap_or(u64::MAX);
        let is_slow = self.rng.chance(150);
        let due = now + self.rng.below(if is_slow { timeout * 5 / 4 } else { 50 });
        let is_publish = matches!(question, Question::Publish(_));
        let fault = if self.links[link].is_reliable { 1000 } else { self.rng.below(1000) };
        let verdict = match fault {
            0..5 => None,
            5..10 => Some(Verdict::Failed(HookFailure::Panicked)),
            10..15 => Some(Verdict::Failed(HookFailure::Gone)),
            15..20 => Some(unfit(&question)),
            _ => Some(match question {
                Question::Publish(message) => self.judge(message),
                Question::Subscribe { filters, .. } => self.grant(link, &filters),
            }),
        };
        let answer = verdict.as_ref().map(std::mem::discriminant);
        self.trace.note(format_args!("s{shard} asks about L{link}, {answer:?} at {due}"));
        let asked = Asked { is_publish, since: now, deadline: now + timeout, failure: None };
        if self.links[link].asked.replace(asked).is_some() {
            self.notes.push_back(Note::Broken(format!("L{link} has two questions")));
        }
        // A reliable client must not lose its connection.
        let due = if self.links[link].is_reliable { now } else { due };
        self.questions.push(OpenQuestion { shard, key, due, verdict });
    }

    fn judge(&mut self, mut message: Message) -> Verdict {
        let text = String::from_utf8_lossy(message.payload()).into_owned();
        let number = text.split_once([';', REPLACED]).and_then(|(number, _)| number.parse::<usize>().ok());
        let fate = number.and_then(|number| self.fates.get(&number)).cloned();
        let changed = match fate {
            None => Ok(()),
            Some(Fate::Refuse) => return Verdict::Refused,
            Some(Fate::Drop) => return Verdict::Dropped,
            Some(Fate::Change { topic, payload, qos, is_retain }) => {
                message.limit_qos(qos);
                message.set_retain(is_retain);
                message.set_topic(TOPICS[topic]).and_then(|()| message.set_payload(payload))
            }
        };
        if let Err(error) = changed {
            self.notes.push_back(Note::Broken(format!("{text:.20} cannot be changed: {error}")));
        }
        Verdict::Deliver(Box::new(message))
    }

    fn grant(&mut self, link: usize, filters: &[FilterRequest]) -> Verdict {
        let is_all = self.links[link].is_reliable || self.rng.chance(700);
        let mut granted: Vec<bool> = filters.iter().map(|_| is_all || self.rng.chance(500)).collect();
        self.links[link].granted.push_back(granted.clone());
        // What is missing is refused.
        while granted.last() == Some(&false) && self.rng.chance(300) {
            granted.pop();
        }
        Verdict::Granted(granted)
    }

    /// One of the questions that are due is answered.
    pub(super) fn answer_one(&mut self) -> bool {
        let now = self.now.tick.0;
        let is_due = |question: &OpenQuestion| question.verdict.is_some() && question.due <= now;
        let due: Vec<usize> = (0..self.questions.len()).filter(|at| is_due(&self.questions[*at])).collect();
        if due.is_empty() {
            return false;
        }
        let at = self.rng.pick(&due);
        self.answer(at);
        true
    }

    /// Everything that is ever answered is answered now.
    pub(super) fn answer_all(&mut self) {
        let mut at = 0;
        while at < self.questions.len() {
            if self.questions[at].verdict.is_some() {
                self.answer(at);
            } else {
                at += 1;
            }
        }
    }

    fn answer(&mut self, at: usize) {
        let OpenQuestion { shard, key, verdict, .. } = self.questions.swap_remove(at);
        let Some(verdict) = verdict else { return };
        // The server gives up a question with its connection, but the answer may be on its way already.
        if !self.keys.contains_key(&(shard, key)) && self.rng.chance(500) {
            return;
        }
        self.progress += 1;
        self.mail[usize::from(shard)].push_back(Mail::Answer { key, verdict });
    }

    /// The time at which the next connection gives up waiting for an answer that never comes.
    pub(super) fn next_hook_deadline(&self) -> Option<u64> {
        let waiting = self.links.iter().filter(|link| link.key().is_some());
        waiting.filter_map(|link| link.asked.map(|asked| asked.deadline)).min()
    }

    /// An answer reaches its shard.
    pub(super) fn on_answer(&mut self, shard: u16, key: ConnectionKey, verdict: &Verdict) {
        let Some(&link) = self.keys.get(&(shard, key)) else {
            return self.counts.add(Reach::AnswerForNobody);
        };
        let now = self.now.tick.0;
        let found = &mut self.links[link];
        let Some(asked) = &mut found.asked else {
            self.notes.push_back(Note::Broken(format!("L{link} waits for no answer")));
            return;
        };
        if found.keep_alive > 0 && now > asked.since + u64::from(found.keep_alive) * 1500 {
            self.counts.add(Reach::HookOutlastsKeepAlive);
        }
        let outcome = match (verdict, asked.is_publish) {
            (Verdict::Deliver(_), true) => Ok(Reach::HookDelivers),
            (Verdict::Refused, true) => Ok(Reach::HookRefuses),
            (Verdict::Dropped, true) => Ok(Reach::HookDrops),
            (Verdict::Granted(_), false) => Ok(Reach::HookGrants),
            (Verdict::Failed(failure), _) => Err(*failure),
            (Verdict::Granted(_), true)
            | (Verdict::Deliver(_) | Verdict::Refused | Verdict::Dropped, false) => {
                self.counts.add(Reach::HookUnfit);
                Err(HookFailure::Gone)
            }
        };
        match outcome {
            Ok(reach) => {
                self.counts.add(reach);
                self.answers[usize::from(shard)] += 1;
                found.asked = None;
            }
            Err(failure) => {
                self.counts.add(Reach::HookFails);
                asked.failure = Some(failure);
            }
        }
    }

    /// The answer has ended its connection, which the events of this turn will say only at its end.
    pub(super) fn note_ending(&mut self, shard: u16, key: ConnectionKey) {
        if let Some(&link) = self.keys.get(&(shard, key)) {
            self.notes.push_back(Note::Ending { link });
        }
    }
}

fn unfit(question: &Question) -> Verdict {
    match question {
        Question::Publish(_) => Verdict::Granted(vec![true]),
        Question::Subscribe { .. } => Verdict::Dropped,
    }
}
