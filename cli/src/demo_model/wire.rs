//! A reply as events of Anthropic's stream.

use serde_json::{Value, json};
use uuid::Uuid;

use super::reply::Block;

/// How many bytes a token has, about.
const TOKEN_BYTES: usize = 4;
/// Characters of a call's arguments in one event.
const ARGUMENT_CHARS: usize = 12;

/// One server-sent event.
pub(super) struct Event {
    pub(super) bytes: String,
    /// True for a piece of the answer, which takes time to write.
    pub(super) is_word: bool,
}

impl Event {
    fn new(data: &Value) -> Self {
        let name = data["type"].as_str().unwrap_or_default();
        Self { bytes: format!("event: {name}\ndata: {data}\n\n"), is_word: name == "content_block_delta" }
    }
}

/// The whole stream of a reply to a request of `request_bytes`.
pub(super) fn events(reply: &[Block], model: &str, request_bytes: usize) -> Vec<Event> {
    let has_calls = reply.iter().any(|block| matches!(block, Block::Call { .. }));
    let output_tokens = tokens(reply.iter().map(size).sum());
    let message = json!({
        "id": id("msg"), "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": {
            "input_tokens": tokens(request_bytes), "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "output_tokens": 1,
        },
    });
    let mut events = vec![
        Event::new(&json!({"type": "message_start", "message": message})),
        Event::new(&json!({"type": "ping"})),
    ];
    for (index, block) in reply.iter().enumerate() {
        events.extend(block_events(index, block));
    }
    let stop_reason = if has_calls { "tool_use" } else { "end_turn" };
    events.push(Event::new(&json!({
        "type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": null},
        "usage": {"output_tokens": output_tokens},
    })));
    events.push(Event::new(&json!({"type": "message_stop"})));
    events
}

fn block_events(index: usize, block: &Block) -> Vec<Event> {
    let (start, deltas): (Value, Vec<Value>) = match block {
        Block::Text(text) => {
            let delta = |word| json!({"type": "text_delta", "text": word});
            (json!({"type": "text", "text": ""}), text.split_inclusive(' ').map(delta).collect())
        }
        Block::Call { tool_name, input } => {
            let arguments: Vec<char> = input.to_string().chars().collect();
            let delta = |piece: &[char]| json!({"type": "input_json_delta", "partial_json": piece.iter().collect::<String>()});
            (
                json!({"type": "tool_use", "id": id("toolu"), "name": tool_name, "input": {}}),
                arguments.chunks(ARGUMENT_CHARS).map(delta).collect(),
            )
        }
    };
    let start = json!({"type": "content_block_start", "index": index, "content_block": start});
    let delta = |delta| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = json!({"type": "content_block_stop", "index": index});
    let all = std::iter::once(start).chain(deltas.into_iter().map(delta)).chain(std::iter::once(stop));
    all.map(|data| Event::new(&data)).collect()
}

/// An error as the provider writes it.
pub(super) fn error(error_type: &str, message: &str) -> String {
    json!({"type": "error", "error": {"type": error_type, "message": message}}).to_string()
}

fn id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::new_v4().simple())
}

fn size(block: &Block) -> usize {
    match block {
        Block::Text(text) => text.len(),
        Block::Call { tool_name, input } => tool_name.len() + input.to_string().len(),
    }
}

fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(TOKEN_BYTES)
}
