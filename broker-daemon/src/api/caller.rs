//! Who asks, and what he may.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use culex_core::access::{AccessControl, Identity, Rights};
use culex_core::codec::{TopicFilter, TopicName};
use culex_core::engine::is_of_host;
use culex_core::hooks::Decision;

use super::publisher::client_id;
use super::{ApiProblem, Live};
use crate::acl::Rules;
use crate::http::Token;
use crate::users::Users;

/// Longer ones are nobody's. Basic's user name and password have 64 KiB each in CONNECT.
const CREDENTIALS_BYTES_MAX: usize = 8 << 10;

/// What somebody may do, each role what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Publish and receive, as the access control list says.
    Client,
    /// See what is there.
    Viewer,
    /// End and reload it.
    Admin,
    /// Whom the broker belongs to: no access control list either.
    Owner,
}

impl Role {
    /// Its name in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Viewer => "viewer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

/// The way in that a request came by.
#[derive(Debug)]
pub enum Door {
    /// Through the control socket, which the system lets nobody else open.
    Owner,
    /// Through the network.
    Http {
        /// Who has a password; `None` if there are no users.
        users: Option<Users>,
        /// What the link of the page has, and a file of the owner.
        token: Option<Token>,
    },
}

/// Where a connection comes from, in the extensions of its requests.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub IpAddr);

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    role: Role,
    identity: Identity,
    rules: Option<Arc<Rules>>,
    rights: Option<Arc<dyn Rights>>,
}

impl Door {
    /// Who sent a request with these headers.
    ///
    /// # Errors
    /// 401 if it does not say, or the password is wrong; 503 if it cannot be checked now.
    pub(super) async fn identify(
        &self,
        live: &Live,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Caller, ApiProblem> {
        let (users, token) = match self {
            Self::Owner => return Ok(Caller::new(Role::Owner, None, live)),
            Self::Http { users, token } => (users.as_ref(), token.as_ref()),
        };
        let refused = |what: &str| ApiProblem::new(StatusCode::UNAUTHORIZED, what);
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Err(refused(nobody(users.is_some()))) };
        let unreadable =
            || refused("the header Authorization cannot be read; it is `Basic …` or `Bearer …`, once");
        if values.next().is_some() || value.len() > CREDENTIALS_BYTES_MAX {
            return Err(unreadable());
        }
        let (scheme, rest) =
            value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(unreadable)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return match token {
                Some(token) if token.is(rest.trim()) => Ok(Caller::new(Role::Viewer, None, live)),
                _ => Err(refused(
                    "this is not the token of this broker; its file http.token in the state directory has it",
                )),
            };
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(unreadable());
        }
        let decoded = STANDARD.decode(rest.trim()).map_err(|_| unreadable())?;
        // [RFC 7617 section 2]: the first colon ends the user name.
        let colon = decoded.iter().position(|byte| *byte == b':').ok_or_else(unreadable)?;
        let (name, password) = decoded.split_at_checked(colon).ok_or_else(unreadable)?;
        let name = std::str::from_utf8(name).map_err(|_| unreadable())?;
        let password = password.get(1..).unwrap_or_default();
        let Some(users) = users else { return Err(refused(nobody(false))) };
        match users.check(peer, name, password).await {
            Decision::Accept => Ok(Caller::new(live.role_of(name), Some(name), live)),
            Decision::Unavailable => {
                Err(ApiProblem::busy("too many logins wait, or too many have failed; try again later"))
            }
            Decision::BadCredentials | Decision::NotAuthorized | Decision::NotMine => {
                Err(refused("user name or password is wrong"))
            }
        }
    }
}

const fn nobody(has_users: bool) -> &'static str {
    if has_users {
        "log in with user name and password, as MQTT clients do (Basic), or with the token (Bearer)"
    } else {
        "this needs the token: the link in the banner of the broker has it, and the file http.token in its state directory"
    }
}

impl Caller {
    fn new(role: Role, user_name: Option<&str>, live: &Live) -> Self {
        // What is published has this author, so rules with `%c` say the same of it later.
        let identity =
            Identity { client_id: client_id(user_name).into(), user_name: user_name.map(Into::into) };
        let mut caller = Self { role, identity, rules: None, rights: None };
        caller.refresh(live);
        caller
    }

    /// Takes the rules that hold now.
    pub(super) fn refresh(&mut self, live: &Live) {
        let rules = live.rules().filter(|_| self.role != Role::Owner);
        let is_same = match (&self.rules, &rules) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_same {
            self.rights = rules.as_ref().map(|rules| rules.rights(&self.identity));
            self.rules = rules;
        }
    }

    pub(super) const fn role(&self) -> Role {
        self.role
    }

    pub(super) fn user_name(&self) -> Option<&str> {
        self.identity.user_name.as_deref()
    }

    pub(super) fn may_publish(&self, topic: TopicName<'_>) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.may_publish(topic))
    }

    pub(super) fn may_receive(&self, topic: &str) -> bool {
        // What the host keeps there, dead letters among it, is for operators.
        if self.role < Role::Admin && is_of_host(topic) {
            return false;
        }
        let Some(rights) = &self.rights else { return true };
        TopicName::new(topic).is_ok_and(|topic| rights.may_receive(topic))
    }

    pub(super) fn may_subscribe(&self, filter: TopicFilter<'_>) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.may_subscribe(filter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_keeps_is_for_operators() {
        let live = Live::default();
        for (role, may) in
            [(Role::Client, false), (Role::Viewer, false), (Role::Admin, true), (Role::Owner, true)]
        {
            let caller = Caller::new(role, None, &live);
            for topic in ["$CULEX", "$CULEX/dead-letters/webhook/x/0123456789abcdef01234567"] {
                assert_eq!(caller.may_receive(topic), may, "{role:?} {topic}");
            }
            assert!(caller.may_receive("$CULEXA") && caller.may_receive("a/$CULEX"));
        }
    }
}
