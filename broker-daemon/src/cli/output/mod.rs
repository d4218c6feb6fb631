//! How `culex sub` prints a message: `-v`, `-F FORMAT`, or the payload alone.

use std::time::SystemTime;

use culex_core::client::Message;

mod format;
mod json;
mod parse;

pub(super) use format::Format;

/// What is printed of each message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// The payload.
    Payload,
    /// `topic payload`.
    Verbose,
    /// `-F`.
    Format(Format),
}

/// A message cannot be printed in the wanted format.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// Appends `message`, which arrived at `at`, with a line end if `ends_line`.
///
/// # Errors
/// If the format wants JSON and the payload is none; `out` is unchanged then.
pub(super) fn print(
    layout: &Layout,
    message: &Message,
    at: SystemTime,
    ends_line: bool,
    out: &mut Vec<u8>,
) -> Result<(), NotJson> {
    let start = out.len();
    match layout {
        Layout::Payload => out.extend_from_slice(&message.payload),
        Layout::Verbose => {
            out.extend_from_slice(message.topic.as_bytes());
            out.push(b' ');
            out.extend_from_slice(if message.payload.is_empty() { b"(null)" } else { &message.payload });
        }
        Layout::Format(format) => {
            format.print(message, at, out).inspect_err(|NotJson| out.truncate(start))?
        }
    }
    if ends_line {
        out.push(b'\n');
    }
    Ok(())
}
