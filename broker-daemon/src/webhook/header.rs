//! Header fields that the configuration adds to requests.

use axum::http::{HeaderName, HeaderValue};

/// Fields that are ours to set: a request with two of them means two things.
const OWN: [&str; 17] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
    "x-culex-topic",
];

/// A field that can stand in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
}

/// Why it cannot. The value is not shown, because it may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not the name of a field.
    #[error("\"{0}\" is no name of a header field")]
    Name(String),
    /// One of ours.
    #[error("`{0}` is set by the broker itself")]
    Own(String),
    /// A line end, another control, or not ASCII.
    #[error("the value of `{0}` has a character that cannot stand in a header field, such as a line end")]
    Value(String),
}

impl Header {
    /// A field with this name and value.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn parse(name: &str, value: &[u8]) -> Result<Self, HeaderError> {
        let shown = || name.escape_debug().to_string();
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::Name(shown()))?;
        if OWN.contains(&parsed.as_str()) {
            return Err(HeaderError::Own(shown()));
        }
        if !value.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t')) {
            return Err(HeaderError::Value(shown()));
        }
        let mut value = HeaderValue::from_bytes(value).map_err(|_| HeaderError::Value(shown()))?;
        value.set_sensitive(true);
        Ok(Self { name: parsed, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_brings_a_second_one_with_it() {
        assert!(Header::parse("Authorization", b"Bearer abc").is_ok());
        assert!(Header::parse("X-Empty", b"").is_ok());
        for (name, value) in [
            ("X", &b"a\r\nY: b"[..]),
            ("X", b"a\nb"),
            ("X", b"a\0"),
            ("X", "é".as_bytes()),
            ("X: a\r\nY", b"b"),
            ("", b"a"),
            ("a b", b"c"),
            ("Host", b"elsewhere"),
            ("content-LENGTH", b"0"),
            ("Transfer-Encoding", b"chunked"),
            ("webhook-id", b"forged"),
        ] {
            let error = Header::parse(name, value).unwrap_err();
            assert!(!error.to_string().contains("forged"), "{error}");
        }
    }
}
