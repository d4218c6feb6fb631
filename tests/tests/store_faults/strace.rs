//! strace beside a broker: it breaks system calls or writes them down.

use std::path::Path;
use std::process::{Command, Stdio};

use culex_tests::tools::skip;

/// Whether strace can be used. If it has to be and cannot, the test fails.
pub(crate) fn is_usable() -> bool {
    is_allowed("strace", Command::new("strace").args(["-f", "-o", "/dev/null", "true"]))
}

/// Whether a command that a test needs does its work here.
pub(crate) fn is_allowed(name: &str, command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_usable = status.as_ref().is_ok_and(std::process::ExitStatus::success);
    if !is_usable {
        skip(&format!("{name} does not work here: {status:?}"));
    }
    is_usable
}

/// The wrapper that makes these calls fail: the broker is the child, strace runs beside it.
pub(crate) fn injecting(calls: &str, what: &str) -> Vec<String> {
    ["strace", "-D", "-f", "-qq", "-o", "/dev/null"]
        .iter()
        .map(ToString::to_string)
        .chain(["-e".to_owned(), format!("trace={calls}"), "-e".to_owned(), format!("inject={calls}:{what}")])
        .collect()
}

/// The wrapper that writes these calls down, with all bytes and the files of descriptors.
pub(crate) fn tracing(calls: &str, to: &Path) -> Vec<String> {
    ["strace", "-D", "-f", "-q", "-yy", "-xx", "-s", "1000000", "-e", "signal=none", "-o"]
        .iter()
        .map(ToString::to_string)
        .chain([to.display().to_string(), "-e".to_owned(), format!("trace={calls}")])
        .collect()
}
