//! Reason Codes in words.

use std::fmt;

use culex_codec::{Properties, ReasonCode};

/// More of a Reason String is not shown: it is for a line of a log.
const SHOWN_MAX: usize = 200;

/// What a Server said of a request, or why it ended the connection. Before 5.0 it says that nothing is wrong, or nothing
/// at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Reason Code; a failure from 0x80 on.
    pub code: u8,
    /// Reason String, if there is one: what the Server adds for humans.
    pub text: Option<Box<str>>,
}

impl Reason {
    /// A Reason Code alone.
    pub const fn new(code: u8) -> Self {
        Self { code, text: None }
    }

    /// What a packet says.
    pub(super) fn of(code: ReasonCode, properties: Properties<'_>) -> Self {
        Self { code: code.as_u8(), text: text_of(properties) }
    }

    /// Whether it stands for a failure.
    pub const fn is_error(&self) -> bool {
        self.code >= 0x80
    }
}

/// The Reason String of a packet.
pub(super) fn text_of(properties: Properties<'_>) -> Option<Box<str>> {
    properties.reason_string().filter(|text| !text.is_empty()).map(Into::into)
}

/// `not authorized (0x87)`, and what the Server adds.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ReasonCode::try_from(self.code) {
            Ok(code) => write!(f, "{code} ({:#04x})", self.code)?,
            Err(_) => write!(f, "code {:#04x}", self.code)?,
        }
        match &self.text {
            Some(text) => {
                let shown: String = text.chars().take(SHOWN_MAX).collect();
                write!(f, ", with the words \"{}\"", shown.escape_debug())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_said_in_words_and_a_string_of_the_server_does_no_harm() {
        assert_eq!(Reason::new(0x87).to_string(), "not authorized (0x87)");
        assert_eq!(Reason::new(0xfe).to_string(), "code 0xfe");
        let reason = Reason { code: 0x97, text: Some("a\u{1b}[31m".into()) };
        assert_eq!(reason.to_string(), r#"quota exceeded (0x97), with the words "a\u{1b}[31m""#);
        let reason = Reason { code: 0x97, text: Some("x".repeat(65_535).into()) };
        assert!(reason.to_string().len() < 300);
    }
}
