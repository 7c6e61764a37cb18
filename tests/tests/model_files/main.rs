//! What users attach reaches the model: as its provider wants it, to the byte, and the same
//! with every call.

mod anthropic;
mod bounds;
mod chat_completions;
mod crashes;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, eventually, file_part, model_server::Request, text};
use serde_json::Value;

/// What a file of words is cut to.
const SHOWN_BYTES: usize = 128 * 1024;

/// An image of one pixel, and every byte there is.
fn image() -> Vec<u8> {
    let mut image = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0".to_vec();
    image.extend(0..=u8::MAX);
    image
}

/// A PDF with every byte there is.
fn pdf() -> Vec<u8> {
    let mut pdf = b"%PDF-1.7\n".to_vec();
    pdf.extend(0..=u8::MAX);
    pdf.extend(b"\n%%EOF\n");
    pdf
}

/// A text that is longer than a model gets to see, and is cut in the middle of a character.
fn long_text() -> String {
    format!("{}é{}", "x".repeat(SHOWN_BYTES - 1), "y".repeat(1000))
}

/// What the model reads of it.
fn long_text_as_shown(name: &str) -> String {
    let bytes = long_text().len();
    let shown = SHOWN_BYTES - 1;
    format!(
        "<file name=\"{name}\" type=\"text/plain\" bytes=\"{bytes}\">\n{}\n[The file is cut here: these are the \
         first {shown} of its {bytes} bytes.]\n</file>",
        "x".repeat(shown)
    )
}

/// Everything that a user can attach.
async fn attachments(client: &mut Client) -> Vec<proto::Part> {
    let mut upload = async |name: &str, content: &[u8]| {
        file_part(&client.upload(name, content).await.expect("the file is stored"))
    };
    vec![
        text("Look at this."),
        upload("画像 \"a\".png", &image()).await,
        upload("b.pdf", &pdf()).await,
        upload("long.txt", long_text().as_bytes()).await,
        upload("data.json", b"{\"a\": [1]}\n").await,
        place(),
        comment(),
    ]
}

fn place() -> proto::Part {
    let place = proto::FileReferencePart {
        path: "src/main.rs".to_owned(),
        start_line: 3,
        end_line: 5,
        snippet: "fn main() {}\n".to_owned(),
    };
    proto::Part { kind: Some(proto::part::Kind::FileReference(place)) }
}

const PLACE_AS_SHOWN: &str =
    "<file_reference path=\"src/main.rs\" lines=\"3-5\">\nfn main() {}\n</file_reference>";

fn comment() -> proto::Part {
    let comment = proto::DiffCommentPart {
        path: "src/lib.rs".to_owned(),
        side: proto::DiffSide::Old.into(),
        start_line: 7,
        end_line: 0,
        text: "Why is this gone?".to_owned(),
    };
    proto::Part { kind: Some(proto::part::Kind::DiffComment(comment)) }
}

const COMMENT_AS_SHOWN: &str =
    "<diff_comment path=\"src/lib.rs\" side=\"old\" lines=\"7\">\nWhy is this gone?\n</diff_comment>";

const IMAGE_LABEL: &str = "<file name=\"画像 &quot;a&quot;.png\" type=\"image/png\" bytes=\"285\"/>";
const JSON_AS_SHOWN: &str =
    "<file name=\"data.json\" type=\"application/json\" bytes=\"11\">\n{\"a\": [1]}\n</file>";

async fn create(client: &mut Client, parts: Vec<proto::Part>) -> String {
    let request = proto::CreateChatRequest { parts, ..Default::default() };
    let created = client.chats.create_chat(request).await.expect("the chat is created");
    created.into_inner().chat.expect("a chat").chat_id
}

async fn at_rest(client: &mut Client, chat: &str) {
    eventually("the chat comes to rest", async || {
        let chat = client.chat(chat).await.ok()?;
        (chat.state() == proto::ChatState::Waiting).then_some(())
    })
    .await;
}

/// The bytes that stand for these in base64.
fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().expect("base64 is text")).expect("it is base64")
}

/// The messages of a call as they were sent, without the marks where the provider's cache ends,
/// which move.
fn messages_sent(request: &Request) -> String {
    let body = std::str::from_utf8(&request.bytes).expect("JSON is UTF-8");
    let body = body.replace(",\"cache_control\":{\"type\":\"ephemeral\"}", "");
    let messages = body.split_once("\"messages\":[").expect("a call has messages").1;
    let end = messages.rfind(']').expect("a list ends");
    // Other fields may follow, whose lists end later.
    let end = messages.find("],\"tools\":").unwrap_or(end);
    messages[..end].to_owned()
}
