//! A bridge to a broker that says whatever the input says, on a clock of its own.
//!
//! Whatever comes: nobody panics, every byte that the bridge sends belongs to a packet that a Client may send, CONNECT first,
//! it sends and keeps no more than it was given, and it can be stopped.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use culex::bridge::{Builder, Connecting, Connector, Prepared, Reached};
use culex::config::{Bridge, BridgeProtocol, Mapping, Preset, RemoteAddress};
use culex::integration::Integrations;
use culex_codec::{Decoded, Packet, ProtocolVersion, decode};
use culex_core::{Broker, Cursor, QoS, Threads};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::Source;

const CONNECTIONS_MAX: usize = 3;
/// Messages that go out.
const MESSAGES: u64 = 4;
/// Whatever the other side says, a connection sends no more than this and [`ANSWER_BYTES`] for each byte that came.
const CONNECTION_BYTES: usize = 512;
const ANSWER_BYTES: usize = 4;
/// Virtual: whoever waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(100_000);

/// Every connection of the bridge comes out here.
struct Remote(mpsc::UnboundedSender<DuplexStream>);

impl Connector for Remote {
    fn connect<'a>(&'a self, _: &'a RemoteAddress) -> Connecting<'a> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            self.0.send(theirs).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(Reached::over(ours))
        })
    }
}

/// What the bridge is: one byte; then the connections, each of pieces with one byte of length; an empty piece ends one.
pub fn bridge(data: &[u8]) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run(Source::new(data)));
}

async fn run(mut source: Source<'_>) {
    let bits = source.byte();
    let config = config(bits);
    let version = config.protocol.version();
    let broker = Broker::builder().without_listener().threads(Threads::Exactly(NonZeroUsize::MIN));
    let broker = broker.start().await.unwrap();
    let bridges = Builder::new(&broker, &Integrations::default()).seed(7).build();
    let (sender, arrived) = mpsc::unbounded_channel();
    let arrived = Mutex::new(arrived);
    bridges.follow(Prepared::new([(config, Arc::new(Remote(sender)) as Arc<dyn Connector>)])).await;
    let (near, _inbox) = broker.client("near").await.unwrap();
    for n in 0..MESSAGES {
        near.publish(&format!("out/{n}"), n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    let mut came = 0;
    for _ in 0..CONNECTIONS_MAX {
        let next = async { arrived.lock().await.recv().await.unwrap() };
        let stream = timeout(PATIENCE, next).await.expect("a bridge tries again");
        let mut input = if bits & 16 == 16 { connack(version).to_vec() } else { Vec::new() };
        loop {
            let piece = source.bytes();
            if piece.is_empty() {
                break;
            }
            input.extend(piece);
        }
        came += input.len();
        let sent = timeout(PATIENCE, say(stream, &input)).await.expect("the bridge closes what has ended");
        assert!(sent.len() <= CONNECTION_BYTES + ANSWER_BYTES * input.len(), "{} bytes", sent.len());
        is_of_a_client(&sent, version);
        if source.is_empty() {
            break;
        }
    }
    let view = bridges.list().await.pop().unwrap();
    let queued = view.pointer("/queue/messages").unwrap().as_u64().unwrap();
    // What has come in by a topic that goes out does not wait to go back.
    assert!(queued <= MESSAGES, "{view}");
    timeout(PATIENCE, bridges.stop()).await.expect("a bridge stops");
    let admin = broker.admin();
    let sessions = admin.sessions(Cursor::default(), 10).await.unwrap().items;
    let own = sessions.iter().find(|session| &*session.client_id == "$culex/bridge/b").unwrap();
    assert_eq!((sessions.len(), own.subscriptions), (2, 1), "{sessions:?}");
    let retained = admin.retained("#", Cursor::default(), 1000).unwrap().items.len();
    assert!(retained <= came, "{retained} retained");
    broker.shutdown(PATIENCE).await.unwrap();
}

const fn connack(version: ProtocolVersion) -> &'static [u8] {
    if version.is_v5() { b"\x20\x03\0\0\0" } else { b"\x20\x02\0\0" }
}

/// A bridge both ways; which version, whose rules, and whether a topic that comes in goes out too.
fn config(bits: u8) -> Bridge {
    let mapping = |filter: &str, prefix: Option<&str>| {
        let mut mapping = Mapping::default();
        filter.clone_into(&mut mapping.filter);
        mapping.local_prefix = prefix.map(str::to_owned);
        mapping.qos = QoS::ExactlyOnce;
        mapping
    };
    let mut bridge = Bridge::default();
    bridge.name = "b".to_owned();
    bridge.client_id = Some("b".to_owned());
    bridge.addresses = vec![RemoteAddress { host: "x".to_owned(), port: Some(1883) }];
    bridge.protocol = if bits & 1 == 1 { BridgeProtocol::V5 } else { BridgeProtocol::V311 };
    bridge.preset = if bits & 2 == 2 { Preset::AwsIot } else { Preset::None };
    bridge.notifications_local_only = Some(bits & 4 == 4);
    bridge.outgoing = vec![mapping("out/#", None)];
    bridge.incoming = vec![mapping("#", (bits & 8 == 8).then_some("in/"))];
    bridge
}

/// Says all of it, then nothing more; gives what the bridge has said until it closed.
async fn say(stream: DuplexStream, input: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut sent = Vec::new();
    let speaking = async {
        // It may have heard enough.
        if writer.write_all(input).await.is_ok() {
            let _ = writer.shutdown().await;
        }
    };
    let listening = async {
        let _ = reader.read_to_end(&mut sent).await;
    };
    tokio::join!(speaking, listening);
    sent
}

/// The last packet may be cut off by the end of the connection.
fn is_of_a_client(mut sent: &[u8], version: ProtocolVersion) {
    let mut is_first = true;
    while let Decoded::Packet { packet, len } = decode(sent, version, u32::MAX).expect("packets") {
        assert_eq!(matches!(packet, Packet::Connect(_)), is_first, "{packet:?}");
        let is_of_a_server =
            matches!(packet, Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp);
        assert!(!is_of_a_server, "{packet:?}");
        is_first = false;
        sent = sent.get(len..).unwrap();
        if sent.is_empty() {
            return;
        }
    }
}
