//! Programs, brokers, and what they print. Nothing waits for time: only for a line, an exit, or the end of patience.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// A program that hangs is ended and the test fails.
const PATIENCE: Duration = Duration::from_secs(30);
const CULEX: &str = env!("CARGO_BIN_EXE_culex");

/// `culex …`. Whoever runs the tests may have a broker, whose state is none of theirs.
pub(crate) fn culex(arguments: &[&str]) -> Command {
    let mut command = Command::new(CULEX);
    command.args(arguments).env_remove("STATE_DIRECTORY").env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Whether mosquitto's programs are there; prints a line if not.
pub(crate) fn has_mosquitto() -> bool {
    let is_there = ["mosquitto_pub", "mosquitto_sub", "mosquitto_passwd", MOSQUITTO].iter().all(|program| {
        let started =
            Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
        started.is_ok()
    });
    if !is_there {
        println!("skipped: mosquitto and its clients are not installed");
    }
    is_there
}

pub(crate) const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// The two kinds of client programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tools {
    Culex,
    Mosquitto,
}

impl Tools {
    pub(crate) fn publish(self, broker: &Broker, arguments: &[&str]) -> Command {
        self.client("pub", broker, arguments)
    }

    pub(crate) fn subscribe(self, broker: &Broker, arguments: &[&str]) -> Command {
        self.client("sub", broker, arguments)
    }

    fn client(self, role: &str, broker: &Broker, arguments: &[&str]) -> Command {
        let mut command = match self {
            Self::Culex => culex(&[role]),
            Self::Mosquitto => Command::new(format!("mosquitto_{role}")),
        };
        command.args(["-h", "127.0.0.1", "-p", &broker.port.to_string()]).args(arguments);
        command
    }
}

/// Runs to the end; input is `stdin`.
#[track_caller]
pub(crate) fn run_with(mut command: Command, stdin: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A program that does not read all its input is none of our business here.
    thread::spawn(move || input.write_all(&stdin));
    wait(child)
}

/// Runs to the end without input.
#[track_caller]
pub(crate) fn run(command: Command) -> Output {
    run_with(command, &[])
}

/// Runs to a successful end and gives standard output.
#[track_caller]
pub(crate) fn run_ok(command: Command) -> String {
    let shown = format!("{command:?}");
    let output = run(command);
    assert_eq!(output.status.code(), Some(0), "{shown}\n{}", text(&output.stderr));
    text(&output.stdout)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn wait(mut child: Child) -> Output {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (sender, ended) = channel();
    let stdout = thread::spawn(move || read_all(stdout));
    let stderr = thread::spawn(move || read_all(stderr));
    let watched = thread::spawn(move || {
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        let _ = sender.send(());
        (stdout, stderr)
    });
    let is_patient = ended.recv_timeout(PATIENCE).is_ok();
    if !is_patient {
        let _ = child.kill();
    }
    let (stdout, stderr) = watched.join().unwrap();
    let status = child.wait().unwrap();
    assert!(is_patient, "it hangs; it printed\n{}\n{}", text(&stdout), text(&stderr));
    Output { status, stdout, stderr }
}

fn read_all(stream: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.read_to_end(&mut bytes);
    }
    bytes
}

/// A program whose lines are read while it runs. Ended when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts it and reads its standard output.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        Self { child, lines: lines(stdout) }
    }

    /// Starts it and reads its standard error.
    pub(crate) fn start_stderr(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr: ChildStderr = child.stderr.take().unwrap();
        Self { child, lines: lines(stderr) }
    }

    /// Starts it and reads both, mixed.
    pub(crate) fn start_both(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        send_lines(child.stdout.take().unwrap(), sender.clone());
        send_lines(child.stderr.take().unwrap(), sender);
        Self { child, lines }
    }

    /// The next line; `None` at the end.
    #[track_caller]
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("no line came"),
        }
    }

    /// The next line that has `part`.
    #[track_caller]
    pub(crate) fn line_with(&self, part: &str) -> String {
        let mut seen = Vec::new();
        while let Some(line) = self.line() {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("it ended without a line with {part:?}:\n{}", seen.join("\n"));
    }

    /// All lines to the end.
    pub(crate) fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Asks it to end, as a service manager does; gives its exit code.
    pub(crate) fn terminate(self) -> Option<i32> {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for its end; gives its exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.rest();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    send_lines(stream, sender);
    lines
}

fn send_lines(stream: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}

/// A broker on a port of its own. Ended when dropped.
pub(crate) struct Broker {
    pub(crate) port: u16,
    pub(crate) running: Running,
}

impl Broker {
    /// Ours, with more arguments.
    pub(crate) fn culex(arguments: &[&str]) -> Self {
        Self::culex_at(&[&["-p", "0"], arguments].concat())
    }

    /// Ours, listening where these arguments say; the port is that of the first listener.
    pub(crate) fn culex_at(arguments: &[&str]) -> Self {
        let running = Running::start(culex(arguments));
        let line = running.line_with("listening on ");
        let address = line.split(" with ").next().unwrap();
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        Self { port, running }
    }

    /// Debian's. It cannot take a free port itself, so one that was free a moment ago is tried until it is.
    pub(crate) fn mosquitto() -> Self {
        Self::mosquitto_as(|port| vec!["-p".into(), port.to_string().into()])
    }

    /// The same, with the configuration that this writes.
    pub(crate) fn mosquitto_with(config: impl Fn(u16) -> PathBuf) -> Self {
        Self::mosquitto_as(|port| vec!["-c".into(), config(port).into()])
    }

    fn mosquitto_as(arguments: impl Fn(u16) -> Vec<OsString>) -> Self {
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = Command::new(MOSQUITTO);
            command.args(arguments(port));
            let running = Running::start_stderr(command);
            while let Some(line) = running.line() {
                if line.ends_with(" running") {
                    return Self { port, running };
                }
            }
        }
        panic!("mosquitto does not start");
    }
}

/// A subscriber whose subscription is known to be there.
pub(crate) struct Subscriber(pub(crate) Running);

impl Subscriber {
    /// Subscribes with these arguments, which print topics (`-v`). It is subscribed when the retained message of a
    /// filter of its own, the last in its SUBSCRIBE, has come.
    #[track_caller]
    pub(crate) fn start(tools: Tools, broker: &Broker, arguments: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let topic = format!("is/ready/{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        run_ok(Tools::Culex.publish(broker, &["-t", &topic, "-m", "now", "-r", "-q", "1"]));
        let running = Running::start(tools.subscribe(broker, &[arguments, &["-t", &topic]].concat()));
        running.line_with("now");
        Self(running)
    }
}

/// The reader of standard output, for a test that closes it.
pub(crate) fn stdout(child: &mut Child) -> BufReader<ChildStdout> {
    BufReader::new(child.stdout.take().unwrap())
}
