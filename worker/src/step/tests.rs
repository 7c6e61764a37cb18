use bytes::Bytes;
use chatplane_domain::{ErrorKind, Usage};
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
        history.put(Message { id, hidden_from_model: false, content });
    }
    history
}

fn user(words: &str) -> Content {
    Content::User { texts: vec![words.to_owned()] }
}

fn assistant(parts: Vec<AnswerPart>) -> Content {
    Content::Assistant { parts }
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

    let next = next(&history, 200).unwrap();

    let messages = vec![PromptMessage::User { texts: vec!["hi".to_owned()] }];
    assert_eq!(next, Next::CallModel(Prompt { system: vec!["be brief".to_owned()], messages }));
}

#[test]
fn calls_without_results_run_and_calls_with_results_do_not() {
    let parts = vec![call("a"), text("and"), call("b"), call("c")];
    let history = history([user("hi"), assistant(parts), tool(vec![result(2, 1)])]);

    let next = next(&history, 200).unwrap();

    let Next::RunTools(calls) = next else { panic!("{next:?}") };
    let ids: Vec<(u32, &str)> = calls.iter().map(|call| (call.id.index, call.tool_name.as_str())).collect();
    assert_eq!(ids, [(0, "a"), (2, "c")]);
}

#[test]
fn the_model_reads_results_together_with_the_names_of_their_calls() {
    let history = history([user("hi"), assistant(vec![call("a")]), tool(vec![result(2, 0)])]);

    let next = next(&history, 200).unwrap();

    let Next::CallModel(prompt) = next else { panic!("{next:?}") };
    assert_eq!(
        prompt.messages[1..],
        [
            PromptMessage::Assistant { message_id: 2, parts: vec![call("a")] },
            PromptMessage::Tool { results: vec![result(2, 0)] },
        ]
    );
}

#[test]
fn what_only_users_see_stays_out_of_the_prompt() {
    let mut history = history([user("hi")]);
    history.put(Message { id: 2, hidden_from_model: true, content: assistant(vec![text("notice")]) });

    let next = next(&history, 200).unwrap();

    let Next::CallModel(prompt) = next else { panic!("{next:?}") };
    assert_eq!(prompt.messages.len(), 1);
}

#[test]
fn a_turn_that_has_used_its_model_calls_ends_with_a_typed_error() {
    let step = [assistant(vec![call("a")]), tool(vec![])];
    let mut contents = vec![user("before"), assistant(vec![text("done")]), user("hi")];
    for number in 0..3 {
        let id = contents.len() as i64 + 1;
        contents.extend(step.clone());
        *contents.last_mut().unwrap() = tool(vec![result(id, 0)]);
        let limited = next(&history(contents.clone()), 3);
        assert_eq!(limited.is_err(), number == 2, "after {} answers", number + 1);
    }

    let error = next(&history(contents), 3).unwrap_err();

    assert_eq!(error.kind, ErrorKind::TurnLimit);
    assert!(!error.retryable);
}

#[test]
fn open_calls_run_even_when_the_turn_has_no_model_calls_left() {
    let history = history([user("hi"), assistant(vec![call("a")])]);

    assert!(matches!(next(&history, 1), Ok(Next::RunTools(_))));
}

#[test]
fn an_answer_with_calls_continues_whatever_the_provider_says() {
    for reason in [StopReason::EndTurn, StopReason::ToolUse, StopReason::MaxTokens] {
        assert_eq!(after(&answer(vec![call("a")], reason)), After::Continue);
    }
}

#[test]
fn an_answer_without_calls_finishes_unless_the_provider_paused() {
    for reason in [StopReason::EndTurn, StopReason::ToolUse, StopReason::MaxTokens] {
        assert_eq!(after(&answer(vec![text("done")], reason)), After::Finish);
    }
    assert_eq!(after(&answer(vec![text("so far")], StopReason::PauseTurn)), After::Continue);
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

        match next(&history(contents), 200).unwrap() {
            Next::RunTools(calls) => {
                prop_assert_eq!(calls.into_iter().map(|call| call.id).collect::<Vec<_>>(), expected);
            }
            Next::CallModel(_) => prop_assert!(expected.is_empty()),
        }
    }

    #[test]
    fn a_truncated_history_holds_nothing_from_there_on(cut in 1_i64..8) {
        let mut history = history((0..6).map(|_| user("hi")));

        history.truncate(cut);

        prop_assert!(history.messages().all(|message| message.id < cut));
    }
}
