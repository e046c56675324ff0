//! The JSON Schema of policy documents (draft 2020-12), made from the types that read them: an editor
//! that knows it completes and checks as one types. docs/policy.schema.json is what is published.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::document::{API_VERSION, kinds};

/// The schema of one document.
#[must_use]
pub fn policy() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let metadata = json!({
        "type": "object",
        "description": "What names the document.",
        "properties": { "name": { "type": "string", "description": "Unique among documents of its kind." } },
        "required": ["name"],
        "additionalProperties": false,
    });
    let of = |(kind, spec): (&str, schemars::Schema)| {
        json!({
            "type": "object",
            "title": kind,
            "properties": {
                "apiVersion": { "const": API_VERSION },
                "kind": { "const": kind },
                "metadata": metadata,
                "spec": spec,
            },
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "additionalProperties": false,
        })
    };
    let kinds: Vec<Value> = kinds(&mut generator).into_iter().map(of).collect();
    let definitions: Map<String, Value> = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("https://{API_VERSION}/policy.schema.json"),
        "title": "A document of a Fermata policy",
        "oneOf": kinds,
        "$defs": definitions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        crate::blessed::check("docs/policy.schema.json", &policy());
    }

    /// Every field the schema has is one that the parser knows, and the other way round.
    #[test]
    fn the_schema_has_the_fields_that_the_parser_takes() {
        let schema = policy();
        for kind in schema["oneOf"].as_array().unwrap() {
            let title = kind["title"].as_str().unwrap();
            let reference = kind["properties"]["spec"]["$ref"].as_str().unwrap();
            let spec = &schema["$defs"][reference.rsplit('/').next().unwrap()];
            let mut fields: Vec<String> = match spec["oneOf"].as_array() {
                None => spec["properties"].as_object().unwrap().keys().cloned().collect(),
                Some(one_of) => one_of
                    .iter()
                    .map(|one| one["required"][0].as_str().unwrap().to_owned())
                    .collect(),
            };
            let text = format!(
                "apiVersion: {API_VERSION}\nkind: {title}\nmetadata: {{ name: a }}\nspec: {{ xyzzy: {{}} }}\n"
            );
            let error =
                super::super::document::parse(std::path::Path::new("p"), &text).unwrap_err();
            let message = error.reply().message;
            let (_, expected) = message.split_once("expected ").unwrap();
            let mut expected: Vec<String> =
                expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            fields.sort();
            expected.sort();
            assert_eq!(fields, expected, "{title}");
        }
    }
}
