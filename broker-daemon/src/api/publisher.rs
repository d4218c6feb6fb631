//! The one client of this process that publishes what comes by HTTP.

use std::time::Duration;

use culex_core::client::Publication;
use culex_core::{Broker, Client, Inbox};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::ApiProblem;

const CLIENT_ID: &str = "$culex/http/publisher";
/// Time for the broker to take a message over; a disk that is full takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Publishes. What begins first is published first.
#[derive(Debug)]
pub(super) struct Publisher {
    broker: Broker,
    /// Made for the first message, and again if it has ended.
    client: Mutex<Option<(Client, Inbox)>>,
}

impl Publisher {
    pub(super) fn new(broker: Broker) -> Self {
        Self { broker, client: Mutex::new(None) }
    }

    /// Resolves when the broker has the message, at QoS 1 and 2 as durably as it is configured.
    ///
    /// # Errors
    /// What is wrong with the message; 503 if the broker does not take it in time, and then it may still do so.
    pub(super) async fn publish(&self, publication: Publication) -> Result<(), ApiProblem> {
        let publish = async { Ok(self.client().await?.send(publication).await?) };
        timeout(PATIENCE, publish).await.unwrap_or_else(|_| {
            let what = "the broker has not acknowledged the message within 30 s; is its disk full? Whether it has it is open";
            Err(ApiProblem::busy(what))
        })
    }

    async fn client(&self) -> Result<Client, ApiProblem> {
        let mut client = self.client.lock().await;
        match &*client {
            Some((client, _)) if client.ended().is_none() => Ok(client.clone()),
            _ => {
                let (new, inbox) = self.broker.client(CLIENT_ID).await?;
                *client = Some((new.clone(), inbox));
                Ok(new)
            }
        }
    }
}
