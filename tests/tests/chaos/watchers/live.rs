//! What is shown live is the beginning of what was sent, byte for byte.

use chatplane_proto::chat::v1::{
    CallId, PartKind, WatchChatResponse, part::Kind, watch_chat_response::Event,
};
use chatplane_tests::{
    fold::{Fold, Preview, PreviewPart, Violation},
    model_server::{self, ModelServer},
};

use crate::model;

/// An answer's first delta has its number, and nothing shows less than a delta.
const NUMBER_BYTES_MAX: usize = 24;

/// Holds the stream that has just grown against the model server's journal, or against what
/// its tool writes.
pub(super) fn check(model: &ModelServer, fold: &Fold, event: &WatchChatResponse) -> Result<(), Violation> {
    let Some(Event::PartAppend(append)) = &event.event else { return Ok(()) };
    let stream = append.stream.ok_or("an append has no stream")?;
    let preview = fold.previews.get(&(stream.base_version, stream.index)).ok_or("it is not shown")?;
    match preview.call {
        Some(call) => check_output(fold, call, preview),
        None => check_answer(model, preview),
    }
}

fn check_answer(model: &ModelServer, preview: &Preview) -> Result<(), Violation> {
    let (Some(first), Some(last)) = (preview.parts.first(), preview.parts.last()) else { return Ok(()) };
    let said = String::from_utf8_lossy(&first.bytes);
    let Some(number) = model::number_of(&said) else {
        if first.bytes.len() < NUMBER_BYTES_MAX && preview.parts.len() == 1 {
            return Ok(());
        }
        return Err(format!("an answer begins without its number: {said:?}"));
    };
    let place = preview.parts.len() - 1;
    let sent = model.part(number, place).ok_or_else(|| format!("call {number} has no part {place}"))?;
    if !is_same_kind(&sent.kind, last) {
        return Err(format!("part {place} of call {number} was {:?}, and {last:?} is shown", sent.kind));
    }
    if !sent.sent.as_bytes().starts_with(&last.bytes) {
        let shown = String::from_utf8_lossy(&last.bytes);
        return Err(format!("part {place} of call {number} was {:?}, and {shown:?} is shown", sent.sent));
    }
    Ok(())
}

fn is_same_kind(sent: &model_server::PartKind, shown: &PreviewPart) -> bool {
    match sent {
        model_server::PartKind::Text => shown.kind == PartKind::Text,
        model_server::PartKind::Reasoning => shown.kind == PartKind::Reasoning,
        model_server::PartKind::ToolCall { tool_name } => {
            shown.kind == PartKind::ToolCall && *tool_name == shown.tool_name
        }
    }
}

/// What a call shows is the beginning of what its command writes.
fn check_output(fold: &Fold, call: CallId, preview: &Preview) -> Result<(), Violation> {
    let Some(message) = fold.durable.messages.get(&call.message_id) else { return Ok(()) };
    let arguments = message.parts.iter().find_map(|part| match &part.kind {
        Some(Kind::ToolCall(made)) if made.call_index == call.call_index => Some(&made.arguments_json),
        _ => None,
    });
    let arguments = arguments.ok_or_else(|| format!("{call:?} is none of its message"))?;
    let marker = model::marker_of(arguments).ok_or_else(|| format!("{call:?} runs something else"))?;
    let shown: Vec<u8> = preview.parts.iter().flat_map(|part| part.bytes.clone()).collect();
    if !model::output_of(&marker).as_bytes().starts_with(&shown) {
        return Err(format!("{call:?} with marker {marker} shows {:?}", String::from_utf8_lossy(&shown)));
    }
    Ok(())
}
