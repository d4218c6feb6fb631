//! A client of the core over TCP, for tests whose brokers are processes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use culex_core::QoS;
use culex_core::client::{Connection, Event, Message, Options, Publication, Session};
use culex_core::codec::TopicFilter;
use tokio::time::timeout;

use crate::kit::PATIENCE;

/// A port that nobody has. Somebody may take it in between.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn options(address: SocketAddr, id: &str) -> Options {
    let mut options = Options::default();
    options.host = address.ip().to_string();
    options.port = address.port();
    options.client_id = id.to_owned();
    options.connect_timeout = Duration::from_secs(5);
    options
}

/// A client that is connected.
pub(crate) struct Remote(pub(crate) Connection);

impl Remote {
    pub(crate) async fn connect(address: SocketAddr, id: &str) -> Self {
        Self(Connection::open(&options(address, id), Session::default()).await.unwrap())
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) {
        self.0.subscribe(&[(TopicFilter::new(filter).unwrap(), QoS::AtLeastOnce)]).unwrap();
        while !matches!(self.event().await, Event::Subscribed { .. }) {}
    }

    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) {
        self.0.publish(Publication::new(topic, payload.to_owned(), QoS::AtLeastOnce)).unwrap();
        while !matches!(self.event().await, Event::Published { .. }) {}
    }

    pub(crate) async fn hear(&mut self) -> Message {
        loop {
            if let Event::Message(message) = self.event().await {
                return message;
            }
        }
    }

    async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.0.event()).await.expect("something in time").unwrap()
    }
}
