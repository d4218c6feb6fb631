//! Codec: decoding and encoding, one packet at a time.
//!
//! `cargo bench -p culex-benches --bench codec`; a part of it with a filter, for example `-- decode/publish`.

use std::{error::Error, hint::black_box};

use criterion::{Criterion, Throughput};
use culex_codec::{
    Ack, ClientId, Connect, Packet, PacketId, Properties, PropertiesBuf, Property, PropertyContext,
    ProtocolVersion, Publish, PublishHead, PublishPatch, QoS, Subscribe, SubscribeFiltersBuf,
    SubscriptionOptions, TopicFilter, TopicName, Will, decode,
};

const PACKET_BYTES_MAX: u32 = 256 * 1024;

const VERSIONS: [(ProtocolVersion, &str); 2] =
    [(ProtocolVersion::V311, "3.1.1"), (ProtocolVersion::V5, "5.0")];

const TOPIC: &str = "building/7/floor/3/room/12/temperature";

/// Hands each of the usual packets to `run`, with its name.
fn each_packet(run: &mut dyn FnMut(&str, ProtocolVersion, Packet<'_>)) -> Result<(), Box<dyn Error>> {
    let topic = TopicName::new(TOPIC)?;
    let large = vec![b'x'; 16 * 1024];
    let small = b"{\"value\":21.5,\"unit\":\"C\",\"at\":1700000000}____________";
    let mut user_properties = PropertiesBuf::new();
    user_properties.push(Property::MessageExpiryInterval(60))?;
    user_properties.push(Property::ContentType("application/json"))?;
    user_properties.push(Property::UserProperty("source", "sensor-17"))?;
    let mut filters = SubscribeFiltersBuf::new();
    for filter in
        ["building/7/#", "building/+/floor/+/room/+/temperature", "alarm/fire", "$share/workers/jobs/#"]
    {
        filters.push(TopicFilter::new(filter)?, SubscriptionOptions::new(QoS::AtLeastOnce));
    }
    for (version, version_name) in VERSIONS {
        // 2 bytes of fixed header, 40 of topic, 2 of packet id, 1 of property length
        let payload = small.get(..56).unwrap_or(small);
        let qos0 = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: Some(topic),
            packet_id: None,
            properties: Properties::EMPTY,
            payload,
        };
        let qos1 = Publish { qos: QoS::AtLeastOnce, packet_id: PacketId::new(7), ..qos0 };
        let will = Will {
            topic,
            payload: b"offline",
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: Properties::EMPTY,
        };
        let connect = Connect {
            version,
            is_bridge: false,
            clean_start: true,
            keep_alive: 60,
            client_id: ClientId::new("sensor-17-4af0c2")?,
            will: Some(will),
            user_name: Some("sensor"),
            password: Some(b"correct horse battery"),
            properties: Properties::EMPTY,
        };
        let packet_id = PacketId::new(7).ok_or("0")?;
        let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters: filters.as_filters() };
        let mut run = |name: &str, packet| run(&format!("{name}/{version_name}"), version, packet);
        run("publish-100B-qos0", Packet::Publish(qos0));
        run("publish-100B-qos1", Packet::Publish(qos1));
        run("publish-16KiB-qos0", Packet::Publish(Publish { payload: &large, ..qos0 }));
        run("connect", Packet::Connect(connect));
        run("subscribe-4", Packet::Subscribe(subscribe));
        run("puback", Packet::PubAck(Ack::success(packet_id)));
        if version.is_v5() {
            let properties = user_properties.as_properties(PropertyContext::Publish)?;
            run("publish-3-properties", Packet::Publish(Publish { properties, ..qos0 }));
        }
    }
    Ok(())
}

fn decoding(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let mut group = criterion.benchmark_group("decode");
    each_packet(&mut |name, version, packet| {
        let mut bytes = Vec::new();
        if packet.encode(version, &mut bytes).is_err() {
            return;
        }
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // What a reader of the result looks at, so that nothing of the packet is left out.
                black_box(&decode(black_box(&bytes), version, PACKET_BYTES_MAX));
            });
        });
    })
}

fn encoding(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let mut group = criterion.benchmark_group("encode");
    each_packet(&mut |name, version, packet| {
        let mut out = Vec::with_capacity(PACKET_BYTES_MAX as usize);
        let len = packet.encoded_len(version).unwrap_or(0);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                let len = black_box(&packet).encode(version, &mut out);
                black_box(&out);
                len
            });
        });
    })
}

/// One PUBLISH of 100 bytes to 1,000 subscribers with QoS 1: encoded anew for each, and by its head. Time per subscriber is
/// the time shown divided by 1,000.
fn fan_out(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    const SUBSCRIBERS: u16 = 1000;
    let topic = TopicName::new(TOPIC)?;
    let payload = [b'x'; 56];
    let mut group = criterion.benchmark_group("fan-out-1000");
    group.throughput(Throughput::Elements(SUBSCRIBERS.into()));
    let mut out = Vec::with_capacity(usize::from(SUBSCRIBERS) * 128);
    for (version, version_name) in VERSIONS {
        group.bench_function(format!("encode-each/{version_name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                for id in 1..=SUBSCRIBERS {
                    let publish = Publish {
                        dup: false,
                        qos: QoS::AtLeastOnce,
                        retain: false,
                        topic: Some(topic),
                        packet_id: PacketId::new(id),
                        properties: Properties::EMPTY,
                        payload: &payload,
                    };
                    let _ = black_box(publish.encode(version, &mut out));
                }
                black_box(out.len())
            });
        });
        group.bench_function(format!("publish-head/{version_name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                let head = PublishHead::encode(version, topic, true, Properties::EMPTY, payload.len());
                if let Ok(head) = head {
                    for id in 1..=SUBSCRIBERS {
                        let packet_id = PacketId::new(id);
                        let patch =
                            PublishPatch { qos: QoS::AtLeastOnce, dup: false, retain: false, packet_id };
                        head.append_to(&mut out, black_box(patch));
                        out.extend_from_slice(&payload);
                    }
                }
                black_box(out.len())
            });
        });
        group.bench_function(format!("publish-head-encode/{version_name}"), |bencher| {
            bencher.iter(|| {
                PublishHead::encode(version, black_box(topic), true, Properties::EMPTY, payload.len())
            });
        });
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    decoding(&mut criterion)?;
    encoding(&mut criterion)?;
    fan_out(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
