//! The header of the PROXY protocol, versions 1 and 2: whom a proxy speaks for.
//!
//! Nothing behind the header may be taken, as that is TLS or MQTT; so it is read in steps, and each says how many bytes the
//! next one needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How a header of version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V1: &[u8] = b"PROXY ";
/// The longest header of version 1, with its end.
const V1_BYTES_MAX: usize = 107;
/// A header of version 2 without addresses.
const V2_BYTES: usize = 16;
/// Addresses and further fields of version 2.
const V2_REST_BYTES_MAX: usize = 2048;

/// What a header says, as far as it has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// So many bytes more, which belong to the header.
    Needs(usize),
    /// The client's address; `None` if the proxy speaks for itself, or does not say.
    Complete(Option<SocketAddr>),
}

/// Why it is not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("it does not begin with a header of the PROXY protocol; does the proxy send one?")]
    None,
    #[error("a malformed header of the PROXY protocol")]
    Malformed,
    #[error("a header of the PROXY protocol over {0} bytes")]
    TooLong(usize),
    #[error("a header of the PROXY protocol for another protocol than TCP")]
    NotTcp,
}

/// What these first bytes of a connection say.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, HeaderError> {
    if bytes.is_empty() {
        return Ok(Header::Needs(1));
    }
    let begins = |wanted: &[u8]| bytes.iter().zip(wanted).all(|(byte, wanted)| byte == wanted);
    if begins(SIGNATURE) {
        v2(bytes)
    } else if begins(V1) {
        v1(bytes)
    } else {
        Err(HeaderError::None)
    }
}

fn v1(bytes: &[u8]) -> Result<Header, HeaderError> {
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        return match bytes.len() {
            // As short as it can be.
            len @ ..15 => Ok(Header::Needs(15 - len)),
            V1_BYTES_MAX.. => Err(HeaderError::TooLong(V1_BYTES_MAX)),
            _ => Ok(Header::Needs(1)),
        };
    };
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Header::Complete(None));
    }
    let fields = (words.next(), words.next(), words.next(), words.next(), words.next());
    let (Some(source), Some(_), Some(port), Some(_), None) = fields else {
        return Err(HeaderError::Malformed);
    };
    let ip: Option<IpAddr> = match family {
        Some("TCP4") => source.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        Some("TCP6") => source.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        Some(_) | None => None,
    };
    match (ip, port.parse()) {
        (Some(ip), Ok(port)) => Ok(Header::Complete(Some(client(ip, port)))),
        _ => Err(HeaderError::Malformed),
    }
}

fn v2(bytes: &[u8]) -> Result<Header, HeaderError> {
    let Some((head, rest)) = bytes.split_first_chunk::<V2_BYTES>() else {
        return Ok(Header::Needs(V2_BYTES - bytes.len()));
    };
    let [.., command, family, high, low] = *head;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > V2_REST_BYTES_MAX {
        return Err(HeaderError::TooLong(V2_BYTES + V2_REST_BYTES_MAX));
    }
    if rest.len() < len {
        return Ok(Header::Needs(len - rest.len()));
    }
    match (command, family) {
        // LOCAL: the proxy looks whether we are there.
        (0x20, _) | (0x21, 0x00) => Ok(Header::Complete(None)),
        (0x21, 0x11) => {
            let (source, rest) = rest.split_first_chunk::<4>().ok_or(HeaderError::Malformed)?;
            let port = port_behind::<4>(rest)?;
            Ok(Header::Complete(Some(client(Ipv4Addr::from(*source).into(), port))))
        }
        (0x21, 0x21) => {
            let (source, rest) = rest.split_first_chunk::<16>().ok_or(HeaderError::Malformed)?;
            let port = port_behind::<16>(rest)?;
            Ok(Header::Complete(Some(client(Ipv6Addr::from(*source).into(), port))))
        }
        (0x21, _) => Err(HeaderError::NotTcp),
        (_, _) => Err(HeaderError::Malformed),
    }
}

/// The source's port, behind a destination of `N` bytes.
fn port_behind<const N: usize>(bytes: &[u8]) -> Result<u16, HeaderError> {
    let port = bytes.split_first_chunk::<N>().and_then(|(_, ports)| ports.split_first_chunk::<2>());
    port.map(|(port, _)| u16::from_be_bytes(*port)).ok_or(HeaderError::Malformed)
}

/// An IPv4 address that is written as IPv6 is one: limits per address would see two otherwise.
fn client(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as the front door does; what is left over is not the header's.
    fn read(mut stream: &[u8]) -> Result<(Option<SocketAddr>, &[u8]), HeaderError> {
        let mut bytes = Vec::new();
        loop {
            match header(&bytes)? {
                Header::Complete(client) => return Ok((client, stream)),
                Header::Needs(count) => {
                    assert!(count > 0);
                    let Some((now, later)) = stream.split_at_checked(count) else {
                        return Err(HeaderError::Malformed);
                    };
                    bytes.extend_from_slice(now);
                    stream = later;
                }
            }
        }
    }

    fn v2_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = (rest.len() as u16).to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &len, rest].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0xC0, 0x00, 0x07, 0x5B];

    #[test]
    fn the_client_is_who_the_header_names_and_nothing_behind_it_is_taken() {
        let v6 = [Ipv6Addr::LOCALHOST.octets(), Ipv6Addr::LOCALHOST.octets()].concat();
        let v6 = [v6.as_slice(), &[0xC0, 0x00, 0x07, 0x5B]].concat();
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets();
        let mapped = [mapped.as_slice(), &mapped, &[0xC0, 0x00, 0x07, 0x5B]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 49152 1883\r\n".to_vec(), Some("192.0.2.1:49152")),
            (b"PROXY TCP6 ::1 ::2 49152 1883\r\n".to_vec(), Some("[::1]:49152")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2_header(0x21, 0x11, V4), Some("192.0.2.1:49152")),
            (v2_header(0x21, 0x11, &[V4, &[4, 0, 2, 1, 2]].concat()), Some("192.0.2.1:49152")),
            (v2_header(0x21, 0x21, &v6), Some("[::1]:49152")),
            (v2_header(0x21, 0x21, &mapped), Some("192.0.2.1:49152")),
            (v2_header(0x20, 0x00, &[]), None),
            (v2_header(0x20, 0x11, V4), None),
            (v2_header(0x21, 0x00, &[1, 2, 3]), None),
        ] {
            let stream = [header.as_slice(), b"\x10\x0C"].concat();
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(read(&stream), Ok((expected, b"\x10\x0C".as_slice())), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for (stream, expected) in [
            (b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0".to_vec(), HeaderError::None),
            (b"\x16\x03\x01".to_vec(), HeaderError::None),
            (b"PROXX TCP4 192.0.2.1".to_vec(), HeaderError::None),
            (b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\0".to_vec(), HeaderError::None),
            (long, HeaderError::TooLong(107)),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 49152\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 70000 1883\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 ::1 ::1 49152 1883\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n".to_vec(), HeaderError::Malformed),
            (v2_header(0x21, 0x12, V4), HeaderError::NotTcp),
            (v2_header(0x21, 0x31, &[0; 216]), HeaderError::NotTcp),
            (v2_header(0x22, 0x11, V4), HeaderError::Malformed),
            (v2_header(0x11, 0x11, V4), HeaderError::Malformed),
            (v2_header(0x21, 0x11, &[192, 0, 2]), HeaderError::Malformed),
            (v2_header(0x21, 0x21, V4), HeaderError::Malformed),
            (v2_header(0x21, 0x11, &[0; 2049]), HeaderError::TooLong(2064)),
        ] {
            assert_eq!(read(&stream), Err(expected), "{stream:?}");
        }
    }
}
