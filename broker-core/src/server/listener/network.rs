//! Networks: addresses that begin alike.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network such as `10.0.0.0/8`, or one address. Read from text by [`FromStr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Leading bits that count.
    bits: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// It does not begin with an IP address.
    #[error("not an IP address, or one with a number of bits such as 10.0.0.0/8")]
    Address,
    /// The number behind the `/` is none, or larger than the address has bits.
    #[error("the number behind / must be 0 to {0}")]
    Bits(u8),
    /// The address has bits that do not count: did its writer mean something else?
    #[error("the address has more bits than its network; did you mean {0}?")]
    Host(Network),
}

impl Network {
    /// Whether the address belongs to it. An IPv4 address that is written as IPv6 is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.bits) == self.address
    }
}

/// The address with the first bits alone.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let one = Self::from(address.parse::<IpAddr>().map_err(|_| NetworkError::Address)?);
        let Some(bits) = bits else { return Ok(one) };
        let bits = bits.parse().ok().filter(|bits| *bits <= one.bits).ok_or(NetworkError::Bits(one.bits))?;
        let network = Self { address: masked(one.address, bits), bits };
        if network.address == one.address { Ok(network) } else { Err(NetworkError::Host(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_belong_to_networks() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_told() {
        for (text, expected) in [
            ("", NetworkError::Address),
            ("10.0.0.0:80", NetworkError::Address),
            ("example.org/8", NetworkError::Address),
            ("10.0.0.0/33", NetworkError::Bits(32)),
            ("10.0.0.0/", NetworkError::Bits(32)),
            ("::/-1", NetworkError::Bits(128)),
            ("10.1.0.0/8", NetworkError::Host("10.0.0.0/8".parse().unwrap())),
        ] {
            assert_eq!(text.parse::<Network>(), Err(expected), "{text}");
        }
    }
}
