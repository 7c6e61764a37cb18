//! Pieces of users' messages, both ways.

use chatplane_domain::{
    CLIENT_MESSAGE_BYTES_MAX, DiffSide, FileId, FileRef, PARTS_MAX, TEXT_PART_BYTES_MAX, UserPart,
    content_bytes,
};
use chatplane_proto::chat::v1 as proto;
use uuid::Uuid;

use super::violation;
use crate::{
    app::{Error, FieldViolation},
    limits::files::{FILE_PARTS_MAX, PATH_BYTES_MAX},
};

// From clients.

/// The pieces of a user's message. Of a file only its id is known yet.
pub(super) fn user_parts(parts: Vec<proto::Part>) -> Result<Vec<UserPart>, Error> {
    if parts.is_empty() {
        return Err(Error::invalid("parts", "a message needs at least one part"));
    }
    if parts.len() > PARTS_MAX {
        return Err(Error::invalid("parts", format!("a message has at most {PARTS_MAX} parts")));
    }
    let is_file = |part: &&proto::Part| matches!(part.kind, Some(proto::part::Kind::File(_)));
    if parts.iter().filter(is_file).count() > FILE_PARTS_MAX {
        let description =
            format!("a message names at most {FILE_PARTS_MAX} files; name the others in another");
        return Err(Error::invalid("parts", description));
    }
    let mut taken = Vec::with_capacity(parts.len());
    let mut violations = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let mut check = Check { field: format!("parts[{index}]"), violations: &mut violations };
        taken.extend(check.part(part));
    }
    if !violations.is_empty() {
        return Err(Error::FieldInvalid(violations));
    }
    if content_bytes(&taken) > CLIENT_MESSAGE_BYTES_MAX {
        let description = format!("a message has at most {CLIENT_MESSAGE_BYTES_MAX} bytes in all");
        return Err(Error::invalid("parts", description));
    }
    Ok(taken)
}

/// Looks at one part, and notes all that is wrong with it.
struct Check<'a> {
    field: String,
    violations: &'a mut Vec<FieldViolation>,
}

impl Check<'_> {
    /// The part, which counts only if nothing was wrong.
    fn part(&mut self, part: proto::Part) -> Option<UserPart> {
        use proto::part::Kind;
        match part.kind {
            Some(Kind::Text(proto::TextPart { text })) => {
                self.words("text", &text);
                Some(UserPart::Text(text))
            }
            Some(Kind::File(file)) => self.file(&file.file_id),
            Some(Kind::FileReference(reference)) => Some(self.file_reference(reference)),
            Some(Kind::DiffComment(comment)) => self.diff_comment(comment),
            Some(Kind::Reasoning(_) | Kind::ToolCall(_) | Kind::ToolResult(_)) | None => {
                let description = "a user's message has parts text, file, file_reference and diff_comment";
                self.violations.push(violation(self.field.clone(), description));
                None
            }
        }
    }

    fn file(&mut self, id: &str) -> Option<UserPart> {
        let Ok(id) = Uuid::try_parse(id) else {
            self.wrong("file.file_id", "it must be a UUID, that of a file that you have uploaded");
            return None;
        };
        let (name, media_type) = (String::new(), String::new());
        Some(UserPart::File(FileRef { id: FileId(id), name, media_type, size_bytes: 0 }))
    }

    fn file_reference(&mut self, reference: proto::FileReferencePart) -> UserPart {
        let proto::FileReferencePart { path, start_line, end_line, snippet } = reference;
        self.path("file_reference.path", &path);
        if snippet.len() > TEXT_PART_BYTES_MAX {
            let description = format!("a snippet has at most {TEXT_PART_BYTES_MAX} bytes");
            self.wrong("file_reference.snippet", description);
        }
        if start_line < 0 {
            self.wrong("file_reference.start_line", "it counts from 1; 0 for the whole file");
        }
        self.end_line("file_reference.end_line", start_line, end_line);
        UserPart::FileReference { path, start_line: taken(start_line), end_line: taken(end_line), snippet }
    }

    fn diff_comment(&mut self, comment: proto::DiffCommentPart) -> Option<UserPart> {
        let side = match comment.side() {
            proto::DiffSide::Old => Some(DiffSide::Old),
            proto::DiffSide::New => Some(DiffSide::New),
            proto::DiffSide::Unspecified => None,
        };
        let proto::DiffCommentPart { path, start_line, end_line, text, .. } = comment;
        self.path("diff_comment.path", &path);
        self.words("diff_comment.text", &text);
        if side.is_none() {
            self.wrong("diff_comment.side", "it is OLD or NEW");
        }
        if start_line < 1 {
            self.wrong("diff_comment.start_line", "it counts from 1");
        }
        self.end_line("diff_comment.end_line", start_line, end_line);
        let (start_line, end_line) = (taken(start_line), taken(end_line));
        Some(UserPart::DiffComment { path, side: side?, start_line, end_line, text })
    }

    fn words(&mut self, name: &str, text: &str) {
        if text.len() > TEXT_PART_BYTES_MAX {
            self.wrong(name, format!("a text part has at most {TEXT_PART_BYTES_MAX} bytes"));
        } else if text.trim().is_empty() {
            self.wrong(name, "it is empty");
        }
    }

    fn path(&mut self, name: &str, path: &str) {
        if !(1..=PATH_BYTES_MAX).contains(&path.len()) || path.contains('\0') {
            self.wrong(name, format!("a path has 1 to {PATH_BYTES_MAX} bytes and no NUL"));
        }
    }

    fn end_line(&mut self, name: &str, start_line: i32, end_line: i32) {
        if end_line != 0 && end_line < start_line.max(1) {
            self.wrong(name, "it is not before start_line; 0 for start_line alone");
        } else if end_line != 0 && start_line == 0 {
            self.wrong(name, "the whole file, start_line 0, has no end_line");
        }
    }

    fn wrong(&mut self, name: &str, description: impl Into<String>) {
        self.violations.push(violation(format!("{}.{name}", self.field), description));
    }
}

/// A line that was checked; what is wrong is told, and not taken.
fn taken(line: i32) -> u32 {
    u32::try_from(line).unwrap_or(0)
}

// To clients.

pub(super) fn user_part(part: UserPart) -> proto::Part {
    let kind = match part {
        UserPart::Text(text) => proto::part::Kind::Text(proto::TextPart { text }),
        UserPart::File(FileRef { id, name, media_type, size_bytes }) => {
            proto::part::Kind::File(proto::FilePart { file_id: id.to_string(), name, media_type, size_bytes })
        }
        UserPart::FileReference { path, start_line, end_line, snippet } => {
            proto::part::Kind::FileReference(proto::FileReferencePart {
                path,
                start_line: line(start_line),
                end_line: line(end_line),
                snippet,
            })
        }
        UserPart::DiffComment { path, side, start_line, end_line, text } => {
            proto::part::Kind::DiffComment(proto::DiffCommentPart {
                path,
                side: diff_side(side).into(),
                start_line: line(start_line),
                end_line: line(end_line),
                text,
            })
        }
    };
    proto::Part { kind: Some(kind) }
}

fn line(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn diff_side(side: DiffSide) -> proto::DiffSide {
    match side {
        DiffSide::Old => proto::DiffSide::Old,
        DiffSide::New => proto::DiffSide::New,
    }
}
