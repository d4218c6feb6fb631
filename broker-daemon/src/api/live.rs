//! What of the HTTP API a reload changes, and what it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::caller::Role;
use crate::acl::Rules;
use crate::config::HttpSettings;
use crate::tls::HttpTls;

/// Settings, rules and certificate that hold now. Requests look at them when they need them.
#[derive(Debug, Default)]
pub struct Live {
    settings: ArcSwap<HttpSettings>,
    rules: ArcSwapOption<Rules>,
    tls: ArcSwapOption<HttpTls>,
    pub(crate) counts: Counts,
}

impl Live {
    /// These from now on; a section that is gone leaves settings and certificate as they were.
    pub fn replace(&self, settings: Option<&HttpSettings>, rules: Option<Arc<Rules>>, tls: Option<HttpTls>) {
        if let Some(settings) = settings {
            self.settings.store(Arc::new(settings.clone()));
        }
        self.rules.store(rules);
        if let Some(tls) = tls {
            self.tls.store(Some(Arc::new(tls)));
        }
    }

    pub(crate) fn settings(&self) -> Arc<HttpSettings> {
        self.settings.load_full()
    }

    pub(super) fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.load_full()
    }

    pub(crate) fn tls(&self) -> Option<Arc<HttpTls>> {
        self.tls.load_full()
    }

    /// What a user of the password file may do here.
    pub(super) fn role_of(&self, user: &str) -> Role {
        let settings = self.settings.load();
        let is_among = |names: &[String]| names.iter().any(|name| name == user);
        if is_among(&settings.admins) {
            Role::Admin
        } else if is_among(&settings.viewers) {
            Role::Viewer
        } else {
            Role::Client
        }
    }
}

/// What the API counts. Names and meanings are in `prometheus`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Answers by the first digit of their status, 1 to 5.
    pub(crate) answers: [AtomicU64; 5],
    pub(crate) connections: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) connections_stalled: AtomicU64,
    pub(crate) unauthorized: AtomicU64,
    pub(crate) streams: AtomicU64,
    pub(crate) stream_events: AtomicU64,
    pub(crate) stream_dropped: AtomicU64,
}

/// Counts one more while it lives.
#[derive(Debug)]
pub(crate) struct Held<F: Fn(&Counts) -> &AtomicU64>(Arc<Live>, F);

impl<F: Fn(&Counts) -> &AtomicU64> Held<F> {
    /// If there are fewer than `max`.
    pub(crate) fn take(live: &Arc<Live>, max: u64, cell: F) -> Option<Self> {
        let counted = cell(&live.counts)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1));
        counted.ok().map(|_| Self(Arc::clone(live), cell))
    }
}

impl<F: Fn(&Counts) -> &AtomicU64> Drop for Held<F> {
    fn drop(&mut self) {
        (self.1)(&self.0.counts).fetch_sub(1, Ordering::Relaxed);
    }
}
