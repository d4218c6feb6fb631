//! The brokers of a comparison and their processes.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

const START: Duration = Duration::from_secs(10);

/// A row of the file of brokers.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Broker {
    pub(crate) name: String,
    command: Vec<String>,
    #[serde(default)]
    config: String,
}

/// A broker that accepts connections.
pub(crate) struct Running {
    process: Child,
    pub(crate) address: SocketAddr,
    _config: tempfile::NamedTempFile,
}

/// The brokers whose programs are there.
pub(crate) fn load(file: &Path) -> Result<Vec<Broker>> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        broker: Vec<Broker>,
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let File { mut broker } =
        toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    broker.retain(Broker::is_there);
    Ok(broker)
}

impl Broker {
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

impl Running {
    pub(crate) fn start(broker: &Broker) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut config = tempfile::NamedTempFile::with_suffix(".toml")?;
        config.write_all(broker.config.replace("{port}", &port.to_string()).as_bytes())?;
        let path = config.path().display().to_string();
        let mut words = broker
            .command
            .iter()
            .map(|word| word.replace("{port}", &port.to_string()).replace("{config}", &path));
        let mut process = Command::new(words.next().ok_or("a broker without a command")?)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.try_wait()? {
                return Err(format!("{} ended at once: {status}", broker.name).into());
            }
            if begin.elapsed() > START {
                process.kill()?;
                process.wait()?;
                return Err(format!("{} does not listen on {address}", broker.name).into());
            }
            std::thread::yield_now();
        }
        Ok(Self { process, address, _config: config })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn end(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}
