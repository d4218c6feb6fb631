//! Shadows of things: a document of what is wanted and what is reported, with its version. AIC-TOP-03, AIC-TOP-04
//!
//! ```text
//! get    ─► accepted | rejected
//! update ─► accepted, documents, delta if the two differ | rejected
//! delete ─► accepted | rejected
//! ```
//!
//! Requests are answered at once, so there are never ten of them in flight.

mod document;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::document::{Document, Update};
use super::limits::Limits;
use super::thing::{ShadowRequest, envelope};

/// All shadows. One that was deleted keeps its version, as the service does for two days.
#[derive(Debug, Default)]
pub(super) struct Shadows(BTreeMap<(String, String), Shadow>);

#[derive(Debug, Default)]
struct Shadow {
    version: u64,
    document: Option<Document>,
}

/// Why a request is rejected, with the words of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rejection {
    code: u16,
    message: String,
}

impl Rejection {
    fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The end of an answer's topic, behind that of the shadow, and the answer.
type Answers = Vec<(String, Value)>;

impl Shadows {
    /// Answers a request to the shadow of a thing; without a name it is the classic one.
    pub(super) fn ask(
        &mut self,
        (thing, name): (&str, Option<&str>),
        what: ShadowRequest,
        payload: &[u8],
        unix: u64,
        limits: &Limits,
    ) -> Answers {
        let level = what.level();
        let result = read(payload, limits);
        let request = result.as_ref().cloned().unwrap_or_default();
        let key = (thing.to_owned(), name.unwrap_or_default().to_owned());
        let answered = result.and_then(|request| {
            if name.is_some_and(|name| name.len() > limits.shadow_name_bytes) {
                return Err(Rejection::new(400, "Invalid shadow name"));
            }
            match what {
                ShadowRequest::Get => self.get(&key, &request, unix),
                ShadowRequest::Update => self.update(key, &request, unix, limits),
                ShadowRequest::Delete => self.delete(&key, &request, unix),
            }
        });
        answered.unwrap_or_else(|Rejection { code, message }| {
            let mut body = envelope(&request, unix);
            body.insert("code".to_owned(), code.into());
            body.insert("message".to_owned(), message.into());
            vec![(format!("{level}/rejected"), body.into())]
        })
    }

    fn get(&self, key: &(String, String), request: &Value, unix: u64) -> Result<Answers, Rejection> {
        let (version, document) = self.find(key)?;
        let mut body = envelope(request, unix);
        body.insert("state".to_owned(), document.state(true));
        body.insert("metadata".to_owned(), document.metadata());
        body.insert("version".to_owned(), version.into());
        Ok(vec![("get/accepted".to_owned(), body.into())])
    }

    fn update(
        &mut self,
        key: (String, String),
        request: &Value,
        unix: u64,
        limits: &Limits,
    ) -> Result<Answers, Rejection> {
        let update = Update::read(request, limits.shadow_depth)?;
        let shadow = self.0.get(&key);
        let version = shadow.map_or(0, |shadow| shadow.version);
        if update.version.is_some_and(|wanted| wanted != version) {
            return Err(Rejection::new(409, "Version conflict"));
        }
        if shadow.is_none() && self.0.len() >= limits.shadows {
            return Err(Rejection::new(
                429,
                format!("The emulator has no room for more than {} shadows", limits.shadows),
            ));
        }
        let previous = shadow.and_then(|shadow| shadow.document.clone()).unwrap_or_default();
        let mut current = previous.clone();
        current.update(&update, unix);
        if current.state(false).to_string().len() > limits.shadow_bytes {
            return Err(too_large());
        }
        let answers = answers(request, &update, (&previous, version), &current, unix);
        self.0.insert(key, Shadow { version: version + 1, document: Some(current) });
        Ok(answers)
    }

    fn delete(&mut self, key: &(String, String), request: &Value, unix: u64) -> Result<Answers, Rejection> {
        let version = self.find(key)?.0;
        if let Some(shadow) = self.0.get_mut(key) {
            *shadow = Shadow { version: version + 1, document: None };
        }
        let mut body = envelope(request, unix);
        body.insert("version".to_owned(), version.into());
        Ok(vec![("delete/accepted".to_owned(), body.into())])
    }

    fn find(&self, key: &(String, String)) -> Result<(u64, &Document), Rejection> {
        let found = self.0.get(key).and_then(|shadow| Some((shadow.version, shadow.document.as_ref()?)));
        found.ok_or_else(|| {
            let (thing, name) = key;
            let name = if name.is_empty() { thing.clone() } else { format!("{thing}~{name}") };
            Rejection::new(404, format!("No shadow exists with name: '{name}'"))
        })
    }
}

/// What follows from an update that was done.
fn answers(
    request: &Value,
    update: &Update,
    (previous, version): (&Document, u64),
    current: &Document,
    unix: u64,
) -> Answers {
    let next = version + 1;
    let with = |more: [(&str, Value); 2]| {
        let mut body = envelope(request, unix);
        body.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        body
    };
    let mut accepted = with([("state", update.state()), ("metadata", current.metadata_of(update))]);
    accepted.insert("version".to_owned(), next.into());
    let view = |document: &Document, version: u64| json!({"state": document.state(false), "metadata": document.metadata(), "version": version});
    let documents = with([("previous", view(previous, version)), ("current", view(current, next))]);
    let mut answers = vec![
        ("update/accepted".to_owned(), accepted.into()),
        ("update/documents".to_owned(), documents.into()),
    ];
    let (delta, metadata) = current.delta();
    if !delta.is_empty() {
        let mut body: Map<_, _> = with([("state", delta.into()), ("metadata", metadata.into())]);
        body.insert("version".to_owned(), next.into());
        answers.push(("update/delta".to_owned(), body.into()));
    }
    answers
}

/// The request; nothing at all is one too.
fn read(payload: &[u8], limits: &Limits) -> Result<Value, Rejection> {
    if payload.len() > limits.shadow_bytes {
        return Err(too_large());
    }
    if payload.is_empty() {
        return Ok(Value::Null);
    }
    let text = std::str::from_utf8(payload)
        .map_err(|_| Rejection::new(415, "Unsupported documented encoding; supported encoding is UTF-8"))?;
    let request: Value = serde_json::from_str(text).map_err(|_| Rejection::new(400, "Invalid JSON"))?;
    if request.get("clientToken").is_some_and(|token| token.as_str().is_none_or(|token| token.len() > 64)) {
        return Err(Rejection::new(400, "Invalid clientToken"));
    }
    Ok(request)
}

fn too_large() -> Rejection {
    Rejection::new(413, "The payload exceeds the maximum size allowed")
}
