//! Programs that come by WebSocket: a page with mqtt.js in Debian's Chromium, and paho.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use culex_tests::tools::{PAHO_ECHO, has, is_installed, python, workspace};

use crate::program::{Program, text};

/// How long a browser may take to begin: a bound of failure, not a wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves `programs/browser.html` and mqtt.js to one browser after another, and hands on what the page says.
fn serve() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, said) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || answer(stream).map(|body| sender.send(body)));
        }
    });
    (address, said)
}

/// One request of HTTP/1.1; what was posted.
fn answer(stream: TcpStream) -> Option<String> {
    let mut reader = BufReader::new(&stream);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = request.split([' ', '?']).nth(1)?;
    let (kind, file) = match path {
        "/" => ("text/html", "tests/tls/programs/browser.html"),
        "/mqtt.min.js" => ("text/javascript", "tests/interop/node_modules/mqtt/dist/mqtt.min.js"),
        _ => ("text/plain", "LICENSE-MIT"),
    };
    let content = fs::read(workspace().join(file)).ok()?;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        content.len()
    );
    (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(&content)).ok()?;
    (path == "/said").then(|| String::from_utf8_lossy(&body).into_owned())
}

/// A browser with a home of its own, so that it trusts whom we say and nobody else of ours.
struct Browser {
    child: Child,
    _home: tempfile::TempDir,
}

impl Browser {
    fn open(address: &str, program: &Program, trusts: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let database = home.path().join(".pki/nssdb");
        fs::create_dir_all(&database).unwrap();
        let certutil = |arguments: &[&str]| {
            let output = Command::new("certutil")
                .arg("-d")
                .arg(format!("sql:{}", database.display()))
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", text(&output));
        };
        certutil(&["-N", "--empty-password"]);
        if trusts {
            let ca = program.path("ca.crt").display().to_string();
            certutil(&["-A", "-t", "C,,", "-n", "ours", "-i", &ca]);
        }
        let child = Command::new("chromium")
            .args(["--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
            // Its sandbox does not start as root, and loads nothing here but our page.
            .arg("--no-sandbox")
            .arg(format!("--user-data-dir={}", home.path().join("profile").display()))
            .arg(address)
            .env("HOME", home.path())
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, _home: home }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_page_with_mqtt_js_comes_by_wss_where_the_ca_is_known_and_from_allowed_origins_alone() {
    let script = workspace().join("tests/interop/node_modules/mqtt/dist/mqtt.min.js");
    if !has("chromium") || !has("certutil") || !is_installed("mqtt.js", script.exists()) {
        return;
    }
    let (server, said) = serve();
    let program = Program::websocket(&[&format!("http://{server}")]);
    let broker = format!("wss://localhost:{}/mqtt", program.broker.addr.port());
    let visit = |host: &str, trusts: bool| {
        let _browser =
            Browser::open(&format!("http://{host}:{}/?broker={broker}", server.port()), &program, trusts);
        said.recv_timeout(PATIENCE).unwrap()
    };
    let all = "connected 0\nmessage browser/0 0\nmessage browser/1 1\nmessage browser/2 2";
    assert_eq!(visit("127.0.0.1", true), all, "{}", program.broker.log());
    assert_eq!(visit("127.0.0.1", false), "closed", "it does not know this CA");
    assert_eq!(visit("localhost", true), "closed", "cve_2026_67405: another origin");
}

#[test]
fn a_program_of_paho_comes_by_wss() {
    let program = Program::websocket(&[]);
    for paho in ["paho1", "paho2"] {
        let Some(python) = python(paho) else { continue };
        let output = Command::new(python)
            .args([
                "-W",
                "ignore",
                "-c",
                PAHO_ECHO,
                "websockets",
                "localhost",
                &program.broker.addr.port().to_string(),
            ])
            .arg(program.path("ca.crt"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(text(&output).trim(), "200000", "{paho}");
    }
}
