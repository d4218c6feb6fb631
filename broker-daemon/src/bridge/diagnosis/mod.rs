//! What is wrong between a bridge and the other broker: everything that a connection needs is tried, one thing after another,
//! and the first that fails is named with its cause, what mends it, and a command that proves it.
//!
//! ```text
//!   files ─► names ─► network ─► server ─► ALPN ─► certificate ─► connect ─► subscribe ─► publish ─► round trip ─► client id
//!   └── this computer ──┘        └──────── TLS ────────┘          └──────────────────── MQTT ───────────────────────┘
//! ```
//!
//! Nothing is published without leave, nothing that comes in is acknowledged, and the session on the other side stays what
//! it was. Whoever runs it sees to it that the bridge itself is away: the two have one ClientId.

mod conflict;
mod connect;
mod files;
mod finding;
mod messages;
mod names;
mod proof;
mod secure;
mod subscribe;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use self::finding::{Cause, Finding, Row, Stage, Verdict};
use crate::bridge::aws;
use crate::config::{Bridge, RemoteAddress};
use crate::tls::probe::Probe;

/// What may be done, and what is known.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Whether a message is published to a topic of each `[[bridge.out]]`, and expected back where that comes in too.
    /// Default false.
    pub publish: bool,
    /// How long a connection is held to see whether somebody else takes the ClientId. Default 10 s.
    pub hold: Duration,
    /// The name of this computer, for a bridge without a ClientId of its own.
    pub host_name: String,
    /// What time it is. Default `None`: what the system says.
    pub now: Option<SystemTime>,
    /// CAs that the true server is known to have. Default `None`: Amazon's for AWS IoT Core, else the public ones.
    pub genuine: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            publish: false,
            hold: Duration::from_secs(10),
            host_name: crate::bridge::host_name(),
            now: None,
            genuine: None,
        }
    }
}

/// Tries everything. `tell` gets each row when it is known; all of them come back.
///
/// It takes as long as the other side takes to answer or not to: each step has its time, 20 s at most.
pub async fn diagnose(bridge: &Bridge, options: &Options, tell: impl FnMut(&Row) + Send) -> Vec<Row> {
    let mut diagnosis = Diagnosis {
        bridge,
        options,
        tell: Box::new(tell),
        rows: Vec::new(),
        way: None,
        certificate: None,
        // The bridge itself may have been there a moment ago.
        last_connect: Some(Instant::now()),
    };
    // What ends it early is in the rows.
    let _ = diagnosis.run().await;
    diagnosis.rows
}

/// The rest makes no sense any more; why is in the rows.
#[derive(Debug)]
struct Stop;

type Step<T = ()> = Result<T, Stop>;

struct Diagnosis<'a> {
    bridge: &'a Bridge,
    options: &'a Options,
    tell: Box<dyn FnMut(&Row) + Send + 'a>,
    rows: Vec<Row>,
    /// How the other broker is reached, once that is known.
    way: Option<Way>,
    /// What AWS calls our certificate.
    certificate: Option<String>,
    /// When the last attempt to connect was over.
    last_connect: Option<Instant>,
}

/// An address that can be reached, and how it is secured.
struct Way {
    address: RemoteAddress,
    probe: Option<Probe>,
}

impl Diagnosis<'_> {
    async fn run(&mut self) -> Step {
        let own = self.files()?;
        self.names()?;
        let address = self.network().await?;
        self.server(address, own).await?;
        let connection = self.connect().await?;
        let connection = self.subscribe(connection).await?;
        let connection = self.messages(connection).await?;
        self.conflict(connection).await
    }

    fn is_aws(&self) -> bool {
        self.bridge.is_aws_iot()
    }

    fn now(&self) -> SystemTime {
        self.options.now.unwrap_or_else(SystemTime::now)
    }

    fn client_id(&self) -> String {
        self.bridge.client_id_of(1, &self.options.host_name)
    }

    fn row(&mut self, row: Row) {
        (self.tell)(&row);
        self.rows.push(row);
    }

    fn good(&mut self, stage: Stage, text: impl Into<String>) {
        self.row(Row::new(stage, Verdict::Good, text));
    }

    fn note(&mut self, stage: Stage, text: impl Into<String>) {
        self.row(Row::new(stage, Verdict::Note, text));
    }

    fn skipped(&mut self, stage: Stage, text: impl Into<String>) {
        self.row(Row::new(stage, Verdict::Skipped, text));
    }

    fn bad(&mut self, stage: Stage, text: impl Into<String>, finding: Finding) {
        self.row(Row { finding: Some(finding), ..Row::new(stage, Verdict::Bad, text) });
    }

    /// The same, and the rest makes no sense.
    fn stop<T>(&mut self, stage: Stage, text: impl Into<String>, finding: Finding) -> Step<T> {
        self.bad(stage, text, finding);
        Err(Stop)
    }

    /// AWS takes one CONNECT a second of a ClientId (AIC-CON-06).
    async fn pace(&mut self) {
        if let Some(last) = self.last_connect.filter(|_| self.is_aws()) {
            tokio::time::sleep_until(last + aws::CONNECT_GAP).await;
        }
    }
}
