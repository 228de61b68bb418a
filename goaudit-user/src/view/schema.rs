//! The JSON Schema of the JSON view, generated from the structs that write it.

use schemars::generate::SchemaSettings;

use super::json::EventView;

/// The schema as pretty-printed JSON with a line feed at the end: what `docs/schema/` holds.
pub fn generate() -> String {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let schema = generator.into_root_schema_for::<EventView<'_>>();
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
