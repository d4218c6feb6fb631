//! A cursor over the body of one packet: the only place that takes bytes apart.

use crate::{
    error::DecodeError,
    frame::PacketType,
    text,
    types::{PacketId, ProtocolVersion},
    varint,
};

/// The bytes not read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Truncated { needed: 1, left: 0 })?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.truncated(len))?;
        self.rest = rest;
        Ok(taken)
    }

    /// All that is left.
    #[inline]
    pub(crate) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Binary Data: two bytes of length, then so many bytes.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// A UTF-8 Encoded String.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, DecodeError> {
        text::from_bytes(self.binary()?)
    }

    pub(crate) fn variable_byte_integer(&mut self) -> Result<u32, DecodeError> {
        let needed = self.rest.len() + 1;
        let (value, bytes) = varint::parse(self.rest)?.ok_or_else(|| self.truncated(needed))?;
        self.take(bytes)?;
        Ok(value)
    }

    /// A Packet Identifier, which is not 0 ([MQTT-2.3.1-1]).
    #[inline]
    pub(crate) fn packet_id(&mut self, packet_type: PacketType) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::PacketIdZero { packet_type })
    }

    /// The bytes of the properties, without their length; none before 5.0.
    #[inline]
    pub(crate) fn property_bytes(&mut self, version: ProtocolVersion) -> Result<&'a [u8], DecodeError> {
        if !version.is_v5() {
            return Ok(&[]);
        }
        let len = self.variable_byte_integer()?;
        self.take(len as usize)
    }

    /// The packet must end here.
    #[inline]
    pub(crate) fn finish(&self, packet_type: PacketType) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::TrailingBytes { packet_type, bytes }),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.truncated(N))?;
        self.rest = rest;
        Ok(*taken)
    }

    const fn truncated(&self, needed: usize) -> DecodeError {
        DecodeError::Truncated { needed, left: self.rest.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut reader = Reader::new(&[1, 0, 2, 0, 0, 0, 3, 0, 2, b'h', b'i', 0x80, 0x01, 9]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.string(), Ok("hi"));
        assert_eq!(reader.variable_byte_integer(), Ok(128));
        assert_eq!(reader.u16(), Err(DecodeError::Truncated { needed: 2, left: 1 }));
        let packet_type = PacketType::PubAck;
        assert_eq!(reader.finish(packet_type), Err(DecodeError::TrailingBytes { packet_type, bytes: 1 }));
        assert_eq!(reader.take_rest(), [9]);
        assert_eq!(reader.u8(), Err(DecodeError::Truncated { needed: 1, left: 0 }));
        assert_eq!(reader.finish(packet_type), Ok(()));
        let mut reader = Reader::new(&[0, 5, b'x']);
        assert_eq!(reader.binary(), Err(DecodeError::Truncated { needed: 5, left: 1 }));
        let mut reader = Reader::new(&[0x80]);
        assert_eq!(reader.variable_byte_integer(), Err(DecodeError::Truncated { needed: 2, left: 1 }));
    }
}
