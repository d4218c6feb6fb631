//! Distinguished Names, as user names: the common name, or the whole subject in the form of RFC 2253.

use std::fmt::Write;

use super::der::{Der, tag};

/// A Distinguished Name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a>(pub(super) Der<'a>);

/// Attributes that have a short name; the others are written as their number. The names are OpenSSL's, so that they are what
/// mosquitto has.
const ATTRIBUTES: [(&[u8], &str); 16] = [
    (COMMON_NAME, "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 42], "GN"),
    (&[0x55, 4, 43], "initials"),
    (&[0x55, 4, 46], "dnQualifier"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// One `CN=name`.
struct Attribute<'a> {
    oid: &'a [u8],
    tag: u8,
    value: &'a [u8],
}

impl Name<'_> {
    /// The first common name; `None` if there is none, or it is not text.
    pub(super) fn common_name(self) -> Option<String> {
        let mut sets = self.0;
        while let Some(set) = sets.enter(tag::SET) {
            for attribute in attributes(set)? {
                if attribute.oid == COMMON_NAME {
                    return attribute.text();
                }
            }
        }
        None
    }

    /// The whole name, the last part first, as `openssl x509 -subject -nameopt RFC2253` writes it.
    pub(super) fn rfc2253(self) -> Option<String> {
        let mut parts = Vec::new();
        let mut sets = self.0;
        while !sets.is_empty() {
            let set = attributes(sets.enter(tag::SET)?)?;
            let set: Option<Vec<_>> = set.iter().map(Attribute::write).collect();
            parts.push(set?.join("+"));
        }
        parts.reverse();
        Some(parts.join(","))
    }
}

fn attributes(mut set: Der<'_>) -> Option<Vec<Attribute<'_>>> {
    let mut attributes = Vec::new();
    while !set.is_empty() {
        let mut pair = set.enter(tag::SEQUENCE)?;
        let oid = pair.expect(tag::OID)?;
        let (tag, value) = pair.next()?;
        attributes.push(Attribute { oid, tag, value });
    }
    Some(attributes)
}

impl Attribute<'_> {
    /// The value as text, by its type.
    fn text(&self) -> Option<String> {
        match self.tag {
            // UTF8String, NumericString, PrintableString, IA5String, VisibleString.
            0x0c | 0x12 | 0x13 | 0x16 | 0x1a => String::from_utf8(self.value.to_vec()).ok(),
            // T61String: Latin-1, as everybody reads it.
            0x14 => Some(self.value.iter().map(|byte| char::from(*byte)).collect()),
            // UniversalString, BMPString.
            0x1c => characters(self.value.chunks(4)),
            0x1e => characters(self.value.chunks(2)),
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        let known = ATTRIBUTES.iter().find(|(oid, _)| *oid == self.oid);
        match (known, self.text()) {
            (Some((_, name)), Some(text)) => Some(format!("{name}={}", escape(&text))),
            // An attribute that nobody knows, or a type without text: its bytes.
            (known, _) => {
                let name = known.map_or_else(|| dotted(self.oid), |(_, name)| Some((*name).to_owned()))?;
                let mut written = format!("{name}=#{:02X}", self.tag);
                write_length(&mut written, self.value.len());
                written.extend(self.value.iter().map(|byte| format!("{byte:02X}")));
                Some(written)
            }
        }
    }
}

fn characters<'a>(mut units: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    units.try_fold(String::new(), |mut text, unit| {
        let number = unit.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        text.push(char::from_u32(number)?);
        Some(text)
    })
}

/// RFC 2253 section 2.4; control and non-ASCII bytes are escaped as OpenSSL does.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    let last = text.len().saturating_sub(1);
    for (n, byte) in text.bytes().enumerate() {
        let is_special = matches!(byte, b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';')
            || (n == 0 && matches!(byte, b' ' | b'#'))
            || (n == last && byte == b' ');
        // Writing to a String cannot fail.
        let _ = match byte {
            _ if is_special => write!(escaped, "\\{}", char::from(byte)),
            0x20..0x7f => write!(escaped, "{}", char::from(byte)),
            _ => write!(escaped, "\\{byte:02X}"),
        };
    }
    escaped
}

/// `1.2.840.113549`.
fn dotted(oid: &[u8]) -> Option<String> {
    let mut numbers = Vec::new();
    let mut number: u64 = 0;
    for byte in oid {
        number = number.checked_mul(128)? + u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let first = numbers.first()?;
    let top = (first / 40).min(2);
    let rest = std::iter::once(first - 40 * top).chain(numbers.iter().skip(1).copied());
    let mut text = top.to_string();
    text.extend(rest.map(|number| format!(".{number}")));
    Some(text)
}

/// The length of a value as DER has it.
fn write_length(text: &mut String, len: usize) {
    let bytes = len.to_be_bytes();
    let digits = bytes.iter().skip_while(|byte| **byte == 0);
    if len >= 0x80 {
        let _ = write!(text, "{:02X}", 0x80 | digits.clone().count());
    }
    if len == 0 {
        text.push_str("00");
    }
    text.extend(digits.map(|byte| format!("{byte:02X}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_mean_something_are_escaped() {
        for (text, expected) in [
            ("plain", "plain"),
            ("Sensors, Inc.", "Sensors\\, Inc."),
            (" #a ", "\\ #a\\ "),
            ("#a", "\\#a"),
            ("a+b\"\\<>;=", "a\\+b\\\"\\\\\\<\\>\\;="),
            ("é\n", "\\C3\\A9\\0A"),
            ("", ""),
        ] {
            assert_eq!(escape(text), expected);
        }
    }

    #[test]
    fn numbers_of_attributes() {
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]).as_deref(), Some("1.2.840.113549"));
        assert_eq!(dotted(&[0x55, 4, 3]).as_deref(), Some("2.5.4.3"));
        assert_eq!(dotted(&[0xff; 20]), None);
    }
}
