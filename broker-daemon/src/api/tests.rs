//! What the description for programs says is what there is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

type Operations = BTreeSet<(String, String, Option<String>)>;

fn description() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn the_description_has_every_route_and_no_other() {
    let paths = description()["paths"].as_object().unwrap().clone();
    let described: Operations = paths
        .iter()
        .flat_map(|(path, operations)| {
            operations.as_object().unwrap().iter().map(move |(method, operation)| {
                let role = operation["x-role"].as_str().map(str::to_owned);
                (path.clone(), method.to_uppercase(), role)
            })
        })
        .collect();
    let there: Operations = routes()
        .iter()
        .map(|route| {
            let role = route.needs.map(|role| role.word().to_owned());
            (route.path.replace("{*", "{"), route.method.to_string(), role)
        })
        .collect();
    assert_eq!(described.difference(&there).collect::<Vec<_>>(), Vec::<&_>::new(), "described, not there");
    assert_eq!(there.difference(&described).collect::<Vec<_>>(), Vec::<&_>::new(), "there, not described");
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    fn walk(value: &Value, all: &Value, count: &mut usize) {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(all.pointer(pointer).is_some(), "{reference}");
                    *count += 1;
                }
                fields.values().for_each(|value| walk(value, all, count));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, all, count)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let (all, mut count) = (description(), 0);
    walk(&all, &all, &mut count);
    assert!(count > 100, "{count}");
}
