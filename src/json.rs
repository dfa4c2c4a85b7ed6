//! What is printed and written as JSON: its version, and its schemas.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

/// It goes up when a key goes or changes its meaning, but not for new keys.
const VERSION: u32 = 1;

/// A document with its version.
#[derive(Serialize, JsonSchema)]
pub struct Versioned<T> {
    /// The version of the document: it goes up when a key goes or changes its meaning, but not for new keys.
    version: u32,
    #[serde(flatten)]
    document: T,
}

impl<T> Versioned<T> {
    /// The document in the version that this program writes.
    pub fn new(document: T) -> Self {
        Self { version: VERSION, document }
    }
}

/// The JSON Schema (draft 2020-12) of a document with its version.
pub fn versioned_schema<T: JsonSchema>(title: &str) -> Schema {
    schema::<Versioned<T>>(title)
}

/// The JSON Schema (draft 2020-12) of what is serialized from a type.
pub fn schema<T: JsonSchema>(title: &str) -> Schema {
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema
}
