//! rumqttc as a client: a thread instead of a process, with the same events.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use rumqttc::{AsyncClient, Client, EventLoop, Incoming, LastWill, MqttOptions, Outgoing, QoS};
use tokio::sync::oneshot;

use crate::actor::{Actor, PATIENCE};
use crate::event::{Event, Message};
use crate::setup::{Connect, Publish, Subscribe, Until, Version};

/// The thread ends, and drops its connection, when this is dropped.
pub(crate) struct Handle {
    client: AsyncClient,
    alive: Option<oneshot::Sender<()>>,
}

impl Handle {
    pub(crate) fn disconnect(&self) {
        // Refused only by a client that has ended already.
        let _ = self.client.try_disconnect();
    }

    /// The socket is closed without DISCONNECT.
    pub(crate) fn drop_connection(&mut self) {
        self.alive = None;
    }
}

pub(crate) fn subscribe(name: String, broker: SocketAddr, connect: &Connect, what: &Subscribe<'_>) -> Actor {
    let (client, connection) = AsyncClient::new(options(broker, connect), REQUESTS_MAX);
    let (alive, end) = oneshot::channel();
    let (sender, events) = mpsc::channel();
    let left = match what.until {
        Until::Messages(count) | Until::Resumed(count) => Some(count),
        Until::Subscribed | Until::Told => None,
    };
    let subscriber = Subscriber {
        client: client.clone(),
        filter: what.filter.to_owned(),
        qos: level(what.qos),
        until: what.until,
        left,
        sender,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("{name}: {error}"));
    thread::spawn(move || runtime.block_on(subscriber.run(connection, end)));
    Actor::thread(name, events, Handle { client, alive: Some(alive) })
}

struct Subscriber {
    client: AsyncClient,
    filter: String,
    qos: QoS,
    until: Until,
    left: Option<usize>,
    sender: Sender<Event>,
}

impl Subscriber {
    async fn run(mut self, mut connection: EventLoop, mut end: oneshot::Receiver<()>) {
        loop {
            let event = tokio::select! {
                _ = &mut end => return,
                event = connection.poll() => event,
            };
            match event {
                Ok(rumqttc::Event::Incoming(packet)) => self.on_packet(packet),
                Ok(rumqttc::Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(rumqttc::Event::Outgoing(_)) => {}
                Err(error) => {
                    self.say(Event::Said(error.to_string()));
                    return;
                }
            }
        }
    }

    fn on_packet(&mut self, packet: Incoming) {
        match packet {
            Incoming::ConnAck(connack) => {
                if !matches!(self.until, Until::Resumed(_)) {
                    self.request(self.client.try_subscribe(&self.filter, self.qos));
                }
                self.say(Event::Connected { session_present: Some(connack.session_present) });
            }
            Incoming::SubAck(_) => {
                if self.until == Until::Subscribed {
                    self.request(self.client.try_disconnect());
                }
                self.say(Event::Subscribed);
            }
            Incoming::UnsubAck(_) => self.request(self.client.try_disconnect()),
            Incoming::Publish(publish) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        self.left = None;
                        // What comes before UNSUBACK is one too many, and is reported too.
                        self.request(self.client.try_unsubscribe(&self.filter));
                    }
                }
                self.say(Event::Message(Message {
                    topic: publish.topic,
                    payload: String::from_utf8_lossy(&publish.payload).into_owned(),
                    qos: publish.qos as u8,
                    is_retained: publish.retain,
                }));
            }
            Incoming::PingResp => self.say(Event::PingResp),
            other @ (Incoming::Connect(_)
            | Incoming::PubAck(_)
            | Incoming::PubRec(_)
            | Incoming::PubRel(_)
            | Incoming::PubComp(_)
            | Incoming::Subscribe(_)
            | Incoming::Unsubscribe(_)
            | Incoming::PingReq
            | Incoming::Disconnect) => self.say(Event::Said(format!("{other:?}"))),
        }
    }

    fn request(&self, result: Result<(), rumqttc::ClientError>) {
        if let Err(error) = result {
            self.say(Event::Said(error.to_string()));
        }
    }

    fn say(&self, event: Event) {
        // Refused only when the case has ended.
        let _ = self.sender.send(event);
    }
}

pub(crate) fn publish(
    name: &str,
    broker: SocketAddr,
    connect: &Connect,
    how: &Publish<'_>,
    payloads: &[String],
) {
    let (client, mut connection) = Client::new(options(broker, connect), REQUESTS_MAX);
    let (topic, qos, retain) = (how.topic.to_owned(), level(how.qos), how.is_retained);
    let requests = payloads.to_vec();
    let publisher = client.clone();
    thread::spawn(move || {
        for payload in requests {
            if publisher.publish(&topic, qos, retain, payload).is_err() {
                return;
            }
        }
    });
    let mut done = 0;
    loop {
        let event = match connection.recv_timeout(PATIENCE) {
            Ok(Ok(event)) => event,
            other => panic!("{name}: {done} of {} done, then {other:?}", payloads.len()),
        };
        let is_done = match &event {
            rumqttc::Event::Outgoing(Outgoing::Disconnect) => return,
            rumqttc::Event::Outgoing(Outgoing::Publish(_)) => qos == QoS::AtMostOnce,
            rumqttc::Event::Incoming(Incoming::PubAck(_)) => qos == QoS::AtLeastOnce,
            rumqttc::Event::Incoming(Incoming::PubComp(_)) => qos == QoS::ExactlyOnce,
            rumqttc::Event::Incoming(_) | rumqttc::Event::Outgoing(_) => false,
        };
        done += usize::from(is_done);
        if is_done && done == payloads.len() {
            client.try_disconnect().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

fn options(broker: SocketAddr, connect: &Connect) -> MqttOptions {
    assert_eq!(connect.version, Version::V3_1_1, "rumqttc speaks 3.1.1 only");
    let mut options = MqttOptions::new(&connect.id, broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(connect.keep_alive_s.into()));
    options.set_clean_session(connect.is_clean);
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    if let Some((user, password)) = connect.login {
        options.set_credentials(user, password);
    }
    if let Some(will) = &connect.will {
        let (topic, payload) = (will.topic.as_str(), will.payload.as_str());
        options.set_last_will(LastWill::new(topic, payload, level(will.qos), will.retain));
    }
    options
}

const fn level(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// Its default of 10 KiB is less than the large payloads.
const PACKET_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Requests that wait for the connection's thread; more than that thread itself ever makes.
const REQUESTS_MAX: usize = 16;
