//! Messages as they come, as server-sent events.
//!
//! Each stream is a client of its own with a bounded inbox: what a reader does not take in time is dropped for it alone,
//! and it is told how much. The connection of one that takes nothing at all is closed ([`crate::http`]).

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use culex_core::codec::{QoS, TopicFilter};
use culex_core::{Client, Delivery, Inbox};
use futures_util::{FutureExt, stream};
use tokio::time::{Instant, sleep_until};

use super::caller::Caller;
use super::live::{Counts, Held};
use super::parameters::Parameters;
use super::payload::{quoted, shown};
use super::{Api, ApiProblem};
use crate::clock::rfc3339;

/// What may wait for a reader.
const INBOX_MESSAGES: u16 = 1024;
const INBOX_BYTES: usize = 1 << 20;
/// Events that are written together.
const CHUNK_BYTES: usize = 64 << 10;
/// How often something comes when nothing comes, so that both sides know that the other one is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
const FILTERS_MAX: usize = 16;
const TIMEOUT_MAX_S: u64 = 7 * 24 * 3600;

/// A stream of one reader.
struct Stream {
    api: Arc<Api>,
    caller: Caller,
    /// Ends with this.
    _client: Client,
    inbox: Inbox,
    /// Events that may still come.
    left: u64,
    deadline: Option<Instant>,
    /// Of those that were dropped, how many the reader knows of.
    told_dropped: u64,
    phase: Phase,
    _seat: Held<fn(&Counts) -> &AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Open,
    Ended,
}

/// `GET /api/v1/stream`.
pub(super) async fn stream(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    parameters: Parameters,
) -> Result<Response, ApiProblem> {
    parameters.only(&["filter", "max_events", "timeout"])?;
    let left = parameters.number("max_events", 1, u64::MAX)?.unwrap_or(u64::MAX);
    let seconds = parameters.number("timeout", 1, TIMEOUT_MAX_S)?;
    let filters = filters(&caller, &parameters)?;
    let max = u64::from(api.live.settings().max_streams);
    let cell: fn(&Counts) -> &AtomicU64 = |counts| &counts.streams;
    let full = || ApiProblem::busy(format!("{max} streams are open (max_streams under [http])"));
    let seat = Held::take(&api.live, max, cell).ok_or_else(full)?;
    let number = api.streams.fetch_add(1, Ordering::Relaxed);
    let client = api.broker.client(format!("$culex/http/stream-{number}"));
    let (client, inbox) = client.inbox_messages(INBOX_MESSAGES).inbox_bytes(INBOX_BYTES).await?;
    for filter in filters {
        client.subscribe(&filter, QoS::AtMostOnce).await?;
    }
    let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (phase, told_dropped) = (Phase::New, 0);
    let stream =
        Stream { api, caller, _client: client, inbox, left, deadline, told_dropped, phase, _seat: seat };
    let body = stream::unfold(stream, |mut stream| async move {
        let chunk = stream.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), stream))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would keep events back otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn filters(caller: &Caller, parameters: &Parameters) -> Result<Vec<String>, ApiProblem> {
    let filters: Vec<_> = parameters.all("filter").map(str::to_owned).collect();
    if filters.is_empty() || filters.len() > FILTERS_MAX {
        let what = format!("1 to {FILTERS_MAX} topic filters, for example filter=%23 for all topics");
        return Err(ApiProblem::of_field("filter", what));
    }
    for text in &filters {
        let filter =
            TopicFilter::new(text).map_err(|error| ApiProblem::of_field("filter", error.to_string()))?;
        if !caller.may_subscribe(filter) {
            let what = format!("the access control list does not let you receive {}", text.escape_debug());
            return Err(ApiProblem::new(axum::http::StatusCode::FORBIDDEN, what));
        }
    }
    Ok(filters)
}

impl Stream {
    /// What is written next; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        match self.phase {
            // At once, so that the reader knows that from now on it misses nothing.
            Phase::New => {
                self.phase = Phase::Open;
                return Some("retry: 3000\n: open\n\n".to_owned());
            }
            Phase::Open => {}
            Phase::Ended => return None,
        }
        let mut text = String::new();
        let sign_of_life = Instant::now() + SIGN_OF_LIFE;
        while text.is_empty() {
            let until = self.deadline.map_or(sign_of_life, |deadline| deadline.min(sign_of_life));
            tokio::select! {
                message = self.inbox.next() => match message {
                    Some(message) => self.take(&mut text, &message),
                    None => self.end(&mut text, "stopped"),
                },
                () = sleep_until(until) => {
                    if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        self.end(&mut text, "timeout");
                    } else {
                        text.push_str(":\n\n");
                    }
                }
            }
        }
        while text.len() < CHUNK_BYTES && self.phase == Phase::Open {
            match self.inbox.next().now_or_never() {
                Some(Some(message)) => self.take(&mut text, &message),
                Some(None) => self.end(&mut text, "stopped"),
                None => break,
            }
        }
        Some(text)
    }

    fn take(&mut self, text: &mut String, message: &Delivery) {
        self.tell_dropped(text);
        self.caller.refresh(&self.api.live);
        if !self.caller.may_receive(&message.topic) {
            return;
        }
        let (encoding, payload) = shown(&message.payload);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "event: message\ndata: {{\"topic\":{},\"payload\":{payload},\"payload_encoding\":\"{encoding}\",\"retain\":{},\"timestamp\":\"{}\"}}\n\n",
            quoted(&message.topic),
            message.is_retained,
            rfc3339(SystemTime::now()),
        );
        self.api.live.counts.stream_events.fetch_add(1, Ordering::Relaxed);
        self.left -= 1;
        if self.left == 0 {
            self.end(text, "max_events");
        }
    }

    fn tell_dropped(&mut self, text: &mut String) {
        let dropped = self.inbox.dropped();
        let new = dropped - self.told_dropped;
        if new > 0 {
            let _ = write!(text, "event: dropped\ndata: {{\"count\":{new}}}\n\n");
            self.api.live.counts.stream_dropped.fetch_add(new, Ordering::Relaxed);
            self.told_dropped = dropped;
        }
    }

    fn end(&mut self, text: &mut String, reason: &str) {
        self.tell_dropped(text);
        let _ = write!(text, "event: end\ndata: {{\"reason\":\"{reason}\"}}\n\n");
        self.phase = Phase::Ended;
    }
}
