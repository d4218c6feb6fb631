//! Where another broker is: a name or an address, and perhaps a port.

use std::fmt;
use std::net::Ipv6Addr;

use crate::config::problem::Complaint;

/// Host and port of another broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteAddress {
    /// Name or IP address, without brackets.
    pub host: String,
    /// Port; `None` is 1883, or 8883 with TLS.
    pub port: Option<u16>,
}

/// DNS names have no more.
const HOST_BYTES_MAX: usize = 253;

impl RemoteAddress {
    /// Whether the host is a data endpoint of AWS IoT Core: `….iot.REGION.amazonaws.com`, in China with `.cn`.
    pub fn is_aws_iot(&self) -> bool {
        let host = self.host.to_ascii_lowercase();
        let host = host.strip_suffix(".cn").unwrap_or(&host);
        let Some(rest) = host.strip_suffix(".amazonaws.com") else { return false };
        rest.rsplit_once('.').is_some_and(|(before, region)| {
            !region.is_empty() && (before.ends_with(".iot") || before == "iot")
        })
    }

    /// The port, where TLS is spoken or not.
    pub fn port_or_default(&self, has_tls: bool) -> u16 {
        self.port.unwrap_or(if has_tls { crate::config::TLS_PORT } else { crate::config::PORT })
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]")?
        } else {
            f.write_str(host)?
        }
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Reads `host`, `host:port`, `[::1]:port` or `::1`.
///
/// # Errors
/// Text that is none of them.
pub(crate) fn remote_address(text: &str) -> Result<RemoteAddress, Complaint> {
    let wrong = || {
        Complaint::new(format!("\"{}\" is not the name of a computer with a port", text.escape_debug()))
            .help("for example \"mqtt.example.org:8883\" or \"[2001:db8::1]:1883\"")
    };
    let text = text.trim();
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(RemoteAddress { host: text.to_owned(), port: None });
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port @ 1..)) => Some(port),
        Some(_) => return Err(wrong()),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.chars().all(is_name) {
        return Err(wrong());
    }
    // A number alone is a port, and a URL is no address.
    if host.chars().all(|c| c.is_ascii_digit()) {
        return Err(wrong());
    }
    Ok(RemoteAddress { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("example.org", Some(("example.org", None))),
            ("example.org:8883", Some(("example.org", Some(8883)))),
            ("127.0.0.1:1", Some(("127.0.0.1", Some(1)))),
            ("::1", Some(("::1", None))),
            ("[::1]", Some(("::1", None))),
            ("[::1]:65535", Some(("::1", Some(65_535)))),
            ("", None),
            (":1883", None),
            ("a:0", None),
            ("a:65536", None),
            ("a:", None),
            ("1883", None),
            ("mqtts://a", None),
            ("a b", None),
            ("[::1", None),
            ("[a]:1", None),
            ("[::1]1", None),
        ] {
            let read = remote_address(text).ok();
            let read = read.as_ref().map(|address| (address.host.as_str(), address.port));
            assert_eq!(read, expected, "{text:?}");
        }
        assert_eq!(remote_address("[::1]:1").unwrap().to_string(), "[::1]:1");
    }

    #[test]
    fn endpoints_of_aws_are_known() {
        for (host, expected) in [
            ("a1b2c3-ats.iot.eu-central-1.amazonaws.com", true),
            ("A1B2C3.IOT.us-east-1.AMAZONAWS.COM", true),
            ("x.ats.iot.cn-north-1.amazonaws.com.cn", true),
            ("iot.us-east-1.amazonaws.com", true),
            ("s3.us-east-1.amazonaws.com", false),
            ("x.iot.us-east-1.amazonaws.com.example", false),
            ("riot.us-east-1.amazonaws.com", false),
            ("amazonaws.com", false),
        ] {
            assert_eq!(RemoteAddress { host: host.to_owned(), port: None }.is_aws_iot(), expected, "{host}");
        }
    }
}
