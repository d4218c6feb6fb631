//! A client that does exactly what it is told, and sees exactly what comes.

use std::time::Duration;

use culex::aws_emulator::{Emulator, PeerIdentity};
use culex_codec::{
    Ack, ClientId, Connect, Decoded, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property,
    PropertyContext, ProtocolVersion, Publish, QoS, ReasonCode, Subscribe, SubscribeFiltersBuf,
    SubscriptionOptions, TopicFilter, TopicName, Unsubscribe, UnsubscribeFiltersBuf, decode,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const V3: ProtocolVersion = ProtocolVersion::V311;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::V5;
/// Virtual: whoever waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(100_000);

/// A packet of the service, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    ConnAck { present: bool, code: u8 },
    Message(Message),
    PubAck(u16, u8),
    SubAck(Vec<u8>),
    UnsubAck(Vec<u8>),
    PingResp,
    Disconnect(u8),
    Closed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) id: Option<u16>,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// As text: names and values in their order.
    pub(crate) properties: String,
}

/// Any stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(crate) struct Peer {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    pub(crate) version: ProtocolVersion,
    /// Of the last CONNACK, as text.
    pub(crate) announced: String,
    pub(crate) task: JoinHandle<()>,
}

/// What a CONNECT says where nothing else is wanted.
pub(crate) fn connect(version: ProtocolVersion, id: &str) -> Connect<'_> {
    Connect {
        version,
        is_bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id: ClientId::new(id).unwrap(),
        will: None,
        user_name: None,
        password: None,
        properties: Properties::EMPTY,
    }
}

/// A PUBLISH at QoS 1.
pub(crate) fn publish<'a>(topic: &'a str, id: u16, payload: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: Some(TopicName::new(topic).unwrap()),
        packet_id: PacketId::new(id),
        properties: Properties::EMPTY,
        payload,
    }
}

/// The same at QoS 0.
pub(crate) fn publish0<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish { qos: QoS::AtMostOnce, packet_id: None, ..publish(topic, 1, payload) }
}

/// The bytes of properties, for [`Properties::from_trusted_bytes`].
pub(crate) fn properties(all: &[Property<'_>], context: PropertyContext) -> Vec<u8> {
    let mut buffer = PropertiesBuf::new();
    all.iter().for_each(|property| buffer.push(*property).unwrap());
    buffer.as_properties(context).unwrap().as_bytes().to_vec()
}

impl Peer {
    /// A connection without CONNECT.
    pub(crate) fn open(emulator: &Emulator, version: ProtocolVersion) -> Self {
        Self::open_as(emulator, version, emulator.peer())
    }

    pub(crate) fn open_as(emulator: &Emulator, version: ProtocolVersion, identity: PeerIdentity) -> Self {
        let (stream, other) = duplex(1 << 20);
        let task = tokio::spawn(emulator.serve(other, identity));
        Self { task, ..Self::over(stream, version) }
    }

    /// A connection over a stream whose other end is served already.
    pub(crate) fn over(stream: impl Stream + 'static, version: ProtocolVersion) -> Self {
        let task = tokio::spawn(async {});
        Self { stream: Box::new(stream), buffer: Vec::new(), version, announced: String::new(), task }
    }

    /// Connects, and is accepted.
    pub(crate) async fn connected(emulator: &Emulator, version: ProtocolVersion, id: &str) -> Self {
        Self::accepted(emulator, &connect(version, id)).await.0
    }

    /// Connects, is accepted, and gives Session Present.
    pub(crate) async fn accepted(emulator: &Emulator, connect: &Connect<'_>) -> (Self, bool) {
        let mut peer = Self::open(emulator, connect.version);
        peer.send(*connect).await;
        match peer.next().await {
            Got::ConnAck { present, code: 0 } => (peer, present),
            other => panic!("{other:?}"),
        }
    }

    /// Connects, and gives what comes of it.
    pub(crate) async fn answer(emulator: &Emulator, connect: &Connect<'_>) -> Got {
        let mut peer = Self::open(emulator, connect.version);
        peer.send(*connect).await;
        peer.next().await
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        // The emulator may have closed it already.
        let _ = self.stream.write_all(bytes).await;
    }

    pub(crate) async fn send<'a>(&mut self, packet: impl Into<Packet<'a>>) {
        let mut bytes = Vec::new();
        packet.into().encode(self.version, &mut bytes).unwrap();
        self.raw(&bytes).await;
    }

    /// The next packet, or the end.
    pub(crate) async fn next(&mut self) -> Got {
        timeout(PATIENCE, self.read()).await.unwrap_or_else(|_| panic!("nothing comes"))
    }

    async fn read(&mut self) -> Got {
        loop {
            if let Decoded::Packet { packet, len } = decode(&self.buffer, self.version, u32::MAX).unwrap() {
                if let Packet::ConnAck(connack) = packet {
                    self.announced = format!("{:?}", connack.properties);
                }
                let got = own(&packet);
                if self.version == V5 {
                    check_codes(&got);
                }
                self.buffer.drain(..len);
                return got;
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return Got::Closed;
            }
        }
    }

    /// That nothing comes for so long.
    pub(crate) async fn is_quiet_for(&mut self, time: Duration) {
        if let Ok(got) = timeout(time, self.read()).await {
            panic!("{got:?} comes");
        }
    }

    /// Publishes, and gives the code of the PUBACK.
    pub(crate) async fn publish(&mut self, topic: &str, id: u16, payload: &str) -> Got {
        self.send(publish(topic, id, payload.as_bytes())).await;
        self.next().await
    }

    /// Subscribes, and gives what comes of it; on success waits until the Subscription has begun.
    pub(crate) async fn subscribe(&mut self, filters: &[(&str, u8)]) -> Got {
        self.subscribe_with(filters, |_| {}).await
    }

    pub(crate) async fn subscribe_with(
        &mut self,
        filters: &[(&str, u8)],
        change: impl Fn(&mut SubscriptionOptions),
    ) -> Got {
        let mut all = SubscribeFiltersBuf::new();
        for (filter, qos) in filters {
            let mut options = SubscriptionOptions::new(QoS::from_bits(*qos).unwrap());
            change(&mut options);
            all.push(TopicFilter::assume_valid(filter), options);
        }
        let packet_id = PacketId::new(1).unwrap();
        self.send(Subscribe { packet_id, properties: Properties::EMPTY, filters: all.as_filters() }).await;
        let got = self.next().await;
        tokio::time::sleep(Duration::from_millis(201)).await;
        got
    }

    pub(crate) async fn unsubscribe(&mut self, filter: &str) -> Got {
        let mut all = UnsubscribeFiltersBuf::new();
        all.push(TopicFilter::new(filter).unwrap());
        let packet_id = PacketId::new(2).unwrap();
        self.send(Unsubscribe { packet_id, properties: Properties::EMPTY, filters: all.as_filters() }).await;
        self.next().await
    }

    /// The next packet, which is a message; without a PUBACK.
    pub(crate) async fn message(&mut self) -> Message {
        match self.next().await {
            Got::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    /// The same with one.
    pub(crate) async fn take(&mut self) -> Message {
        let message = self.message().await;
        if let Some(id) = message.id {
            self.ack(id).await;
        }
        message
    }

    pub(crate) async fn ack(&mut self, id: u16) {
        self.send(Packet::PubAck(Ack::success(PacketId::new(id).unwrap()))).await;
    }

    pub(crate) async fn disconnect(mut self) {
        self.send(Disconnect::new(ReasonCode::Success)).await;
        assert_eq!(self.next().await, Got::Closed);
    }

    /// The connection breaks, and the emulator knows.
    pub(crate) async fn lost(self) {
        let Self { stream, task, .. } = self;
        drop(stream);
        task.await.unwrap();
    }
}

fn own(packet: &Packet<'_>) -> Got {
    match packet {
        Packet::ConnAck(connack) => {
            Got::ConnAck { present: connack.session_present, code: connack.reason_code.as_u8() }
        }
        Packet::Publish(publish) => Got::Message(Message {
            topic: publish.topic.map(|topic| topic.as_str().to_owned()).unwrap_or_default(),
            payload: publish.payload.to_vec(),
            qos: publish.qos.bits(),
            id: publish.packet_id.map(PacketId::get),
            retain: publish.retain,
            dup: publish.dup,
            properties: format!("{:?}", publish.properties),
        }),
        Packet::PubAck(ack) => Got::PubAck(ack.packet_id.get(), ack.reason_code.as_u8()),
        Packet::SubAck(suback) => Got::SubAck(suback.reason_codes.to_vec()),
        Packet::UnsubAck(unsuback) => Got::UnsubAck(unsuback.reason_codes.to_vec()),
        Packet::PingResp => Got::PingResp,
        Packet::Disconnect(disconnect) => Got::Disconnect(disconnect.reason_code.as_u8()),
        other => panic!("{other:?}"),
    }
}

/// AIC-CON-13, AIC-CON-17, AIC-SUB-06: the service uses these Reason Codes and no others. Each test looks at them.
fn check_codes(got: &Got) {
    let (codes, known): (&[u8], &[u8]) = match got {
        Got::ConnAck { code, .. } => (&[*code], &[0, 0x80, 0x85, 0x86, 0x87, 0x90, 0x97, 0x9b]),
        Got::PubAck(_, code) => (&[*code], &[0, 0x80, 0x87, 0x90, 0x91, 0x97]),
        Got::SubAck(codes) => (codes, &[0, 1, 0x80, 0x87, 0x8f, 0x91, 0x97]),
        Got::UnsubAck(codes) => (codes, &[0, 0x80, 0x8f, 0x91]),
        Got::Disconnect(code) => {
            (&[*code], &[0x81, 0x82, 0x87, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x97, 0x98, 0x9b, 0xa1])
        }
        Got::Message(_) | Got::PingResp | Got::Closed => return,
    };
    assert!(codes.iter().all(|code| known.contains(code)), "the service has no such code: {got:?}");
}

/// That exactly these rules were broken.
pub(crate) fn broke(emulator: &Emulator, ids: &[&str]) {
    emulator.violations().are_exactly(ids).unwrap_or_else(|why| panic!("{why}"));
}
