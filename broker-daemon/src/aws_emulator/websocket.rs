//! MQTT over a WebSocket: binary frames are bytes of packets, wherever they begin and end. AIC-NET-05; RFC 6455
//!
//! No frame is held in memory: what comes is unmasked and passed on, piece by piece.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex,
    split,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Shared;
use super::connection;
use super::registry::PeerIdentity;

/// The most that waits between WebSocket and MQTT, and is a frame to the client.
const PIECE_BYTES: usize = 16 << 10;
/// So long the last frames may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// The most that a control frame carries.
const CONTROL_BYTES_MAX: usize = 125;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED: u16 = 1003;

/// Serves MQTT over a WebSocket that was opened, until one of them ends.
pub(super) async fn carry<S>(shared: Arc<Shared>, stream: S, identity: PeerIdentity)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (near, far) = duplex(PIECE_BYTES);
    let service = connection::carry(shared, near, identity);
    let frames = exchange(stream, far);
    tokio::pin!(service, frames);
    tokio::select! {
        () = &mut service => {
            // What it said last, and a close.
            let _ = timeout(FAREWELL, frames).await;
        }
        () = &mut frames => service.await,
    }
}

/// Carries both ways until one has ended.
async fn exchange<S: AsyncRead + AsyncWrite>(stream: S, mqtt: DuplexStream) {
    let (reader, writer) = split(stream);
    let writer = Mutex::new(writer);
    let (from_mqtt, to_mqtt) = split(mqtt);
    tokio::select! {
        result = receive(reader, to_mqtt, &writer) => {
            // Whoever has broken the stream is told nothing.
            if let Ok(code) = result {
                let _ = send(&writer, CLOSE, &code.to_be_bytes()).await;
            }
        }
        _ = transmit(from_mqtt, &writer) => {}
    }
}

/// Packets of the service become frames; a close, when there are no more.
async fn transmit<W: AsyncWrite>(
    mut mqtt: ReadHalf<DuplexStream>,
    writer: &Mutex<WriteHalf<W>>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = mqtt.read(&mut piece).await?;
        let bytes = piece.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            send(writer, CLOSE, &NORMAL.to_be_bytes()).await?;
            return writer.lock().await.shutdown().await;
        }
        send(writer, BINARY, bytes).await?;
    }
}

/// One frame of ours, which is whole and not masked.
async fn send<W: AsyncWrite>(writer: &Mutex<WriteHalf<W>>, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(payload.len() + 4);
    frame.push(0x80 | opcode);
    match u8::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(length),
        Ok(_) | Err(_) => {
            // No piece is larger.
            frame.push(126);
            frame.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    let mut writer = writer.lock().await;
    writer.write_all(&frame).await?;
    writer.flush().await
}

/// The head of a frame of the client.
#[derive(Debug)]
struct Head {
    is_last: bool,
    opcode: u8,
    mask: [u8; 4],
    length: u64,
}

impl Head {
    /// `None` if it is not as the protocol wants it.
    async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Option<Self>> {
        let [first, second] = u16_bytes(reader).await?;
        let length = match second & 0x7f {
            126 => reader.read_u16().await?.into(),
            127 => reader.read_u64().await?,
            length => length.into(),
        };
        let is_reserved = first & 0x70 != 0;
        let is_masked = second & 0x80 != 0;
        if is_reserved || !is_masked {
            return Ok(None);
        }
        let mask = reader.read_u32().await?.to_be_bytes();
        Ok(Some(Self { is_last: first & 0x80 != 0, opcode: first & 0x0f, mask, length }))
    }

    const fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }
}

async fn u16_bytes<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<[u8; 2]> {
    Ok(reader.read_u16().await?.to_be_bytes())
}

/// Frames of the client become bytes for the service. Gives the code of the close that ends it.
async fn receive<R: AsyncRead, W: AsyncWrite>(
    mut reader: ReadHalf<R>,
    mut mqtt: WriteHalf<DuplexStream>,
    writer: &Mutex<WriteHalf<W>>,
) -> io::Result<u16> {
    let mut is_within = false;
    loop {
        let Some(head) = Head::read(&mut reader).await? else { return Ok(PROTOCOL_ERROR) };
        if head.is_control() {
            let length = usize::try_from(head.length).unwrap_or(usize::MAX);
            if !head.is_last || length > CONTROL_BYTES_MAX {
                return Ok(PROTOCOL_ERROR);
            }
            let mut payload = vec![0; length];
            reader.read_exact(&mut payload).await?;
            unmask(&mut payload, head.mask, 0);
            match head.opcode {
                CLOSE => return Ok(NORMAL),
                PING => send(writer, PONG, &payload).await?,
                PONG => {}
                _ => return Ok(PROTOCOL_ERROR),
            }
            continue;
        }
        match (head.opcode, is_within) {
            (BINARY, false) | (CONTINUATION, true) => {}
            (BINARY | CONTINUATION, _) => return Ok(PROTOCOL_ERROR),
            // Text is not MQTT. [MQTT-6.0.0-1]
            (_, _) => return Ok(UNSUPPORTED),
        }
        is_within = !head.is_last;
        pass(&mut reader, &mut mqtt, &head).await?;
    }
}

/// The payload of a frame, piece by piece.
async fn pass<R: AsyncRead>(
    reader: &mut ReadHalf<R>,
    mqtt: &mut WriteHalf<DuplexStream>,
    head: &Head,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut done = 0_u64;
    while done < head.length {
        let wanted = usize::try_from(head.length - done).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let count = reader.read(piece.get_mut(..wanted).unwrap_or_default()).await?;
        let bytes = piece.get_mut(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        unmask(bytes, head.mask, done);
        mqtt.write_all(bytes).await?;
        done += count as u64;
    }
    Ok(())
}

/// `offset` is where the bytes are in their frame.
fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: u64) {
    let begin = usize::try_from(offset % 4).unwrap_or(0);
    for (byte, mask) in bytes.iter_mut().zip(mask.iter().cycle().skip(begin)) {
        *byte ^= mask;
    }
}
