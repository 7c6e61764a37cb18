//! `dev` with a person in front of it: a real terminal, keys in, a screen out.

use std::{fs, process::Command};

use chatplane_proto::chat::v1::{Chat, ChatState, ListChatsRequest, chat_service_client::ChatServiceClient};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    fixture::{Places, Running, finish, wait_until, with_token},
    provider::{Answer, Provider, last_words},
    pty::{CTRL_C, CTRL_D, CTRL_S, ENTER, PASTE, PASTE_END, Terminal, UP},
};

/// `dev` with this provider.
fn dev_with(places: &Places, provider: &Provider) -> Command {
    let mut dev = places.dev();
    dev.env("ANTHROPIC_API_KEY", "sk-any-key").env("ANTHROPIC_BASE_URL", provider.url());
    dev
}

/// Never comes to the end of a story.
fn storyteller() -> Provider {
    Provider::start(|_, request| match last_words(request).as_str() {
        "Tell me a story." => Answer::BeginToSay("Once upon a time"),
        _ => Answer::Say("Hello, you."),
    })
}

/// The next `dev` on the same data calls the provider once, for its own prompt.
fn require_that_nobody_goes_on(places: &Places, provider: &Provider) {
    places.wait_until_nothing_runs();
    let calls = provider.calls();
    let next = finish(dev_with(places, provider).args(["--prompt", "Hello?"]));
    assert_eq!(next.code, Some(0), "{next:?}");
    assert_eq!(provider.calls(), calls + 1, "the interrupted turn went on");
    places.wait_until_nothing_runs();
}

#[test]
fn a_person_is_told_what_runs_and_chats_until_they_leave() {
    for places in Places::of_each_user() {
        fs::write(places.workspace().join("heron.md"), "# Wading birds\n\nThe egret is white.\n").unwrap();
        let mut terminal = Terminal::start(&mut places.dev());

        terminal.wait_for("the built-in demo model answers.");
        terminal.wait_for("The agent may change files and run commands in");
        terminal.wait_for("chatplane listens on 127.0.0.1:");
        let token = fs::read_to_string(places.data().join("identity/user-token")).unwrap();
        terminal.wait_for(token.trim());
        terminal.wait_for("grpcurl -plaintext");
        terminal.wait_until_idle();
        terminal.press(&format!("What is here?{ENTER}"));
        terminal.wait_for("→ list_dir");
        terminal.wait_for("egret");
        terminal.wait_until_idle();
        terminal.press(&format!("And again?{ENTER}"));
        terminal.wait_for("You asked: \"And again?\"");
        terminal.wait_for("egret");
        terminal.wait_until_idle();
        for (keys, question) in [
            (UP.to_owned(), "And again?"),
            (format!("{PASTE}the first,{ENTER}the second{PASTE_END}"), "the first, the second"),
            (format!("One line,\\{ENTER}and another."), "One line, and another."),
        ] {
            terminal.press(&format!("{keys}{ENTER}"));
            terminal.wait_for(&format!("You asked: \"{question}\""));
            terminal.wait_until_idle();
        }
        terminal.press(&format!("/fly{ENTER}"));
        terminal.wait_for("There is no command /fly");
        terminal.wait_until_idle();
        terminal.press(&format!("/help{ENTER}"));
        terminal.wait_for("/exit");
        terminal.wait_until_idle();
        terminal.press(&format!("/new{ENTER}"));
        terminal.wait_for("begins a new chat");
        terminal.wait_until_idle();
        terminal.press(&format!("What is here?{ENTER}"));
        terminal.wait_for("Let me see what is in this directory.");
        terminal.wait_for("egret");
        terminal.wait_until_idle();
        terminal.press(CTRL_D);

        assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
        assert!(terminal.is_as_it_was());
        places.wait_until_nothing_runs();
    }
}

#[test]
fn the_first_ctrl_c_interrupts_a_turn_and_the_second_leaves() {
    let places = Places::new();
    let provider = Provider::start(|_, request| match last_words(request).as_str() {
        "Tell me a story." | "Another one." => Answer::BeginToSay("Once upon a time"),
        _ => Answer::Say("The end."),
    });
    let mut terminal = Terminal::start(&mut dev_with(&places, &provider));
    terminal.wait_until_idle();

    terminal.press(&format!("Tell me a story.{ENTER}"));
    terminal.wait_for("Once upon a time");
    terminal.press(CTRL_C);
    terminal.wait_for("Interrupting the turn");
    terminal.wait_for("Interrupted.");
    terminal.wait_until_idle();
    terminal.press(&format!("And its end?{ENTER}"));
    terminal.wait_for("The end.");
    terminal.wait_until_idle();
    terminal.press(&format!("Another one.{ENTER}"));
    terminal.wait_for("Once upon a time");
    // Nobody hands in what there is, so the turn is still being interrupted when the second press comes.
    places.role("worker").signal(Signal::STOP);
    terminal.press(CTRL_C);
    terminal.wait_for("Interrupting the turn");
    terminal.press_until(CTRL_C, "Leaving.");

    assert_eq!(terminal.code(), Some(130), "{}", terminal.shown());
    assert!(terminal.is_as_it_was());
    assert_eq!(provider.calls(), 3);
    require_that_nobody_goes_on(&places, &provider);
    places.wait_until_nothing_runs();
}

#[test]
fn at_the_prompt_ctrl_c_throws_a_line_away_then_hints_then_leaves() {
    let places = Places::new();
    let mut terminal = Terminal::start(&mut places.dev());
    terminal.wait_until_idle();

    terminal.press("half a thought");
    terminal.wait_for("thought");
    terminal.press(CTRL_C);
    terminal.wait_until_idle();
    terminal.press(CTRL_C);
    terminal.wait_for("Ctrl-C once more leaves");
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
    terminal.wait_until_idle();

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
    let provider = storyteller();
    let mut terminal = Terminal::start(&mut dev_with(&places, &provider));
    terminal.wait_until_idle();

    terminal.press(&format!("Tell me a story.{ENTER}"));
    terminal.wait_for("Once upon a time");
    terminal.signal(Signal::TERM);

    assert_eq!(terminal.code(), Some(130), "{}", terminal.shown());
    assert_eq!(provider.calls(), 1);
    require_that_nobody_goes_on(&places, &provider);
}

#[test]
fn a_turn_that_was_left_for_a_new_chat_is_stopped_with_everything_else() {
    let places = Places::new();
    let provider = storyteller();
    let mut terminal = Terminal::start(&mut dev_with(&places, &provider));
    terminal.wait_until_idle();

    terminal.press(&format!("Tell me a story.{ENTER}"));
    terminal.wait_for("Once upon a time");
    terminal.press(&format!("/new{ENTER}"));
    terminal.wait_for("begins a new chat");
    terminal.press(&format!("Hello?{ENTER}"));
    terminal.wait_for("Hello, you.");
    terminal.wait_until_idle();
    terminal.press(CTRL_D);

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    assert_eq!(provider.calls(), 2);
    require_that_nobody_goes_on(&places, &provider);
}

#[test]
fn a_message_that_may_have_arrived_when_its_person_leaves_is_stopped_too() {
    let places = Places::new();
    let provider = storyteller();
    let mut terminal = Terminal::start(&mut dev_with(&places, &provider));
    terminal.wait_until_idle();
    let serve = places.role("serve");

    serve.signal(Signal::STOP);
    terminal.press(&format!("Tell me a story.{ENTER}"));
    terminal.press_until(CTRL_C, "Leaving.");
    serve.signal(Signal::CONT);
    let code = terminal.code();
    places.wait_until_nothing_runs();
    let calls = provider.calls();
    let mut next = Running::start(&mut dev_with(&places, &provider));
    next.wait_for_line("CHAT_ID");

    assert_eq!(code, Some(130), "{}", terminal.shown());
    // Whether the first try has arrived or not, the chat is there and at rest.
    let said = next.said();
    let address = said.split("chatplane serves on ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let token = fs::read_to_string(places.data().join("identity/user-token")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut client = runtime.block_on(ChatServiceClient::connect(format!("http://{address}"))).unwrap();
    wait_until(|| {
        let request = with_token(ListChatsRequest::default(), token.trim());
        let chats = runtime.block_on(client.list_chats(request)).unwrap().into_inner().chats;
        let is_at_rest = |chat: &Chat| chat.state() == ChatState::Waiting;
        let is_so = matches!(chats.as_slice(), [listed] if listed.chat.as_ref().is_some_and(is_at_rest));
        is_so.then_some(()).ok_or_else(|| format!("{chats:?}"))
    });
    assert_eq!(provider.calls(), calls, "the turn went on");
}

#[test]
fn what_is_pasted_stays_as_it_is_and_what_is_typed_during_a_turn_waits_or_joins_it() {
    const PASTED: &str = "    cc a.c \\\n  -o a";
    let places = Places::new();
    let provider = Provider::start(|_, request| match last_words(request).as_str() {
        PASTED => Answer::Say("As it was pasted."),
        "Wait." => Answer::Call("execute", json!({"command": "until [ -e go ]; do sleep 0.05; done"})),
        // The model sees it with the result of its tool.
        "And hurry." => Answer::Say("It is over."),
        "And now?" => Answer::Say("The end."),
        _ => Answer::Say("Something else was sent."),
    });
    let mut terminal = Terminal::start(&mut dev_with(&places, &provider));
    terminal.wait_until_idle();

    terminal.press(&format!("{PASTE}{}{PASTE_END}{ENTER}", PASTED.replace('\n', ENTER)));
    terminal.wait_for("As it was pasted.");
    terminal.wait_until_idle();
    terminal.press(&format!("Wait.{ENTER}"));
    terminal.wait_for("→ execute");
    terminal.press(&format!("And now?{ENTER}"));
    terminal.wait_for("queued: And now?");
    terminal.press(&format!("And hurry.{CTRL_S}"));
    terminal.wait_for("joins the turn: And hurry.");
    fs::write(places.workspace().join("go"), "").unwrap();
    terminal.wait_for("It is over.");
    terminal.wait_for("The end.");
    terminal.wait_until_idle();
    let screen = terminal.screen();
    terminal.press(CTRL_D);

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    let place = |text: &str| screen.find(text).unwrap_or_else(|| panic!("no {text:?} in {screen}"));
    let places_of_all =
        ["> Wait.", "→ execute", "> And hurry.", "It is over.", "> And now?", "The end."].map(place);
    assert!(places_of_all.is_sorted(), "{screen}");
    assert!(!screen.contains("Something else was sent."), "{screen}");
    assert_eq!(screen.matches("It is over.").count(), 1, "{screen}");
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
    dev.env("ANTHROPIC_API_KEY", "sk-any-key").env("ANTHROPIC_BASE_URL", provider.url());
    let mut terminal = Terminal::start(&mut dev);
    terminal.wait_until_idle();

    terminal.press(&format!("Hello?{ENTER}"));
    terminal.wait_for("check ANTHROPIC_API_KEY");
    terminal.wait_until_idle();
    terminal.press(&format!("Hello again?{ENTER}"));
    terminal.wait_for("Now it works.");
    terminal.wait_until_idle();
    terminal.press(&format!("/exit{ENTER}"));

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    let shown = terminal.shown();
    assert!(!shown.contains("\u{1b}]0;") && !shown.contains("\u{1b}[2J"), "the model commanded: {shown:?}");
    places.wait_until_nothing_runs();
}
