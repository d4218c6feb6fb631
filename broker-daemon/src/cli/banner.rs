//! What `culex` prints when it listens: where, to whom, and what to type next.

use std::net::SocketAddr;

use culex_core::Address;

use crate::config::{Config, Listener, PORT, Protocol, TLS_PORT};
use crate::users::Users;

/// An address that is listened on.
pub(super) struct Listening {
    pub(super) address: Address,
    pub(super) has_tls: bool,
    pub(super) needs_certificate: bool,
    pub(super) protocol: Protocol,
}

impl Listening {
    /// What is unusual about it.
    fn way(&self) -> String {
        let way = match (self.has_tls, self.protocol) {
            (false, Protocol::Mqtt) => "",
            (true, Protocol::Mqtt) => " with TLS",
            (false, Protocol::WebSockets) => " with WebSocket",
            (true, Protocol::WebSockets) => " with WebSocket over TLS",
        };
        let who = if self.needs_certificate { ", for clients with a certificate" } else { "" };
        format!("{way}{who}")
    }

    /// Its address, if the clients of `culex` itself can connect there.
    fn reachable(&self) -> Option<SocketAddr> {
        self.address.ip().filter(|_| self.protocol == Protocol::Mqtt)
    }
}

/// Whom the broker asks for a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nobody: there are no users.
    Open,
    /// Nobody, for everybody has shown a certificate.
    Certificates,
    /// Everybody.
    Users(usize),
    /// Everybody who says a name; some listeners take those without one.
    UsersAndAnonymous(usize),
}

impl Access {
    pub(super) fn of(config: &Config, users: Option<&Users>) -> Self {
        let is_anonymous = config.listeners.iter().any(|listener| listener.admits_anonymous(true));
        match users {
            None if config.listeners.iter().all(Listener::requires_certificate) => Self::Certificates,
            None => Self::Open,
            Some(users) if is_anonymous => Self::UsersAndAnonymous(users.count()),
            Some(users) => Self::Users(users.count()),
        }
    }

    fn sentence(self, is_local: bool) -> String {
        let reach = if is_local { "Only this computer can connect" } else { "Other computers can connect" };
        let number = |users| if users == 1 { "1 user".to_owned() } else { format!("{users} users") };
        match self {
            Self::Open if is_local => {
                format!("{reach}. There are no users: any user name and password is accepted, unchecked.\n")
            }
            Self::Open => format!(
                "{reach}, and may publish and subscribe to everything (allow_anonymous = true).\n\
                 There are no users: any user name and password is accepted, unchecked.\n"
            ),
            Self::Certificates => {
                format!("{reach}, with a certificate. There are no users: passwords are not checked.\n")
            }
            Self::Users(users) => format!("{reach}, as one of {}, with its password.\n", number(users)),
            Self::UsersAndAnonymous(users) => format!(
                "{reach}, as one of {}, with its password, or without a name (allow_anonymous = true).\n",
                number(users)
            ),
        }
    }
}

/// The banner. Programs wait for its `listening on` lines and read the port from there.
pub(super) fn banner(listeners: &[Listening], access: Access, state: &str, page: Option<&str>) -> String {
    let mut text = format!("culex {}\n", env!("CARGO_PKG_VERSION"));
    for listener in listeners {
        text.push_str(&format!("listening on {}{}\n", listener.address, listener.way()));
    }
    let is_local = listeners.iter().all(|listener| listener.address.is_local());
    text.push_str(&access.sentence(is_local));
    text.push_str(&format!("{state}\n"));
    // Plain ones need no further files.
    let mut reachable = listeners.iter().filter_map(|listener| Some((listener.reachable()?, listener)));
    let first = reachable.clone().next();
    if let Some((address, listener)) = reachable.find(|(_, listener)| !listener.has_tls).or(first) {
        let login = match access {
            Access::Open | Access::Certificates => "",
            Access::Users(_) | Access::UsersAndAnonymous(_) => " -u USER -P PASSWORD",
        };
        let own = if listener.needs_certificate { " --cert CLIENT.crt --key CLIENT.key" } else { "" };
        let options = options(address, listener.has_tls) + own + login;
        text.push_str(&format!(
            "\nTry it in two other terminals; Ctrl-C stops the broker:\n  \
             culex sub{options} -t 'hello/#' -v\n  culex pub{options} -t hello/world -m hi\n"
        ));
    }
    if let Some(page) = page {
        text.push_str(&format!("\nSee it live, and use the HTTP API: {page}\n"));
    }
    text
}

/// `-h` and `-p`, where the defaults of `culex pub` would not do.
fn options(address: SocketAddr, has_tls: bool) -> String {
    let (ip, port) = (address.ip(), address.port());
    let host = if ip.is_loopback() || ip.is_unspecified() { String::new() } else { format!(" -h {ip}") };
    let default = if has_tls { TLS_PORT } else { PORT };
    let port = if port == default { String::new() } else { format!(" -p {port}") };
    let tls = if has_tls { " --cafile CA.crt" } else { "" };
    host + &port + tls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(address: &str) -> Listening {
        let address = Address::Ip(address.parse().unwrap());
        Listening { address, has_tls: false, needs_certificate: false, protocol: Protocol::Mqtt }
    }

    #[test]
    fn it_says_where_to_whom_and_what_next() {
        let text = banner(&[plain("127.0.0.1:1883")], Access::Open, "state in /s", None);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.contains(&"listening on 127.0.0.1:1883"), "{text}");
        assert!(lines.contains(&"state in /s"), "{text}");
        assert!(lines.contains(&"  culex sub -t 'hello/#' -v"), "{text}");
        assert!(lines.contains(&"  culex pub -t hello/world -m hi"), "{text}");
        assert!(text.contains("Only this computer can connect"), "{text}");
    }

    #[test]
    fn it_says_where_a_certificate_is_needed() {
        let secured = Listening { has_tls: true, needs_certificate: true, ..plain("0.0.0.0:8883") };
        let text = banner(&[secured], Access::Certificates, "", None);
        assert!(
            text.contains("listening on 0.0.0.0:8883 with TLS, for clients with a certificate\n"),
            "{text}"
        );
        assert!(text.contains("Other computers can connect, with a certificate. "), "{text}");
        assert!(text.contains("  culex pub --cafile CA.crt --cert CLIENT.crt --key CLIENT.key -t"), "{text}");
        assert!(!text.contains("any user name"), "{text}");
    }

    #[test]
    fn it_says_who_is_asked_for_a_password() {
        let addresses = [plain("0.0.0.0:1883")];
        let text = banner(&addresses, Access::Users(1), "", None);
        assert!(
            text.contains("Other computers can connect, as one of 1 user, with its password.\n"),
            "{text}"
        );
        assert!(text.contains("culex sub -u USER -P PASSWORD -t 'hello/#' -v"), "{text}");
        let text = banner(&addresses, Access::UsersAndAnonymous(2), "", None);
        assert!(text.contains("as one of 2 users, with its password, or without a name"), "{text}");
    }

    #[test]
    fn the_lines_to_type_fit_the_listener() {
        let text = banner(&[plain("192.0.2.1:7"), plain("127.0.0.1:1883")], Access::Open, "", None);
        assert!(text.contains("culex pub -h 192.0.2.1 -p 7 -t hello/world -m hi"), "{text}");
        assert!(text.contains("Other computers can connect"), "{text}");
    }

    #[test]
    fn the_lines_to_type_name_the_ca_where_there_is_no_way_without() {
        let secured = || Listening { has_tls: true, ..plain("127.0.0.1:8883") };
        let text = banner(&[secured()], Access::Open, "", None);
        assert!(text.contains("listening on 127.0.0.1:8883 with TLS\n"), "{text}");
        assert!(text.contains("culex pub --cafile CA.crt -t hello/world"), "{text}");
        let text = banner(&[secured(), plain("127.0.0.1:1883")], Access::Open, "", None);
        assert!(text.contains("culex pub -t hello/world"), "{text}");
    }
}
