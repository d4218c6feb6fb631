//! Clients without a user name, which come in where their listener allows it.

use culex_core::hooks::{Authenticator, Decision, Login};

/// Lets clients without a user name in through some of the listeners. An empty user name is one, and is nobody's here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anonymous {
    allowed: Box<[bool]>,
}

impl Anonymous {
    /// Says for each listener, in their order, whether they may.
    pub fn new(allowed: impl IntoIterator<Item = bool>) -> Self {
        Self { allowed: allowed.into_iter().collect() }
    }

    fn admits(&self, user_name: Option<&str>, listener: Option<usize>) -> bool {
        let is_allowed = listener.and_then(|number| self.allowed.get(number)).copied().unwrap_or(false);
        user_name.is_none() && is_allowed
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
    }
}
