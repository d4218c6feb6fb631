//! Starts the built `culex` binary on a free loopback port and ends it with the test.

#![expect(
    clippy::panic,
    reason = "a broker that does not start is a failed test, and the message is for the person who reads it"
)]

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::tools::workspace;

/// A running broker process; killed when dropped.
#[derive(Debug)]
pub struct Broker {
    /// Where it listens for MQTT over TCP.
    pub addr: SocketAddr,
    child: Child,
    log: Arc<Mutex<String>>,
    collectors: Vec<thread::JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Broker {
    /// Starts `culex -p 0` with `extra_args` behind it.
    ///
    /// # Panics
    ///
    /// When the binary cannot be built or started, or ends before it listens; with what it wrote.
    #[must_use]
    pub fn start(extra_args: &[&str]) -> Self {
        let args = [&["-p", "0"], extra_args].concat();
        Self::start_in(new_directory(), &[], &args).unwrap_or_else(|ended| panic!("{ended}"))
    }

    /// Starts `culex` with this configuration file.
    ///
    /// # Panics
    ///
    /// As [`Broker::start`].
    #[must_use]
    pub fn start_with_config(toml: &str) -> Self {
        Self::start_below(&[], toml).unwrap_or_else(|ended| panic!("{ended}"))
    }

    /// The same below another program, which is given the broker's command line behind `wrapper` and must become the
    /// broker, or run beside it.
    ///
    /// # Errors
    /// [`Ended`] if it ends before it listens.
    ///
    /// # Panics
    ///
    /// When it cannot be run.
    pub fn start_below(wrapper: &[&str], toml: &str) -> Result<Self, Ended> {
        let directory = new_directory();
        let file = directory.path().join("culex.toml");
        fs::write(&file, toml).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        // Listeners of the configuration say themselves where they are.
        let port: &[&str] = if toml.contains("[[listener]]") { &[] } else { &["-p", "0"] };
        Self::start_in(directory, wrapper, &[port, &["-c", &file.display().to_string()]].concat())
    }

    fn start_in(directory: tempfile::TempDir, wrapper: &[&str], arguments: &[&str]) -> Result<Self, Ended> {
        let words = wrapper.iter().map(OsStr::new).chain([binary().as_os_str()]).collect::<Vec<_>>();
        let (program, args) = words.split_first().unwrap_or_else(|| unreachable!("the broker is among them"));
        let mut child = Command::new(program)
            .args(args)
            .args(arguments)
            .current_dir(directory.path())
            .env_remove("STATE_DIRECTORY")
            .env("XDG_STATE_HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().map(|pipe| collect(pipe, Arc::clone(&log)));
        let mut stdout = child.stdout.take().map(BufReader::new);
        let addr = stdout.as_mut().and_then(read_address);
        let Some(addr) = addr else {
            let _ = child.kill();
            let status = child.wait().unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
            let _ = stderr.map(thread::JoinHandle::join);
            let log = log.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Err(Ended { status, log });
        };
        // Read on, or the broker would stop at a full pipe.
        let stdout = stdout.map(|pipe| collect(pipe, Arc::clone(&log)));
        let collectors = stdout.into_iter().chain(stderr).collect();
        Ok(Self { addr, child, log, collectors, _directory: directory })
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    ///
    /// When there is no program `kill`.
    pub fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(status.is_ok(), "kill: {status:?}");
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end within `patience`.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    // Its last words may still be in the pipe.
                    for collector in self.collectors.drain(..) {
                        let _ = collector.join();
                    }
                    return status;
                }
                Ok(None) => {
                    let log = self.log();
                    assert!(began.elapsed() < patience, "still there after {patience:?}; it wrote:\n{log}");
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("wait: {error}"),
            }
        }
    }

    /// The process id, for looking at the process from outside.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the broker has written so far, the banner aside.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A broker that ended before it listened.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it wrote.
    pub log: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, log } = self;
        write!(f, "culex did not say `listening on` an address ({status:?}); it wrote:\n{log}")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn new_directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"))
}

/// The address in the banner: `… listening on 127.0.0.1:1883`.
fn read_address(stdout: &mut impl BufRead) -> Option<SocketAddr> {
    let mut line = String::new();
    while stdout.read_line(&mut line).ok()? > 0 {
        if let Some((_, rest)) = line.split_once("listening on ") {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !".:[]abcdef".contains(c));
            let address = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
            return address.trim_end_matches(['.', ':']).parse().ok();
        }
        line.clear();
    }
    None
}

fn collect(pipe: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() < LOG_BYTES_MAX {
                log.push_str(&line);
                log.push('\n');
            }
        }
    })
}

/// Enough to explain a failed start; a chatty broker must not fill the memory of the tests.
const LOG_BYTES_MAX: usize = 1024 * 1024;

/// The binary: `CULEX_BIN` if set, else the one beside the test executable, built first if it is absent or older
/// than the sources of the three crates.
///
/// # Panics
///
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("CULEX_BIN") {
            return PathBuf::from(path);
        }
        let (directory, profile) = profile_directory();
        let path = directory.join(format!("culex{}", std::env::consts::EXE_SUFFIX));
        if is_outdated(&path) {
            build(&profile);
        }
        assert!(path.exists(), "there is no {}", path.display());
        path
    })
}

/// `target/debug` and `dev` for a test executable in `target/debug/deps`.
fn profile_directory() -> (PathBuf, String) {
    let mut directory = std::env::current_exe().unwrap_or_else(|error| panic!("current_exe: {error}"));
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // The folder of the profile `dev` is called otherwise.
    let profile = if name == "debug" { "dev".to_owned() } else { name };
    (directory, profile)
}

fn build(profile: &str) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "-p", "culex", "--bin", "culex", "--profile", profile])
        .current_dir(workspace())
        .status();
    assert!(status.as_ref().is_ok_and(ExitStatus::success), "cargo build -p culex: {status:?}");
}

fn is_outdated(binary: &Path) -> bool {
    let Some(built) = modified(binary) else { return true };
    ["codec", "broker-core", "broker-daemon"].iter().any(|folder| {
        let folder = workspace().join(folder);
        modified(&folder.join("Cargo.toml")) > Some(built) || newest(&folder.join("src")) > Some(built)
    })
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    entries
        .map(|entry| entry.path())
        .filter_map(|path| if path.is_dir() { newest(&path) } else { modified(&path) })
        .max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
