//! Where the broker answers its operator, and programs: the control socket and the HTTP API.

use std::io;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::api::{self, Api, Door};
use crate::cli::human;
use crate::cli::state::State;
use crate::config::Config;
use crate::control::{self, ControlSocket};
use crate::exit::Exit;
use crate::http::{HttpListener, HttpServer, Token};
use crate::users::Users;

/// A task that ends with its owner, so that what it holds is cleaned up.
pub(super) struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers on the control socket, if there is a directory to have it in. A broker without one serves all the same.
pub(super) async fn control(api: &Arc<Api>, state: &State) -> Option<AbortOnDrop> {
    let path = state.directory()?.join(control::FILE);
    match ControlSocket::bind(path.clone()).await {
        Ok(socket) => {
            let router = api::router(Arc::clone(api), Door::Owner);
            Some(AbortOnDrop(tokio::spawn(socket.serve(router))))
        }
        Err(error) => {
            let error = human::io(&error);
            tracing::warn!(path = %path.display(), "no control socket, so `culex ctl` cannot ask this broker: {error}");
            None
        }
    }
}

/// The socket of the HTTP API, if there is to be one. Nobody has asked for the one that is there without a configuration,
/// so it may be missing.
pub(super) fn listen(config: &Config, is_configured: bool) -> Result<Option<HttpListener>, Exit> {
    let Some(settings) = &config.http else { return Ok(None) };
    let address = settings.address;
    match HttpListener::bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if is_configured => {
            human::complain(cannot_listen(&address.to_string(), &error, "another address under [http]"));
            Err(Exit::CannotBind)
        }
        Err(error) => {
            let remedy = "another address, with CULEX__HTTP__ADDRESS=127.0.0.1:PORT";
            tracing::warn!(
                "no HTTP API and no page: {}",
                cannot_listen(&address.to_string(), &error, remedy)
            );
            Ok(None)
        }
    }
}

fn cannot_listen(address: &str, error: &io::Error, remedy: &str) -> String {
    format!("cannot listen on {address}: {}. Take {remedy}", human::io(error))
}

/// Answers by HTTP. Gives the link of the page, with the token if nobody has a password to log in with.
pub(super) fn serve(
    listener: HttpListener,
    api: Arc<Api>,
    state: &State,
    users: Option<Users>,
) -> Option<(HttpServer, String)> {
    let token = match (state.directory(), &users) {
        (Some(directory), _) => Token::kept_in(directory),
        (None, None) => Token::new(),
        // Nobody would ever learn it.
        (None, Some(_)) => Err(io::ErrorKind::NotFound.into()),
    };
    let token = match token {
        Ok(token) => Some(token),
        Err(error) => {
            if users.is_none() {
                tracing::warn!("the HTTP API lets nobody in, as there is no token: {}", human::io(&error));
            }
            None
        }
    };
    let scheme = if api.live().tls().is_some() { "https" } else { "http" };
    let mut page = format!("{scheme}://{}/", listener.address());
    if let Some(token) = token.as_ref().filter(|_| users.is_none()) {
        page.push_str(&format!("#token={}", token.reveal()));
    }
    match listener.serve(api, Door::Http { users, token }) {
        Ok(server) => Some((server, page)),
        Err(error) => {
            tracing::warn!("no HTTP API and no page: {}", human::io(&error));
            None
        }
    }
}
