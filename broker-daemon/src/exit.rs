//! How the program ends: one number a cause, so that a service manager or a script can tell them apart.

use std::process::ExitCode;

/// The exit codes of `culex`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The configuration, or the password file that it names, is wrong. `pub` and `sub`: the broker could not be reached, or refused (as in mosquitto).
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// An address cannot be listened on, or the configuration is in mosquitto's format and wrong (as in mosquitto).
    CannotBind = 3,
    /// A certificate or key cannot be used.
    Tls = 4,
    /// The data directory cannot be used.
    Storage = 5,
    /// `pub` and `sub -W`: the time is over, as mosquitto's clients say it.
    TimedOut = 27,
    /// A fault of the program itself.
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
