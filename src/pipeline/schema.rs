//! The JSON schema of a pipeline, for editors: made from the tables' Rust types and every kind's params.
//!
//! Only keywords of draft 4, which the TOML plugins of editors know. A typed param also admits a string with braces.

use super::tables::{FileTable, NeedsTable, OverrideTable, PipelineTable, PolicyTable, SourceTable, StageTable};
use crate::stage::{Artifact, Count, Kind, Port};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Keywords that draft 4 lacks or that say nothing here.
const DROPPED: &[&str] = &["$schema", "$defs", "definitions", "format", "examples", "exclusiveMinimum", "exclusiveMaximum", "title"];

/// The schema as the file `pipelines/pipeline.schema.json` holds it.
pub fn schema_text(kinds: &[Kind]) -> String {
    format!("{:#}\n", schema(kinds))
}

fn schema(kinds: &[Kind]) -> Value {
    let mut definitions = Map::new();
    for kind in kinds {
        definitions.insert(kind.name.to_owned(), stage_of_kind(kind));
    }
    definitions.insert("command".to_owned(), stage_of_command());
    definitions.insert("part".to_owned(), part_of_a_stage());
    let stages: Vec<Value> = definitions.keys().map(|name| refer(name)).collect();
    definitions.insert("source".to_owned(), source());
    definitions.insert("cells".to_owned(), cells());
    definitions.insert("needs".to_owned(), of_type::<NeedsTable>());
    definitions.insert("policy".to_owned(), of_type::<PolicyTable>());

    let mut file = of_type::<FileTable>();
    set(&mut file, "pipeline", of_type::<PipelineTable>());
    set(&mut file, "params", json!({ "type": "object" }));
    set(&mut file, "axes", named(json!({ "type": "array", "minItems": 1, "items": axis_value() })));
    set(&mut file, "source", named(json!({ "$ref": "#/definitions/source" })));
    set(&mut file, "stage", named(json!({ "anyOf": stages })));
    file["required"] = json!(["pipeline"]);
    let mut whole = json!({ "$schema": "http://json-schema.org/draft-04/schema#", "title": "A pipeline of tomograph" });
    merge(&mut whole, file);
    whole["definitions"] = Value::Object(definitions);
    whole
}

fn refer(definition: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{definition}") })
}

/// A table whose keys are names.
fn named(schema: Value) -> Value {
    json!({ "type": "object", "patternProperties": { "^[a-z0-9_-]+$": schema }, "additionalProperties": false })
}

fn axis_value() -> Value {
    let with_id = json!({ "type": "object", "properties": { "id": { "type": ["string", "number", "boolean"] } }, "required": ["id"] });
    json!({ "anyOf": [{ "type": ["string", "number", "boolean"] }, with_id] })
}

/// Axis → value or values.
fn cells() -> Value {
    let value = json!({ "type": ["string", "number", "boolean"] });
    named(json!({ "anyOf": [value, { "type": "array", "items": value }] }))
}

fn source() -> Value {
    let mut source = of_type::<SourceTable>();
    source["properties"]["type"]["enum"] = Artifact::ALL.iter().map(|(_, name, _)| *name).collect();
    source["anyOf"] = json!([{ "required": ["path", "phi"] }, { "required": ["from", "artifact"] }]);
    source
}

/// What every stage may have, with these params.
fn stage(params: &Value) -> Value {
    let mut stage = of_type::<StageTable>();
    let mut entry = of_type::<OverrideTable>();
    // An override gives some of the params only.
    let mut some = params.clone();
    each(&mut some, &mut |fields| {
        fields.remove("required");
        fields.remove("default");
        fields.remove("description");
    });
    set(&mut entry, "where", refer("cells"));
    set(&mut entry, "params", some);
    set(&mut entry, "needs", refer("needs"));
    set(&mut entry, "policy", refer("policy"));
    entry["required"] = json!(["where"]);
    set(&mut stage, "params", params.clone());
    set(&mut stage, "needs", refer("needs"));
    set(&mut stage, "policy", refer("policy"));
    set(&mut stage, "keep", json!({ "type": "array", "items": refer("cells") }));
    set(&mut stage, "skip", json!({ "type": "array", "items": refer("cells") }));
    set(&mut stage, "override", json!({ "type": "array", "items": entry }));
    stage
}

fn stage_of_kind(kind: &Kind) -> Value {
    let mut params = (kind.schema)().to_value();
    let definitions = params.get("$defs").cloned().unwrap_or_default();
    inline(&mut params, &definitions, 0);
    tidy(&mut params);
    let about = params.as_object_mut().and_then(|fields| fields.remove("description")).unwrap_or_default();
    admit_braces(&mut params);
    let mut stage = stage(&params);
    let inputs: Map<String, Value> =
        kind.inputs.iter().filter(|port| !port.filled).map(|port| (port.name.to_owned(), input(port))).collect();
    set(&mut stage, "inputs", json!({ "type": "object", "properties": inputs, "additionalProperties": false }));
    let published: Map<String, Value> =
        kind.outputs.iter().map(|port| (port.name.to_owned(), json!({ "type": "string", "description": port.about }))).collect();
    set(&mut stage, "publish", json!({ "type": "object", "properties": published, "additionalProperties": false }));
    set(&mut stage, "kind", json!({ "enum": [kind.name], "description": about }));
    for foreign in ["command", "outputs", "map", "code", "env"] {
        stage["properties"].as_object_mut().and_then(|properties| properties.remove(foreign));
    }
    stage["description"] = about;
    stage["required"] = json!(["kind"]);
    stage
}

fn input(port: &Port) -> Value {
    let holds: Vec<&str> = port.holds.iter().map(|artifact| artifact.name()).collect();
    let about = format!("{} ({})", port.about, holds.join(" or "));
    match port.count {
        Count::Many => json!({ "description": about, "anyOf": [{ "type": "string" }, named(json!({ "type": "string" }))] }),
        Count::One | Count::Optional => json!({ "description": about, "type": "string" }),
    }
}

fn stage_of_command() -> Value {
    let mut stage = stage(&json!({ "type": "object" }));
    set(&mut stage, "inputs", named(json!({ "anyOf": [{ "type": "string" }, named(json!({ "type": "string" }))] })));
    let artifacts: Value = Artifact::ALL.iter().map(|(_, name, _)| *name).collect();
    set(&mut stage, "outputs", json!({ "type": "object", "additionalProperties": { "enum": artifacts } }));
    stage["properties"].as_object_mut().and_then(|properties| properties.remove("kind"));
    stage["description"] = json!("Any program instead of a kind.");
    stage["required"] = json!(["command", "outputs"]);
    stage
}

/// What a file over a base says of a stage that the base has.
fn part_of_a_stage() -> Value {
    let mut stage = stage(&json!({ "type": "object" }));
    set(&mut stage, "inputs", json!({ "type": "object" }));
    for foreign in ["kind", "command"] {
        stage["properties"].as_object_mut().and_then(|properties| properties.remove(foreign));
    }
    stage["description"] = json!("In a file over a base: what is another for a stage of the base.");
    stage
}

/// The tidied schema of a table's type.
fn of_type<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    // What a table has when it is left out is no news to its author.
    drop_defaults(&mut schema);
    schema
}

fn drop_defaults(schema: &mut Value) {
    each(schema, &mut |fields| drop(fields.remove("default")));
}

/// Puts a property in the place of the one that the type could not say, keeping its description.
fn set(schema: &mut Value, name: &str, property: Value) {
    let old = schema["properties"][name]["description"].take();
    schema["properties"][name] = property;
    if !old.is_null() && schema["properties"][name].get("description").is_none() {
        schema["properties"][name]["description"] = old;
    }
}

fn merge(schema: &mut Value, with: Value) {
    if let (Value::Object(fields), Value::Object(with)) = (schema, with) {
        fields.extend(with);
    }
}

/// Calls `visit` with every schema, innermost first.
fn each(schema: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    match schema {
        Value::Object(fields) => {
            for (keyword, value) in fields.iter_mut() {
                match keyword.as_str() {
                    // Names of properties are no keywords.
                    "properties" | "patternProperties" => {
                        value.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(|value| each(value, visit));
                    }
                    "default" | "enum" | "required" | "const" => {}
                    _ => each(value, visit),
                }
            }
            visit(fields);
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each(value, visit)),
        _ => {}
    }
}

/// Puts definitions in the place of references to them; a type that holds itself ends as anything.
fn inline(schema: &mut Value, definitions: &Value, depth: usize) {
    match schema {
        Value::Object(fields) => {
            let target = fields.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix("#/$defs/")).map(str::to_owned);
            if let Some(target) = target {
                fields.remove("$ref");
                if let Some(Value::Object(definition)) = definitions.get(&target).filter(|_| depth < 8) {
                    let own = std::mem::replace(fields, definition.clone());
                    // What stands beside the reference is about the place, and wins.
                    fields.extend(own);
                    inline(schema, definitions, depth + 1);
                }
                return;
            }
            fields.iter_mut().filter(|(keyword, _)| *keyword != "$defs").for_each(|(_, value)| inline(value, definitions, depth));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| inline(value, definitions, depth)),
        _ => {}
    }
}

/// Leaves keywords of draft 4 only, and no nulls, which TOML does not have.
fn tidy(schema: &mut Value) {
    each(schema, &mut |fields| {
        for keyword in DROPPED {
            fields.remove(*keyword);
        }
        if let Some(value) = fields.remove("const") {
            fields.insert("enum".to_owned(), json!([value]));
        }
        if let Some(one) = fields.remove("oneOf") {
            fields.insert("anyOf".to_owned(), one);
        }
        if fields.get("default").is_some_and(Value::is_null) {
            fields.remove("default");
        }
        if let Some(Value::Array(types)) = fields.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                fields.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(values)) = fields.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
            choices.retain(|choice| choice != &json!({ "type": "null" }));
            if let [Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                fields.remove("anyOf");
                for (keyword, value) in only {
                    fields.entry(keyword).or_insert(value);
                }
            }
        }
    });
}

/// Every value inside these params may also be a string with a placeholder.
fn admit_braces(params: &mut Value) {
    let Some(fields) = params.as_object_mut() else { return };
    for keyword in ["properties", "patternProperties"] {
        for value in fields.get_mut(keyword).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
            or_braces(value);
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(value) = fields.get_mut(keyword).filter(|value| value.is_object()) {
            or_braces(value);
        }
    }
    for choice in fields.get_mut("anyOf").and_then(Value::as_array_mut).into_iter().flatten() {
        admit_braces(choice);
    }
}

fn or_braces(schema: &mut Value) {
    admit_braces(schema);
    let Some(fields) = schema.as_object_mut() else { return };
    let any_string = fields.get("type") == Some(&json!("string")) && !fields.contains_key("enum") && !fields.contains_key("pattern");
    if any_string || fields.is_empty() {
        return;
    }
    let mut outer = Map::new();
    for keyword in ["description", "default"] {
        if let Some(value) = fields.remove(keyword) {
            outer.insert(keyword.to_owned(), value);
        }
    }
    let braces = json!({ "type": "string", "pattern": "\\{" });
    let choices = match fields.remove("anyOf") {
        Some(Value::Array(mut choices)) if fields.is_empty() => {
            choices.push(braces);
            Value::Array(choices)
        }
        other => {
            if let Some(other) = other {
                fields.insert("anyOf".to_owned(), other);
            }
            json!([Value::Object(fields.clone()), braces])
        }
    };
    outer.insert("anyOf".to_owned(), choices);
    *fields = outer;
}
