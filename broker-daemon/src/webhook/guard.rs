//! Addresses that nothing is sent to, wherever a name leads.
//!
//! A service on this computer or in this network is what the operator wrote down and meant. Link-local addresses are
//! different: there a cloud gives its machines their keys, to whoever asks over plain HTTP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::lookup_host;

use super::target::Target;

/// Addresses of a name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// Addresses outside the link-local networks where clouds answer their machines.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// An address that is not sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}, and nothing is sent there")]
pub(crate) struct Blocked {
    address: IpAddr,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    LinkLocal,
    Metadata,
    NoHost,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "where clouds keep the keys of their machines",
            Self::NoHost => "no address of one computer",
        })
    }
}

impl Blocked {
    /// How to mend it.
    pub(crate) const fn help(self) -> &'static str {
        match self.kind {
            Kind::LinkLocal | Kind::Metadata => {
                "if this is really meant, add `allow_link_local = true`; otherwise write the address of the service"
            }
            Kind::NoHost => "write the address of the service; on this computer that is 127.0.0.1",
        }
    }
}

/// Why no address of a service is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// Nobody knows the name.
    #[error("the name {host} is not known: {source}")]
    Unknown {
        /// The name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// It leads where nothing is sent.
    #[error(transparent)]
    Blocked(#[from] Blocked),
}

/// Whether something may be sent to an address, `allow_link_local` or not.
///
/// # Errors
/// [`Blocked`].
pub(crate) fn check(address: IpAddr, allow_link_local: bool) -> Result<(), Blocked> {
    match kind_of(address) {
        None => Ok(()),
        Some(Kind::LinkLocal | Kind::Metadata) if allow_link_local => Ok(()),
        Some(kind) => Err(Blocked { address, kind }),
    }
}

/// The addresses of a service that may be sent to, in the order in which the system has them. One look at the name: who
/// connects takes exactly these, so a name that leads elsewhere a moment later changes nothing.
///
/// # Errors
/// [`ResolveError`]; one address that is blocked is enough, as no honest name has such a one among others.
pub(crate) async fn resolve(
    target: &Target,
    allow_link_local: bool,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let unknown = |source| ResolveError::Unknown { host: target.host().to_owned(), source };
    let found = lookup_host((target.host(), target.port())).await.map_err(unknown)?;
    let found: Vec<_> = found.take(ADDRESSES_MAX).collect();
    for address in &found {
        check(address.ip(), allow_link_local)?;
    }
    if found.is_empty() {
        return Err(unknown(io::Error::from(io::ErrorKind::NotFound)));
    }
    Ok(found)
}

fn kind_of(address: IpAddr) -> Option<Kind> {
    match address {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => kind_of_v4(inner),
            None if address == METADATA_V6 => Some(Kind::Metadata),
            None if address.is_unicast_link_local() => Some(Kind::LinkLocal),
            None if address.is_unspecified() || address.is_multicast() => Some(Kind::NoHost),
            None => None,
        },
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Option<Kind> {
    if METADATA_V4.contains(&address) || address == Ipv4Addr::new(169, 254, 169, 254) {
        Some(Kind::Metadata)
    } else if address.is_link_local() {
        Some(Kind::LinkLocal)
    } else if address.is_broadcast() || address.is_multicast() || address.octets()[0] == 0 {
        Some(Kind::NoHost)
    } else {
        None
    }
}

/// The IPv4 address that an IPv6 address means: mapped, compatible, of NAT64 (RFC 6052) or 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        // `::` and `::1` are addresses of IPv6.
        (0, 0, 0, 0, 0, 0) if g != 0 => v4(g, h),
        (0x2002, high, low, ..) => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_metadata_addresses_are_refused_in_every_spelling() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "169.254.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::ffff:0:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(check(address, false).is_err(), "{address}");
            assert_eq!(check(address, true), Ok(()), "{address}");
        }
        for address in
            ["0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "::", "ff02::1", "::ffff:0.0.0.0"]
        {
            let address: IpAddr = address.parse().unwrap();
            assert!(check(address, false).is_err() && check(address, true).is_err(), "{address}");
        }
    }

    #[test]
    fn what_an_operator_writes_down_is_meant() {
        for address in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "203.0.113.7",
            "169.253.0.1",
            "::1",
            "fd00::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "fec0::1",
        ] {
            assert_eq!(check(address.parse().unwrap(), false), Ok(()), "{address}");
        }
    }

    #[tokio::test]
    async fn a_number_that_is_an_address_leads_nowhere_else() {
        // As `inet_aton` reads them: 169.254.169.254.
        for host in ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"] {
            let target = Target::parse(&format!("http://{host}/latest/meta-data")).unwrap();
            let resolved = resolve(&target, false).await;
            assert!(resolved.is_err(), "{host}: {resolved:?}");
        }
        let target = Target::parse("http://127.0.0.1:5000/").unwrap();
        assert_eq!(resolve(&target, false).await.unwrap(), ["127.0.0.1:5000".parse().unwrap()]);
    }
}
