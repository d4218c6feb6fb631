//! Keys of `[[bridge]]` and what belongs to it.

use std::time::Duration;

use culex_core::limits::WhenFull;

use crate::config::setting::NumberField::{QoS, U16};
use crate::config::setting::{Key, Setting};
use crate::config::value::Unit::{Bytes, Count};
use crate::config::{
    Bridge, BridgePace, BridgeProtocol, BridgeQueue, BridgeTls, KeyPermissions, Mapping, Preset, TlsVersion,
};

/// Keys of `[[bridge]]`.
pub(crate) const BRIDGE: &[Key<Bridge>] = &[
    Key {
        name: "name",
        setting: Setting::Word { field: |bridge| &mut bridge.name },
        doc: "Its name, in `$SYS/broker/connection/NAME/state` and for `culex bridge`.",
    },
    Key {
        name: "address",
        setting: Setting::Remotes { field: |bridge| &mut bridge.addresses },
        doc: "The other broker, or several, of which the first is taken that can be reached. Without a port 1883, with TLS 8883.",
    },
    Key {
        name: "bind_address",
        setting: Setting::Ip { field: |bridge| &mut bridge.bind_address },
        doc: "The local address of its connections, where the other broker or a firewall wants a certain one. Without it the \
              system chooses. Only addresses of its family are connected to.",
    },
    Key {
        name: "preset",
        setting: Setting::Choice {
            words: Preset::WORDS,
            get: |bridge| bridge.preset as usize,
            set: |bridge, index| bridge.preset = Preset::from_index(index),
        },
        doc: "Whose rules hold on the other side. `\"auto\"`: those of AWS IoT Core if its addresses are \
              `….iot.REGION.amazonaws.com`; see [bridge.md](bridge.md).",
    },
    Key {
        name: "user",
        setting: Setting::Text { field: |bridge| &mut bridge.user },
        doc: "User name there.",
    },
    Key {
        name: "password",
        setting: Setting::Secret { field: |bridge| &mut bridge.password },
        doc: "Password there; better in a file of its own: `\"${file:cloud.password}\"`. No output shows it.",
    },
    Key {
        name: "protocol",
        setting: Setting::Choice {
            words: &["3.1.1", "5.0"],
            get: |bridge| bridge.protocol as usize,
            set: |bridge, index| {
                bridge.protocol = if index == 0 { BridgeProtocol::V311 } else { BridgeProtocol::V5 }
            },
        },
        doc: "Version of MQTT. With 5.0 the other broker can say why it does not take a message.",
    },
    Key {
        name: "client_id",
        setting: Setting::Text { field: |bridge| &mut bridge.client_id },
        doc: "ClientId there. Without it `HOSTNAME.NAME`, as in mosquitto; AWS IoT wants one. Of several connections each has its \
              number behind it: `ID-1`.",
    },
    Key {
        name: "keep_alive",
        setting: Setting::Duration {
            field: |bridge| &mut bridge.keep_alive,
            range: Duration::from_secs(5)..=Duration::from_secs(65_535),
        },
        doc: "Longest silence before a ping, in whole seconds.",
    },
    Key {
        name: "clean_start",
        setting: Setting::Switch { field: |bridge| &mut bridge.clean_start },
        doc: "`true`: the session there ends with the connection, and what comes in meanwhile is missed.",
    },
    Key {
        name: "try_private",
        setting: Setting::Switch { field: |bridge| &mut bridge.try_private },
        doc: "`true`: the other broker is told that this is a bridge, which mosquitto uses against loops (3.1.1 alone).",
    },
    Key {
        name: "reconnect_min",
        setting: Setting::Duration {
            field: |bridge| &mut bridge.reconnect_min,
            range: Duration::from_secs(1)..=Duration::from_secs(3600),
        },
        doc: "Shortest time between two attempts to connect. Each time is random; its bound doubles from here to `reconnect_max`, \
              and begins anew after a connection of 30 s.",
    },
    Key {
        name: "reconnect_max",
        setting: Setting::Duration {
            field: |bridge| &mut bridge.reconnect_max,
            range: Duration::from_secs(1)..=Duration::from_secs(24 * 3600),
        },
        doc: "Longest time between two attempts to connect.",
    },
    Key {
        name: "connections",
        setting: Setting::Number { field: U16(|bridge| &mut bridge.connections), range: 1..=64, unit: Count },
        doc: "Connections that share what goes out. Messages of one topic keep their order. What comes in comes over the first.",
    },
    Key {
        name: "notifications",
        setting: Setting::Switch { field: |bridge| &mut bridge.notifications },
        doc: "Whether the state of the bridge is published: `1` connected, `0` not, retained. Without it yes.",
    },
    Key {
        name: "notification_topic",
        setting: Setting::Text { field: |bridge| &mut bridge.notification_topic },
        doc: "Where. Without it `$SYS/broker/connection/NAME/state`.",
    },
    Key {
        name: "notifications_local_only",
        setting: Setting::Switch { field: |bridge| &mut bridge.notifications_local_only },
        doc: "Whether here alone. Without it on both sides, with AWS IoT here alone.",
    },
];

/// Keys of `[bridge.tls]`.
pub(crate) const BRIDGE_TLS: &[Key<BridgeTls>] = &[
    Key {
        name: "ca_file",
        setting: Setting::Path { field: |tls| &mut tls.ca_file },
        doc: "PEM file, or folder of such, with the CAs of the other broker. Without it the public CAs; for AWS IoT Amazon's alone.",
    },
    Key {
        name: "certificate",
        setting: Setting::Path { field: |tls| &mut tls.certificate },
        doc: "PEM file with our certificate, its chain behind it.",
    },
    Key {
        name: "key",
        setting: Setting::Path { field: |tls| &mut tls.key },
        doc: "PEM file with its private key, which nobody else on this computer can read.",
    },
    Key {
        name: "key_permissions",
        setting: Setting::Choice {
            words: &["strict", "warn"],
            get: |tls| tls.key_permissions as usize,
            set: |tls, index| {
                tls.key_permissions = if index == 0 { KeyPermissions::Strict } else { KeyPermissions::Warn }
            },
        },
        doc: "What becomes of a key that every user of the computer can read: an error, or a warning.",
    },
    Key {
        name: "min_version",
        setting: Setting::Choice {
            words: &["1.2", "1.3"],
            get: |tls| tls.min_version as usize,
            set: |tls, index| tls.min_version = if index == 0 { TlsVersion::V1_2 } else { TlsVersion::V1_3 },
        },
        doc: "The oldest version of TLS that is spoken.",
    },
    Key {
        name: "alpn",
        setting: Setting::Texts { field: |tls| &mut tls.alpn },
        doc: "Application protocol. Without it none, with AWS IoT on port 443 the one that it wants; `\"none\"` is none there too.",
    },
    Key {
        name: "server_name",
        setting: Setting::Text { field: |tls| &mut tls.server_name },
        doc: "The name that the other broker is asked for (SNI), and that its certificate must have. Without it that of the address.",
    },
    Key {
        name: "insecure",
        setting: Setting::Switch { field: |tls| &mut tls.insecure },
        doc: "`true`: the certificate may have another name. Its CA is still checked.",
    },
];

/// Keys of `[bridge.queue]`.
pub(crate) const BRIDGE_QUEUE: &[Key<BridgeQueue>] = &[
    Key {
        name: "max_bytes",
        setting: Setting::Limit { field: |queue| &mut queue.max_bytes, unit: Bytes },
        doc: "Bytes that wait for the other broker, topic and payload, of all its connections.",
    },
    Key {
        name: "max_messages",
        setting: Setting::Limit { field: |queue| &mut queue.max_messages, unit: Count },
        doc: "Messages that wait, each of which takes 16 bytes of memory.",
    },
    Key {
        name: "max_age",
        setting: Setting::Duration {
            field: |queue| &mut queue.max_age,
            range: Duration::ZERO..=Duration::from_secs(365 * 24 * 3600),
        },
        doc: "What has waited for longer is dropped and counted. `\"0s\"` is never.",
    },
    Key {
        name: "when_full",
        setting: Setting::Choice {
            words: &["drop-newest", "drop-oldest", "block"],
            get: |queue| match queue.when_full {
                WhenFull::DropNewest => 0,
                WhenFull::DropOldest => 1,
                WhenFull::Block => 2,
            },
            set: |queue, index| {
                queue.when_full = match index {
                    0 => WhenFull::DropNewest,
                    1 => WhenFull::DropOldest,
                    _ => WhenFull::Block,
                }
            },
        },
        doc: "What a full queue drops: the message that arrives, or the oldest that waits. Both are counted. With `block` nothing is \
              dropped: whoever publishes something that it would get waits until an eighth of it is free.",
    },
    Key {
        name: "qos0",
        setting: Setting::Switch { field: |queue| &mut queue.qos0 },
        doc: "`true`: messages of QoS 0 wait too, and are sent with QoS 1.",
    },
];

/// Keys of `[bridge.pace]`.
pub(crate) const BRIDGE_PACE: &[Key<BridgePace>] = &[
    Key {
        name: "messages_per_second",
        setting: Setting::Limit { field: |pace| &mut pace.messages_per_second, unit: Count },
        doc: "Messages in a second over one connection; with AWS IoT 95 at most.",
    },
    Key {
        name: "bytes_per_second",
        setting: Setting::Limit { field: |pace| &mut pace.bytes_per_second, unit: Bytes },
        doc: "Bytes of messages in a second over one connection; with AWS IoT 480 KiB at most.",
    },
    Key {
        name: "in_flight",
        setting: Setting::Number { field: U16(|pace| &mut pace.in_flight), range: 1..=65_535, unit: Count },
        doc: "QoS 1 and 2 messages without acknowledgement over one connection; with AWS IoT 50 at most.",
    },
];

/// Keys of `[[bridge.out]]` and `[[bridge.in]]`.
pub(crate) const MAPPING: &[Key<Mapping>] = &[
    Key {
        name: "filter",
        setting: Setting::Word { field: |mapping| &mut mapping.filter },
        doc: "Which topics, without the prefixes.",
    },
    Key {
        name: "local_prefix",
        setting: Setting::Text { field: |mapping| &mut mapping.local_prefix },
        doc: "What stands before the filter, and before each of its topics, here.",
    },
    Key {
        name: "remote_prefix",
        setting: Setting::Text { field: |mapping| &mut mapping.remote_prefix },
        doc: "The same on the other side.",
    },
    Key {
        name: "qos",
        setting: Setting::Number { field: QoS(|mapping| &mut mapping.qos), range: 0..=2, unit: Count },
        doc: "Highest QoS; a message with a lower one keeps it.",
    },
    Key {
        name: "retain",
        setting: Setting::Switch { field: |mapping| &mut mapping.retain },
        doc: "Whether a retained message is one on the other side too. Without it yes, towards AWS IoT no.",
    },
    Key {
        name: "basic_ingest",
        setting: Setting::Text { field: |mapping| &mut mapping.basic_ingest },
        doc: "Out alone: the rule of AWS IoT that gets the messages directly, below `$aws/rules/RULE/`.",
    },
];
