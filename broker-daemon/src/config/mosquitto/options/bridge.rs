//! Options of bridges.

use std::time::Duration;

use culex_core::client::Secret;

use crate::config::problem::Complaint;
use crate::config::value::ip_address;
use crate::config::{BridgeProtocol, TlsVersion};

use super::super::bridge::{TheirBridge, addresses, topic};
use super::super::reading::{Outcome, Reading};
use super::{ANY, FALSE, Meaning, OptionOf, Scope};

/// What `[[bridge]]` has, and what it has not.
pub(super) const OPTIONS: &[OptionOf] = &[
    OptionOf {
        name: "connection",
        scope: Scope::All,
        meaning: Meaning::Words(|r, name| {
            r.begin_bridge(name);
            Ok(())
        }),
        doc: "`[[bridge]]` with this `name`; see [bridge.md](bridge.md)",
    },
    words("address", "`address`: one or several of `HOST[:PORT]`; without a port 1883", |r, value| {
        let found = addresses(value)?;
        r.bridge("address", |theirs| theirs.draft.bridge.addresses.extend(found))
    }),
    words("addresses", "`address`", |r, value| {
        let found = addresses(value)?;
        r.bridge("address", |theirs| theirs.draft.bridge.addresses.extend(found))
    }),
    words(
        "topic",
        "`[[bridge.out]]`, `[[bridge.in]]` or both: `topic FILTER [out|in|both] [QOS] [LOCAL-PREFIX] [REMOTE-PREFIX]`, where \
         `\"\"` is no prefix. Without them `out` and QoS 0",
        topic,
    ),
    text("remote_clientid", "`client_id`", client_id),
    text("clientid", "`client_id`, the old name of `remote_clientid`", client_id),
    text("remote_username", "`user`", user),
    text("username", "`user`, the old name of `remote_username`", user),
    text("remote_password", "`password`", password),
    text("password", "`password`, the old name of `remote_password`", password),
    switch(
        "cleansession",
        "`clean_start`. What goes out waits in any case while the other broker is away",
        |r, is_on| r.bridge("clean_start", |theirs| theirs.draft.bridge.clean_start = Some(is_on)),
    ),
    OptionOf {
        name: "keepalive_interval",
        scope: Scope::Bridge,
        meaning: Meaning::Number(0..=65_535, keep_alive),
        doc: "`keep_alive`, in seconds; 5 at least",
    },
    words(
        "restart_timeout",
        "`reconnect_min` and `reconnect_max`, in seconds: two numbers, or one for both",
        restart_timeout,
    ),
    switch(
        "try_private",
        "`try_private`, which is true if it is not said, as in mosquitto; never with AWS IoT or MQTT 5.0",
        |r, is_on| r.bridge("try_private", |theirs| theirs.draft.bridge.try_private = Some(is_on)),
    ),
    switch("notifications", "`notifications`; with AWS IoT here alone", |r, is_on| {
        r.bridge("notifications", |theirs| theirs.draft.bridge.notifications = Some(is_on))
    }),
    switch("notifications_local_only", "`notifications_local_only`", |r, is_on| {
        let set = |theirs: &mut TheirBridge| theirs.draft.bridge.notifications_local_only = Some(is_on);
        r.bridge("notifications_local_only", set)
    }),
    text(
        "notification_topic",
        "`notification_topic`; without it `$SYS/broker/connection/NAME/state`, where mosquitto has the ClientId",
        |r, topic| {
            let set =
                |theirs: &mut TheirBridge| theirs.draft.bridge.notification_topic = Some(topic.to_owned());
            r.bridge("notification_topic", set)
        },
    ),
    words(
        "bridge_protocol_version",
        "`protocol`: `mqttv311` or `mqttv50`; 3.1.1 if it is not said",
        protocol_version,
    ),
    switch("bridge_outgoing_retain", "`retain` of every `[[bridge.out]]`", |r, is_on| {
        r.bridge("retain", |theirs| theirs.outgoing_retain = Some(is_on))
    }),
    text("bridge_cafile", "`ca_file` of `[bridge.tls]`", |r, path| {
        r.bridge("tls", |theirs| theirs.cafile = Some(path.into()))
    }),
    text("bridge_capath", "`ca_file` of `[bridge.tls]`, a folder", |r, path| {
        r.bridge("tls", |theirs| theirs.capath = Some(path.into()))
    }),
    switch(
        "bridge_tls_use_os_certs",
        "`[bridge.tls]` without `ca_file`: the public CAs (mosquitto 2.1)",
        |r, is_on| r.bridge("tls", |theirs| theirs.is_public_ca = is_on),
    ),
    text("bridge_certfile", "`certificate` of `[bridge.tls]`", |r, path| {
        r.bridge("tls.certificate", |theirs| theirs.tls.certificate = Some(path.into()))
    }),
    text(
        "bridge_keyfile",
        "`key` of `[bridge.tls]`; one that every user can read stops the start",
        |r, path| r.bridge("tls.key", |theirs| theirs.tls.key = Some(path.into())),
    ),
    switch(
        "bridge_insecure",
        "`insecure` of `[bridge.tls]`: any name in the certificate will do. Not with AWS IoT",
        |r, is_on| r.bridge("tls.insecure", |theirs| theirs.tls.insecure = is_on.then_some(true)),
    ),
    text("bridge_alpn", "`alpn` of `[bridge.tls]`", |r, name| {
        r.bridge("tls.alpn", |theirs| theirs.tls.alpn = vec![name.to_owned()])
    }),
    words("bridge_tls_version", "`min_version` of `[bridge.tls]`: `tlsv1.2` or `tlsv1.3`", tls_version),
    switch(
        "bridge_attempt_unsubscribe",
        "nothing happens: what a bridge does not take it has never subscribed to",
        |_, _| Ok(()),
    ),
    OptionOf {
        name: "bridge_max_packet_size",
        scope: Scope::Bridge,
        meaning: Meaning::Number(ANY, |r, most| {
            r.bridge("max_packet_size", |theirs| theirs.packet_max = most)
        }),
        doc: "ignored: a message goes out whatever its size, to AWS IoT with 128 KiB at most; one that the other broker does not \
              take becomes a dead letter",
    },
    OptionOf {
        name: "start_type",
        scope: Scope::Bridge,
        meaning: Meaning::Only(&["automatic"], "write `start_type automatic`"),
        doc: "a bridge connects when the broker starts",
    },
    ignored("idle_timeout", "it is about `start_type lazy`, which is not done"),
    ignored("threshold", "it is about `start_type lazy`, which is not done"),
    OptionOf {
        name: "round_robin",
        scope: Scope::Bridge,
        meaning: Meaning::Only(FALSE, "remove it; a bridge goes on to the next address when one fails"),
        doc: "the first address is taken that can be reached",
    },
    ignored("local_clientid", "here a bridge has a ClientId of its own"),
    ignored("local_cleansession", "what goes out waits in any case while the other broker is away"),
    ignored("local_username", "here a bridge is a part of the broker and asked for nothing"),
    ignored("local_password", "here a bridge is a part of the broker and asked for nothing"),
    text("bridge_bind_address", "`bind_address`; an address, not a name", bind_address),
    ignored("bridge_reload_type", "a changed bridge connects anew at once"),
    ignored("bridge_tcp_keepalive", "pings tell whether the other broker is there"),
    ignored("bridge_tcp_user_timeout", "pings tell whether the other broker is there"),
    ignored("bridge_max_topic_alias", "no Topic Aliases are used"),
    ignored("bridge_receive_maximum", "what comes in is acknowledged when it is kept"),
    ignored(
        "bridge_session_expiry_interval",
        "the session there has no end of its own without `cleansession true`",
    ),
    ignored("bridge_ciphers", "the suites are those with ECDHE and AEAD alone"),
    ignored("bridge_ciphers_tls1.3", "all three suites of TLS 1.3 are offered"),
    OptionOf {
        name: "bridge_require_ocsp",
        scope: Scope::Bridge,
        meaning: Meaning::Only(FALSE, "remove it"),
        doc: "certificates are not asked about by OCSP",
    },
    psk("bridge_identity"),
    psk("bridge_psk"),
];

fn client_id(reading: &mut Reading, id: &str) -> Outcome {
    reading.bridge("client_id", |theirs| theirs.draft.bridge.client_id = Some(id.to_owned()))
}

fn keep_alive(reading: &mut Reading, seconds: i64) -> Outcome {
    let taken = seconds.unsigned_abs().max(5);
    if taken != seconds.unsigned_abs() {
        reading.note(format!("`keepalive_interval {seconds}` is {taken} here"));
    }
    reading.bridge("keep_alive", |theirs| theirs.draft.bridge.keep_alive = Duration::from_secs(taken))
}

fn bind_address(reading: &mut Reading, text: &str) -> Outcome {
    let address = ip_address(text)?;
    reading.bridge("bind_address", |theirs| theirs.draft.bridge.bind_address = Some(address))
}

fn user(reading: &mut Reading, name: &str) -> Outcome {
    reading.bridge("user", |theirs| theirs.draft.bridge.user = Some(name.to_owned()))
}

fn password(reading: &mut Reading, password: &str) -> Outcome {
    reading.bridge("password", |theirs| theirs.draft.bridge.password = Some(Secret::new(password)))
}

fn protocol_version(reading: &mut Reading, value: &str) -> Outcome {
    let protocol = match reading.first_word("bridge_protocol_version", value)? {
        "mqttv311" => BridgeProtocol::V311,
        "mqttv50" => BridgeProtocol::V5,
        other => {
            let message = format!("bridge_protocol_version: `{}` is not spoken", other.escape_debug());
            return Err(Complaint::new(message).help("`mqttv311` and `mqttv50` are"));
        }
    };
    reading.bridge("protocol", |theirs| theirs.draft.bridge.protocol = protocol)
}

fn tls_version(reading: &mut Reading, value: &str) -> Outcome {
    let version = match reading.first_word("bridge_tls_version", value)? {
        "tlsv1.2" => TlsVersion::V1_2,
        "tlsv1.3" => TlsVersion::V1_3,
        other => {
            let message = format!(
                "bridge_tls_version: expected `tlsv1.2` or `tlsv1.3`, found `{}`",
                other.escape_debug()
            );
            return Err(Complaint::new(message).help("older versions are broken, and not spoken"));
        }
    };
    reading.bridge("tls.min_version", |theirs| theirs.tls.min_version = version)
}

/// As `reconnect_min` and `reconnect_max` have them.
const RECONNECT_MIN_S: (u64, u64) = (1, 3600);
const RECONNECT_MAX_S: (u64, u64) = (1, 24 * 3600);

fn restart_timeout(reading: &mut Reading, value: &str) -> Outcome {
    let wrong = || {
        Complaint::new(format!("restart_timeout: `{}` is no time", value.escape_debug()))
            .help("write one or two whole numbers of seconds: `restart_timeout 5 120`")
    };
    let mut words =
        value.split(' ').filter(|word| !word.is_empty()).take_while(|word| !word.starts_with('#'));
    let shortest: u64 = words.next().ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    let longest: u64 = words.next().map_or(Ok(shortest), str::parse).map_err(|_| wrong())?;
    if longest < shortest {
        return Err(Complaint::new(
            "restart_timeout: the second number is the longest time, and less than the first",
        ));
    }
    let taken = (
        shortest.clamp(RECONNECT_MIN_S.0, RECONNECT_MIN_S.1),
        longest.clamp(RECONNECT_MAX_S.0, RECONNECT_MAX_S.1),
    );
    if taken != (shortest, longest) {
        reading.note(format!(
            "`restart_timeout {}` is {} s to {} s here",
            value.escape_debug(),
            taken.0,
            taken.1
        ));
    }
    reading.bridge("reconnect_min", |theirs| {
        let bridge = &mut theirs.draft.bridge;
        (bridge.reconnect_min, bridge.reconnect_max) =
            (Duration::from_secs(taken.0), Duration::from_secs(taken.1));
    })
}

const fn words(name: &'static str, doc: &'static str, set: fn(&mut Reading, &str) -> Outcome) -> OptionOf {
    OptionOf { name, scope: Scope::Bridge, meaning: Meaning::Words(set), doc }
}

const fn text(name: &'static str, doc: &'static str, set: fn(&mut Reading, &str) -> Outcome) -> OptionOf {
    OptionOf { name, scope: Scope::Bridge, meaning: Meaning::Text(set), doc }
}

const fn switch(name: &'static str, doc: &'static str, set: fn(&mut Reading, bool) -> Outcome) -> OptionOf {
    OptionOf { name, scope: Scope::Bridge, meaning: Meaning::Switch(set), doc }
}

const fn ignored(name: &'static str, doc: &'static str) -> OptionOf {
    OptionOf { name, scope: Scope::Bridge, meaning: Meaning::Ignored, doc }
}

const fn psk(name: &'static str) -> OptionOf {
    OptionOf {
        name,
        scope: Scope::Bridge,
        meaning: Meaning::Refused(
            "give the bridge a certificate (`bridge_certfile`, `bridge_keyfile`), or a password",
        ),
        doc: "keys that are shared in advance are not spoken",
    }
}
