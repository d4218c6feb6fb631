//! `-F FORMAT`: mosquitto_sub's conversions.

use std::fmt::Write;
use std::time::SystemTime;

use culex_core::client::Message;

use crate::cli::output::NotJson;
use crate::cli::output::json;
use crate::clock::{Utc, since_epoch};

/// A format that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Format {
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    Field(Field, Pad),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Topic,
    Payload,
    QoS,
    Retain,
    Length,
    PacketId,
    HexLower,
    HexUpper,
    Json(json::Payload),
    IsoTime,
    UnixTime,
    Clock(char),
}

/// `%-05.3t`: to the left, with zeros, width, precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pad {
    pub(super) is_left: bool,
    pub(super) is_zero: bool,
    pub(super) width: usize,
    pub(super) precision: Option<usize>,
}

impl Format {
    /// Appends `message`, which arrived at `at`.
    ///
    /// # Errors
    /// If `%J` meets a payload that is not JSON.
    pub(super) fn print(&self, message: &Message, at: SystemTime, out: &mut Vec<u8>) -> Result<(), NotJson> {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Field(field, pad) => print_field(*field, *pad, message, at, out)?,
            }
        }
        Ok(())
    }
}

fn print_field(
    field: Field,
    pad: Pad,
    message: &Message,
    at: SystemTime,
    out: &mut Vec<u8>,
) -> Result<(), NotJson> {
    let number = |number: u64, out: &mut Vec<u8>| pad_text(number.to_string().as_bytes(), pad, false, out);
    match field {
        Field::Topic => pad_text(message.topic.as_bytes(), pad, true, out),
        Field::Payload => {
            // A width is also the most that is printed; a precision means nothing.
            let precision = Some(pad.width).filter(|width| *width > 0);
            pad_text(&message.payload, Pad { precision, ..pad }, true, out);
        }
        Field::QoS => number(u64::from(message.qos.bits()), out),
        Field::Retain => number(u64::from(message.is_retained), out),
        Field::Length => number(message.payload.len() as u64, out),
        Field::PacketId => number(message.packet_id.map_or(0, |id| u64::from(id.get())), out),
        Field::HexLower => pad_text(hex(&message.payload, false).as_bytes(), pad, false, out),
        Field::HexUpper => pad_text(hex(&message.payload, true).as_bytes(), pad, false, out),
        Field::Json(payload) => json::print(payload, message, at, out)?,
        Field::IsoTime => {
            out.extend_from_slice(Utc::of(at).date_and_time().as_bytes());
            out.extend_from_slice(b"+0000");
        }
        Field::UnixTime => {
            let since = since_epoch(at);
            out.extend_from_slice(format!("{}.{:09}", since.as_secs(), since.subsec_nanos()).as_bytes());
        }
        Field::Clock(letter) => out.extend_from_slice(clock(letter, at).as_bytes()),
    }
    Ok(())
}

fn clock(letter: char, at: SystemTime) -> String {
    let utc = Utc::of(at);
    let whole = utc.date_and_time();
    let (date, time) = whole.split_once('T').unwrap_or_default();
    match letter {
        'Y' => format!("{:04}", utc.year),
        'm' => format!("{:02}", utc.month),
        'd' => format!("{:02}", utc.day),
        'H' => format!("{:02}", utc.hour),
        'M' => format!("{:02}", utc.minute),
        'S' => format!("{:02}", utc.second),
        'N' => format!("{:09}", utc.nanosecond),
        's' => since_epoch(at).as_secs().to_string(),
        'F' => date.to_owned(),
        _ => time.to_owned(),
    }
}

fn hex(bytes: &[u8], is_upper: bool) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = if is_upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
    }
    text
}

/// Width and precision count bytes, as in C; a cut never splits a character.
fn pad_text(text: &[u8], pad: Pad, is_cut: bool, out: &mut Vec<u8>) {
    let cut = pad.precision.filter(|most| is_cut && *most < text.len()).map(|most| {
        let is_inside = |at: &usize| text.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
        (1..=most).rev().find(|at| !is_inside(at)).unwrap_or_default()
    });
    let text = cut.and_then(|at| text.get(..at)).unwrap_or(text);
    let missing = pad.width.saturating_sub(text.len());
    let fill = if pad.is_zero && !pad.is_left && !is_cut { b'0' } else { b' ' };
    if pad.is_left {
        out.extend_from_slice(text);
        out.resize(out.len() + missing, b' ');
    } else {
        out.resize(out.len() + missing, fill);
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use bytes::Bytes;
    use culex_codec::{PacketId, QoS};

    use super::*;

    fn message() -> Message {
        Message {
            topic: "l/x".to_owned(),
            payload: Bytes::from_static("Hé1".as_bytes()),
            qos: QoS::AtLeastOnce,
            is_retained: false,
            is_duplicate: false,
            packet_id: PacketId::new(1),
            properties: culex_codec::PropertiesBuf::new(),
        }
    }

    fn print(format: &str, message: &Message) -> String {
        let format: Format = format.parse().unwrap();
        let mut out = Vec::new();
        let at = UNIX_EPOCH + Duration::new(1_795_227_228, 636_590_938);
        format.print(message, at, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// What mosquitto_sub 2.0 prints for the same message and format.
    #[test]
    fn conversions() {
        for (format, expected) in [
            ("%t|%p|%q|%r|%l|%m|%x|%X|%%", "l/x|Hé1|1|0|4|1|48c3a931|48C3A931|%"),
            ("%U|%I", "1795227228.636590938|2026-11-21T02:13:48+0000"),
            ("a\\tb\\n\\\\|\\e\\0", "a\tb\n\\|\u{1b}\0"),
            ("%10t|%-10t|%.1t|%05t|", "       l/x|l/x       |l|  l/x|"),
            ("%08l|%-5l|%04m|%4r|", "00000004|4    |0001|   0|"),
            ("%5p|%-5p|%.1p|%2p|%3p|", " Hé1|Hé1 |Hé1| H|Hé|"),
            ("@F @T.@N @@ @s", "2026-11-21 02:13:48.636590938 @ 1795227228"),
            ("", ""),
        ] {
            assert_eq!(print(format, &message()), expected, "{format}");
        }
    }

    #[test]
    fn json_objects() {
        let message = Message { payload: Bytes::from_static(b"{ \"a\": [1,\"x\\n\"]}"), ..message() };
        let head = "{\"tst\":\"2026-11-21T02:13:48.636590Z+0000\",\"topic\":\"l/x\",\"qos\":1,\"retain\":0,\
                    \"payloadlen\":17,\"mid\":1,\"payload\":";
        assert_eq!(print("%J", &message), format!("{head}{{\"a\":[1,\"x\\n\"]}}}}"));
        assert_eq!(print("%j", &message), format!("{head}\"{{ \\\"a\\\": [1,\\\"x\\\\n\\\"]}}\"}}"));
    }

    #[test]
    fn a_payload_that_is_not_json_is_an_error_for_big_j() {
        let format: Format = "%J".parse().unwrap();
        assert_eq!(format.print(&message(), UNIX_EPOCH, &mut Vec::new()), Err(NotJson));
    }
}
