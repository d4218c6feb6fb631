//! What `culex` prints when it listens: where, to whom, and what to type next.

use std::net::SocketAddr;

use crate::config::PORT;

/// The banner. Programs wait for its `listening on` lines and read the port from there.
pub(super) fn banner(addresses: &[SocketAddr], state: &str) -> String {
    let mut text = format!("culex {}\n", env!("CARGO_PKG_VERSION"));
    for address in addresses {
        text.push_str(&format!("listening on {address}\n"));
    }
    let open: Vec<_> = addresses.iter().filter(|address| !address.ip().is_loopback()).collect();
    text.push_str(match open.len() {
        0 => {
            "Only this computer can connect. There are no users: any user name and password is accepted, unchecked.\n"
        }
        _ => {
            "Other computers can connect, and may publish and subscribe to everything (allow_anonymous = true).\n\
             There are no users: any user name and password is accepted, unchecked.\n"
        }
    });
    text.push_str(&format!("{state}\n"));
    if let Some(address) = addresses.first() {
        let options = options(address);
        text.push_str(&format!(
            "\nTry it in two other terminals; Ctrl-C stops the broker:\n  \
             culex sub{options} -t 'hello/#' -v\n  culex pub{options} -t hello/world -m hi\n"
        ));
    }
    text
}

/// `-h` and `-p`, where the defaults of `culex pub` would not do.
fn options(address: &SocketAddr) -> String {
    let ip = address.ip();
    let host = if ip.is_loopback() || ip.is_unspecified() { String::new() } else { format!(" -h {ip}") };
    let port = if address.port() == PORT { String::new() } else { format!(" -p {}", address.port()) };
    host + &port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_to_whom_and_what_next() {
        let text = banner(&["127.0.0.1:1883".parse().unwrap()], "state in /s");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.contains(&"listening on 127.0.0.1:1883"), "{text}");
        assert!(lines.contains(&"state in /s"), "{text}");
        assert!(lines.contains(&"  culex sub -t 'hello/#' -v"), "{text}");
        assert!(lines.contains(&"  culex pub -t hello/world -m hi"), "{text}");
        assert!(text.contains("Only this computer can connect"), "{text}");
    }

    #[test]
    fn the_lines_to_type_fit_the_listener() {
        let text = banner(&["192.0.2.1:7".parse().unwrap(), "127.0.0.1:1883".parse().unwrap()], "");
        assert!(text.contains("culex pub -h 192.0.2.1 -p 7 -t hello/world -m hi"), "{text}");
        assert!(text.contains("Other computers can connect"), "{text}");
    }
}
