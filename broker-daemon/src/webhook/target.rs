//! Where requests go: a URL, taken apart once.

use std::net::IpAddr;

/// Bytes of a URL.
const URL_BYTES_MAX: usize = 2048;
/// DNS names have no more.
const HOST_BYTES_MAX: usize = 253;

/// Scheme, host, port and path of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    is_secure: bool,
    host: String,
    port: u16,
    path: String,
}

/// Why text is no URL of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("a URL here begins with http:// or https://")]
    Scheme,
    /// Whoever reads the configuration would read the password, and it would go into logs.
    #[error("a user name and password do not belong into a URL; use `[webhook.headers]`")]
    UserInfo,
    /// It would not be sent.
    #[error("`#` and what follows is never sent to a service; leave it out")]
    Fragment,
    /// No name and no address.
    #[error("there is no host name or address in it")]
    Host,
    /// Not 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// Spaces, controls, and what is not ASCII.
    #[error("it has a character that must be written as %XX")]
    Character,
    /// Too long.
    #[error("it is longer than {URL_BYTES_MAX} bytes")]
    Length,
}

impl Target {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        if url.len() > URL_BYTES_MAX {
            return Err(UrlError::Length);
        }
        if url.contains('#') {
            return Err(UrlError::Fragment);
        }
        // What a URL may hold as it is [RFC 3986 section 2], without what programs read differently.
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if !url.bytes().all(is_plain) {
            return Err(UrlError::Character);
        }
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or(UrlError::Host)?;
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let (host, port) = split(authority)?;
        let port = match port {
            None if is_secure => 443,
            None => 80,
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(UrlError::Port)?,
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_secure, host: host.to_ascii_lowercase(), port, path })
    }

    /// Whether it is spoken to over TLS.
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The address, if the URL has one instead of a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// What the header field `Host` says.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_secure, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

fn split(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
        return match (rest, rest.strip_prefix(':')) {
            ("", _) => Ok((host, None)),
            (_, Some(port)) => Ok((host, Some(port))),
            (_, None) => Err(UrlError::Port),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.chars().all(is_name) {
        return Err(UrlError::Host);
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_services() {
        for (url, secure, host, port, path, authority) in [
            ("http://127.0.0.1:5000/webhook", false, "127.0.0.1", 5000, "/webhook", "127.0.0.1:5000"),
            ("https://Example.ORG", true, "example.org", 443, "/", "example.org"),
            ("HTTP://a?x=1", false, "a", 80, "/?x=1", "a"),
            ("https://[::1]:8443/a/b?c=%20", true, "::1", 8443, "/a/b?c=%20", "[::1]:8443"),
            ("http://[fd00::1]/", false, "fd00::1", 80, "/", "[fd00::1]"),
            ("https://a:80/", true, "a", 80, "/", "a:80"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.is_secure(), target.host(), target.port()), (secure, host, port), "{url}");
            assert_eq!((target.path(), &*target.authority()), (path, authority), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_service_says_why() {
        for (url, expected) in [
            ("", UrlError::Scheme),
            ("example.org", UrlError::Scheme),
            ("file:///etc/passwd", UrlError::Scheme),
            ("ftp://a/", UrlError::Scheme),
            ("gopher://a/", UrlError::Scheme),
            ("http://ann:secret@a/", UrlError::UserInfo),
            ("http://a@169.254.169.254/", UrlError::UserInfo),
            ("http://a/#b", UrlError::Fragment),
            ("http://a#@b/", UrlError::Fragment),
            ("http://", UrlError::Host),
            ("http:///path", UrlError::Host),
            ("http://[::1", UrlError::Host),
            ("http://[a]/", UrlError::Host),
            ("http://a:0/", UrlError::Port),
            ("http://a:65536/", UrlError::Port),
            ("http://a:/", UrlError::Port),
            ("http://[::1]80/", UrlError::Port),
            ("http://a/ b", UrlError::Character),
            ("http://a/\r\nX: y", UrlError::Character),
            ("http://a\\@b/", UrlError::Character),
            ("http://ä/", UrlError::Character),
        ] {
            assert_eq!(Target::parse(url), Err(expected), "{url:?}");
        }
        assert_eq!(Target::parse(&format!("http://a/{}", "x".repeat(2048))), Err(UrlError::Length));
    }
}
