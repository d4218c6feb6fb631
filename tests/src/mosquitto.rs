//! Starts mosquitto, where it is installed, and ends it with the test.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a broker that does not start is a failed test")]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use crate::tools::is_installed;

/// A running mosquitto.
#[derive(Debug)]
pub struct Mosquitto {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Mosquitto {
    /// Whether it is installed. Where it must be, a test fails without it; elsewhere it is skipped, which is said.
    ///
    /// # Panics
    /// With `CULEX_REQUIRE_CLIENTS=1`.
    #[must_use]
    pub fn is_installed() -> bool {
        is_installed("mosquitto", Command::new("mosquitto").arg("-h").output().is_ok())
    }

    /// Starts it with a listener on loopback that everybody may use, and these lines of its configuration before and
    /// behind that listener.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(global: &str, listener: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Somebody may take the port in between, and mosquitto cannot choose one.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let file = directory.path().join("mosquitto.conf");
            let text = format!(
                "user root\nlog_dest stderr\nallow_anonymous true\n{global}\nlistener {port} 127.0.0.1\n{listener}\n"
            );
            std::fs::write(&file, text).unwrap();
            let mut child =
                Command::new("mosquitto").arg("-c").arg(&file).stderr(Stdio::piped()).spawn().unwrap();
            let log = BufReader::new(child.stderr.take().unwrap());
            let mut lines = log.lines().map_while(Result::ok);
            if lines.any(|line| line.ends_with(" running")) {
                // It logs each client, and must not stop at a full pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
            }
            let _ = child.wait();
        }
        panic!("mosquitto does not start");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
