//! The OpenAPI description (3.1.0), made from the routes. docs/openapi.json is what is published.

use hyper::Method;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{ROUTES, Route};

/// The description.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut generator);
        let method = if route.method == Method::GET { "get" } else { "post" };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[method] = operation;
    }
    paths.insert("/v1/events".to_owned(), events());
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Error".to_owned(), error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fermata",
            "version": "1",
            "description": "What the daemon `fermata serve` can be asked. docs/api.md says how to \
                            connect and who may ask what.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let open = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let open = open.map(|name| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let query = route.query.iter().map(|(name, description)| {
        json!({
            "name": name, "in": "query", "description": description,
            "schema": { "type": "integer", "minimum": 0 },
        })
    });
    let parameters: Vec<Value> = open.chain(query).collect();
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "description": format!("Role: {}.", route.role.name()),
        "parameters": parameters,
        "responses": responses(&content("application/json", (route.reply)(generator).to_value())),
    });
    if let Some(body) = route.body {
        let content = content("application/json", body(generator).to_value());
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let parts = route.path.split(['/', '{', '}', '.', '-']).filter(|part| !part.is_empty());
    parts.skip(1).collect::<Vec<_>>().join("_")
}

fn content(content_type: &str, schema: Value) -> Value {
    json!({ content_type: { "schema": schema } })
}

fn responses(done: &Value) -> Value {
    let error = json!({
        "description": "It was refused or could not be done, and nothing was changed.",
        "content": content("application/json", json!({ "$ref": "#/components/schemas/Error" })),
    });
    json!({
        "200": { "description": "Done.", "content": done },
        "4XX": error,
        "5XX": error,
    })
}

fn events() -> Value {
    json!({ "get": {
        "operationId": "events",
        "summary": "What is new, as it comes",
        "description": "Role: read. Server-sent events: `status` (a Status, or null while the data \
                        plane is away), `exchanges` and `signals` (pages), `policy` (the revision in \
                        force). It does not end.",
        "responses": responses(&content("text/event-stream", json!({ "type": "string" }))),
    } })
}

fn error() -> Value {
    json!({
        "type": "object",
        "properties": { "error": {
            "type": "object",
            "properties": {
                "code": { "type": "string", "description": "One word for programs." },
                "message": { "type": "string", "description": "What is wrong, and what was expected." },
                "path": { "type": ["string", "null"], "description": "Where." },
                "hint": { "type": ["string", "null"], "description": "What to do." },
            },
            "required": ["code", "message", "path", "hint"],
        } },
        "required": ["error"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_description_is_that_of_the_routes() {
        crate::blessed::check("docs/openapi.json", &document());
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_no_two_operations_share_a_name() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
        let mut names: Vec<String> = ROUTES.iter().map(operation_id).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ROUTES.len());
    }
}
