//! The file along the table of keys: every key known, every value of its type and in its range, every mistake with
//! its position.

mod bridge;
mod webhook;

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use crate::acl::WrittenRule;
use crate::config::environment::Environment;
use crate::config::keys::{ACL, AUTH, HTTP, LIMITS, LISTENER, LOG, STORE, TLS, TOP, sections};
use crate::config::own_limits::OwnLimits;
use crate::config::problem::{Complaint, ConfigError, Place, Problem, Report};
use crate::config::rules::{ACL_RULE, DraftRule};
use crate::config::setting::Key;
use crate::config::source::Source;
use crate::config::suggest::nearest;
use crate::config::validate::{Draft, DraftListener};
use crate::config::value::Input;
use crate::config::{HttpSettings, Listener, TlsSettings};

/// Reads a file into a draft.
///
/// # Errors
/// Text that is not TOML, alone: what follows a syntax error would only confuse. Everything else goes to `report`.
pub(crate) fn read(
    source: &Source,
    environment: &Environment,
    report: &mut Report,
) -> Result<Draft, ConfigError> {
    let document = DeTable::parse(source.text()).map_err(|error| syntax_error(source, &error))?;
    let mut draft = Draft::default();
    let mut reader = Reader { source, environment, report };
    for (key, value) in document.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("listener", DeValue::Array(tables)) if tables.iter().all(|table| table.get_ref().is_table()) => {
                for table in tables.iter() {
                    draft.listeners.push(reader.listener(table));
                }
            }
            ("bridge", DeValue::Array(tables)) if tables.iter().all(|table| table.get_ref().is_table()) => {
                for table in tables.iter() {
                    draft.bridges.push(reader.bridge(table));
                }
            }
            ("webhook", DeValue::Array(tables)) if tables.iter().all(|table| table.get_ref().is_table()) => {
                for table in tables.iter() {
                    draft.webhooks.push(reader.webhook(table));
                }
            }
            ("auth", DeValue::Table(table)) => {
                reader.section(AUTH, "[auth]", table, &mut draft.config.auth);
            }
            ("http", DeValue::Table(table)) => reader.http(&key.span(), table, &mut draft),
            ("limits", DeValue::Table(table)) => {
                reader.section(LIMITS, "[limits]", table, &mut draft.config.limits);
            }
            ("acl", DeValue::Table(table)) => reader.acl(table, &mut draft),
            ("log", DeValue::Table(table)) => {
                reader.section(LOG, "[log]", table, &mut draft.config.log);
            }
            ("store", DeValue::Table(table)) => {
                reader.section(STORE, "[store]", table, &mut draft.config.store);
            }
            (name, _) => match sections().into_iter().find(|(section, ..)| *section == name) {
                Some((_, written, _)) => {
                    reader.complain(&key.span(), Complaint::new(format!("`{name}` is written {written}")));
                }
                None => {
                    reader.key(TOP, "", key, value, &mut draft.config);
                }
            },
        }
    }
    Ok(draft)
}

fn syntax_error(source: &Source, error: &toml::de::Error) -> ConfigError {
    let place = source.place(&error.span().unwrap_or(0..0));
    let message = error.message().trim().replace('\n', "; ");
    ConfigError::alone(Problem { place, message, help: None })
}

/// What all of the walk needs.
struct Reader<'a> {
    source: &'a Source,
    environment: &'a Environment,
    report: &'a mut Report,
}

impl Reader<'_> {
    /// Every key of a section.
    fn section<T>(&mut self, keys: &[Key<T>], written: &str, table: &DeTable<'_>, target: &mut T) {
        for (key, value) in table {
            self.key(keys, written, key, value, target);
        }
    }

    /// `[acl]` and its rules.
    fn acl(&mut self, table: &DeTable<'_>, draft: &mut Draft) {
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("rule", DeValue::Array(tables)) if tables.iter().all(|table| table.get_ref().is_table()) => {
                    if tables.is_empty() {
                        let complaint = Complaint::new("an empty list of rules, so nobody could do anything");
                        let help =
                            "to say just that, write a rule with `pattern = \"#\"` and `access = \"deny\"`";
                        self.complain(&key.span(), complaint.help(help));
                    }
                    draft.acl_rule = Some(self.source.place(&key.span()));
                    for table in tables.iter() {
                        draft.config.acl.rules.extend(self.rule(table));
                    }
                }
                ("rule", _) => {
                    self.complain(&key.span(), Complaint::new("`rule` is written [[acl.rule]]"));
                }
                _ => {
                    self.key(ACL, "[acl]", key, value, &mut draft.config.acl);
                }
            }
        }
    }

    /// `[http]` and `[http.tls]`.
    fn http(&mut self, span: &Range<usize>, table: &DeTable<'_>, draft: &mut Draft) {
        let place = self.source.place(span);
        let http = draft.config.http.insert(HttpSettings::default());
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("tls", DeValue::Table(table)) => {
                    self.section(TLS, "[http.tls]", table, http.tls.insert(TlsSettings::default()));
                    draft.http_tls = Some(self.source.place(&key.span()));
                }
                ("tls", _) => self.complain(&key.span(), Complaint::new("`tls` is written [http.tls]")),
                _ => {
                    self.key(HTTP, "[http]", key, value, http);
                }
            }
        }
        draft.http = Some(place);
    }

    fn rule(&mut self, table: &Spanned<DeValue<'_>>) -> Option<WrittenRule> {
        let DeValue::Table(keys) = table.get_ref() else { return None };
        let mut rule = DraftRule::default();
        let mut is_whole = true;
        for (key, value) in keys {
            is_whole &= self.key(ACL_RULE, "[[acl.rule]]", key, value, &mut rule).is_some();
        }
        if !is_whole {
            return None;
        }
        match rule.check(self.source.line(&table.span())) {
            Ok(rule) => Some(rule),
            Err(complaint) => {
                self.complain(&table.span(), complaint);
                None
            }
        }
    }

    fn listener(&mut self, table: &Spanned<DeValue<'_>>) -> DraftListener {
        let mut listener = Listener::default();
        let mut draft = DraftListener::default();
        let DeValue::Table(keys) = table.get_ref() else { return draft };
        for (key, value) in keys {
            let place = self.source.place(&value.span());
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("tls", DeValue::Table(table)) => {
                    let mut tls = TlsSettings::default();
                    self.section(TLS, "[listener.tls]", table, &mut tls);
                    listener.tls = Some(tls);
                    draft.tls = Some(self.source.place(&key.span()));
                }
                ("limits", DeValue::Table(table)) => self.own_limits(table, &mut draft.limits),
                ("limits", _) => {
                    self.complain(&key.span(), Complaint::new("`limits` is written [listener.limits]"));
                }
                ("tls", _) => {
                    self.complain(&key.span(), Complaint::new("`tls` is written [listener.tls]"));
                }
                _ => match self.key(LISTENER, "[[listener]]", key, value, &mut listener) {
                    Some("address") => draft.address = Some(place),
                    Some("allow_anonymous") => draft.allow_anonymous = Some(place),
                    Some(_) | None => {}
                },
            }
        }
        // A misspelt `address` is reported as that.
        if !keys.keys().any(|key| nearest(key.get_ref(), ["address"]).is_some()) {
            let complaint = Complaint::new("this [[listener]] has no `address`")
                .help("add a line such as `address = \"127.0.0.1:1883\"`");
            self.complain(&table.span(), complaint);
        }
        draft.listener = listener;
        draft
    }

    fn own_limits(&mut self, table: &DeTable<'_>, limits: &mut OwnLimits) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let taken = self.input(value.get_ref()).and_then(|input| limits.set(name, input));
            if let Err(complaint) = taken {
                let span = if OwnLimits::has(name) { value.span() } else { key.span() };
                self.complain(&span, complaint);
            }
        }
    }

    /// One key; its name if its value was taken.
    fn key<T>(
        &mut self,
        keys: &[Key<T>],
        written: &str,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
        target: &mut T,
    ) -> Option<&'static str> {
        let name = key.get_ref().as_ref();
        let Some(known) = keys.iter().find(|known| known.name == name) else {
            let here: Vec<_> = keys.iter().map(|key| key.name).collect();
            self.complain(&key.span(), unknown_key(name, &here, written));
            return None;
        };
        let applied = self
            .input(value.get_ref())
            .and_then(|input| known.setting.apply(target, &input))
            .map_err(|complaint| {
                let message = format!("{name}: {}", complaint.message);
                Complaint { message, help: complaint.help }
            });
        match applied {
            Ok(()) => Some(known.name),
            Err(complaint) => {
                self.complain(&value.span(), complaint);
                None
            }
        }
    }

    /// A value of the file, with `${…}` in text replaced.
    fn input(&self, value: &DeValue<'_>) -> Result<Input, Complaint> {
        Ok(match value {
            DeValue::String(text) => Input::Text(self.environment.expand(text, self.source.folder())?),
            DeValue::Integer(number) => {
                Input::Integer(u64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Boolean(switch) => Input::Switch(*switch),
            DeValue::Float(_) => Input::Other("a number with a fraction"),
            DeValue::Datetime(_) => Input::Other("a date or time"),
            DeValue::Array(values) => self.list(values)?,
            DeValue::Table(_) => Input::Other("a table"),
        })
    }

    fn list(&self, values: &DeArray<'_>) -> Result<Input, Complaint> {
        let mut texts = Vec::new();
        for value in values.iter() {
            match self.input(value.get_ref())? {
                Input::Text(text) => texts.push(text),
                Input::Integer(_) | Input::Switch(_) | Input::List(_) | Input::Other(_) => {
                    return Ok(Input::Other("a list"));
                }
            }
        }
        Ok(Input::List(texts))
    }

    fn complain(&mut self, span: &Range<usize>, complaint: Complaint) {
        let place: Place = self.source.place(span);
        self.report.add(place, complaint);
    }
}

/// A key that does not exist here: a slip, or a key of another section.
pub(crate) fn unknown_key(name: &str, here: &[&'static str], written: &str) -> Complaint {
    let place =
        if written.is_empty() { "at the top of the file".to_owned() } else { format!("in {written}") };
    let complaint = Complaint::new(format!("unknown key `{}` {place}", name.escape_debug()));
    let elsewhere = sections().into_iter().find(|(_, _, keys)| keys.contains(&name));
    if let Some((_, section, _)) = elsewhere {
        return complaint.help(format!("it belongs under {section}"));
    }
    if !written.is_empty() && TOP.iter().any(|key| key.name == name) {
        return complaint.help("it belongs at the top of the file, before the first [section]");
    }
    let sections = sections();
    let top = sections.iter().map(|(section, ..)| *section).filter(|_| written.is_empty());
    if let Some(near) = nearest(name, here.iter().copied().chain(top)) {
        return complaint.help(format!("did you mean `{near}`?"));
    }
    let everywhere =
        sections.iter().flat_map(|(_, written, keys)| keys.iter().map(move |key| (*written, *key)));
    match everywhere.clone().find(|(_, key)| nearest(name, [*key]).is_some()) {
        Some((section, key)) => complaint.help(format!("did you mean `{key}` under {section}?")),
        None => complaint,
    }
}
