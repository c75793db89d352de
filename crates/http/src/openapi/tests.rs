use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Operations, document};
use crate::code::Code;

fn parsed() -> Value {
    serde_json::from_str(document()).unwrap()
}

/// The methods of every path of the document.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let document = parsed();
    let methods = |item: &Value| item.as_object().unwrap().keys().cloned().collect();
    document["paths"].as_object().unwrap().iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// The methods of every path of the router, as it shows itself.
fn routed() -> BTreeMap<String, BTreeSet<String>> {
    let shown = format!("{:?}", crate::router::routes());
    let (shown, _) = shown.split_once("fallback_router").unwrap();
    let (routes, paths) = shown.split_once("paths: {").unwrap();
    let mut methods: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for route in routes.split("RouteId(").skip(1) {
        let (id, route) = route.split_once(')').unwrap();
        let served =
            ["get", "post", "put", "patch", "delete", "options", "trace"].into_iter().filter(|method| {
                let rest = route.split_once(&format!(" {method}: ")).map(|(_, rest)| rest);
                rest.is_some_and(|rest| !rest.starts_with("None"))
            });
        methods.insert(id, served.map(str::to_owned).collect());
    }
    let named = paths.split("RouteId(").skip(1).map(|entry| {
        let (id, path) = entry.split_once("): \"").unwrap();
        (path.split('"').next().unwrap().to_owned(), methods[id].clone())
    });
    named.collect()
}

#[test]
fn what_is_served_is_documented_and_the_reverse() {
    assert!(routed().len() > 30, "the router shows its routes: {:?}", crate::router::routes());
    assert_eq!(documented(), routed());
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
fn every_operation_says_what_it_is_and_how_it_fails() {
    use utoipa::OpenApi as _;
    let raw = serde_json::to_value(Operations::openapi()).unwrap();
    for (path, item) in raw["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let about = &operation["x-about"];
            assert!(about["key"].is_string(), "{path}");
            for code in about["errors"].as_array().unwrap() {
                assert!(Code::ALL.iter().any(|known| code == known.as_str()), "{path}: {code}");
            }
        }
    }
    let mut ids = BTreeSet::new();
    for item in parsed()["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
            assert!(!operation["summary"].as_str().unwrap().is_empty());
            assert!(operation["responses"].as_object().unwrap().len() > 1);
        }
    }
}

#[test]
fn every_code_that_a_client_can_meet_is_met_somewhere() {
    let text = document();
    // No request can bring that one about.
    for code in Code::ALL.iter().filter(|code| **code != Code::OrganizationExists) {
        assert!(text.contains(&format!("`{}`: ", code.as_str())), "{code:?}");
    }
}

#[test]
fn every_operation_says_what_is_true_of_all_paths() {
    let document = parsed();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = &operation["operationId"];
            let response = |status: &str| {
                let reference = operation["responses"][status]["$ref"].as_str().unwrap_or_default();
                document.pointer(reference.trim_start_matches('#')).cloned().unwrap_or_default()
            };
            assert!(response("405")["headers"]["Allow"].is_object(), "{id}");
            assert!(response("431")["description"].is_string(), "{id}");
            let keyless = operation["security"].is_null();
            for (status, response) in operation["responses"].as_object().unwrap() {
                let limited = response["headers"]["RateLimit"].is_object();
                assert!(limited != keyless || response["$ref"].is_string(), "{id} {status}");
            }
        }
    }
}

#[test]
fn every_example_fits_its_shape() {
    let document = parsed();
    let mut count = 0;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for example in schema.get("examples").and_then(Value::as_array).into_iter().flatten() {
            fits(&document, &format!("#/components/schemas/{name}"), example);
            count += 1;
        }
    }
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            for response in operation["responses"].as_object().unwrap().values() {
                for content in
                    response["content"].as_object().into_iter().flat_map(|content| content.values())
                {
                    let Some(reference) = content["schema"]["$ref"].as_str() else { continue };
                    for example in
                        content["examples"].as_object().into_iter().flat_map(|named| named.values())
                    {
                        fits(&document, reference, &example["value"]);
                        count += 1;
                    }
                }
            }
        }
    }
    assert!(count > 100, "{count}");
}

fn fits(document: &Value, reference: &str, example: &Value) {
    let schema = serde_json::json!({ "$ref": reference, "components": document["components"] });
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let fault = validator.iter_errors(example).next().map(|fault| fault.to_string());
    assert_eq!(fault, None, "{reference}: {example}");
}
