//! Errors as RFC 9457 has them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use culex_core::{AdminError, ConnectError, PublishError, SubscribeError};
use serde_json::json;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiProblem {
    status: StatusCode,
    detail: String,
    /// What of the request is wrong: a parameter, a header, or a field of the body.
    field: Option<String>,
    /// Seconds after which it is worth trying again.
    retry_after: Option<u32>,
}

impl ApiProblem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), field: None, retry_after: None }
    }

    /// The request is wrong at this place.
    pub(crate) fn of_field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail).about(field)
    }

    /// What of the request it is about.
    pub(crate) fn about(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// It cannot be done now, and perhaps in a second.
    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<AdminError> for ApiProblem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Stopped => Self::busy(error.to_string()),
            AdminError::Cursor => Self::of_field("after", error.to_string()),
            AdminError::Filter(_) => Self::of_field("filter", error.to_string()),
            AdminError::Topic | _ => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
        }
    }
}

impl From<PublishError> for ApiProblem {
    fn from(error: PublishError) -> Self {
        let text = error.to_string();
        match error {
            PublishError::Topic(_) | PublishError::Limit(_) => Self::of_field("topic", text),
            PublishError::Reserved => Self::new(StatusCode::FORBIDDEN, text).about("topic"),
            PublishError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, text).about("payload"),
            PublishError::Gone(_) | _ => Self::busy(text),
        }
    }
}

impl From<SubscribeError> for ApiProblem {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Gone(_) => Self::busy(error.to_string()),
            SubscribeError::Filter(_) | SubscribeError::Limit(_) | SubscribeError::Refused | _ => {
                Self::of_field("filter", error.to_string())
            }
        }
    }
}

impl From<ConnectError> for ApiProblem {
    fn from(error: ConnectError) -> Self {
        Self::busy(error.to_string())
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let (Some(field), Some(body)) = (self.field, body.as_object_mut()) {
            body.insert("field".to_owned(), field.into());
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
