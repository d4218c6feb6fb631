//! Policies of AWS IoT: who may connect as whom, publish, subscribe and receive what. AIC-POL-01 to AIC-POL-03.

use serde_json::Value;
use thiserror::Error;

use super::pattern::{glob, literal, resource_matches};

/// The longest document that AWS takes, in characters without white space. AIC-POL-08
const DOCUMENT_CHARACTERS: usize = 2048;

/// What a policy decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Connect,
    Publish,
    Subscribe,
    Receive,
    RetainPublish,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Connect => "iot:Connect",
            Self::Publish => "iot:Publish",
            Self::Subscribe => "iot:Subscribe",
            Self::Receive => "iot:Receive",
            Self::RetainPublish => "iot:RetainPublish",
        }
    }

    const fn resource(self) -> &'static str {
        match self {
            Self::Connect => "client/",
            Self::Publish | Self::Receive | Self::RetainPublish => "topic/",
            Self::Subscribe => "topicfilter/",
        }
    }
}

/// Who asks: what the variables of a policy stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Principal {
    pub(super) client_id: String,
    pub(super) thing: Option<String>,
    /// Of the CONNECT: `PersistentConnect`, `LastWill`. AIC-CON-15
    pub(super) connect_attributes: Vec<&'static str>,
}

/// A policy document, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
}

/// What is wrong with a policy document.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("policy: {0}")]
pub struct PolicyError(String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    is_allow: bool,
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// Each attribute of the CONNECT is one of these.
    AllConnectAttributes(Vec<String>),
    /// The connection has a thing, or has none.
    ThingAttached(bool),
}

impl Policy {
    /// The policy that a JSON document spells.
    ///
    /// # Errors
    /// What cannot be read, or is not supported: `NotAction`, `NotResource`, and conditions but on `iot:ConnectAttributes`
    /// and `iot:Connection.Thing.IsAttached`.
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        let wrong = |message: String| PolicyError(message);
        let characters = text.chars().filter(|c| !c.is_whitespace()).count();
        if characters > DOCUMENT_CHARACTERS {
            return Err(wrong(format!("{characters} characters; AWS takes {DOCUMENT_CHARACTERS}")));
        }
        let document: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => {
                statements.iter().map(Statement::read).collect::<Result<_, _>>()?
            }
            Some(statement) => vec![Statement::read(statement)?],
            None => return Err(wrong("there is no \"Statement\"".to_owned())),
        };
        Ok(Self { statements })
    }

    /// Everything on everything.
    pub fn allow_all() -> Self {
        let all = || vec!["*".to_owned()];
        let statement =
            Statement { is_allow: true, actions: all(), resources: all(), conditions: Vec::new() };
        Self { statements: vec![statement] }
    }
}

/// Whether the policies together allow it: one does, and none denies it.
pub(super) fn allows(policies: &[Policy], principal: &Principal, action: Action, name: &str) -> bool {
    let resource = format!("{}{name}", action.resource());
    let mut is_allowed = false;
    for statement in policies.iter().flat_map(|policy| &policy.statements) {
        if statement.applies(principal, action, &resource) {
            if !statement.is_allow {
                return false; // AIC-POL-03
            }
            is_allowed = true;
        }
    }
    is_allowed
}

impl Statement {
    fn read(value: &Value) -> Result<Self, PolicyError> {
        let wrong = |message: &str| PolicyError(message.to_owned());
        for name in ["NotAction", "NotResource", "Principal"] {
            if value.get(name).is_some() {
                return Err(PolicyError(format!("\"{name}\" is not supported by the emulator")));
            }
        }
        let is_allow = match value.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            Some(_) | None => return Err(wrong("\"Effect\" is \"Allow\" or \"Deny\"")),
        };
        let actions =
            strings(value.get("Action")).ok_or_else(|| wrong("\"Action\" is a text or a list of them"))?;
        let resources = strings(value.get("Resource"))
            .ok_or_else(|| wrong("\"Resource\" is a text or a list of them"))?;
        let conditions = match value.get("Condition") {
            None => Vec::new(),
            Some(Value::Object(operators)) => conditions(operators)?,
            Some(_) => return Err(wrong("\"Condition\" is an object")),
        };
        Ok(Self { is_allow, actions, resources, conditions })
    }

    fn applies(&self, principal: &Principal, action: Action, resource: &str) -> bool {
        let is_action = |pattern: &String| {
            glob(&literal(&pattern.to_ascii_lowercase()), &action.name().to_ascii_lowercase())
        };
        self.actions.iter().any(is_action)
            && self.resources.iter().any(|pattern| resource_matches(pattern, principal, resource))
            && self.conditions.iter().all(|condition| condition.holds(principal, action))
    }
}

impl Condition {
    fn holds(&self, principal: &Principal, action: Action) -> bool {
        match self {
            Self::AllConnectAttributes(allowed) => {
                action == Action::Connect
                    && principal.connect_attributes.iter().all(|has| allowed.iter().any(|allow| allow == has))
            }
            Self::ThingAttached(expected) => principal.thing.is_some() == *expected,
        }
    }
}

fn conditions(operators: &serde_json::Map<String, Value>) -> Result<Vec<Condition>, PolicyError> {
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        for (key, value) in keys.as_object().into_iter().flatten() {
            let values = strings(Some(value)).unwrap_or_default();
            conditions.push(match (operator.as_str(), key.as_str()) {
                ("ForAllValues:StringEquals", "iot:ConnectAttributes") => {
                    Condition::AllConnectAttributes(values)
                }
                ("Bool", "iot:Connection.Thing.IsAttached") => {
                    Condition::ThingAttached(values.iter().any(|value| value == "true"))
                }
                _ => {
                    return Err(PolicyError(format!(
                        "condition {operator} on {key} is not supported by the emulator"
                    )));
                }
            });
        }
    }
    Ok(conditions)
}

fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Bool(value) => Some(vec![value.to_string()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Number(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(statements: &str) -> Policy {
        Policy::from_json(&format!("{{\"Version\": \"2012-10-17\", \"Statement\": [{statements}]}}")).unwrap()
    }

    fn statement(effect: &str, action: &str, resource: &str) -> String {
        format!(
            "{{\"Effect\": \"{effect}\", \"Action\": \"iot:{action}\", \
             \"Resource\": \"arn:aws:iot:eu-central-1:123456789012:{resource}\"}}"
        )
    }

    fn check(policy: &Policy, action: Action, name: &str, expected: bool) {
        let principal =
            Principal { client_id: "pump*1".into(), thing: None, connect_attributes: vec!["LastWill"] };
        let decision = allows(std::slice::from_ref(policy), &principal, action, name);
        assert_eq!(decision, expected, "{action:?} {name}");
    }

    #[test]
    fn aic_pol_01_each_action_has_its_resource() {
        let policy = policy(
            &[
                statement("Allow", "Connect", "client/a"),
                statement("Allow", "Publish", "topic/a"),
                statement("Allow", "Subscribe", "topicfilter/a"),
            ]
            .join(","),
        );
        check(&policy, Action::Connect, "a", true);
        check(&policy, Action::Connect, "b", false);
        check(&policy, Action::Publish, "a", true);
        check(&policy, Action::Subscribe, "a", true);
        check(&policy, Action::Receive, "a", false);
        check(&policy, Action::RetainPublish, "a", false);
    }

    #[test]
    fn aic_pol_02_mqtt_wildcards_are_literal() {
        let policy = policy(&statement("Allow", "*", "topic/a/+/b?/*"));
        check(&policy, Action::Publish, "a/+/b1/c/d", true);
        check(&policy, Action::Publish, "a/x/b1/c", false);
        check(&policy, Action::Publish, "a/+/b/c", false);
    }

    #[test]
    fn aic_pol_03_explicit_deny_wins_and_variables_are_literal() {
        let policy = policy(
            &[
                statement("Deny", "Publish", "topic/*/secret"),
                statement("Allow", "Publish", "topic/${iot:ClientId}/*"),
                statement("Allow", "Publish", "topic/${iot:Connection.Thing.ThingName}/*"),
            ]
            .join(","),
        );
        check(&policy, Action::Publish, "pump*1/a", true);
        check(&policy, Action::Publish, "pumpX1/a", false);
        check(&policy, Action::Publish, "pump*1/secret", false);
        check(&policy, Action::Publish, "/a", false);
    }

    #[test]
    fn aic_con_15_connect_attributes_are_authorised_separately() {
        let with = |attributes: &str| {
            policy(&format!(
                "{{\"Effect\": \"Allow\", \"Action\": \"iot:Connect\", \"Resource\": \"*\", \"Condition\": \
                 {{\"ForAllValues:StringEquals\": {{\"iot:ConnectAttributes\": [{attributes}]}}}}}}"
            ))
        };
        check(&with("\"LastWill\", \"PersistentConnect\""), Action::Connect, "a", true);
        check(&with("\"PersistentConnect\""), Action::Connect, "a", false);
    }

    #[test]
    fn what_cannot_be_decided_is_refused_when_it_is_read() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"Statement\": 1}",
            "{\"Statement\": {\"Effect\": \"Maybe\", \"Action\": \"*\", \"Resource\": \"*\"}}",
            "{\"Statement\": {\"Effect\": \"Allow\", \"NotAction\": \"*\", \"Resource\": \"*\"}}",
            "{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\", \
              \"Condition\": {\"StringEquals\": {\"aws:x\": \"y\"}}}}",
        ] {
            assert!(Policy::from_json(text).is_err(), "{text}");
        }
        assert!(
            Policy::from_json(&format!("{{\"Statement\": [], \"x\": \"{}\"}}", "x".repeat(2048))).is_err()
        );
    }
}
