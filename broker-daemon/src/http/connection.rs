//! One connection after another: TLS, then HTTP/1.1, within limits of number, size and time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use culex_core::limits::Limit;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::patient::Patient;
use crate::api::{Counts, Held, Live, PeerAddress};

/// Time for a TLS handshake, and for the head of each request, which is also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Bytes of its head, and of what is read at once.
const BUFFER_BYTES: usize = 32 << 10;
/// How long accepting rests when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts for ever.
pub(super) async fn accept(socket: TcpListener, router: Router, live: Arc<Live>) {
    let max = match live.settings().max_connections {
        Limit::AtMost(max) => max.get(),
        Limit::Unlimited => u64::MAX,
    };
    let cell: fn(&Counts) -> &AtomicU64 = |counts| &counts.connections;
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "the HTTP API cannot accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = Held::take(&live, max, cell) else {
            live.counts.connections_refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (router, live) = (router.clone(), Arc::clone(&live));
        tokio::spawn(async move {
            serve(stream, peer, router, live).await;
            drop(seat);
        });
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, live: Arc<Live>) {
    // Answers are written whole.
    let _ = stream.set_nodelay(true);
    let tls = live.tls();
    let stream = Patient::new(stream, live);
    match tls {
        None => speak(stream, peer, router).await,
        Some(tls) => {
            let handshake = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream);
            match timeout(HEAD_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => speak(stream, peer, router).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "the HTTP API: no TLS"),
                Err(_) => tracing::debug!(%peer, "the HTTP API: the TLS handshake took too long"),
            }
        }
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, router: Router) {
    let router = router.layer(axum::Extension(PeerAddress(peer.ip().to_canonical())));
    let service = TowerToHyperService::new(router.into_service::<Incoming>());
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%peer, %error, "a connection of the HTTP API has ended");
    }
}
