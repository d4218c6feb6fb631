//! CONNECT, and why it is refused. AWS IoT closes an unauthorised one of 3.1.1 without a word (AIC-CON-12), so it is asked once
//! more in 5.0, which answers.

use std::time::Duration;

use culex_codec::ProtocolVersion;
use culex_core::client::{self, ClientError, Connection, Reason, Refusal, Session, Socket};
use tokio::time::{Instant, timeout};

use super::{Cause, Diagnosis, Finding, Stage, Step};
use crate::bridge::dial::dial;
use crate::tls::probe::{Fault, fault_of};

/// Time for TCP, TLS and CONNACK each, as in AWS's own clients.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Refused {
    /// TLS, in the handshake or behind it.
    Tls(Fault),
    /// Closed without CONNACK.
    Closed,
    /// CONNACK says no.
    Said(Refusal, Reason),
    Late,
    /// Not MQTT, or not this version of it.
    Malformed(String),
    /// Another protocol.
    Foreign(String),
    Other(String),
}

impl Diagnosis<'_> {
    /// Connects as the bridge does.
    pub(super) async fn connect(&mut self) -> Step<Connection> {
        let version = self.bridge.protocol.version();
        let is_clean = self.bridge.clean_start == Some(true);
        let refused = match self.open(version, is_clean).await {
            Ok(connection) => {
                if self.certificate.is_some() {
                    self.good(Stage::Certificate, "the server takes it");
                }
                self.connected(&connection);
                return Ok(connection);
            }
            Err(refused) => refused,
        };
        self.refused(refused, version, is_clean).await
    }

    fn connected(&mut self, connection: &Connection) {
        let granted = connection.granted();
        let session = if granted.is_session_present { "its session is there" } else { "a new session" };
        let text = format!("as {}, keep alive {} s, {session}", self.client_id(), granted.keep_alive_s);
        self.good(Stage::Connect, text);
    }

    /// Another connection like the first one, without a word.
    pub(super) async fn reopen(&mut self) -> Result<Connection, Refused> {
        self.open(self.bridge.protocol.version(), self.bridge.clean_start == Some(true)).await
    }

    async fn open(&mut self, version: ProtocolVersion, is_clean: bool) -> Result<Connection, Refused> {
        self.pace().await;
        let opened = self.open_now(version, is_clean).await;
        self.last_connect = Some(Instant::now());
        opened
    }

    async fn open_now(&mut self, version: ProtocolVersion, is_clean: bool) -> Result<Connection, Refused> {
        let mut options = client::Options::default();
        options.version = version;
        options.client_id = self.client_id();
        options.clean_session = is_clean;
        options.keep_alive = u16::try_from(self.bridge.keep_alive.as_secs()).unwrap_or(u16::MAX);
        options.user_name.clone_from(&self.bridge.user);
        options.password.clone_from(&self.bridge.password);
        options.is_bridge = !version.is_v5() && self.bridge.try_private == Some(true);
        // What comes in is the bridge's: it comes again.
        options.is_manual_ack = true;
        options.connect_timeout = CONNECT_TIMEOUT;
        let Some(way) = &self.way else { return Err(Refused::Closed) };
        let port = way.address.port_or_default(way.probe.is_some());
        let opening = async {
            let stream = dial(self.bridge.bind_address, &way.address.host, port).await?;
            stream.set_nodelay(true)?;
            match &way.probe {
                Some(probe) => probe.secure(stream).await.map(|stream| Box::new(stream) as Box<dyn Socket>),
                None => Ok(Box::new(stream) as Box<dyn Socket>),
            }
        };
        let shown = || way.probe.as_ref().map(|probe| probe.shown()).unwrap_or_default();
        let stream = match timeout(CONNECT_TIMEOUT, opening).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Refused::Tls(fault_of(&error, &shown()))),
            Err(_) => return Err(Refused::Late),
        };
        let opened = Connection::resume_over(stream, &options, &mut Session::default()).await;
        opened.map_err(|error| refused_by(error, &shown()))
    }

    /// Names why a CONNECT was refused.
    async fn refused(
        &mut self,
        refused: Refused,
        version: ProtocolVersion,
        is_clean: bool,
    ) -> Step<Connection> {
        match refused {
            Refused::Tls(fault @ (Fault::CertificateRefused(_) | Fault::CertificateWanted)) => {
                // It came behind the handshake, as TLS 1.3 has it.
                self.refused_certificate(&fault)
            }
            Refused::Closed | Refused::Tls(Fault::Closed) if !version.is_v5() && self.is_aws() => {
                self.closed_without_a_word(is_clean).await
            }
            Refused::Said(refusal, reason) => self.said_no(refusal, &reason, version),
            Refused::Closed | Refused::Tls(Fault::Closed) => {
                let why = "the other broker closes the connection instead of answering CONNECT: it does not accept the client id, the \
                           user, the version, or bridges (`try_private`)";
                let finding = Finding::new(Cause::Broker, why, "see its log");
                self.stop(Stage::Connect, "closed without an answer", finding)
            }
            Refused::Late => {
                let finding = Finding::new(
                    Cause::Broker,
                    "no CONNACK within 20 s",
                    "is it an MQTT broker that answers there?",
                );
                self.stop(Stage::Connect, "no answer", finding)
            }
            Refused::Malformed(error) if version.is_v5() => {
                // AIC-V5-06
                let why = format!("the answer to a CONNECT of 5.0 is not one of 5.0 ({error})");
                let finding = Finding::new(Cause::Protocol, why, "write `protocol = \"3.1.1\"`");
                self.stop(Stage::Connect, "no MQTT 5.0", finding)
            }
            Refused::Malformed(error) | Refused::Foreign(error) => {
                let finding = Finding::new(Cause::Broker, error, "is it an MQTT broker that answers there?");
                self.stop(Stage::Connect, "what answers is not MQTT", finding)
            }
            Refused::Tls(fault) => {
                let finding = Finding::new(
                    Cause::Network,
                    format!("{fault:?}"),
                    "try it again: it had worked a moment ago",
                );
                self.stop(Stage::Connect, "the connection broke", finding)
            }
            Refused::Other(error) => {
                let finding = Finding::new(Cause::Network, error, "try it again: it had worked a moment ago");
                self.stop(Stage::Connect, "the connection broke", finding)
            }
        }
    }

    /// AWS IoT in 3.1.1: certificate, policy or client id. In 5.0 it says which (AIC-CON-13).
    async fn closed_without_a_word(&mut self, is_clean: bool) -> Step<Connection> {
        match self.open(ProtocolVersion::V5, true).await {
            Err(Refused::Said(refusal, reason)) => {
                self.taken();
                self.said_no(refusal, &reason, ProtocolVersion::V5)
            }
            Err(Refused::Tls(fault @ (Fault::CertificateRefused(_) | Fault::CertificateWanted))) => {
                self.refused_certificate(&fault)
            }
            Ok(connection) => {
                drop(connection);
                self.taken();
                self.closed_in_3_1_1(is_clean).await
            }
            Err(
                Refused::Closed
                | Refused::Late
                | Refused::Malformed(_)
                | Refused::Foreign(_)
                | Refused::Tls(_)
                | Refused::Other(_),
            ) => {
                let why = "AWS closes without a word when it does not know the certificate, or the policy does not allow the client id";
                let mend = "look at the certificate first, then at its policy";
                let finding = Finding::new(Cause::Certificate, why, mend).proof(self.prove_certificate());
                self.stop(Stage::Connect, "closed without an answer, in 5.0 too", finding)
            }
        }
    }

    /// Whoever may connect at all may not keep a session, perhaps (AIC-CON-15).
    async fn closed_in_3_1_1(&mut self, is_clean: bool) -> Step<Connection> {
        let may_begin_anew = !is_clean && self.open(ProtocolVersion::V311, true).await.is_ok();
        // What a policy forbids it forbids again; anything else may have been over since.
        if let Ok(connection) = self.open(ProtocolVersion::V311, is_clean).await {
            self.note(Stage::Connect, "the first connection was closed, and the next one was not");
            self.connected(&connection);
            return Ok(connection);
        }
        if may_begin_anew {
            let why = "the policy allows to connect, but not with a session that stays: a condition on `iot:ConnectAttributes` \
                       without `PersistentConnect`";
            let mend = "allow `PersistentConnect`, or write `clean_start = true`, and what comes in meanwhile is missed";
            let proof = self.prove_policy("CONNECT", &format!("client/{}", self.client_id()));
            let finding = Finding::new(Cause::Policy, why, mend).proof(proof);
            return self.stop(
                Stage::Connect,
                "closed without an answer; with a clean session it is not",
                finding,
            );
        }
        let why = "MQTT 5.0 is answered, 3.1.1 is closed";
        let finding = Finding::new(Cause::Protocol, why, "write `protocol = \"5.0\"`");
        self.stop(Stage::Connect, "closed without an answer; in 5.0 it is not", finding)
    }

    fn taken(&mut self) {
        self.good(Stage::Certificate, "the server takes it");
    }

    fn said_no<T>(&mut self, refusal: Refusal, reason: &Reason, version: ProtocolVersion) -> Step<T> {
        let id = self.client_id();
        let text = format!("{}: {reason}", if version.is_v5() { "refused" } else { "refused by CONNACK" });
        let finding = match refusal {
            Refusal::NotAuthorized if self.is_aws() => {
                let why = format!(
                    "no policy of this certificate allows iot:Connect on client/{id}: it has none, or it names another client id (AWS does \
                     not say which; a certificate that waits for its activation is refused so too)"
                );
                let mend = format!(
                    "attach what `culex bridge policy {}` prints, or write the client id that the policy names",
                    self.bridge.name
                );
                let proof = self.prove_policy("CONNECT", &format!("client/{id}"));
                Finding::new(Cause::PolicyOrClientId, why, mend).proof(proof)
            }
            Refusal::NotAuthorized => Finding::new(
                Cause::Policy,
                format!("the other broker does not let {id} in"),
                "give it the right to connect there",
            ),
            Refusal::ClientId => {
                let why = format!("the other broker does not take the client id {id:?}");
                Finding::new(
                    Cause::ClientId,
                    why,
                    "at most 128 bytes, not beginning with `$`; some brokers want at most 23 letters and digits",
                )
            }
            Refusal::Credentials => Finding::new(
                Cause::Credentials,
                "the other broker does not know this user name with this password",
                "correct `user` and `password`",
            ),
            Refusal::Version => {
                let why = if self.bridge.try_private == Some(true) {
                    "the other broker does not take bridges that say so, or not this version"
                } else {
                    "the other broker does not speak this version of MQTT"
                };
                Finding::new(Cause::Protocol, why, "leave `try_private` out, or write another `protocol`")
            }
            Refusal::Unavailable => {
                Finding::new(Cause::Broker, "the other broker is busy or going down", "try it later")
            }
            Refusal::Other(0x97) => {
                let mend = "wait a moment; if it stays, look at the quotas of the account";
                Finding::new(Cause::Broker, "too many connections, or too often with this client id", mend)
            }
            Refusal::Other(_) | _ => {
                Finding::new(Cause::Broker, reason.to_string(), "see the log of the other broker")
            }
        };
        self.stop(Stage::Connect, text, finding)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other error is told as it is")]
fn refused_by(error: ClientError, shown: &crate::tls::probe::Shown) -> Refused {
    match error {
        ClientError::Closed => Refused::Closed,
        ClientError::Io(error) => Refused::Tls(fault_of(&error, shown)),
        ClientError::Refused { refusal, reason } => Refused::Said(refusal, reason),
        ClientError::ConnectTimeout { .. } | ClientError::Silent => Refused::Late,
        ClientError::Disconnected(reason) => Refused::Said(Refusal::from_code(reason.code), reason),
        ClientError::Malformed(error) => Refused::Malformed(error.to_string()),
        ClientError::Protocol(error) => Refused::Malformed(error.to_owned()),
        error @ ClientError::Foreign(_) => Refused::Foreign(error.to_string()),
        error => Refused::Other(error.to_string()),
    }
}
