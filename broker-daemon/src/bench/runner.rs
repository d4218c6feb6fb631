//! Deals the connections out to threads and puts the results together.

use std::ops::Range;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use mio::Poll;

use crate::bench::link::Link;
use crate::bench::pace::Pace;
use crate::bench::peers::{Publisher, Rules, Subscriber, Totals, batch};
use crate::bench::plan::{Length, Plan, Scenario};
use crate::bench::report::Report;
use crate::bench::setup::{Opening, open_all};
use crate::bench::stopwatch::Measured;
use crate::bench::template::Template;
use crate::bench::traffic::{Outcome, Traffic};
use crate::bench::visit::remove_sessions;
use crate::bench::{
    BenchError, Gauge, Installed, Offline, Usage, connect, idle, offline, retained, subscriptions,
};

/// What a thread hands back.
pub(super) struct Part {
    pub(super) measured: Measured,
    pub(super) totals: Totals,
    /// Connections that the broker closed, where that is no error.
    pub(super) closed: u64,
    pub(super) offline: Option<Offline>,
    pub(super) installed: Option<Installed>,
}

impl Part {
    pub(super) fn new(measured: Measured, totals: Totals) -> Self {
        Self { measured, totals, closed: 0, offline: None, installed: None }
    }
}

/// One thread's share.
pub(super) struct Share<'a> {
    pub(super) plan: &'a Plan,
    pub(super) gauge: &'a Gauge,
    /// Publishers, or connections, of this thread.
    pub(super) numbers: Range<u32>,
    /// Begins each Client Identifier and topic of this run.
    pub(super) tag: &'a str,
    start: &'a Start,
    pub(super) is_first: bool,
}

/// All threads start together, or not at all.
struct Start {
    barrier: Barrier,
    has_failed: AtomicBool,
}

/// Carries the plan out in threads of its own and waits for them.
///
/// # Errors
/// [`BenchError`], if there is nothing to report. Faults of deliveries are not errors: they are in the report.
pub fn run(plan: &Plan, gauge: &Gauge) -> Result<Report, BenchError> {
    plan.check()?;
    let (publishers, subscribers) = plan.roles();
    raise_file_limit(u64::from(publishers) + u64::from(subscribers) + u64::from(plan.connections()));
    let before = match plan.broker_pid {
        Some(pid) => Some(Usage::of(pid).ok_or(BenchError::NoProcess { pid })?),
        None => None,
    };
    let threads = plan.threads_used();
    let start = Start { barrier: Barrier::new(threads), has_failed: AtomicBool::new(false) };
    let tag = tag();
    let total = plan.roles().0.max(plan.connections());
    let parts = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let numbers = deal(total, threads, thread);
                let share = Share { plan, gauge, numbers, tag: &tag, start: &start, is_first: thread == 0 };
                scope.spawn(move || share.run())
            })
            .collect();
        let results = handles.into_iter().map(|handle| handle.join().unwrap_or(Err(BenchError::GivenUp)));
        results.collect::<Vec<_>>()
    });
    Report::new(plan, before, first_error(parts)?)
}

/// All parts; else the error that made the others give up.
fn first_error(results: Vec<Result<Part, BenchError>>) -> Result<Vec<Part>, BenchError> {
    let mut parts = Vec::with_capacity(results.len());
    let mut error = None;
    for result in results {
        match result {
            Ok(part) => parts.push(part),
            Err(BenchError::GivenUp) if error.is_some() => {}
            Err(cause) => {
                if matches!(error, None | Some(BenchError::GivenUp)) {
                    error = Some(cause);
                }
            }
        }
    }
    error.map_or(Ok(parts), Err)
}

impl Share<'_> {
    fn run(&self) -> Result<Part, BenchError> {
        match self.plan.scenario {
            Scenario::PubSub { .. }
            | Scenario::Rate { .. }
            | Scenario::FanOut { .. }
            | Scenario::FanIn { .. } => self.traffic(),
            Scenario::Subscriptions { subscriptions, clients } => {
                subscriptions::run(self, subscriptions, clients)
            }
            Scenario::Retained => retained::run(self),
            Scenario::Offline { sessions, .. } => {
                let own = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
                offline::run(self, sessions.unwrap_or(own), sessions.is_none())
            }
            Scenario::Idle { .. } => idle::run(self),
            Scenario::Connect { clean_session, .. } => connect::run(self, clean_session),
        }
    }

    /// Waits until all threads are ready; an error if one of them cannot be.
    pub(super) fn ready<T>(&self, result: Result<T, BenchError>) -> Result<T, BenchError> {
        if result.is_err() {
            self.start.has_failed.store(true, Ordering::SeqCst);
        }
        self.start.barrier.wait();
        let ready = result?;
        if self.start.has_failed.load(Ordering::SeqCst) { Err(BenchError::GivenUp) } else { Ok(ready) }
    }

    /// A Client Identifier: 23 characters at most, as 3.1 wants it.
    pub(super) fn client_id(&self, role: char, number: u32) -> String {
        format!("{}{role}{number}", self.tag)
    }

    pub(super) fn topic(&self, number: u32) -> String {
        format!("bench/{}/{number}", self.tag)
    }

    fn traffic(&self) -> Result<Part, BenchError> {
        let result = self.open_traffic();
        let fans_out = matches!(self.plan.scenario, Scenario::FanOut { .. });
        let (poll, subscribers, publishers) = self.ready(result)?;
        let sessions = subscribers.len();
        let rules = self.rules(if fans_out { sessions as u64 } else { 1 });
        let traffic = Traffic::new(self.plan, poll, rules, subscribers, publishers, self.is_first)?;
        let Outcome { measured, totals, .. } = traffic.run(self.gauge)?;
        if self.plan.is_persistent {
            let client_ids = (self.numbers.start..).take(sessions).map(|number| self.client_id('s', number));
            remove_sessions(self.plan, client_ids, self.gauge)?;
        }
        Ok(Part::new(measured, totals))
    }

    /// Publishes to those who are not there. Gives each publisher its template by its number.
    pub(super) fn fill(&self, template: impl Fn(u32) -> Template) -> Result<Outcome, BenchError> {
        let mut poll = Poll::new().map_err(BenchError::Io)?;
        let openings: Vec<_> = self.publisher_openings().collect();
        let links = open_all(self.plan, &mut poll, &openings, self.gauge)?;
        let publishers = self.numbers.clone().zip(links);
        let publishers = publishers.map(|(number, link)| Publisher::new(link, template(number))).collect();
        let rules = self.rules(0);
        Traffic::new(self.plan, poll, rules, Vec::new(), publishers, self.is_first)?.run(self.gauge)
    }

    /// Bytes of the broker's memory, if its process is known.
    pub(super) fn resident(&self) -> Option<u64> {
        self.plan.broker_pid.and_then(Usage::of).map(|usage| usage.resident_bytes)
    }

    pub(super) fn publisher_openings(&self) -> impl Iterator<Item = Opening> {
        let publishers = self.numbers.clone();
        publishers.map(|number| Opening {
            client_id: self.client_id('p', number),
            is_clean: true,
            subscribe: None,
        })
    }

    /// The messages of a publisher to the topic with this number.
    pub(super) fn template(&self, topic: u32, publisher: u32) -> Template {
        let plan = self.plan;
        Template::new(plan.version, &self.topic(topic), plan.qos, plan.payload_bytes, publisher)
    }

    fn publishers(&self, links: impl Iterator<Item = Link>, has_one_topic: bool) -> Vec<Publisher> {
        let publisher = |(number, link)| {
            Publisher::new(link, self.template(if has_one_topic { 0 } else { number }, number))
        };
        self.numbers.clone().zip(links).map(publisher).collect()
    }

    /// `fan`: subscribers that are there for each message.
    pub(super) fn rules(&self, fan: u64) -> Rules {
        Rules {
            version: self.plan.version,
            qos: self.plan.qos,
            payload_bytes: self.plan.payload_bytes,
            window: u64::from(self.plan.window),
            batch: batch(self.plan.window),
            fan,
            quota: match self.plan.length {
                Length::Count(count) => count,
                Length::Time { .. } => u32::MAX,
            },
            first: self.numbers.start,
            pace: match self.plan.scenario {
                Scenario::Rate { pairs, per_second } => Some(Pace::new(per_second, pairs, self.plan.length)),
                Scenario::PubSub { .. }
                | Scenario::FanOut { .. }
                | Scenario::FanIn { .. }
                | Scenario::Offline { .. }
                | Scenario::Subscriptions { .. }
                | Scenario::Retained
                | Scenario::Idle { .. }
                | Scenario::Connect { .. } => None,
            },
        }
    }

    fn open_traffic(&self) -> Result<(Poll, Vec<Subscriber>, Vec<Publisher>), BenchError> {
        let plan = self.plan;
        let publishers = self.numbers.clone();
        // The topic that each subscriber wants, and the places of the publishers it hears.
        let wants: Vec<(String, Range<usize>)> = match plan.scenario {
            Scenario::FanOut { subscribers } => (0..subscribers).map(|_| (self.topic(0), 0..1)).collect(),
            Scenario::FanIn { .. } => vec![(self.topic(0), 0..publishers.len())],
            Scenario::PubSub { .. }
            | Scenario::Rate { .. }
            | Scenario::Offline { .. }
            | Scenario::Subscriptions { .. }
            | Scenario::Retained
            | Scenario::Idle { .. }
            | Scenario::Connect { .. } => {
                publishers.clone().zip(0..).map(|(n, place)| (self.topic(n), place..place + 1)).collect()
            }
        };
        let has_one_topic = wants.len() != publishers.len();
        let subscribe = wants.iter().zip(publishers.start..).map(|((topic, _), number)| Opening {
            client_id: self.client_id('s', number),
            is_clean: !plan.is_persistent,
            subscribe: Some(topic.clone()),
        });
        let openings: Vec<_> = subscribe.chain(self.publisher_openings()).collect();

        let mut poll = Poll::new().map_err(BenchError::Io)?;
        let mut links = open_all(plan, &mut poll, &openings, self.gauge)?.into_iter();
        let subscribers = wants
            .into_iter()
            .zip(links.by_ref())
            .map(|((topic, heard), link)| Subscriber::new(link, topic, heard))
            .collect();
        Ok((poll, subscribers, self.publishers(links, has_one_topic)))
    }
}

/// The numbers of one of `threads` threads, as even as can be.
fn deal(total: u32, threads: usize, thread: usize) -> Range<u32> {
    let bound = |thread: usize| {
        let bound = u64::from(total) * thread as u64 / threads as u64;
        u32::try_from(bound).unwrap_or(total)
    };
    bound(thread)..bound(thread + 1)
}

/// Tells runs apart, also in one process.
fn tag() -> String {
    static RUN: AtomicU32 = AtomicU32::new(0);
    format!("b{:x}-{:x}", std::process::id(), RUN.fetch_add(1, Ordering::Relaxed))
}

/// A descriptor for each connection, and some. If the system says no, connecting or accepting will tell.
pub(super) fn raise_file_limit(connections: u64) {
    #[cfg(unix)]
    if let Ok((soft, hard)) = rlimit::Resource::NOFILE.get() {
        let wanted = connections.saturating_add(64).min(hard);
        if soft < wanted {
            let _ = rlimit::Resource::NOFILE.set(wanted, hard);
        }
    }
    #[cfg(not(unix))]
    let _ = connections;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_dealt_once() {
        for (total, threads) in [(1, 1), (7, 3), (8, 4), (2, 2), (1000, 7)] {
            let dealt: Vec<u32> = (0..threads).flat_map(|thread| deal(total, threads, thread)).collect();
            assert_eq!(dealt, (0..total).collect::<Vec<_>>());
        }
    }
}
