//! What differs between two configurations.

use std::fmt;

use crate::config::keys::{ACL, AUTH, LIMITS, LISTENER, LOG, STORE, TLS, TOP};
use crate::config::setting::Key;
use crate::config::{Config, Listener};

/// A setting with another value than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name, with its section.
    pub key: String,
    /// What it was.
    pub old: String,
    /// What it is.
    pub new: String,
    /// Whether the running broker follows; otherwise its next start does.
    pub is_in_force: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.old, self.new)?;
        if self.is_in_force { Ok(()) } else { f.write_str(" (from the next start on)") }
    }
}

impl Config {
    /// Every setting that `new` has otherwise, in the order of the reference page.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        section(&mut changes, "", TOP, self, new, false);
        listeners(&mut changes, self, new);
        section(&mut changes, "acl.", ACL, &self.acl, &new.acl, true);
        if self.acl.rules != new.acl.rules {
            let count = |config: &Self| format!("{} rules", config.acl.rules.len());
            let (old, new) = (count(self), count(new));
            changes.push(Change { key: "acl.rule".to_owned(), old, new, is_in_force: true });
        }
        // Whether anybody is asked at all is settled at the start.
        let keeps_users = self.auth.password_file.is_some() && new.auth.password_file.is_some();
        section(&mut changes, "auth.", AUTH, &self.auth, &new.auth, keeps_users);
        section(&mut changes, "log.", LOG, &self.log, &new.log, false);
        section(&mut changes, "store.", STORE, &self.store, &new.store, false);
        section(&mut changes, "limits.", LIMITS, &self.limits, &new.limits, false);
        changes
    }
}

fn section<T: Clone>(
    changes: &mut Vec<Change>,
    prefix: &str,
    keys: &[Key<T>],
    old: &T,
    new: &T,
    is_in_force: bool,
) {
    for Key { name, setting, .. } in keys {
        let (old, new) = (setting.value_text(old.clone()), setting.value_text(new.clone()));
        if old != new {
            changes.push(Change { key: format!("{prefix}{name}"), old, new, is_in_force });
        }
    }
}

fn listeners(changes: &mut Vec<Change>, old_config: &Config, new_config: &Config) {
    let (old, new) = (&old_config.listeners, &new_config.listeners);
    // How a listener is secured can change while it runs; whether it is, cannot.
    let plain = |listener: &Listener| (listener.address.clone(), listener.tls.is_some());
    if !old.iter().map(plain).eq(new.iter().map(plain)) {
        let text = |listeners: &[Listener]| {
            listeners.iter().map(|listener| listener.address.to_string()).collect::<Vec<_>>().join(", ")
        };
        changes.push(Change {
            key: "listener".to_owned(),
            old: text(old),
            new: text(new),
            is_in_force: false,
        });
    }
    for old in old {
        let Some(new) = new.iter().find(|new| new.address == old.address) else { continue };
        section(changes, "listener.", LISTENER, old, new, false);
        if old.limits.is_some() || new.limits.is_some() {
            let old = old.limits.as_ref().unwrap_or(&old_config.limits);
            let new = new.limits.as_ref().unwrap_or(&new_config.limits);
            section(changes, "listener.limits.", LIMITS, old, new, false);
        }
        if let (Some(old), Some(new)) = (&old.tls, &new.tls) {
            section(changes, "listener.tls.", TLS, old, new, true);
        }
    }
}
