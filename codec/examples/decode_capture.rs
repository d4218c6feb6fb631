//! Decodes one direction of an MQTT connection and prints a line per packet.
//!
//! ```text
//! cargo run -p culex-codec --example decode_capture                     # the sample beside this file
//! cargo run -p culex-codec --example decode_capture -- capture.bin      # raw bytes
//! cargo run -p culex-codec --example decode_capture -- capture.hex 5    # hexadecimal, no CONNECT in it: version 5.0
//! ```
//!
//! A file that has nothing but hexadecimal digits, white space and `#` comments is taken as hexadecimal.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{env, error::Error, fs};

use culex_codec::{Decoded, Packet, ProtocolVersion, decode};

const SAMPLE: &[u8] = include_bytes!("sample.hex");

/// More than any packet of a capture that is looked at by eye.
const PACKET_BYTES_MAX: u32 = 16 * 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let file = match arguments.next() {
        Some(path) => fs::read(&path).map_err(|error| format!("{path}: {error}"))?,
        None => SAMPLE.to_vec(),
    };
    let mut version = match arguments.next().as_deref() {
        None | Some("5") => ProtocolVersion::V5,
        Some("4") => ProtocolVersion::V311,
        Some("3") => ProtocolVersion::V31,
        Some(other) => return Err(format!("protocol version 3, 4 or 5, not {other:?}").into()),
    };
    let bytes = from_hex(&file).unwrap_or(file);

    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        match decode(rest, version, PACKET_BYTES_MAX) {
            Ok(Decoded::Packet { packet, len }) => {
                if let Packet::Connect(connect) = packet {
                    version = connect.version;
                }
                println!("{at:6}  {len:5} bytes  {packet:?}");
                rest = rest.get(len..).unwrap_or_default();
            }
            Ok(Decoded::Incomplete { need }) => {
                println!("{at:6}  ends within a packet, {need} or more bytes before its end");
                return Ok(());
            }
            Err(error) => {
                return Err(
                    format!("byte {at}: {error} ({}) [{}]", error.reason_code(), error.statement()).into()
                );
            }
        }
    }
    Ok(())
}

/// The bytes that `text` spells; `None` if it is not hexadecimal.
fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let mut digits = Vec::new();
    for line in str::from_utf8(text).ok()?.lines() {
        let line = line.split('#').next().unwrap_or_default();
        for character in line.chars().filter(|character| !character.is_ascii_whitespace()) {
            digits.push(u8::try_from(character.to_digit(16)?).ok()?);
        }
    }
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
