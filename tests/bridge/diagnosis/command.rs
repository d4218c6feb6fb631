//! `culex bridge` as a program, by the guide: what docs/bridge-aws.md has without an account works as it is written.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use culex_tests::broker::binary;
use culex_tests::tools::workspace;

/// A program that ends with the test.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = culex(folder, arguments);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        // It ends with the program, or with the test.
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The rest of the next line with this text, up to the next blank or quotation mark.
    #[track_caller]
    fn find(&mut self, before: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if let Some((_, rest)) = line.split_once(before) {
                return rest.split([' ', '"']).next().unwrap_or_default().to_owned();
            }
            seen.push(line);
        }
        panic!("no {before} in\n{}", seen.join("\n"));
    }
}

impl Running {
    /// Ctrl-C; gives how it ended, and what it had still to say.
    fn interrupt(mut self) -> (Option<i32>, String) {
        let signal = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(signal.success());
        let code = self.child.wait().unwrap().code();
        (code, self.lines.iter().collect::<Vec<_>>().join("\n"))
    }
}

/// Whoever says nothing for so long says nothing any more.
const PATIENCE: Duration = Duration::from_secs(120);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn culex(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder).env_remove("STATE_DIRECTORY").env("XDG_STATE_HOME", folder);
    command
}

/// Runs to its end; gives what it wrote to standard output.
#[track_caller]
fn run(folder: &Path, arguments: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = culex(folder, arguments).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// The first block of TOML in the guide.
fn config() -> String {
    let guide = fs::read_to_string(workspace().join("docs/bridge-aws.md")).unwrap();
    let (_, rest) = guide.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_guide_works_as_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut emulator = Running::start(folder, &["bridge", "emulate-aws", "--port", "0"]);
    let port = emulator.find("address = \"127.0.0.1:");
    let text = config().replace("127.0.0.1:8883", &format!("127.0.0.1:{port}"));
    fs::write(folder.join("culex.toml"), &text).unwrap();
    run(folder, &["check", "-c", "culex.toml"], 0);
    let policy =
        run(folder, &["bridge", "policy", "-c", "culex.toml", "aws", "--account", "123456789012"], 0);
    assert!(policy.contains(":123456789012:topicfilter/site1/commands/#"), "{policy}");

    // Without a broker there is nothing to pause.
    let with =
        ["bridge", "test", "-c", "culex.toml", "aws", "--data-dir", "data", "--publish", "--hold", "1"];
    let said = run(folder, &with, 0);
    assert!(said.contains("Nothing to pause: no broker of this computer answers"), "{said}");
    assert!(said.contains("Everything that was tried works."), "{said}");

    let mut broker = Running::start(folder, &["-p", "0", "-c", "culex.toml", "--data-dir", "data"]);
    let port = broker.find("listening on 127.0.0.1:");
    let state = ["sub", "-p", &port, "-t", "$SYS/broker/connection/aws/state", "-W", "600", "-v"];
    let mut states = Running::start(folder, &state);
    states.find("/state 1");
    let said = run(folder, &with, 0);
    assert!(
        said.contains("The running bridge aws is paused for this test; it goes on afterwards."),
        "{said}"
    );
    assert!(said.contains("Everything that was tried works."), "{said}");
    assert!(said.contains("The running bridge comes back in a second"), "{said}");
    let status = culex(folder, &["bridge", "status", "--data-dir", "data", "--json"]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(!status.contains("\"state\":\"paused\""), "{status}");
    states.find("/state 0");
    states.find("/state 1");

    let quick = ["bridge", "test", "-c", "culex.toml", "aws", "--data-dir", "data", "--hold", "0"];
    run(folder, &quick, 0);
    for order in ["pause", "resume", "pause", "resume", "pause"] {
        run(folder, &["bridge", order, "aws", "--data-dir", "data"], 0);
    }
    let said = run(folder, &quick, 0);
    assert!(said.contains("Nothing to pause: it was paused before."), "{said}");
    states.find("/state 0");
    let said = run(folder, &["bridge", "status", "--data-dir", "data"], 0);
    assert!(said.contains("NAME") && said.contains("paused"), "{said}");
    run(folder, &["bridge", "resume", "aws", "--data-dir", "data"], 0);
    states.find("/state 1");
    let said = run(folder, &["bridge", "status", "--data-dir", "data", "--json"], 0);
    assert!(said.contains("\"state\":\"up\""), "{said}");
    // Above all AIC-CON-06: nobody has connected too soon after another.
    let (code, rest) = emulator.interrupt();
    assert_eq!(code, Some(0), "{rest}");
    assert!(!rest.contains("AIC-"), "{rest}");
}

#[test]
fn a_mistake_on_the_command_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("none.toml"), "").unwrap();
    fs::write(
        folder.join("two.toml"),
        "[[bridge]]\nname = \"a\"\naddress = \"b\"\n[[bridge.out]]\nfilter = \"#\"\n",
    )
    .unwrap();
    run(folder, &["bridge", "test", "-c", "none.toml"], 2);
    run(folder, &["bridge", "test", "-c", "two.toml", "b"], 2);
    run(folder, &["bridge", "policy", "-c", "two.toml", "--account", "12"], 2);
    run(folder, &["bridge", "test", "-c", "missing.toml"], 1);
}

/// A configuration that AWS IoT would not take never gets as far as a test.
#[test]
fn what_the_configuration_says_already_is_not_tried() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (wrong, right) in
        [("127.0.0.1:1883", "127.0.0.1:8883"), ("$shed", "\"shed\""), ("qos = 2\nfilter", "filter")]
    {
        let wrong = if wrong.starts_with('$') { format!("\"{wrong}\"") } else { wrong.to_owned() };
        fs::write(folder.join("culex.toml"), config().replacen(right, &wrong, 1)).unwrap();
        run(folder, &["bridge", "test", "-c", "culex.toml", "aws"], 1);
    }
}
