//! What differs between two configurations.

use std::fmt;

use crate::config::keys::{
    ACL, AUTH, BRIDGE, BRIDGE_PACE, BRIDGE_QUEUE, BRIDGE_TLS, HTTP, LIMITS, LISTENER, LOG, STORE, TLS, TOP,
    WEBHOOK, WEBHOOK_RETRY, WEBHOOK_TLS,
};
use crate::config::setting::Key;
use crate::config::{Bridge, Config, HttpSettings, Listener, Mapping, Webhook};

use self::Holds::{ForNewConnections, FromNextStart, Now};

/// A setting with another value than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name, with its section.
    pub key: String,
    /// What it was.
    pub old: String,
    /// What it is.
    pub new: String,
    /// For whom, and from when on.
    pub holds: Holds,
}

/// When a changed setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// From now on.
    Now,
    /// For connections that come in from now on.
    ForNewConnections,
    /// From the next start on.
    FromNextStart,
}

impl Holds {
    /// In words; nothing for [`Holds::Now`].
    pub const fn words(self) -> &'static str {
        match self {
            Self::Now => "",
            Self::ForNewConnections => "for new connections",
            Self::FromNextStart => "from the next start on",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.old, self.new)?;
        match self.holds.words() {
            "" => Ok(()),
            words => write!(f, " ({words})"),
        }
    }
}

/// What a running broker follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follows {
    /// Listeners are opened and closed.
    pub listeners: bool,
    /// Users, and where they are not asked for, are replaced.
    pub users: bool,
}

impl Config {
    /// Every setting that `new` has otherwise, in the order of the reference page.
    pub fn changes(&self, new: &Self, follows: Follows) -> Vec<Change> {
        let mut changes = Vec::new();
        section(&mut changes, "", TOP, (self, new), |_| FromNextStart);
        listeners(&mut changes, self, new, follows);
        bridges(&mut changes, &self.bridges, &new.bridges);
        webhooks(&mut changes, &self.webhooks, &new.webhooks);
        section(&mut changes, "acl.", ACL, (&self.acl, &new.acl), |_| Now);
        if self.acl.rules != new.acl.rules {
            let count = |config: &Self| format!("{} rules", config.acl.rules.len());
            let (old, new) = (count(self), count(new));
            changes.push(Change { key: "acl.rule".to_owned(), old, new, holds: Now });
        }
        section(&mut changes, "auth.", AUTH, (&self.auth, &new.auth), |_| now_if(follows.users));
        http(&mut changes, self.http.as_ref(), new.http.as_ref());
        section(&mut changes, "log.", LOG, (&self.log, &new.log), |key| now_if(key == "level"));
        section(&mut changes, "store.", STORE, (&self.store, &new.store), |_| FromNextStart);
        section(&mut changes, "limits.", LIMITS, (&self.limits, &new.limits), limit_holds);
        changes
    }
}

const fn now_if(is_followed: bool) -> Holds {
    if is_followed { Now } else { FromNextStart }
}

/// When a limit holds that the running broker was given: see [`Broker::set_limits`](culex_core::Broker::set_limits).
fn limit_holds(name: &str) -> Holds {
    match name {
        "in_flight"
        | "incoming_in_flight"
        | "session_expiry"
        | "pre_auth_bytes"
        | "connect_timeout"
        | "max_keep_alive"
        | "messages_per_second"
        | "bytes_per_second" => ForNewConnections,
        "sessions" | "queue_total_bytes" | "retained_messages" | "retained_bytes" | "outbox_bytes"
        | "outbox_burst_bytes" | "hook_timeout" | "stall_max" => FromNextStart,
        _ => Now,
    }
}

/// For each listener of `new` its place among the `old` ones: it has the same address. A port that the system chooses is
/// the next one of those.
pub(crate) fn matching<'a>(
    old: impl IntoIterator<Item = &'a Listener>,
    new: &[Listener],
) -> Vec<Option<usize>> {
    let mut old: Vec<_> = old.into_iter().map(Some).collect();
    let place = |new: &Listener| {
        let place = old.iter().position(|old| old.is_some_and(|old| old.address == new.address))?;
        // Each is one only once.
        *old.get_mut(place)? = None;
        Some(place)
    };
    new.iter().map(place).collect()
}

fn section<T: Clone>(
    changes: &mut Vec<Change>,
    prefix: &str,
    keys: &[Key<T>],
    (old, new): (&T, &T),
    holds: impl Fn(&str) -> Holds,
) {
    for Key { name, setting, .. } in keys {
        let (old, new) = (setting.value_text(old.clone()), setting.value_text(new.clone()));
        if old != new {
            let holds = holds(name);
            changes.push(Change { key: format!("{prefix}{name}"), old, new, holds });
        }
    }
}

/// Bridges are told apart by their names. A changed one begins anew, and keeps what waits.
fn bridges(changes: &mut Vec<Change>, old: &[Bridge], new: &[Bridge]) {
    let mut change = |key: String, old: String, new: String| {
        changes.push(Change { key, old, new, holds: Now });
    };
    let (none, there) = ("none", "there");
    for gone in old.iter().filter(|old| new.iter().all(|new| new.name != old.name)) {
        change(format!("bridge {}", gone.name), there.to_owned(), none.to_owned());
    }
    for new in new {
        let key = format!("bridge {}", new.name);
        let Some(old) = old.iter().find(|old| old.name == new.name) else {
            change(key, none.to_owned(), there.to_owned());
            continue;
        };
        let mut sections = Vec::new();
        section(&mut sections, "", BRIDGE, (old, new), |_| Now);
        let (tls, new_tls) = (old.tls.clone().unwrap_or_default(), new.tls.clone().unwrap_or_default());
        section(&mut sections, "tls.", BRIDGE_TLS, (&tls, &new_tls), |_| Now);
        section(&mut sections, "queue.", BRIDGE_QUEUE, (&old.queue, &new.queue), |_| Now);
        section(&mut sections, "pace.", BRIDGE_PACE, (&old.pace, &new.pace), |_| Now);
        for found in sections {
            change(format!("{key}: {}", found.key), found.old, found.new);
        }
        for (name, old, new) in [("out", &old.outgoing, &new.outgoing), ("in", &old.incoming, &new.incoming)]
        {
            if old != new {
                let count = |mappings: &[Mapping]| format!("{} filters", mappings.len());
                change(format!("{key}: {name}"), count(old), count(new));
            }
        }
        if old.password != new.password {
            change(format!("{key}: password"), "(hidden)".to_owned(), "(another one)".to_owned());
        }
    }
}

/// As with bridges.
fn webhooks(changes: &mut Vec<Change>, old: &[Webhook], new: &[Webhook]) {
    let mut change = |key: String, old: &str, new: &str| {
        changes.push(Change { key, old: old.to_owned(), new: new.to_owned(), holds: Now });
    };
    for gone in old.iter().filter(|old| new.iter().all(|new| new.name != old.name)) {
        change(format!("webhook {}", gone.name), "there", "none");
    }
    for new in new {
        let key = format!("webhook {}", new.name);
        let Some(old) = old.iter().find(|old| old.name == new.name) else {
            change(key, "none", "there");
            continue;
        };
        let mut sections = Vec::new();
        section(&mut sections, "", WEBHOOK, (old, new), |_| Now);
        section(&mut sections, "retry.", WEBHOOK_RETRY, (&old.retry, &new.retry), |_| Now);
        section(&mut sections, "queue.", BRIDGE_QUEUE, (&old.queue, &new.queue), |_| Now);
        let (tls, new_tls) = (old.tls.clone().unwrap_or_default(), new.tls.clone().unwrap_or_default());
        section(&mut sections, "tls.", WEBHOOK_TLS, (&tls, &new_tls), |_| Now);
        for found in sections {
            change(format!("{key}: {}", found.key), &found.old, &found.new);
        }
        if old.secret != new.secret {
            change(format!("{key}: secret"), "(hidden)", "(another one)");
        }
        if old.headers != new.headers {
            change(format!("{key}: headers"), "(hidden)", "(others)");
        }
    }
}

fn http(changes: &mut Vec<Change>, old: Option<&HttpSettings>, new: Option<&HttpSettings>) {
    let text = |is_there: bool| if is_there { "there" } else { "none" }.to_owned();
    let mut differ = |key: &str, old, new| {
        let (old, new) = (text(old), text(new));
        changes.push(Change { key: key.to_owned(), old, new, holds: FromNextStart });
    };
    match (old, new) {
        (Some(old), Some(new)) => {
            match (&old.tls, &new.tls) {
                (Some(old), Some(new)) => {
                    section(changes, "http.tls.", TLS, (old, new), |_| ForNewConnections)
                }
                (None, None) => {}
                (old, new) => differ("http.tls", old.is_some(), new.is_some()),
            }
            let is_fixed = |key: &str| matches!(key, "address" | "max_connections");
            section(changes, "http.", HTTP, (old, new), |key| now_if(!is_fixed(key)));
        }
        (None, None) => {}
        (old, new) => differ("http", old.is_some(), new.is_some()),
    }
}

fn listeners(changes: &mut Vec<Change>, old_config: &Config, new_config: &Config, follows: Follows) {
    let (old, new) = (&old_config.listeners, &new_config.listeners);
    let places = matching(old, new);
    let holds = now_if(follows.listeners);
    let change = |old: String, new: String| Change { key: "listener".to_owned(), old, new, holds };
    let for_new = if follows.listeners { ForNewConnections } else { FromNextStart };
    let none = || "none".to_owned();
    for (place, gone) in old.iter().enumerate() {
        if !places.contains(&Some(place)) {
            changes.push(change(gone.address.to_string(), none()));
        }
    }
    for (new, _) in new.iter().zip(&places).filter(|(_, place)| place.is_none()) {
        changes.push(change(none(), new.address.to_string()));
    }
    for (new, place) in new.iter().zip(places) {
        let Some(old) = place.and_then(|place| old.get(place)) else { continue };
        section(changes, "listener.", LISTENER, (old, new), |key| match key {
            "allow_anonymous" => now_if(follows.users),
            // They are of the socket.
            "socket_mode" | "bind_device" => FromNextStart,
            _ => for_new,
        });
        if old.limits.is_some() || new.limits.is_some() {
            let old = old.limits.as_ref().unwrap_or(&old_config.limits);
            let new = new.limits.as_ref().unwrap_or(&new_config.limits);
            section(changes, "listener.limits.", LIMITS, (old, new), |_| for_new);
        }
        match (&old.tls, &new.tls) {
            // How a listener is secured can change while it is open; whether it is, cannot.
            (Some(old), Some(new)) => {
                section(changes, "listener.tls.", TLS, (old, new), |_| ForNewConnections)
            }
            (None, None) => {}
            (old, new) => {
                let text = |is_secured: bool| if is_secured { "there" } else { "none" }.to_owned();
                changes.push(Change {
                    key: "listener.tls".to_owned(),
                    old: text(old.is_some()),
                    new: text(new.is_some()),
                    holds: FromNextStart,
                });
            }
        }
    }
}
