//! Bodies of requests, and payloads of messages as JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{Api, ApiProblem};

/// Time for a body to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Levels of JSON that are read. Who writes more means harm: parsers of others fail at less.
const DEPTH_MAX: usize = 64;

/// The body of a request, within the limits of size and time.
pub(super) struct Body(pub(super) Bytes);

impl FromRequest<Arc<Api>> for Body {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiProblem> {
        let max = api.live.settings().body_bytes as usize;
        let too_large = || {
            let what = format!(
                "the body has more than {max} bytes (body_bytes under [http]); send less or raise it"
            );
            ApiProblem::new(StatusCode::PAYLOAD_TOO_LARGE, what)
        };
        let length =
            request.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > max) {
            return Err(too_large());
        }
        match timeout(BODY_TIMEOUT, to_bytes(request.into_body(), max)).await {
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            // Whether it was too long, or the connection broke, which nobody hears of.
            Ok(Err(_)) => Err(too_large()),
            Err(_) => {
                let what = format!("the body has not come within {} s", BODY_TIMEOUT.as_secs());
                Err(ApiProblem::new(StatusCode::REQUEST_TIMEOUT, what))
            }
        }
    }
}

/// Whether a text nests more brackets than are read. Needs no stack and no memory.
pub(super) fn is_too_deep(json: &[u8]) -> bool {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Why [`is_too_deep`].
pub(super) fn too_deep() -> ApiProblem {
    ApiProblem::of_field("the body", format!("JSON of more than {DEPTH_MAX} levels"))
}

/// How a payload is written in JSON: its encoding, and the text. JSON stays as it is, to the last digit.
pub(super) fn shown(payload: &[u8]) -> (&'static str, String) {
    use base64::Engine;
    let Ok(text) = std::str::from_utf8(payload) else {
        let encoded = base64::engine::general_purpose::STANDARD.encode(payload);
        return ("base64", quoted(&encoded));
    };
    if !is_too_deep(payload)
        && let Ok(json) = serde_json::from_str::<&RawValue>(text)
    {
        // Outside of strings, where they may not stand, line ends mean nothing; one line is easier to carry.
        return ("json", json.get().replace(['\r', '\n'], " "));
    }
    ("text", quoted(text))
}

/// A string of JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a payload is, for a `Content-Type`.
pub(super) fn content_type(payload: &[u8]) -> &'static str {
    match std::str::from_utf8(payload) {
        Ok(text) if !text.is_empty() && serde_json::from_str::<&RawValue>(text).is_ok() => "application/json",
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_brackets_outside_of_strings() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(!is_too_deep(nested(DEPTH_MAX).as_bytes()));
        assert!(is_too_deep(nested(DEPTH_MAX + 1).as_bytes()));
        assert!(is_too_deep("[".repeat(100_000).as_bytes()));
        assert!(!is_too_deep(format!("\"{}\"", nested(1000)).as_bytes()));
        assert!(!is_too_deep(format!("\"\\\"{}\"", nested(1000)).as_bytes()));
    }

    #[test]
    fn a_payload_keeps_its_digits_and_is_one_line() {
        assert_eq!(shown(b"{\"b\":1.10,\n\"a\":1e400}"), ("json", "{\"b\":1.10, \"a\":1e400}".to_owned()));
        assert_eq!(shown(b"21.5"), ("json", "21.5".to_owned()));
        assert_eq!(shown("olá\n".as_bytes()), ("text", "\"olá\\n\"".to_owned()));
        assert_eq!(shown(b"\xff"), ("base64", "\"/w==\"".to_owned()));
        assert_eq!(shown(b""), ("text", "\"\"".to_owned()));
        assert_eq!(shown(&[b'['; 10_000]).0, "text");
    }
}
