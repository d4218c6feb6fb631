//! A web service that gets webhooks, in this process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use culex_benches::Result;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinSet};

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// 200 at once.
    Prompt,
    /// 500 at once.
    Failing,
    /// Never.
    Silent,
}

/// Listens until it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    messages: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Receiver {
    pub(crate) fn start(runtime: &Runtime, manner: Manner) -> Result<Self> {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let messages = Arc::new(AtomicU64::new(0));
        let task = runtime.spawn(serve(listener, manner, Arc::clone(&messages))).abort_handle();
        Ok(Self { address, messages, task })
    }

    /// Messages that it got so far.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, manner: Manner, messages: Arc<AtomicU64>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Without it some answers only wait for the system.
        let _ = stream.set_nodelay(true);
        let messages = Arc::clone(&messages);
        let service = service_fn(move |request| answer(request, manner, Arc::clone(&messages)));
        connections.spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(
    request: Request<Incoming>,
    manner: Manner,
    messages: Arc<AtomicU64>,
) -> std::result::Result<Response<Empty<Bytes>>, Infallible> {
    if let Ok(body) = request.into_body().collect().await {
        messages.fetch_add(count(&body.to_bytes()), Ordering::Relaxed);
    }
    let mut response = Response::new(Empty::new());
    match manner {
        Manner::Prompt => {}
        Manner::Failing => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        Manner::Silent => std::future::pending().await,
    }
    Ok(response)
}

/// Messages of a body: of a batch, or one.
fn count(body: &[u8]) -> u64 {
    serde_json::from_slice::<Vec<&RawValue>>(body).map_or(1, |batch| batch.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_as_its_messages() {
        assert_eq!([count(b"{\"id\":[1,2]}"), count(b"[{\"id\":1},{\"id\":2}]")], [1, 2]);
    }
}
