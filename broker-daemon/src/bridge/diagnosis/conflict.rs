//! Whether somebody else has the same ClientId: each of the two throws the other one out (AIC-CON-08).

use culex_core::client::{ClientError, Connection};
use tokio::time::{Instant, timeout_at};

use super::{Cause, Diagnosis, Finding, Stage, Step};

/// Closes that are no chance any more.
const CLOSES: u32 = 2;

impl Diagnosis<'_> {
    /// Holds the connection for a while.
    pub(super) async fn conflict(&mut self, mut connection: Connection) -> Step {
        let mut closes = 0;
        let mut deadline = Instant::now() + self.options.hold;
        loop {
            let error = loop {
                match timeout_at(deadline, connection.event()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => break Some(error),
                    Err(_) => break None,
                }
            };
            let Some(error) = error else {
                let seconds = self.options.hold.as_secs();
                if closes == 0 {
                    self.good(Stage::ClientId, format!("nobody else took it over within {seconds} s"));
                } else {
                    self.note(Stage::ClientId, "the connection was closed once, and the next one was not");
                }
                // The session stays; an answer to DISCONNECT there is none.
                let _ = connection.disconnect().await;
                return Ok(());
            };
            closes += 1;
            let is_said = matches!(&error, ClientError::Disconnected(reason) if reason.code == 0x8e);
            if is_said || closes >= CLOSES {
                return self.taken_over(&error);
            }
            connection = self.again(Stage::ClientId).await?;
            deadline = Instant::now() + self.options.hold;
        }
    }

    fn taken_over(&mut self, error: &ClientError) -> Step {
        let id = self.client_id();
        let why = format!(
            "soon after each CONNECT the connection is closed: another client connects as {id}, and each of the two throws the other one out"
        );
        let mend = "give every bridge and device a client id of its own; is there a second broker with the same configuration?";
        let mut finding = Finding::new(Cause::ClientId, why, mend);
        if self.is_aws() {
            finding = finding.proof(self.prove_client_id());
        }
        self.stop(Stage::ClientId, format!("closed again and again: {error}"), finding)
    }
}
