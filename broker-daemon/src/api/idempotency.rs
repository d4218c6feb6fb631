//! `Idempotency-Key`: a request that comes again within ten minutes is answered as the first time, and does nothing.
//!
//! As draft-ietf-httpapi-idempotency-key-header has it: the same key with another request is 422, with one that is not done
//! yet 409. What failed is not remembered, so it can be tried again.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

use super::ApiProblem;
use super::caller::Caller;

/// How long an answer is remembered.
const MEMORY: Duration = Duration::from_secs(600);
/// Answers that are remembered; the oldest goes first.
const ANSWERS_MAX: usize = 10_000;
/// Bytes of them.
const BYTES_MAX: usize = 8 << 20;
/// Requests with a key that are being done.
const OPEN_MAX: usize = 1000;
const KEY_BYTES_MAX: usize = 255;

type Hash = [u8; 32];

/// What a request wants, and under which key.
#[derive(Debug)]
pub(super) struct Request {
    /// Of the caller and the key; `None` without a key.
    key: Option<Hash>,
    /// Of all that it wants.
    content: Hash,
}

/// What was answered.
#[derive(Debug, Clone)]
pub(super) struct Answered(Arc<str>);

impl Answered {
    pub(super) fn ok(value: Value) -> Self {
        Self(value.to_string().into())
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.as_bytes().to_vec()).into_response()
    }
}

impl Request {
    /// # Errors
    /// 400 if the key is none.
    pub(super) fn new(
        caller: &Caller,
        target: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, ApiProblem> {
        let hash = |parts: [&[u8]; 2]| {
            let mut hash = Sha256::new();
            for part in parts {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            Hash::from(hash.finalize())
        };
        let mut keys = headers.get_all("idempotency-key").iter();
        let key = match (keys.next(), keys.next()) {
            (None, _) => None,
            (Some(key), None) if is_key(key.as_bytes()) => {
                let who = format!("{}/{}", caller.role().word(), caller.user_name().unwrap_or_default());
                Some(hash([who.as_bytes(), key.as_bytes()]))
            }
            (Some(_), _) => {
                let what = format!("one key of 1 to {KEY_BYTES_MAX} visible ASCII characters");
                return Err(ApiProblem::of_field("Idempotency-Key", what));
            }
        };
        let content = if key.is_some() { hash([target.as_bytes(), body]) } else { Hash::default() };
        Ok(Self { key, content })
    }
}

fn is_key(key: &[u8]) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

/// The answers of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Idempotency(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Hash, Entry>,
    /// Those that are answered, the oldest first.
    answered: VecDeque<(Instant, Hash)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    content: Hash,
    /// `None` while it is being done.
    answer: Option<Answered>,
}

impl Idempotency {
    /// Does what is asked, unless it was done. With a key it is done to its end, also when whoever asked does not wait.
    ///
    /// # Errors
    /// That of `task`; 409, 422, 503.
    pub(super) async fn once(
        &self,
        request: Request,
        task: impl Future<Output = Result<Answered, ApiProblem>> + Send + 'static,
    ) -> Result<Response, ApiProblem> {
        let Some(key) = request.key else { return task.await.map(IntoResponse::into_response) };
        if let Some(answer) = self.table().begin(key, request.content, Instant::now())? {
            return Ok(([("idempotent-replayed", "true")], answer).into_response());
        }
        let open = Open { table: Arc::clone(&self.0), key };
        let done = tokio::spawn(async move {
            let result = task.await;
            if let Ok(answer) = &result {
                open.lock().finish(key, answer.clone(), Instant::now());
            }
            drop(open);
            result
        });
        let failed =
            |_| ApiProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "this request failed; the log has more");
        Ok(done.await.map_err(failed)??.into_response())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being done. What is not answered when this goes is forgotten.
struct Open {
    table: Arc<Mutex<Table>>,
    key: Hash,
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut table = self.lock();
        if table.entries.get(&self.key).is_some_and(|entry| entry.answer.is_none()) {
            table.entries.remove(&self.key);
        }
    }
}

impl Table {
    /// The answer, if there was one; otherwise the request is being done from now on.
    fn begin(&mut self, key: Hash, content: Hash, now: Instant) -> Result<Option<Answered>, ApiProblem> {
        self.forget(now);
        match self.entries.get(&key) {
            Some(entry) if entry.content != content => {
                let what = "this Idempotency-Key came with another request; take a new one for each";
                Err(ApiProblem::new(StatusCode::UNPROCESSABLE_ENTITY, what))
            }
            Some(Entry { answer: None, .. }) => {
                let what = "the request with this Idempotency-Key is being done; ask again later";
                Err(ApiProblem::new(StatusCode::CONFLICT, what))
            }
            Some(Entry { answer, .. }) => Ok(answer.clone()),
            None if self.entries.len() - self.answered.len() >= OPEN_MAX => {
                Err(ApiProblem::busy("too many requests wait"))
            }
            None => {
                self.entries.insert(key, Entry { content, answer: None });
                Ok(None)
            }
        }
    }

    fn finish(&mut self, key: Hash, answer: Answered, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.bytes += answer.0.len();
            entry.answer = Some(answer);
            self.answered.push_back((now, key));
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, key)) = self.answered.front().copied() {
            let is_old = now.saturating_duration_since(at) >= MEMORY;
            if !is_old && self.answered.len() <= ANSWERS_MAX && self.bytes <= BYTES_MAX {
                return;
            }
            self.answered.pop_front();
            let gone = self.entries.remove(&key).and_then(|entry| entry.answer);
            self.bytes -= gone.map_or(0, |answer| answer.0.len()).min(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u32) -> Hash {
        let mut hash = Hash::default();
        hash[..4].copy_from_slice(&n.to_be_bytes());
        hash
    }

    #[test]
    fn an_answer_is_given_again_for_ten_minutes() {
        let (mut table, now) = (Table::default(), Instant::now());
        assert!(table.begin(hash(1), hash(9), now).unwrap().is_none());
        assert_eq!(table.begin(hash(1), hash(9), now).unwrap_err().status(), StatusCode::CONFLICT);
        assert_eq!(
            table.begin(hash(1), hash(8), now).unwrap_err().status(),
            StatusCode::UNPROCESSABLE_ENTITY
        );
        table.finish(hash(1), Answered::ok(Value::from("done")), now);
        let later = now + MEMORY - Duration::from_millis(1);
        assert_eq!(&*table.begin(hash(1), hash(9), later).unwrap().unwrap().0, "\"done\"");
        assert!(table.begin(hash(1), hash(9), now + MEMORY).unwrap().is_none());
    }

    #[test]
    fn it_is_bounded_in_answers_bytes_and_open_requests() {
        let (mut table, now) = (Table::default(), Instant::now());
        for n in 0..ANSWERS_MAX as u32 + 10 {
            table.begin(hash(n), hash(0), now).unwrap();
            table.finish(hash(n), Answered::ok(Value::Null), now);
        }
        assert_eq!((table.entries.len(), table.answered.len()), (ANSWERS_MAX, ANSWERS_MAX));
        assert!(table.begin(hash(3), hash(0), now).unwrap().is_none(), "the oldest went");
        let large = Answered::ok(Value::from("x".repeat(BYTES_MAX / 2)));
        for n in 0..3 {
            table.begin(hash(100_000 + n), hash(0), now).unwrap();
            table.finish(hash(100_000 + n), large.clone(), now);
        }
        assert!(table.bytes <= BYTES_MAX, "{}", table.bytes);
        let taken = (200_000..).take_while(|n| table.begin(hash(*n), hash(0), now).is_ok()).count();
        assert!(taken < OPEN_MAX);
    }
}
