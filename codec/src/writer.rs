//! Writes one packet whose size is known: the only place that puts bytes together.

use bytes::BufMut;

use crate::{
    error::EncodeError,
    property::Properties,
    text,
    types::{PacketId, ProtocolVersion},
    varint,
};

/// Part of the packet that follows the fixed header.
pub(crate) trait Body {
    /// The first byte: type and flags.
    fn first_byte(&self) -> u8;

    /// Checks the packet and gives its Remaining Length. What passes this can be written without error.
    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError>;

    /// Writes exactly [`Self::body_len`] bytes.
    fn write_body<B: BufMut>(&self, version: ProtocolVersion, writer: &mut Writer<'_, B>);
}

/// Size of the whole packet.
pub(crate) fn encoded_len(body: &impl Body, version: ProtocolVersion) -> Result<usize, EncodeError> {
    packet_len(body.body_len(version)?).map(|(len, _)| len)
}

/// Writes the whole packet; gives its size.
#[inline]
pub(crate) fn encode<B: BufMut>(
    body: &impl Body,
    version: ProtocolVersion,
    out: &mut B,
) -> Result<usize, EncodeError> {
    let (bytes, remaining_length) = packet_len(body.body_len(version)?)?;
    let room = out.remaining_mut();
    if bytes > room {
        return Err(EncodeError::BufferTooSmall { bytes, room });
    }
    let mut writer = Writer { out };
    writer.u8(body.first_byte());
    writer.variable_byte_integer(remaining_length);
    body.write_body(version, &mut writer);
    Ok(bytes)
}

/// Size of the packet with a body of `body_len` bytes, and the Remaining Length as a number that fits its field.
pub(crate) fn packet_len(body_len: usize) -> Result<(usize, u32), EncodeError> {
    match u32::try_from(body_len) {
        Ok(remaining_length) if remaining_length <= varint::MAX => {
            Ok((1 + varint::encoded_len(remaining_length) + body_len, remaining_length))
        }
        Ok(_) | Err(_) => Err(EncodeError::PacketTooLarge { bytes: body_len }),
    }
}

/// Bytes that Binary Data takes with its length.
pub(crate) const fn binary_len(bytes: &[u8]) -> Result<usize, EncodeError> {
    if bytes.len() > text::BYTES_MAX {
        return Err(EncodeError::FieldTooLong { bytes: bytes.len() });
    }
    Ok(2 + bytes.len())
}

/// Bytes that a string takes with its length, if it may be sent.
pub(crate) fn string_len(text: &str) -> Result<usize, EncodeError> {
    match text::nul_at(text.as_bytes()) {
        None => binary_len(text.as_bytes()),
        Some(at) => Err(EncodeError::NulCharacter { at }),
    }
}

/// Bytes that the properties take with their length; none before 5.0.
#[inline]
pub(crate) fn properties_len(
    properties: Properties<'_>,
    version: ProtocolVersion,
) -> Result<usize, EncodeError> {
    if !version.is_v5() {
        return Ok(0);
    }
    match u32::try_from(properties.as_bytes().len()) {
        Ok(len) if len <= varint::MAX => Ok(varint::encoded_len(len) + len as usize),
        Ok(_) | Err(_) => Err(EncodeError::PacketTooLarge { bytes: properties.as_bytes().len() }),
    }
}

/// Appends the fields of a packet. Their sizes have been checked.
pub(crate) struct Writer<'b, B> {
    out: &'b mut B,
}

impl<'b, B: BufMut> Writer<'b, B> {
    pub(crate) const fn new(out: &'b mut B) -> Self {
        Self { out }
    }

    #[inline]
    pub(crate) fn u8(&mut self, value: u8) {
        self.out.put_u8(value);
    }

    #[inline]
    pub(crate) fn u16(&mut self, value: u16) {
        self.out.put_u16(value);
    }

    #[inline]
    pub(crate) fn u32(&mut self, value: u32) {
        self.out.put_u32(value);
    }

    #[inline]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// Binary Data or a string, with its length.
    #[inline]
    pub(crate) fn binary(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= text::BYTES_MAX, "checked by binary_len");
        self.u16(bytes.len() as u16);
        self.raw(bytes);
    }

    #[inline]
    pub(crate) fn packet_id(&mut self, packet_id: PacketId) {
        self.u16(packet_id.get());
    }

    #[inline]
    pub(crate) fn variable_byte_integer(&mut self, value: u32) {
        if value < 0x80 {
            return self.u8(value as u8);
        }
        let (bytes, len) = varint::to_bytes(value);
        for byte in bytes.into_iter().take(len) {
            self.u8(byte);
        }
    }

    /// Property Length and properties; nothing before 5.0.
    #[inline]
    pub(crate) fn properties(&mut self, properties: Properties<'_>, version: ProtocolVersion) {
        if version.is_v5() {
            self.variable_byte_integer(properties.as_bytes().len() as u32);
            self.raw(properties.as_bytes());
        }
    }
}
