//! A configuration as TOML: what differs from the defaults.

use std::fmt::Write;
use std::path::PathBuf;

use culex_core::Address;
use culex_core::client::Secret;
use culex_core::limits::Limits;

use crate::config::keys::{
    ACL, AUTH, BRIDGE, BRIDGE_PACE, BRIDGE_QUEUE, BRIDGE_TLS, HTTP, LIMITS, LISTENER, LOG, MAPPING, STORE,
    TLS, TOP, WEBHOOK, WEBHOOK_RETRY, WEBHOOK_TLS,
};
use crate::config::rules::{ACL_RULE, DraftRule};
use crate::config::setting::Key;
use crate::config::value::write_text;
use crate::config::{
    AclSettings, AuthSettings, Bridge, BridgePace, BridgeQueue, BridgeTls, Config, HttpSettings, Listener,
    LogSettings, Mapping, StoreSettings, TlsSettings, Webhook, WebhookRetry, WebhookTls,
};

impl Config {
    /// This configuration with every password hidden, for all who may see it but its owner.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        for password in self.bridges.iter_mut().filter_map(|bridge| bridge.password.as_mut()) {
            *password = Secret::new("(hidden)");
        }
        for webhook in &mut self.webhooks {
            let values = webhook.headers.iter_mut().map(|(_, value)| value);
            for secret in webhook.secret.iter_mut().chain(values) {
                *secret = Secret::new("(hidden)");
            }
        }
        self
    }

    /// This configuration as a `culex.toml` that is read as the same again, passwords included. What has its default is
    /// left out.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        section(&mut text, "", TOP, self, &Self::default());
        // An address is required, be it the default or not.
        let default = Listener { address: Address::Unix(PathBuf::new()), ..Listener::default() };
        for listener in &self.listeners {
            let _ = write!(text, "\n[[listener]]\n");
            keys(&mut text, LISTENER, listener, &default);
            if let Some(limits) = &listener.limits {
                section(&mut text, "[listener.limits]", LIMITS, limits, &self.limits);
            }
            if let Some(tls) = &listener.tls {
                let _ = write!(text, "\n[listener.tls]\n");
                keys(&mut text, TLS, tls, &TlsSettings::default());
            }
        }
        for bridge in &self.bridges {
            write_bridge(&mut text, bridge);
        }
        for webhook in &self.webhooks {
            write_webhook(&mut text, webhook);
        }
        section(&mut text, "[auth]", AUTH, &self.auth, &AuthSettings::default());
        section(&mut text, "[acl]", ACL, &self.acl, &AclSettings::default());
        for rule in &self.acl.rules {
            section(&mut text, "[[acl.rule]]", ACL_RULE, &DraftRule::of(rule), &DraftRule::default());
        }
        if let Some(http) = &self.http {
            let _ = write!(text, "\n[http]\n");
            keys(&mut text, HTTP, http, &HttpSettings::default());
            if let Some(tls) = &http.tls {
                let _ = write!(text, "\n[http.tls]\n");
                keys(&mut text, TLS, tls, &TlsSettings::default());
            }
        }
        section(&mut text, "[log]", LOG, &self.log, &LogSettings::default());
        section(&mut text, "[store]", STORE, &self.store, &StoreSettings::default());
        section(&mut text, "[limits]", LIMITS, &self.limits, &Limits::default());
        text.trim_start_matches('\n').to_owned()
    }
}

fn write_bridge(text: &mut String, bridge: &Bridge) {
    let _ = write!(text, "\n[[bridge]]\n");
    keys(text, BRIDGE, bridge, &Bridge::default());
    if let Some(tls) = &bridge.tls {
        let _ = write!(text, "\n[bridge.tls]\n");
        keys(text, BRIDGE_TLS, tls, &BridgeTls::default());
    }
    section(text, "[bridge.queue]", BRIDGE_QUEUE, &bridge.queue, &BridgeQueue::default());
    section(text, "[bridge.pace]", BRIDGE_PACE, &bridge.pace, &BridgePace::default());
    for (title, mappings) in [("[[bridge.out]]", &bridge.outgoing), ("[[bridge.in]]", &bridge.incoming)] {
        for mapping in mappings {
            section(text, title, MAPPING, mapping, &Mapping::default());
        }
    }
}

fn write_webhook(text: &mut String, webhook: &Webhook) {
    let _ = write!(text, "\n[[webhook]]\n");
    keys(text, WEBHOOK, webhook, &Webhook::default());
    if !webhook.headers.is_empty() {
        let _ = write!(text, "\n[webhook.headers]\n");
        for (name, value) in &webhook.headers {
            let value = write_text(&String::from_utf8_lossy(value.reveal())).replace("${", "$${");
            let _ = writeln!(text, "{} = {value}", write_text(name));
        }
    }
    section(text, "[webhook.retry]", WEBHOOK_RETRY, &webhook.retry, &WebhookRetry::default());
    section(text, "[webhook.queue]", BRIDGE_QUEUE, &webhook.queue, &BridgeQueue::default());
    if let Some(tls) = &webhook.tls {
        let _ = write!(text, "\n[webhook.tls]\n");
        keys(text, WEBHOOK_TLS, tls, &WebhookTls::default());
    }
}

fn section<T: Clone>(text: &mut String, title: &str, table: &[Key<T>], section: &T, default: &T) {
    let mut lines = String::new();
    keys(&mut lines, table, section, default);
    if !lines.is_empty() {
        let title = if title.is_empty() { String::new() } else { format!("\n{title}\n") };
        let _ = write!(text, "{title}{lines}");
    }
}

fn keys<T: Clone>(text: &mut String, table: &[Key<T>], section: &T, default: &T) {
    for Key { name, setting, .. } in table {
        let value = setting.written(section.clone());
        if let Some(value) = value.filter(|value| Some(value) != setting.written(default.clone()).as_ref()) {
            // In a file `${` begins a reference.
            let _ = writeln!(text, "{name} = {}", value.replace("${", "$${"));
        }
    }
}
