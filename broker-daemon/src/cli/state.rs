//! Where the broker keeps its state, and what it says of it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use culex_core::BrokerBuilder;
#[cfg(feature = "store-sqlite")]
use culex_core::Durability;

use crate::config::{Config, StoreMode};

/// Where sessions and retained messages are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nowhere, and why.
    Memory(&'static str),
    /// In a directory.
    Directory(PathBuf, StoreMode),
}

/// The state of a service, by the Filesystem Hierarchy Standard (5.8).
pub(super) const OF_SERVICES: &str = "/var/lib/culex";

impl State {
    /// What was said, or else the place where such state belongs on this system. Who types `culex -p 1884` may have another
    /// broker on 1883, so a person's brokers have a directory for each port; a service has one of its own anyway, and
    /// keeps its state when its port changes.
    pub(super) fn choose(config: &Config, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let mode = config.store.durability;
        if mode == StoreMode::None {
            return Self::Memory("as it was told");
        }
        if !cfg!(feature = "store-sqlite") {
            return Self::Memory("this program is built without a store");
        }
        if let Some(directory) = &config.store.directory {
            return Self::Directory(directory.clone(), mode);
        }
        let absolute = |name: &str| first_path(&variable(name)?);
        if let Some(directory) = absolute("STATE_DIRECTORY") {
            return Self::Directory(directory, mode);
        }
        let home = || Some(absolute("HOME")?.join(".local/state"));
        let Some(base) = absolute("XDG_STATE_HOME").or_else(home) else {
            // Nobody's home: started by the system.
            return Self::Directory(OF_SERVICES.into(), mode);
        };
        match config.listeners.iter().find_map(|listener| listener.address.ip()).map(|address| address.port())
        {
            Some(0) => Self::Memory(
                "a port that changes with each start has no directory; `--data-dir DIR` names one",
            ),
            Some(port) => Self::Directory(base.join("culex").join(format!("port-{port}")), mode),
            // All it has are Unix sockets.
            None => Self::Directory(base.join("culex").join("unix"), mode),
        }
    }

    /// Where it is.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Memory(_) => None,
            Self::Directory(path, _) => Some(path),
        }
    }

    /// Tells the broker.
    pub(super) fn apply(&self, builder: BrokerBuilder) -> BrokerBuilder {
        #[cfg(feature = "store-sqlite")]
        if let Self::Directory(directory, mode) = self {
            let durability = if *mode == StoreMode::Kill { Durability::Kill } else { Durability::Power };
            return builder.store(directory).durability(durability);
        }
        builder
    }
}

/// The first of a list with colons, as a service manager may give several; relative ones do not count, as the XDG Base
/// Directory Specification wants it.
fn first_path(list: &OsString) -> Option<PathBuf> {
    std::env::split_paths(list).next().filter(|path| path.is_absolute() && path != Path::new("/"))
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, kept) = match self {
            Self::Memory(why) => {
                return write!(f, "Sessions and retained messages end with the broker ({why}).");
            }
            Self::Directory(path, StoreMode::Power | StoreMode::None) => {
                (path, "power: over a power cut too")
            }
            Self::Directory(path, StoreMode::Kill) => (path, "kill: but for the last second of a power cut"),
        };
        write!(f, "Sessions and retained messages are kept in {} ({kept}).", path.display())
    }
}

#[cfg(test)]
#[cfg(feature = "store-sqlite")]
mod tests {
    use super::*;

    fn chosen(config: &Config, variables: &[(&str, &str)]) -> State {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        State::choose(config, |name| find(name).map(|(_, value)| value.into()))
    }

    #[track_caller]
    fn check(port: u16, variables: &[(&str, &str)], expected: Option<&str>) {
        let mut config = Config::default();
        config.listeners[0].address.set_port(port);
        match (chosen(&config, variables), expected) {
            (State::Directory(path, StoreMode::Power), Some(expected)) => {
                assert_eq!(path, Path::new(expected))
            }
            (State::Memory(_), None) => {}
            (state, _) => panic!("{state:?} for {variables:?}"),
        }
    }

    #[test]
    fn brokers_of_a_person_have_a_directory_for_each_port() {
        let home = ("HOME", "/home/a");
        check(1883, &[home], Some("/home/a/.local/state/culex/port-1883"));
        check(1884, &[home], Some("/home/a/.local/state/culex/port-1884"));
        check(1883, &[home, ("XDG_STATE_HOME", "/s")], Some("/s/culex/port-1883"));
        check(1883, &[home, ("XDG_STATE_HOME", "relative")], Some("/home/a/.local/state/culex/port-1883"));
        check(1883, &[home, ("XDG_STATE_HOME", "")], Some("/home/a/.local/state/culex/port-1883"));
        check(0, &[home], None);
    }

    #[test]
    fn a_service_has_one_whatever_its_port() {
        for port in [0, 1883] {
            check(
                port,
                &[("HOME", "/root"), ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")],
                Some("/var/lib/a"),
            );
            check(port, &[], Some("/var/lib/culex"));
            check(port, &[("HOME", "/")], Some("/var/lib/culex"));
        }
    }

    #[test]
    fn what_was_said_counts() {
        let mut config = Config::default();
        config.store.directory = Some("here".into());
        config.store.durability = StoreMode::Kill;
        assert_eq!(chosen(&config, &[("HOME", "/home/a")]), State::Directory("here".into(), StoreMode::Kill));
        config.store.durability = StoreMode::None;
        assert!(matches!(chosen(&config, &[]), State::Memory(_)));
    }
}
