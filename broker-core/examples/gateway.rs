//! A gateway that transforms what devices send: two bytes on `raw/ID` become JSON on `sensors/ID/temperature`, before
//! anybody has them. `cargo run -p culex-core --example gateway`
//!
//! It plays device and application itself and ends.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use culex_core::client::{Connection, Event, Options, Publication, Session};
use culex_core::hooks::Message;
use culex_core::{Broker, QoS};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let broker = Broker::builder()
        .listen(([127, 0, 0, 1], 0))
        .on_publish(|message: Message| async move { transform(message) })
        .start()
        .await?;
    let (app, mut inbox) = broker.client("app").await?;
    app.subscribe("sensors/#", QoS::AtLeastOnce).await?;

    play_device(&broker).await?;
    for _ in 0..2 {
        let message = inbox.next().await.ok_or("the broker has stopped")?;
        println!("{} {}", message.topic, String::from_utf8_lossy(&message.payload));
    }
    broker.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

/// Tenths of a degree, big-endian, to JSON. What is on `raw/` and is not that, is dropped; all else passes.
fn transform(mut message: Message) -> Option<Message> {
    let Some(device) = message.topic().strip_prefix("raw/") else { return Some(message) };
    let topic = format!("sensors/{device}/temperature");
    let tenths = i16::from_be_bytes(message.payload().as_ref().try_into().ok()?);
    message.set_topic(&topic).ok()?;
    message.set_payload(format!(r#"{{"celsius":{}}}"#, f64::from(tenths) / 10.0)).ok()?;
    Some(message)
}

/// A device as it comes over the network.
async fn play_device(broker: &Broker) -> Result<()> {
    let address = broker.local_addrs().pop().ok_or("no listener")?;
    let mut options = Options::default();
    options.host = address.ip().to_string();
    options.port = address.port();
    let mut device = Connection::open(&options, Session::default()).await?;
    for payload in [&[0x00, 0xD7][..], b"garbage", &[0xFF, 0xCE]] {
        device.publish(Publication::new("raw/cellar", payload.to_vec(), QoS::AtLeastOnce))?;
        while !matches!(device.event().await?, Event::Published { .. }) {}
    }
    Ok(device.disconnect().await?)
}
