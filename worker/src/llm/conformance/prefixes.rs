//! What the steps of a turn send is the same to the byte as far as it goes, since providers
//! cache by prefixes; and whatever a summary or a cleared context leaves of a history is a
//! request that every provider accepts.

use chatplane_domain::{Usage, UserPart};
use serde_json::{Value, json};

use super::dialect::{DIALECTS, Dialect, MODEL, Piece, call, tool};
use crate::{
    files::{Contents, forms, pieces},
    llm::{Intake, ModelCall, ToolResult},
    step::{
        Compaction, Content, History, Instructions, Message, Next, PastAnswer, Prompt, Situation,
        SummaryPlan, next,
    },
};

/// An answer with thinking, words and a call, which has this id.
fn answer(dialect: &Dialect, id: &'static str) -> Content {
    let call = Piece::Call { id, tool_name: "list_dir", arguments: "{\"path\": \".\"}" };
    let parts = dialect.parts(MODEL, &[Piece::Thought, Piece::Text("I look."), call]);
    Content::Assistant(PastAnswer { parts, client_calls: Vec::new(), usage: Usage::default() })
}

fn result(call_message_id: i64) -> Content {
    let output = "a.txt".to_owned();
    Content::Tool { results: vec![ToolResult { call_message_id, call_index: 0, output, is_error: false }] }
}

fn words(text: &str) -> Content {
    Content::User { parts: vec![UserPart::Text(text.to_owned())] }
}

/// A step with thinking, words and a call, its result, and what a user put in meanwhile.
fn steered(dialect: &Dialect) -> History {
    let contents = [
        Content::System { texts: vec!["Be kind.".to_owned()] },
        words("What is there?"),
        answer(dialect, "call-1"),
        result(3),
        words("Rather above."),
    ];
    let mut history = History::default();
    for (id, content) in (1..).zip(contents) {
        history.put(Message::new(id, id, content));
    }
    history
}

fn decided(history: &History, is_requested: bool) -> Next {
    let compaction = Compaction {
        is_requested,
        threshold_percent: 70,
        context_tokens_max: 1000,
        may_begin: true,
        in_vain: None,
        is_refused: false,
        refused_through: None,
    };
    let instructions = Instructions { workspace_notice: "There is one.", user_instructions: "Be brief." };
    let situation = Situation { instructions, model_calls_max: 200, answers_summarized: 0, compaction };
    next(history, &situation).unwrap()
}

/// The turn's own call.
fn turn_call(history: &History) -> ModelCall {
    let Next::CallModel { prompt, beside: None } = decided(history, false) else { panic!() };
    call_with(prompt)
}

/// The call that asks for a summary.
fn summary_call(history: &History) -> ModelCall {
    let Next::Summarize(SummaryPlan { prompt, .. }) = decided(history, true) else { panic!() };
    call_with(prompt)
}

fn call_with(prompt: Prompt) -> ModelCall {
    ModelCall {
        system: prompt.system,
        messages: pieces(prompt.messages, forms(&[], &[], &Intake::WORDS), &Contents::new(), &Intake::WORDS),
        tools: ["list_dir", "ask_user"].map(tool).to_vec(),
        ..call("http://127.0.0.1:1")
    }
}

/// A request without the marks where the cache ends, which move.
fn body(dialect: &Dialect, call: &ModelCall) -> String {
    let body = dialect.body_to("http://127.0.0.1:1/v1", call);
    body.replace(",\"cache_control\":{\"type\":\"ephemeral\"}", "")
}

#[test]
fn a_summary_is_asked_for_with_the_bytes_of_the_turns_own_request() {
    for dialect in DIALECTS {
        let history = steered(&dialect);
        let (turn, asked) = (turn_call(&history), summary_call(&history));
        let (turn, asked) = (body(&dialect, &turn), body(&dialect, &asked));

        let (before, _) = asked.split_once("Write a summary").expect("the request of a summary");
        assert!(before.contains("a.txt") && before.contains("Be brief."), "{}: {before}", dialect.name);
        assert_eq!(before, turn.split_once("Rather above.").unwrap().0, "{}", dialect.name);
        let tools = |body: &str| {
            body[body.find("\"tools\":").unwrap()..].split("\"messages\"").next().map(str::to_owned)
        };
        assert_eq!(tools(&asked), tools(&turn), "{}", dialect.name);
    }
}

#[test]
fn what_a_user_puts_in_follows_the_results_within_the_users_turn() {
    for dialect in DIALECTS {
        let request = dialect.request(&turn_call(&steered(&dialect)));

        (dialect.validate)(&request);

        let messages = request["messages"].as_array().unwrap();
        let last = messages.last().unwrap();
        assert_eq!(last["role"], "user", "{}", dialect.name);
        let (result, words): (&Value, &Value) = match dialect.name {
            "anthropic" => (&last["content"][0]["content"], &last["content"][1]["text"]),
            _ => (&messages[messages.len() - 2]["content"], &last["content"]),
        };
        assert_eq!((result, words), (&json!("a.txt"), &json!("Rather above.")), "{}", dialect.name);
    }
}

#[test]
fn the_request_of_a_summary_is_one_that_every_provider_accepts() {
    for dialect in DIALECTS {
        let request = dialect.request(&summary_call(&steered(&dialect)));

        (dialect.validate)(&request);

        let last = request["messages"].as_array().unwrap().last().unwrap();
        let asks = |text: &Value| text.as_str().is_some_and(|text| text.starts_with("Write a summary"));
        match dialect.name {
            "anthropic" => {
                assert_eq!(last["content"][0]["content"], "a.txt", "the results come first");
                assert!(asks(&last["content"][1]["text"]), "{last}");
            }
            _ => assert!(asks(&last["content"]), "{last}"),
        }
    }
}

/// The history of `steered`, of which a summary covers everything before its step.
fn summarized_before_a_step(dialect: &Dialect) -> History {
    let mut history = steered(dialect);
    let summary = Message::new(6, 6, words("There was a question."));
    history.put(Message { covers_through: Some(2), ..summary });
    history
}

#[test]
fn a_step_right_after_a_summary_is_accepted_with_its_results_and_can_be_summarized_again() {
    for dialect in DIALECTS {
        let history = summarized_before_a_step(&dialect);
        let (turn, asked) = (dialect.request(&turn_call(&history)), dialect.request(&summary_call(&history)));

        (dialect.validate)(&turn);
        (dialect.validate)(&asked);

        for request in [turn, asked] {
            let messages = request["messages"].to_string();
            assert!(messages.contains("There was a question."), "{}: {messages}", dialect.name);
            assert!(!messages.contains("What is there?"), "{}: {messages}", dialect.name);
            let order = ["There was a question.", "I look.", "a.txt"];
            let places = order.map(|words| messages.find(words).unwrap());
            assert!(places.is_sorted(), "{}: {messages}", dialect.name);
        }
    }
}

#[test]
fn what_a_user_says_after_a_cleared_context_is_all_that_is_sent_of_the_conversation() {
    for dialect in DIALECTS {
        let mut history = steered(&dialect);
        let marker = Message::new(6, 6, answer(&dialect, "call-2"));
        history.put(Message { hidden_from_model: true, covers_through: Some(5), ..marker });
        let marker = Message::new(7, 6, result(6));
        history.put(Message { hidden_from_model: true, covers_through: Some(5), ..marker });
        history.put(Message::new(8, 8, words("Something else.")));
        let request = dialect.request(&turn_call(&history));

        (dialect.validate)(&request);

        let of_users = request["messages"].as_array().unwrap().iter().filter(|row| row["role"] != "system");
        let of_users: Vec<&Value> = of_users.collect();
        let [only] = of_users[..] else { panic!("{}: {of_users:?}", dialect.name) };
        let text = if dialect.name == "anthropic" { &only["content"][0]["text"] } else { &only["content"] };
        assert_eq!((&only["role"], text), (&json!("user"), &json!("Something else.")), "{}", dialect.name);
        assert!(request.to_string().contains("Be kind."), "{}: instructions stay", dialect.name);
    }
}
