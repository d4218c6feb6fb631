//! What `culex pub` and `culex sub` have in common: the options of a connection, and how it fails.

use std::future::Future;
use std::io;

use bytes::Bytes;
use clap::ArgAction;
use culex_codec::{ProtocolVersion, QoS, TopicFilter, TopicName};
use culex_core::client::{ClientError, Connection, Foreign, Options, Secret, Session, Will};

use crate::cli::human;
use crate::exit::Exit;

/// Options of a connection, with mosquitto's letters.
#[derive(Debug, clap::Args)]
pub(super) struct Remote {
    /// Broker to connect to
    #[arg(short = 'h', long, default_value = "localhost")]
    host: String,
    /// Its port; 1883, or 8883 with TLS, if it is not said
    #[arg(short, long)]
    port: Option<u16>,
    /// QoS: 0 at most once, 1 at least once, 2 exactly once
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub(super) qos: QoS,
    /// Client id; without it the broker makes one up
    #[arg(short, long)]
    id: Option<String>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password
    #[arg(short = 'P', long, value_name = "PASSWORD", requires = "username")]
    pw: Option<String>,
    /// Keep the session after disconnecting (needs -i)
    #[arg(short = 'c', long = "disable-clean-session", requires = "id")]
    keep_session: bool,
    /// Keep alive; 0 for none
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    keepalive: u16,
    /// MQTT version: 31, 311 or 5
    #[arg(short = 'V', long, default_value = "311", value_name = "VERSION", value_parser = version)]
    protocol_version: ProtocolVersion,
    /// Topic of the will: what the broker publishes if this client vanishes
    #[arg(long, value_name = "TOPIC", value_parser = topic_name)]
    will_topic: Option<String>,
    /// Payload of the will
    #[arg(long, value_name = "TEXT", requires = "will_topic")]
    will_payload: Option<String>,
    /// QoS of the will
    #[arg(long, value_name = "QOS", default_value = "0", value_parser = qos, requires = "will_topic")]
    will_qos: QoS,
    /// Retain the will
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    #[command(flatten)]
    tls: super::secure::Arguments,
    /// Show the packets sent and received (on standard error)
    #[arg(short, long)]
    debug: bool,
    /// Print no errors
    #[arg(long)]
    pub(super) quiet: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: (),
}

/// How the connection is made.
pub(super) enum Way {
    /// By TCP.
    Plain,
    /// By TLS.
    Tls(crate::tls::client::Connector),
}

impl Way {
    /// Connects, with a session that is there still if that fails.
    pub(super) async fn connect(
        &self,
        options: &Options,
        session: &mut Session,
    ) -> Result<Connection, ClientError> {
        match self {
            Self::Plain => Connection::resume(options, session).await,
            Self::Tls(connector) => {
                let wrap = async |stream| connector.secure(stream).await;
                Connection::resume_through(options, session, wrap).await
            }
        }
    }
}

impl Remote {
    /// The options of the client.
    pub(super) fn options(&self) -> Options {
        let mut options = Options::default();
        options.host.clone_from(&self.host);
        options.port = self.port();
        options.version = self.protocol_version;
        options.client_id = self.id.clone().unwrap_or_default();
        if options.client_id.is_empty() && options.version == ProtocolVersion::V31 {
            // 3.1 section 3.1: 1 to 23 characters; the Server does not make one up.
            options.client_id = format!("culex-{}", std::process::id());
        }
        options.clean_session = !self.keep_session;
        options.keep_alive = self.keepalive;
        options.user_name.clone_from(&self.username);
        options.password = self.pw.as_deref().map(Secret::new);
        options.will = self.will_topic.as_ref().map(|topic| Will {
            topic: topic.clone(),
            payload: Bytes::from(self.will_payload.clone().unwrap_or_default()),
            qos: self.will_qos,
            is_retained: self.will_retain,
        });
        options
    }

    fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls.is_wanted() { crate::config::TLS_PORT } else { crate::config::PORT })
    }

    /// How to connect. Complains if that cannot be.
    pub(super) fn way(&self) -> Result<Way, Exit> {
        if self.tls.is_wanted() {
            return self.tls.connector(&self.host, true).map(Way::Tls).map_err(|problem| {
                self.complain(problem);
                Exit::Failed
            });
        }
        Ok(Way::Plain)
    }

    /// Prints an error, unless `--quiet`.
    pub(super) fn complain(&self, message: impl std::fmt::Display) {
        if !self.quiet {
            human::complain(message);
        }
    }

    /// Prints why a connection failed, and what may help.
    pub(super) fn report(&self, error: &ClientError) -> Exit {
        let (host, port) = (&self.host, self.port());
        let is_here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
        let hint = if let ClientError::Connect { source, .. } = error
            && source.kind() == io::ErrorKind::ConnectionRefused
        {
            let option = if port == crate::config::PORT { String::new() } else { format!(" -p {port}") };
            if is_here {
                format!(". Is the broker running? Start one with `culex{option}`")
            } else {
                ". Is the broker running, and does it listen on that address?".to_owned()
            }
        } else if let ClientError::Foreign(Foreign::Tls) = error {
            ". Name the CA of the broker's certificate: `--cafile FILE`".to_owned()
        } else if let ClientError::Foreign(_) = error {
            ". Is it the port of the HTTP API, or one for WebSocket alone?".to_owned()
        } else {
            String::new()
        };
        self.complain(format_args!("{error}{hint}"));
        Exit::Failed
    }

    /// Runs `work` on a runtime of this thread alone.
    pub(super) fn run(&self, work: impl Future<Output = Exit>) -> Exit {
        if self.debug {
            let lines =
                tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(io::stderr);
            // It fails only if a subscriber is there already, which then shows the lines.
            let _ = lines.without_time().with_level(false).with_target(false).with_ansi(false).try_init();
        }
        super::run_async(work)
    }
}

fn qos(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::from_bits).ok_or_else(|| "a QoS is 0, 1 or 2".to_owned())
}

fn version(text: &str) -> Result<ProtocolVersion, String> {
    match text.trim_start_matches("mqttv") {
        "31" | "3.1" => Ok(ProtocolVersion::V31),
        "311" | "3.1.1" => Ok(ProtocolVersion::V311),
        "5" => Ok(ProtocolVersion::V5),
        _ => Err("a version is 31, 311 or 5".to_owned()),
    }
}

/// A Topic Name of the command line.
pub(super) fn topic_name(text: &str) -> Result<String, String> {
    match TopicName::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error @ culex_codec::TopicError::WildcardInTopicName { .. }) => {
            Err(format!("{error}; a message goes to one topic, only a subscription can have + and #"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A Topic Filter of the command line.
pub(super) fn topic_filter(text: &str) -> Result<String, String> {
    TopicFilter::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
