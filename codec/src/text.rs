//! UTF-8 Encoded Strings (3.1.1 section 1.5.3, 5.0 section 1.5.4).

use crate::error::DecodeError;

/// The most bytes that a string or binary data can have: its length is two bytes on the wire.
pub(crate) const BYTES_MAX: usize = u16::MAX as usize;

/// `bytes` as a string of a packet. U+FEFF is a character like any other ([MQTT-1.5.3-3]).
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = from_utf8(bytes)?;
    match nul_at(bytes) {
        None => Ok(text),
        Some(at) => Err(DecodeError::NulCharacter { at }), // [MQTT-1.5.3-2]
    }
}

/// `bytes` as UTF-8; U+0000 is left to the caller, who may have more characters to look for.
pub(crate) fn from_utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    // [MQTT-1.5.3-1]: the standard library refuses surrogates and over-long forms too.
    std::str::from_utf8(bytes).map_err(|error| DecodeError::InvalidUtf8 { valid_up_to: error.valid_up_to() })
}

/// `text` if it can be a string of a packet.
pub(crate) fn check(text: &str) -> Result<&str, DecodeError> {
    if text.len() > BYTES_MAX {
        return Err(DecodeError::StringTooLong { bytes: text.len() });
    }
    match nul_at(text.as_bytes()) {
        None => Ok(text),
        Some(at) => Err(DecodeError::NulCharacter { at }),
    }
}

/// Where U+0000 is first.
#[inline]
pub(crate) fn nul_at(bytes: &[u8]) -> Option<usize> {
    if any(bytes, |byte| byte == 0) { bytes.iter().position(|&byte| byte == 0) } else { None }
}

/// Whether `wanted` holds for any byte.
///
/// Chunks of a fixed size without an early exit become vector instructions, and the end is covered by a chunk that overlaps the
/// one before: for a topic of 40 bytes a third of the time of a plain loop. So look first, and search for the place after.
#[inline]
pub(crate) fn any(bytes: &[u8], wanted: impl Fn(u8) -> bool + Copy) -> bool {
    if let Some(last) = bytes.last_chunk::<16>() {
        let (chunks, _) = bytes.as_chunks::<16>();
        return chunks.iter().fold(any_of(last, wanted), |found, chunk| found | any_of(chunk, wanted));
    }
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => any_of(first, wanted) | any_of(last, wanted),
        _ => bytes.iter().any(|&byte| wanted(byte)),
    }
}

#[inline]
fn any_of<const N: usize>(chunk: &[u8; N], wanted: impl Fn(u8) -> bool) -> bool {
    chunk.iter().fold(0, |found, &byte| found | u8::from(wanted(byte))) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_bytes(input: &[u8], expected: Result<&str, DecodeError>) {
        assert_eq!(from_bytes(input), expected, "{input:x?}");
    }

    #[test]
    fn ill_formed_utf8_is_refused() {
        let invalid = |valid_up_to| Err(DecodeError::InvalidUtf8 { valid_up_to });
        check_bytes(b"", Ok(""));
        check_bytes("é/ß/日本/🦟".as_bytes(), Ok("é/ß/日本/🦟"));
        check_bytes(b"\xef\xbb\xbfa", Ok("\u{feff}a")); // [MQTT-1.5.3-3]
        check_bytes(b"\xf4\x8f\xbf\xbf", Ok("\u{10ffff}"));
        check_bytes(b"a\0b", Err(DecodeError::NulCharacter { at: 1 }));
        check_bytes(b"\xc0\x80", invalid(0)); // over-long U+0000
        check_bytes(b"a\xc0\xaf", invalid(1)); // over-long '/'
        check_bytes(b"ab\xed\xa0\x80", invalid(2)); // surrogate U+D800
        check_bytes(b"\xed\xbf\xbf", invalid(0)); // surrogate U+DFFF
        check_bytes(b"\xf8\x88\x80\x80\x80", invalid(0)); // five bytes
        check_bytes(b"\xf4\x90\x80\x80", invalid(0)); // above U+10FFFF
        check_bytes(b"\xe2\x82", invalid(0)); // cut short
        check_bytes(b"\xff", invalid(0));
    }

    #[test]
    fn a_byte_is_found_wherever_it_is() {
        for len in 0..70 {
            let mut bytes = vec![b'x'; len];
            assert!(!any(&bytes, |byte| byte == 0), "{len}");
            for at in 0..len {
                bytes[at] = 0;
                assert!(any(&bytes, |byte| byte == 0), "{at} of {len}");
                assert_eq!(nul_at(&bytes), Some(at));
                bytes[at] = b'x';
            }
        }
    }
}
