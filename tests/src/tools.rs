//! Programs of others that tests run, where they are installed. `.ci/install` brings them.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// With paho: publishes 200,000 bytes at QoS 2 to itself, and prints how many have come. Its arguments: transport
/// (`websockets`, `unix`), host or path, port, and for TLS a file with the CA.
pub const PAHO_ECHO: &str = "import sys, ssl, paho.mqtt.client as mqtt
transport, host, port, *ca = sys.argv[1:]
try: client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION1, transport=transport)
except AttributeError: client = mqtt.Client(transport=transport)
if ca: client.tls_set(ca_certs=ca[0], tls_version=ssl.PROTOCOL_TLS_CLIENT)
client.on_connect = lambda c, *a: c.subscribe('echo', 2)
client.on_subscribe = lambda c, *a: c.publish('echo', 'x' * 200000, 2)
def heard(c, _, message):
    print(len(message.payload), flush=True)
    c.disconnect()
client.on_message = heard
client.connect(host, int(port))
client.loop_forever()
";

/// The root of the checkout.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where the interpreter of a Python environment of `.ci/install` is, if it is installed.
#[must_use]
pub fn python_path(environment: &str) -> PathBuf {
    workspace().join(".cache/interop").join(environment).join("bin/python")
}

/// The same; says so if it is not there.
///
/// # Panics
/// As [`skip`].
#[must_use]
pub fn python(environment: &str) -> Option<PathBuf> {
    let path = python_path(environment);
    is_installed(&format!("Python environment {environment}"), path.exists()).then_some(path)
}

/// Whether a program is on the search path.
#[must_use]
pub fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The same; says so if it is not.
///
/// # Panics
/// As [`skip`].
#[must_use]
pub fn has(program: &str) -> bool {
    is_installed(program, is_on_path(program))
}

/// Says so if something is not there.
///
/// # Panics
/// As [`skip`].
#[must_use]
pub fn is_installed(what: &str, is_there: bool) -> bool {
    if !is_there {
        skip(&format!("{what} is not installed (run .ci/install)"));
    }
    is_there
}

/// Says why a case is left out.
///
/// # Panics
/// Where nothing may be left out: with `CULEX_REQUIRE_CLIENTS=1`.
pub fn skip(why: &str) {
    assert!(env::var_os("CULEX_REQUIRE_CLIENTS").is_none(), "skipped: {why}");
    // Past the capture of the test harness, which shows nothing of a case that passes.
    let case = thread::current();
    let _ = writeln!(io::stderr(), "{}: skipped: {why}", case.name().unwrap_or_default());
}
