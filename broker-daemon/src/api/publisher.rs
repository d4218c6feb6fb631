//! The clients of this process that publish what comes by HTTP: one for each user, so that receivers know whose it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use culex_core::client::Publication;
use culex_core::{Broker, Client, Inbox};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::ApiProblem;

/// Time for the broker to take a message over; a disk that is full takes longer, and a full queue that makes publishers wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clients that are kept although nobody uses them.
const IDLE_MAX: usize = 64;

/// Whom access control lists, receivers and operators see: the ClientId of who publishes for a user, or for nobody.
pub(super) fn client_id(user_name: Option<&str>) -> String {
    match user_name {
        Some(name) => format!("$culex/http/user/{name}"),
        None => "$culex/http/publisher".to_owned(),
    }
}

/// Publishes. What begins first of one user is published first.
#[derive(Debug)]
pub(super) struct Publisher {
    broker: Broker,
    /// By ClientId. Made for the first message, and again if they have ended.
    clients: Mutex<HashMap<String, Arc<Connected>>>,
}

#[derive(Debug)]
struct Connected {
    client: Client,
    /// Without it the client would end with its last request.
    _inbox: Inbox,
}

impl Publisher {
    pub(super) fn new(broker: Broker) -> Self {
        Self { broker, clients: Mutex::default() }
    }

    /// Resolves when the broker has the message of this user, at QoS 1 and 2 as durably as it is configured.
    ///
    /// # Errors
    /// What is wrong with the message; 503 if the broker does not take it in time, and then it may still do so.
    pub(super) async fn publish(
        &self,
        user_name: Option<&str>,
        publication: Publication,
    ) -> Result<(), ApiProblem> {
        let publish = async { Ok(self.connected(user_name).await?.client.send(publication).await?) };
        timeout(PATIENCE, publish).await.unwrap_or_else(|_| {
            let what = "the broker has not acknowledged the message within 30 s; is its disk full, or the queue of a bridge that makes publishers \
                        wait? Whether it has it is open";
            Err(ApiProblem::busy(what))
        })
    }

    async fn connected(&self, user_name: Option<&str>) -> Result<Arc<Connected>, ApiProblem> {
        let id = client_id(user_name);
        let mut clients = self.clients.lock().await;
        if let Some(connected) = clients.get(&id).filter(|connected| connected.client.ended().is_none()) {
            return Ok(Arc::clone(connected));
        }
        let mut builder = self.broker.client(id.as_str());
        if let Some(name) = user_name {
            builder = builder.on_behalf_of(name);
        }
        let (client, inbox) = builder.await?;
        if clients.len() >= IDLE_MAX {
            // Who publishes just now has it too. So there are never more than these and one for each open request.
            clients.retain(|_, connected| Arc::strong_count(connected) > 1);
        }
        let connected = Arc::new(Connected { client, _inbox: inbox });
        clients.insert(id, Arc::clone(&connected));
        Ok(connected)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use culex_core::QoS;
    use culex_core::limits::{Limit, WhenFull};

    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_full_queue_is_told_so_after_a_while() {
        let broker = Broker::builder().without_listener().start().await.unwrap();
        let connect = || {
            let limit = Limit::at_most(1).unwrap();
            let client = broker.client("integration").persistent(Duration::MAX);
            client.queue_limits(limit, Limit::Unlimited, WhenFull::Block).connect()
        };
        let (client, inbox) = connect().await.unwrap();
        client.subscribe("t", QoS::AtLeastOnce).await.unwrap();
        drop((client, inbox));
        let message = |payload: &'static str| Publication::new("t", payload, QoS::AtLeastOnce);
        let publisher = Publisher::new(broker.clone());
        publisher.publish(None, message("first")).await.unwrap();
        let is_full = async || broker.admin().session("integration").await.unwrap().unwrap().queue_is_full;
        while !is_full().await {
            tokio::task::yield_now().await;
        }

        // Nobody takes anything, so nothing but time can end it.
        tokio::time::pause();
        let problem = publisher.publish(None, message("second")).await.unwrap_err();
        tokio::time::resume();
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(problem.detail().contains("the queue of a bridge that makes publishers wait"), "{problem:?}");

        // It is taken when there is room, and not twice.
        let (_client, mut inbox) = connect().await.unwrap();
        let take_all = async {
            for expected in ["first", "second", "third"] {
                assert_eq!(inbox.next().await.unwrap().payload, expected);
            }
        };
        let (third, ()) = tokio::join!(publisher.publish(None, message("third")), take_all);
        third.unwrap();
    }
}
