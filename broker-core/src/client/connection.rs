//! One Network Connection of a Client: a stream, a [`Protocol`] and a clock.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use culex_codec::{PacketId, SubscriptionOptions, TopicFilter};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::client::error::ClientError;
use crate::client::granted::Granted;
use crate::client::message::{Event, Publication};
use crate::client::options::Options;
use crate::client::protocol::Protocol;
use crate::client::session::Session;

/// Any stream that MQTT can run over: TCP, TLS, a pipe in memory.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A connection to a Server that accepted us.
pub struct Connection {
    reader: ReadHalf<Box<dyn Socket>>,
    writer: WriteHalf<Box<dyn Socket>>,
    protocol: Protocol,
    input: BytesMut,
    keep_alive: Option<Duration>,
    ping_timeout: Duration,
    /// Of the last packet, or of a PINGREQ without an answer.
    last_sent: Instant,
    /// Since when the Server is read; `None` while it is not ([`Self::hold`]).
    reads_since: Option<Instant>,
}

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;
/// More than this waiting to be written, and nothing is published any more.
const OUT_BYTES_FULL: usize = 256 << 10;
/// More than this, and nothing is read any more: the peer does not read our acknowledgements.
const OUT_BYTES_MAX: usize = 1 << 20;
/// Time for the last bytes to leave.
const GOODBYE: Duration = Duration::from_secs(5);

impl Connection {
    /// Connects by TCP and waits for the Server to accept.
    ///
    /// # Errors
    /// If the Server cannot be found or reached, does not answer in time, or refuses. The Session is lost then; one with
    /// something in it is for [`Self::resume`].
    pub async fn open(options: &Options, mut session: Session) -> Result<Self, ClientError> {
        Self::resume(options, &mut session).await
    }

    /// The same with a Session that is there still if that fails or this future is dropped; otherwise it is the
    /// connection's, until [`Self::into_session`]. With [`Options::clean_session`] it begins empty.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn resume(options: &Options, session: &mut Session) -> Result<Self, ClientError> {
        let plain = async |stream| Ok(Box::new(stream) as Box<dyn Socket>);
        Self::resume_through(options, session, plain).await
    }

    /// As [`Self::resume`], through what `wrap` makes of the TCP connection: TLS, for example. The time is for all of it.
    ///
    /// # Errors
    /// As [`Self::open`]; an error of `wrap` is a Server that cannot be reached.
    pub async fn resume_through(
        options: &Options,
        session: &mut Session,
        wrap: impl AsyncFnOnce(TcpStream) -> io::Result<Box<dyn Socket>>,
    ) -> Result<Self, ClientError> {
        let connecting = async {
            let (host, port) = (options.host.as_str(), options.port);
            let addresses: Vec<_> = tokio::net::lookup_host((host, port))
                .await
                .map_err(|source| ClientError::Lookup { host: host.to_owned(), source })?
                .collect();
            let unreachable = |source| ClientError::Connect { host: host.to_owned(), port, source };
            let stream = TcpStream::connect(addresses.as_slice()).await.map_err(unreachable)?;
            // A PUBACK must not wait for more to send.
            stream.set_nodelay(true).map_err(ClientError::Io)?;
            let stream = wrap(stream).await.map_err(unreachable)?;
            Self::handshake(stream, options, session).await
        };
        timeout(options.connect_timeout, connecting).await.unwrap_or_else(|_| Err(timed_out(options)))
    }

    /// As [`Self::resume`], over a stream that is connected.
    ///
    /// # Errors
    /// If the Server does not answer in time, or refuses.
    pub async fn resume_over(
        stream: Box<dyn Socket>,
        options: &Options,
        session: &mut Session,
    ) -> Result<Self, ClientError> {
        let handshake = Self::handshake(stream, options, session);
        timeout(options.connect_timeout, handshake).await.unwrap_or_else(|_| Err(timed_out(options)))
    }

    async fn handshake(
        stream: Box<dyn Socket>,
        options: &Options,
        session: &mut Session,
    ) -> Result<Self, ClientError> {
        let mut connection = Self::attached(stream, options, std::mem::take(session));
        let mut lent = Lent { session, connection: &mut connection, is_kept: false };
        lent.connection.protocol.connect(options)?;
        lent.connection.accepted().await?;
        lent.is_kept = true;
        drop(lent);
        Ok(connection)
    }

    /// Over a stream whose CONNECT the Server has already, by another way. Next is [`Self::accepted`].
    pub(crate) fn attached(stream: Box<dyn Socket>, options: &Options, session: Session) -> Self {
        // A clean session starts without state on both sides [MQTT-3.1.2-6].
        let session = if options.clean_session { Session::default() } else { session };
        let (reader, writer) = split(stream);
        Self {
            reader,
            writer,
            protocol: Protocol::new(options, session),
            input: BytesMut::new(),
            keep_alive: None,
            ping_timeout: options.ping_timeout,
            last_sent: Instant::now(),
            reads_since: Some(Instant::now()),
        }
    }

    /// Waits for CONNACK.
    pub(crate) async fn accepted(&mut self) -> Result<(), ClientError> {
        while !self.protocol.handle_conn_ack(&mut self.input)? {
            self.move_bytes(1).await?;
        }
        let keep_alive_s = self.granted().keep_alive_s;
        self.keep_alive = (keep_alive_s > 0).then(|| Duration::from_secs(keep_alive_s.into()));
        Ok(())
    }

    /// What the Server granted.
    pub fn granted(&self) -> &Granted {
        &self.protocol.granted
    }

    /// Whether the Server had Session State for us. Always false in 3.1.
    pub fn is_session_present(&self) -> bool {
        self.granted().is_session_present
    }

    /// Whether another [`Self::publish`] fits.
    pub fn has_room(&self) -> bool {
        self.protocol.wire.out.len() < OUT_BYTES_FULL && self.protocol.has_room()
    }

    /// Whether all is written and all our messages are acknowledged.
    pub fn is_idle(&self) -> bool {
        self.protocol.wire.out.is_empty() && self.protocol.session.in_flight() == 0
    }

    /// QoS 1 and 2 messages without a final acknowledgement.
    pub fn in_flight(&self) -> usize {
        self.protocol.session.in_flight()
    }

    /// Another bound of the messages in flight than [`Options::in_flight`], from now on; what is in flight beyond it stays
    /// so. The Server's own bound holds too.
    ///
    /// # Errors
    /// If what may be sent now cannot be written; the connection is at its end.
    pub fn set_in_flight(&mut self, messages: u16) -> Result<(), ClientError> {
        self.protocol.set_in_flight(messages)
    }

    /// Hands a message over; [`Self::event`] sends it. Its Packet Identifier at QoS 1 and 2 comes back in
    /// [`Event::Published`]; all that is handed over ends in [`Event::Written`].
    ///
    /// # Errors
    /// A topic or size that no packet can have, [`ClientError::NotGranted`] if the Server does not take such a message, or
    /// [`ClientError::WindowFull`] without [`Self::has_room`]. The connection goes on.
    pub fn publish(&mut self, publication: Publication) -> Result<Option<PacketId>, ClientError> {
        if !self.has_room() {
            return Err(ClientError::WindowFull);
        }
        self.protocol.publish(publication)
    }

    /// Sends a message that is in flight once more over this connection, with DUP: for a Server that drops what comes too
    /// fast and never acknowledges it. False if it is not in flight any more, and in 5.0, where a message is sent again over
    /// another connection alone ([MQTT-4.4.0-1] of 5.0). It ends in [`Event::Written`] too.
    ///
    /// # Errors
    /// [`ClientError::WindowFull`] while too much waits to be written. The connection goes on.
    pub fn resend(&mut self, packet_id: PacketId) -> Result<bool, ClientError> {
        if self.protocol.wire.out.len() >= OUT_BYTES_FULL {
            return Err(ClientError::WindowFull);
        }
        if self.protocol.wire.version.is_v5() {
            return Ok(false);
        }
        self.protocol.resend(packet_id)
    }

    /// Hands over QoS 0 messages that are encoded, in the version of this connection.
    pub(crate) fn write_packets(&mut self, packets: BytesMut) {
        self.protocol.write_packets(packets);
    }

    /// Asks for Subscriptions, each with a QoS or with all options; before 5.0 the QoS is all that is sent.
    /// [`Event::Subscribed`] is the answer.
    ///
    /// # Errors
    /// If there is no filter, or they are too many for a packet. The connection goes on.
    pub fn subscribe<O: Into<SubscriptionOptions> + Copy>(
        &mut self,
        filters: &[(TopicFilter<'_>, O)],
    ) -> Result<PacketId, ClientError> {
        self.protocol.subscribe(filters)
    }

    /// Ends Subscriptions; [`Event::Unsubscribed`] is the answer.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub fn unsubscribe(&mut self, filters: &[TopicFilter<'_>]) -> Result<PacketId, ClientError> {
        self.protocol.unsubscribe(filters)
    }

    /// Acknowledges a QoS 1 or 2 message, with [`Options::is_manual_ack`]. The acknowledgement waits for those of the
    /// messages before. Unknown identifiers mean nothing.
    ///
    /// # Errors
    /// If the Server has more messages in flight than there are Packet Identifiers.
    pub fn acknowledge(&mut self, packet_id: PacketId) -> Result<(), ClientError> {
        self.protocol.acknowledge(packet_id)
    }

    /// Moves bytes until something happened. Dropping this future loses nothing.
    ///
    /// # Errors
    /// Any error is the end of the connection.
    pub async fn event(&mut self) -> Result<Event, ClientError> {
        // No answer could be read before.
        self.reads_since.get_or_insert_with(Instant::now);
        loop {
            if let Some(event) = self.protocol.poll_event() {
                return Ok(event);
            }
            self.step().await?;
        }
    }

    /// Writes, keeps the connection alive and reads nothing, for an owner who can take no event now; resolves with the end of
    /// the connection. Whether the Server answers is not known meanwhile. Dropping this future loses nothing.
    pub async fn hold(&mut self) -> ClientError {
        self.reads_since = None;
        loop {
            if let Err(error) = self.move_bytes(0).await {
                return error;
            }
        }
    }

    /// The next event of what was read already.
    pub(crate) fn buffered_event(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.protocol.poll_event() {
                return Ok(Some(event));
            }
            if self.protocol.wire.out.len() >= OUT_BYTES_MAX || self.protocol.handle(&mut self.input)? > 0 {
                return Ok(None);
            }
        }
    }

    /// Decodes one packet, or moves bytes once if there is none.
    async fn step(&mut self) -> Result<(), ClientError> {
        if self.protocol.wire.out.len() >= OUT_BYTES_MAX {
            return self.move_bytes(0).await;
        }
        match self.protocol.handle(&mut self.input)? {
            0 => Ok(()),
            need => self.move_bytes(need).await,
        }
    }

    /// Ends the connection in order: the Server forgets the Will. QoS 2 messages that we took are carried to their
    /// end first, so that a later connection of this Session does not get them again; new ones are left to it.
    ///
    /// # Errors
    /// If the last bytes cannot be written within 5 s.
    pub async fn disconnect(mut self) -> Result<(), ClientError> {
        self.say_goodbye().await
    }

    /// As [`Self::disconnect`], and the Session is still there ([`Self::into_session`]).
    ///
    /// # Errors
    /// As [`Self::disconnect`].
    pub async fn say_goodbye(&mut self) -> Result<(), ClientError> {
        self.protocol.drain();
        let goodbye = async {
            while self.protocol.is_receiving() {
                self.step().await?;
            }
            self.protocol.disconnect()?;
            let Self { writer, protocol, .. } = self;
            writer.write_all_buf(&mut protocol.wire.out).await.map_err(ClientError::Io)?;
            writer.shutdown().await.map_err(ClientError::Io)
        };
        timeout(GOODBYE, goodbye).await.unwrap_or(Err(ClientError::Silent))
    }

    /// The Session, for the next connection.
    pub fn into_session(self) -> Session {
        self.protocol.session
    }

    /// Reads or writes once, or pings. Reads only if `need` is not 0.
    async fn move_bytes(&mut self, need: usize) -> Result<(), ClientError> {
        let (ping_due, silence_from) = self.deadlines();
        let Self { reader, writer, protocol, input, last_sent, .. } = self;
        if need > 0 {
            // Never ahead of the data by more than one read.
            input.reserve(need.clamp(READ_BYTES / 8, READ_BYTES));
        }
        let is_ping_answered = protocol.is_ping_answered();
        let out = &mut protocol.wire.out;
        let moving = async {
            let is_written = tokio::select! {
                written = writer.write_buf(out), if !out.is_empty() => (true, written),
                read = reader.read_buf(input), if need > 0 => (false, read),
                else => std::future::pending().await,
            };
            match is_written {
                (_, Err(error)) => Err(ClientError::Io(error)),
                (_, Ok(0)) => Err(ClientError::Closed),
                (is_written, Ok(_)) => Ok(is_written),
            }
        };
        tokio::select! {
            biased;
            () = until(ping_due) => {
                *last_sent = Instant::now();
                return protocol.ping();
            }
            is_written = moving => {
                if is_written? && is_ping_answered {
                    *last_sent = Instant::now();
                }
            }
            // Behind what is there to be read: an owner who was busy has not read the answer yet.
            () = until(silence_from) => return Err(ClientError::Silent),
        }
        Ok(())
    }

    /// When the next PINGREQ is due [MQTT-3.1.2-23], or when the Server has not answered the last one.
    fn deadlines(&self) -> (Option<Instant>, Option<Instant>) {
        let Some(keep_alive) = self.keep_alive else { return (None, None) };
        match self.reads_since {
            Some(reads_since) if !self.protocol.is_ping_answered() => {
                let asked = self.last_sent.max(reads_since);
                (None, Some(asked + self.ping_timeout.min(keep_alive / 2)))
            }
            // Behind what is not written yet a PINGREQ is of no use.
            None if !self.protocol.wire.out.is_empty() => (None, None),
            Some(_) | None => (Some(self.last_sent + keep_alive), None),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A Session that a connection has from its CONNECT on, and that goes back unless the Server accepts: also if nobody waits
/// for that any more.
struct Lent<'a> {
    session: &'a mut Session,
    connection: &'a mut Connection,
    is_kept: bool,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            std::mem::swap(self.session, &mut self.connection.protocol.session);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

fn timed_out(options: &Options) -> ClientError {
    let (host, port) = (options.host.clone(), options.port);
    ClientError::ConnectTimeout { host, port, seconds: options.connect_timeout.as_secs() }
}
