//! One request until it is taken, or given up for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use super::breaker::{Breaker, Leave};
use super::event::{HookEvent, What};
use super::reply::{Reply, Verdict};
use super::request::Composer;
use super::sender::{Answer, Sender};
use crate::config::Webhook;
use crate::integration::{Backoff, DeadLetter, DeadLetters, Direction, Meter, Outcome, Standing};

/// A request that was refused is tried so often: a service that is being updated refuses for a moment.
const REFUSALS_MAX: u32 = 3;
/// Why a webhook is disabled.
pub(super) const GONE: &str = "the service answered 410 Gone: it wants no requests any more";

/// What all lanes of a webhook have.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) webhook: Webhook,
    pub(super) composer: Composer,
    pub(super) breaker: Breaker,
    pub(super) meter: Arc<Meter>,
    pub(super) letters: DeadLetters,
    /// Whether all shall end.
    pub(super) stop: watch::Sender<bool>,
    /// The service wants nothing any more, whatever other requests of that moment are answered.
    pub(super) is_disabled: AtomicBool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The service has it, or its dead letters are kept: its messages may be acknowledged.
    Done,
    /// Nothing is known, because everything ends.
    Stopped,
}

/// Why an attempt was the last one.
struct GivenUp {
    reason: String,
    reply: Option<String>,
    attempts: u32,
}

enum Outcomes {
    Taken,
    GivenUp(GivenUp),
    Stopped,
}

/// Delivers for one lane.
#[derive(Debug)]
pub(super) struct Courier {
    pub(super) shared: Arc<Shared>,
    sender: Sender,
    stop: watch::Receiver<bool>,
}

impl Courier {
    pub(super) fn new(shared: Arc<Shared>, sender: Sender) -> Self {
        let stop = shared.stop.subscribe();
        Self { shared, sender, stop }
    }

    /// Whether the service wants no request ever again.
    pub(super) fn is_disabled(&self) -> bool {
        self.shared.is_disabled.load(Ordering::Acquire)
    }

    /// Delivers events in one request, for as long as it takes. What is refused together goes one by one, so that one of
    /// them alone is given up.
    pub(super) async fn deliver(&mut self, events: &[HookEvent]) -> End {
        let given_up = match self.attempt(events).await {
            Outcomes::Taken => return End::Done,
            Outcomes::Stopped => return End::Stopped,
            Outcomes::GivenUp(given_up) => given_up,
        };
        if let [event] = events {
            return self.bury(event, given_up).await;
        }
        for event in events {
            let end = match self.attempt(std::slice::from_ref(event)).await {
                Outcomes::Taken => End::Done,
                Outcomes::GivenUp(given_up) => self.bury(event, given_up).await,
                Outcomes::Stopped => End::Stopped,
            };
            if end == End::Stopped {
                return end;
            }
        }
        End::Done
    }

    /// One attempt and no more, for a dead letter that came back.
    ///
    /// # Errors
    /// Why it was not taken.
    pub(super) async fn try_once(&mut self, event: &HookEvent) -> Result<(), String> {
        let request = self.shared.composer.compose(std::slice::from_ref(event), SystemTime::now());
        match self.sender.send(&request).await {
            Ok(answer) if answer.reply.verdict() == Verdict::Taken => {
                self.note_taken(std::slice::from_ref(event));
                Ok(())
            }
            Ok(answer) => Err(describe(&answer.reply)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn attempt(&mut self, events: &[HookEvent]) -> Outcomes {
        let shared = Arc::clone(&self.shared);
        let retry = &shared.webhook.retry;
        let mut backoff = Backoff::new(retry.min, retry.max, Duration::ZERO);
        let (mut attempts, mut refusals) = (0, 0);
        let mut failing_since = None;
        loop {
            let leave = tokio::select! {
                leave = shared.breaker.leave() => leave,
                () = stopped(&mut self.stop) => return Outcomes::Stopped,
            };
            attempts += 1;
            let answer = self.send(events).await;
            let (asked, why) = match answer {
                Ok(answer) => {
                    let Reply { status, .. } = answer.reply;
                    let why = describe(&answer.reply);
                    let given_up = |why| {
                        let reply = Some(answer.reply.beginning());
                        Outcomes::GivenUp(GivenUp { reason: why, reply, attempts })
                    };
                    match answer.reply.verdict() {
                        Verdict::Taken => {
                            leave.worked();
                            self.note_taken(events);
                            return Outcomes::Taken;
                        }
                        Verdict::Gone => {
                            drop(leave);
                            self.disable();
                            return Outcomes::Stopped;
                        }
                        Verdict::Refused => {
                            leave.worked();
                            refusals += 1;
                            if refusals >= REFUSALS_MAX {
                                return given_up(why);
                            }
                            (None, why)
                        }
                        Verdict::Failed(asked) => {
                            leave.worked();
                            let since = *failing_since.get_or_insert_with(Instant::now);
                            if !retry.give_up_after.is_zero() && since.elapsed() >= retry.give_up_after {
                                return given_up(why);
                            }
                            debug!(status, "the service failed");
                            (asked, why)
                        }
                        Verdict::Busy(asked) => {
                            self.note_down(leave, asked, &why);
                            (None, String::new())
                        }
                    }
                }
                Err(error) => {
                    self.note_down(leave, None, &error.to_string());
                    (None, String::new())
                }
            };
            if shared.breaker.is_open() {
                continue;
            }
            if !why.is_empty() {
                self.note_retry(events, attempts, &why);
            }
            let delay = backoff.next_delay(entropy()).max(asked.unwrap_or_default());
            tokio::select! {
                () = sleep(delay) => {}
                () = stopped(&mut self.stop) => return Outcomes::Stopped,
            }
        }
    }

    async fn send(&mut self, events: &[HookEvent]) -> Result<Answer, super::sender::SendError> {
        let meter = Arc::clone(&self.shared.meter);
        // Every attempt has a time of its own, which the signature covers.
        let request = self.shared.composer.compose(events, SystemTime::now());
        let began = Instant::now();
        let in_flight = InFlight::begin(&meter);
        let answer = self.sender.send(&request).await;
        drop(in_flight);
        meter.answered_in(began.elapsed());
        answer
    }

    fn note_taken(&self, events: &[HookEvent]) {
        let Shared { meter, webhook, .. } = &*self.shared;
        for event in events {
            let bytes = match &event.what {
                What::Message(message) => message.payload.len(),
                What::News(_) => 0,
            };
            meter.count(Direction::Out, Outcome::Delivered, bytes);
        }
        if meter.standing().0 != Standing::Up && meter.set_standing(Standing::Up, "") {
            info!(webhook = webhook.name, "the service takes requests");
        }
    }

    /// The service cannot take anything.
    fn note_down(&self, leave: Leave<'_>, asked: Option<Duration>, why: &str) {
        leave.failed(asked, entropy());
        let Shared { meter, webhook, .. } = &*self.shared;
        meter.count(Direction::Out, Outcome::Retried, 0);
        if asked.is_some() {
            meter.throttled();
        }
        let standing = if asked.is_some() { Standing::Paused } else { Standing::Down };
        if meter.set_standing(standing, why) {
            warn!(webhook = webhook.name, url = webhook.url, "messages wait: {why}");
        }
    }

    /// The service has failed at this request, or refused it.
    fn note_retry(&self, events: &[HookEvent], attempts: u32, why: &str) {
        let Shared { meter, webhook, .. } = &*self.shared;
        meter.count(Direction::Out, Outcome::Retried, 0);
        // Once, and then less and less often.
        if attempts.is_power_of_two() {
            let first = events.first().map(|event| event.id.as_str());
            warn!(webhook = webhook.name, url = webhook.url, attempts, first, "tried again: {why}");
        }
    }

    /// The service wants no request ever again.
    fn disable(&self) {
        let Shared { meter, webhook, stop, is_disabled, .. } = &*self.shared;
        is_disabled.store(true, Ordering::Release);
        if meter.set_standing(Standing::Disabled, GONE) {
            error!(
                webhook = webhook.name,
                url = webhook.url,
                "{GONE}. Its messages wait; change its url, or start the broker again to try once more"
            );
        }
        stop.send_replace(true);
    }

    /// Makes a dead letter of a message, and forgets anything else.
    async fn bury(&mut self, event: &HookEvent, given_up: GivenUp) -> End {
        let shared = Arc::clone(&self.shared);
        let (meter, webhook) = (&shared.meter, &shared.webhook);
        let GivenUp { reason, reply, attempts } = given_up;
        let What::Message(message) = &event.what else {
            meter.count(Direction::Out, Outcome::Dropped, 0);
            warn!(webhook = webhook.name, event = event.kind().word(), "an event was dropped: {reason}");
            return End::Done;
        };
        let letter = DeadLetter {
            qos: message.qos,
            retain: message.retain,
            reason: reason.clone(),
            reply,
            attempts,
            at: event.at,
            key: event.id.clone(),
            ..DeadLetter::new(message.topic.clone(), message.payload.clone())
        };
        let mut backoff = Backoff::new(webhook.retry.min, webhook.retry.max, Duration::ZERO);
        loop {
            match shared.letters.put(&letter).await {
                Ok(id) => {
                    meter.count(Direction::Out, Outcome::DeadLettered, 0);
                    let topic = message.topic.escape_debug().to_string();
                    warn!(webhook = webhook.name, topic, id, "a message is a dead letter: {reason}");
                    return End::Done;
                }
                Err(problem) => {
                    if meter.set_standing(Standing::Down, &problem.to_string()) {
                        error!(webhook = webhook.name, "a dead letter cannot be kept: {problem}");
                    }
                }
            }
            tokio::select! {
                () = sleep(backoff.next_delay(entropy())) => {}
                () = stopped(&mut self.stop) => return End::Stopped,
            }
        }
    }
}

/// A request that is on its way.
struct InFlight<'a>(&'a Meter);

impl<'a> InFlight<'a> {
    fn begin(meter: &'a Meter) -> Self {
        meter.add_in_flight(1);
        Self(meter)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.add_in_flight(-1);
    }
}

/// An answer in a few words.
pub(super) fn describe(reply: &Reply) -> String {
    let name =
        axum::http::StatusCode::from_u16(reply.status).ok().and_then(|status| status.canonical_reason());
    let location = reply.location.as_deref().map(|to| to.chars().take(200).collect::<String>());
    match (reply.status, location) {
        (300..=399, Some(to)) => {
            format!(
                "the service answered {} and another place, {}; redirects are not followed",
                reply.status,
                to.escape_debug()
            )
        }
        (status, _) => {
            format!("the service answered {status} {}", name.unwrap_or_default()).trim_end().to_owned()
        }
    }
}

/// Resolves when all shall end.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender everything has ended.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A random number; if there are none, retries of several lanes come together, and that is all.
pub(super) fn entropy() -> u64 {
    getrandom::u64().unwrap_or(0)
}
