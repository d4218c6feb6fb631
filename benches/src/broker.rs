//! Brokers of a comparison and their processes.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::certificates::Certificates;
use crate::scenario::Scenario;

const PATIENCE: Duration = Duration::from_secs(120);

/// A row of a file of brokers.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// What it is called in a table.
    pub name: String,
    command: Vec<String>,
    #[serde(default)]
    config: String,
    /// More options of `culex bench offline`.
    #[serde(default)]
    pub offline: Vec<String>,
    /// Scenarios with one of these words are left out.
    #[serde(default)]
    without: Vec<String>,
    /// Scenarios with one of these words are the only ones, if there are any.
    #[serde(default)]
    only: Vec<String>,
    /// Whether the goals are its goals.
    #[serde(default)]
    judged: bool,
    /// Scenarios with one of these words have no goal for it.
    #[serde(default)]
    unjudged: Vec<String>,
    /// The broker that it is compared with; the first of the file if it is not said.
    #[serde(default)]
    pub against: Option<String>,
}

/// A file of brokers.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brokers {
    /// What they are compared at.
    #[serde(default)]
    pub scenarios: Vec<Scenario>,
    /// More options of `culex bench`, with all scenarios.
    #[serde(default)]
    pub options: Vec<String>,
    /// Those whose programs are there.
    pub broker: Vec<Broker>,
}

/// A broker that accepts connections.
#[derive(Debug)]
pub struct Running {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    data: PathBuf,
    certificates: Certificates,
    /// Its files, if they end with it.
    _folder: Option<TempDir>,
    _config: tempfile::NamedTempFile,
}

impl Brokers {
    /// Reads a file. A broker whose program is not there is left out with a line that says so.
    ///
    /// # Errors
    /// If the file cannot be read, or is not what it should be.
    pub fn load(file: &Path) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
        let mut brokers: Self = toml::from_str(&text).map_err(|error| failed(&error))?;
        brokers.broker.retain(Broker::is_there);
        Ok(brokers)
    }
}

impl Broker {
    /// A broker that this command starts: `{port}` is its port, `{data}` its directory, `{certificate}` and `{key}` are
    /// files that `{ca}` has signed.
    pub fn new(name: &str, command: &[&str]) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self {
            name: name.to_owned(),
            command,
            config: String::new(),
            offline: Vec::new(),
            without: Vec::new(),
            only: Vec::new(),
            judged: false,
            unjudged: Vec::new(),
            against: None,
        }
    }

    /// The same with a configuration, where the same words are filled in; `{config}` in the command is its file.
    #[must_use]
    pub fn with_config(mut self, config: impl Into<String>) -> Self {
        self.config = config.into();
        self
    }

    /// Whether it is measured with these options of `culex bench`.
    pub fn takes(&self, run: &str) -> bool {
        !names(&self.without, run) && (self.only.is_empty() || names(&self.only, run))
    }

    /// Whether the goal of these options is its goal.
    pub fn is_judged(&self, run: &str) -> bool {
        self.judged && !names(&self.unjudged, run)
    }

    /// Whether it has a directory to keep something in.
    pub fn keeps(&self) -> bool {
        self.config.contains("{data}") || self.command.iter().any(|word| word.contains("{data}"))
    }

    #[expect(clippy::print_stderr, reason = "it talks to the person who started it")]
    fn is_there(&self) -> bool {
        let program = self.command.first().map(String::as_str).unwrap_or_default();
        let is_there = if program.contains('/') {
            Path::new(program).exists()
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).exists())
        };
        if !is_there {
            eprintln!("{} is left out: there is no program {program}", self.name);
        }
        is_there
    }
}

/// Whether one of the words stands in the options.
fn names(words: &[String], run: &str) -> bool {
    words.iter().any(|word| run.contains(word.as_str()))
}

impl Running {
    /// Starts it with an empty directory, which ends with it.
    ///
    /// # Errors
    /// If it does not listen.
    pub fn start(broker: &Broker) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut running = Self::start_in(broker, folder.path())?;
        running._folder = Some(folder);
        Ok(running)
    }

    /// Starts it with this directory.
    ///
    /// # Errors
    /// If it does not listen.
    pub fn start_in(broker: &Broker, data: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = tempfile::NamedTempFile::with_suffix(".toml")?;
        let certificates = Certificates::new()?;
        let fill = |text: &str| {
            let text = certificates.fill(text);
            let text =
                text.replace("{port}", &port.to_string()).replace("{data}", &data.display().to_string());
            text.replace("{config}", &config.path().display().to_string())
        };
        std::fs::write(config.path(), fill(&broker.config))?;
        let mut words = broker.command.iter().map(|word| fill(word));
        let process = Command::new(words.next().ok_or("a broker without a command")?)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut running =
            Self { process, address, data: data.to_owned(), certificates, _folder: None, _config: config };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = running.process.try_wait()? {
                return Err(format!("{} ended at once: {status}", broker.name).into());
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("{} does not listen on {address}", broker.name).into());
            }
            std::thread::sleep(POLL);
        }
        Ok(running)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A word of a command with the path of what it names: `{ca}`.
    pub fn fill(&self, word: &str) -> String {
        self.certificates.fill(word)
    }

    /// Its directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }

    /// Ends it at once, and waits for it.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Asks it to end, as a service manager does, and waits for it.
    ///
    /// # Errors
    /// If it does not, or not well.
    pub fn terminate(mut self) -> Result<()> {
        Command::new("kill").arg(self.pid().to_string()).status()?;
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the broker ended with {status}").into()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Between two looks whether a broker listens: what starts in milliseconds is measured to a tenth of one.
const POLL: Duration = Duration::from_micros(100);
