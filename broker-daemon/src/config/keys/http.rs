//! Keys of `[http]`; those of `[http.tls]` are those of a listener.

use crate::config::HttpSettings;
use crate::config::setting::NumberField::{U16, U32};
use crate::config::setting::{Key, Setting};
use crate::config::value::Unit::{Bytes, Count};

/// Keys of `[http]`.
pub(crate) const HTTP: &[Key<HttpSettings>] = &[
    Key {
        name: "address",
        setting: Setting::Socket { field: |http| &mut http.address },
        doc: "Where the API and its page are. Port 0 takes a free one.",
    },
    Key {
        name: "admins",
        setting: Setting::Texts { field: |http| &mut http.admins },
        doc: "Users of the `password_file` who may do everything here: see, disconnect, end sessions, reload.",
    },
    Key {
        name: "viewers",
        setting: Setting::Texts { field: |http| &mut http.viewers },
        doc: "Users of the `password_file` who may see everything, `/metrics` included, and change nothing. All others may \
              publish and receive, as the access control list lets them.",
    },
    Key {
        name: "allow_hosts",
        setting: Setting::Texts { field: |http| &mut http.allow_hosts },
        doc: "Names by which this computer is called, such as `broker.example.org`; `*` for any. `localhost` and IP addresses \
              always do; a request for another name is refused.",
    },
    Key {
        name: "allow_origins",
        setting: Setting::Texts { field: |http| &mut http.allow_origins },
        doc: "Web pages of others that may use the API, such as `https://example.org`. Programs that are no browsers always may.",
    },
    Key {
        name: "body_bytes",
        setting: Setting::Number {
            field: U32(|http| &mut http.body_bytes),
            range: 1024..=268_435_455,
            unit: Bytes,
        },
        doc: "Largest body of a request. A larger one is answered with 413.",
    },
    Key {
        name: "max_connections",
        setting: Setting::Limit { field: |http| &mut http.max_connections, unit: Count },
        doc: "Connections at a time. One more is closed at once.",
    },
    Key {
        name: "max_streams",
        setting: Setting::Number { field: U16(|http| &mut http.max_streams), range: 1..=10_000, unit: Count },
        doc: "Streams of messages at a time. One more is answered with 503.",
    },
];
