//! Numbers in few bytes: seven bits a byte, the lowest first, and the high bit says that more follow.

/// Appends a number, one to ten bytes.
pub(super) fn put(to: &mut impl Extend<u8>, number: u64) {
    let mut rest = number;
    while rest > 0x7F {
        to.extend([rest as u8 | 0x80]);
        rest >>= 7;
    }
    to.extend([rest as u8]);
}

/// Takes a number from the front; nothing if there is none, or none of 64 bits.
pub(super) fn take(from: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0_u32);
    loop {
        let byte = *from.split_off_first()?;
        let part = u64::from(byte & 0x7F);
        number |= part.checked_shl(shift).filter(|moved| moved >> shift == part)?;
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

/// Takes a number and so many bytes behind it.
pub(super) fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take(from)?).ok()?;
    from.split_off(..len)
}
