use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::document;

fn parsed() -> Value {
    serde_json::from_str(document()).unwrap()
}

/// Every operation, with its path and its method.
fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let items = document["paths"].as_object().unwrap().iter();
    items.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
    })
}

#[test]
fn every_reference_leads_somewhere() {
    fn hold(root: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let found = root.pointer(reference.trim_start_matches('#'));
                    assert!(found.is_some(), "{reference}");
                }
                members.values().for_each(|value| hold(root, value));
            }
            Value::Array(values) => values.iter().for_each(|value| hold(root, value)),
            _ => {}
        }
    }
    let document = parsed();
    hold(&document, &document);
}

#[test]
fn every_operation_says_what_it_is_and_whose_key_it_takes() {
    let document = parsed();
    let mut ids = BTreeSet::new();
    for (path, _, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{path}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{path}");
        let is_public = !path.starts_with("/api");
        assert_eq!(operation["security"].as_array().unwrap().is_empty(), is_public, "{path}");
        assert_eq!(operation["description"].as_str().unwrap().contains("Needs no key."), is_public, "{path}");
        assert_eq!(operation["responses"].get("401").is_none(), is_public, "{path}");
    }
    assert!(ids.len() > 40, "{ids:?}");
}

#[test]
fn json_is_the_first_of_several_media_types() {
    let text = document();
    assert!(text.contains("application/cloudevents-batch+json"));
    for content in text.split("\"content\":{").skip(1) {
        let first = content.split('"').nth(1).unwrap();
        assert!(first == "application/json" || first.starts_with("text/"), "{first}");
    }
}

#[test]
fn every_code_that_a_client_can_meet_is_met_somewhere() {
    let text = document();
    // No client library sends requests that get this error.
    for code in Code::ALL.iter().filter(|code| **code != Code::HostRequired) {
        assert!(text.contains(&format!("`{}`: ", code.as_str())), "{code:?}");
    }
}

#[test]
fn every_operation_says_what_is_true_of_all_paths() {
    let document = parsed();
    for (path, _, operation) in operations(&document) {
        let response = |status: &str| {
            let reference = operation["responses"][status]["$ref"].as_str().unwrap_or_default();
            document.pointer(reference.trim_start_matches('#')).cloned().unwrap_or_default()
        };
        assert!(response("405")["headers"]["Allow"].is_object(), "{path}");
        assert!(response("431")["description"].is_string(), "{path}");
        let keyless = operation["security"] == json!([]);
        for (status, own) in operation["responses"].as_object().unwrap() {
            let shared = response(status);
            let limited = own["headers"].get("RateLimit").or(shared["headers"].get("RateLimit")).is_some();
            assert!(limited != keyless || ["405", "431"].contains(&status.as_str()), "{path} {status}");
        }
    }
}

#[test]
fn every_example_fits_its_shape() {
    let document = parsed();
    let mut count = 0;
    let mut seen = BTreeSet::new();
    let mut fits = |schema: &Value, example: &Value| {
        count += 1;
        // Many operations have this error.
        if !seen.insert(format!("{schema} {example}")) {
            return;
        }
        let mut schema = schema.clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let fault = validator.iter_errors(example).next().map(|fault| fault.to_string());
        assert_eq!(fault, None, "{example}");
    };
    for schema in document["components"]["schemas"].as_object().unwrap().values() {
        schema["examples"].as_array().into_iter().flatten().for_each(|example| fits(schema, example));
    }
    let shared = document["components"]["responses"].as_object().unwrap();
    let own = operations(&document).map(|(_, _, operation)| operation["responses"].as_object().unwrap());
    for responses in own.chain([shared]) {
        for response in responses.values() {
            for content in response["content"].as_object().into_iter().flat_map(Map::values) {
                let named = content["examples"].as_object().into_iter().flat_map(Map::values);
                let examples = named.map(|example| &example["value"]).chain(content.get("example"));
                examples.for_each(|example| fits(&content["schema"], example));
            }
        }
    }
    assert!(count > 100, "{count}");
}
