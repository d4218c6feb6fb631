//! mosquitto bridges into Culex. It marks itself as a bridge (protocol level 0x84), and relies on the remote broker to send
//! nothing back that came from it.

use std::net::SocketAddr;

use culex_tests::broker::Broker;
use culex_tests::client::Client;
use culex_tests::mosquitto::Mosquitto;
use culex_tests::parse::Received;
use culex_tests::wire::{Connect, Publish};

fn subscriber(address: SocketAddr, id: &str, filter: &str) -> Client {
    let mut client = Client::open(address);
    client.send(Connect::new(id).encode());
    client.expect(&Received::ConnAck { session_present: false, code: 0 });
    assert_eq!(client.subscribe(&[(filter, 1)]), [1]);
    client
}

/// The next message: topic, payload, and whether RETAIN is set.
fn next(client: &mut Client) -> (String, String, bool) {
    let message = client.take();
    (message.topic.clone(), message.text(), message.retain)
}

#[test]
fn messages_of_both_sides_come_once_and_with_their_flags() {
    if !Mosquitto::is_installed() {
        return;
    }
    let broker = Broker::start(&[]);
    let bridge = format!(
        "connection culex\naddress {}\ntopic # both 1\nnotifications false\nbridge_protocol_version mqttv311",
        broker.addr
    );
    let mosquitto = Mosquitto::start(&bridge, "");
    let mut there = subscriber(mosquitto.address, "there", "#");
    let mut here = subscriber(broker.addr, "here", "#");
    let message = |topic: &str, payload: &str, is_retain| (topic.to_owned(), payload.to_owned(), is_retain);
    // It waits over there until the bridge is up.
    there.publish("up", "1", 1);
    assert_eq!(next(&mut here), message("up", "1", false));
    assert_eq!(next(&mut there), message("up", "1", false), "over there, without a bridge");
    // The bridge may subscribe behind that; it gets what is retained then.
    here.send(Publish::new("down", "2").retained().encode());
    assert_eq!(next(&mut here), message("down", "2", false));
    assert_eq!(next(&mut there), message("down", "2", false), "and the first message has not come back");
    // It was retained over there too.
    let mut late = subscriber(mosquitto.address, "late", "down");
    assert_eq!(next(&mut late), message("down", "2", true));
    // A message that comes while the bridge is subscribed keeps RETAIN as well.
    here.send(Publish::new("down", "3").retained().encode());
    assert_eq!(
        (next(&mut here), next(&mut there)),
        (message("down", "3", false), message("down", "3", false))
    );
    let mut later = subscriber(mosquitto.address, "later", "down");
    assert_eq!(next(&mut later), message("down", "3", true));
    // Nothing comes twice: behind all of it stands this.
    there.publish("end", "", 1);
    assert_eq!((next(&mut here), next(&mut there)), (message("end", "", false), message("end", "", false)));
}
