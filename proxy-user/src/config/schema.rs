//! The JSON Schema of the file, generated from the raw form.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;

use super::raw::Raw;

/// JSON Schema (2020-12) of the configuration file, for editors and other tools.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with_transform(TomlForm);
    settings.into_generator().into_root_schema_for::<Raw>().to_value()
}

/// TOML has no null, and its integers no width.
#[derive(Clone, Debug)]
struct TomlForm;

impl Transform for TomlForm {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        object.remove("format");
        if object
            .get("default")
            .is_some_and(|d| d.is_null() || d.is_object() || d == &Value::Array(Vec::new()))
        {
            object.remove("default");
        }
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|t| t != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                object.insert("type".to_owned(), one);
            }
        }
        let null = serde_json::json!({ "type": "null" });
        let Some(Value::Array(options)) = object.get_mut("anyOf") else { return };
        options.retain(|option| *option != null);
        if let [Value::Object(one)] = options.as_slice() {
            let one = one.clone();
            object.remove("anyOf");
            for (key, value) in one {
                object.entry(key).or_insert(value);
            }
        }
    }
}
