//! Any history becomes a request that every provider accepts, whoever produced it.

use bytes::Bytes;
use chatplane_domain::Effort;
use proptest::prelude::*;
use serde_json::Value;

use super::dialect::{DIALECTS, Dialect, FILE, MODEL, Piece, call, tool};
use super::openai_rules::validate_own;
use crate::llm::{AnswerPart, Attachment, ModelCall, PartContent, PromptMessage, ToolResult, UserPiece};

fn any_text() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", " ", "\n\t", "word", "trailing \n", "\u{0}", "é\u{1f600}"])
}

fn any_call() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    let id = prop::sample::select(vec![
        "toolu_1",
        "toolu_2",
        "call_1_0",
        "bad id",
        "",
        "an-id-of-more-characters-than-every-provider-takes",
    ]);
    let name = prop::sample::select(vec!["list_dir", "no such/tool", "é"]);
    let arguments = prop::sample::select(vec![
        "{}",
        "{\"path\":\".\"}",
        "",
        "{\"path\":",
        "[1]",
        "7",
        "{\"a\":\"\\ud800\"}",
    ]);
    (id, name, arguments)
}

fn any_piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        Just(Piece::Thought),
        Just(Piece::DetailedThought),
        any_text().prop_map(Piece::Text),
        any_call().prop_map(|(id, tool_name, arguments)| Piece::Call { id, tool_name, arguments }),
    ]
}

/// An answer as a provider wrote it, perhaps cut by an interruption, perhaps by another
/// model than the one that goes on.
fn produced_parts() -> impl Strategy<Value = Vec<AnswerPart>> {
    let model = prop::sample::select(vec![MODEL, "another"]);
    let pieces = prop::collection::vec(any_piece(), 0..5);
    (prop::sample::select(&DIALECTS[..]), model, pieces, 0..6_usize).prop_map(
        |(dialect, model, pieces, cut)| {
            let mut parts = dialect.parts(model, &pieces);
            if cut < parts.len() {
                // Calls of an interrupted answer are left out, and what was last is not whole.
                parts.truncate(cut + 1);
                parts.retain(|part| !matches!(part.content, PartContent::ToolCall { .. }));
                if let Some(last) = parts.last_mut() {
                    last.provider_state = Bytes::new();
                }
            }
            parts
        },
    )
}

/// A part that nobody should have produced, with a state that nobody understands.
fn odd_part() -> impl Strategy<Value = AnswerPart> {
    let state = prop::sample::select(vec![&b""[..], b"\xFFforeign", b"{\"format\":\"other\"}"]);
    let content = prop_oneof![
        any_text().prop_map(|text| PartContent::Text(text.to_owned())),
        any_text().prop_map(|text| PartContent::Reasoning(text.to_owned())),
        (prop::sample::select(vec!["", "list_dir"]), any_call()).prop_map(|(name, (_, _, arguments))| {
            PartContent::ToolCall { tool_name: name.to_owned(), arguments_json: arguments.to_owned() }
        }),
    ];
    (content, state)
        .prop_map(|(content, state)| AnswerPart { content, provider_state: Bytes::from_static(state) })
}

/// A piece of what a user says.
fn any_said() -> impl Strategy<Value = UserPiece> {
    let file = |media_type: &str| Attachment {
        name: "a \"name\".x".to_owned(),
        media_type: media_type.to_owned(),
        data: Bytes::from_static(FILE),
    };
    prop_oneof![
        4 => any_text().prop_map(|text| UserPiece::Text(text.to_owned())),
        1 => Just(UserPiece::Image(file("image/png"))),
        1 => Just(UserPiece::Document(file("application/pdf"))),
    ]
}

/// Histories of any order, most of them no state machine would ever produce.
fn any_history() -> impl Strategy<Value = Vec<PromptMessage>> {
    let result = (0..8_i64, 0..3_u32, any_text(), any::<bool>()).prop_map(
        |(call_message_id, call_index, output, is_error)| ToolResult {
            call_message_id,
            call_index,
            output: output.to_owned(),
            is_error,
        },
    );
    let parts = prop_oneof![3 => produced_parts(), 1 => prop::collection::vec(odd_part(), 0..5)];
    let said = prop::collection::vec(any_said(), 0..3);
    let message = prop_oneof![
        said.prop_map(|parts| PromptMessage::User { parts }),
        parts.prop_map(|parts| PromptMessage::Assistant { message_id: 0, parts }),
        prop::collection::vec(result, 0..4).prop_map(|results| PromptMessage::Tool { results }),
    ];
    prop::collection::vec(message, 0..8).prop_map(|mut messages| {
        for (position, message) in messages.iter_mut().enumerate() {
            if let PromptMessage::Assistant { message_id, .. } = message {
                *message_id = i64::try_from(position).unwrap();
            }
        }
        messages
    })
}

fn call_with(messages: Vec<PromptMessage>) -> ModelCall {
    ModelCall {
        messages,
        system: ["Be kind.", " ", "Be brief."].map(str::to_owned).to_vec(),
        tools: ["list_dir", "read_file", "list_dir"].map(tool).to_vec(),
        ..call("http://127.0.0.1:1")
    }
}

/// The messages of a request, without the marks where the cache ends, which move.
fn messages(dialect: &Dialect, history: Vec<PromptMessage>) -> Vec<Value> {
    let mut request = dialect.request(&call_with(history));
    let messages = request["messages"].as_array_mut().unwrap();
    for block in messages.iter_mut().filter_map(|message| message["content"].as_array_mut()).flatten() {
        block.as_object_mut().unwrap().remove("cache_control");
    }
    std::mem::take(messages)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_history_becomes_a_request_that_every_provider_accepts(
        history in any_history(),
        with_tools in any::<bool>(),
        with_system in any::<bool>(),
    ) {
        let mut call = call_with(history);
        if !with_tools {
            call.tools.clear();
        }
        if !with_system {
            call.system.clear();
        }
        for dialect in DIALECTS {
            (dialect.validate)(&dialect.request(&call));
        }
    }

    #[test]
    fn openai_s_own_servers_accept_any_history_for_any_model_and_effort(
        history in any_history(),
        model in prop::sample::select(vec![MODEL, "gpt-4o", "o3", "gpt-5", "gpt-5.6"]),
        effort in prop::sample::select(vec![Effort::Unspecified, Effort::Low, Effort::Medium, Effort::High]),
        output_tokens_max in prop::sample::select(vec![0, 100, 50_000, i64::MAX]),
        with_tools in any::<bool>(),
    ) {
        let mut call = call_with(history);
        (call.provider_model, call.effort) = (model.to_owned(), effort);
        call.output_tokens_max = output_tokens_max;
        if !with_tools {
            call.tools.clear();
        }
        let openai = DIALECTS.iter().find(|dialect| dialect.name == "openai").unwrap();
        validate_own(&openai.request_to("https://api.openai.com/v1/chat/completions", &call));
    }

    #[test]
    fn what_was_sent_once_stays_a_prefix_of_what_is_sent_next(
        history in any_history(),
        parts in produced_parts(),
        said in any_text(),
    ) {
        let said = PromptMessage::User { parts: vec![UserPiece::Text(said.to_owned())] };
        for dialect in DIALECTS {
            let before = messages(&dialect, history.clone());
            let mut longer = history.clone();
            let message_id = i64::try_from(longer.len()).unwrap();
            // An answer of blanks is none, and what the user says then belongs to the words before.
            let mut parts = parts.clone();
            let content = PartContent::Text("an answer".to_owned());
            parts.push(AnswerPart { content, provider_state: Bytes::new() });
            longer.extend([PromptMessage::Assistant { message_id, parts }, said.clone()]);

            let after = messages(&dialect, longer);

            prop_assert_eq!(&after[..before.len()], &before[..], "{}", dialect.name);
        }
    }
}
