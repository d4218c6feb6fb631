//! Real Flask, and real paho.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use culex_tests::tools::{python, workspace};

use crate::program::{PATIENCE, broker, webhook};

/// A Flask application that runs, and what it prints.
pub(crate) struct Flask {
    child: Child,
    pub(crate) url: String,
    pub(crate) lines: Receiver<String>,
}

impl Flask {
    /// `None` without Flask.
    pub(crate) fn start(folder: &str, app: &str, environment: &[(&str, &str)]) -> Option<Self> {
        Self::start_with(folder, app, environment, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn start_with(
        folder: &str,
        app: &str,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Option<Self> {
        let python = python("flask")?;
        let mut child = Command::new(python)
            .args(["-m", "flask", "--app", app, "run", "--port", "0"])
            .args(arguments)
            .current_dir(workspace().join(folder))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let url =
            stderr.find_map(|line| line.split_once("Running on ").map(|(_, url)| url.trim().to_owned()));
        let url = url.unwrap_or_else(|| panic!("Flask does not say where it is"));
        // Read on, or it would stop at a full pipe.
        thread::spawn(move || stderr.for_each(drop));
        Some(Self { child, url, lines })
    }

    /// The next line that it prints beside its banner.
    pub(crate) fn line(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("Flask prints nothing"));
            if !line.starts_with(" * ") {
                return line;
            }
        }
    }
}

impl Drop for Flask {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With paho at QoS 2, to its PUBCOMP.
pub(crate) fn paho(port: u16, topic: &str, payload: &str) {
    let Some(python) = python("flask") else { return };
    let program: PathBuf = workspace().join("tests/webhook/programs/publish.py");
    let status = Command::new(python).arg(program).args([&port.to_string(), topic, payload]).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{status:?}");
}

#[test]
fn the_receiver_of_a_course_gets_what_paho_publishes_accents_and_all() {
    let Some(flask) = Flask::start("tests/webhook/programs", "course", &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &webhook(&format!("{}/webhook", flask.url), ""));
    let payload =
        r#"{"temperatura": 21.50, "local": "cozinha", "ação": "medição", "n": 12345678901234567890}"#;
    paho(broker.addr.port(), "sensors/cozinha", payload);
    let line = flask.line();
    for part in [
        "'type': 'message.published'",
        "'topic': 'sensors/cozinha'",
        "'payload': {'temperatura': 21.5, 'local': 'cozinha', 'ação': 'medição', 'n': 12345678901234567890}",
        "'payload_encoding': 'json'",
        "'qos': 2",
        "'retain': False",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    // A text box sends what it likes.
    for (payload, expected) in
        [("Olá, mundo!", "'payload': 'Olá, mundo!'"), ("", "'payload': ''"), ("21", "'payload': 21")]
    {
        paho(broker.addr.port(), "sensors/texto", payload);
        let line = flask.line();
        assert!(line.contains(expected), "{expected} is not in {line}");
    }
}
