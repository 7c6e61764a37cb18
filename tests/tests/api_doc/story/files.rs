//! Files, and messages that are more than text.

use crate::step::{Step, call, event, streamed};

pub(super) fn steps() -> Vec<Step> {
    let mut steps = store();
    steps.extend(attach());
    steps
}

fn store() -> Vec<Step> {
    vec![
        Step::Section("Files"),
        Step::Words(
            "A file is uploaded first, its name before its bytes: images, PDFs and text, told apart by their content. \
             The same content under the same name is stored once, so that an upload can be repeated. \
             A file that no message refers to goes after a day.",
        ),
        call(
            "FileService/UploadFile",
            r#"{"header": {"name": "beds.csv"}}
{"data": "$(printf 'bed,crop\n1,peas\n2,beans\n' | base64)"}"#,
            &[
                "file.fileId",
                "file.name",
                "file.mediaType",
                "file.sizeBytes",
                "file.sha256",
                "file.createTime",
            ],
        )
        .keep("file", "file.fileId")
        .into(),
        Step::Words("It is yours alone, and never changes."),
        call(
            "FileService/GetFile",
            r#"{"fileId": "$file"}"#,
            &["file.fileId", "file.name", "file.mediaType"],
        )
        .into(),
        Step::Words("A download says what the file is, and then streams it, or a range of it."),
        streamed(
            "FileService/DownloadFile",
            r#"{"fileId": "$file", "offset": "9"}"#,
            vec![event("file", &["file.name", "file.sizeBytes"]), event("data", &["data"])],
        )
        .into(),
    ]
}

fn attach() -> Vec<Step> {
    vec![
        Step::Words(
            "A message names the files that go with it. It can also point at lines of the workspace, with what stands \
             there, and comment on lines of a diff (`diffComment`). A model that takes images and PDFs gets them as \
             they are; text, references and comments reach every model. A message names at most 20 files. Of a text \
             the model gets the first 128 KiB, and of all of a chat's texts the newest 3 MiB; a line says so in place \
             of what it does not get, or of a file that the same message names again.",
        ),
        call(
            "ChatService/SendMessage",
            r#"{
  "chatId": "$chat",
  "parts": [
    {"file": {"fileId": "$file"}},
    {"fileReference": {"path": "garden/plan.md", "startLine": 3, "endLine": 4, "snippet": "Bed 1: peas\nBed 2: beans"}},
    {"text": {"text": "Does the list match the plan?"}}
  ]
}"#,
            &[
                "chat.state",
                "messages.messageId",
                "messages.role",
                "messages.parts",
                "messages.parts.file.fileId",
                "messages.parts.file.name",
                "messages.parts.file.mediaType",
                "messages.parts.file.sizeBytes",
                "messages.parts.fileReference.path",
                "messages.parts.fileReference.startLine",
                "messages.parts.fileReference.endLine",
            ],
        )
        .into(),
        Step::Words("A chat lists its files."),
        call(
            "ChatService/GetChat",
            r#"{"chatId": "$chat"}"#,
            &["chat.state", "chat.lastTurnSummary", "chat.files.fileId", "chat.files.name"],
        )
        .until("chat.state", "CHAT_STATE_WAITING")
        .into(),
    ]
}
