//! JSON Schemas of the documents, for editors and for callers of the admin API.

use schemars::{JsonSchema, generate::SchemaSettings};

use crate::document::{NodeDocument, SiteDocument};

/// The schema of a node's document, as JSON text.
pub fn node_schema() -> String {
    schema::<NodeDocument>("An anypop node")
}

/// The schema of a site's document, as JSON text.
pub fn site_schema() -> String {
    schema::<SiteDocument>("An anypop site")
}

fn schema<T: JsonSchema>(title: &str) -> String {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>();
    schema.insert("title".into(), title.into());
    // With `{:#}` a `Value` is indented; writing one to a string cannot fail.
    format!("{:#}\n", schema.to_value())
}
