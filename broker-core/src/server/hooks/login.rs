//! Who wants to come in, and whether he may.

use std::fmt;
use std::net::SocketAddr;

use culex_codec::ProtocolVersion;

use crate::engine::Admission;
use crate::engine::question::Identity;

/// A CONNECT that waits to be let in. What a client did not send is `None`, which is not the same as empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    identity: Identity,
    password: Option<Box<[u8]>>,
    peer: Box<str>,
    listener: Option<usize>,
    version: ProtocolVersion,
}

impl Login {
    pub(super) fn new(admission: &Admission, password: Option<&[u8]>, listener: Option<usize>) -> Self {
        Self {
            identity: admission.identity(),
            password: password.map(Into::into),
            peer: admission.peer.clone(),
            listener,
            version: admission.version,
        }
    }

    /// The ClientId: the client's own, or the one that the broker made for it.
    pub fn client_id(&self) -> &str {
        &self.identity.client_id
    }

    /// The user name.
    pub fn user_name(&self) -> Option<&str> {
        self.identity.user_name.as_deref()
    }

    /// The password, which may be any bytes. Compare secrets in constant time; better, keep a hash of them.
    pub fn password(&self) -> Option<&[u8]> {
        self.password.as_deref()
    }

    /// Where the connection comes from, for logs.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The address it comes from; `None` if that is not an IP address and port.
    pub fn address(&self) -> Option<SocketAddr> {
        self.peer.parse().ok()
    }

    /// The listener that it came through, from 0 in the order of
    /// [`BrokerBuilder::listen`](crate::BrokerBuilder::listen), then in that of
    /// [`Broker::open_listeners`](crate::Broker::open_listeners); for a stream what [`Peer::through`](crate::Peer::through)
    /// said.
    pub const fn listener(&self) -> Option<usize> {
        self.listener
    }

    /// The protocol version.
    pub const fn version(&self) -> ProtocolVersion {
        self.version
    }
}

/// Without the password.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("identity", &self.identity)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("peer", &self.peer)
            .field("listener", &self.listener)
            .field("version", &self.version)
            .finish()
    }
}

/// Whether a client may come in, and what it is told if not [MQTT-3.2.2-4]. `true` is [`Decision::Accept`], `false` is
/// [`Decision::BadCredentials`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Accept,
    /// User name or password are wrong: CONNACK 0x04.
    BadCredentials,
    /// This client may not, whatever its password: CONNACK 0x05.
    NotAuthorized,
    /// It cannot be said now, for example because a database is down: CONNACK 0x03.
    Unavailable,
    /// This authenticator does not know such clients: the next one is asked. If none is left, a client with a user name
    /// gets 0x04 and one without gets 0x05.
    NotMine,
}

impl From<bool> for Decision {
    fn from(is_accepted: bool) -> Self {
        if is_accepted { Self::Accept } else { Self::BadCredentials }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_password() {
        let login = Login {
            identity: Identity { client_id: "a".into(), user_name: Some("ann".into()) },
            password: Some(Box::from(b"secret".as_slice())),
            peer: "[::1]:1883".into(),
            listener: None,
            version: ProtocolVersion::V311,
        };
        let text = format!("{login:?} {login:#?}");
        let as_numbers = format!("{:?}", b"secret");
        assert!(
            text.contains("ann")
                && !text.contains("secret")
                && !text.contains(as_numbers.trim_matches(['[', ']']))
        );
        assert_eq!(login.address(), "[::1]:1883".parse().ok());
    }
}
