//! The request that opens a WebSocket connection [RFC 6455 section 4], as a state machine over bytes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use httparse::{EMPTY_HEADER, Request, Status};
use sha1::{Digest, Sha1};

use super::WebSocket;

/// The longest request.
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
/// What a key is hashed with [RFC 6455 section 1.3].
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A key is so many bytes.
const KEY_BYTES: usize = 16;
/// What clients call MQTT, in the order in which we like it [MQTT-6.0.0-3].
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// A request as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Upgrade {
    bytes: Vec<u8>,
}

/// Why a request opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Refused {
    status: &'static str,
    why: &'static str,
}

const fn refused(status: &'static str, why: &'static str) -> Refused {
    Refused { status, why }
}

impl Upgrade {
    /// Takes the next bytes. The answer, when the request is complete and opens a connection.
    ///
    /// # Errors
    /// If it does not; what is to be answered says [`Refused::response`].
    pub(crate) fn take(&mut self, bytes: &[u8], settings: &WebSocket) -> Result<Option<String>, Refused> {
        const END: &[u8] = b"\r\n\r\n";
        let begin = self.bytes.len().saturating_sub(END.len() - 1);
        self.bytes.extend_from_slice(bytes);
        let sent = self.bytes.iter().zip(b"GET ");
        if sent.clone().any(|(byte, wanted)| byte != wanted) {
            return Err(not_http(&self.bytes));
        }
        let fresh = self.bytes.get(begin..).unwrap_or_default();
        let end = fresh.windows(END.len()).position(|window| window == END).map(|at| begin + at + END.len());
        match end {
            None if self.bytes.len() >= HEAD_BYTES_MAX => {
                Err(refused("431 Request Header Fields Too Large", "the request is longer than 8 KiB"))
            }
            None => Ok(None),
            // [RFC 6455 section 4.1]
            Some(end) if end < self.bytes.len() => {
                Err(refused("400 Bad Request", "data before the connection was opened"))
            }
            Some(_) => answer(&self.bytes, settings).map(Some),
        }
    }
}

impl Refused {
    /// What the client is told.
    pub(crate) fn response(&self) -> String {
        let Self { status, why } = self;
        let upgrade = if status.starts_with("426") {
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close\r\n"
        } else {
            "Connection: close\r\n"
        };
        let text = format!("This is an MQTT broker; it speaks MQTT over WebSocket here.\nRefused: {why}.\n");
        let len = text.len();
        format!(
            "HTTP/1.1 {status}\r\n{upgrade}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len}\r\n\r\n{text}"
        )
    }
}

/// What does not begin as a request of ours does.
fn not_http(bytes: &[u8]) -> Refused {
    let why = match bytes.first() {
        Some(0x10) => "not HTTP but MQTT; this listener is for WebSocket",
        Some(0x16) => "not HTTP but TLS; this listener has none",
        Some(byte) if byte.is_ascii_uppercase() => {
            return refused("405 Method Not Allowed", "WebSocket connections are opened with GET");
        }
        Some(_) | None => "not HTTP",
    };
    refused("400 Bad Request", why)
}

fn answer(bytes: &[u8], settings: &WebSocket) -> Result<String, Refused> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(refused("400 Bad Request", "malformed HTTP")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(refused("431 Request Header Fields Too Large", "more than 64 header fields"));
        }
        Err(_) => return Err(refused("400 Bad Request", "malformed HTTP")),
    }
    if request.version != Some(1) {
        return Err(refused("505 HTTP Version Not Supported", "not HTTP/1.1"));
    }
    let fields = Fields(request.headers);
    let host = fields.only("Host").ok_or(refused("400 Bad Request", "no Host, or several"))?;
    if !fields.has_word("Upgrade", "websocket") || !fields.has_word("Connection", "upgrade") {
        return Err(refused("426 Upgrade Required", "the request does not ask for a WebSocket connection"));
    }
    if fields.only("Sec-WebSocket-Version") != Some("13") {
        return Err(refused("426 Upgrade Required", "not version 13 of WebSocket"));
    }
    let key = fields.only("Sec-WebSocket-Key").filter(|key| is_key(key));
    let key = key.ok_or(refused("400 Bad Request", "no Sec-WebSocket-Key of 16 bytes"))?;
    if !request.path.is_some_and(|target| settings.has_path(target)) {
        return Err(refused("404 Not Found", "the path is not the one that is set (websocket_path)"));
    }
    if fields.all("Origin").any(|origin| !origin.is_some_and(|origin| settings.has_origin(origin, host))) {
        return Err(refused(
            "403 Forbidden",
            "the web page is of another host, and its origin is not allowed (websocket_origins)",
        ));
    }
    let offers = |name: &&&str| fields.has_word_exactly("Sec-WebSocket-Protocol", name);
    // [MQTT-6.0.0-3], [MQTT-6.0.0-4]
    let Some(subprotocol) = SUBPROTOCOLS.iter().find(offers) else {
        return Err(refused(
            "400 Bad Request",
            "the client offers no subprotocol mqtt or mqttv3.1 [MQTT-6.0.0-3]",
        ));
    };
    let accept = BASE64_STANDARD.encode(Sha1::digest(format!("{key}{GUID}")));
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    ))
}

fn is_key(key: &str) -> bool {
    BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    /// The values of all fields of that name; `None` for one that is not text.
    fn all(&self, name: &'static str) -> impl Iterator<Item = Option<&'a str>> {
        let has_name = move |field: &&httparse::Header<'a>| field.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(has_name).map(|field| std::str::from_utf8(field.value).ok().map(str::trim))
    }

    /// The value of a field that stands there once.
    fn only(&self, name: &'static str) -> Option<&'a str> {
        let mut values = self.all(name);
        let value = values.next()??;
        values.next().is_none().then_some(value)
    }

    fn words(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.all(name).flatten().flat_map(|value| value.split(',')).map(str::trim)
    }

    fn has_word(&self, name: &'static str, word: &str) -> bool {
        self.words(name).any(|found| found.eq_ignore_ascii_case(word))
    }

    fn has_word_exactly(&self, name: &'static str, word: &str) -> bool {
        self.words(name).any(|found| found == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.2, for MQTT.
    const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn answer_to(request: &str) -> Result<Option<String>, Refused> {
        Upgrade::default().take(request.as_bytes(), &WebSocket::default().path("/mqtt"))
    }

    #[test]
    fn the_example_of_the_standard_is_answered_as_there() {
        let answer = answer_to(REQUEST).unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{answer}");
        assert!(!answer.contains("Extensions"), "{answer}");
    }

    #[test]
    fn it_may_come_byte_by_byte() {
        let mut upgrade = Upgrade::default();
        let (last, first) = REQUEST.as_bytes().split_last().unwrap();
        for byte in first {
            assert_eq!(upgrade.take(&[*byte], &WebSocket::default()), Ok(None));
        }
        assert!(upgrade.take(&[*last], &WebSocket::default()).unwrap().is_some());
    }

    #[test]
    fn what_clients_write_otherwise_is_understood() {
        for (from, to, subprotocol) in [
            ("Connection: Upgrade", "connection: keep-alive, upgrade", "mqtt"),
            ("Upgrade: websocket", "UPGRADE: WebSocket", "mqtt"),
            ("Protocol: mqtt\r\n", "Protocol: mqttv3.1\r\n", "mqttv3.1"),
            ("Protocol: mqtt\r\n", "Protocol: mqttv3.1, mqtt\r\n", "mqtt"),
            ("Protocol: mqtt\r\n", "Protocol: soap\r\nSec-WebSocket-Protocol: mqtt\r\n", "mqtt"),
            ("Host", "Origin: http://server.example.com:8080\r\nHost", "mqtt"),
            ("Host", "Sec-WebSocket-Extensions: permessage-deflate\r\nHost", "mqtt"),
            ("/mqtt ", "/mqtt?user=x ", "mqtt"),
        ] {
            let answer = answer_to(&REQUEST.replace(from, to)).unwrap().unwrap();
            assert!(answer.contains(&format!("Protocol: {subprotocol}\r\n")), "{to}: {answer}");
        }
    }

    #[test]
    fn what_opens_no_connection_is_told_why() {
        for (from, to, status) in [
            ("GET", "POST", "405"),
            ("GET", "\x10\x0C\0\x04MQTT", "400"),
            ("HTTP/1.1", "HTTP/1.0", "505"),
            ("HTTP/1.1\r\n", "HTTP/1.1\r\n: x\r\n", "400"),
            ("/mqtt", "/other", "404"),
            ("Host: server.example.com\r\n", "", "400"),
            ("Host", "Host: a\r\nHost", "400"),
            ("Upgrade: websocket\r\n", "", "426"),
            ("Connection: Upgrade\r\n", "Connection: close\r\n", "426"),
            ("Version: 13", "Version: 8", "426"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "???", "400"),
            ("Sec-WebSocket-Protocol: mqtt\r\n", "", "400"),
            ("Protocol: mqtt", "Protocol: MQTT", "400"),
            ("Protocol: mqtt", "Protocol: xmpp, soap", "400"),
            ("Host", "Origin: https://evil.example\r\nHost", "403"),
            ("Host", "Origin: null\r\nHost", "403"),
            ("Host", "Origin: http://server.example.com\r\nOrigin: https://evil.example\r\nHost", "403"),
            ("\r\n\r\n", "\r\n\r\n\x02\0", "400"),
        ] {
            let refused = answer_to(&REQUEST.replacen(from, to, 1)).unwrap_err();
            assert!(refused.status.starts_with(status), "{to:?}: {refused:?}");
            assert!(refused.response().starts_with(&format!("HTTP/1.1 {status} ")), "{refused:?}");
        }
        let many = (0..70).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
        let refused = answer_to(&REQUEST.replacen("Host", &format!("{many}Host"), 1)).unwrap_err();
        assert!(refused.status.starts_with("431"), "{refused:?}");
    }

    #[test]
    fn a_request_without_end_is_refused_at_its_bound() {
        let mut upgrade = Upgrade::default();
        let line = "X: 345678901234\r\n";
        upgrade.take(b"GET / HTTP/1.1\r\n", &WebSocket::default()).unwrap();
        let refused = loop {
            if let Err(refused) = upgrade.take(line.as_bytes(), &WebSocket::default()) {
                break refused;
            }
        };
        assert!(refused.status.starts_with("431"), "{refused:?}");
        assert!(upgrade.bytes.len() < HEAD_BYTES_MAX + line.len());
    }
}
