//! The line that says what a turn came to.

use chatplane_domain::{
    Answer, AnswerContent, AnswerPart, BusyBehavior, CallKind, Chat, Command, ErrorKind, ExpireCause, Fence,
    HolderWrite, NextStep,
};

use crate::{
    fixtures::{accepted, answer, chat_error, expire, queued_id, send, step, write},
    states::{chat_in, push},
};

fn saying(texts: &[&str]) -> Answer {
    let part = |text: &&str| AnswerPart {
        content: AnswerContent::Text((*text).to_owned()),
        provider_state: Vec::new(),
    };
    let reasoning = AnswerPart {
        content: AnswerContent::Reasoning("let me think".to_owned()),
        provider_state: Vec::new(),
    };
    let parts = std::iter::once(reasoning).chain(texts.iter().map(part));
    Answer { parts: parts.collect(), ..answer(&[]) }
}

fn line_of(texts: &[&str]) -> String {
    let chat = chat_in("L0");
    let finished = accepted(&chat, write(&chat, step(Some(saying(texts)), NextStep::Finish)));
    finished.chat.last_turn_summary
}

#[test]
fn a_turn_is_summarized_by_the_first_line_of_its_answer_without_marks() {
    let lines = [
        ("All tests pass.", "All tests pass."),
        ("\n\n  Done.\nThen more.", "Done."),
        ("# Results #1", "Results #1"),
        ("> - [x] **Fixed** the _build_", "Fixed the build"),
        ("1. First", "First"),
        ("2) Second", "Second"),
        ("2.5 seconds", "2.5 seconds"),
        ("---\n***\n===\nAfter the rule", "After the rule"),
        ("```rust\nfn main() {}\n```", "fn main() {}"),
        ("| a | b |", "| a | b |"),
        ("|---|---|\nBelow", "Below"),
        ("See [the docs](https://example.org/a_b) now", "See the docs now"),
        ("![a chart](chart.png) of it", "a chart of it"),
        ("an [unfinished link", "an [unfinished link"),
        ("a[0](1) b[2] and [x", "a0 b[2] and [x"),
        ("use `snake_case` and `*p`", "use snake_case and *p"),
        ("snake_case stays, 2 * 3 too, 2*3 as well", "snake_case stays, 2 * 3 too, 2*3 as well"),
        ("__bold__ ~~gone~~ ~kept", "bold gone ~kept"),
        (r"a \*star\* in C:\dir", r"a *star* in C:\dir"),
        ("tab\tand\u{7}bell\0end", "tab and bell end"),
        ("👍", "👍"),
        ("#hashtag", "#hashtag"),
    ];

    for (text, line) in lines {
        assert_eq!(line_of(&[text]), line, "{text:?}");
    }
}

#[test]
fn an_answer_without_words_has_a_fixed_line() {
    for texts in [&[][..], &["", " \n "], &["---", "**", "```"]] {
        assert_eq!(line_of(texts), "Finished", "{texts:?}");
    }
    assert_eq!(line_of(&["", "later words"]), "later words");
}

#[test]
fn a_line_is_cut_at_120_characters() {
    let fits = "ä".repeat(120);
    let long = "ä".repeat(121);
    let huge = "word ".repeat(100_000);

    assert_eq!(line_of(&[&fits]), fits);
    assert_eq!(line_of(&[&long]), format!("{}…", "ä".repeat(119)));
    let cut = line_of(&[&huge]);
    assert!(cut.chars().count() <= 120 && cut.ends_with("word…"), "{cut}");
}

#[test]
fn brackets_without_end_are_read_once() {
    let line = line_of(&[&"[".repeat(1_000_000)]);

    assert_eq!(line, format!("{}…", "[".repeat(119)));
}

#[test]
fn the_line_is_that_of_the_turn_that_has_ended_last() {
    let mut chat = chat_in("L0");
    push(&mut chat, 1, true);
    let finish =
        |chat: &Chat, text| accepted(chat, write(chat, step(Some(saying(&[text])), NextStep::Finish))).chat;

    let steered = finish(&chat, "first");
    let ended = finish(&steered, "second");
    let next = accepted(&ended, send(5, BusyBehavior::Queue)).chat;

    assert_eq!(steered.last_turn_summary, chat.last_turn_summary, "steering extends the turn");
    assert_eq!((ended.last_turn_summary.as_str(), next.last_turn_summary.as_str()), ("second", "second"));
    assert_eq!(finish(&chat_in("L1"), "third").last_turn_summary, "third", "the next turn has begun");
}

#[test]
fn a_step_that_does_not_end_the_turn_leaves_the_line() {
    let chat = chat_in("L0");
    let steps = [
        step(Some(saying(&["on it"])), NextStep::Continue),
        step(Some(answer(&[CallKind::Client])), NextStep::Suspend),
    ];

    for step in steps {
        let stored =
            accepted(&Chat { last_turn_summary: "before".to_owned(), ..chat.clone() }, write(&chat, step));
        assert_eq!(stored.chat.last_turn_summary, "before");
    }
}

#[test]
fn a_turn_that_was_stopped_says_so() {
    let partial =
        || HolderWrite::FinishInterruption { partial: Some(saying(&["half"])), results: Vec::new() };
    let stops = [
        ("R0", Command::InterruptChat),
        ("S1", Command::InterruptChat),
        ("S0", send(5, BusyBehavior::Interrupt)),
        ("R1", send(5, BusyBehavior::Interrupt)),
        ("R1", Command::PromoteQueuedMessage(queued_id(1))),
        ("I0", write(&chat_in("I0"), partial())),
        ("I1", write(&chat_in("I1"), partial())),
        ("I0", write(&chat_in("I0"), step(Some(saying(&["whole"])), NextStep::Finish))),
        ("I1", write(&chat_in("I1"), HolderWrite::Release)),
        ("I0", expire(Fence(3), ExpireCause::SessionEnded)),
    ];

    for (state, command) in stops {
        let name = command.name();
        let stopped = accepted(&chat_in(state), command).chat;
        assert_eq!(stopped.last_turn_summary, "Interrupted", "{name} in {state}");
    }
}

#[test]
fn a_turn_that_failed_says_so_until_another_has_ended() {
    let fail = HolderWrite::Fail(chat_error(ErrorKind::Refused));

    let failed = accepted(&chat_in("L1"), write(&chat_in("L1"), fail)).chat;
    let promoted = accepted(&failed, Command::PromoteQueuedMessage(queued_id(1))).chat;
    let unusable = accepted(&chat_in("R0"), Command::FailRunnable(chat_error(ErrorKind::ModelUnusable))).chat;

    for chat in [failed, promoted, unusable] {
        assert_eq!(chat.last_turn_summary, "Stopped by an error");
    }
}
