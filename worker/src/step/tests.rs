use bytes::Bytes;
use chatplane_domain::{ErrorKind, Usage, UserPart};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    limits::{ANSWER_BYTES_MAX, ANSWER_PARTS_MAX},
    llm::{Answer, AnswerPart, PartContent, PromptMessage, StopReason, ToolResult},
};

fn text(text: &str) -> AnswerPart {
    AnswerPart { content: PartContent::Text(text.to_owned()), provider_state: Bytes::new() }
}

fn call(name: &str) -> AnswerPart {
    let content = PartContent::ToolCall { tool_name: name.to_owned(), arguments_json: "{}".to_owned() };
    AnswerPart { content, provider_state: Bytes::from_static(b"id") }
}

fn result(call_message_id: i64, call_index: u32) -> ToolResult {
    ToolResult { call_message_id, call_index, output: "out".to_owned(), is_error: false }
}

fn history(contents: impl IntoIterator<Item = Content>) -> History {
    let mut history = History::default();
    for (id, content) in (1..).zip(contents) {
        history.put(Message::new(id, id, content));
    }
    history
}

/// What comes next in a turn that nothing is special about.
fn next_of(history: &History, model_calls_max: usize) -> Result<Next, ChatError> {
    next(history, &situation(model_calls_max))
}

fn situation(model_calls_max: usize) -> Situation<'static> {
    let compaction = Compaction {
        is_requested: false,
        threshold_percent: 70,
        context_tokens_max: 1000,
        may_begin: true,
        in_vain: None,
        is_refused: false,
        refused_through: None,
    };
    let instructions = Instructions::default();
    Situation { instructions, model_calls_max, answers_summarized: 0, compaction }
}

fn prompt_of(history: &History) -> Prompt {
    match next_of(history, 200).unwrap() {
        Next::CallModel { prompt, .. } => prompt,
        next => panic!("{next:?}"),
    }
}

fn user(words: &str) -> Content {
    Content::User { parts: vec![UserPart::Text(words.to_owned())] }
}

fn assistant(parts: Vec<AnswerPart>) -> Content {
    Content::Assistant(PastAnswer { parts, client_calls: Vec::new(), usage: Usage::default() })
}

fn tool(results: Vec<ToolResult>) -> Content {
    Content::Tool { results }
}

fn answer(parts: Vec<AnswerPart>, stop_reason: StopReason) -> Answer {
    Answer { parts, last_part_finished: true, usage: Usage::default(), stop_reason: Some(stop_reason) }
}

#[test]
fn a_user_message_is_answered_under_the_instructions() {
    let history = history([Content::System { texts: vec!["be brief".to_owned()] }, user("hi")]);

    let messages = vec![PromptMessage::User { parts: vec![UserPart::Text("hi".to_owned())] }];
    let system = vec!["be brief".to_owned()];
    assert_eq!(prompt_of(&history), Prompt { system, messages, tip: 2, later_files: Vec::new() });
}

#[test]
fn calls_without_results_run_and_calls_with_results_do_not() {
    let parts = vec![call("a"), text("and"), call("b"), call("c")];
    let history = history([user("hi"), assistant(parts), tool(vec![result(2, 1)])]);

    let next = next_of(&history, 200).unwrap();

    let Next::RunTools(calls) = next else { panic!("{next:?}") };
    let ids: Vec<(u32, &str)> = calls.iter().map(|call| (call.id.index, call.tool_name.as_str())).collect();
    assert_eq!(ids, [(0, "a"), (2, "c")]);
}

#[test]
fn the_model_reads_results_together_with_the_names_of_their_calls() {
    let history = history([user("hi"), assistant(vec![call("a")]), tool(vec![result(2, 0)])]);

    assert_eq!(
        prompt_of(&history).messages[1..],
        [
            PromptMessage::Assistant { message_id: 2, parts: vec![call("a")] },
            PromptMessage::Tool { results: vec![result(2, 0)] },
        ]
    );
}

#[test]
fn what_only_users_see_stays_out_of_the_prompt() {
    let mut history = history([user("hi")]);
    let notice = Message::new(2, 2, assistant(vec![text("notice")]));
    history.put(Message { hidden_from_model: true, ..notice });

    assert_eq!(prompt_of(&history).messages.len(), 1);
}

#[test]
fn a_turn_that_has_used_its_model_calls_ends_with_a_typed_error() {
    let step = [assistant(vec![call("a")]), tool(vec![])];
    let mut contents = vec![user("before"), assistant(vec![text("done")]), user("hi")];
    for number in 0..3 {
        let id = contents.len() as i64 + 1;
        contents.extend(step.clone());
        *contents.last_mut().unwrap() = tool(vec![result(id, 0)]);
        let limited = next_of(&history(contents.clone()), 3);
        assert_eq!(limited.is_err(), number == 2, "after {} answers", number + 1);
    }

    let error = next_of(&history(contents), 3).unwrap_err();

    assert_eq!(error.kind, ErrorKind::TurnLimit);
    assert!(!error.retryable);
}

#[test]
fn open_calls_run_even_when_the_turn_has_no_model_calls_left() {
    let history = history([user("hi"), assistant(vec![call("a")])]);

    assert!(matches!(next_of(&history, 1), Ok(Next::RunTools(_))));
}

#[test]
fn system_rows_come_first_then_the_workspace_then_the_users_own_instructions() {
    let mut history = history([user("hi")]);
    history.put(Message::new(2, 2, Content::System { texts: vec!["of the chat".to_owned()] }));
    let instructions =
        Instructions { workspace_notice: "of the workspace", user_instructions: "of the user" };
    let with = |instructions| Situation { instructions, ..situation(200) };

    let Ok(Next::CallModel { prompt, .. }) = next(&history, &with(instructions)) else { panic!() };

    assert_eq!(prompt.system, ["of the chat", "of the workspace", "of the user"]);
    let instructions = Instructions { workspace_notice: "", ..instructions };
    let Ok(Next::CallModel { prompt, .. }) = next(&history, &with(instructions)) else { panic!() };
    assert_eq!(prompt.system, ["of the chat", "of the user"]);
}

#[test]
fn a_chat_waits_for_its_client_once_the_workers_own_calls_have_results() {
    let mixed = PastAnswer {
        parts: vec![call("ask"), call("list_dir")],
        client_calls: vec![0],
        usage: Usage::default(),
    };
    let open = history([user("hi"), Content::Assistant(mixed.clone())]);
    let waiting = history([user("hi"), Content::Assistant(mixed.clone()), tool(vec![result(2, 1)])]);
    let results = tool(vec![result(2, 0), result(2, 1)]);
    let settled = history([user("hi"), Content::Assistant(mixed), results]);

    let Next::RunTools(calls) = next_of(&open, 200).unwrap() else { panic!() };
    assert_eq!(calls.iter().map(|call| call.id.index).collect::<Vec<_>>(), [1]);
    assert_eq!(next_of(&waiting, 200), Ok(Next::Suspend));
    assert!(matches!(next_of(&settled, 200), Ok(Next::CallModel { .. })));
}

#[test]
fn words_that_a_user_put_in_follow_the_results_of_the_step() {
    let contents = [user("hi"), assistant(vec![call("a")]), tool(vec![result(2, 0)]), user("rather so")];

    let said = PromptMessage::User { parts: vec![UserPart::Text("rather so".to_owned())] };
    assert_eq!(
        prompt_of(&history(contents)).messages[2..],
        [PromptMessage::Tool { results: vec![result(2, 0)] }, said]
    );
}

#[test]
fn an_answer_with_the_clients_calls_alone_leaves_the_chat_to_the_client() {
    let mixed = answer(vec![call("ask"), text("and"), call("list_dir")], StopReason::ToolUse);
    let clients = answer(vec![text("well"), call("ask"), call("ask")], StopReason::ToolUse);

    assert_eq!(after(&mixed, &[0]), After::Continue);
    assert_eq!(after(&clients, &[0, 1]), After::Suspend);
}

#[test]
fn an_answer_with_calls_continues_whatever_the_provider_says() {
    for reason in [StopReason::EndTurn, StopReason::ToolUse, StopReason::MaxTokens] {
        assert_eq!(after(&answer(vec![call("a")], reason), &[]), After::Continue);
    }
}

#[test]
fn an_answer_without_calls_finishes_unless_the_provider_paused() {
    for reason in [StopReason::EndTurn, StopReason::ToolUse, StopReason::MaxTokens] {
        assert_eq!(after(&answer(vec![text("done")], reason), &[]), After::Finish);
    }
    assert_eq!(after(&answer(vec![text("so far")], StopReason::PauseTurn), &[]), After::Continue);
}

#[test]
fn an_answer_at_its_limits_is_kept_and_one_above_is_refused() {
    let half = "x".repeat(ANSWER_BYTES_MAX / 2);
    let at_limit = answer(vec![text(&half), text(&half)], StopReason::EndTurn);
    assert_eq!(check(&at_limit).unwrap().len(), 2);

    let above = answer(vec![text(&half), text(&half), text("x")], StopReason::EndTurn);
    assert_eq!(check(&above).unwrap_err().kind, ErrorKind::AnswerTooLarge);

    let many = answer(vec![text("x"); ANSWER_PARTS_MAX + 1], StopReason::EndTurn);
    assert_eq!(check(&many).unwrap_err().kind, ErrorKind::AnswerTooLarge);
}

#[test]
fn an_empty_answer_is_committed_as_one_empty_text() {
    assert_eq!(check(&answer(vec![], StopReason::EndTurn)).unwrap(), [text("")]);
}

#[test]
fn a_stopped_answer_keeps_its_words_and_leaves_its_calls() {
    let mut stopped =
        answer(vec![text("I will look"), call("a"), text(""), text("unfin")], StopReason::EndTurn);
    stopped.last_part_finished = false;
    stopped.stop_reason = None;

    assert_eq!(partial(&stopped), [text("I will look"), text("unfin")]);
}

proptest! {
    /// Whatever mixture of calls and results a history has, each call without a result
    /// runs exactly once, and the prompt is built only when there is none.
    #[test]
    fn every_call_without_a_result_is_open_exactly_once(
        steps in vec((1_usize..5, vec(any::<bool>(), 5)), 1..6)
    ) {
        let mut contents = vec![user("hi")];
        let mut expected = Vec::new();
        for (count, settled) in steps {
            let id = contents.len() as i64 + 1;
            contents.push(assistant(vec![call("a"); count]));
            let (done, open): (Vec<u32>, Vec<u32>) =
                (0..count as u32).partition(|index| settled[*index as usize]);
            contents.push(tool(done.into_iter().map(|index| result(id, index)).collect()));
            expected.extend(open.into_iter().map(|index| CallId { message_id: id, index }));
        }

        match next_of(&history(contents), 200).unwrap() {
            Next::RunTools(calls) => {
                prop_assert_eq!(calls.into_iter().map(|call| call.id).collect::<Vec<_>>(), expected);
            }
            Next::CallModel { .. } => prop_assert!(expected.is_empty()),
            next @ (Next::Summarize(_) | Next::Suspend) => prop_assert!(false, "{:?}", next),
        }
    }

    #[test]
    fn a_truncated_history_holds_nothing_from_there_on(cut in 1_i64..8) {
        let mut history = history((0..6).map(|_| user("hi")));

        history.truncate(cut);

        prop_assert!(history.rows().rest.iter().all(|message| message.id < cut));
    }
}
