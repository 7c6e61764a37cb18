//! What a user said, from `chatplane.chat.v1` to the worker's types.

use chatplane_domain::{DiffSide, FileId, FileRef, UserPart};
use chatplane_proto::chat::v1 as chat;
use uuid::Uuid;

/// Stands for a part of a kind that a newer control plane knows.
const UNKNOWN_PART: &str = "[Something that the user attached is not shown: this worker is too old for it.]";

/// A part of what a user said. One of a kind that is not known here says at least that it is
/// there: the model must not answer as if it had read everything.
pub(super) fn user_part(kind: Option<chat::part::Kind>) -> Option<UserPart> {
    let line = |line: i32| u32::try_from(line).unwrap_or_default();
    let part = match kind {
        Some(chat::part::Kind::Text(part)) => UserPart::Text(part.text),
        Some(chat::part::Kind::File(part)) => UserPart::File(FileRef {
            // A file without a valid id is one that cannot be read.
            id: FileId(Uuid::try_parse(&part.file_id).unwrap_or_default()),
            name: part.name,
            media_type: part.media_type,
            size_bytes: part.size_bytes,
        }),
        Some(chat::part::Kind::FileReference(part)) => UserPart::FileReference {
            path: part.path,
            start_line: line(part.start_line),
            end_line: line(part.end_line),
            snippet: part.snippet,
        },
        Some(chat::part::Kind::DiffComment(part)) => UserPart::DiffComment {
            side: match part.side() {
                chat::DiffSide::Old => DiffSide::Old,
                chat::DiffSide::New | chat::DiffSide::Unspecified => DiffSide::New,
            },
            path: part.path,
            start_line: line(part.start_line),
            end_line: line(part.end_line),
            text: part.text,
        },
        Some(
            chat::part::Kind::Reasoning(_) | chat::part::Kind::ToolCall(_) | chat::part::Kind::ToolResult(_),
        ) => return None,
        None => UserPart::Text(UNKNOWN_PART.to_owned()),
    };
    Some(part)
}
