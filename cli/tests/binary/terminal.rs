//! `dev` with a person in front of it: a real terminal, keys in, a screen out.

use std::fs;

use rustix::process::Signal;

use crate::{
    fixture::Places,
    provider::{Answer, Provider},
    pty::{CTRL_C, CTRL_D, ENTER, PASTE, PASTE_END, Terminal, UP},
};

/// As the line editor writes it; a quoted line of an answer begins with the mark too.
const PROMPT: &str = "\u{1b}[K> ";

#[test]
fn a_person_is_told_what_runs_and_chats_until_they_leave() {
    let places = Places::new();
    fs::write(places.workspace().join("heron.md"), "# Wading birds\n\nThe egret is white.\n").unwrap();
    let mut terminal = Terminal::start(&mut places.dev());

    terminal.wait_for("the built-in demo model answers.");
    terminal.wait_for("The agent may change files and run commands in");
    terminal.wait_for("chatplane listens on 127.0.0.1:");
    let token = fs::read_to_string(places.data().join("identity/user-token")).unwrap();
    terminal.wait_for(token.trim());
    terminal.wait_for("grpcurl -plaintext");
    terminal.wait_for(PROMPT);
    terminal.press(&format!("What is here?{ENTER}"));
    terminal.wait_for("→ list_dir");
    terminal.wait_for("egret");
    terminal.wait_for(PROMPT);
    terminal.press(&format!("And again?{ENTER}"));
    terminal.wait_for("You asked: \"And again?\"");
    terminal.wait_for("egret");
    terminal.wait_for(PROMPT);
    for (keys, question) in [
        (UP.to_owned(), "And again?"),
        (format!("{PASTE}the first,{ENTER}the second{PASTE_END}"), "the first, the second"),
        (format!("One line,\\{ENTER}and another."), "One line, and another."),
    ] {
        terminal.press(&format!("{keys}{ENTER}"));
        terminal.wait_for(&format!("You asked: \"{question}\""));
        terminal.wait_for(PROMPT);
    }
    terminal.press(&format!("/fly{ENTER}"));
    terminal.wait_for("There is no command /fly");
    terminal.wait_for(PROMPT);
    terminal.press(&format!("/help{ENTER}"));
    terminal.wait_for("/exit");
    terminal.wait_for(PROMPT);
    terminal.press(&format!("/new{ENTER}"));
    terminal.wait_for("begins a new chat");
    terminal.wait_for(PROMPT);
    terminal.press(&format!("What is here?{ENTER}"));
    terminal.wait_for("Let me see what is in this directory.");
    terminal.wait_for("egret");
    terminal.wait_for(PROMPT);
    terminal.press(CTRL_D);

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    assert!(terminal.is_as_it_was());
    places.wait_until_nothing_runs();
}

#[test]
fn the_first_ctrl_c_interrupts_a_turn_and_the_second_leaves() {
    let places = Places::new();
    let provider = Provider::start(|call, _| match call {
        0 | 2 => Answer::BeginToSay("Once upon a time"),
        _ => Answer::Say("The end."),
    });
    let mut dev = places.dev();
    dev.env("ANTHROPIC_API_KEY", "sk-any").env("ANTHROPIC_BASE_URL", provider.url());
    let mut terminal = Terminal::start(&mut dev);
    terminal.wait_for(PROMPT);

    terminal.press(&format!("Tell me a story.{ENTER}"));
    terminal.wait_for("Once upon a time");
    terminal.press(CTRL_C);
    terminal.wait_for("Interrupting the turn");
    terminal.wait_for("Interrupted.");
    terminal.wait_for(PROMPT);
    terminal.press(&format!("And its end?{ENTER}"));
    terminal.wait_for("The end.");
    terminal.wait_for(PROMPT);
    terminal.press(&format!("Another one.{ENTER}"));
    terminal.wait_for("Once upon a time");
    // Nobody hands in what there is, so the turn is still being interrupted when the second press comes.
    places.role("worker").signal(Signal::STOP);
    terminal.press(CTRL_C);
    terminal.wait_for("Interrupting the turn");
    terminal.press_until(CTRL_C, "Leaving.");

    assert_eq!(terminal.code(), Some(130), "{}", terminal.shown());
    assert!(terminal.is_as_it_was());
    places.wait_until_nothing_runs();
}

#[test]
fn at_the_prompt_ctrl_c_throws_a_line_away_then_hints_then_leaves() {
    let places = Places::new();
    let mut terminal = Terminal::start(&mut places.dev());
    terminal.wait_for(PROMPT);

    terminal.press("half a thought");
    terminal.wait_for("thought");
    terminal.press(CTRL_C);
    terminal.wait_for(PROMPT);
    terminal.press(CTRL_C);
    terminal.wait_for("Ctrl-C once more leaves");
    terminal.wait_for(PROMPT);
    terminal.press(CTRL_C);

    assert_eq!(terminal.code(), Some(130), "{}", terminal.shown());
    assert!(!terminal.shown().contains('→'), "something was sent");
    assert!(terminal.is_as_it_was());
    places.wait_until_nothing_runs();
}

#[test]
fn sigterm_in_the_middle_of_a_line_ends_in_order_and_leaves_the_terminal_as_it_was() {
    let places = Places::new();
    let mut terminal = Terminal::start(&mut places.dev());
    terminal.wait_for(PROMPT);

    terminal.press("half a thought");
    terminal.wait_for("thought");
    terminal.signal(Signal::TERM);

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    assert!(terminal.is_as_it_was());
    places.wait_until_nothing_runs();
}

#[test]
fn sigterm_during_a_turn_interrupts_it_and_nobody_goes_on_with_it() {
    let places = Places::new();
    let provider = Provider::start(|_, _| Answer::BeginToSay("Once upon a time"));
    let mut dev = places.dev();
    dev.env("ANTHROPIC_API_KEY", "sk-any").env("ANTHROPIC_BASE_URL", provider.url());
    let mut terminal = Terminal::start(&mut dev);
    terminal.wait_for(PROMPT);

    terminal.press(&format!("Tell me a story.{ENTER}"));
    terminal.wait_for("Once upon a time");
    terminal.signal(Signal::TERM);

    assert_eq!(terminal.code(), Some(130), "{}", terminal.shown());
    assert_eq!(provider.calls(), 1);
    places.wait_until_nothing_runs();
}

#[test]
fn a_failed_turn_is_told_and_the_next_message_may_be_sent() {
    let places = Places::new();
    let provider = Provider::start(|call, _| match call {
        0 => Answer::Refuse,
        _ => Answer::Say("\u{1b}]0;owned\u{7}Now it works.\u{1b}[2J"),
    });
    let mut dev = places.dev();
    dev.env("ANTHROPIC_API_KEY", "sk-any").env("ANTHROPIC_BASE_URL", provider.url());
    let mut terminal = Terminal::start(&mut dev);
    terminal.wait_for(PROMPT);

    terminal.press(&format!("Hello?{ENTER}"));
    terminal.wait_for("check ANTHROPIC_API_KEY");
    terminal.wait_for(PROMPT);
    terminal.press(&format!("Hello again?{ENTER}"));
    terminal.wait_for("Now it works.");
    terminal.wait_for(PROMPT);
    terminal.press(&format!("/exit{ENTER}"));

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    let shown = terminal.shown();
    assert!(!shown.contains("\u{1b}]0;") && !shown.contains("\u{1b}[2J"), "the model commanded: {shown:?}");
    places.wait_until_nothing_runs();
}
