//! Keys of `[[listener]]` and what belongs to it.

use culex_codec::ProtocolVersion;

use crate::config::setting::NumberField::U16;
use crate::config::setting::{Key, Setting};
use crate::config::value::Unit::{Bytes, Count};
use crate::config::{KeyPermissions, Listener, Protocol, TlsSettings, TlsVersion};

/// Keys of `[[listener]]`.
pub(crate) const LISTENER: &[Key<Listener>] = &[
    Key {
        name: "address",
        setting: Setting::Address { field: |listener| &mut listener.address },
        doc: "Where to listen. `127.0.0.1` is this computer alone, `0.0.0.0` every network. Port 0 takes a free one. \
              `unix:/run/culex/mqtt.sock` is a socket of the Unix domain.",
    },
    Key {
        name: "protocol",
        setting: Setting::Choice {
            words: &["mqtt", "websockets"],
            get: |listener| usize::from(listener.protocol == Protocol::WebSockets),
            set: |listener, index| {
                listener.protocol = if index == 0 { Protocol::Mqtt } else { Protocol::WebSockets }
            },
        },
        doc: "What its clients speak: MQTT, or MQTT over WebSocket, as web pages do. With `[listener.tls]` that is within \
              TLS.",
    },
    Key {
        name: "websocket_path",
        setting: Setting::Text { field: |listener| &mut listener.websocket_path },
        doc: "The only path of WebSocket requests, such as `/mqtt`. Any without it.",
    },
    Key {
        name: "websocket_origins",
        setting: Setting::Texts { field: |listener| &mut listener.websocket_origins },
        doc: "Web pages that may connect, such as `https://example.org`; `*` for all. Without it those of the host that they \
              connect to, on any port. Clients that are no browsers always may.",
    },
    Key {
        name: "socket_mode",
        setting: Setting::Mode { field: |listener| &mut listener.socket_mode },
        doc: "Permissions of a Unix socket: who may write may connect.",
    },
    Key {
        name: "bind_device",
        setting: Setting::Text { field: |listener| &mut listener.bind_device },
        doc: "The only network interface that clients come through, such as `eth0`. Linux has that.",
    },
    Key {
        name: "proxy_protocol",
        setting: Setting::Networks { field: |listener| &mut listener.proxy_protocol },
        doc: "Proxies that say by the PROXY protocol (1 or 2) whom they speak for. Where there are some, connections from \
              elsewhere, and those without its header, are closed.",
    },
    Key {
        name: "max_connections",
        setting: Setting::Limit { field: |listener| &mut listener.max_connections, unit: Count },
        doc: "Connections at a time through this listener. One more is closed at once.",
    },
    Key {
        name: "allow_anonymous",
        setting: Setting::Switch { field: |listener| &mut listener.allow_anonymous },
        doc: "Whether clients without a user name may connect. Without a `password_file` it must be `true` where other \
              computers can connect; with one it is `false` unless said otherwise.",
    },
    Key {
        name: "protocol_versions",
        setting: Setting::Choices {
            words: &["3.1", "3.1.1"],
            get: |listener| listener.protocol_versions.iter().map(|version| *version as usize).collect(),
            set: |listener, indices| {
                let version =
                    |index: &usize| if *index == 0 { ProtocolVersion::V31 } else { ProtocolVersion::V311 };
                listener.protocol_versions = indices.iter().map(version).collect();
            },
        },
        doc: "Versions of MQTT that clients may have. Others are refused with the return code 0x01.",
    },
    Key {
        name: "mount_point",
        setting: Setting::MountPoint { field: |listener| &mut listener.mount_point },
        doc: "Stands before every topic of its clients, and is taken away from what they receive: with `house/` they see \
              what is below `house`, and nothing else. Access control lists know the full topics.",
    },
];

/// Keys of `[listener.tls]`, which belongs to the `[[listener]]` before it.
pub(crate) const TLS: &[Key<TlsSettings>] = &[
    Key {
        name: "certificate",
        setting: Setting::Paths { field: |tls| &mut tls.certificates },
        doc: "PEM file with the certificate of this server, then those that lead to its CA. With several files a client is \
              shown the first one with the name that it asks for (SNI), else the first one.",
    },
    Key {
        name: "key",
        setting: Setting::Paths { field: |tls| &mut tls.keys },
        doc: "PEM file with its private key, without passphrase; one for each `certificate`, in the same order.",
    },
    Key {
        name: "key_permissions",
        setting: Setting::Choice {
            words: &["strict", "warn"],
            get: |tls| usize::from(tls.key_permissions == KeyPermissions::Warn),
            set: |tls, index| {
                tls.key_permissions = if index == 0 { KeyPermissions::Strict } else { KeyPermissions::Warn }
            },
        },
        doc: "A key that every user of the computer can read: `\"strict\"` refuses it, `\"warn\"` takes it with a warning, \
              for secrets that are mounted so.",
    },
    Key {
        name: "min_version",
        setting: Setting::Choice {
            words: &["1.2", "1.3"],
            get: |tls| usize::from(tls.min_version == TlsVersion::V1_3),
            set: |tls, index| tls.min_version = if index == 0 { TlsVersion::V1_2 } else { TlsVersion::V1_3 },
        },
        doc: "The oldest version of TLS that is spoken.",
    },
    Key {
        name: "alpn",
        setting: Setting::Texts { field: |tls| &mut tls.alpn },
        doc: "Application protocols. A client that names none is served; one that names only others is refused. With \
              `protocol = \"websockets\"` also `http/1.1`, for browsers.",
    },
    Key {
        name: "max_fragment_size",
        setting: Setting::Number {
            field: U16(|tls| &mut tls.max_fragment_size),
            range: 512..=16_384,
            unit: Bytes,
        },
        doc: "The most content of a TLS record that is sent. Small for devices with small buffers: 512 for BearSSL on an \
              ESP8266 with `setBufferSizes(512, 512)`.",
    },
    Key {
        name: "client_ca",
        setting: Setting::Path { field: |tls| &mut tls.client_ca },
        doc: "PEM file, or folder of such, with the CAs that sign the certificates of clients. Without it nobody is asked \
              for one.",
    },
    Key {
        name: "require_certificate",
        setting: Setting::Switch { field: |tls| &mut tls.require_certificate },
        doc: "Whether a client without a certificate stays out. `true` where there is a `client_ca`.",
    },
    Key {
        name: "crl",
        setting: Setting::Paths { field: |tls| &mut tls.crl },
        doc: "PEM files with the revoked certificates of clients. There must be a list of each CA that signs clients.",
    },
    Key {
        name: "use_identity_as_username",
        setting: Setting::Switch { field: |tls| &mut tls.use_identity_as_username },
        doc: "Whether the common name (CN) of its certificate is a client's user name. User name and password of its CONNECT \
              are ignored then.",
    },
    Key {
        name: "use_subject_as_username",
        setting: Setting::Switch { field: |tls| &mut tls.use_subject_as_username },
        doc: "The same with the whole subject: `CN=sensor-7,O=Example`.",
    },
];
