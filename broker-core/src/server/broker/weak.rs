//! A handle that does not keep its broker alive.

use std::sync::{Arc, Weak};

use super::{Broker, Inner};

/// A handle for what belongs to a broker itself, for example a hook: it does not keep the broker alive.
#[derive(Clone, Default)]
pub struct WeakBroker(Weak<Inner>);

impl WeakBroker {
    /// The broker, as long as another handle of it is there.
    pub fn upgrade(&self) -> Option<Broker> {
        self.0.upgrade().map(|inner| Broker { inner })
    }
}

impl Broker {
    /// A handle that does not keep this broker alive.
    pub fn downgrade(&self) -> WeakBroker {
        WeakBroker(Arc::downgrade(&self.inner))
    }
}

impl std::fmt::Debug for WeakBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeakBroker").finish_non_exhaustive()
    }
}
