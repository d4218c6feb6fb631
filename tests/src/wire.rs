//! MQTT 3.1 and 3.1.1 on the wire, written a second time.
//!
//! The conformance cases speak bytes through this module and never through `culex-codec`: a mistake in the
//! codec of the broker would otherwise be made on both ends and stay invisible. The encoder can write what no
//! correct encoder would; the parser accepts only what a Server may send.

/// CONNECT, with every field free to be wrong. [MQTT-3.1]
#[derive(Clone, Debug)]
pub struct Connect {
    /// `MQTT` in 3.1.1, `MQIsdp` in 3.1.
    pub protocol_name: Vec<u8>,
    /// 4 in 3.1.1, 3 in 3.1.
    pub level: u8,
    /// Replaces the connect flags that the fields imply.
    pub flags: Option<u8>,
    /// Clean Session.
    pub clean_session: bool,
    /// Seconds; 0 switches the keep alive off.
    pub keep_alive: u16,
    /// Client Identifier.
    pub client_id: Vec<u8>,
    /// Will Message.
    pub will: Option<Will>,
    /// User Name.
    pub user_name: Option<Vec<u8>>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Bytes behind the last field, inside the Remaining Length.
    pub trailing: Vec<u8>,
}

/// The will part of a [`Connect`].
#[derive(Clone, Debug)]
pub struct Will {
    /// Will Topic.
    pub topic: Vec<u8>,
    /// Will Message, at most 65,535 bytes.
    pub message: Vec<u8>,
    /// Will QoS, 0 to 3.
    pub qos: u8,
    /// Will Retain.
    pub retain: bool,
}

impl Will {
    /// A will at `qos` that is not retained.
    #[must_use]
    pub fn new(topic: &str, message: &str, qos: u8) -> Self {
        Self { topic: topic.into(), message: message.into(), qos, retain: false }
    }

    /// The same will, retained.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }
}

impl Connect {
    /// A 3.1.1 CONNECT with Clean Session 1, without keep alive, will or credentials.
    #[must_use]
    pub fn new(client_id: &str) -> Self {
        Self {
            protocol_name: b"MQTT".to_vec(),
            level: 4,
            flags: None,
            clean_session: true,
            keep_alive: 0,
            client_id: client_id.into(),
            will: None,
            user_name: None,
            password: None,
            trailing: Vec::new(),
        }
    }

    /// The same as a 3.1 CONNECT.
    #[must_use]
    pub fn v31(mut self) -> Self {
        self.protocol_name = b"MQIsdp".to_vec();
        self.level = 3;
        self
    }

    /// With Clean Session 0.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.clean_session = false;
        self
    }

    /// With a will.
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// With these connect flags in place of the right ones.
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }

    /// With User Name and Password.
    #[must_use]
    pub fn credentials(mut self, user_name: &str, password: &[u8]) -> Self {
        self.user_name = Some(user_name.into());
        self.password = Some(password.to_vec());
        self
    }

    /// The connect flags that the fields imply.
    #[must_use]
    pub fn implied_flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| 0x04 | will.qos << 3 | u8::from(will.retain) << 5);
        will | u8::from(self.clean_session) << 1
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.user_name.is_some()) << 7
    }

    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = string(&self.protocol_name);
        body.push(self.level);
        body.push(self.flags.unwrap_or_else(|| self.implied_flags()));
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(string(&self.client_id));
        if let Some(will) = &self.will {
            body.extend(string(&will.topic));
            body.extend(string(&will.message));
        }
        for field in [&self.user_name, &self.password].into_iter().flatten() {
            body.extend(string(field));
        }
        body.extend(&self.trailing);
        frame(0x10, &body)
    }
}

/// A PUBLISH, in either direction. [MQTT-3.3]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// DUP.
    pub dup: bool,
    /// 0 to 2 (3 can be sent, not received).
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name.
    pub topic: String,
    /// Packet Identifier; sent as given, `None` leaves the field out.
    pub id: Option<u16>,
    /// Application Message.
    pub payload: Vec<u8>,
}

impl Publish {
    /// A PUBLISH at QoS 0.
    #[must_use]
    pub fn new(topic: &str, payload: impl AsRef<[u8]>) -> Self {
        let payload = payload.as_ref().to_vec();
        Self { dup: false, qos: 0, retain: false, topic: topic.to_owned(), id: None, payload }
    }

    /// At `qos` with Packet Identifier `id`.
    #[must_use]
    pub fn qos(mut self, qos: u8, id: u16) -> Self {
        self.qos = qos;
        self.id = Some(id);
        self
    }

    /// With RETAIN 1.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// With DUP 1.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.dup = true;
        self
    }

    /// The first byte of the packet.
    #[must_use]
    pub fn first_byte(&self) -> u8 {
        0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain)
    }

    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = string(self.topic.as_bytes());
        body.extend(self.id.map(u16::to_be_bytes).into_iter().flatten());
        body.extend(&self.payload);
        frame(self.first_byte(), &body)
    }

    /// The payload as text, for messages of a failed case and for comparisons.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// A packet with the given first byte: adds the Remaining Length. [MQTT-2.2.3]
#[must_use]
pub fn frame(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first_byte];
    packet.extend(remaining_length(body.len()));
    packet.extend(body);
    packet
}

/// A Remaining Length in as few bytes as it needs.
#[must_use]
pub fn remaining_length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(length % 128).unwrap_or_default();
        length /= 128;
        if length == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Two bytes of length and the bytes themselves; the length is cut to 16 bits. [MQTT-1.5.3]
#[must_use]
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut field = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    field.extend(bytes);
    field
}

/// SUBSCRIBE for pairs of Topic Filter and requested QoS. [MQTT-3.8]
#[must_use]
pub fn subscribe(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        body.extend(string(filter.as_bytes()));
        body.push(*qos);
    }
    frame(0x82, &body)
}

/// UNSUBSCRIBE. [MQTT-3.10]
#[must_use]
pub fn unsubscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for filter in filters {
        body.extend(string(filter.as_bytes()));
    }
    frame(0xA2, &body)
}

/// PUBACK. [MQTT-3.4]
#[must_use]
pub fn puback(id: u16) -> Vec<u8> {
    frame(0x40, &id.to_be_bytes())
}

/// PUBREC. [MQTT-3.5]
#[must_use]
pub fn pubrec(id: u16) -> Vec<u8> {
    frame(0x50, &id.to_be_bytes())
}

/// PUBREL. [MQTT-3.6]
#[must_use]
pub fn pubrel(id: u16) -> Vec<u8> {
    frame(0x62, &id.to_be_bytes())
}

/// PUBCOMP. [MQTT-3.7]
#[must_use]
pub fn pubcomp(id: u16) -> Vec<u8> {
    frame(0x70, &id.to_be_bytes())
}

/// PINGREQ. [MQTT-3.12]
pub const PINGREQ: &[u8] = &[0xC0, 0];
/// DISCONNECT. [MQTT-3.14]
pub const DISCONNECT: &[u8] = &[0xE0, 0];
