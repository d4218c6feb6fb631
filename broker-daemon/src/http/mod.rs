//! The HTTP API on a listener of its own: connections, who may ask at all, and the token.
//!
//! It has a thread of its own, so that what is asked here holds up neither the lanes nor the front door. Connections,
//! headers, bodies and the time for each are bounded; whoever does not read is closed.

mod connection;
mod guard;
mod patient;
mod token;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

pub use self::token::Token;

use crate::api::{self, Api, Door};

/// A socket that is listened on.
#[derive(Debug)]
pub struct HttpListener {
    socket: TcpListener,
    address: SocketAddr,
}

/// The server at work; it ends when this is dropped.
#[derive(Debug)]
pub struct HttpServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpListener {
    /// Listens.
    ///
    /// # Errors
    /// Those of the system: the port is taken, or may not be had.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { address: socket.local_addr()?, socket })
    }

    /// Where it listens, with the port that the system has chosen.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on. Certificate and limits are those of the `Live` of `api`.
    ///
    /// # Errors
    /// If the system has no thread.
    pub fn serve(self, api: Arc<Api>, door: Door) -> io::Result<HttpServer> {
        let live = Arc::clone(api.live());
        let has_users = matches!(&door, Door::Http { users: Some(_), .. });
        let router = guard::guarded(api::router(api, door), &live, has_users);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                let socket = match tokio::net::TcpListener::from_std(self.socket) {
                    Ok(socket) => socket,
                    Err(error) => {
                        tracing::error!(%error, "the HTTP API cannot listen");
                        return;
                    }
                };
                tokio::select! {
                    () = connection::accept(socket, router, live) => {}
                    // Whoever holds the other end is gone either way.
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(100));
        };
        let thread = thread::Builder::new().name("culex-http".to_owned()).spawn(serve)?;
        Ok(HttpServer { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended before.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
