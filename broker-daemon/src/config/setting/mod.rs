//! What a setting is: a typed way from a written value into a field, with its range and default.

mod apply;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use culex_codec::QoS;
use culex_core::client::Secret;
use culex_core::limits::Limit;
use culex_core::{Address, MountPoint, Network, Threads};

use crate::config::bridge::RemoteAddress;
use crate::config::value::{Unit, show_duration, show_number, write_list, write_number, write_text};

/// One key of a section `T`.
#[derive(Debug)]
pub(crate) struct Key<T> {
    /// Its name in the file.
    pub(crate) name: &'static str,
    /// What it takes and where it goes.
    pub(crate) setting: Setting<T>,
    /// One line for the reference.
    pub(crate) doc: &'static str,
}

/// A kind of value, and the field that it goes to.
pub(crate) enum Setting<T> {
    /// A positive number or `"unlimited"`.
    Limit { field: fn(&mut T) -> &mut Limit, unit: Unit },
    /// A number within a range that has no "unlimited".
    Number { field: NumberField<T>, range: RangeInclusive<u64>, unit: Unit },
    /// A duration within a range.
    Duration { field: fn(&mut T) -> &mut Duration, range: RangeInclusive<Duration> },
    /// One of a few words.
    Choice { words: &'static [&'static str], get: fn(&T) -> usize, set: fn(&mut T, usize) },
    /// Some of a few words: one, or a list; none means all.
    Choices { words: &'static [&'static str], get: fn(&T) -> Vec<usize>, set: fn(&mut T, &[usize]) },
    /// `true` or `false`, or not said.
    Switch { field: fn(&mut T) -> &mut Option<bool> },
    /// An address to listen on.
    Address { field: fn(&mut T) -> &mut Address },
    /// An IP address and port.
    Socket { field: fn(&mut T) -> &mut SocketAddr },
    /// An IP address, or not said.
    Ip { field: fn(&mut T) -> &mut Option<IpAddr> },
    /// A directory or file, or not said.
    Path { field: fn(&mut T) -> &mut Option<PathBuf> },
    /// A word, or not said.
    Text { field: fn(&mut T) -> &mut Option<String> },
    /// A word that must be said.
    Word { field: fn(&mut T) -> &mut String },
    /// A word that no output shows, or not said.
    Secret { field: fn(&mut T) -> &mut Option<Secret> },
    /// Other brokers: one, or a list; at least one.
    Remotes { field: fn(&mut T) -> &mut Vec<RemoteAddress> },
    /// Files: one, or a list.
    Paths { field: fn(&mut T) -> &mut Vec<PathBuf> },
    /// Permissions of a file, as text in octal digits.
    Mode { field: fn(&mut T) -> &mut u32 },
    /// Networks: one, or a list.
    Networks { field: fn(&mut T) -> &mut Vec<Network> },
    /// Words: one, or a list.
    Texts { field: fn(&mut T) -> &mut Vec<String> },
    /// The beginning of topics, or not said.
    MountPoint { field: fn(&mut T) -> &mut Option<MountPoint> },
    /// A number of threads or `"auto"`.
    Threads { field: fn(&mut T) -> &mut Threads },
}

/// The width of a number's field.
pub(crate) enum NumberField<T> {
    /// 16 bits.
    U16(fn(&mut T) -> &mut u16),
    /// 32 bits.
    U32(fn(&mut T) -> &mut u32),
    /// A Quality of Service.
    QoS(fn(&mut T) -> &mut QoS),
}

impl<T> fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.type_text())
    }
}

impl<T> Setting<T> {
    /// The type, as the reference and the messages name it.
    pub(crate) fn type_text(&self) -> String {
        match self {
            Self::Limit { unit: Unit::Count, .. } => "number or \"unlimited\"".to_owned(),
            Self::Limit { unit: Unit::Bytes, .. } => "size or \"unlimited\"".to_owned(),
            Self::Number { unit: Unit::Count, .. } => "number".to_owned(),
            Self::Number { unit: Unit::Bytes, .. } => "size".to_owned(),
            Self::Duration { .. } => "duration".to_owned(),
            Self::Choice { words, .. } => {
                words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            }
            Self::Choices { words, .. } => {
                format!(
                    "some of {}",
                    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
                )
            }
            Self::Switch { .. } => "true or false".to_owned(),
            Self::Address { .. } => "address with port, or \"unix:PATH\"".to_owned(),
            Self::Socket { .. } => "address with port".to_owned(),
            Self::Ip { .. } => "IP address".to_owned(),
            Self::Mode { .. } => "text of octal digits".to_owned(),
            Self::Networks { .. } => "network or list of networks".to_owned(),
            Self::Path { .. } => "path".to_owned(),
            Self::Text { .. } | Self::Word { .. } | Self::Secret { .. } => "text".to_owned(),
            Self::Remotes { .. } => "`host:port` or list of such".to_owned(),
            Self::Paths { .. } => "path or list of paths".to_owned(),
            Self::Texts { .. } => "text or list of texts".to_owned(),
            Self::MountPoint { .. } => "text".to_owned(),
            Self::Threads { .. } => "number or \"auto\"".to_owned(),
        }
    }

    /// The range, if the type does not say it all.
    pub(crate) fn range_text(&self) -> String {
        match self {
            Self::Limit { .. } => "1 or more".to_owned(),
            Self::Number { range, unit, .. } => {
                format!("{} … {}", show_number(*range.start(), *unit), show_number(*range.end(), *unit))
            }
            Self::Duration { range, .. } => {
                format!("{} … {}", show_duration(*range.start()), show_duration(*range.end()))
            }
            Self::Threads { .. } => format!("1 … {THREADS_MAX}"),
            Self::Choice { .. }
            | Self::Choices { .. }
            | Self::Switch { .. }
            | Self::Address { .. }
            | Self::Socket { .. }
            | Self::Ip { .. }
            | Self::Path { .. }
            | Self::Text { .. }
            | Self::Word { .. }
            | Self::Secret { .. }
            | Self::Remotes { .. }
            | Self::MountPoint { .. }
            | Self::Paths { .. }
            | Self::Mode { .. }
            | Self::Networks { .. }
            | Self::Texts { .. } => String::new(),
        }
    }

    /// The default, read from a default section.
    pub(crate) fn default_text(&self, section: T) -> String {
        match self {
            Self::Address { .. } | Self::Word { .. } | Self::Remotes { .. } => "none; required".to_owned(),
            Self::Path { .. } => "none; see below".to_owned(),
            Self::Limit { .. }
            | Self::Number { .. }
            | Self::Duration { .. }
            | Self::Choice { .. }
            | Self::Choices { .. }
            | Self::Switch { .. }
            | Self::Text { .. }
            | Self::Secret { .. }
            | Self::MountPoint { .. }
            | Self::Paths { .. }
            | Self::Socket { .. }
            | Self::Ip { .. }
            | Self::Mode { .. }
            | Self::Networks { .. }
            | Self::Texts { .. }
            | Self::Threads { .. } => self.value_text(section),
        }
    }

    /// The value that a section has, for people.
    pub(crate) fn value_text(&self, mut section: T) -> String {
        if let Self::Secret { field } = self
            && field(&mut section).is_some()
        {
            return "(hidden)".to_owned();
        }
        let absent = if matches!(self, Self::Choices { .. }) { "all" } else { "none" };
        self.written(section).unwrap_or_else(|| absent.to_owned())
    }

    /// The value that a section has, as the file would have it; `None` if only the absence of the key says it.
    pub(crate) fn written(&self, mut section: T) -> Option<String> {
        let list = |texts: Vec<String>| (!texts.is_empty()).then(|| write_list(texts.into_iter()));
        match self {
            Self::Limit { field, unit } => Some(match *field(&mut section) {
                Limit::AtMost(limit) => write_number(limit.get(), *unit),
                Limit::Unlimited => "\"unlimited\"".to_owned(),
            }),
            Self::Number { field: NumberField::U16(field), unit, .. } => {
                Some(write_number(u64::from(*field(&mut section)), *unit))
            }
            Self::Number { field: NumberField::U32(field), unit, .. } => {
                Some(write_number(u64::from(*field(&mut section)), *unit))
            }
            Self::Number { field: NumberField::QoS(field), .. } => {
                Some(field(&mut section).bits().to_string())
            }
            Self::Duration { field, .. } => Some(format!("\"{}\"", show_duration(*field(&mut section)))),
            Self::Choice { words, get, .. } => {
                Some(format!("\"{}\"", words.get(get(&section)).unwrap_or(&"")))
            }
            Self::Choices { words, get, .. } => match get(&section) {
                indices if indices.is_empty() => None,
                indices => {
                    Some(format!("{:?}", indices.iter().filter_map(|at| words.get(*at)).collect::<Vec<_>>()))
                }
            },
            Self::Switch { field } => field(&mut section).map(|switch| switch.to_string()),
            Self::Address { field } => Some(write_text(&field(&mut section).to_string())),
            Self::Socket { field } => Some(write_text(&field(&mut section).to_string())),
            Self::Ip { field } => field(&mut section).map(|address| write_text(&address.to_string())),
            Self::Path { field } => {
                field(&mut section).as_ref().map(|path| write_text(&path.display().to_string()))
            }
            Self::Text { field } => field(&mut section).as_deref().map(write_text),
            Self::Word { field } => Some(write_text(field(&mut section))),
            Self::Secret { field } => {
                let secret = field(&mut section).as_ref()?;
                Some(write_text(&String::from_utf8_lossy(secret.reveal())))
            }
            Self::Remotes { field } => list(field(&mut section).iter().map(ToString::to_string).collect()),
            Self::Paths { field } => {
                list(field(&mut section).iter().map(|path| path.display().to_string()).collect())
            }
            Self::Mode { field } => Some(format!("\"{:04o}\"", *field(&mut section))),
            Self::Networks { field } => list(field(&mut section).iter().map(ToString::to_string).collect()),
            Self::Texts { field } => list(field(&mut section).clone()),
            Self::MountPoint { field } => {
                field(&mut section).as_ref().map(|mount_point| write_text(mount_point.as_str()))
            }
            Self::Threads { field } => Some(match *field(&mut section) {
                Threads::Auto => "\"auto\"".to_owned(),
                Threads::Exactly(n) => n.to_string(),
            }),
        }
    }
}

/// More threads than any machine has cores would only cost memory.
const THREADS_MAX: u64 = 1024;
