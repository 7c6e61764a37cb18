//! A fragment of a tool call, as servers send them.

use serde_json::Value;

use super::super::assembly::Fault;
use super::super::state::{Fields, text_field};

/// A fragment of a tool call. OpenAI sends the id and the name with a call's first
/// fragment, and an index with each; others leave things out or repeat them.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    /// The call's place among the calls of the answer.
    pub(super) index: Option<i64>,
    /// The provider's id of the call; empty for none.
    pub(super) id: String,
    /// Name of the tool; empty for none.
    pub(super) tool_name: String,
    /// More of the arguments.
    pub(super) arguments: String,
    /// All other fields, which may have to go back.
    pub(super) rest: Fields,
}

impl Fragment {
    /// Reads a fragment.
    pub(super) fn read(mut fields: Fields) -> Result<Self, Fault> {
        let index = fields.remove("index").and_then(|index| index.get().parse().ok());
        let id = text_field(&fields, "id").unwrap_or_default();
        fields.remove("id");
        fields.remove("type");
        let function = fields.remove("function");
        let mut fragment = Self { index, id, rest: fields, ..Self::default() };
        if let Some(function) = function {
            fragment.read_function(function.get())?;
        }
        // A field without a value says nothing.
        fragment.rest.retain(|_, value| value.get() != "null");
        Ok(fragment)
    }

    /// Reads a call of the old kind, which is the only one of its answer.
    pub(super) fn read_single(function: &str) -> Result<Self, Fault> {
        let mut fragment = Self::default();
        fragment.read_function(function)?;
        Ok(fragment)
    }

    fn read_function(&mut self, json: &str) -> Result<(), Fault> {
        const MALFORMED: Fault = Fault::Malformed("a function of a tool call is not what it should be");
        let function: Option<Fields> = serde_json::from_str(json).map_err(|_| MALFORMED)?;
        let Some(function) = function else { return Ok(()) };
        self.tool_name = text_field(&function, "name").unwrap_or_default();
        let Some(arguments) = function.get("arguments") else { return Ok(()) };
        self.arguments = match serde_json::from_str(arguments.get()).map_err(|_| MALFORMED)? {
            Value::String(text) => text,
            Value::Null => String::new(),
            // Some servers send them as the object that they stand for.
            Value::Object(_) => arguments.get().to_owned(),
            _ => return Err(MALFORMED),
        };
        Ok(())
    }
}
