//! Whether a JSON value is what a schema of the OpenAPI document says, as far as that goes:
//! types, enumerations, references, alternatives, and objects without a field more or less.

use serde_json::Value;

/// The document.
pub struct Document(pub Value);

impl Document {
    /// The schema of what `path` answers with 200.
    pub fn answer(&self, path: &str) -> &Value {
        let content = &self.0["paths"][path]["get"]["responses"]["200"]["content"];
        let schema = content.as_object().and_then(|types| types.values().next());
        &schema.unwrap_or_else(|| panic!("{path}: no answer described"))["schema"]
    }

    pub fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    /// Panics with the place where `value` is not what `schema` says.
    pub fn check(&self, value: &Value, schema: &Value, place: &str) {
        if let Err(fault) = self.fault(value, schema, place) {
            panic!("{fault}");
        }
    }

    fn fault(&self, value: &Value, schema: &Value, place: &str) -> Result<(), String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.trim_start_matches("#/components/schemas/");
            let schema = self.schema(name);
            assert!(schema.is_object(), "{reference} leads nowhere");
            return self.fault(value, schema, place);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let faults = choices.iter().map(|choice| self.fault(value, choice, place));
            let mut last = String::new();
            for fault in faults {
                match fault {
                    Ok(()) => return Ok(()),
                    Err(fault) => last = fault,
                }
            }
            return Err(format!("{place}: none of the alternatives; the last: {last}"));
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            other => return Err(format!("{place}: a schema without a type: {other}")),
        };
        if !types.iter().any(|wanted| is_a(value, wanted)) {
            return Err(format!("{place}: {value} is none of {types:?}"));
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            return Err(format!("{place}: {value} is none of {allowed:?}"));
        }
        if let Some(elements) = value.as_array() {
            for (index, element) in elements.iter().enumerate() {
                self.fault(element, &schema["items"], &format!("{place}[{index}]"))?;
            }
        }
        match schema["properties"].is_object() {
            true => self.fields(value, schema, place),
            false => Ok(()),
        }
    }

    fn fields(&self, value: &Value, schema: &Value, place: &str) -> Result<(), String> {
        let Some(fields) = value.as_object() else { return Ok(()) };
        let described = &schema["properties"];
        for (name, field) in fields {
            if !described[name].is_object() {
                return Err(format!("{place}.{name} is not described"));
            }
            self.fault(field, &described[name], &format!("{place}.{name}"))?;
        }
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                return Err(format!("{place}.{name} is described and not there"));
            }
        }
        Ok(())
    }
}

fn is_a(value: &Value, wanted: &str) -> bool {
    match wanted {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("the document uses a type that JSON does not have: {other}"),
    }
}
