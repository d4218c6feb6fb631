//! `culex bridge pause` and `resume`, and the same for the time of a test.

use std::path::Path;

use serde_json::Value;

use crate::cli::ctl::{Which, body_of, encode};
use crate::cli::human;
use crate::config::Config;
use crate::control::{self, ControlError};
use crate::exit::Exit;

/// Which bridge.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

/// What a bridge shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Pause,
    Resume,
}

pub(super) fn run(arguments: &Arguments, order: Order) -> Exit {
    crate::cli::run_async(async {
        let ordered = match arguments.which.socket(Config::default()) {
            Ok(socket) => give(&socket, &arguments.name, order).await,
            Err(error) => Err(error),
        };
        match ordered {
            Ok(()) => super::super::print(if order == Order::Pause { "paused\n" } else { "resumed\n" }),
            Err(error) => {
                human::complain(error);
                Exit::Failed
            }
        }
    })
}

async fn give(socket: &Path, name: &str, order: Order) -> Result<(), String> {
    let word = if order == Order::Pause { "pause" } else { "resume" };
    let reply = control::request(socket, "POST", &format!("/api/v1/bridges/{}/{word}", encode(name))).await;
    body_of(reply.map_err(|error| error.to_string())?).map(drop)
}

/// A running bridge that is away until this is told to bring it back.
#[derive(Debug)]
pub(super) struct Paused<'a> {
    socket: &'a Path,
    name: &'a str,
}

/// Whether there was a bridge to pause.
#[derive(Debug)]
pub(super) enum Pausing<'a> {
    Done(Paused<'a>),
    /// There is none that runs, or it was paused before.
    Needless(String),
}

impl<'a> Paused<'a> {
    /// Pauses a bridge, if one of this name runs here, and waits until it is away.
    ///
    /// # Errors
    /// If it runs, and does not go.
    pub(super) async fn begin(socket: &'a Path, name: &'a str) -> Result<Pausing<'a>, String> {
        let view = match look(socket, name).await {
            Ok(Some(view)) => view,
            Ok(None) => {
                return Ok(Pausing::Needless("the running broker has no bridge of this name".to_owned()));
            }
            Err(ControlError::Connect { path, .. }) => {
                return Ok(Pausing::Needless(format!(
                    "no broker of this computer answers at {}",
                    path.display()
                )));
            }
            Err(error) => return Err(error.to_string()),
        };
        if view.get("state").and_then(Value::as_str) == Some("paused") {
            return Ok(Pausing::Needless("it was paused before".to_owned()));
        }
        let paused = Paused { socket, name };
        match give(socket, name, Order::Pause).await {
            Ok(()) => Ok(Pausing::Done(paused)),
            Err(error) => {
                paused.resume().await?;
                Err(error)
            }
        }
    }

    /// Brings it back.
    ///
    /// # Errors
    /// If the broker does not take the order.
    pub(super) async fn resume(self) -> Result<(), String> {
        give(self.socket, self.name, Order::Resume).await
    }
}

async fn look(socket: &Path, name: &str) -> Result<Option<Value>, ControlError> {
    let reply = control::request(socket, "GET", &format!("/api/v1/bridges/{}", encode(name))).await?;
    Ok((reply.status == 200).then(|| serde_json::from_str(&reply.body).ok()).flatten())
}
