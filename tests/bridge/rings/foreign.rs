//! Circles with mosquitto in them.

use std::net::Ipv4Addr;
use std::time::Duration;

use culex_core::{Broker, QoS};
use culex_tests::mosquitto::Mosquitto;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{IN, OUT, carried, dropped, follow, found, is_cut, listening, network, until};
use crate::kit::{Ear, Here, PATIENCE};
use crate::network::Remote;

/// mosquitto hands on User Properties.
#[tokio::test]
async fn a_broker_of_5_0_between_two_bridges_sends_nothing_round() {
    if !Mosquitto::is_installed() {
        return;
    }
    let mosquitto = Mosquitto::start("", "");
    let (here, folder) = (Here::start().await, tempfile::tempdir().unwrap());
    let address = mosquitto.address;
    let with =
        |name, lines| network(name, address, lines).replace("client_id", "protocol = \"5.0\"\nclient_id");
    follow(&here, folder.path(), &(with("out", OUT) + &with("in", IN))).await;
    until(&here, "up", |views| views.iter().all(|view| view["state"] == "up")).await;
    let mut near = Ear::at(&here.broker, "near", "t/#").await;
    // Until the subscription over there is made.
    let mut far = Remote::connect(address, "far").await;
    let mut expected = 20;
    loop {
        far.publish("t/far", "").await;
        // It goes on over the other bridge, and comes back like all the others.
        expected += 1;
        if tokio::time::timeout(Duration::from_millis(200), near.hear()).await.is_ok() {
            break;
        }
    }
    for n in 0..20 {
        near.client.publish("t/near", n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    let views = until(&here, "all came back", |views| dropped(views) >= expected).await;
    assert!(found(&views).is_empty(), "{views:#?}");
    let heard = near.hear_all(20).await;
    assert!(heard.iter().all(|(topic, _)| topic == "t/near"), "{heard:?}");
    near.hears_nothing("mine").await;
}

/// Each bridges to the other, and mosquitto bridges with 3.1.1, which has no User Properties.
#[tokio::test]
async fn mosquitto_that_faces_us_is_found_out() {
    if !Mosquitto::is_installed() {
        return;
    }
    let broker = Broker::builder().listen((Ipv4Addr::LOCALHOST, 0)).start().await.unwrap();
    let back = format!(
        "connection back\naddress {}\nremote_clientid mosquitto\ntopic t/# out 1\nnotifications false\n\
         bridge_protocol_version mqttv311\ntry_private false",
        broker.local_addrs()[0]
    );
    let mosquitto = Mosquitto::start(&back, "");
    let (here, folder) = (Here::of(broker), tempfile::tempdir().unwrap());
    follow(&here, folder.path(), &network("b", mosquitto.address, OUT)).await;
    here.until_up().await;
    let said = is_cut(&[&here], &here, 2).await;
    assert!(said.contains("the client \"mosquitto\" publishes it here"), "{said}");
}

/// Two of us and mosquitto, whose bridge has 3.1.1 and says that it is one (level 0x84).
#[tokio::test]
async fn a_ring_with_mosquitto_is_found_out() {
    if !Mosquitto::is_installed() {
        return;
    }
    // In the second case its filters fix the last level, and another one is free.
    for (ours, theirs) in [("t/#", "topic t/# out 1"), ("#", "topic +/early out 1\ntopic +/late out 1")] {
        let (first, entrance, folder) = listening().await;
        let (second, next, other_folder) = listening().await;
        let mosquitto = Mosquitto::start(
            &format!(
                "connection ring\naddress {entrance}\nremote_clientid mosquitto\n{theirs}\nnotifications false\n\
                 bridge_protocol_version mqttv311"
            ),
            "",
        );
        let out = format!("[[bridge.out]]\nfilter = \"{ours}\"\n");
        follow(&first, folder.path(), &network("a", next, &out)).await;
        follow(&second, other_folder.path(), &network("b", mosquitto.address, &out)).await;
        first.until_up().await;
        second.until_up().await;
        let said = is_cut(&[&first, &second], &first, 3).await;
        println!("{said}");
        assert!(["\"mosquitto\"", "\"bridge of a\""].iter().any(|name| said.contains(name)), "{said}");
        first.bridges.stop().await;
        second.bridges.stop().await;
    }
}

/// Over mosquitto's bridge nothing comes back but the topic itself, and its messages cannot be told from those of a client
/// that repeats itself. So they go on; that is said, and takes no more than the bridge may.
#[tokio::test]
async fn a_circle_that_cannot_be_found_out_is_told_of_and_bounded() {
    const PER_SECOND: u64 = 500;
    const QUEUE: u64 = 20;
    const IN_FLIGHT: u64 = 10;
    if !Mosquitto::is_installed() {
        return;
    }
    let (here, address, folder) = listening().await;
    let back = format!("connection back\naddress {address}\ntopic t/x out 1\nnotifications false");
    let mosquitto = Mosquitto::start(&back, "");
    let bounds = format!(
        "[bridge.pace]\nmessages_per_second = {PER_SECOND}\nin_flight = {IN_FLIGHT}\n[bridge.queue]\nmax_messages = {QUEUE}\n"
    );
    follow(&here, folder.path(), &(network("b", mosquitto.address, OUT) + &bounds)).await;
    here.until_up().await;
    let near = Ear::at(&here.broker, "near", "mine").await;
    for n in 0..3 {
        near.client.publish("t/x", n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    let waits = |view: &Value| view["queue"]["messages"].as_u64().unwrap();
    let view = here.until("suspected", |view| view["going_round"]["suspected"][0].is_string()).await;
    let said = view["going_round"]["suspected"][0].as_str().unwrap();
    assert!(said.contains("\"t/x\" goes out very often") && said.contains("prefix"), "{said}");
    for n in 0..10 * QUEUE {
        near.client.publish("t/x", format!("more {n}"), QoS::AtLeastOnce).await.unwrap();
    }
    let (began, before) = (Instant::now(), carried(&[&here]).await);
    let carried = loop {
        let (view, now) = (here.view().await, carried(&[&here]).await);
        assert!(waits(&view) <= QUEUE, "{view:#}");
        if now >= before + 2 * PER_SECOND {
            break now - before;
        }
        assert!(began.elapsed() < PATIENCE, "it stands still: {view:#}");
        sleep(Duration::from_millis(5)).await;
    };
    // Those that were on their way are answered too.
    let most = began.elapsed().as_secs_f64() * PER_SECOND as f64 + (IN_FLIGHT + 2) as f64;
    assert!(carried as f64 <= most, "{carried} of {most}");
    let views = here.bridges.list().await;
    assert_eq!((dropped(&views), found(&views)), (0, Vec::new()), "{views:#?}");
    // What does not go round gets through.
    let mut far = Remote::connect(mosquitto.address, "far").await;
    far.subscribe("t/other").await;
    near.client.publish("t/other", "1", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(&far.hear().await.payload[..], b"1");
}
