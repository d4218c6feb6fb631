//! Options of listeners.

use culex_codec::ProtocolVersion;
use culex_core::limits::Limit;
use culex_core::{Address, MountPoint};

use crate::config::Protocol;
use crate::config::problem::Complaint;

use super::super::reading::{Domain, Outcome, Reading, is_empty};
use super::{ANY, FALSE, Meaning, OptionOf, Scope};

/// What `[[listener]]` has, and what it has not.
pub(super) const OPTIONS: &[OptionOf] = &[
    OptionOf {
        name: "listener",
        scope: Scope::All,
        meaning: Meaning::Words(listener),
        doc: "`[[listener]]`. Without an address there are two, `0.0.0.0` and `[::]`, the second where the computer has IPv6. \
              `listener 0 PATH` is a Unix socket",
    },
    OptionOf {
        name: "port",
        scope: Scope::All,
        meaning: Meaning::Number(1..=65_535, |r, port| {
            let here = r.here.clone();
            r.unnamed.begin.get_or_insert(here);
            r.unnamed.port = u16::try_from(port).ok();
            Ok(())
        }),
        doc: "`[[listener]]`, as `listener PORT`; of several the last one counts",
    },
    OptionOf {
        name: "bind_address",
        scope: Scope::All,
        meaning: Meaning::Text(|r, host| {
            let here = r.here.clone();
            r.unnamed.begin.get_or_insert(here);
            r.unnamed.host = Some(host.to_owned());
            Ok(())
        }),
        doc: "the address of the listener of `port`, which is 1883 if it is not said",
    },
    OptionOf {
        name: "socket_domain",
        scope: Scope::Listener,
        meaning: Meaning::Words(|r, value| {
            let domain = match r.first_word("socket_domain", value)? {
                "ipv4" => Domain::V4,
                "ipv6" => Domain::V6,
                other => {
                    let other = other.escape_debug();
                    return Err(Complaint::new(format!(
                        "socket_domain: expected `ipv4` or `ipv6`, found `{other}`"
                    )));
                }
            };
            r.listener("socket_domain").domain = Some(domain);
            Ok(())
        }),
        doc: "only the `address` of this kind",
    },
    OptionOf {
        name: "protocol",
        scope: Scope::Listener,
        meaning: Meaning::Words(|r, value| {
            match r.first_word("protocol", value)? {
                // What a listener speaks anyway wants none.
                "mqtt" => r.theirs().taken.protocol = Protocol::Mqtt,
                "websockets" => {
                    let taken = &mut r.listener("protocol").taken;
                    taken.protocol = Protocol::WebSockets;
                    if taken.websocket_origins.is_empty() {
                        taken.websocket_origins = vec!["*".to_owned()];
                    }
                }
                other => {
                    let other = other.escape_debug();
                    return Err(Complaint::new(format!("protocol: `{other}` is not supported"))
                        .help("`mqtt` and `websockets` are"));
                }
            }
            Ok(())
        }),
        doc: "`protocol`. With `websockets` every page may connect, as in mosquitto (`websocket_origins = \"*\"`)",
    },
    OptionOf {
        name: "bind_interface",
        scope: Scope::Listener,
        meaning: Meaning::Text(|r, device| {
            r.listener("bind_interface").taken.bind_device = Some(device.to_owned());
            Ok(())
        }),
        doc: "`bind_device`",
    },
    OptionOf {
        name: "max_connections",
        scope: Scope::Listener,
        meaning: Meaning::Number(ANY, |r, most| {
            let Ok(most) = u64::try_from(most) else {
                r.theirs().taken.max_connections = Limit::Unlimited;
                return Ok(());
            };
            let most = Limit::at_most(most).ok_or_else(|| {
                Complaint::new("max_connections: nobody could connect").help("remove this listener")
            })?;
            r.listener("max_connections").taken.max_connections = most;
            Ok(())
        }),
        doc: "`max_connections`; -1 is `\"unlimited\"`",
    },
    OptionOf {
        name: "mount_point",
        scope: Scope::Listener,
        meaning: Meaning::Text(|r, text| {
            let mount_point = MountPoint::new(text).map_err(|error| {
                let complaint = Complaint::new(format!("mount_point: `{}`: {error}", text.escape_debug()));
                complaint.help("write whole levels, such as `mount_point house/`")
            })?;
            r.listener("mount_point").taken.mount_point = Some(mount_point);
            Ok(())
        }),
        doc: "`mount_point`, which ends with `/`; see [limits.md](limits.md)",
    },
    OptionOf {
        name: "max_qos",
        scope: Scope::Listener,
        meaning: Meaning::Only(&["2"], "remove it; every QoS is served"),
        doc: "every QoS is served",
    },
    OptionOf {
        name: "maximum_qos",
        scope: Scope::Listener,
        meaning: Meaning::Only(&["2"], "remove it; every QoS is served"),
        doc: "every QoS is served",
    },
    ignored("max_topic_alias", "it is about MQTT 5.0 alone"),
    ignored("max_topic_alias_broker", "it is about MQTT 5.0 alone"),
    OptionOf {
        name: "use_username_as_clientid",
        scope: Scope::Listener,
        meaning: Meaning::Only(
            FALSE,
            "remove it; a session belongs to its user in any case, and nobody else can read it",
        ),
        doc: "a client has the ClientId that it says",
    },
    OptionOf {
        name: "accept_protocol_versions",
        scope: Scope::Listener,
        meaning: Meaning::Words(accept_protocol_versions),
        doc: "`protocol_versions`: 3 is `\"3.1\"`, 4 is `\"3.1.1\"`; 5 is not spoken yet (mosquitto 2.1)",
    },
    refused(
        "enable_proxy_protocol",
        "Culex wants to know the proxies, and takes their header from nobody else",
        "write a culex.toml (`culex config translate`) with `proxy_protocol = [\"NETWORK\"]`",
    ),
    refused(
        "proxy_protocol_v2_require_tls",
        "what a proxy says of TLS is not looked at",
        "remove it, and let the proxy take TLS alone",
    ),
    refused("http_dir", "Culex serves no files", "let a web server do that"),
    ignored("websockets_log_level", "there is no such library in it"),
    ignored("websockets_headers_size", "headers have a bound of their own"),
    OptionOf {
        name: "websockets_origin",
        scope: Scope::Listener,
        meaning: Meaning::Words(|r, value| {
            let origin = r.first_word("websockets_origin", value)?.to_owned();
            let origins = &mut r.listener("websockets_origin").taken.websocket_origins;
            origins.retain(|origin| origin != "*");
            origins.push(origin);
            Ok(())
        }),
        doc: "`websocket_origins`",
    },
    ignored("packet_buffer_size", "buffers grow as they are needed, up to their limits"),
];

fn listener(reading: &mut Reading, value: &str) -> Outcome {
    let mut words =
        value.split(' ').filter(|word| !word.is_empty()).take_while(|word| !word.starts_with('#'));
    let Some(port) = words.next() else { return Err(is_empty("listener")) };
    let host = words.next();
    let number: u16 = port.parse().map_err(|_| {
        Complaint::new(format!("listener: `{}` is not a port", port.escape_debug()))
            .help("a port is a number from 1 to 65535: `listener 1883`")
    })?;
    if number == 0 {
        let Some(path) = host else {
            return Err(Complaint::new("listener: 0 is not a port").help("write `listener 1883`"));
        };
        reading.begin(number, None);
        let theirs = reading.listener("listener");
        theirs.is_unix = true;
        theirs.taken.address = Address::Unix(path.into());
        // mosquitto leaves it to the umask, which is 022 nearly everywhere.
        theirs.taken.socket_mode = 0o755;
        return Ok(());
    }
    for word in words {
        reading.note(format!("listener: `{}` behind the address is not read", word.escape_debug()));
    }
    reading.begin(number, host);
    Ok(())
}

fn accept_protocol_versions(reading: &mut Reading, value: &str) -> Outcome {
    let mut versions = Vec::new();
    for word in value.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
        match word {
            "3" => versions.push(ProtocolVersion::V31),
            "4" => versions.push(ProtocolVersion::V311),
            "5" => reading.note("accept_protocol_versions: MQTT 5.0 is not spoken yet"),
            other => {
                let message = format!("accept_protocol_versions: `{}` is not known", other.escape_debug());
                return Err(Complaint::new(message).help("write some of 3, 4 and 5"));
            }
        }
    }
    if versions.is_empty() {
        return Err(Complaint::new("accept_protocol_versions: MQTT 5.0 alone is not supported").help("add 4"));
    }
    reading.listener("accept_protocol_versions").taken.protocol_versions = versions;
    Ok(())
}

const fn ignored(name: &'static str, doc: &'static str) -> OptionOf {
    OptionOf { name, scope: Scope::Listener, meaning: Meaning::Ignored, doc }
}

const fn refused(name: &'static str, doc: &'static str, help: &'static str) -> OptionOf {
    OptionOf { name, scope: Scope::Listener, meaning: Meaning::Refused(help), doc }
}
