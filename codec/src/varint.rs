//! Variable Byte Integers: seven bits a byte, least significant first, at most four bytes.

use crate::error::DecodeError;

/// The largest value.
pub(crate) const MAX: u32 = 268_435_455;

const BYTES_MAX: usize = 4;

/// The value at the front of `bytes` and its length in bytes; `None` while its last byte is not there.
///
/// # Errors
/// A fourth byte that announces a fifth, and an encoding longer than need be ([MQTT-1.5.5-1] of 5.0).
#[inline]
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    match parse_any(bytes)? {
        Some((value, len)) => check_minimal(value, len).map(|()| Some((value, len))),
        None => Ok(None),
    }
}

/// As [`parse`], but an encoding longer than need be is no error: 3.x has no rule against it.
///
/// # Errors
/// A fourth byte that announces a fifth.
#[inline]
pub(crate) fn parse_any(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= BYTES_MAX { Err(DecodeError::VariableByteIntegerTooLong) } else { Ok(None) }
}

/// Whether `value` needs the `bytes` that it took ([MQTT-1.5.5-1] of 5.0).
///
/// # Errors
/// It needs fewer.
#[inline]
pub(crate) const fn check_minimal(value: u32, bytes: usize) -> Result<(), DecodeError> {
    if bytes > encoded_len(value) {
        return Err(DecodeError::VariableByteIntegerNotMinimal { value, bytes });
    }
    Ok(())
}

/// How many bytes `value` takes: 1 to 4.
pub(crate) const fn encoded_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x001f_ffff => 3,
        _ => 4,
    }
}

/// The encoding of `value`, which must not be above [`MAX`], and how many of the four bytes it takes.
pub(crate) fn to_bytes(value: u32) -> ([u8; BYTES_MAX], usize) {
    let mut bytes = [0; BYTES_MAX];
    let len = encoded_len(value);
    for (index, byte) in bytes.iter_mut().take(len).enumerate() {
        let more = if index + 1 < len { 0x80 } else { 0 };
        *byte = ((value >> (7 * index)) & 0x7f) as u8 | more;
    }
    (bytes, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_of_each_length() {
        for (value, expected) in [
            (0, &[0x00][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (MAX, &[0xff, 0xff, 0xff, 0x7f]),
        ] {
            let (bytes, len) = to_bytes(value);
            assert_eq!(&bytes[..len], expected);
            assert_eq!(len, encoded_len(value));
            assert_eq!(parse(expected), Ok(Some((value, len))));
            for cut in 0..len {
                assert_eq!(parse(&expected[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn a_fourth_byte_that_continues_is_an_error_at_once() {
        assert_eq!(parse(&[0x80, 0x80, 0x80]), Ok(None));
        assert_eq!(parse(&[0x80, 0x80, 0x80, 0x80]), Err(DecodeError::VariableByteIntegerTooLong));
        assert_eq!(parse(&[0xff; 5]), Err(DecodeError::VariableByteIntegerTooLong));
    }

    #[test]
    fn longer_than_need_be_is_an_error() {
        for (input, value) in
            [(&[0x80, 0x00][..], 0), (&[0xff, 0x80, 0x00], 127), (&[0x81, 0x80, 0x80, 0x00], 1)]
        {
            let bytes = input.len();
            assert_eq!(parse(input), Err(DecodeError::VariableByteIntegerNotMinimal { value, bytes }));
        }
    }
}
