//! `edit_files`: changes parts of files, all of them or none.
//!
//! Everything is read and computed first; nothing is written before the last edit has been found possible.

mod text;

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use similar::TextDiff;

pub(super) use self::text::Problem;
use self::text::{Edit, Occurrences, apply};
use super::{
    Error,
    beneath::{MissingDirectories, Root},
    go_on,
    replace::{Existing, Staged, Target, replace_all},
};
use crate::tools::{Arguments, ArgumentsError, Call, Definition, Fields, MiddleCut, shorten};

/// Edits in one call. Who changes more runs a program for it.
const EDITS_MAX: usize = 100;

/// What a file may have, before and after. Larger ones were written by no person.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What all files of a call together may have. A call holds about four times as much in memory, and one call
/// edits at a time.
const FILES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the model gets to read of the differences.
const DIFF_BYTES_MAX: usize = 64 * 1024;

/// Looking for a small difference may take so long for all files together; then a larger one is shown.
const DIFF_TIME_MAX: Duration = Duration::from_secs(1);

pub(super) const DEFINITION: Definition = Definition {
    name: "edit_files",
    description: "Change parts of text files of the workspace: each edit replaces `old_text` by `new_text` in \
                  one file. `old_text` must be there exactly once, in the file as the edits before it in the \
                  same call have left it, unless `replace_all` is set. Either all edits are made or, when one \
                  is not possible, none. The result shows the differences. At most 100 edits, of files of \
                  at most 4 MiB. To create a file, use write_file.",
    input_schema_json: r#"{
  "type": "object",
  "properties": {
    "edits": {
      "type": "array",
      "minItems": 1,
      "maxItems": 100,
      "items": {
        "type": "object",
        "properties": {
          "path": {
            "type": "string",
            "description": "File, relative to the workspace directory."
          },
          "old_text": {
            "type": "string",
            "description": "Text to replace, exactly as it is in the file, without line numbers."
          },
          "new_text": {
            "type": "string",
            "description": "Text to put there."
          },
          "replace_all": {
            "type": "boolean",
            "description": "Replace every occurrence. Default: false."
          }
        },
        "required": ["path", "old_text", "new_text"]
      }
    }
  },
  "required": ["edits"]
}"#,
};

/// The tool.
pub(super) fn run(root: &Root, call: &Call) -> Result<String, Error> {
    let edits = parse(&call.arguments)?;
    let count = edits.len();
    let mut files = Files { root, read: Vec::new(), bytes: 0 };
    for (index, (path, edit)) in edits.into_iter().enumerate() {
        go_on(&call.cancel)?;
        files.edit(path, edit).map_err(|reason| {
            let place = format!("Edit {} of {count} (`{}`)", index + 1, shorten(path));
            Error::Edit { place, reason: reason.to_string() }
        })?;
    }
    let changed = files.changed();
    let report = report(&changed, count);
    let staged = stage(changed)?;
    // From here on it is done, and said to be.
    go_on(&call.cancel)?;
    replace_all(staged)?;
    Ok(report)
}

/// The edits with their paths.
fn parse(arguments: &Arguments) -> Result<Vec<(&str, Edit<'_>)>, Error> {
    let objects = arguments.fields().required_objects("edits")?;
    if objects.is_empty() {
        return Err(Error::NoEdits);
    }
    if objects.len() > EDITS_MAX {
        return Err(Error::TooManyEdits);
    }
    let edits: Result<_, ArgumentsError> = objects.iter().map(edit).collect();
    Ok(edits?)
}

fn edit<'a>(fields: &Fields<'a>) -> Result<(&'a str, Edit<'a>), ArgumentsError> {
    let occurrences = if fields.flag("replace_all")? { Occurrences::All } else { Occurrences::One };
    let (old, new) = (fields.required_text("old_text")?, fields.required_text("new_text")?);
    Ok((fields.required_text("path")?, Edit { old, new, occurrences }))
}

/// The files of a call, each read once, however it is called.
struct Files<'a> {
    root: &'a Root,
    read: Vec<ReadFile>,
    /// What they have in all.
    bytes: usize,
}

struct ReadFile {
    target: Target,
    existing: Existing,
    before: String,
    after: String,
}

impl Files<'_> {
    fn edit(&mut self, path: &str, edit: Edit<'_>) -> Result<(), Error> {
        let index = self.read(path)?;
        let file = &mut self.read[index];
        let after = apply(&file.after, edit)?;
        self.bytes = self.bytes - file.after.len() + after.len();
        file.after = after;
        self.require_room()
    }

    /// Where the file is in the list. It is read when it is not there yet.
    fn read(&mut self, path: &str) -> Result<usize, Error> {
        let target = Target::find(self.root, path, MissingDirectories::Refused)?;
        if let Some(index) = self.read.iter().position(|file| file.target == target) {
            return Ok(index);
        }
        let existing = target.existing()?.ok_or_else(|| Error::NothingToEdit(shorten(path)))?;
        let before = read(&target, existing)?;
        self.bytes += 2 * before.len();
        self.require_room()?;
        self.read.push(ReadFile { target, existing, after: before.clone(), before });
        Ok(self.read.len() - 1)
    }

    fn require_room(&self) -> Result<(), Error> {
        if self.bytes > 2 * FILES_BYTES_MAX { Err(Error::FilesTooLarge) } else { Ok(()) }
    }

    /// Edits may undo one another.
    fn changed(self) -> Vec<ReadFile> {
        self.read.into_iter().filter(|file| file.before != file.after).collect()
    }
}

fn read(target: &Target, existing: Existing) -> Result<String, Error> {
    let path = &target.path;
    let mut content = Vec::new();
    // One byte more than may be there, to see whether it is.
    let file = target.open()?;
    (&file)
        .take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| Error::io(path, error))?;
    if content.len() > FILE_BYTES_MAX {
        return Err(Error::FileTooLarge(shorten(path)));
    }
    // What was read must be what was looked at: somebody may be writing.
    if Existing::of_open(&file).map_err(|error| Error::io(path, error))? != existing {
        return Err(Error::Changed(shorten(path)));
    }
    String::from_utf8(content).map_err(|_| Error::NotText(shorten(path)))
}

fn stage(changed: Vec<ReadFile>) -> Result<Vec<Staged>, Error> {
    let stage = |file: ReadFile| file.target.stage(file.after.as_bytes(), Some(file.existing));
    changed.into_iter().map(stage).collect()
}

/// What was done, and the differences.
fn report(changed: &[ReadFile], edits: usize) -> String {
    let edits = counted(edits, "edit");
    if changed.is_empty() {
        return format!("{edits} made, and undone by one another: no file was changed.");
    }
    let deadline = Instant::now() + DIFF_TIME_MAX;
    let mut diff = String::new();
    for ReadFile { target, before, after, .. } in changed {
        let text = TextDiff::configure().deadline(deadline).diff_lines(before.as_str(), after.as_str());
        let path = shorten(&target.path);
        let unified = text.unified_diff().header(&format!("a/{path}"), &format!("b/{path}")).to_string();
        diff.push_str(&MiddleCut::cut(&unified, DIFF_BYTES_MAX));
    }
    let files = counted(changed.len(), "file");
    format!("{edits} made in {files}.\n\n{}", MiddleCut::cut(diff.trim_end(), DIFF_BYTES_MAX))
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests;
