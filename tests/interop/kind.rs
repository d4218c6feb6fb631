//! The clients, and how each is told what to do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use culex_tests::tools::{is_installed, is_on_path, python_path, workspace};
use serde_json::{Value, json};

use crate::actor::Actor;
use crate::rumqtt;
use crate::setup::{Connect, Publish, Subscribe, Until, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Mosquitto,
    Paho1,
    Paho2,
    MqttJs,
    Rumqttc,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Mosquitto, Self::Paho1, Self::Paho2, Self::MqttJs, Self::Rumqttc];

    /// The installed ones of these; says which are skipped.
    pub(crate) fn installed(kinds: &[Self]) -> Vec<Self> {
        kinds.iter().copied().filter(|kind| kind.is_installed()).collect()
    }

    /// Says so if not, and fails where `CULEX_REQUIRE_CLIENTS=1`.
    pub(crate) fn is_installed(self) -> bool {
        let is_there = match self {
            Self::Mosquitto => is_on_path("mosquitto_sub") && is_on_path("mosquitto_pub"),
            Self::Paho1 | Self::Paho2 => self.python().exists(),
            Self::MqttJs => {
                is_on_path("node")
                    && workspace().join("tests/interop/node_modules/mqtt/package.json").exists()
            }
            Self::Rumqttc => true,
        };
        is_installed(self.tool(), is_there)
    }

    const fn tool(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto_pub and mosquitto_sub",
            Self::Paho1 => "paho-mqtt 1.x",
            Self::Paho2 => "paho-mqtt 2.x",
            Self::MqttJs => "mqtt.js",
            Self::Rumqttc => "rumqttc",
        }
    }

    /// The interpreter of the environment with this generation of paho.
    pub(crate) fn python(self) -> PathBuf {
        let environment = if self == Self::Paho1 { "paho1" } else { "paho2" };
        python_path(environment)
    }

    /// Starts a subscriber.
    pub(crate) fn subscribe(self, broker: SocketAddr, connect: &Connect, what: &Subscribe<'_>) -> Actor {
        let name = format!("{self:?} {} subscribing to {} at QoS {}", connect.id, what.filter, what.qos);
        let mut command = match self {
            Self::Mosquitto => mosquitto_sub(broker, connect, what),
            Self::Paho1 | Self::Paho2 | Self::MqttJs => {
                let (count, resume) = match what.until {
                    Until::Messages(count) => (count, false),
                    Until::Resumed(count) => (count, true),
                    Until::Subscribed | Until::Told => (0, false),
                };
                let role = json!({
                    "role": "subscribe",
                    "filter": what.filter,
                    "qos": what.qos,
                    "count": count,
                    "resume": resume,
                    "leave": what.until == Until::Subscribed,
                });
                self.driver(broker, connect, role)
            }
            Self::Rumqttc => return rumqtt::subscribe(name, broker, connect, what),
        };
        Actor::spawn(name, &mut command)
    }

    /// Publishes all of these, waits for their acknowledgements, and disconnects. An empty payload is an empty message.
    pub(crate) fn publish(
        self,
        broker: SocketAddr,
        connect: &Connect,
        how: &Publish<'_>,
        payloads: &[String],
    ) {
        let name = format!("{self:?} {} publishing to {} at QoS {}", connect.id, how.topic, how.qos);
        let mut command = match self {
            Self::Mosquitto => {
                mosquitto_pub(broker, connect, how, payloads.len() == 1 && payloads == [String::new()])
            }
            Self::Paho1 | Self::Paho2 | Self::MqttJs => {
                let role = json!({
                    "role": "publish",
                    "topic": how.topic,
                    "qos": how.qos,
                    "retain": how.is_retained,
                });
                self.driver(broker, connect, role)
            }
            Self::Rumqttc => return rumqtt::publish(&name, broker, connect, how, payloads),
        };
        let published = Actor::spawn(name.clone(), &mut command).finish_with_input(payloads).published;
        if self != Self::Mosquitto {
            assert_eq!(published, Some(payloads.len()), "{name}");
        }
    }

    fn driver(self, broker: SocketAddr, connect: &Connect, role: Value) -> Command {
        let folder = workspace().join("tests/interop");
        let mut command = if self == Self::MqttJs {
            let mut command = Command::new("node");
            command.arg(folder.join("mqttjs_client.js"));
            command
        } else {
            let mut command = Command::new(self.python());
            command.arg(folder.join("paho_client.py"));
            command
        };
        command.arg(options(broker, connect, role).to_string());
        command
    }
}

/// The one argument of `paho_client.py` and `mqttjs_client.js`.
fn options(broker: SocketAddr, connect: &Connect, role: Value) -> Value {
    let mut options = json!({
        "host": broker.ip().to_string(),
        "port": broker.port(),
        "id": connect.id,
        "version": connect.version as u8,
        "clean": connect.is_clean,
        "user": connect.login.map(|login| login.0),
        "password": connect.login.map(|login| login.1),
        "keep_alive_s": connect.keep_alive_s,
        "will": connect.will,
        // A publisher has none of these.
        "count": 0,
        "resume": false,
        "leave": false,
    });
    if let (Some(options), Value::Object(role)) = (options.as_object_mut(), role) {
        options.extend(role);
    }
    options
}

fn mosquitto_sub(broker: SocketAddr, connect: &Connect, what: &Subscribe<'_>) -> Command {
    // Line by line also into a pipe.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "mosquitto_sub", "-d", "-F", "MESSAGE\t%q\t%r\t%t\t%p"]);
    common(&mut command, broker, connect);
    command.args(["-t", what.filter, "-q", &what.qos.to_string()]);
    match what.until {
        Until::Subscribed => command.arg("-E"),
        // It has no way to resume without subscribing again, which changes nothing for a session.
        Until::Messages(count) | Until::Resumed(count) => command.args(["-C", &count.to_string()]),
        Until::Told => &mut command,
    };
    if !connect.is_clean {
        command.arg("-c");
    }
    command
}

fn mosquitto_pub(broker: SocketAddr, connect: &Connect, how: &Publish<'_>, is_empty: bool) -> Command {
    let mut command = Command::new("mosquitto_pub");
    common(&mut command, broker, connect);
    command.args(["-t", how.topic, "-q", &how.qos.to_string(), if is_empty { "-n" } else { "-l" }]);
    if how.is_retained {
        command.arg("-r");
    }
    command
}

fn common(command: &mut Command, broker: SocketAddr, connect: &Connect) {
    let version = match connect.version {
        Version::V3_1 => "mqttv31",
        Version::V3_1_1 => "mqttv311",
    };
    // It refuses less than 5 s.
    let keep_alive_s = connect.keep_alive_s.max(5).to_string();
    command.args(["-h", &broker.ip().to_string(), "-p", &broker.port().to_string(), "-i", &connect.id]);
    command.args(["-V", version, "-k", &keep_alive_s]);
    if let Some((user, password)) = connect.login {
        command.args(["-u", user, "-P", password]);
    }
    if let Some(will) = &connect.will {
        command.args(["--will-topic", &will.topic, "--will-payload", &will.payload]);
        command.args(["--will-qos", &will.qos.to_string()]);
        if will.retain {
            command.arg("--will-retain");
        }
    }
}
