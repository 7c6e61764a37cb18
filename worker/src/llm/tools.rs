//! The tools on offer, as every wire format words them.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{ModelCall, ToolDefinition};

/// The tools that a call offers: the first of each name.
pub(super) fn offered(call: &ModelCall) -> impl Iterator<Item = &ToolDefinition> {
    let mut names = BTreeSet::new();
    call.tools.iter().filter(move |tool| names.insert(&tool.name))
}

/// A tool's schema as an object that says it is one, which providers ask for.
pub(super) fn input_schema(json: &str) -> Map<String, Value> {
    let mut schema: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    schema.entry("type").or_insert_with(|| "object".into());
    schema
}
