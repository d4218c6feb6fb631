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

impl State {
    /// What was said, or the directory that a service manager gives, a part of it for each port: two brokers do not get
    /// into each other's way.
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
        let port = config.listeners.first().map_or(0, |listener| listener.address.port());
        let base = variable("STATE_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute());
        match base {
            Some(base) if port > 0 => Self::Directory(base.join(format!("port-{port}")), mode),
            _ => Self::Memory("`--data-dir DIR` keeps them"),
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

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(why) => {
                write!(f, "Sessions and retained messages end with the broker ({why}).")
            }
            Self::Directory(path, StoreMode::Power | StoreMode::None) => {
                write!(f, "Sessions and retained messages are kept in {}.", path.display())
            }
            Self::Directory(path, StoreMode::Kill) => {
                write!(
                    f,
                    "Sessions and retained messages are kept in {}, but for the last second of a power cut.",
                    path.display()
                )
            }
        }
    }
}

#[cfg(all(test, feature = "store-sqlite"))]
mod tests {
    use super::*;

    fn chosen(config: &Config, variables: &[(&str, &str)]) -> State {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        State::choose(config, |name| find(name).map(|(_, value)| value.into()))
    }

    #[test]
    fn a_service_has_a_directory_for_each_port() {
        let mut config = Config::default();
        let power = |path: &str| State::Directory(path.into(), StoreMode::Power);
        let given = [("STATE_DIRECTORY", "/var/lib/culex")];
        assert_eq!(chosen(&config, &given), power("/var/lib/culex/port-1883"));
        assert!(matches!(chosen(&config, &[]), State::Memory(_)));
        assert!(matches!(chosen(&config, &[("STATE_DIRECTORY", "relative")]), State::Memory(_)));
        config.listeners[0].address.set_port(1884);
        assert_eq!(chosen(&config, &given), power("/var/lib/culex/port-1884"));
        config.listeners[0].address.set_port(0);
        assert!(matches!(chosen(&config, &given), State::Memory(_)));
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
