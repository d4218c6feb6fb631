//! MQTT over WebSocket [RFC 6455]: what an embedder says of it, the request that opens it, its frames.
//!
//! ```text
//!   GET ──upgrade──► 101 ──frames──► payloads of binary frames: MQTT
//! ```

mod frames;
mod head;
mod upgrade;

pub(crate) use self::frames::{End, Frames};
pub(crate) use self::head::{Kind, server_head};
pub(crate) use self::upgrade::{Refused, Upgrade};

/// Which requests open a connection of MQTT over WebSocket. [`WebSocket::default`] takes any path, clients that are no
/// browsers, and web pages of the host that they connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct WebSocket {
    path: Option<Box<str>>,
    origins: Box<[Box<str>]>,
}

impl WebSocket {
    /// Only requests of this path, such as `/mqtt`; others get 404. What stands behind a `?` is not looked at.
    pub fn path(mut self, path: impl Into<Box<str>>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Web pages that may connect, as browsers name them: `https://example.org`, with the port if it is an unusual one;
    /// `*` for all. Pages of other origins get 403. Who sends no `Origin` is no browser and may connect.
    ///
    /// Without this a page may connect whose host is the one that it connects to, on whatever port.
    pub fn origins<O: Into<Box<str>>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.origins = origins.into_iter().map(Into::into).collect();
        self
    }

    fn has_path(&self, target: &str) -> bool {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        self.path.as_deref().is_none_or(|wanted| wanted == path)
    }

    fn has_origin(&self, origin: &str, host: &str) -> bool {
        if self.origins.is_empty() {
            return origin.split_once("://").is_some_and(|(_, of_page)| {
                let name = host_name(of_page);
                !name.is_empty() && name.eq_ignore_ascii_case(host_name(host))
            });
        }
        self.origins.iter().any(|allowed| &**allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        // What stands behind a colon within brackets belongs to an IPv6 address.
        Some((name, port)) if !port.ends_with(']') => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_same_host_may_connect_and_others_must_be_named() {
        let (same, named) = (WebSocket::default(), WebSocket::default().origins(["https://a.example"]));
        for (settings, origin, host, expected) in [
            (&same, "http://broker.example", "broker.example:9001", true),
            (&same, "https://BROKER.example:8443", "broker.example", true),
            (&same, "http://[::1]:8000", "[::1]:9001", true),
            (&same, "http://[::1]", "[::2]", false),
            (&same, "http://evil.example", "broker.example:9001", false),
            (&same, "http://broker.example.evil", "broker.example", false),
            (&same, "null", "broker.example", false),
            (&same, "http://", "", false),
            (&named, "https://a.example", "b.example", true),
            (&named, "http://a.example", "a.example", false),
            (&named, "https://a.example:8443", "a.example", false),
            (&named, "https://b.example", "b.example", false),
        ] {
            assert_eq!(settings.has_origin(origin, host), expected, "{origin} at {host}");
        }
        assert!(WebSocket::default().origins(["*"]).has_origin("null", "b.example"));
    }

    #[test]
    fn a_path_is_compared_without_its_query() {
        let settings = WebSocket::default().path("/mqtt");
        for (target, expected) in
            [("/mqtt", true), ("/mqtt?token=x", true), ("/mqtt/", false), ("/", false), ("/MQTT", false)]
        {
            assert_eq!(settings.has_path(target), expected, "{target}");
        }
        assert!(WebSocket::default().has_path("/anything"));
    }
}
