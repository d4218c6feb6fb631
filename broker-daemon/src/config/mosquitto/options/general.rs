//! Options of the broker as a whole, and those of users and rights.

use std::time::Duration;

use culex_core::limits::Limit;

use crate::config::problem::Complaint;
use crate::config::{LogLevel, StoreMode};

use super::super::reading::{Outcome, Reading};
use super::{ANY, FALSE, Meaning, OptionOf, Scope, TRUE};

/// Who may come in, and what he may.
pub(super) const SECURITY: &[OptionOf] = &[
    OptionOf {
        name: "per_listener_settings",
        scope: Scope::All,
        meaning: Meaning::Switch(per_listener_settings),
        doc: "the next three options are of the listener before them. Several listeners may name one `password_file` and one \
              `acl_file`",
    },
    OptionOf {
        name: "allow_anonymous",
        scope: Scope::Security,
        meaning: Meaning::Switch(|r, is_allowed| {
            r.security().allow_anonymous = Some(is_allowed);
            Ok(())
        }),
        doc: "`allow_anonymous` of each `[[listener]]`; `false` if it is not said, as in mosquitto, where there is a `listener`, \
              `port` or `bind_address`",
    },
    OptionOf {
        name: "password_file",
        scope: Scope::Security,
        meaning: Meaning::Text(|r, path| {
            let here = r.here.clone();
            r.security().password_file = Some((path.into(), here));
            Ok(())
        }),
        doc: "`[auth] password_file`; see [users.md](users.md)",
    },
    OptionOf {
        name: "acl_file",
        scope: Scope::Security,
        meaning: Meaning::Text(|r, path| {
            let here = r.here.clone();
            r.security().acl_file = Some((path.into(), here));
            Ok(())
        }),
        doc: "`[acl] file`; see [access.md](access.md), also for what is decided otherwise",
    },
    OptionOf {
        name: "listener_allow_anonymous",
        scope: Scope::Listener,
        meaning: Meaning::Switch(|r, is_allowed| {
            r.listener("listener_allow_anonymous").security.allow_anonymous = Some(is_allowed);
            Ok(())
        }),
        doc: "`allow_anonymous` of this `[[listener]]` (mosquitto 2.1)",
    },
    OptionOf {
        name: "allow_zero_length_clientid",
        scope: Scope::Security,
        meaning: Meaning::Only(TRUE, "remove it"),
        doc: "a client without a ClientId gets one",
    },
    ignored("auto_id_prefix", "a ClientId that the broker makes has a form of its own"),
    ignored("listener_auto_id_prefix", "a ClientId that the broker makes has a form of its own"),
    refused(
        "clientid_prefixes",
        "ClientIds are not looked at",
        "remove it, and give clients passwords or certificates",
    ),
    OptionOf {
        name: "check_retain_source",
        scope: Scope::All,
        meaning: Meaning::Switch(|r, is_checked| {
            r.draft.config.acl.check_retain_source = Some(is_checked);
            Ok(())
        }),
        doc: "`[acl] check_retain_source`",
    },
    plugin("auth_plugin"),
    plugin("plugin"),
    plugin("global_plugin"),
    plugin("plugin_load"),
    plugin("plugin_use"),
    plugin("auth_opt_*"),
    plugin("plugin_opt_*"),
    ignored(
        "auth_plugin_deny_special_chars",
        "there are no plugins; patterns are never for a name with `+`, `#` or `/`",
    ),
];

/// Everything else.
pub(super) const OPTIONS: &[OptionOf] = &[
    OptionOf {
        name: "include_dir",
        scope: Scope::All,
        meaning: Meaning::Ignored,
        doc: "the files of the folder whose names end with `.conf` are read in its place, in mosquitto's order",
    },
    OptionOf {
        name: "persistence",
        scope: Scope::All,
        meaning: Meaning::Switch(persistence),
        doc: "`[store] durability`: `\"power\"` if true, else `\"none\"`. mosquitto.db is not read",
    },
    OptionOf {
        name: "retained_persistence",
        scope: Scope::All,
        meaning: Meaning::Switch(persistence),
        doc: "the old name of `persistence`",
    },
    OptionOf {
        name: "persistence_location",
        scope: Scope::All,
        meaning: Meaning::Text(|r, path| {
            r.draft.config.store.directory = Some(path.into());
            Ok(())
        }),
        doc: "`[store] directory`. Without it the place is Culex's own, not the present folder",
    },
    ignored("persistence_file", "the store has names of its own for its files"),
    ignored("autosave_interval", "what was acknowledged is on the disk already"),
    ignored("autosave_on_changes", "what was acknowledged is on the disk already"),
    OptionOf {
        name: "persistent_client_expiration",
        scope: Scope::All,
        meaning: Meaning::Words(persistent_client_expiration),
        doc: "`[limits] session_expiry`, in seconds",
    },
    OptionOf {
        name: "max_inflight_messages",
        scope: Scope::All,
        meaning: Meaning::Number(*ANY.start()..=65_535, |r, most| {
            // 0 is no limit, and there are no more Packet Identifiers than that.
            r.draft.config.limits.in_flight =
                u16::try_from(most).ok().filter(|most| *most > 0).unwrap_or(u16::MAX);
            Ok(())
        }),
        doc: "`[limits] in_flight`; 0 is 65,535, which is what the protocol has numbers for",
    },
    ignored("max_inflight_bytes", "what is on its way to a client has `[limits] outbox_bytes`"),
    OptionOf {
        name: "max_queued_messages",
        scope: Scope::All,
        meaning: Meaning::Number(ANY, |r, most| {
            r.max_queued_messages = Some(most);
            Ok(())
        }),
        doc: "`[limits] queue_messages`, which counts those in flight too: the sum of both; 0 is unlimited",
    },
    OptionOf {
        name: "max_queued_bytes",
        scope: Scope::All,
        meaning: Meaning::Number(ANY, |r, most| {
            r.draft.config.limits.queue_bytes = limit(most);
            Ok(())
        }),
        doc: "`[limits] queue_bytes`; 0 is unlimited",
    },
    OptionOf {
        name: "max_packet_size",
        scope: Scope::All,
        meaning: Meaning::Number(20..=268_435_455, |r, most| {
            r.draft.config.limits.packet_bytes =
                u32::try_from(most).unwrap_or(r.draft.config.limits.packet_bytes);
            Ok(())
        }),
        doc: "`[limits] packet_bytes`",
    },
    OptionOf {
        name: "message_size_limit",
        scope: Scope::All,
        meaning: Meaning::Only(
            &["0"],
            "write `max_packet_size BYTES`; a client that sends a larger packet is disconnected",
        ),
        doc: "no message is acknowledged and then dropped for its size",
    },
    OptionOf {
        name: "global_max_connections",
        scope: Scope::All,
        meaning: Meaning::Number(ANY, |r, most| {
            r.draft.config.limits.connections = limit(most);
            Ok(())
        }),
        doc: "`[limits] connections` (mosquitto 2.1); -1 is unlimited",
    },
    OptionOf {
        name: "global_max_clients",
        scope: Scope::All,
        meaning: Meaning::Number(ANY, |r, most| {
            r.draft.config.limits.sessions = limit(most);
            Ok(())
        }),
        doc: "`[limits] sessions` (mosquitto 2.1); -1 is unlimited",
    },
    OptionOf {
        name: "max_keepalive",
        scope: Scope::All,
        meaning: Meaning::Number(0..=65_535, |r, most| {
            // The longest that there is, which is mosquitto's default, allows none at all (0) too.
            r.draft.config.limits.max_keep_alive =
                if most == 65_535 { Limit::Unlimited } else { limit(most) };
            Ok(())
        }),
        doc: "`[limits] max_keep_alive`; 0 and 65535 are unlimited",
    },
    OptionOf {
        name: "memory_limit",
        scope: Scope::All,
        meaning: Meaning::Only(
            &["0"],
            "remove it; what grows has limits of its own, see docs/configuration.md, and a service manager can bound the whole",
        ),
        doc: "memory has no bound as a whole",
    },
    OptionOf {
        name: "retain_available",
        scope: Scope::All,
        meaning: Meaning::Only(TRUE, "remove it, and deny the topics by an access control list"),
        doc: "messages can be retained",
    },
    refused("retain_expiry_interval", "what is retained stays until it is cleared", "remove it"),
    OptionOf {
        name: "queue_qos0_messages",
        scope: Scope::All,
        meaning: Meaning::Switch(|r, is_on| {
            r.queue_qos_0 = is_on.then(|| r.here.clone());
            Ok(())
        }),
        doc: "`qos0` of every `[bridge.queue]`. QoS 0 does not wait for a client that is away, so `true` without a bridge stops \
              the start",
    },
    OptionOf {
        name: "upgrade_outgoing_qos",
        scope: Scope::All,
        meaning: Meaning::Only(FALSE, "remove it, and publish with the QoS that is wanted"),
        doc: "a message is delivered with the lower QoS of PUBLISH and SUBSCRIBE",
    },
    ignored("allow_duplicate_messages", "a message comes once for all filters of a session that match it"),
    ignored("set_tcp_nodelay", "it is always set"),
    OptionOf {
        name: "sys_interval",
        scope: Scope::All,
        meaning: Meaning::Number(0..=65_535, |r, seconds| {
            r.draft.config.sys_interval = Duration::from_secs(seconds.unsigned_abs());
            Ok(())
        }),
        doc: "`sys_interval`, in seconds; 0 is never. See [sys.md](sys.md)",
    },
    OptionOf {
        name: "enable_control_api",
        scope: Scope::All,
        meaning: Meaning::Only(FALSE, "remove it; `culex ctl` asks a running broker"),
        doc: "there is no `$CONTROL`",
    },
    OptionOf {
        name: "log_type",
        scope: Scope::All,
        meaning: Meaning::Words(log_type),
        doc: "`[log] level`: the most of `error`, `warning`, `notice` and `information`, `debug` and `all`",
    },
    OptionOf {
        name: "log_dest",
        scope: Scope::All,
        meaning: Meaning::Words(log_dest),
        doc: "log lines go to standard error, where a service manager takes them; another destination is ignored",
    },
    ignored("log_facility", "log lines go to standard error, where a service manager takes them"),
    ignored("log_timestamp", "every log line has its time"),
    ignored("log_timestamp_format", "the time of a log line has one form"),
    ignored("connection_messages", "`[log] level` decides what is logged"),
    OptionOf {
        name: "pid_file",
        scope: Scope::All,
        meaning: Meaning::Text(|r, path| {
            r.draft.config.pid_file = Some(path.into());
            Ok(())
        }),
        doc: "`pid_file`",
    },
    OptionOf {
        name: "user",
        scope: Scope::All,
        meaning: Meaning::Text(|r, name| {
            r.draft.config.user = Some(name.to_owned());
            Ok(())
        }),
        doc: "`user`. Without it a start as root stays root, where mosquitto becomes the user `mosquitto`",
    },
    ignored(
        "retry_interval",
        "a message is sent again when its client connects again, as the protocol has it",
    ),
    ignored("store_clean_interval", "what is over is removed at once"),
];

fn per_listener_settings(reading: &mut Reading, is_on: bool) -> Outcome {
    // Once it is true it stays so, as in mosquitto.
    if is_on && !reading.per_listener && reading.shared.first.is_some() {
        return Err(Complaint::new("`per_listener_settings` comes before all options of users and rights")
            .help("move it to the top of the file"));
    }
    reading.per_listener |= is_on;
    Ok(())
}

fn persistence(reading: &mut Reading, is_on: bool) -> Outcome {
    reading.persistence = is_on.then(|| reading.here.clone());
    reading.draft.config.store.durability = if is_on { StoreMode::Power } else { StoreMode::None };
    Ok(())
}

fn persistent_client_expiration(reading: &mut Reading, value: &str) -> Outcome {
    const DAY: u64 = 24 * 3600;
    let word = reading.first_word("persistent_client_expiration", value)?;
    let units = [('h', 3600), ('d', DAY), ('w', 7 * DAY), ('m', 30 * DAY), ('y', 365 * DAY)];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        let count: u64 = word.strip_suffix(*unit)?.parse().ok()?;
        count.checked_mul(*seconds)
    });
    match seconds.and_then(Limit::at_most) {
        Some(limit) => {
            reading.draft.config.limits.session_expiry = limit;
            Ok(())
        }
        None => {
            let message = format!("persistent_client_expiration: `{}` is no time", word.escape_debug());
            Err(Complaint::new(message).help("write a number and h, d, w, m (30 days) or y: `14d`"))
        }
    }
}

fn log_type(reading: &mut Reading, value: &str) -> Outcome {
    let level = match reading.first_word("log_type", value)? {
        // From here on, as in mosquitto.
        "none" => {
            reading.log_level = Some(LogLevel::Error);
            return Ok(());
        }
        "error" | "subscribe" | "unsubscribe" | "websockets" | "internal" => LogLevel::Error,
        "warning" => LogLevel::Warn,
        "notice" | "information" => LogLevel::Info,
        "debug" | "all" => LogLevel::Debug,
        other => {
            let message = format!("log_type: `{}` is not known", other.escape_debug());
            return Err(Complaint::new(message)
                .help("there are `error`, `warning`, `notice`, `information`, `debug`, `all` and `none`"));
        }
    };
    reading.log_level = reading.log_level.max(Some(level));
    Ok(())
}

fn log_dest(reading: &mut Reading, value: &str) -> Outcome {
    match value.split(' ').next().unwrap_or_default() {
        "stderr" => {}
        "stdout" | "syslog" | "topic" | "file" | "dlt" | "none" | "android" => {
            reading.note(format!(
                "`log_dest {}` is ignored: log lines go to standard error",
                value.escape_debug()
            ));
        }
        other => {
            let message = format!("log_dest: `{}` is not known", other.escape_debug());
            return Err(Complaint::new(message).help("write `log_dest stderr`, or nothing"));
        }
    }
    Ok(())
}

/// Without a limit for 0 and less, as mosquitto has it.
fn limit(most: i64) -> Limit {
    u64::try_from(most).ok().and_then(Limit::at_most).unwrap_or(Limit::Unlimited)
}

const fn plugin(name: &'static str) -> OptionOf {
    OptionOf {
        name,
        scope: Scope::Security,
        meaning: Meaning::Refused(
            "remove it; users are in `password_file`, rights in `acl_file`, and a program that embeds Culex decides by itself",
        ),
        doc: "Culex loads no plugins",
    }
}

const fn ignored(name: &'static str, doc: &'static str) -> OptionOf {
    OptionOf { name, scope: Scope::All, meaning: Meaning::Ignored, doc }
}

const fn refused(name: &'static str, doc: &'static str, help: &'static str) -> OptionOf {
    OptionOf { name, scope: Scope::All, meaning: Meaning::Refused(help), doc }
}
