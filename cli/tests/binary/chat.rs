//! `chatplane chat`: a person who types while the agent works, with a control plane that runs elsewhere.

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    fixture::{finish, finish_with_input},
    provider::{Answer, Gate, Provider, last_words},
    pty::{ALT_ENTER, CTRL_C, CTRL_D, CTRL_S, ENTER, Terminal, UP},
    system::System,
};

const STORY: &str = "Tell me a story.";
const LIST: &str = "# Birds\n\n- the **heron**\n- the `egret`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n";

fn storyteller(gate: &Gate) -> Provider {
    let gate = gate.clone();
    Provider::start(move |_, request| match last_words(request).as_str() {
        STORY => Answer::SayInTwo("Once upon a time, ", "the end.", gate.clone()),
        "List them." => Answer::Say(LIST),
        "Fail." => Answer::Refuse,
        other if other.contains("Hurry.") => Answer::Say("I hurried."),
        _ => Answer::Say("Hello, **you**."),
    })
}

/// Whether these texts stand on the screen, one below the other, each once.
fn stand_in_order(screen: &str, texts: &[&str]) -> bool {
    let places: Vec<Option<usize>> = texts.iter().map(|text| screen.find(text)).collect();
    let is_once = |text: &&str| screen.matches(*text).count() == 1;
    places.iter().all(Option::is_some) && places.is_sorted() && texts.iter().all(is_once)
}

#[test]
fn markdown_is_rendered_and_the_chat_can_be_come_back_to() {
    let system = System::start(&storyteller(&Gate::default()));
    let mut first = Terminal::start(&mut system.client(&["chat"]));
    first.wait_until_idle();

    first.press(&format!("List them.{ENTER}"));
    first.wait_until_it_shows("the list", |screen| {
        stand_in_order(
            screen,
            &["> List them.", "Birds", "• the heron", "• the egret", "a │ b", "──┼──", "1 │ 2"],
        )
    });
    first.wait_until_idle();
    first.press(CTRL_D);
    first.wait_for("chatplane chat --chat ");
    let code = first.code();
    let shown = first.shown();
    let chat = shown.split("--chat ").last().unwrap().split('`').next().unwrap().to_owned();
    let mut second = Terminal::start(&mut system.client(&["chat", "--chat", &chat]));
    second.wait_until_it_shows("what was said", |screen| {
        stand_in_order(screen, &["> List them.", "Birds", "• the heron"])
    });
    second.press_until_it_shows(UP, |screen| screen.ends_with("\n> List them."));
    second.press(&format!(" Again.{ENTER}"));
    second.wait_for("you");
    second.wait_until_idle();
    second.press(&format!("/exit{ENTER}"));

    assert_eq!((code, second.code()), (Some(0), Some(0)), "{}", second.shown());
    assert!(first.is_as_it_was() && second.is_as_it_was());
    assert_eq!(system.texts_at_rest(&chat)[2], "List them. Again.", "the Up key brought it back");
}

#[test]
fn what_is_typed_while_the_agent_works_waits_joins_or_interrupts() {
    let gate = Gate::default();
    let system = System::start(&storyteller(&gate));
    let mut terminal = Terminal::start(&mut system.client(&["chat"]));
    terminal.wait_until_idle();

    terminal.press(&format!("{STORY}{ENTER}"));
    terminal.wait_until_it_shows("the beginning", |screen| {
        screen.contains("Once upon a time,") && screen.contains("The model writes")
    });
    terminal.press("Hel");
    terminal.wait_until_it_shows("keys", |screen| screen.contains("Enter queues, Ctrl-S steers"));
    terminal.press(&format!("lo?{ENTER}"));
    terminal.wait_until_it_shows("queued", |screen| screen.contains("queued: Hello?"));
    terminal.press(&format!("Hurry.{CTRL_S}"));
    terminal.wait_until_it_shows("steering", |screen| screen.contains("joins the turn: Hurry."));
    terminal.press(&format!("Hurry. Really.{ALT_ENTER}"));
    terminal.wait_until_it_shows("steering", |screen| screen.contains("joins the turn: Hurry. Really."));
    gate.open();
    terminal.wait_until_it_shows("all of it", |screen| {
        stand_in_order(
            screen,
            &[
                &format!("> {STORY}"),
                "Once upon a time, the end.",
                "> Hurry. Really.",
                "I hurried.",
                "> Hello?",
                "Hello, you.",
            ],
        )
    });
    terminal.wait_until_idle();
    terminal.press(CTRL_D);

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
}

#[test]
fn ctrl_c_interrupts_and_a_second_one_leaves_a_turn_that_goes_on() {
    let gate = Gate::default();
    let system = System::start(&storyteller(&gate));
    let mut terminal = Terminal::start(&mut system.client(&["chat"]));
    terminal.wait_until_idle();

    terminal.press(&format!("{STORY}{ENTER}"));
    terminal.wait_for("Once upon a time,");
    terminal.press(&format!("a draft{CTRL_C}"));
    terminal.wait_for("Interrupted. What was said so far is kept.");
    terminal.wait_until_it_shows("the draft", |screen| screen.ends_with("> a draft"));
    terminal.press(CTRL_C);
    terminal.wait_until_idle();
    terminal.press(&format!("{STORY}{ENTER}"));
    terminal.wait_until_it_shows("a second story", |screen| screen.matches("Once upon a time,").count() == 2);
    terminal.press(CTRL_D);
    terminal.wait_for("The turn goes on");
    gate.open();

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    let shown = terminal.shown();
    let chat = shown.split("--chat ").last().unwrap().split('`').next().unwrap();
    assert_eq!(
        system.texts_at_rest(chat),
        [STORY, "Once upon a time, ", STORY, "Once upon a time, the end."]
    );
    assert!(terminal.is_as_it_was());
}

#[test]
fn an_interrupt_lets_the_next_message_have_its_turn() {
    let system = System::start(&storyteller(&Gate::default()));
    let mut terminal = Terminal::start(&mut system.client(&["chat"]));
    terminal.wait_until_idle();

    terminal.press(&format!("{STORY}{ENTER}"));
    terminal.wait_for("Once upon a time,");
    terminal.press(&format!("Hello?{ENTER}"));
    terminal.wait_until_it_shows("queued", |screen| screen.contains("queued: Hello?"));
    terminal.press(CTRL_C);
    terminal.wait_until_it_shows("both turns", |screen| {
        let words =
            ["Once upon a time,", "Interrupting the turn", "Interrupted. What", "> Hello?", "Hello, you."];
        stand_in_order(screen, &words)
    });
    terminal.wait_until_idle();
    let screen = terminal.screen();
    terminal.press(CTRL_D);

    assert_eq!(screen.matches("Interrupted.").count(), 1, "{screen}");
    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
}

#[test]
fn a_control_plane_that_dies_is_told_and_nothing_is_lost_or_shown_twice() {
    let gate = Gate::default();
    let mut system = System::start(&storyteller(&gate));
    let mut terminal = Terminal::start(&mut system.client(&["chat"]));
    terminal.wait_until_idle();

    terminal.press(&format!("{STORY}{ENTER}"));
    terminal.wait_for("Once upon a time,");
    system.kill_serve();
    terminal.wait_for("The control plane does not answer");
    terminal.press(&format!("Hello?{ENTER}"));
    terminal.wait_until_it_shows("what is on its way", |screen| screen.contains("sending: Hello?"));
    system.serve();
    terminal.wait_for("The control plane answers again.");
    gate.open();
    terminal.wait_until_it_shows("all of it", |screen| {
        let words = ["Once upon a time,", "the end.", "> Hello?", "Hello, you."];
        stand_in_order(screen, &words)
    });
    terminal.wait_until_idle();
    terminal.signal(Signal::TERM);

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    assert!(terminal.is_as_it_was());
}

#[test]
fn a_failed_turn_and_a_refused_message_are_told() {
    let system = System::start(&storyteller(&Gate::default()));
    let mut terminal = Terminal::start(&mut system.client(&["chat", "--model", "no-such-model"]));
    terminal.wait_until_idle();
    terminal.press(&format!("Hello?{ENTER}"));
    terminal.wait_for("refused to create a chat");
    terminal.wait_until_idle();
    terminal.press(CTRL_D);
    let refused = terminal.code();

    let mut terminal = Terminal::start(&mut system.client(&["chat"]));
    terminal.wait_until_idle();
    terminal.press(&format!("Fail.{ENTER}"));
    terminal.wait_for("The chat ended in an error.");
    terminal.wait_for("The next message tries again.");
    terminal.wait_until_idle();
    terminal.press(&format!("Hello?{ENTER}"));
    terminal.wait_for("you");
    terminal.wait_until_idle();
    terminal.press(CTRL_D);

    assert_eq!((refused, terminal.code()), (Some(0), Some(0)), "{}", terminal.shown());
}

#[test]
fn without_a_terminal_every_line_is_a_message_and_all_are_answered() {
    let system = System::start(&storyteller(&Gate::default()));

    let text = finish_with_input(&mut system.client(&["chat"]), b"Hello?\n\nHurry.\n");
    let failed = finish_with_input(&mut system.client(&["chat"]), b"Fail.\n");
    let programs = finish_with_input(&mut system.client(&["chat", "--json"]), b"Hello?\n");
    let nothing = finish(&mut system.client(&["chat"]));

    assert_eq!((text.code, text.stdout.as_str()), (Some(0), "Hello, **you**.\nI hurried.\n"), "{text:?}");
    assert!(text.stderr.contains("> Hello?") && text.stderr.contains("> Hurry."), "{text:?}");
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let lines: Vec<Value> = programs.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["chat"]["chatId"].is_string()), "{programs:?}");
    assert!(lines.iter().any(|line| line["message"]["role"] == "ROLE_ASSISTANT"), "{programs:?}");
    assert_eq!((programs.code, nothing.code), (Some(0), Some(0)), "{programs:?} {nothing:?}");
}
