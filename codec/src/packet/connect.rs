//! CONNECT (section 3.1).
//!
//! ```text
//! Protocol Name | Level | Connect Flags | Keep Alive | Properties (5.0) |
//! Client Identifier | [Will Properties (5.0) | Will Topic | Will Payload] | [User Name] | [Password]
//! ```

use bytes::BufMut;

use super::first_byte;
use crate::{
    error::{DecodeError, EncodeError},
    frame::PacketType,
    property::{Properties, PropertyContext},
    reader::Reader,
    topic::TopicName,
    types::{ClientId, ProtocolVersion, QoS},
    writer::{self, Body, Writer},
};

/// A Client asks for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that the Client speaks. It decides how the packet is encoded.
    pub version: ProtocolVersion,
    /// Whether bit 7 of the Protocol Level is set (0x83, 0x84): a private sign between brokers of 3.x that the Client is a
    /// bridge and wants RETAIN as published and nothing back that it sent. Not in 5.0, which has options for both.
    pub is_bridge: bool,
    /// Clean Start (5.0), Clean Session (3.x).
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 is none.
    pub keep_alive: u16,
    /// Client Identifier, may be empty.
    pub client_id: ClientId<'a>,
    /// Will Message.
    pub will: Option<Will<'a>>,
    /// User Name, may be empty.
    pub user_name: Option<&'a str>,
    /// Password: bytes, not text.
    pub password: Option<&'a [u8]>,
    /// Properties of the connection.
    pub properties: Properties<'a>,
}

/// The message that the Server publishes when the Client is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will Topic.
    pub topic: TopicName<'a>,
    /// Will Payload, at most 65,535 bytes.
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Properties.
    pub properties: Properties<'a>,
}

const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

const BRIDGE: u8 = 0x80;

impl<'a> Connect<'a> {
    pub(super) fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let (version, is_bridge) = protocol(&mut reader)?;
        let flags = reader.u8()?;
        let will_qos = check_flags(flags, version)?;
        let keep_alive = reader.u16()?;
        let properties = Properties::from_bytes(PropertyContext::Connect, reader.property_bytes(version)?)?;
        // [MQTT-3.1.3-1], [MQTT-3.1.3-3], [MQTT-3.1.3-4]
        let client_id = ClientId::from_checked(reader.string()?);
        let will = if flags & WILL != 0 {
            let properties = Properties::from_bytes(PropertyContext::Will, reader.property_bytes(version)?)?;
            // [MQTT-3.1.2-9], [MQTT-3.1.3-10]
            let topic = TopicName::from_bytes(reader.binary()?)?;
            let payload = reader.binary()?;
            Some(Will { topic, payload, qos: will_qos, retain: flags & WILL_RETAIN != 0, properties })
        } else {
            None
        };
        // In 3.1 the Remaining Length has precedence: a flag whose string is not there means nothing (section 3.1).
        let is_there = |reader: &Reader<'_>| version != ProtocolVersion::V31 || !reader.is_empty();
        // [MQTT-3.1.2-18], [MQTT-3.1.2-19], [MQTT-3.1.3-11]
        let has_user_name = flags & USER_NAME != 0 && is_there(&reader);
        let user_name = if has_user_name { Some(reader.string()?) } else { None };
        // [MQTT-3.1.2-20], [MQTT-3.1.2-21]
        let has_password = flags & PASSWORD != 0 && is_there(&reader);
        let password = if has_password { Some(reader.binary()?) } else { None };
        reader.finish(PacketType::Connect)?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self {
            version,
            is_bridge,
            clean_start,
            keep_alive,
            client_id,
            will,
            user_name,
            password,
            properties,
        })
    }

    fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let will = match self.will {
            Some(will) => WILL | will.qos.bits() << 3 | flag(will.retain, WILL_RETAIN),
            None => 0,
        };
        flag(self.clean_start, CLEAN_START)
            | will
            | flag(self.password.is_some(), PASSWORD)
            | flag(self.user_name.is_some(), USER_NAME)
    }
}

/// Protocol Name and Protocol Level, which decide how the rest is read.
fn protocol(reader: &mut Reader<'_>) -> Result<(ProtocolVersion, bool), DecodeError> {
    let name = reader.binary()?;
    let is_31 = match name {
        b"MQTT" => false,
        b"MQIsdp" => true,
        _ => return Err(DecodeError::InvalidProtocolName), // [MQTT-3.1.2-1]
    };
    match (is_31, reader.u8()?) {
        (true, 3) => Ok((ProtocolVersion::V31, false)),
        (true, 0x83) => Ok((ProtocolVersion::V31, true)),
        (false, 4) => Ok((ProtocolVersion::V311, false)),
        (false, 0x84) => Ok((ProtocolVersion::V311, true)),
        (false, 5) => Ok((ProtocolVersion::V5, false)),
        (_, level) => Err(DecodeError::UnsupportedProtocolLevel { level }), // [MQTT-3.1.2-2]
    }
}

/// The rules for the Connect Flags; gives the Will QoS.
fn check_flags(flags: u8, version: ProtocolVersion) -> Result<QoS, DecodeError> {
    // [MQTT-3.1.2-3]; in 3.1 the bit is "not used".
    if flags & 1 != 0 && version != ProtocolVersion::V31 {
        return Err(DecodeError::ReservedConnectFlag);
    }
    let qos_bits = (flags & WILL_QOS) >> 3;
    let will_qos = QoS::from_bits(qos_bits).ok_or(DecodeError::WillQoS)?; // [MQTT-3.1.2-14]
    // [MQTT-3.1.2-11]
    if flags & WILL == 0 {
        if qos_bits != 0 {
            return Err(DecodeError::WillQoSWithoutWill { qos: qos_bits }); // [MQTT-3.1.2-13]
        }
        if flags & WILL_RETAIN != 0 {
            return Err(DecodeError::WillRetainWithoutWill); // [MQTT-3.1.2-15]
        }
    }
    // [MQTT-3.1.2-22]; 5.0 allows it.
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 && !version.is_v5() {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(will_qos)
}

impl Body for Connect<'_> {
    fn first_byte(&self) -> u8 {
        first_byte(PacketType::Connect)
    }

    fn body_len(&self, _version: ProtocolVersion) -> Result<usize, EncodeError> {
        let version = self.version;
        if self.password.is_some() && self.user_name.is_none() && !version.is_v5() {
            return Err(EncodeError::PasswordWithoutUserName); // [MQTT-3.1.2-22]
        }
        let mut len = 2 + version.name().len() + 1 + 1 + 2;
        len += writer::properties_len(self.properties, version)?;
        len += writer::string_len(self.client_id.as_str())?;
        if let Some(will) = self.will {
            len += writer::properties_len(will.properties, version)?;
            len += writer::binary_len(will.topic.as_str().as_bytes())? + writer::binary_len(will.payload)?;
        }
        if let Some(user_name) = self.user_name {
            len += writer::string_len(user_name)?;
        }
        if let Some(password) = self.password {
            len += writer::binary_len(password)?;
        }
        Ok(len)
    }

    fn write_body<B: BufMut>(&self, _version: ProtocolVersion, writer: &mut Writer<'_, B>) {
        let version = self.version;
        let bridge = if self.is_bridge && !version.is_v5() { BRIDGE } else { 0 };
        writer.binary(version.name().as_bytes());
        writer.u8(version.level() | bridge);
        writer.u8(self.flags());
        writer.u16(self.keep_alive);
        writer.properties(self.properties, version);
        writer.binary(self.client_id.as_str().as_bytes());
        if let Some(will) = self.will {
            writer.properties(will.properties, version);
            writer.binary(will.topic.as_str().as_bytes());
            writer.binary(will.payload);
        }
        if let Some(user_name) = self.user_name {
            writer.binary(user_name.as_bytes());
        }
        if let Some(password) = self.password {
            writer.binary(password);
        }
    }
}
