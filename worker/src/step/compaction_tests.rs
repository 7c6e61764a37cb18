use bytes::Bytes;
use chatplane_domain::Usage;
use proptest::{collection::vec, prelude::*};

use super::super::{History, Next, Situation, next};
use super::*;
use crate::llm::{AnswerPart, StopReason, ToolResult};

/// Of a context of 1000 tokens.
const STATE: Compaction = Compaction {
    is_requested: false,
    threshold_percent: 70,
    context_tokens_max: 1000,
    may_begin: true,
    in_vain: None,
    is_refused: false,
    refused_through: None,
};

fn part(content: PartContent) -> AnswerPart {
    AnswerPart { content, provider_state: Bytes::new() }
}

fn text(words: &str) -> AnswerPart {
    part(PartContent::Text(words.to_owned()))
}

fn call() -> AnswerPart {
    part(PartContent::ToolCall { tool_name: "a".to_owned(), arguments_json: "{}".to_owned() })
}

fn used(tokens: i64) -> Usage {
    // Counted in three places, and what was written does not count.
    Usage {
        input_tokens: tokens - 2 * (tokens / 3),
        cache_read_tokens: tokens / 3,
        cache_write_tokens: tokens / 3,
        output_tokens: 1_000_000,
        ..Usage::default()
    }
}

fn user(words: &str) -> Content {
    Content::User { parts: vec![UserPart::Text(words.to_owned())] }
}

fn answer(parts: Vec<AnswerPart>, tokens: i64) -> Content {
    Content::Assistant(PastAnswer { parts, client_calls: Vec::new(), usage: used(tokens) })
}

fn said(tokens: i64) -> Content {
    answer(vec![text("said")], tokens)
}

fn results(call_message_id: i64, indexes: &[u32], output: &str) -> Content {
    let result = |index: &u32| ToolResult {
        call_message_id,
        call_index: *index,
        output: output.to_owned(),
        is_error: false,
    };
    Content::Tool { results: indexes.iter().map(result).collect() }
}

fn history(contents: impl IntoIterator<Item = Content>) -> History {
    let mut history = History::default();
    for (id, content) in (1..).zip(contents) {
        history.put(Message::new(id, id, content));
    }
    history
}

/// The rows of a boundary, as far as the model sees them.
fn summarized(history: &mut History, id: i64, revision: i64, covers_through: i64) {
    let summary = Message::new(id, revision, user("the summary"));
    history.put(Message { covers_through: Some(covers_through), ..summary });
}

fn due_in(history: &History, state: Compaction) -> Result<Due, ChatError> {
    due(&history.rows(), Instructions::default(), &state)
}

fn beside(history: &History) -> Option<SummaryPlan> {
    match due_in(history, STATE).unwrap() {
        Due::Beside(plan) => Some(plan),
        Due::No => None,
        Due::Now(plan) => panic!("{plan:?}"),
    }
}

fn covered_now(history: &History, state: Compaction) -> Option<i64> {
    match due_in(history, state) {
        Ok(Due::Now(plan)) => Some(plan.covers_through),
        Ok(Due::No) => None,
        other => panic!("{other:?}"),
    }
}

fn asked() -> Compaction {
    Compaction { is_requested: true, ..STATE }
}

#[test]
fn a_summary_begins_beside_the_turn_from_its_threshold_on() {
    let below = history([user("hi"), said(699), user("and")]);
    let at = history([user("hi"), said(700), user("and")]);

    assert_eq!(beside(&below), None);
    let plan = beside(&at).unwrap();
    assert_eq!((plan.covers_through, plan.context_tokens, plan.context_percent), (2, 700, 70));
    let busy = Compaction { may_begin: false, ..STATE };
    assert_eq!(due_in(&at, busy), Ok(Due::No), "one at a time");
}

#[test]
fn the_turn_waits_for_a_summary_at_the_hard_limit() {
    let below = history([user("hi"), said(949), user("and")]);
    let at = history([user("hi"), said(950), user("and")]);

    assert!(beside(&below).is_some());
    assert_eq!(covered_now(&at, STATE), Some(2));
    let later = Compaction { threshold_percent: 98, ..STATE };
    assert_eq!(covered_now(&at, later), None, "nobody waits below the threshold");
}

#[test]
fn a_threshold_of_100_leaves_the_history_alone_unless_somebody_asks() {
    let full = history([user("hi"), said(2000), user("and")]);
    let never = Compaction { threshold_percent: 100, ..STATE };

    assert_eq!(due_in(&full, never), Ok(Due::No));
    assert_eq!(covered_now(&full, Compaction { is_requested: true, ..never }), Some(2));
}

#[test]
fn a_context_of_unknown_size_is_never_full() {
    let full = history([user("hi"), said(2000), user("and")]);

    assert_eq!(due_in(&full, Compaction { context_tokens_max: 0, ..STATE }), Ok(Due::No));
}

#[test]
fn the_newest_count_decides_and_an_answer_without_one_does_not() {
    let grown = history([user("hi"), said(100), user("and"), said(800), user("so"), said(0), user("then")]);

    assert_eq!(beside(&grown).unwrap().context_tokens, 800);
}

#[test]
fn words_that_nobody_has_answered_stay_outside() {
    let contents = [user("hi"), said(1), user("one"), said(1), user("two"), user("three")];

    assert_eq!(covered_now(&history(contents), asked()), Some(4));
}

#[test]
fn a_step_is_covered_with_all_of_its_results() {
    let step = [user("hi"), answer(vec![call(), call()], 1), results(2, &[0], ""), results(2, &[1], "")];
    let in_the_middle = [&step[..], &[answer(vec![call()], 1)]].concat();

    assert_eq!(covered_now(&history(step.clone()), asked()), Some(4));
    let rows = history(in_the_middle);
    assert_eq!(cut(&rows.rows(), None), Some(4), "a call without its result is never covered");
    let half = history([&step[..3], &[user("stray")]].concat());
    assert_eq!(cut(&half.rows(), None), None);
}

#[test]
fn an_interrupted_answer_and_closed_calls_are_complete() {
    let contents = [user("hi"), answer(vec![text("half an ")], 1), user("go on"), answer(vec![call()], 1)];
    let closed = [&contents[..], &[results(4, &[0], "interrupted")]].concat();

    assert_eq!(covered_now(&history(contents[..2].to_vec()), asked()), Some(2));
    assert_eq!(covered_now(&history(closed), asked()), Some(5));
}

#[test]
fn what_was_asked_for_says_so_when_there_is_nothing_to_summarize() {
    let error = due_in(&history([user("hi")]), asked()).unwrap_err();

    assert_eq!(error.kind, ErrorKind::CompactionFailed);
    assert!(error.message.contains("nothing to summarize"), "{}", error.message);
}

#[test]
fn a_history_without_a_complete_step_is_sent_as_it_is() {
    assert_eq!(due_in(&history([user("hi")]), STATE), Ok(Due::No));
    let refused = Compaction { is_refused: true, ..STATE };
    assert_eq!(due_in(&history([user("hi")]), refused).unwrap_err().kind, ErrorKind::CompactionFailed);
}

#[test]
fn only_the_newest_boundary_counts_and_by_what_it_covers() {
    let mut history = history([user("one"), said(1), user("two"), said(1), user("three")]);
    summarized(&mut history, 20, 20, 2);
    summarized(&mut history, 10, 10, 4);

    let Ok(Next::CallModel { prompt, .. }) = next(&history, &situation(STATE)) else { panic!() };

    assert_eq!(cut(&history.rows(), None), None, "nothing after it is complete");
    let texts: Vec<_> = prompt.messages.iter().map(words).collect();
    assert_eq!(texts.len(), 2);
    assert!(texts[0].ends_with("the summary"), "{texts:?}");
    assert_eq!(texts[1], "three");
}

#[test]
fn a_cleared_context_has_no_summary_and_nothing_from_before() {
    let mut history = history([user("one"), said(1), user("two")]);
    let boundary = Message::new(9, 9, answer(vec![call()], 1));
    history.put(Message { hidden_from_model: true, covers_through: Some(2), ..boundary });

    let Ok(Next::CallModel { prompt, .. }) = next(&history, &situation(STATE)) else { panic!() };

    assert_eq!(prompt.messages, [PromptMessage::User { parts: vec![UserPart::Text("two".to_owned())] }]);
}

#[test]
fn system_rows_are_never_covered() {
    let mut history = history([Content::System { texts: vec!["be brief".to_owned()] }, user("hi"), said(1)]);
    summarized(&mut history, 4, 4, 3);

    let Ok(Next::CallModel { prompt, .. }) = next(&history, &situation(STATE)) else { panic!() };

    assert_eq!(prompt.system, ["be brief"]);
}

#[test]
fn an_answer_that_came_with_a_summary_counted_what_is_no_longer_there() {
    let mut history = history([user("hi"), said(900)]);
    summarized(&mut history, 3, 6, 2);
    history.put(Message::new(6, 6, answer(vec![call()], 990)));
    history.put(Message::new(7, 7, results(6, &[0], "")));

    assert_eq!(beside(&history), None);

    history.put(Message::new(8, 8, answer(vec![call()], 800)));
    history.put(Message::new(9, 9, results(8, &[0], "")));
    assert_eq!(beside(&history), None, "it is as full right after the summary");
    history.put(Message::new(10, 10, answer(vec![call()], 849)));
    history.put(Message::new(11, 11, results(10, &[0], "")));
    assert_eq!(beside(&history), None);
    history.put(Message::new(12, 12, answer(vec![call()], 850)));
    history.put(Message::new(13, 13, results(12, &[0], "")));
    assert_eq!(beside(&history).unwrap().covers_through, 13, "it has grown");
}

#[test]
fn a_context_that_is_full_even_when_summarized_is_left_to_the_provider() {
    let mut history = history([user("hi"), said(990)]);
    summarized(&mut history, 3, 3, 2);
    history.put(Message::new(6, 6, answer(vec![call()], 960)));
    history.put(Message::new(7, 7, results(6, &[0], "")));

    assert_eq!(due_in(&history, STATE), Ok(Due::No));
    assert_eq!(covered_now(&history, Compaction { is_refused: true, ..STATE }), Some(7));
}

#[test]
fn a_history_that_cannot_be_summarized_at_once_is_summarized_by_halves() {
    let long = "x".repeat(100);
    let step = |id| [answer(vec![call()], 1), results(id, &[0], &long)];
    let contents = [&[user("")][..], &step(2), &step(4), &step(6), &step(8)].concat();
    let history = history(contents);
    let covered = |refused_through| {
        let state = Compaction { is_refused: true, refused_through, ..STATE };
        due_in(&history, state).map(|due| match due {
            Due::Now(plan) => plan.covers_through,
            other => panic!("{other:?}"),
        })
    };

    assert_eq!(covered(None), Ok(9));
    assert_eq!(covered(Some(9)), Ok(5));
    assert_eq!(covered(Some(5)), Ok(3));
    assert_eq!(covered(Some(3)).unwrap_err().kind, ErrorKind::CompactionFailed);
}

#[test]
fn a_refused_history_is_summarized_where_that_can_help_and_told_where_not() {
    let refusal = ChatError { kind: ErrorKind::ContextLength, ..too_long() };
    let told = |history: &History, state: Compaction| refused(history, &state, refusal.clone());
    let long = history([user("hi"), said(1), user("and")]);
    let first = history([user("hi")]);
    let mut again = history([user("hi"), said(1), user("and")]);
    summarized(&mut again, 4, 4, 2);

    assert_eq!(told(&long, STATE), None);
    assert_eq!(told(&first, STATE), Some(refusal.clone()), "no summary could be tried");
    assert_eq!(told(&again, STATE).unwrap().kind, ErrorKind::CompactionFailed);
    let tried = Compaction { refused_through: Some(2), ..STATE };
    assert_eq!(told(&long, tried).unwrap().kind, ErrorKind::CompactionFailed, "a summary was tried");
    let never = Compaction { threshold_percent: 100, ..STATE };
    assert_eq!(told(&long, never), Some(refusal.clone()));
}

#[test]
fn a_turn_does_not_get_more_model_calls_by_being_summarized() {
    let mut history = history([user("hi"), answer(vec![call()], 1), results(2, &[0], "")]);
    history.put(Message::new(4, 4, answer(vec![call()], 1)));
    history.put(Message::new(5, 5, results(4, &[0], "")));

    let before = history.answers_covered(5, 0);
    assert_eq!(before, 2);
    assert_eq!(history.answers_covered(3, 0), 1);
    summarized(&mut history, 6, 6, 5);
    history.put(Message::new(9, 9, answer(vec![call()], 1)));
    history.put(Message::new(10, 10, results(9, &[0], "")));
    assert_eq!(history.answers_covered(10, before), 3);
    let situation = Situation { model_calls_max: 3, answers_summarized: before, ..situation(STATE) };
    assert_eq!(next(&history, &situation).unwrap_err().kind, ErrorKind::TurnLimit);

    history.put(Message::new(11, 11, user("go on")));
    assert!(matches!(next(&history, &situation), Ok(Next::CallModel { .. })));
    assert_eq!(history.answers_covered(10, before), 0);
}

#[test]
fn a_summary_is_the_words_of_its_answer() {
    let thought = part(PartContent::Reasoning("hm".to_owned()));
    let answer = |parts| Answer {
        parts,
        last_part_finished: true,
        usage: Usage::default(),
        stop_reason: Some(StopReason::ToolUse),
    };

    let words = summary_text(&answer(vec![thought.clone(), text(" one\n"), call(), text("  "), text("two")]));
    assert_eq!(words.unwrap(), "one\n\ntwo");

    for parts in [vec![], vec![thought], vec![text(" \n")], vec![call()]] {
        let failure = summary_text(&answer(parts)).unwrap_err();
        assert_eq!(failure.error.kind, ErrorKind::CompactionFailed);
        assert!(failure.error.retryable);
    }
    let cut_off = Answer { stop_reason: Some(StopReason::MaxTokens), ..answer(vec![text("one")]) };
    let failure = summary_text(&cut_off).unwrap_err();
    assert_eq!((failure.error.kind, failure.error.retryable), (ErrorKind::CompactionFailed, false));
    let long = "é".repeat(SUMMARY_BYTES_MAX);
    assert_eq!(summary_text(&answer(vec![text(&long)])).unwrap().len(), SUMMARY_BYTES_MAX);
}

fn situation(compaction: Compaction) -> Situation<'static> {
    let instructions = Instructions { workspace_notice: "", user_instructions: "" };
    Situation { instructions, model_calls_max: 200, answers_summarized: 0, compaction }
}

fn words(message: &PromptMessage<UserPart>) -> String {
    match message {
        PromptMessage::User { parts } => chatplane_domain::texts(parts).collect::<Vec<_>>().join("|"),
        other => panic!("{other:?}"),
    }
}

/// A history that the state machine can produce: users, answers, steps with results in as
/// many rows as they like, cut off anywhere.
fn any_history() -> impl Strategy<Value = History> {
    let piece = prop_oneof![Just(0_usize), Just(1), (1_usize..4).prop_map(|calls| calls + 1)];
    (vec(piece, 1..12), 0_usize..3, 0_i64..30).prop_map(|(pieces, lost, covered)| {
        let mut contents = vec![user("hi")];
        for piece in pieces {
            let id = contents.len() as i64 + 1;
            match piece {
                0 => contents.push(user("and")),
                1 => contents.push(said(990)),
                calls => {
                    contents.push(answer(vec![call(); calls], 990));
                    contents.extend((0..calls as u32).map(|index| results(id, &[index], "out")));
                }
            }
        }
        contents.truncate(contents.len().saturating_sub(lost).max(1));
        let mut history = history(contents);
        if let Some(end) = step_ends(&history.rows()).iter().rev().map(|end| end.id).find(|id| *id <= covered)
        {
            summarized(&mut history, 1000, 1000, end);
        }
        history
    })
}

proptest! {
    #[test]
    fn a_summary_never_parts_a_call_from_its_result_nor_covers_words_without_an_answer(history in any_history()) {
        let rows = history.rows();
        let Some(covers_through) = cut(&rows, None) else { return Ok(()) };

        let is_covered = |message: &&Message| message.id <= covers_through;
        let (covered, kept): (Vec<&Message>, Vec<&Message>) = rows.rest.iter().copied().partition(is_covered);

        let is_user = |message: &&Message| matches!(message.content, Content::User { .. });
        prop_assert!(covered.last().is_some_and(|last| !is_user(last)), "words without an answer are kept");
        let only = |rest: Vec<_>| Rows { system: vec![], summary: None, rest };
        prop_assert_eq!(only(covered).open_calls(), vec![]);
        // And there is no later place: what is kept are words alone, or a step that goes on.
        let has_only_words = kept.iter().all(is_user);
        prop_assert!(has_only_words || !only(kept).open_calls().is_empty());
    }

    #[test]
    fn what_a_summary_is_asked_with_is_a_prefix_of_the_turns_own_prompt(history in any_history()) {
        let rows = history.rows();
        let whole = prompt::build(&rows, Instructions::default());
        let Ok(Due::Now(plan)) = due(&rows, Instructions::default(), &asked()) else { return Ok(()) };

        let (request, prefix) = plan.prompt.messages.split_last().unwrap();

        prop_assert_eq!(&plan.prompt.system, &whole.system);
        prop_assert_eq!(prefix, &whole.messages[..prefix.len()]);
        prop_assert_eq!(request, &PromptMessage::User { parts: vec![UserPart::Text(REQUEST.to_owned())] });
    }

    #[test]
    fn whatever_is_refused_ever_less_is_covered_until_nothing_is(history in any_history()) {
        let rows = history.rows();
        let mut refused = None;
        let mut tries = 0;
        while let Some(covers_through) = cut(&rows, refused) {
            prop_assert!(refused.is_none_or(|refused| covers_through < refused));
            refused = Some(covers_through);
            tries += 1;
            prop_assert!(tries <= 40);
        }
    }
}

#[test]
fn a_summary_beside_the_turn_that_came_to_nothing_is_due_again_when_the_context_is_another() {
    let is_due = |tokens, in_vain| {
        let history = history([user("go"), said(tokens), user("on")]);
        let due = due_in(&history, Compaction { in_vain: Some(in_vain), ..STATE });
        matches!(due.unwrap(), Due::Beside(_))
    };
    let at_80 = InVain { context_percent: 80, summary: None };

    assert!(!is_due(800, at_80) && !is_due(849, at_80));
    assert!(is_due(850, at_80), "it has grown");
    assert!(is_due(790, at_80), "an edit, or a model with a larger context");
    assert!(is_due(800, InVain { summary: Some(2), ..at_80 }), "a boundary has gone");
    let full = history([user("go"), said(960), user("on")]);
    let at_96 = InVain { context_percent: 96, ..at_80 };
    let hard = due_in(&full, Compaction { in_vain: Some(at_96), ..STATE });
    assert!(matches!(hard.unwrap(), Due::Now(_)), "the turn waits all the same");
}
