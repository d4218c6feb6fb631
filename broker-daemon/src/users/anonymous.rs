//! Clients without a user name, which come in where their listener allows it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use culex_core::hooks::{Authenticator, Decision, Login};

/// Lets clients without a user name in through some of the listeners. An empty user name is one, and is nobody's here.
/// Clones mean the same.
#[derive(Debug, Clone, Default)]
pub struct Anonymous {
    /// The numbers of those listeners.
    listeners: Arc<ArcSwap<Vec<usize>>>,
}

impl Anonymous {
    /// Says for each listener, in their order, whether they may.
    pub fn new(allowed: impl IntoIterator<Item = bool>) -> Self {
        let this = Self::default();
        this.replace(allowed.into_iter().enumerate());
        this
    }

    /// Says it again, for each number of a listener. None has the number of another, also of one of before.
    pub fn replace(&self, allowed: impl IntoIterator<Item = (usize, bool)>) {
        let listeners = allowed.into_iter().filter_map(|(number, is_allowed)| is_allowed.then_some(number));
        self.listeners.store(Arc::new(listeners.collect()));
    }

    fn admits(&self, user_name: Option<&str>, listener: Option<usize>) -> bool {
        user_name.is_none() && listener.is_some_and(|number| self.listeners.load().contains(&number))
    }
}

impl Authenticator for Anonymous {
    async fn authenticate(&self, login: Login) -> Decision {
        if self.admits(login.user_name(), login.listener()) { Decision::Accept } else { Decision::NotMine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_is_not_empty_and_one_listener_is_not_another() {
        let anonymous = Anonymous::new([false, true]);
        for (name, listener, expected) in [
            (None, Some(1), true),
            (None, Some(0), false),
            (None, Some(2), false),
            (None, None, false),
            (Some(""), Some(1), false),
            (Some("ann"), Some(1), false),
        ] {
            assert_eq!(anonymous.admits(name, listener), expected, "{name:?} {listener:?}");
        }
        anonymous.clone().replace([(0, true), (7, false)]);
        assert!(anonymous.admits(None, Some(0)) && !anonymous.admits(None, Some(1)));
    }
}
