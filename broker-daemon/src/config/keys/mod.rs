//! The one table of all keys: the reader, the checks, the suggestions and the reference page follow it.

mod bridge;
mod http;
mod listener;
mod webhook;

use std::time::Duration;

use culex_core::Lanes;
use culex_core::limits::{Limits, WhenFull};

use crate::acl::Subscribing;
use crate::config::rules::ACL_RULE;
use crate::config::setting::NumberField::{U16, U32};
use crate::config::setting::{Key, Setting};
use crate::config::value::Unit::{Bytes, Count};
use crate::config::{
    AclSettings, AuthSettings, Config, LogFormat, LogLevel, LogSettings, StoreMode, StoreSettings,
};

pub(crate) use self::bridge::{BRIDGE, BRIDGE_PACE, BRIDGE_QUEUE, BRIDGE_TLS, MAPPING};
pub(crate) use self::http::HTTP;
pub(crate) use self::listener::{LISTENER, TLS};
pub(crate) use self::webhook::{WEBHOOK, WEBHOOK_RETRY, WEBHOOK_TLS};

/// Keys at the top of the file.
pub(crate) const TOP: &[Key<Config>] = &[
    Key {
        name: "threads",
        setting: Setting::Threads { field: |config| &mut config.threads },
        doc: "Threads that serve connections. `\"auto\"` is one for each core, at most 64.",
    },
    Key {
        name: "lanes",
        setting: Setting::Choice {
            words: &["adaptive", "spread"],
            get: |config| usize::from(config.lanes == Lanes::Spread),
            set: |config, index| config.lanes = if index == 0 { Lanes::Adaptive } else { Lanes::Spread },
        },
        doc: "When the threads share the work. `\"adaptive\"`: while there is more to do than one can; a quiet broker is \
              one thread, which costs the least. `\"spread\"`: always.",
    },
    Key {
        name: "sys_interval",
        setting: Setting::Duration {
            field: |config| &mut config.sys_interval,
            range: Duration::ZERO..=Duration::from_secs(24 * 3600),
        },
        doc: "How often what the broker counts is published below `$SYS/broker/`: once a second at most; `\"0s\"` is never. \
              See [sys.md](sys.md).",
    },
    Key {
        name: "user",
        setting: Setting::Text { field: |config| &mut config.user },
        doc: "Whom a start as root becomes once it listens and has read its keys; see [service.md](service.md). Who is not root \
              stays who it is.",
    },
    Key {
        name: "pid_file",
        setting: Setting::Path { field: |config| &mut config.pid_file },
        doc: "A file that has the number of the process while it runs.",
    },
];

/// Keys of `[auth]`.
pub(crate) const AUTH: &[Key<AuthSettings>] = &[Key {
    name: "password_file",
    setting: Setting::Path { field: |auth| &mut auth.password_file },
    doc: "Users and their passwords, in mosquitto's format; `culex passwd` writes it.",
}];

/// Keys of `[log]`.
pub(crate) const LOG: &[Key<LogSettings>] = &[
    Key {
        name: "level",
        setting: Setting::Choice {
            words: LogLevel::WORDS,
            get: |log| log.level as usize,
            set: |log, index| log.level = LogLevel::from_index(index),
        },
        doc: "How much is written to standard error. `-v` means `\"debug\"`.",
    },
    Key {
        name: "format",
        setting: Setting::Choice {
            words: LogFormat::WORDS,
            get: |log| log.format as usize,
            set: |log, index| log.format = LogFormat::from_index(index),
        },
        doc: "`\"text\"` for people, `\"json\"` for programs: one object a line.",
    },
];

/// Keys of `[store]`.
pub(crate) const STORE: &[Key<StoreSettings>] = &[
    Key {
        name: "directory",
        setting: Setting::Path { field: |store| &mut store.directory },
        doc: "Where sessions, their queues and retained messages are kept; for this broker alone. `--data-dir` wins.",
    },
    Key {
        name: "durability",
        setting: Setting::Choice {
            words: StoreMode::WORDS,
            get: |store| store.durability as usize,
            set: |store, index| store.durability = StoreMode::from_index(index),
        },
        doc: "What may be lost of what was acknowledged. `\"power\"`: nothing, it is on the disk first. `\"kill\"`: in a \
              power cut the last second. `\"none\"`: everything with the end of the broker.",
    },
];

/// Keys of `[acl]`.
pub(crate) const ACL: &[Key<AclSettings>] = &[
    Key {
        name: "file",
        setting: Setting::Path { field: |acl| &mut acl.file },
        doc: "Who may publish and receive what, in mosquitto's format; see [access.md](access.md). Without it \
              and without `[[acl.rule]]` everybody may everything.",
    },
    Key {
        name: "subscribe",
        setting: Setting::Choice {
            words: &["honest", "mosquitto"],
            get: |acl| usize::from(acl.subscribe == Subscribing::AlwaysGranted),
            set: |acl, index| {
                acl.subscribe = if index == 0 { Subscribing::Honest } else { Subscribing::AlwaysGranted }
            },
        },
        doc: "What SUBSCRIBE is told about a filter that can never deliver anything. `\"honest\"`: the failure code \
              0x80. `\"mosquitto\"`: that it was granted.",
    },
    Key {
        name: "check_retain_source",
        setting: Setting::Switch { field: |acl| &mut acl.check_retain_source },
        doc: "Whether a retained message reaches a new subscription only if the client that published it may still \
              publish there. `true` if it is not said.",
    },
];

/// Keys of `[limits]`.
pub(crate) const LIMITS: &[Key<Limits>] = &[
    Key {
        name: "packet_bytes",
        // [MQTT-2.2.3]: Remaining Length has at most 268,435,455.
        setting: Setting::Number { field: U32(|l| &mut l.packet_bytes), range: 1..=268_435_455, unit: Bytes },
        doc: "Largest MQTT packet that is accepted. A larger one closes its connection.",
    },
    Key {
        name: "connections",
        setting: Setting::Limit { field: |l| &mut l.connections, unit: Count },
        doc: "Connections at a time. One more is closed at once.",
    },
    Key {
        name: "connections_per_address",
        setting: Setting::Limit { field: |l| &mut l.connections_per_address, unit: Count },
        doc: "Connections at a time from one IP address. One more is closed at once.",
    },
    Key {
        name: "subscriptions_per_session",
        setting: Setting::Limit { field: |l| &mut l.subscriptions_per_session, unit: Count },
        doc: "Subscriptions of one session. One more is answered with the failure code.",
    },
    Key {
        name: "filters_per_packet",
        setting: Setting::Limit { field: |l| &mut l.filters_per_packet, unit: Count },
        doc: "Topic filters of one packet. The others of a SUBSCRIBE get the failure code; an UNSUBSCRIBE with more \
              closes its connection.",
    },
    Key {
        name: "topic_levels",
        setting: Setting::Limit { field: |l| &mut l.topic_levels, unit: Count },
        doc: "Levels of a topic. A deeper PUBLISH closes its connection, a deeper filter gets the failure code.",
    },
    Key {
        name: "topic_bytes",
        setting: Setting::Number { field: U16(|l| &mut l.topic_bytes), range: 1..=65_535, unit: Bytes },
        doc: "Length of a topic name or filter. Beyond it as for `topic_levels`.",
    },
    Key {
        name: "in_flight",
        setting: Setting::Number { field: U16(|l| &mut l.in_flight), range: 1..=65_535, unit: Count },
        doc: "QoS 1 and 2 messages in flight towards one client. The others wait in its queue.",
    },
    Key {
        name: "incoming_in_flight",
        setting: Setting::Number {
            field: U16(|l| &mut l.incoming_in_flight),
            range: 1..=65_535,
            unit: Count,
        },
        doc: "QoS 2 messages in flight from one client. One more closes its connection.",
    },
    Key {
        name: "queue_messages",
        setting: Setting::Limit { field: |l| &mut l.queue_messages, unit: Count },
        doc: "Messages that wait in a session, those in flight included. Beyond it `when_full` decides.",
    },
    Key {
        name: "queue_bytes",
        setting: Setting::Limit { field: |l| &mut l.queue_bytes, unit: Bytes },
        doc: "Bytes that wait in a session, topic and payload. Beyond it `when_full` decides.",
    },
    Key {
        name: "queue_total_bytes",
        setting: Setting::Limit { field: |l| &mut l.queue_total_bytes, unit: Bytes },
        doc: "The same for all sessions together, and 64 bytes for each message. Beyond it `when_full` decides, but \
              a client that is connected and keeps up is served.",
    },
    Key {
        name: "queue_memory_bytes",
        setting: Setting::Limit { field: |l| &mut l.queue_memory_bytes, unit: Bytes },
        doc: "Bytes of them that are held in memory if there is a store; the others are read from it when their client \
              takes them. Without a store it means nothing.",
    },
    Key {
        name: "when_full",
        setting: Setting::Choice {
            words: &["drop-newest", "drop-oldest"],
            get: |l| match l.when_full {
                WhenFull::DropNewest | WhenFull::Block => 0,
                WhenFull::DropOldest => 1,
            },
            set: |l, index| {
                l.when_full = if index == 0 { WhenFull::DropNewest } else { WhenFull::DropOldest }
            },
        },
        doc: "What a full queue drops: the message that arrives, or the oldest that waits. Both are counted.",
    },
    Key {
        name: "retained_messages",
        setting: Setting::Limit { field: |l| &mut l.retained_messages, unit: Count },
        doc: "Retained messages. One more is delivered but not retained.",
    },
    Key {
        name: "retained_bytes",
        setting: Setting::Limit { field: |l| &mut l.retained_bytes, unit: Bytes },
        doc: "Bytes of all retained messages: topic, payload, ClientId and user name of who published it. Beyond it as for `retained_messages`; what was retained there stays, unless the new one has QoS 0.",
    },
    Key {
        name: "session_expiry",
        setting: Setting::Limit { field: |l| &mut l.session_expiry, unit: Count },
        doc: "Seconds that a session is kept without its client. Then it ends, with its queue and subscriptions.",
    },
    Key {
        name: "sessions",
        setting: Setting::Limit { field: |l| &mut l.sessions, unit: Count },
        doc: "Sessions that outlive their connection. A new one is refused; none is evicted.",
    },
    Key {
        name: "outbox_bytes",
        setting: Setting::Limit { field: |l| &mut l.outbox_bytes, unit: Bytes },
        doc: "Bytes that wait to be written to one connection. Beyond it QoS 0 messages to it are dropped unless \
              `outbox_burst_bytes` has room, others stay in the session.",
    },
    Key {
        name: "outbox_burst_bytes",
        setting: Setting::Limit { field: |l| &mut l.outbox_burst_bytes, unit: Bytes },
        doc: "Bytes that all connections together may have waiting beyond their own `outbox_bytes`, so that a burst \
              of QoS 0 to a reader that keeps up is not dropped. One connection gets up to 15 × `outbox_bytes` of it.",
    },
    Key {
        name: "pre_auth_bytes",
        setting: Setting::Number {
            field: U32(|l| &mut l.pre_auth_bytes),
            range: 128..=268_435_455,
            unit: Bytes,
        },
        doc: "Bytes that a connection may send before its CONNECT is complete. More closes it.",
    },
    Key {
        name: "pre_auth_total_bytes",
        setting: Setting::Limit { field: |l| &mut l.pre_auth_total_bytes, unit: Bytes },
        doc: "The same for all connections together. One that needs more is closed.",
    },
    Key {
        name: "partial_total_bytes",
        setting: Setting::Limit { field: |l| &mut l.partial_total_bytes, unit: Bytes },
        doc: "Bytes of packets whose rest has not come, of all connections after CONNECT. Beyond it those are closed \
              that take the most room for the longest time.",
    },
    Key {
        name: "connect_timeout",
        setting: Setting::Duration {
            field: |l| &mut l.connect_timeout,
            range: Duration::from_secs(1)..=Duration::from_secs(30),
        },
        doc: "Time from accept to a complete CONNECT. Later closes the connection.",
    },
    Key {
        name: "max_keep_alive",
        setting: Setting::Limit { field: |l| &mut l.max_keep_alive, unit: Count },
        doc: "Longest keep alive in seconds. An MQTT 3.1 or 3.1.1 client that asks for a longer one, or for none (0), is \
              refused with code 2.",
    },
    Key {
        name: "messages_per_second",
        setting: Setting::Limit { field: |l| &mut l.messages_per_second, unit: Count },
        doc: "PUBLISH packets in a second from one client, after a second's worth at once. A faster one is read more \
              slowly; nothing is dropped.",
    },
    Key {
        name: "bytes_per_second",
        setting: Setting::Limit { field: |l| &mut l.bytes_per_second, unit: Bytes },
        doc: "Bytes of all packets in a second from one client; as for `messages_per_second`.",
    },
    Key {
        name: "stall_max",
        setting: Setting::Duration {
            field: |l| &mut l.stall_max,
            range: Duration::from_secs(1)..=Duration::from_secs(3600),
        },
        doc: "Time that a client waits for a full disk, its keep alive resting. Longer closes its connection.",
    },
];

/// Sections, how each is written, and the names of its keys.
pub(crate) fn sections() -> [(&'static str, &'static str, Vec<&'static str>); 16] {
    [
        ("auth", "[auth]", AUTH.iter().map(|key| key.name).collect()),
        ("listener", "[[listener]]", LISTENER.iter().map(|key| key.name).collect()),
        ("http", "[http]", HTTP.iter().map(|key| key.name).collect()),
        ("tls", "[listener.tls], below its [[listener]]", TLS.iter().map(|key| key.name).collect()),
        ("acl", "[acl]", ACL.iter().map(|key| key.name).collect()),
        ("rule", "[[acl.rule]]", ACL_RULE.iter().map(|key| key.name).collect()),
        ("limits", "[limits]", LIMITS.iter().map(|key| key.name).collect()),
        ("log", "[log]", LOG.iter().map(|key| key.name).collect()),
        ("store", "[store]", STORE.iter().map(|key| key.name).collect()),
        ("bridge", "[[bridge]]", BRIDGE.iter().map(|key| key.name).collect()),
        ("queue", "[bridge.queue], below its [[bridge]]", BRIDGE_QUEUE.iter().map(|key| key.name).collect()),
        ("pace", "[bridge.pace], below its [[bridge]]", BRIDGE_PACE.iter().map(|key| key.name).collect()),
        ("out", "[[bridge.out]], below its [[bridge]]", MAPPING.iter().map(|key| key.name).collect()),
        ("webhook", "[[webhook]]", WEBHOOK.iter().map(|key| key.name).collect()),
        (
            "retry",
            "[webhook.retry], below its [[webhook]]",
            WEBHOOK_RETRY.iter().map(|key| key.name).collect(),
        ),
        ("in", "[[bridge.in]], below its [[bridge]]", MAPPING.iter().map(|key| key.name).collect()),
    ]
}
