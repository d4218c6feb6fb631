//! A configuration for people: every setting of every section with its value, secrets as they are shown.

use crate::config::Config;
use crate::config::keys::{ACL, AUTH, HTTP, LIMITS, LISTENER, LOG, STORE, TLS, TOP};
use crate::config::rules::{ACL_RULE, DraftRule};
use crate::config::setting::Key;

/// A section as its head is written, with its settings in the order of the reference page.
pub(crate) type Section = (&'static str, Vec<(&'static str, String)>);

impl Config {
    /// Every section that is there. Where a section may stand several times, it is there as often.
    pub(crate) fn sections(&self) -> Vec<Section> {
        let mut sections = vec![section("", TOP, self)];
        for listener in &self.listeners {
            sections.push(section("[[listener]]", LISTENER, listener));
            sections.extend(listener.limits.as_ref().map(|own| section("[listener.limits]", LIMITS, own)));
            sections.extend(listener.tls.as_ref().map(|tls| section("[listener.tls]", TLS, tls)));
        }
        sections.push(section("[auth]", AUTH, &self.auth));
        sections.push(section("[acl]", ACL, &self.acl));
        sections.extend(
            self.acl.rules.iter().map(|rule| section("[[acl.rule]]", ACL_RULE, &DraftRule::of(rule))),
        );
        if let Some(http) = &self.http {
            sections.push(section("[http]", HTTP, http));
            sections.extend(http.tls.as_ref().map(|tls| section("[http.tls]", TLS, tls)));
        }
        sections.push(section("[log]", LOG, &self.log));
        sections.push(section("[store]", STORE, &self.store));
        sections.push(section("[limits]", LIMITS, &self.limits));
        sections
    }
}

fn section<T: Clone>(head: &'static str, keys: &[Key<T>], section: &T) -> Section {
    (head, keys.iter().map(|key| (key.name, key.setting.value_text(section.clone()))).collect())
}
