//! The description of the API is the one in the documents, and hangs together.

use apono_connector::reference_plane::document;
use serde_json::Value;
use std::collections::BTreeSet;

const FIX: &str =
    "cargo run --features reference-plane --bin apono-control-plane -- openapi > docs/openapi.json";

#[test]
fn the_description_in_the_documents_is_the_one_made_from_the_code() {
    let kept = include_str!("../../../docs/openapi.json");
    assert!(
        kept == document().unwrap(),
        "docs/openapi.json is out of date: {FIX}"
    );
}

#[test]
fn every_reference_of_the_description_leads_somewhere_and_every_call_has_its_own_name() {
    let text = document().unwrap();
    let api: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(api["openapi"], "3.1.0");
    let mut refs = BTreeSet::new();
    collect(&api, &mut refs);
    assert!(refs.len() > 20);
    for reference in refs {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(api.pointer(pointer).is_some(), "{reference}");
    }
    let mut names = BTreeSet::new();
    let mut calls = 0;
    for (name, path) in api["paths"].as_object().unwrap() {
        for call in path.as_object().unwrap().values() {
            names.insert(call["operationId"].as_str().unwrap());
            assert!(call["responses"]["401"].is_object());
            let given = call["parameters"].as_array().into_iter().flatten();
            let in_path = given.filter(|parameter| parameter["in"] == "path");
            assert_eq!(in_path.count(), name.matches('{').count(), "{name}");
            calls += 1;
        }
    }
    assert_eq!((names.len(), calls), (27, 27));
}

fn collect<'a>(value: &'a Value, refs: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            refs.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| collect(value, refs));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, refs)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
