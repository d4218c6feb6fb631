//! What a diagnosis says.

use std::fmt;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The files that the bridge names.
    Files,
    /// The name of the endpoint.
    Names,
    /// Name lookup and TCP.
    Network,
    /// The certificate of the other broker.
    Server,
    /// The application protocol.
    Alpn,
    /// Our certificate.
    Certificate,
    /// CONNECT.
    Connect,
    /// SUBSCRIBE, one filter at a time.
    Subscribe,
    /// PUBLISH.
    Publish,
    /// A message that comes back.
    RoundTrip,
    /// Whether somebody else has the ClientId too.
    ClientId,
}

impl Stage {
    /// Its name in a row.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Names => "names",
            Self::Network => "network",
            Self::Server => "server",
            Self::Alpn => "ALPN",
            Self::Certificate => "certificate",
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::RoundTrip => "round trip",
            Self::ClientId => "client id",
        }
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Good,
    /// As it should, but.
    Note,
    /// It was not tried, and why.
    Skipped,
    /// Not as it should.
    Bad,
}

/// One line of a diagnosis.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// What was tried.
    pub stage: Stage,
    /// How it went.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What is wrong, if it went badly.
    pub finding: Option<Finding>,
}

impl Row {
    pub(super) fn new(stage: Stage, verdict: Verdict, text: impl Into<String>) -> Self {
        Self { stage, verdict, text: text.into(), finding: None }
    }
}

/// `ok    connect      …`, with what is wrong on lines of its own.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Good => "ok",
            Verdict::Note => "note",
            Verdict::Skipped => "-",
            Verdict::Bad => "WRONG",
        };
        write!(f, "{mark:<6}{:<13}{}", self.stage.word(), self.text)?;
        let Some(finding) = &self.finding else { return Ok(()) };
        write!(
            f,
            "\n      it is: {}\n      why:   {}\n      mend:  {}",
            finding.cause.word(),
            finding.why,
            finding.mend
        )?;
        match &finding.proof {
            Some(proof) => write!(f, "\n      proof: {proof}"),
            None => Ok(()),
        }
    }
}

/// What is wrong, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What has to be changed.
    pub cause: Cause,
    /// Why it is that.
    pub why: String,
    /// What mends it.
    pub mend: String,
    /// A command that shows it.
    pub proof: Option<String>,
}

impl Finding {
    pub(super) fn new(cause: Cause, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { cause, why: why.into(), mend: mend.into(), proof: None }
    }

    pub(super) fn proof(self, command: impl Into<String>) -> Self {
        Self { proof: Some(command.into()), ..self }
    }
}

/// What has to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A file that cannot be read, or is something else.
    File,
    /// The key is not that of the certificate.
    Key,
    /// The CA that the other broker is compared with.
    Ca,
    /// Our certificate.
    Certificate,
    /// The certificate of the other broker.
    ServerCertificate,
    /// The clock of this computer.
    Clock,
    /// The name of the other broker.
    Endpoint,
    /// Its port.
    Port,
    /// The application protocol.
    Alpn,
    /// Versions of TLS.
    TlsVersion,
    /// Something in between that opens TLS.
    Interception,
    /// The way there.
    Network,
    /// What our certificate, or user, may do.
    Policy,
    /// Either of the two; only their owner knows.
    PolicyOrClientId,
    /// The ClientId.
    ClientId,
    /// User name or password.
    Credentials,
    /// The version of MQTT.
    Protocol,
    /// The other broker itself.
    Broker,
}

impl Cause {
    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Key => "the key",
            Self::Ca => "the CA file",
            Self::Certificate => "the certificate",
            Self::ServerCertificate => "the certificate of the other broker",
            Self::Clock => "the clock",
            Self::Endpoint => "the endpoint",
            Self::Port => "the port",
            Self::Alpn => "ALPN",
            Self::TlsVersion => "the version of TLS",
            Self::Interception => "somebody in between",
            Self::Network => "the network",
            Self::Policy => "the policy",
            Self::PolicyOrClientId => "the policy or the client id",
            Self::ClientId => "the client id",
            Self::Credentials => "user name or password",
            Self::Protocol => "the version of MQTT",
            Self::Broker => "the other broker",
        }
    }
}
