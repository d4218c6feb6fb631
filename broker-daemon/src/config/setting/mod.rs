//! What a setting is: a typed way from a written value into a field, with its range and default.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use culex_codec::QoS;
use culex_core::client::Secret;
use culex_core::limits::Limit;
use culex_core::{Address, Network};

use crate::config::bridge::{RemoteAddress, remote_address};
use crate::config::problem::Complaint;
use crate::config::value::{
    Input, Unit, address, duration, number, show_duration, show_number, write_list, write_number, write_text,
};
use culex_core::{MountPoint, Threads};

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
    /// Puts a written value into its field.
    ///
    /// # Errors
    /// If the value is of another type or out of range; the field is unchanged then.
    pub(crate) fn apply(&self, target: &mut T, input: &Input) -> Result<(), Complaint> {
        match self {
            Self::Limit { field, unit } => *field(target) = limit(input, *unit)?,
            Self::Number { field, range, unit } => {
                let number = number_of(input, *unit).ok_or_else(|| self.mismatch(input))?;
                if !range.contains(&number) {
                    return Err(self.out_of_range(input, number == 0));
                }
                let fits = match field {
                    NumberField::U16(field) => u16::try_from(number).map(|n| *field(target) = n).is_ok(),
                    NumberField::U32(field) => u32::try_from(number).map(|n| *field(target) = n).is_ok(),
                    NumberField::QoS(field) => {
                        let qos = u8::try_from(number).ok().and_then(QoS::from_bits);
                        qos.map(|qos| *field(target) = qos).is_some()
                    }
                };
                if !fits {
                    return Err(self.out_of_range(input, false));
                }
            }
            Self::Duration { field, range } => {
                let Input::Text(text) = input else { return Err(self.mismatch(input)) };
                let value = duration(text).ok_or_else(|| self.mismatch(input))?;
                if !range.contains(&value) {
                    return Err(self.out_of_range(input, false));
                }
                *field(target) = value;
            }
            Self::Choice { words, set, .. } => {
                let Input::Text(text) = input else { return Err(self.mismatch(input)) };
                let index = words.iter().position(|word| word == text).ok_or_else(|| self.mismatch(input))?;
                set(target, index);
            }
            Self::Choices { words, set, .. } => {
                let index = |text: &String| words.iter().position(|word| word == text);
                let indices: Option<Vec<_>> = self.texts(input)?.iter().map(index).collect();
                set(target, &indices.ok_or_else(|| self.mismatch(input))?);
            }
            Self::Switch { field } => {
                *field(target) = Some(match input {
                    Input::Switch(switch) => *switch,
                    Input::Text(text) => text.parse().map_err(|_| self.mismatch(input))?,
                    Input::Integer(_) | Input::List(_) | Input::Other(_) => return Err(self.mismatch(input)),
                });
            }
            Self::Address { field } => {
                let Input::Text(text) = input else { return Err(self.mismatch(input)) };
                *field(target) = address(text)?;
            }
            Self::Socket { field } => {
                let Input::Text(text) = input else { return Err(self.mismatch(input)) };
                match address(text)? {
                    Address::Ip(address) => *field(target) = address,
                    Address::Unix(_) => return Err(self.mismatch(input)),
                }
            }
            Self::Path { field } => {
                let Input::Text(text) = input else { return Err(self.mismatch(input)) };
                if text.is_empty() {
                    return Err(self.mismatch(input));
                }
                *field(target) = Some(text.into());
            }
            Self::Paths { field } => {
                *field(target) = self.texts(input)?.into_iter().map(PathBuf::from).collect();
            }
            Self::Texts { field } => {
                // [RFC 7301 section 3.1]: a protocol has 1 to 255 bytes.
                let texts = self.texts(input)?;
                if texts.iter().any(|text| text.len() > 255) {
                    return Err(Complaint::new("a word of more than 255 bytes"));
                }
                *field(target) = texts;
            }
            Self::Text { field } => match input {
                Input::Text(text) if !text.is_empty() => *field(target) = Some(text.clone()),
                Input::Text(_) | Input::Integer(_) | Input::Switch(_) | Input::List(_) | Input::Other(_) => {
                    return Err(self.mismatch(input));
                }
            },
            Self::Word { field } => match input {
                Input::Text(text) if !text.is_empty() => field(target).clone_from(text),
                Input::Text(_) | Input::Integer(_) | Input::Switch(_) | Input::List(_) | Input::Other(_) => {
                    return Err(self.mismatch(input));
                }
            },
            Self::Secret { field } => match input {
                Input::Text(text) if !text.is_empty() => *field(target) = Some(Secret::new(text.as_str())),
                Input::Text(_) | Input::Integer(_) | Input::Switch(_) | Input::List(_) | Input::Other(_) => {
                    return Err(self.mismatch(input));
                }
            },
            Self::Remotes { field } => {
                let remotes = self.texts(input)?.into_iter().map(|text| remote_address(&text));
                *field(target) = remotes.collect::<Result<_, _>>()?;
            }
            Self::Mode { field } => {
                let Input::Text(text) = input else { return Err(self.mismatch(input)) };
                let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
                *field(target) = mode.ok_or_else(|| self.mismatch(input))?;
            }
            Self::Networks { field } => {
                let network = |text: &String| {
                    let wrong = |error| {
                        Complaint::new(format!("\"{}\": {error}", text.escape_debug()))
                            .help("write an address, or a network such as \"10.0.0.0/8\"")
                    };
                    text.parse::<Network>().map_err(wrong)
                };
                *field(target) = self.texts(input)?.iter().map(network).collect::<Result<_, _>>()?;
            }
            Self::MountPoint { field } => {
                let Input::Text(text) = input else { return Err(self.mismatch(input)) };
                let mount_point = MountPoint::new(text);
                *field(target) = Some(mount_point.map_err(|error| {
                    let complaint = Complaint::new(format!("\"{}\": {error}", text.escape_debug()));
                    complaint.help("write whole levels, such as `mount_point = \"house/\"`")
                })?);
            }
            Self::Threads { field } => *field(target) = threads(input).ok_or_else(|| self.mismatch(input))?,
        }
        Ok(())
    }

    /// One text, or several; none of them empty.
    fn texts(&self, input: &Input) -> Result<Vec<String>, Complaint> {
        let texts = match input {
            Input::Text(text) => vec![text.clone()],
            Input::List(texts) => texts.clone(),
            Input::Integer(_) | Input::Switch(_) | Input::Other(_) => return Err(self.mismatch(input)),
        };
        if texts.is_empty() || texts.iter().any(String::is_empty) {
            return Err(self.mismatch(input));
        }
        Ok(texts)
    }

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

    fn mismatch(&self, input: &Input) -> Complaint {
        let complaint = Complaint::new(format!("expected {}, found {}", self.type_text(), input.describe()));
        match (self, input) {
            (Self::Number { .. }, Input::Text(text)) if text == "unlimited" => {
                complaint.help(format!("this limit is always a number ({})", self.range_text()))
            }
            (Self::Number { unit: Unit::Bytes, .. }, Input::Text(_)) => complaint.help(SIZE_HELP),
            (Self::Duration { .. }, Input::Text(_) | Input::Integer(_)) => complaint.help(DURATION_HELP),
            (Self::Threads { .. }, Input::Integer(Some(0))) => {
                complaint.help("write \"auto\" to let the broker decide")
            }
            (Self::Choice { words, .. }, Input::Text(text)) => {
                match crate::config::suggest::nearest(text, words.iter().copied()) {
                    Some(word) => complaint.help(format!("did you mean \"{word}\"?")),
                    None => complaint,
                }
            }
            (Self::Switch { .. }, Input::Text(_)) => complaint.help("write true or false without quotes"),
            (_, _) => complaint,
        }
    }

    fn out_of_range(&self, input: &Input, is_zero: bool) -> Complaint {
        let message = format!("{} is out of range ({})", input.describe(), self.range_text());
        let complaint = Complaint::new(message);
        if is_zero {
            complaint.help("0 is no limit's value; leave the key out for the default")
        } else {
            complaint
        }
    }
}

fn limit(input: &Input, unit: Unit) -> Result<Limit, Complaint> {
    if matches!(input, Input::Text(text) if text == "unlimited") {
        return Ok(Limit::Unlimited);
    }
    let expected = match unit {
        Unit::Count => "a positive number or \"unlimited\"",
        Unit::Bytes => "a size or \"unlimited\"",
    };
    let number = number_of(input, unit).ok_or_else(|| {
        let complaint = Complaint::new(format!("expected {expected}, found {}", input.describe()));
        match (input, unit) {
            (Input::Text(_), Unit::Bytes) => complaint.help(SIZE_HELP),
            (Input::Integer(None), _) => complaint.help("for no limit write \"unlimited\""),
            (_, _) => complaint,
        }
    })?;
    Limit::at_most(number).ok_or_else(|| {
        Complaint::new("a limit cannot be 0")
            .help("write a positive number, or \"unlimited\" if there shall be no limit")
    })
}

fn number_of(input: &Input, unit: Unit) -> Option<u64> {
    match input {
        Input::Integer(number) => *number,
        Input::Text(text) => number(text, unit),
        Input::Switch(_) | Input::List(_) | Input::Other(_) => None,
    }
}

fn threads(input: &Input) -> Option<Threads> {
    if matches!(input, Input::Text(text) if text == "auto") {
        return Some(Threads::Auto);
    }
    let number = number_of(input, Unit::Count).filter(|number| *number <= THREADS_MAX)?;
    NonZeroUsize::new(usize::try_from(number).ok()?).map(Threads::Exactly)
}

/// More threads than any machine has cores would only cost memory.
const THREADS_MAX: u64 = 1024;
const SIZE_HELP: &str = "a number of bytes, or text such as \"64KiB\" or \"16MiB\"";
const DURATION_HELP: &str = "text with a unit: \"500ms\", \"10s\", \"2m\"";
