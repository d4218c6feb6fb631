//! One Network Connection of a Client: a stream, a [`Protocol`] and a clock.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use culex_codec::{PacketId, QoS, TopicFilter};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::client::error::ClientError;
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
    /// Of the last packet, or of a PINGREQ without an answer.
    last_sent: Instant,
    session_present: bool,
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
    /// If the Server cannot be found or reached, does not answer in time, or refuses.
    pub async fn open(options: &Options, session: Session) -> Result<Self, ClientError> {
        Self::open_through(options, session, async |stream| Ok(Box::new(stream) as Box<dyn Socket>)).await
    }

    /// The same, through what `wrap` makes of the TCP connection: TLS, for example. The time is for all of it.
    ///
    /// # Errors
    /// As [`Self::open`]; an error of `wrap` is a Server that cannot be reached.
    pub async fn open_through(
        options: &Options,
        session: Session,
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

    /// The same over a stream that is connected.
    ///
    /// # Errors
    /// If the Server does not answer in time, or refuses.
    pub async fn over(
        stream: Box<dyn Socket>,
        options: &Options,
        session: Session,
    ) -> Result<Self, ClientError> {
        let handshake = Self::handshake(stream, options, session);
        timeout(options.connect_timeout, handshake).await.unwrap_or_else(|_| Err(timed_out(options)))
    }

    async fn handshake(
        stream: Box<dyn Socket>,
        options: &Options,
        session: Session,
    ) -> Result<Self, ClientError> {
        let mut connection = Self::attached(stream, options, session);
        connection.protocol.connect(options)?;
        connection.accepted().await?;
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
            keep_alive: (options.keep_alive > 0).then(|| Duration::from_secs(u64::from(options.keep_alive))),
            last_sent: Instant::now(),
            session_present: false,
        }
    }

    /// Waits for CONNACK.
    pub(crate) async fn accepted(&mut self) -> Result<(), ClientError> {
        loop {
            if let Some(session_present) = self.protocol.handle_conn_ack(&mut self.input)? {
                self.session_present = session_present;
                return Ok(());
            }
            self.move_bytes(1).await?;
        }
    }

    /// Whether the Server had Session State for us. Always false in 3.1.
    pub fn is_session_present(&self) -> bool {
        self.session_present
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

    /// Hands a message over; [`Self::event`] sends it. Its Packet Identifier at QoS 1 and 2 comes back in
    /// [`Event::Published`]; all that is handed over ends in [`Event::Written`].
    ///
    /// # Errors
    /// A topic or size that no packet can have, or [`ClientError::WindowFull`] without [`Self::has_room`].
    pub fn publish(&mut self, publication: Publication) -> Result<Option<PacketId>, ClientError> {
        if !self.has_room() {
            return Err(ClientError::WindowFull);
        }
        self.protocol.publish(publication)
    }

    /// Hands over QoS 0 messages that are encoded, in the version of this connection.
    pub(crate) fn write_packets(&mut self, packets: BytesMut) {
        self.protocol.write_packets(packets);
    }

    /// Asks for Subscriptions; [`Event::Subscribed`] is the answer.
    ///
    /// # Errors
    /// If there is no filter, or they are too many for a packet.
    pub fn subscribe(&mut self, filters: &[(TopicFilter<'_>, QoS)]) -> Result<PacketId, ClientError> {
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
        loop {
            if let Some(event) = self.protocol.poll_event() {
                return Ok(event);
            }
            self.step().await?;
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

    /// As [`Self::disconnect`], and the Session is still there.
    pub(crate) async fn say_goodbye(&mut self) -> Result<(), ClientError> {
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
        let deadline = self.keep_alive.map(|keep_alive| self.last_sent + keep_alive);
        let alarm = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let Self { reader, writer, protocol, input, .. } = self;
        if need > 0 {
            // Never ahead of the data by more than one read.
            input.reserve(need.clamp(READ_BYTES / 8, READ_BYTES));
        }
        tokio::select! {
            written = writer.write_buf(&mut protocol.wire.out), if !protocol.wire.out.is_empty() => {
                if written.map_err(ClientError::Io)? == 0 {
                    return Err(ClientError::Closed);
                }
                if protocol.is_ping_answered() {
                    self.last_sent = Instant::now();
                }
            }
            read = reader.read_buf(input), if need > 0 => {
                if read.map_err(ClientError::Io)? == 0 {
                    return Err(ClientError::Closed);
                }
            }
            () = alarm => self.on_keep_alive()?,
        }
        Ok(())
    }

    /// [MQTT-3.1.2-23]: the time since the last packet is over. The same time again is the Server's to answer.
    fn on_keep_alive(&mut self) -> Result<(), ClientError> {
        if !self.protocol.is_ping_answered() {
            return Err(ClientError::Silent);
        }
        self.last_sent = Instant::now();
        self.protocol.ping()
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
