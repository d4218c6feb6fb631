//! `docs/configuration.md`, written from the table of keys.

use std::fmt::Write;

use culex_core::limits::Limits;

use crate::config::keys::{
    ACL, AUTH, BRIDGE, BRIDGE_PACE, BRIDGE_QUEUE, BRIDGE_TLS, HTTP, LIMITS, LISTENER, LOG, MAPPING, STORE,
    TLS, TOP, WEBHOOK, WEBHOOK_RETRY, WEBHOOK_TLS,
};
use crate::config::own_limits::NAMES;
use crate::config::rules::{ACL_RULE, DraftRule};
use crate::config::setting::Key;
use crate::config::{
    AclSettings, AuthSettings, Bridge, BridgePace, BridgeQueue, BridgeTls, Config, HttpSettings, Listener,
    LogSettings, Mapping, StoreSettings, TlsSettings, Webhook, WebhookRetry, WebhookTls,
};

/// The reference page.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    table(&mut page, "Top of the file", "CULEX__", TOP, Config::default);
    table(&mut page, "`[[listener]]`", "CULEX__LISTENER__0__", LISTENER, Listener::default);
    page.push_str(LISTENER_NOTE);
    table(&mut page, "`[listener.tls]`", "CULEX__LISTENER__0__TLS__", TLS, TlsSettings::default);
    page.push_str(TLS_NOTE);
    page.push_str(LIMITS_NOTE);
    let names: Vec<_> = NAMES.iter().map(|name| format!("`{name}`")).collect();
    let lines: Vec<_> = names.chunks(6).map(|names| names.join(", ")).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{}.", lines.join(",\n"));
    page.push_str("\nAs an environment variable: `CULEX__LISTENER__0__LIMITS__PACKET_BYTES`.\n");
    table(&mut page, "`[[bridge]]`", "", BRIDGE, Bridge::default);
    page.push_str(BRIDGE_NOTE);
    table(&mut page, "`[bridge.tls]`", "", BRIDGE_TLS, BridgeTls::default);
    table(&mut page, "`[bridge.queue]`", "", BRIDGE_QUEUE, BridgeQueue::default);
    table(&mut page, "`[bridge.pace]`", "", BRIDGE_PACE, BridgePace::default);
    table(&mut page, "`[[bridge.out]]` and `[[bridge.in]]`", "", MAPPING, Mapping::default);
    table(&mut page, "`[[webhook]]`", "", WEBHOOK, Webhook::default);
    page.push_str(WEBHOOK_NOTE);
    table(&mut page, "`[webhook.retry]`", "", WEBHOOK_RETRY, WebhookRetry::default);
    table(&mut page, "`[webhook.tls]`", "", WEBHOOK_TLS, WebhookTls::default);
    table(&mut page, "`[auth]`", "CULEX__AUTH__", AUTH, AuthSettings::default);
    page.push_str(AUTH_NOTE);
    table(&mut page, "`[acl]`", "CULEX__ACL__", ACL, AclSettings::default);
    table(&mut page, "`[[acl.rule]]`", "", ACL_RULE, DraftRule::default);
    page.push_str(RULE_NOTE);
    table(&mut page, "`[http]`", "CULEX__HTTP__", HTTP, HttpSettings::default);
    page.push_str(HTTP_NOTE);
    table(&mut page, "`[log]`", "CULEX__LOG__", LOG, LogSettings::default);
    table(&mut page, "`[store]`", "CULEX__STORE__", STORE, StoreSettings::default);
    page.push_str(STORE_NOTE);
    table(&mut page, "`[limits]`", "CULEX__LIMITS__", LIMITS, Limits::default);
    page.push_str(TAIL);
    page
}

/// The page about mosquitto's configuration.
pub fn mosquitto_page() -> String {
    crate::config::mosquitto::page::page()
}

fn table<T>(page: &mut String, title: &str, prefix: &str, keys: &[Key<T>], default: fn() -> T) {
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## {title}\n\n");
    page.push_str("| key | type | default | range | meaning |\n| --- | --- | --- | --- | --- |\n");
    for Key { name, setting, doc } in keys {
        let (kind, range) = (setting.type_text(), setting.range_text());
        let default = setting.default_text(default());
        let default =
            if default.starts_with("none") || default == "all" { default } else { format!("`{default}`") };
        let _ = writeln!(page, "| `{name}` | {kind} | {default} | {range} | {doc} |");
    }
    // A list of tables has no environment variables.
    if let Some(first) = keys.first().filter(|_| !prefix.is_empty()) {
        let _ =
            write!(page, "\nAs an environment variable: `{prefix}{}`.\n", first.name.to_ascii_uppercase());
    }
}

const HEAD: &str = include_str!("reference_head.md");
const LISTENER_NOTE: &str = "
Without a `[[listener]]` there is one on `127.0.0.1:1883`, which only this computer can reach. `culex -p PORT` changes
the port of a single listener.
";
const LIMITS_NOTE: &str = "
## `[listener.limits]`

What the listener before it has otherwise than `[limits]`, for its connections and their sessions; a session has the limits
of the listener that its client came through last. See [limits.md](limits.md). The keys are those of `[limits]`:
";
const TLS_NOTE: &str = "
It belongs to the `[[listener]]` before it. TLS 1.2 and 1.3 are spoken, with cipher suites of ECDHE and AEAD alone. See
[tls.md](tls.md).
";
const BRIDGE_NOTE: &str = "
What follows belongs to the `[[bridge]]` before it. See [bridge.md](bridge.md).
";
const WEBHOOK_NOTE: &str = "
What follows belongs to the `[[webhook]]` before it. `[webhook.headers]` has header fields of requests, `Name = \"value\"`, and
`[webhook.queue]` the keys of `[bridge.queue]`. See [webhook.md](webhook.md).
";
const AUTH_NOTE: &str = "
Without a password file there are no users, and any user name and password is accepted, unchecked. A file that is missing,
has no user, or a line that is not one, stops the start. See [users.md](users.md).
";
const RULE_NOTE: &str = "
The same rules and decisions as in `file`, instead of it; see [access.md](access.md).
";
const HTTP_NOTE: &str = "
Without this section there is no HTTP API, except in the run without a configuration, which has it on `127.0.0.1:9883`.
`[http.tls]` has the keys of `[listener.tls]`, but for user names from certificates. See [http.md](http.md).
";
const STORE_NOTE: &str = "
Without a directory a service has `$STATE_DIRECTORY` (systemd sets it), a person `culex/port-PORT` in `$XDG_STATE_HOME` or
`~/.local/state`, by the port of the first listener (port 0: nothing is kept; Unix sockets alone: `culex/unix`), and who has no
home `/var/lib/culex`. The banner says where. `culex --data-dir DIR` names one, `culex --ephemeral` keeps nothing. One that
cannot be written ends the start with exit code 5. See [durability.md](durability.md).
";
const TAIL: &str = "
A queue over its limit is logged once per client and minute.
";
