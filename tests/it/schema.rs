//! The JSON schema against the language: it admits every pipeline that `check` admits, and refuses what is misspelt.
//!
//! The keywords of draft 4 that the schema uses are understood here, no others, so that a new keyword fails first.

use libtest_mimic::Trial;
use regex::Regex;
use serde_json::Value;
use std::fs;

pub(crate) fn trials() -> Vec<Trial> {
    trials![every_good_pipeline_is_admitted, what_is_misspelt_is_refused, everything_is_explained]
}

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string("pipelines/pipeline.schema.json").unwrap()).unwrap()
}

/// A pipeline's text as JSON.
fn json(text: &str) -> Value {
    serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
}

/// Whether `schema` admits `value`.
fn admits(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(keywords) = schema.as_object() else { panic!("a schema is an object: {schema}") };
    keywords.iter().all(|(keyword, wanted)| match keyword.as_str() {
        "$schema" | "title" | "description" | "default" | "definitions" => true,
        "$ref" => admits(root, root.pointer(wanted.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), value),
        "type" => match wanted {
            Value::Array(types) => types.iter().any(|one| is_a(value, one)),
            one => is_a(value, one),
        },
        "enum" => wanted.as_array().unwrap().contains(value),
        "anyOf" => wanted.as_array().unwrap().iter().any(|one| admits(root, one, value)),
        "allOf" => wanted.as_array().unwrap().iter().all(|one| admits(root, one, value)),
        "required" => {
            value.as_object().is_none_or(|fields| wanted.as_array().unwrap().iter().all(|name| fields.contains_key(name.as_str().unwrap())))
        }
        "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
        "minItems" => value.as_array().is_none_or(|values| values.len() as u64 >= wanted.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|values| values.len() as u64 <= wanted.as_u64().unwrap()),
        "pattern" => value.as_str().is_none_or(|text| Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text)),
        "items" => value.as_array().is_none_or(|values| values.iter().all(|value| admits(root, wanted, value))),
        "properties" | "patternProperties" | "additionalProperties" => {
            value.as_object().is_none_or(|fields| fields.iter().all(|(name, value)| field(root, keywords, name, value)))
        }
        other => panic!("`{other}` is no keyword that the schema should use"),
    })
}

fn field(root: &Value, keywords: &serde_json::Map<String, Value>, name: &str, value: &Value) -> bool {
    if let Some(schema) = keywords.get("properties").and_then(|all| all.get(name)) {
        return admits(root, schema, value);
    }
    let patterns = keywords.get("patternProperties").and_then(Value::as_object).into_iter().flatten();
    for (pattern, schema) in patterns {
        if Regex::new(pattern).unwrap().is_match(name) {
            return admits(root, schema, value);
        }
    }
    match keywords.get("additionalProperties") {
        None | Some(Value::Bool(true)) => true,
        Some(Value::Bool(false)) => false,
        Some(schema) => admits(root, schema, value),
    }
}

fn is_a(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("no type of JSON: {other}"),
    }
}

fn every_good_pipeline_is_admitted() {
    let schema = schema();
    let mut seen = 0;
    for folder in ["tests/pipelines/valid", "tests/pipelines/beside", "pipelines", "src/cli/templates"] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "toml") {
                let text = fs::read_to_string(&path).unwrap().replace("@NAME@", "x");
                assert!(admits(&schema, &schema, &json(&text)), "{} is refused", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 15, "{seen}");
}

fn what_is_misspelt_is_refused() {
    let schema = schema();
    let text = fs::read_to_string("tests/pipelines/valid/images.prepare.toml").unwrap();
    assert!(admits(&schema, &schema, &json(&text)));
    for (right, wrong) in [
        ("\"images.prepare\"", "\"images.prepar\""),
        ("size = 32", "sise = 32"),
        ("size = 32", "size = true"),
        ("images = \"import\"", "image = \"import\""),
        ("[stage.prepare]", "[stages.prepare]"),
        ("phi  = false", "phi  = \"no\""),
        ("path = \"raw\"", "part = \"raw\""),
    ] {
        assert!(text.contains(right), "{right}");
        assert!(!admits(&schema, &schema, &json(&text.replace(right, wrong))), "{wrong} is admitted");
    }
    assert!(admits(&schema, &schema, &json(&text.replace("size = 32", "size = \"{side}\""))), "a placeholder stands for any value");
}

/// Kinds, ports and params say what they are when an editor asks.
fn everything_is_explained() {
    let schema = schema();
    for kind in tomograph::stages::KINDS {
        let stage = &schema["definitions"][kind.name]["properties"];
        let said = |value: &Value| value["description"].as_str().is_some_and(|text| text.len() > 3);
        assert!(said(&stage["kind"]), "{}", kind.name);
        for port in kind.inputs.iter().filter(|port| !port.filled) {
            assert!(said(&stage["inputs"]["properties"][port.name]), "{}: input {}", kind.name, port.name);
        }
        for (name, param) in stage["params"]["properties"].as_object().into_iter().flatten() {
            assert!(said(param), "{}: param {name}", kind.name);
        }
    }
}
