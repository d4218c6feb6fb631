//! The jobs of things: nobody makes any here, so each request is answered as for a thing that has none. AIC-TOP-06

use serde_json::Value;

use super::thing::{JobsRequest, envelope};

/// The last level of the answer's topic, and the answer.
pub(super) fn answer(request: JobsRequest<'_>, payload: &[u8], unix: u64) -> (&'static str, Value) {
    // Nothing at all is a request too.
    let asked = if payload.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(payload) };
    let Ok(asked) = asked else {
        return rejected(&Value::Null, unix, "InvalidJson", "The request is no JSON");
    };
    let mut body = envelope(&asked, unix);
    match request {
        JobsRequest::List => {
            for list in ["inProgressJobs", "queuedJobs"] {
                body.insert(list.to_owned(), Value::Array(Vec::new()));
            }
            ("accepted", body.into())
        }
        // No execution is next.
        JobsRequest::StartNext | JobsRequest::Get("$next") => ("accepted", body.into()),
        JobsRequest::Get(_) | JobsRequest::Update(_) => {
            rejected(&asked, unix, "ResourceNotFound", "The thing has no such job")
        }
    }
}

fn rejected(asked: &Value, unix: u64, code: &str, message: &str) -> (&'static str, Value) {
    let mut body = envelope(asked, unix);
    body.insert("code".to_owned(), code.into());
    body.insert("message".to_owned(), message.into());
    ("rejected", body.into())
}
