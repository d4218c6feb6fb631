//! One request at a time to one service, over a connection that is kept for the next.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::http;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use culex_core::client::{Socket, describe_io};

use super::guard::{self, ResolveError};
use super::reply::{Reply, retry_after};
use super::request::Request;
use super::target::Target;
use crate::config::Webhook;
use crate::tls::client::Connector;

/// Bytes of a reply that are read; a longer one costs the connection and nothing else.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// Bytes and number of its header fields.
const HEAD_BYTES_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 100;
/// What has taken a request is given so long to end its reply.
const REPLY_REST: Duration = Duration::from_secs(1);
/// A request lets others have the core first, because who serves clients may be waiting for it; but not one that follows
/// another so soon, or a busy webhook would wait for all others each time.
const SOON: Duration = Duration::from_millis(5);
/// After this time a name is looked up again.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// What secures connections from now on: a reload replaces it, because its files may have changed.
pub(crate) type SharedConnector = Arc<ArcSwap<Connector>>;

/// Sends to one service.
#[derive(Debug)]
pub(crate) struct Sender {
    target: Target,
    connector: Option<SharedConnector>,
    allow_link_local: bool,
    timeout: Duration,
    connect_timeout: Duration,
    kept: Option<Kept>,
    /// The last request, or the beginning.
    sent_at: Instant,
}

/// A connection between two requests.
#[derive(Debug)]
struct Kept {
    requests: SendRequest<Full<Bytes>>,
    driver: Driver,
    until: Instant,
    address: SocketAddr,
}

/// The task that moves the bytes of a connection, and ends with it.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// There is no address, or none that is sent to.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Nobody listens, or nobody answers.
    #[error("cannot connect to {address}: {}", describe_io(.source))]
    Connect {
        /// Where, the last one that was tried.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The time for the connection is over.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// TLS failed.
    #[error("no TLS with {address}: {}", describe_io(.source))]
    Tls {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The time for the request is over.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection broke, or what came over it is not HTTP.
    #[error("the service broke the connection off, or does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
}

/// An answer, with where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) address: SocketAddr,
}

impl Sender {
    /// For a webhook; `connector` is for `https`.
    pub(crate) fn new(webhook: &Webhook, target: Target, connector: Option<SharedConnector>) -> Self {
        Self {
            target,
            connector,
            allow_link_local: webhook.allow_link_local == Some(true),
            timeout: webhook.timeout,
            connect_timeout: webhook.connect_timeout,
            kept: None,
            sent_at: Instant::now(),
        }
    }

    /// Sends a request and reads the answer. It is taken when its head is there, whatever becomes of the rest.
    ///
    /// # Errors
    /// [`SendError`]; whether the service has the request is open.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<Answer, SendError> {
        let deadline = Instant::now() + self.timeout;
        let late = SendError::Timeout(self.timeout);
        timeout_at(deadline, self.exchange(request, deadline)).await.unwrap_or(Err(late))
    }

    async fn exchange(&mut self, request: &Request, deadline: Instant) -> Result<Answer, SendError> {
        if self.sent_at.elapsed() >= SOON {
            thread::yield_now();
        }
        self.sent_at = Instant::now();
        // A kept connection may have ended while nobody looked; then a new one gets the request.
        let is_fresh = |kept: &Kept| kept.until > Instant::now() && !kept.requests.is_closed();
        if let Some(mut kept) = self.kept.take().filter(is_fresh)
            && let Ok(response) = kept.send(self.request(request)).await
        {
            return Ok(self.finish(kept, response, deadline).await);
        }
        let mut kept = timeout(self.connect_timeout, self.connect())
            .await
            .unwrap_or(Err(SendError::ConnectTimeout(self.connect_timeout)))?;
        let response = kept.send(self.request(request)).await?;
        Ok(self.finish(kept, response, deadline).await)
    }

    /// A connection to exactly one of the addresses that were looked at.
    async fn connect(&self) -> Result<Kept, SendError> {
        let mut failure = None;
        for address in guard::resolve(&self.target, self.allow_link_local).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.speak(stream, address).await,
                Err(source) => failure = Some(SendError::Connect { address, source }),
            }
        }
        Err(failure.unwrap_or(SendError::ConnectTimeout(self.connect_timeout)))
    }

    async fn speak(&self, stream: TcpStream, address: SocketAddr) -> Result<Kept, SendError> {
        // Nagle's algorithm would hold up the end of each request; without it the kernel says so, and nothing else is lost.
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Socket> = match &self.connector {
            None => Box::new(stream),
            Some(connector) => {
                let connector = connector.load_full();
                connector.secure(stream).await.map_err(|source| SendError::Tls { address, source })?
            }
        };
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX).max_headers(FIELDS_MAX);
        let (requests, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // What it ends with comes with the answer.
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        Ok(Kept { requests, driver, until: Instant::now() + KEPT_FOR, address })
    }

    fn request(&self, request: &Request) -> http::Request<Full<Bytes>> {
        let mut built = http::Request::new(Full::new(request.body.clone()));
        *built.method_mut() = request.method.parse().unwrap_or(http::Method::POST);
        // A target was parsed from characters that a URI has.
        *built.uri_mut() = self.target.path().parse().unwrap_or_default();
        built.headers_mut().clone_from(&request.headers);
        built
    }

    /// Reads the reply as far as it is wanted, and keeps the connection if it can be used again.
    async fn finish(&mut self, kept: Kept, response: http::Response<Incoming>, deadline: Instant) -> Answer {
        let field = |name: http::HeaderName| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let status = response.status();
        let mut reply = Reply {
            status: status.as_u16(),
            retry_after: field(http::header::RETRY_AFTER)
                .and_then(|text| retry_after(&text, SystemTime::now())),
            content_type: field(http::header::CONTENT_TYPE),
            location: field(http::header::LOCATION),
            body: Bytes::new(),
        };
        let deadline = if status.is_success() { deadline.min(Instant::now() + REPLY_REST) } else { deadline };
        let (body, is_whole) = read(response.into_body(), deadline).await;
        reply.body = body;
        let answer = Answer { reply, address: kept.address };
        if is_whole {
            self.kept = Some(kept);
        } else {
            drop(kept.driver);
        }
        answer
    }
}

impl Kept {
    async fn send(
        &mut self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        self.requests.ready().await?;
        self.requests.send_request(request).await
    }
}

/// As much of a body as is kept, and whether that was all of it.
async fn read(mut body: Incoming, deadline: Instant) -> (Bytes, bool) {
    let mut read = BytesMut::new();
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return (read.freeze(), true),
            Ok(Some(Err(_))) | Err(_) => return (read.freeze(), false),
        };
        let Some(data) = frame.data_ref() else { continue };
        let room = REPLY_BYTES_MAX - read.len();
        read.extend_from_slice(data.get(..room).unwrap_or(data));
        if data.len() > room {
            return (read.freeze(), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::webhook::request::Composer;

    /// A service that says the same to every connection, and how many came.
    async fn service(says: &'static [u8], stays: bool) -> (Webhook, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        if stream.write_all(says).await.is_err() || !stays {
                            return;
                        }
                    }
                });
            }
        });
        (Webhook { url, timeout: Duration::from_secs(20), ..Webhook::default() }, serving)
    }

    fn sender(webhook: &Webhook) -> (Sender, Request) {
        let target = Target::parse(&webhook.url).unwrap();
        let request = Composer::new(webhook, &target.authority()).compose(&[], SystemTime::now());
        (Sender::new(webhook, target, None), request)
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_made_anew_when_it_has_ended() {
        for stays in [true, false] {
            let (webhook, serving) = service(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", stays).await;
            let (mut sender, request) = sender(&webhook);
            for _ in 0..5 {
                let answer = sender.send(&request).await.unwrap();
                assert_eq!((answer.reply.status, &*answer.reply.body), (200, &b"ok"[..]));
            }
            serving.abort();
        }
    }

    #[tokio::test]
    async fn of_an_endless_reply_64_kibibytes_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook =
            Webhook { url: format!("http://{}/", listener.local_addr().unwrap()), ..Webhook::default() };
        let endless = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
        });
        let (mut sender, request) = sender(&webhook);
        let answer = sender.send(&request).await.unwrap();
        assert_eq!((answer.reply.status, answer.reply.body.len()), (200, REPLY_BYTES_MAX));
        // The connection is given up, otherwise this would never end.
        endless.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_http_is_an_error() {
        let too_many: &'static [u8] =
            Vec::leak([&b"HTTP/1.1 200 OK\r\n"[..], &b"a: b\r\n".repeat(500), b"\r\n"].concat());
        let too_long: &'static [u8] =
            Vec::leak([&b"HTTP/1.1 200 OK\r\na: "[..], &[b'x'; 200_000], b"\r\n\r\n"].concat());
        for says in [&b"220 smtp.example.org ESMTP\r\n"[..], b"\x16\x03\x01", b"", too_many, too_long] {
            let (webhook, serving) = service(says, false).await;
            let (mut sender, request) = sender(&webhook);
            let error = sender.send(&request).await.unwrap_err();
            assert!(matches!(error, SendError::Http(_)), "{error}");
            serving.abort();
        }
    }

    #[tokio::test]
    async fn who_accepts_and_says_nothing_is_waited_for_no_longer_than_the_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let webhook = Webhook { url, timeout: Duration::from_millis(50), ..Webhook::default() };
        let (mut sender, request) = sender(&webhook);
        assert!(matches!(sender.send(&request).await, Err(SendError::Timeout(_))));
    }

    #[tokio::test]
    async fn a_link_local_address_is_not_connected_to() {
        for url in ["http://169.254.169.254/latest/", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/"]
        {
            let webhook = Webhook { url: url.to_owned(), ..Webhook::default() };
            let (mut sender, request) = sender(&webhook);
            let error = sender.send(&request).await.unwrap_err();
            assert!(matches!(error, SendError::Resolve(ResolveError::Blocked(_))), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let says = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
        let (webhook, serving) = service(says, true).await;
        let (mut sender, request) = sender(&webhook);
        let answer = sender.send(&request).await.unwrap();
        assert_eq!(answer.reply.status, 302);
        assert_eq!(answer.reply.location.as_deref(), Some("http://169.254.169.254/"));
        serving.abort();
    }
}
