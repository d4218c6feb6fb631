//! What this computer is called, and the addresses it has.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::unistd::gethostname;

/// Names and addresses of a computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name, without a domain.
    pub name: String,
    /// Its addresses that other computers can use: not loopback, not link-local.
    pub addresses: Vec<IpAddr>,
}

impl Host {
    /// This one. What the system does not say is left out.
    pub fn this() -> Self {
        let name = gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        let name = name.split('.').next().filter(|name| is_dns_label(name)).unwrap_or("localhost").to_owned();
        let mut addresses: Vec<_> = getifaddrs()
            .into_iter()
            .flatten()
            .filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
            })
            .filter(is_reachable)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        Self { name, addresses }
    }

    /// All that a certificate of this computer should have, with `more`, each once.
    pub fn names(&self, more: &[String]) -> Vec<String> {
        let own = [self.name.clone(), format!("{}.local", self.name)]
            .into_iter()
            .filter(|_| self.name != "localhost");
        let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let addresses = self.addresses.iter().map(ToString::to_string);
        let mut names: Vec<String> = Vec::new();
        for name in own.chain(more.iter().cloned()).chain(local).chain(addresses) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

fn is_dns_label(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_there_once() {
        let host = Host { name: "hub".into(), addresses: vec!["192.0.2.7".parse().unwrap()] };
        let names = host.names(&["hub.example".into(), "localhost".into()]);
        assert_eq!(names, ["hub", "hub.local", "hub.example", "localhost", "127.0.0.1", "::1", "192.0.2.7"]);
        let nameless = Host { name: "localhost".into(), addresses: Vec::new() };
        assert_eq!(nameless.names(&[]), ["localhost", "127.0.0.1", "::1"]);
    }
}
