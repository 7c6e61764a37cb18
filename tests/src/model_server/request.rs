//! What the server was asked.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

/// How a worker's request for a title begins; `worker/src/jobs/title.rs` has the whole of it.
const TITLE_INSTRUCTION: &str = "You write titles for conversations.";
/// How a worker's request for a summary begins; `worker/src/step/compaction.rs` has the whole of it.
const SUMMARY_INSTRUCTION: &str = "Write a summary of this conversation.";

/// What a model is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The next answer of a turn.
    Turn,
    /// A title, by a job beside the turns.
    Title,
    /// A summary that takes the history's place.
    Summary,
}

/// One call of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Counts the server's calls from 0.
    pub number: usize,
    /// Method and path.
    pub target: String,
    /// Headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; null when it was no JSON.
    pub body: Value,
    /// The same as it came.
    pub bytes: Bytes,
}

impl Request {
    /// What the model is called for, as its instructions say.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        let asks_for_title = |text: &&str| text.starts_with(TITLE_INSTRUCTION);
        if self.system_texts().iter().any(asks_for_title) {
            Purpose::Title
        } else if self.last_user_text().starts_with(SUMMARY_INSTRUCTION) {
            Purpose::Summary
        } else {
            Purpose::Turn
        }
    }

    /// Instructions, in order.
    #[must_use]
    pub fn system_texts(&self) -> Vec<&str> {
        array(&self.body["system"]).iter().filter_map(|block| block["text"].as_str()).collect()
    }

    /// What a user said last; empty when nobody has.
    #[must_use]
    pub fn last_user_text(&self) -> &str {
        self.user_texts().last().copied().unwrap_or_default()
    }

    /// What a user said first; tells the chats of a test apart.
    #[must_use]
    pub fn first_user_text(&self) -> &str {
        self.user_texts().first().copied().unwrap_or_default()
    }

    /// All that users said, in order.
    #[must_use]
    pub fn user_texts(&self) -> Vec<&str> {
        let of_users = self.messages().iter().filter(|message| message["role"] == "user");
        let blocks = of_users.flat_map(|message| array(&message["content"]));
        blocks.filter_map(|block| block["text"].as_str()).collect()
    }

    /// Results that came with the last message: id of the call and what it wrote.
    #[must_use]
    pub fn new_tool_results(&self) -> Vec<(&str, &str)> {
        let last = self.messages().last().map_or(&[][..], |message| array(&message["content"]));
        let results = last.iter().filter(|block| block["type"] == "tool_result");
        results
            .map(|block| {
                let id = block["tool_use_id"].as_str().unwrap_or_default();
                (id, block["content"].as_str().unwrap_or_default())
            })
            .collect()
    }

    /// Whether a tool is on offer.
    #[must_use]
    pub fn has_tool(&self, name: &str) -> bool {
        array(&self.body["tools"]).iter().any(|tool| tool["name"] == name)
    }

    /// The conversation.
    #[must_use]
    pub fn messages(&self) -> &[Value] {
        array(&self.body["messages"])
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
