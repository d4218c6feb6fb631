//! A Rust client of others, in both versions: publishes, subscribes, comes back to its session.

use std::time::Duration;

use culex::aws_emulator::{Emulator, Limits, Scenario};
use culex_codec::QoS;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::peer::broke;

const PATIENCE: Duration = Duration::from_secs(60);

/// Its clients connect faster than they may, and publish at once to what they have subscribed to.
fn emulator() -> Emulator {
    let limits = Limits { connect_interval: Duration::ZERO, ..Limits::default() };
    let scenario = Scenario { subscribe_lag: Duration::ZERO, ..Scenario::default() };
    Emulator::builder().limits(limits).scenario(scenario).build()
}

/// Serves one client without TLS, until what the client does is done.
async fn serve<T>(emulator: &Emulator, client: impl AsyncFnOnce(u16) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = async {
        let (stream, _) = listener.accept().await.unwrap();
        emulator.serve(stream, emulator.peer()).await;
    };
    let (done, ()) = timeout(PATIENCE, async { tokio::join!(client(port), served) }).await.unwrap();
    done
}

/// What it said, without the message that it got.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    present: bool,
    acknowledged: u32,
    received: Vec<String>,
}

macro_rules! client {
    ($name:ident, $($path:ident)::+, $packet:path, $persistent:expr) => {
        /// Connects; subscribes and publishes if it is to; ends after so many messages.
        async fn $name(port: u16, is_first: bool, messages: usize) -> Seen {
            use $($path)::+::{AsyncClient, Event, MqttOptions, mqttbytes::QoS};
            use $packet as Packet;

            let mut options = MqttOptions::new("rumqttc", "127.0.0.1", port);
            options.set_keep_alive(Duration::from_secs(60));
            $persistent(&mut options);
            let (client, mut connection) = AsyncClient::new(options, 10);
            let mut seen = Seen::default();
            loop {
                match connection.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                        seen.present = connack.session_present;
                        if is_first {
                            client.subscribe("t/#", QoS::AtLeastOnce).await.unwrap();
                        }
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        client.publish("t/1", QoS::AtLeastOnce, false, "own").await.unwrap();
                    }
                    Ok(Event::Incoming(Packet::PubAck(_))) => seen.acknowledged += 1,
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        seen.received.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                    }
                    Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return seen,
                    Ok(_) => {}
                    Err(error) => panic!("{error}"),
                }
                if seen.received.len() == messages && (seen.acknowledged > 0 || !is_first) {
                    client.disconnect().await.unwrap();
                }
            }
        }
    };
}

client!(v3, rumqttc, rumqttc::Packet, |options: &mut MqttOptions| {
    options.set_clean_session(false);
});
client!(v5, rumqttc::v5, rumqttc::v5::mqttbytes::v5::Packet, |options: &mut MqttOptions| {
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(3600));
});

#[tokio::test]
async fn rumqttc_works_and_comes_back_in_3_1_1_and_5_0() {
    for version in [3, 5] {
        let emulator = emulator();
        let run = async |port, is_first, messages| match version {
            3 => v3(port, is_first, messages).await,
            _ => v5(port, is_first, messages).await,
        };
        let seen = serve(&emulator, async |port| run(port, true, 1).await).await;
        let expected = Seen { present: false, acknowledged: 1, received: vec!["own".to_owned()] };
        assert_eq!(seen, expected, "{version}");
        for n in 0..3 {
            emulator.publish("t/away", n.to_string(), QoS::AtLeastOnce, false);
        }
        let seen = serve(&emulator, async |port| run(port, false, 3).await).await;
        assert!(seen.present, "{version}");
        assert_eq!(seen.received, ["0", "1", "2"], "{version}");
        broke(&emulator, &[]);
    }
}
