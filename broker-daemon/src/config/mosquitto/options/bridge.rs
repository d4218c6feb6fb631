//! Options of bridges, which Culex has none of yet.

use super::{Meaning, OptionOf, Scope};

/// What begins a bridge, and what belongs to one.
pub(super) const OPTIONS: &[OptionOf] = &[
    OptionOf {
        name: "connection",
        scope: Scope::Bridge,
        meaning: Meaning::Refused("remove the lines of this bridge"),
        doc: "there are no bridges yet; what belongs to this one is not looked at",
    },
    of_bridge("address"),
    of_bridge("addresses"),
    of_bridge("bridge_*"),
    of_bridge("cleansession"),
    of_bridge("clientid"),
    of_bridge("idle_timeout"),
    of_bridge("keepalive_interval"),
    of_bridge("local_cleansession"),
    of_bridge("local_clientid"),
    of_bridge("local_password"),
    of_bridge("local_username"),
    of_bridge("notification_topic"),
    of_bridge("notifications"),
    of_bridge("notifications_local_only"),
    of_bridge("password"),
    of_bridge("remote_clientid"),
    of_bridge("remote_password"),
    of_bridge("remote_username"),
    of_bridge("restart_timeout"),
    of_bridge("round_robin"),
    of_bridge("start_type"),
    of_bridge("threshold"),
    of_bridge("topic"),
    of_bridge("try_private"),
    of_bridge("username"),
];

const fn of_bridge(name: &'static str) -> OptionOf {
    OptionOf {
        name,
        scope: Scope::Bridge,
        meaning: Meaning::Refused("remove the lines of this bridge"),
        doc: "part of a `connection`",
    }
}
