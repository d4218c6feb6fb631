//! What was read so far: values where Culex has a place for them at once, and in mosquitto's terms what is only known when
//! all is read.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config::problem::{Complaint, Note, Place};
use crate::config::validate::Draft;
use crate::config::{Listener, LogLevel, TlsVersion};

use super::bridge::TheirBridge;
use super::options::{Meaning, OptionOf, Scope};

/// Whether a value was taken.
pub(super) type Outcome = Result<(), Complaint>;

/// Everything that was said so far.
#[derive(Debug)]
pub(super) struct Reading {
    /// Where the option stands that is looked at.
    pub(super) here: Place,
    pub(super) notes: Vec<Note>,
    pub(super) machine: Machine,
    /// What needs no second look.
    pub(super) draft: Draft,
    pub(super) per_listener: bool,
    /// Who may come in everywhere, without `per_listener_settings`.
    pub(super) shared: Security,
    /// The listener of `port` and `bind_address`.
    pub(super) unnamed: Theirs,
    /// Those of `listener`.
    pub(super) listeners: Vec<Theirs>,
    current: Option<usize>,
    /// Those of `connection`.
    pub(super) bridges: Vec<TheirBridge>,
    current_bridge: Option<usize>,
    /// What may stand once only, and where it belongs.
    said: HashSet<(Belongs, &'static str)>,
    pub(super) max_queued_messages: Option<i64>,
    /// Where `queue_qos0_messages true` stands.
    pub(super) queue_qos_0: Option<Place>,
    pub(super) log_level: Option<LogLevel>,
    pub(super) persistence: Option<Place>,
}

/// What an option is said of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Belongs {
    All,
    /// The one without a name, or that with this number.
    Listener(Option<usize>),
    Bridge(usize),
}

/// Where a file stood when it included another.
pub(super) struct Outer {
    current: Option<usize>,
    current_bridge: Option<usize>,
}

/// Who may come in, and what he may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Security {
    pub(super) allow_anonymous: Option<bool>,
    pub(super) password_file: Option<(PathBuf, Place)>,
    pub(super) acl_file: Option<(PathBuf, Place)>,
    /// Where the first of them stands.
    pub(super) first: Option<Place>,
}

/// A listener in mosquitto's terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Theirs {
    /// Where it begins; `None` is one that does not exist.
    pub(super) begin: Option<Place>,
    pub(super) port: Option<u16>,
    pub(super) host: Option<String>,
    pub(super) domain: Option<Domain>,
    /// What its options say as `[[listener]]` has it; its address comes at the end, if it is no Unix socket.
    pub(super) taken: Listener,
    pub(super) is_unix: bool,
    /// The first option that was meant for it: name and place.
    pub(super) first: Option<(&'static str, Place)>,
    pub(super) security: Security,
    pub(super) cafile: Option<PathBuf>,
    pub(super) capath: Option<PathBuf>,
    pub(super) certfile: Option<PathBuf>,
    pub(super) keyfile: Option<PathBuf>,
    pub(super) crlfile: Option<PathBuf>,
    /// Where the first option of TLS stands.
    pub(super) tls: Option<Place>,
    pub(super) min_version: TlsVersion,
    pub(super) require_certificate: bool,
    pub(super) use_identity_as_username: bool,
    pub(super) use_subject_as_username: bool,
}

/// `socket_domain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain {
    V4,
    V6,
}

/// What a listener without an address depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Machine {
    pub(super) has_ipv6: bool,
}

impl Machine {
    /// This computer.
    pub(in crate::config) fn this() -> Self {
        Self { has_ipv6: TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() }
    }

    /// A computer of a test.
    #[cfg(test)]
    pub(in crate::config) const fn with_ipv6(has_ipv6: bool) -> Self {
        Self { has_ipv6 }
    }

    /// Where mosquitto would listen: all addresses of this name, or of this computer.
    ///
    /// # Errors
    /// If the name is none, or has no address of this family.
    pub(super) fn addresses(
        self,
        host: Option<&str>,
        port: u16,
        domain: Option<Domain>,
    ) -> Result<Vec<SocketAddr>, Complaint> {
        let any = |v4: Ipv4Addr, v6: Ipv6Addr| {
            let v6 = Some(IpAddr::V6(v6)).filter(|_| self.has_ipv6 || domain == Some(Domain::V6));
            std::iter::once(IpAddr::V4(v4)).chain(v6).map(|ip| SocketAddr::new(ip, port)).collect()
        };
        let mut found: Vec<SocketAddr> = match host {
            None => any(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
            Some("localhost") => any(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            Some(host) => resolve(host, port)?,
        };
        found.dedup();
        let all = found.len();
        found.retain(|address| match domain {
            None => true,
            Some(Domain::V4) => address.is_ipv4(),
            Some(Domain::V6) => address.is_ipv6(),
        });
        match (found.is_empty(), host) {
            (false, _) => Ok(found),
            (true, Some(host)) if all > 0 => {
                Err(Complaint::new(format!("`{host}` has no address of this socket_domain")))
            }
            (true, _) => Err(Complaint::new("there is no address to listen on")),
        }
    }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Complaint> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match (host, port).to_socket_addrs() {
        Ok(found) => Ok(found.collect()),
        Err(_) => Err(Complaint::new(format!(
            "`{}` is neither an IP address nor a name that this computer knows",
            host.escape_debug()
        ))
        .help(
            "a listener is `listener PORT` for all networks, or `listener PORT 127.0.0.1` for this computer",
        )),
    }
}

impl Reading {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            here: Place::CommandLine,
            notes: Vec::new(),
            machine,
            draft: Draft::default(),
            per_listener: false,
            shared: Security::default(),
            unnamed: Theirs::default(),
            listeners: Vec::new(),
            current: None,
            bridges: Vec::new(),
            current_bridge: None,
            said: HashSet::new(),
            max_queued_messages: None,
            queue_qos_0: None,
            log_level: None,
            persistence: None,
        }
    }

    /// Begins a file that is included: without a listener, outside a bridge.
    pub(super) fn enter(&mut self) -> Outer {
        Outer { current: self.current.take(), current_bridge: self.current_bridge.take() }
    }

    /// Goes on with the file that included.
    pub(super) fn leave(&mut self, outer: Outer) {
        (self.current, self.current_bridge) = (outer.current, outer.current_bridge);
    }

    /// Takes an option and its value.
    ///
    /// # Errors
    /// If it cannot be taken, or is not supported.
    pub(super) fn apply(&mut self, option: &'static OptionOf, name: &str, value: &str) -> Outcome {
        let belongs = match option.scope {
            Scope::All => Belongs::All,
            Scope::Bridge => Belongs::Bridge(self.current_bridge.ok_or_else(|| {
                let message = format!("`{name}` belongs to a bridge, and there is no `connection` before it");
                Complaint::new(message).help("put it below its `connection NAME`")
            })?),
            Scope::Security if !self.per_listener => Belongs::All,
            Scope::Security | Scope::Listener => Belongs::Listener(self.current),
        };
        let is_first = self.said.insert((belongs, option.name));
        match &option.meaning {
            Meaning::Text(set) => {
                if !is_first {
                    return Err(Complaint::new(format!("`{name}` is said twice"))
                        .help("mosquitto takes it once; remove one of the lines"));
                }
                if value.is_empty() {
                    return Err(is_empty(name));
                }
                set(self, value)
            }
            Meaning::Switch(set) => {
                let is_on = self.switch(name, value)?;
                self.warn_of_repetition(name, is_first);
                set(self, is_on)
            }
            Meaning::Number(range, set) => {
                let number = self.number(name, value, range)?;
                self.warn_of_repetition(name, is_first);
                set(self, number)
            }
            Meaning::Words(set) => {
                if value.is_empty() {
                    return Err(is_empty(name));
                }
                set(self, value)
            }
            Meaning::Only(expected, help) => {
                let word = value.split(' ').next().unwrap_or_default();
                if expected.contains(&word) {
                    return Ok(());
                }
                if word.is_empty() {
                    return Err(is_empty(name));
                }
                let word = word.escape_debug();
                Err(Complaint::new(format!("`{name} {word}` is not supported: {}", option.doc)).help(*help))
            }
            Meaning::Ignored => {
                self.note(format!("`{name}` is ignored: {}", option.doc));
                Ok(())
            }
            Meaning::Refused(help) => {
                Err(Complaint::new(format!("`{name}` is not supported: {}", option.doc)).help(*help))
            }
        }
    }

    /// Begins a bridge.
    pub(super) fn begin_bridge(&mut self, name: &str) {
        self.current_bridge = Some(self.bridges.len());
        self.bridges.push(TheirBridge::new(name, self.here.clone()));
    }

    /// Sets something of the bridge that options are for now, which stands here from now on.
    ///
    /// # Errors
    /// None; so is a setter of an option written.
    pub(super) fn bridge(&mut self, key: &'static str, set: impl FnOnce(&mut TheirBridge)) -> Outcome {
        let here = self.here.clone();
        if let Some(theirs) = self.current_bridge.and_then(|number| self.bridges.get_mut(number)) {
            theirs.draft.places.insert(key, here);
            set(theirs);
        }
        Ok(())
    }

    /// Says something that the user should know.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(Note { place: self.here.clone(), text: text.into() });
    }

    fn warn_of_repetition(&mut self, name: &str, is_first: bool) {
        if !is_first {
            self.note(format!("`{name}` is said again; the last one counts"));
        }
    }

    /// The listener that options are for now; none is meant yet.
    pub(super) fn theirs(&mut self) -> &mut Theirs {
        match self.current.and_then(|number| self.listeners.get_mut(number)) {
            Some(theirs) => theirs,
            None => &mut self.unnamed,
        }
    }

    /// The same, for an option that wants something of it.
    pub(super) fn listener(&mut self, name: &'static str) -> &mut Theirs {
        let here = self.here.clone();
        let theirs = self.theirs();
        theirs.first.get_or_insert((name, here));
        theirs
    }

    /// The same, for an option of TLS.
    pub(super) fn tls(&mut self, name: &'static str) -> &mut Theirs {
        let here = self.here.clone();
        let theirs = self.listener(name);
        theirs.tls.get_or_insert(here);
        theirs
    }

    /// Who may come in where options are for now.
    pub(super) fn security(&mut self) -> &mut Security {
        let here = self.here.clone();
        let security = if !self.per_listener {
            &mut self.shared
        } else if let Some(theirs) = self.current.and_then(|number| self.listeners.get_mut(number)) {
            &mut theirs.security
        } else {
            &mut self.unnamed.security
        };
        security.first.get_or_insert(here);
        security
    }

    /// Begins a listener.
    pub(super) fn begin(&mut self, port: u16, host: Option<&str>) {
        self.current = Some(self.listeners.len());
        self.listeners.push(Theirs {
            begin: Some(self.here.clone()),
            port: Some(port),
            host: host.map(str::to_owned),
            ..Theirs::default()
        });
    }

    fn switch(&mut self, name: &str, value: &str) -> Result<bool, Complaint> {
        let word = self.first_word(name, value)?;
        match word {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(Complaint::new(format!(
                "{name}: expected `true` or `false`, found `{}`",
                word.escape_debug()
            ))),
        }
    }

    fn number(&mut self, name: &str, value: &str, range: &RangeInclusive<i64>) -> Result<i64, Complaint> {
        let word = self.first_word(name, value)?;
        let number: i64 = word.parse().map_err(|_| {
            Complaint::new(format!("{name}: expected a whole number, found `{}`", word.escape_debug()))
        })?;
        if range.contains(&number) {
            return Ok(number);
        }
        let (least, most) = (range.start(), range.end());
        Err(Complaint::new(format!("{name}: {number} is out of range ({least} … {most})")))
    }

    /// mosquitto reads no further than that.
    pub(super) fn first_word<'v>(&mut self, name: &str, value: &'v str) -> Result<&'v str, Complaint> {
        let (word, rest) = value.split_once(' ').unwrap_or((value, ""));
        if word.is_empty() {
            return Err(is_empty(name));
        }
        let rest = rest.trim_start_matches(' ');
        if !rest.is_empty() && !rest.starts_with('#') {
            self.note(format!("{name}: `{}` behind the value is not read", rest.escape_debug()));
        }
        Ok(word)
    }
}

/// A line without a value.
pub(super) fn is_empty(name: &str) -> Complaint {
    Complaint::new(format!("`{name}` has no value")).help("between an option and its value is a space")
}
