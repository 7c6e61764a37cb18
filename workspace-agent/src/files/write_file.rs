//! `write_file`: creates or replaces a file.

use super::{
    Error,
    beneath::{MissingDirectories, Root},
    go_on,
    replace::{Target, replace},
};
use crate::tools::{Call, Definition};

/// What a file may have. The contract leaves room for no more in the arguments of a call.
const CONTENT_BYTES_MAX: usize = 2 * 1024 * 1024;

pub(super) const DEFINITION: Definition = Definition {
    name: "write_file",
    description: "Create a text file of the workspace, or replace all that is in it. Directories on the way \
                  are made. A replaced file keeps its mode. To change a part of a file, use edit_files.",
    input_schema_json: r#"{
  "type": "object",
  "properties": {
    "path": {
      "type": "string",
      "description": "File, relative to the workspace directory."
    },
    "content": {
      "type": "string",
      "description": "All that is to be in the file, with the line break at its end."
    }
  },
  "required": ["path", "content"]
}"#,
};

/// The tool.
pub(super) fn run(root: &Root, call: &Call) -> Result<String, Error> {
    let fields = call.arguments.fields();
    let path = fields.required_text("path")?;
    let content = fields.required_text("content")?;
    if content.len() > CONTENT_BYTES_MAX {
        return Err(Error::ContentTooLarge);
    }
    let target = Target::find(root, path, MissingDirectories::Made)?;
    let existing = target.existing()?;
    let staged = target.stage(content.as_bytes(), existing)?;
    // From here on it is done, and said to be.
    go_on(&call.cancel)?;
    replace(staged)?;
    let done = if existing.is_some() { "replaced" } else { "created" };
    Ok(format!("`{path}` was {done}: {}.", size(content)))
}

fn size(content: &str) -> String {
    match (content.len(), content.lines().count()) {
        (0, _) => "it is empty".to_owned(),
        (bytes, 1) => format!("1 line, {bytes} bytes"),
        (bytes, lines) => format!("{lines} lines, {bytes} bytes"),
    }
}

#[cfg(test)]
mod tests;
