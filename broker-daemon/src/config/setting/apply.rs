//! From what the user wrote into the field, or what is wrong with it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use culex_codec::QoS;
use culex_core::client::Secret;
use culex_core::limits::Limit;
use culex_core::{Address, MountPoint, Network, Threads};

use crate::config::bridge::remote_address;
use crate::config::problem::Complaint;
use crate::config::setting::{NumberField, Setting, THREADS_MAX};
use crate::config::value::{Input, Unit, address, duration, ip_address, number};

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
                if !range.contains(&number) || !field.set(target, number) {
                    return Err(self.out_of_range(input, number == 0));
                }
            }
            Self::Duration { field, range } => {
                let value = duration(self.text(input)?).ok_or_else(|| self.mismatch(input))?;
                if !range.contains(&value) {
                    return Err(self.out_of_range(input, false));
                }
                *field(target) = value;
            }
            Self::Choice { words, set, .. } => {
                let text = self.text(input)?;
                let index = words.iter().position(|word| *word == text);
                set(target, index.ok_or_else(|| self.mismatch(input))?);
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
            Self::Address { field } => *field(target) = address(self.text(input)?)?,
            Self::Socket { field } => match address(self.text(input)?)? {
                Address::Ip(address) => *field(target) = address,
                Address::Unix(_) => return Err(self.mismatch(input)),
            },
            Self::Path { field } => *field(target) = Some(self.word(input)?.into()),
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
            Self::Text { field } => *field(target) = Some(self.word(input)?.to_owned()),
            Self::Word { field } => *field(target) = self.word(input)?.to_owned(),
            Self::Secret { field } => *field(target) = Some(Secret::new(self.word(input)?)),
            Self::Remotes { field } => {
                let remotes = self.texts(input)?.into_iter().map(|text| remote_address(&text));
                *field(target) = remotes.collect::<Result<_, _>>()?;
            }
            Self::Mode { field } => {
                let mode = u32::from_str_radix(self.text(input)?, 8).ok().filter(|mode| *mode <= 0o777);
                *field(target) = mode.ok_or_else(|| self.mismatch(input))?;
            }
            Self::Networks { field } => {
                let networks = self.texts(input)?.into_iter().map(|text| network(&text));
                *field(target) = networks.collect::<Result<_, _>>()?;
            }
            Self::MountPoint { field } => *field(target) = Some(mount_point(self.text(input)?)?),
            Self::Ip { field } => *field(target) = Some(ip_address(self.text(input)?)?),
            Self::Threads { field } => *field(target) = threads(input).ok_or_else(|| self.mismatch(input))?,
        }
        Ok(())
    }

    /// One text, perhaps an empty one.
    fn text<'a>(&self, input: &'a Input) -> Result<&'a str, Complaint> {
        match input {
            Input::Text(text) => Ok(text),
            Input::Integer(_) | Input::Switch(_) | Input::List(_) | Input::Other(_) => {
                Err(self.mismatch(input))
            }
        }
    }

    /// One text that is not empty.
    fn word<'a>(&self, input: &'a Input) -> Result<&'a str, Complaint> {
        Some(self.text(input)?).filter(|text| !text.is_empty()).ok_or_else(|| self.mismatch(input))
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

    fn mismatch(&self, input: &Input) -> Complaint {
        if matches!(self, Self::Secret { .. }) {
            // What was written instead may be it.
            return Complaint::new(format!("expected {}", self.type_text())).help("write it in quotes");
        }
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
            (Self::Choice { words, .. }, Input::Text(text))
                if text == "block" && words.contains(&"drop-oldest") =>
            {
                complaint.help(BLOCK_HELP)
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

/// A client could keep everybody from publishing by not reading.
const BLOCK_HELP: &str =
    "only the queue of a bridge or a webhook can make publishers wait: [bridge.queue], [webhook.queue]";

impl<T> NumberField<T> {
    /// Whether it fits into the field, and is there now.
    fn set(&self, target: &mut T, number: u64) -> bool {
        match self {
            Self::U16(field) => u16::try_from(number).map(|n| *field(target) = n).is_ok(),
            Self::U32(field) => u32::try_from(number).map(|n| *field(target) = n).is_ok(),
            Self::QoS(field) => {
                let qos = u8::try_from(number).ok().and_then(QoS::from_bits);
                qos.map(|qos| *field(target) = qos).is_some()
            }
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

fn network(text: &str) -> Result<Network, Complaint> {
    text.parse::<Network>().map_err(|error| {
        let complaint = Complaint::new(format!("\"{}\": {error}", text.escape_debug()));
        complaint.help("write an address, or a network such as \"10.0.0.0/8\"")
    })
}

fn mount_point(text: &str) -> Result<MountPoint, Complaint> {
    MountPoint::new(text).map_err(|error| {
        let complaint = Complaint::new(format!("\"{}\": {error}", text.escape_debug()));
        complaint.help("write whole levels, such as `mount_point = \"house/\"`")
    })
}

const SIZE_HELP: &str = "a number of bytes, or text such as \"64KiB\" or \"16MiB\"";
const DURATION_HELP: &str = "text with a unit: \"500ms\", \"10s\", \"2m\"";
