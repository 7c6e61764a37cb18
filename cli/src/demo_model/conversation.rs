//! What a request says, as far as the demo model cares.

use serde_json::Value;

/// A call of the current turn, with its result once it has one.
pub(super) struct Call<'a> {
    id: &'a str,
    pub(super) tool_name: &'a str,
    pub(super) input: &'a Value,
    pub(super) output: String,
    pub(super) is_error: bool,
}

/// A request. Whatever is missing or of another type is read as empty.
pub(super) struct Conversation<'a> {
    pub(super) model: &'a str,
    pub(super) tool_names: Vec<&'a str>,
    /// What a user said last, its pieces joined.
    pub(super) question: String,
    /// How often users have spoken.
    pub(super) questions: usize,
    /// Calls since a user last spoke.
    pub(super) calls: Vec<Call<'a>>,
}

impl<'a> Conversation<'a> {
    pub(super) fn read(request: &'a Value) -> Self {
        let mut conversation = Self {
            model: text(&request["model"]),
            tool_names: array(&request["tools"]).iter().map(|tool| text(&tool["name"])).collect(),
            question: String::new(),
            questions: 0,
            calls: Vec::new(),
        };
        for message in array(&request["messages"]) {
            conversation.message(message);
        }
        conversation
    }

    pub(super) fn has_tool(&self, name: &str) -> bool {
        self.tool_names.contains(&name)
    }

    fn message(&mut self, message: &'a Value) {
        if message["role"] == "user" {
            self.spoken(message);
        }
        for block in array(&message["content"]) {
            match text(&block["type"]) {
                "tool_use" => self.calls.push(Call {
                    id: text(&block["id"]),
                    tool_name: text(&block["name"]),
                    input: &block["input"],
                    output: String::new(),
                    is_error: false,
                }),
                "tool_result" => self.result(block),
                _ => {}
            }
        }
    }

    /// A user's message that says something begins a turn; one that only carries results does not.
    fn spoken(&mut self, message: &Value) {
        let texts: Vec<&str> = match &message["content"] {
            Value::String(text) => vec![text.as_str()],
            blocks => {
                let is_text = |block: &&Value| block["type"] == "text";
                array(blocks).iter().filter(is_text).map(|block| text(&block["text"])).collect()
            }
        };
        if !texts.is_empty() {
            self.question = texts.join(" ");
            self.questions += 1;
            self.calls.clear();
        }
    }

    fn result(&mut self, block: &Value) {
        let id = text(&block["tool_use_id"]);
        if let Some(call) = self.calls.iter_mut().find(|call| call.id == id) {
            call.output = output(&block["content"]);
            call.is_error = block["is_error"] == true;
        }
    }
}

/// A result is a text, or blocks of text.
fn output(content: &Value) -> String {
    match content {
        Value::String(output) => output.clone(),
        blocks => array(blocks).iter().map(|block| text(&block["text"])).collect(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
