//! The local address of a bridge's connections.

use std::net::{Ipv4Addr, SocketAddr};

use culex::bridge::Prepared;
use culex::bridge::diagnosis::{Options, Verdict, diagnose};
use culex::config::{Config, Environment};
use culex_core::Broker;

use crate::kit::Here;

async fn there() -> (Broker, SocketAddr) {
    let broker = Broker::builder().listen((Ipv4Addr::LOCALHOST, 0)).start().await.unwrap();
    let address = broker.local_addrs()[0];
    (broker, address)
}

fn config(name: &str, text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), &Environment::default()).unwrap()
}

fn toml(address: SocketAddr, own: &str) -> String {
    format!(
        "[[bridge]]\nname = \"b\"\naddress = \"{address}\"\nbind_address = \"{own}\"\nclient_id = \"shed\"\n\
         notifications_local_only = true\n[[bridge.out]]\nfilter = \"t/#\"\n"
    )
}

#[tokio::test]
async fn the_other_broker_sees_the_address_that_is_written() {
    for name in ["culex.toml", "mosquitto.conf"] {
        let (there, address) = there().await;
        let text = if name == "culex.toml" {
            toml(address, "127.0.0.2")
        } else {
            format!(
                "connection b\naddress {address}\nbridge_bind_address 127.0.0.2\nremote_clientid shed\nnotifications false\n\
                 topic t/# out 1\n"
            )
        };
        let (here, config) = (Here::start().await, config(name, &text));
        here.bridges.follow(Prepared::read(&config).unwrap()).await;
        here.until_up().await;
        let session = there.admin().session("shed").await.unwrap().unwrap();
        let peer: SocketAddr = session.connection.unwrap().peer.parse().unwrap();
        assert_eq!(peer.ip(), Ipv4Addr::new(127, 0, 0, 2), "{name}");
        here.bridges.stop().await;
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_is_named() {
    let (_there, address) = there().await;
    for (own, expected) in [
        ("192.0.2.7", "bind_address = \"192.0.2.7\" cannot be used"),
        ("::1", "bind_address = \"::1\" is of IPv6, and 127.0.0.1 has no address of that"),
    ] {
        let (here, config) = (Here::start().await, config("culex.toml", &toml(address, own)));
        let rows = diagnose(&config.bridges[0], &Options::default(), |_| {}).await;
        let last = rows.last().unwrap();
        let finding = last.finding.as_ref().unwrap();
        assert!(last.verdict == Verdict::Bad && finding.why.contains(expected), "{last:?}");
        assert!(finding.mend.contains("bind_address"), "{last:?}");
        here.bridges.follow(Prepared::read(&config).unwrap()).await;
        let view = here.until("down", |view| view["state"] == "down").await;
        assert!(view["why"].as_str().unwrap().contains(expected), "{view}");
        here.bridges.stop().await;
    }
}
