//! The client's side of WebSocket, byte by byte: requests, masked frames, and what the Server frames.

#![expect(
    clippy::panic,
    reason = "an expectation that is not met is a failed test; the place that called says which"
)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::client::PATIENCE;
use crate::parse::{Received, parse};

/// Kinds of frames [RFC 6455 section 11.8].
pub const CONTINUATION: u8 = 0;
/// Text.
pub const TEXT: u8 = 1;
/// Bytes.
pub const BINARY: u8 = 2;
/// The end.
pub const CLOSE: u8 = 8;
/// Wants a pong.
pub const PING: u8 = 9;
/// Answers a ping.
pub const PONG: u8 = 10;

/// With what frames are masked here.
const MASK: [u8; 4] = [0x5A, 0x00, 0xFF, 0x81];

/// A request that opens a connection for MQTT, with these further header lines.
#[must_use]
pub fn request(path: &str, further: &[&str]) -> Vec<u8> {
    let further: String = further.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{further}\r\n"
    )
    .into_bytes()
}

/// A request of a client of MQTT 3.1.1.
#[must_use]
pub fn mqtt_request() -> Vec<u8> {
    request("/mqtt", &["Sec-WebSocket-Protocol: mqtt"])
}

/// A whole frame with this kind and payload, masked.
#[must_use]
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    fragment(kind, true, payload)
}

/// A frame that may not be the last of its message.
#[must_use]
pub fn fragment(kind: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![if is_final { 0x80 | kind } else { kind }];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ ..126), _) => frame.push(0x80 | len),
        (_, Ok(len)) => {
            frame.push(0x80 | 126);
            frame.extend(len.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Each part in a binary frame of its own.
#[must_use]
pub fn frames<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    parts.into_iter().flat_map(|part| frame(BINARY, part)).collect()
}

/// What a Server sends, as far as it has come.
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: VecDeque<u8>,
}

impl Incoming {
    /// More bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The head of the answer, when it is complete.
    pub fn answer(&mut self) -> Option<String> {
        let bytes = self.bytes.make_contiguous();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head: Vec<u8> = self.bytes.drain(..end).collect();
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    /// The next whole frame: its kind and payload.
    ///
    /// # Errors
    /// What no Server may send: a mask, reserved bits, fragments.
    pub fn frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, String> {
        let bytes = self.bytes.make_contiguous();
        let [first, second, rest @ ..] = &*bytes else { return Ok(None) };
        if second & 0x80 != 0 || first & 0xF0 != 0x80 {
            return Err(format!("a frame that begins with {first:#04x} {second:#04x}"));
        }
        let head = match (second & 0x7F, rest) {
            (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
            (126 | 127, _) => return Ok(None),
            (len, _) => (2, u64::from(len)),
        };
        let (kind, begin) = (first & 0x0F, head.0);
        let end = usize::try_from(head.1).map_err(|error| error.to_string())? + begin;
        if self.bytes.len() < end {
            return Ok(None);
        }
        Ok(Some((kind, self.bytes.drain(..end).skip(begin).collect())))
    }
}

/// A blocking client over a plain socket.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    incoming: Incoming,
    /// Payloads of binary frames.
    mqtt: Vec<u8>,
}

impl Peer {
    /// Opens a connection and sends nothing.
    ///
    /// # Panics
    /// If the broker cannot be reached.
    #[must_use]
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let open = || {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = open().unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        Self { stream, incoming: Incoming::default(), mqtt: Vec::new() }
    }

    /// Opens a WebSocket connection for MQTT.
    ///
    /// # Panics
    /// If that is refused.
    #[must_use]
    #[track_caller]
    pub fn upgraded(address: SocketAddr) -> Self {
        let mut peer = Self::open(address);
        let answer = peer.ask(&mqtt_request());
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        peer
    }

    /// The same, and CONNECT.
    ///
    /// # Panics
    /// If that is refused.
    #[must_use]
    #[track_caller]
    pub fn connected(address: SocketAddr, connect: &[u8]) -> Self {
        let mut peer = Self::upgraded(address);
        peer.send(frame(BINARY, connect));
        let answer = peer.packet();
        assert!(matches!(answer, Received::ConnAck { code: 0, .. }), "{answer:?}");
        peer
    }

    /// Sends bytes as they are. A connection that the broker has closed already is left to the next read.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The socket.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request and returns the head of the answer.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn ask(&mut self, request: &[u8]) -> String {
        self.send(request);
        loop {
            if let Some(answer) = self.incoming.answer() {
                return answer;
            }
            assert!(self.fill(), "closed without an answer");
        }
    }

    /// The next frame; `None` at the end of the connection.
    ///
    /// # Panics
    /// If nothing comes, or what no Server may send.
    #[track_caller]
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            match self.incoming.frame() {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) if self.fill() => {}
                Ok(None) => return None,
                Err(broken) => panic!("the broker sent {broken}"),
            }
        }
    }

    /// The next MQTT packet, out of binary frames.
    ///
    /// # Panics
    /// If none comes, or another frame.
    #[track_caller]
    pub fn packet(&mut self) -> Received {
        loop {
            match parse(&self.mqtt) {
                Ok(Some((packet, used))) => {
                    self.mqtt.drain(..used);
                    return packet;
                }
                Ok(None) => match self.frame() {
                    Some((BINARY, payload)) => self.mqtt.extend(payload),
                    other => panic!("{other:?} instead of a packet"),
                },
                Err(broken) => panic!("the broker sent a broken packet: {broken}"),
            }
        }
    }

    /// Expects a Close frame with this code and then the end of the connection.
    ///
    /// # Panics
    /// If something else comes, but for packets before it.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) {
        loop {
            match self.frame() {
                Some((BINARY, _)) => {}
                Some((CLOSE, payload)) => {
                    assert_eq!(payload, code.to_be_bytes(), "the code of the Close frame");
                    assert_eq!(self.frame(), None, "nothing follows a Close frame");
                    return;
                }
                other => panic!("{other:?} instead of a Close frame"),
            }
        }
    }

    /// Expects the end of the connection, whatever comes before.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn expect_end(&mut self) {
        while self.fill() {}
    }

    /// More bytes; `false` at the end.
    #[track_caller]
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.incoming.feed(chunk.get(..count).unwrap_or_default());
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}
