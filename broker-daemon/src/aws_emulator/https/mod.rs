//! HTTPS of the endpoint: `POST /topics/…` publishes (AIC-NET-06), `GET /mqtt` opens a WebSocket (AIC-NET-05).

mod publish;
mod signature;

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use self::signature::Signature;
use super::registry::PeerIdentity;
use super::violations::Action;
use super::{Shared, websocket};

/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Bytes of its head.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// What the key of a WebSocket is hashed with. RFC 6455, 1.3
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

type Answer = Response<Full<Bytes>>;

/// One connection, with all that its requests need.
struct Door {
    shared: Arc<Shared>,
    /// The certificate, if there is one.
    identity: Option<PeerIdentity>,
    /// The WebSocket that a request has opened, and whose it is.
    opened: Mutex<Option<(OnUpgrade, PeerIdentity)>>,
}

/// Why a request is not done: the rule that it breaks, the status, and what is said.
struct Refusal {
    id: &'static str,
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(id: &'static str, status: StatusCode, message: impl Into<String>) -> Self {
        Self { id, status, message: message.into() }
    }
}

/// Serves a connection: requests for [`super::Limits::connect_timeout`], a WebSocket as long as it lasts.
pub(super) async fn serve<S>(shared: Arc<Shared>, stream: S, identity: Option<PeerIdentity>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = shared.lock().limits.connect_timeout;
    let door = Arc::new(Door { shared, identity, opened: Mutex::new(None) });
    let service = service_fn(|request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, Infallible>(door.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    let requests = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    if let Ok(Err(error)) = timeout(patience, requests).await
        && error.is_parse()
    {
        door.violate("AIC-NET-03", "no HTTP where HTTPS is spoken; MQTT wants its ALPN".to_owned(), 400);
    }
    let opened = door.opened.lock().take();
    if let Some((upgrade, identity)) = opened
        && let Ok(stream) = upgrade.await
    {
        websocket::carry(Arc::clone(&door.shared), TokioIo::new(stream), identity).await;
    }
}

impl Door {
    async fn answer(&self, mut request: Request<Incoming>) -> Answer {
        let summary =
            format!("{} {}", request.method(), request.uri().path().chars().take(64).collect::<String>());
        let done = match (request.method(), request.uri().path()) {
            (&Method::GET, "/mqtt") => self.open_websocket(&mut request),
            (&Method::POST, path) if path.starts_with("/topics/") => self.publish(request).await,
            (_, path) if path == "/mqtt" || path.starts_with("/topics/") => {
                Ok(self.say(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"))
            }
            _ => Ok(self.say(StatusCode::NOT_FOUND, "Not found")),
        };
        done.unwrap_or_else(|Refusal { id, status, message }| {
            self.violate(id, format!("{summary}: {message}"), status.as_u16());
            self.say(status, &message)
        })
    }

    /// Who asks: the certificate, or else whoever has signed. `None` if nobody has.
    fn identity(&self, request: &Request<Incoming>) -> Result<Option<PeerIdentity>, Refusal> {
        if let Some(identity) = &self.identity {
            return Ok(Some(identity.clone()));
        }
        let found = Signature::find(&query(request.uri()), request.headers());
        let found = found.map_err(|why| Refusal::new("AIC-NET-05", StatusCode::FORBIDDEN, why))?;
        Ok(found.map(|Signature| PeerIdentity::SigV4))
    }

    /// AIC-NET-05
    fn open_websocket(&self, request: &mut Request<Incoming>) -> Result<Answer, Refusal> {
        let refuse = |status, message: &str| Err(Refusal::new("AIC-NET-05", status, message));
        if self.identity.is_some() {
            return refuse(
                StatusCode::FORBIDDEN,
                "MQTT over WebSocket is for SigV4 or a custom authoriser, not for a client certificate",
            );
        }
        let headers = request.headers();
        if !has(headers, &header::UPGRADE, "websocket") || !has(headers, &header::SEC_WEBSOCKET_VERSION, "13")
        {
            return refuse(StatusCode::BAD_REQUEST, "No request for a WebSocket of version 13");
        }
        if !has(headers, &header::SEC_WEBSOCKET_PROTOCOL, "mqtt") {
            return refuse(StatusCode::BAD_REQUEST, "The subprotocol of the WebSocket is \"mqtt\"");
        }
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
            return refuse(StatusCode::BAD_REQUEST, "A WebSocket has a key");
        };
        let hash = Sha1::new().chain_update(key.as_bytes()).chain_update(WEBSOCKET_GUID).finalize();
        // User name and password are in CONNECT.
        let identity = self.identity(request)?.unwrap_or(PeerIdentity::CustomAuthorizer);
        *self.opened.lock() = Some((hyper::upgrade::on(request), identity));
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let accept = HeaderValue::from_str(&BASE64_STANDARD.encode(hash));
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
        headers.extend(accept.map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
        Ok(answer)
    }

    fn say(&self, status: StatusCode, message: &str) -> Answer {
        let trace = self.shared.lock().chance.next();
        let body = serde_json::json!({ "message": message, "traceId": format!("{trace:016x}") });
        let mut answer = Response::new(Full::from(body.to_string()));
        *answer.status_mut() = status;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }

    fn violate(&self, id: &'static str, packet: String, status: u16) {
        let action = Action::Answered(status);
        self.shared.lock().violate_as(String::new(), id, packet, action, Instant::now());
    }
}

/// Whether a header names something, perhaps among others.
fn has(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(wanted))
}

/// The parameters of a query, decoded.
fn query(uri: &Uri) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(n, v)| (decode(n), decode(v)))
        .collect()
}
