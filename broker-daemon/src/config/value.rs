//! Values as people write them: `20`, `"64KiB"`, `"500ms"`, `"unlimited"`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use culex_core::Address;

use crate::config::problem::Complaint;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things.
    Count,
    /// Bytes; `"64KiB"` and the like are understood.
    Bytes,
}

/// A value before its setting has looked at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// A string, or the value of an environment variable.
    Text(String),
    /// An integer: the number if it fits 64 bits and is not negative.
    Integer(Option<u64>),
    /// `true` or `false`.
    Switch(bool),
    /// A list of strings.
    List(Vec<String>),
    /// Something that no setting takes.
    Other(&'static str),
}

impl Input {
    /// What it is, for "expected …, found …".
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("\"{}\"", text.escape_debug()),
            Self::Integer(Some(number)) => number.to_string(),
            Self::Integer(None) => "a number out of range".to_owned(),
            Self::Switch(switch) => switch.to_string(),
            Self::List(_) => "a list".to_owned(),
            Self::Other(kind) => (*kind).to_owned(),
        }
    }
}

/// Suffixes of sizes; decimal ones are 1000-based, as their names say.
const SIZES: [(&str, u64); 8] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// A whole number, with a size suffix if `unit` is bytes.
pub(crate) fn number(text: &str, unit: Unit) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    let (digits, suffix) = text.split_at_checked(digits)?;
    let number: u64 = digits.replace('_', "").parse().ok()?;
    let suffix = suffix.trim_start();
    match (suffix, unit) {
        ("", _) => Some(number),
        (_, Unit::Count) => None,
        (_, Unit::Bytes) => {
            let (_, factor) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(suffix))?;
            number.checked_mul(*factor)
        }
    }
}

/// A duration: a whole number with `ms`, `s`, `m` or `h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at_checked(digits)?;
    let number: u64 = digits.parse().ok()?;
    match suffix.trim_start() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" | "min" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// An address of a computer: not one that stands for all of them, or for a group.
///
/// # Errors
/// If the text is none.
pub(crate) fn ip_address(text: &str) -> Result<IpAddr, Complaint> {
    let address =
        text.parse().ok().filter(|address: &IpAddr| !address.is_unspecified() && !address.is_multicast());
    address.ok_or_else(|| {
        let complaint = Complaint::new(format!("\"{}\" is no address of a computer", text.escape_debug()));
        complaint
            .help("write an IPv4 or IPv6 address of this computer, such as \"192.0.2.7\", without a port")
    })
}

/// An address to listen on.
pub(crate) fn address(text: &str) -> Result<Address, Complaint> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address::Ip(address));
    }
    match text.strip_prefix("unix:") {
        Some("") => {
            return Err(Complaint::new("\"unix:\" has no path").help("write \"unix:/run/culex/mqtt.sock\""));
        }
        Some(path) => return Ok(Address::Unix(path.into())),
        None => {}
    }
    let complaint = Complaint::new(format!("\"{}\" is not an IP address with a port", text.escape_debug()));
    let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    Err(match (text.rsplit_once(':').map(|(host, _)| host), port) {
        (Some("localhost"), Some(port)) => complaint.help(format!("write \"127.0.0.1:{port}\"")),
        (Some("*" | ""), Some(port)) => complaint.help(format!("for all addresses write \"0.0.0.0:{port}\"")),
        (None, Some(port)) => complaint.help(format!("write \"127.0.0.1:{port}\"")),
        (_, _) if text.parse::<std::net::Ipv6Addr>().is_ok() => {
            complaint.help(format!("write \"[{text}]:1883\""))
        }
        (_, _) if text.parse::<IpAddr>().is_ok() => complaint.help(format!("write \"{text}:1883\"")),
        (_, _) => complaint.help("for example \"127.0.0.1:1883\" or \"[::1]:1883\""),
    })
}

/// A number as a person would write it: `16 MiB`, `100,000`.
pub(crate) fn show_number(number: u64, unit: Unit) -> String {
    if unit == Unit::Bytes {
        for (name, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if number >= factor && number.is_multiple_of(factor) {
                return format!("{} {name}", number / factor);
            }
        }
    }
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A number as the file has it: `"16MiB"`, `100_000`.
pub(crate) fn write_number(number: u64, unit: Unit) -> String {
    let shown = show_number(number, unit);
    if shown.contains(' ') { format!("\"{}\"", shown.replace(' ', "")) } else { shown.replace(',', "_") }
}

/// A text as the file has it: TOML's basic string.
pub(crate) fn write_text(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 2);
    written.push('"');
    for c in text.chars() {
        match c {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            c if c.is_control() => written.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => written.push(c),
        }
    }
    written.push('"');
    written
}

/// A list of texts as the file has it.
pub(crate) fn write_list(texts: impl Iterator<Item = String>) -> String {
    let written: Vec<_> = texts.map(|text| write_text(&text)).collect();
    format!("[{}]", written.join(", "))
}

/// A duration as a person would write it.
pub(crate) fn show_duration(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("20", Some(20)),
            (" 64KiB ", Some(65_536)),
            ("16 MiB", Some(16 << 20)),
            ("1gib", Some(1 << 30)),
            ("5kB", Some(5_000)),
            ("1_000", Some(1_000)),
            ("", None),
            ("KiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("99999999999TiB", None),
            ("5 parsecs", None),
            ("٣", None),
        ] {
            assert_eq!(number(text, Unit::Bytes), expected, "{text:?}");
        }
        assert_eq!(number("5KiB", Unit::Count), None);
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("10s", Some(Duration::from_secs(10))),
            ("500 ms", Some(Duration::from_millis(500))),
            ("2m", Some(Duration::from_secs(120))),
            ("1h", Some(Duration::from_secs(3600))),
            ("10", None),
            ("s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn shown_as_people_write() {
        assert_eq!(show_number(16 << 20, Unit::Bytes), "16 MiB");
        assert_eq!(show_number(65_535, Unit::Bytes), "65,535");
        assert_eq!(show_number(100_000, Unit::Count), "100,000");
        assert_eq!(show_number(100, Unit::Count), "100");
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
    }

    #[test]
    fn wrong_addresses_are_mended() {
        for (text, help) in [
            ("localhost:1883", "write \"127.0.0.1:1883\""),
            ("1883", "write \"127.0.0.1:1883\""),
            ("*:1883", "for all addresses write \"0.0.0.0:1883\""),
            (":1883", "for all addresses write \"0.0.0.0:1883\""),
            ("::1", "write \"[::1]:1883\""),
            ("127.0.0.1", "write \"127.0.0.1:1883\""),
            ("example", "for example \"127.0.0.1:1883\" or \"[::1]:1883\""),
        ] {
            assert_eq!(address(text).unwrap_err().help.as_deref(), Some(help), "{text:?}");
        }
    }
}
