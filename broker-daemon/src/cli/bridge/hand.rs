//! `culex bridge pause` and `resume`, and the same for the time of a test.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::cli::ctl::{Which, body_of, encode};
use crate::cli::human;
use crate::config::Config;
use crate::control::{self, ControlError};
use crate::exit::Exit;

/// Time for a bridge to leave.
const LEAVING: Duration = Duration::from_secs(15);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

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
        give(socket, name, Order::Pause).await?;
        let paused = Paused { socket, name };
        let deadline = Instant::now() + LEAVING;
        while look(socket, name).await.ok().flatten().is_some_and(|view| is_there(&view)) {
            if Instant::now() >= deadline {
                paused.resume().await?;
                return Err(format!("the running bridge {name} does not end its connections"));
            }
            sleep(LOOK).await;
        }
        Ok(Pausing::Done(paused))
    }

    /// Brings it back.
    ///
    /// # Errors
    /// If the broker does not take the order.
    pub(super) async fn resume(self) -> Result<(), String> {
        give(self.socket, self.name, Order::Resume).await
    }
}

fn is_there(view: &Value) -> bool {
    view.pointer("/connections/up").and_then(Value::as_u64).unwrap_or(0) > 0
}

async fn look(socket: &Path, name: &str) -> Result<Option<Value>, ControlError> {
    let reply = control::request(socket, "GET", &format!("/api/v1/bridges/{}", encode(name))).await?;
    Ok((reply.status == 200).then(|| serde_json::from_str(&reply.body).ok()).flatten())
}
