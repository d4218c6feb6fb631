//! The document of a shadow: how an update changes it, and how what is wanted differs from what is reported.

use serde_json::{Map, Value, json};

use super::Rejection;

/// What is wanted and what is reported, and when each value was written, in seconds since 1970.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    desired: Part,
    reported: Part,
}

#[derive(Clone, Debug, Default)]
struct Part {
    state: Map<String, Value>,
    metadata: Map<String, Value>,
}

/// What an update wants.
#[derive(Debug)]
pub(super) struct Update {
    desired: Option<Value>,
    reported: Option<Value>,
    /// The version that is to be changed, if it matters.
    pub(super) version: Option<u64>,
}

impl Update {
    /// `depth_max` is the levels that a part may have.
    pub(super) fn read(request: &Value, depth_max: usize) -> Result<Self, Rejection> {
        let wrong = |message: &str| Rejection::new(400, message);
        let state = request.get("state").ok_or_else(|| wrong("Missing required node: state"))?;
        let state = state.as_object().ok_or_else(|| wrong("State node must be an object"))?;
        if state.keys().any(|key| key != "desired" && key != "reported") {
            return Err(wrong("State contains an invalid node"));
        }
        let part = |name: &str, said: &str| match state.get(name) {
            None => Ok(None),
            Some(part @ (Value::Object(_) | Value::Null)) if depth(part) <= depth_max => {
                Ok(Some(part.clone()))
            }
            Some(Value::Object(_)) => {
                Err(wrong(&format!("JSON contains too many levels of nesting; maximum is {depth_max}")))
            }
            Some(_) => Err(wrong(&format!("{said} node must be an object"))),
        };
        let version = match request.get("version") {
            None | Some(Value::Null) => None,
            Some(version) => Some(version.as_u64().ok_or_else(|| wrong("Invalid version"))?),
        };
        Ok(Self { desired: part("desired", "Desired")?, reported: part("reported", "Reported")?, version })
    }

    /// The state as it was sent.
    pub(super) fn state(&self) -> Value {
        let parts = [("desired", &self.desired), ("reported", &self.reported)];
        parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part.clone()?))).collect()
    }
}

impl Document {
    pub(super) fn update(&mut self, update: &Update, unix: u64) {
        for (part, change) in [(&mut self.desired, &update.desired), (&mut self.reported, &update.reported)] {
            match change {
                Some(Value::Object(change)) => merge(&mut part.state, &mut part.metadata, change, unix),
                Some(_) => *part = Part::default(),
                None => {}
            }
        }
    }

    /// The state, with the difference between its parts if it is asked for.
    pub(super) fn state(&self, with_delta: bool) -> Value {
        let delta = if with_delta { self.delta().0 } else { Map::new() };
        object([("desired", &self.desired.state), ("reported", &self.reported.state), ("delta", &delta)])
    }

    pub(super) fn metadata(&self) -> Value {
        object([("desired", &self.desired.metadata), ("reported", &self.reported.metadata)])
    }

    /// The metadata of what an update has written.
    pub(super) fn metadata_of(&self, update: &Update) -> Value {
        let of = |part: &Part, change: &Option<Value>| {
            change.as_ref().and_then(Value::as_object).map(|change| pick(&part.metadata, change))
        };
        let desired = of(&self.desired, &update.desired).unwrap_or_default();
        let reported = of(&self.reported, &update.reported).unwrap_or_default();
        object([("desired", &desired), ("reported", &reported)])
    }

    /// What is wanted and not, or otherwise, reported; and when it was wanted.
    pub(super) fn delta(&self) -> (Map<String, Value>, Map<String, Value>) {
        let delta = difference(&self.desired.state, &self.reported.state);
        let metadata = pick(&self.desired.metadata, &delta);
        (delta, metadata)
    }
}

/// Those that are not empty.
fn object<const N: usize>(parts: [(&str, &Map<String, Value>); N]) -> Value {
    let parts = parts.into_iter().filter(|(_, part)| !part.is_empty());
    parts.map(|(name, part)| (name.to_owned(), Value::Object(part.clone()))).collect()
}

/// Writes what `change` has, and removes what is null there.
fn merge(
    state: &mut Map<String, Value>,
    metadata: &mut Map<String, Value>,
    change: &Map<String, Value>,
    unix: u64,
) {
    for (name, value) in change {
        match value {
            Value::Null => {
                state.remove(name);
                metadata.remove(name);
            }
            Value::Object(change) => {
                if !state.get(name).is_some_and(Value::is_object) {
                    state.insert(name.clone(), json!({}));
                    metadata.insert(name.clone(), json!({}));
                }
                if let (Some(Value::Object(state)), Some(Value::Object(metadata))) =
                    (state.get_mut(name), metadata.get_mut(name))
                {
                    merge(state, metadata, change, unix);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                state.insert(name.clone(), value.clone());
                metadata.insert(name.clone(), stamp(value, unix));
            }
        }
    }
}

/// The metadata of a value that was written now: one time for each value in it.
fn stamp(value: &Value, unix: u64) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| stamp(item, unix)).collect(),
        Value::Object(items) => items.iter().map(|(name, item)| (name.clone(), stamp(item, unix))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => json!({ "timestamp": unix }),
    }
}

fn difference(desired: &Map<String, Value>, reported: &Map<String, Value>) -> Map<String, Value> {
    let mut delta = Map::new();
    for (name, wanted) in desired {
        match (wanted, reported.get(name)) {
            (Value::Object(wanted), Some(Value::Object(is))) => {
                let inner = difference(wanted, is);
                if !inner.is_empty() {
                    delta.insert(name.clone(), inner.into());
                }
            }
            (wanted, Some(is)) if wanted == is => {}
            (wanted, Some(_) | None) => {
                delta.insert(name.clone(), wanted.clone());
            }
        }
    }
    delta
}

/// The metadata of all that `shape` has.
fn pick(metadata: &Map<String, Value>, shape: &Map<String, Value>) -> Map<String, Value> {
    let mut picked = Map::new();
    for (name, shape) in shape {
        match (shape, metadata.get(name)) {
            (Value::Object(shape), Some(Value::Object(metadata))) => {
                picked.insert(name.clone(), pick(metadata, shape).into());
            }
            (_, Some(metadata)) => {
                picked.insert(name.clone(), metadata.clone());
            }
            (_, None) => {}
        }
    }
    picked
}

/// Levels of objects and lists. What serde_json has read has 128 at most.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(items) => 1 + items.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(updates: &[Value]) -> Document {
        let mut document = Document::default();
        for (unix, update) in (1..).zip(updates) {
            document.update(&Update::read(&json!({ "state": update }), 8).unwrap(), unix);
        }
        document
    }

    #[test]
    fn aic_top_03_an_update_is_merged_and_null_removes() {
        let document = updated(&[
            json!({"desired": {"a": 1, "b": {"c": [1, 2], "d": true}}, "reported": {"a": 1}}),
            json!({"desired": {"a": null, "b": {"d": false, "e": null}}, "reported": null}),
        ]);
        assert_eq!(document.state(false), json!({"desired": {"b": {"c": [1, 2], "d": false}}}));
        assert_eq!(
            document.metadata(),
            json!({"desired": {"b": {"c": [{"timestamp": 1}, {"timestamp": 1}], "d": {"timestamp": 2}}}})
        );
    }

    #[test]
    fn aic_top_03_the_delta_is_what_is_wanted_and_not_so() {
        let document = updated(&[
            json!({"desired": {"a": 1, "b": {"c": 2, "d": 3}, "e": [1]}}),
            json!({"reported": {"a": 1, "b": {"c": 5}, "f": 6}}),
        ]);
        let (delta, metadata) = document.delta();
        assert_eq!(Value::from(delta), json!({"b": {"c": 2, "d": 3}, "e": [1]}));
        assert_eq!(metadata["b"]["c"], json!({"timestamp": 1}));
        let same = updated(&[json!({"desired": {"a": {"b": 1}}, "reported": {"a": {"b": 1}}})]);
        assert!(same.delta().0.is_empty() && same.state(true).get("delta").is_none());
    }

    #[test]
    fn aic_top_04_what_is_no_update_is_said() {
        let check = |request: Value, expected: &str| {
            let rejection = Update::read(&request, 8).unwrap_err();
            assert_eq!((rejection.code, rejection.message.as_str()), (400, expected), "{request}");
        };
        check(json!({}), "Missing required node: state");
        check(json!([1]), "Missing required node: state");
        check(json!({"state": 1}), "State node must be an object");
        check(json!({"state": {"desired": 1}}), "Desired node must be an object");
        check(json!({"state": {"reported": []}}), "Reported node must be an object");
        check(json!({"state": {"wanted": {}}}), "State contains an invalid node");
        check(json!({"state": {}, "version": "1"}), "Invalid version");
        let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert!(Update::read(&json!({"state": {"desired": nested(8)}}), 8).is_ok());
        check(
            json!({"state": {"desired": nested(9)}}),
            "JSON contains too many levels of nesting; maximum is 8",
        );
    }
}
