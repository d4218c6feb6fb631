//! Environment variables: `CULEX__SECTION__KEY` overrides, and `${env:X}` and `${file:X}` in text.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::keys::{ACL, AUTH, HTTP, LIMITS, LISTENER, LOG, STORE, TLS, TOP, sections};
use crate::config::problem::{Complaint, Place, Report};
use crate::config::raw::unknown_key;
use crate::config::setting::Key;
use crate::config::source::read_bounded;
use crate::config::suggest::nearest;
use crate::config::validate::{Draft, DraftListener};
use crate::config::value::Input;

/// Variables as the program found them at its start; `None` is a value that is not UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, Option<String>>,
}

/// Every override begins so.
const PREFIX: &str = "CULEX__";
/// More listeners than this by environment variables is a slip in the number.
const LISTENERS_MAX: usize = 64;

impl Environment {
    /// The variables of this process. Names that are not UTF-8 cannot be ours and are left out.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok())))
            .collect();
        Self { variables }
    }

    /// These variables.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
        Self { variables: variables.collect() }
    }

    /// Puts each `CULEX__…` into the draft; mistakes go to `report`.
    pub(crate) fn apply(&self, draft: &mut Draft, report: &mut Report) {
        let mut ours: Vec<_> = self.variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        // By number: as text the tenth listener comes before the second one, and there are no gaps.
        ours.sort_by_key(|(name, _)| name.split("__").nth(2).and_then(|number| number.parse::<usize>().ok()));
        for (name, value) in ours {
            let place = Place::Environment { name: name.clone() };
            let applied = match value {
                Some(value) => apply_one(draft, name, value, &place),
                None => Err(Complaint::new("its value is not UTF-8 text")),
            };
            if let Err(complaint) = applied {
                report.add(place, complaint);
            }
        }
    }

    /// Replaces `${env:X}` and `${file:X}`; `$${` stands for `${`. A file's last line end is dropped.
    ///
    /// # Errors
    /// If the variable or the file does not exist, or `${` is followed by something else.
    pub(crate) fn expand(&self, text: &str, folder: &Path) -> Result<String, Complaint> {
        let mut result = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                result.push_str(before);
                result.push_str("${");
                rest = after;
                continue;
            }
            result.push_str(before);
            let Some((reference, after)) = after.split_once('}') else {
                return Err(
                    Complaint::new("`${` without `}`").help("for the characters themselves write `$${`")
                );
            };
            result.push_str(&self.lookup(reference, folder)?);
            rest = after;
        }
        result.push_str(rest);
        Ok(result)
    }

    fn lookup(&self, reference: &str, folder: &Path) -> Result<String, Complaint> {
        match reference.split_once(':') {
            Some(("env", name)) => match self.variables.get(name) {
                Some(Some(value)) => Ok(value.clone()),
                Some(None) => Err(Complaint::new(format!("environment variable {name} is not UTF-8 text"))),
                None => Err(Complaint::new(format!("environment variable {name} is not set"))),
            },
            Some(("file", path)) => {
                let path = folder.join(path);
                let bytes = read_bounded(&path).map_err(|complaint| {
                    Complaint::new(format!("{}: {}", path.display(), complaint.message))
                })?;
                let text = String::from_utf8(bytes)
                    .map_err(|_| Complaint::new(format!("{} is not UTF-8 text", path.display())))?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
            }
            _ => Err(Complaint::new(format!("`${{{}}}` is not known", reference.escape_debug()))
                .help("`${env:NAME}` and `${file:PATH}` are; for the characters themselves write `$${`")),
        }
    }
}

/// `CULEX__LIMITS__IN_FLIGHT`, `CULEX__LISTENER__0__ADDRESS`, `CULEX__LISTENER__0__TLS__KEY`, `CULEX__THREADS`.
fn apply_one(draft: &mut Draft, name: &str, value: &str, place: &Place) -> Result<(), Complaint> {
    let path = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase();
    let mut parts = path.split("__");
    let parts = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    match parts {
        (Some("auth"), Some(key), None, ..) => set(AUTH, "[auth]", key, value, &mut draft.config.auth),
        (Some("limits"), Some(key), None, ..) => {
            set(LIMITS, "[limits]", key, value, &mut draft.config.limits)
        }
        (Some("log"), Some(key), None, ..) => set(LOG, "[log]", key, value, &mut draft.config.log),
        (Some("acl"), Some(key), None, ..) => set(ACL, "[acl]", key, value, &mut draft.config.acl),
        (Some("store"), Some(key), None, ..) => set(STORE, "[store]", key, value, &mut draft.config.store),
        (Some("http"), Some("tls"), Some(key), None, _) => {
            let http = draft.config.http.get_or_insert_default();
            let applied = set(TLS, "[http.tls]", key, value, http.tls.get_or_insert_default());
            draft.http_tls.get_or_insert_with(|| place.clone());
            applied
        }
        (Some("http"), Some(key), None, ..) => {
            draft.http.get_or_insert_with(|| place.clone());
            set(HTTP, "[http]", key, value, draft.config.http.get_or_insert_default())
        }
        (Some("listener"), Some(index), Some("tls"), Some(key), None) => {
            let entry = listener(draft, index, place)?;
            let mut tls = entry.listener.tls.take().unwrap_or_default();
            let applied = set(TLS, "[listener.tls]", key, value, &mut tls);
            entry.listener.tls = Some(tls);
            entry.tls.get_or_insert_with(|| place.clone());
            applied
        }
        (Some("listener"), Some(index), Some("limits"), Some(key), None) => {
            listener(draft, index, place)?.limits.set(key, Input::Text(value.to_owned()))
        }
        (Some("listener"), Some(index), Some(key), None, _) => {
            let entry = listener(draft, index, place)?;
            set(LISTENER, "[[listener]]", key, value, &mut entry.listener)?;
            match key {
                "address" => entry.address = Some(place.clone()),
                "allow_anonymous" => entry.allow_anonymous = Some(place.clone()),
                _ => {}
            }
            Ok(())
        }
        (Some("listener"), ..) => Err(Complaint::new("a listener's setting has a number")
            .help("the first one is CULEX__LISTENER__0__ADDRESS")),
        (Some("bridge"), ..) => Err(Complaint::new("a bridge is written in the configuration file alone")
            .help("its values may have `${env:NAME}` in them")),
        (Some("webhook"), ..) => Err(Complaint::new("a webhook is written in the configuration file alone")
            .help("its values may have `${env:NAME}` in them")),
        (Some("acl" | "auth" | "http" | "limits" | "log" | "store"), ..) => {
            Err(Complaint::new("this is not the name of a setting")
                .help("for example CULEX__LIMITS__IN_FLIGHT"))
        }
        (Some(key), None, ..) => set(TOP, "", key, value, &mut draft.config),
        (section, ..) => {
            let section = section.unwrap_or_default();
            let complaint = Complaint::new(format!("there is no section `{section}`"));
            Err(match nearest(section, sections().iter().map(|(section, ..)| *section)) {
                Some(near) => {
                    complaint.help(format!("did you mean {PREFIX}{}__…?", near.to_ascii_uppercase()))
                }
                None => complaint,
            })
        }
    }
}

fn set<T>(keys: &[Key<T>], written: &str, name: &str, value: &str, target: &mut T) -> Result<(), Complaint> {
    match keys.iter().find(|key| key.name == name) {
        Some(key) => key.setting.apply(target, &Input::Text(value.to_owned())),
        None => {
            let here: Vec<_> = keys.iter().map(|key| key.name).collect();
            Err(unknown_key(name, &here, written))
        }
    }
}

/// The listener with this number; the number after the last one adds a listener.
fn listener<'a>(
    draft: &'a mut Draft,
    index: &str,
    place: &Place,
) -> Result<&'a mut DraftListener, Complaint> {
    let count = draft.listeners.len();
    let wrong =
        || Complaint::new(format!("there are {count} listeners; the next one has the number {count}"));
    let index: usize = index.parse().map_err(|_| wrong())?;
    if index == count && index < LISTENERS_MAX {
        draft.listeners.push(DraftListener { address: Some(place.clone()), ..DraftListener::default() });
    }
    draft.listeners.get_mut(index).filter(|_| index < LISTENERS_MAX).ok_or_else(wrong)
}
