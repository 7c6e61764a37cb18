//! `chatplane send`, `watch` and `interrupt`, with a control plane that may die in between.

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    fixture::{Running, finish, finish_with_input},
    provider::{Answer, Gate, Provider, last_words},
    pty::{CTRL_C, Terminal},
    system::System,
};

const STORY: &str = "Tell me a story.";

/// Tells a story whose end waits for the gate, and answers all else at once.
fn storyteller(gate: &Gate) -> Provider {
    let gate = gate.clone();
    Provider::start(move |_, request| match last_words(request).as_str() {
        STORY => Answer::SayInTwo("Once upon a time, ", "the end.", gate.clone()),
        "Fail." => Answer::Refuse,
        _ => Answer::Say("Hello, **you**."),
    })
}

fn lines(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The text of a chat's messages of this role, in JSON lines.
fn said(lines: &[Value], role: &str) -> Vec<String> {
    let messages = lines.iter().map(|line| &line["message"]).filter(|message| message["role"] == role);
    messages
        .map(|message| {
            let parts = message["parts"].as_array().cloned().unwrap_or_default();
            parts.iter().filter_map(|part| part["text"]["text"].as_str()).collect()
        })
        .collect()
}

fn run_in_terminal(command: &mut Command) -> (Option<i32>, String) {
    let mut terminal = Terminal::start(command);
    (terminal.code(), terminal.shown())
}

#[test]
fn an_answer_is_plain_in_a_pipe_and_rendered_on_a_terminal() {
    let system = System::start(&storyteller(&Gate::default()));

    let piped = finish(&mut system.client(&["send", "Hello?"]));
    let (code, shown) = run_in_terminal(&mut system.client(&["send", "Hello?"]));
    let (_, without_colour) = run_in_terminal(system.client(&["send", "Hello?"]).env("NO_COLOR", "1"));

    assert_eq!((piped.code, piped.stdout.as_str()), (Some(0), "Hello, **you**.\n"), "{piped:?}");
    assert!(piped.stderr.contains("chatplane chat --chat "), "{piped:?}");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("Hello, \u{1b}[1myou\u{1b}[0m."), "{shown:?}");
    assert!(without_colour.contains("Hello, **you**."), "{without_colour:?}");
}

#[test]
fn on_a_terminal_a_line_says_what_is_waited_for_and_goes_away() {
    let system = System::start(&Provider::start(|_, _| Answer::Nothing));
    let mut terminal = Terminal::start(&mut system.client(&["send", "Hello?"]));

    terminal.wait_until_it_shows("waiting", |screen| screen.starts_with("Waiting for the model … "));
    terminal.press(CTRL_C);
    terminal.wait_for("Interrupted.");

    assert_eq!(terminal.code(), Some(130), "{}", terminal.shown());
    assert!(!terminal.screen().contains("Waiting"), "{}", terminal.screen());
}

#[test]
fn a_message_goes_to_the_chat_that_is_named_and_may_come_from_standard_input() {
    let provider = Provider::start(|_, request| match request["messages"].as_array().map(Vec::len) {
        Some(1) => Answer::Say("first"),
        _ if last_words(request) == "one\ntwo\n" => Answer::Say("second"),
        _ => Answer::Say("something else"),
    });
    let system = System::start(&provider);
    let chat = system.chat("Hello?");
    system.texts_at_rest(&chat);

    let second = finish_with_input(&mut system.client(&["send", "--chat", &chat, "-"]), b"one\ntwo\n");
    let empty = finish_with_input(&mut system.client(&["send", "-"]), b" \n");
    let nowhere =
        finish(&mut system.client(&["send", "--chat", "0197f7a0-0000-7000-8000-000000000000", "x"]));

    assert_eq!((second.code, second.stdout.as_str()), (Some(0), "second\n"), "{second:?}");
    assert_eq!(system.texts_at_rest(&chat), ["Hello?", "first", "one\ntwo\n", "second"]);
    assert_eq!((empty.code, empty.stderr.contains("is empty")), (Some(2), true), "{empty:?}");
    assert_eq!(nowhere.code, Some(3), "{nowhere:?}");
    assert!(nowhere.stderr.contains("refused to watch the chat"), "{nowhere:?}");
}

#[test]
fn for_programs_every_line_is_an_object_of_the_contract() {
    let system = System::start(&storyteller(&Gate::default()));

    let sent = finish(&mut system.client(&["send", "--json", "Hello?"]));
    let sent_lines = lines(&sent.stdout);
    let chat = sent_lines[0]["chat"]["chatId"].as_str().unwrap_or_default().to_owned();
    let again = finish(&mut system.client(&["send", "--json", "--chat", &chat, "Again?"]));
    let again_lines = lines(&again.stdout);

    assert_eq!(sent.code, Some(0), "{sent:?}");
    // A number of 64 bits is a string.
    assert!(sent_lines[0]["message"]["messageId"].is_string(), "{sent:?}");
    assert!(sent_lines[1..].iter().all(|line| line["cursor"].is_string()), "{sent:?}");
    assert_eq!(said(&sent_lines, "ROLE_ASSISTANT"), ["Hello, **you**."]);
    let last = sent_lines.last().unwrap();
    assert_eq!(last["state"]["state"].as_str(), Some("CHAT_STATE_WAITING"), "{last}");
    let replies: Vec<&Value> = again_lines.iter().filter(|line| line["cursor"].is_null()).collect();
    assert_eq!(replies.len(), 1, "{again:?}");
    assert_eq!(replies[0]["messages"][0]["role"].as_str(), Some("ROLE_USER"), "{again:?}");
    assert_eq!(said(&again_lines, "ROLE_ASSISTANT"), ["Hello, **you**."], "not those of the turns before");
}

#[test]
fn without_waiting_the_new_chats_id_is_printed_alone() {
    let system = System::start(&storyteller(&Gate::default()));

    let run = finish(&mut system.client(&["send", "--no-wait", "Hello?"]));

    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.stdout.trim().len(), 36, "{run:?}");
    assert!(run.stderr.contains("chatplane watch --chat "), "{run:?}");
    assert_eq!(system.texts_at_rest(run.stdout.trim()), ["Hello?", "Hello, **you**."]);
}

#[test]
fn a_chat_in_error_ends_with_1_and_says_why() {
    let system = System::start(&storyteller(&Gate::default()));

    let run = finish(&mut system.client(&["send", "Fail."]));

    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("its operator has to check it"), "{run:?}");
    assert_eq!(run.stdout, "");
}

#[test]
fn an_answer_goes_on_without_loss_or_doubles_when_the_control_plane_dies_in_it() {
    let gate = Gate::default();
    let provider = storyteller(&gate);
    let mut system = System::start(&provider);
    let mut send = Running::start(&mut system.client(&["send", STORY]));
    send.wait_for_line("Once upon a time, ");

    system.kill_serve();
    send.wait_for_note("The control plane does not answer");
    system.serve();
    send.wait_for_note("The control plane answers again.");
    gate.open();
    let run = send.finish();

    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "Once upon a time, the end.\n"), "{run:?}");
    assert_eq!(provider.calls(), 1, "the worker kept its call");
}

#[test]
fn a_message_that_finds_no_control_plane_arrives_once_when_it_is_back() {
    let provider = storyteller(&Gate::default());
    let mut system = System::start(&provider);
    let chat = system.chat("Hello?");
    system.texts_at_rest(&chat);
    system.kill_serve();

    let mut send = Running::start(&mut system.client(&["send", "--chat", &chat, "Again?"]));
    send.wait_for_note("The control plane does not answer");
    system.serve();
    let run = send.finish();

    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "Hello, **you**.\n"), "{run:?}");
    assert_eq!(system.texts_at_rest(&chat), ["Hello?", "Hello, **you**.", "Again?", "Hello, **you**."]);
}

#[test]
fn ctrl_c_before_a_message_has_arrived_leaves_and_nothing_is_sent() {
    let provider = storyteller(&Gate::default());
    let mut system = System::start(&provider);
    let chat = system.chat("Hello?");
    system.texts_at_rest(&chat);
    system.kill_serve();

    for words in
        [&["send", "--chat", &chat, "Again?"] as &[&str], &["send", "--no-wait", "--chat", &chat, "x"]]
    {
        let mut send = Running::start(&mut system.client(words));
        send.wait_for_note("The control plane does not answer");
        send.signal(Signal::INT);
        let run = send.finish();
        assert_eq!(run.code, Some(130), "{run:?}");
    }
    system.serve();

    assert_eq!(system.texts_at_rest(&chat), ["Hello?", "Hello, **you**."]);
}

#[test]
fn a_queued_message_waits_for_its_turn_and_prints_its_own_answer() {
    let gate = Gate::default();
    let system = System::start(&storyteller(&gate));
    let chat = system.chat(STORY);
    let mut watch = Running::start(&mut system.client(&["watch", "--chat", &chat]));
    watch.wait_for_line("Once upon a time, ");

    let mut queued = Running::start(&mut system.client(&["send", "--json", "--chat", &chat, "Hello?"]));
    queued.wait_for_line("queuedMessage");
    gate.open();
    let run = queued.finish();

    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(
        system.texts_at_rest(&chat),
        [STORY, "Once upon a time, the end.", "Hello?", "Hello, **you**."]
    );
    let text = finish(&mut system.client(&["send", "--chat", &chat, "Hello?"]));
    assert_eq!(text.stdout, "Hello, **you**.\n", "{text:?}");
}

#[test]
fn a_message_may_stop_the_turn_that_runs() {
    let system = System::start(&storyteller(&Gate::default()));
    let chat = system.chat(STORY);
    let mut first = Running::start(&mut system.client(&["watch", "--chat", &chat]));
    first.wait_for_line("Once upon a time, ");

    let run = finish(&mut system.client(&["send", "--chat", &chat, "--busy", "interrupt", "Hello?"]));

    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "Hello, **you**.\n"), "{run:?}");
    assert_eq!(system.texts_at_rest(&chat), [STORY, "Once upon a time, ", "Hello?", "Hello, **you**."]);
}

#[test]
fn a_message_may_join_the_turn_that_runs() {
    let gate = Gate::default();
    let system = System::start(&storyteller(&gate));
    let chat = system.chat(STORY);
    let mut first = Running::start(&mut system.client(&["watch", "--chat", &chat]));
    first.wait_for_line("Once upon a time, ");

    let words = ["send", "--json", "--chat", &chat, "--busy", "steer", "Hello?"];
    let mut steer = Running::start(&mut system.client(&words));
    steer.wait_for_line("queuedMessage");
    gate.open();
    let run = steer.finish();

    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(said(&lines(&run.stdout), "ROLE_ASSISTANT").last().unwrap(), "Hello, **you**.");
    assert_eq!(
        system.texts_at_rest(&chat),
        [STORY, "Once upon a time, the end.", "Hello?", "Hello, **you**."]
    );
}

#[test]
fn ctrl_c_interrupts_the_turn_of_the_message_and_keeps_what_was_said() {
    let system = System::start(&storyteller(&Gate::default()));
    let mut send = Running::start(&mut system.client(&["send", "--json", STORY]));
    send.wait_for_line("partAppend");
    let chat = lines(&send.said())[0]["chat"]["chatId"].as_str().unwrap_or_default().to_owned();

    send.signal(Signal::INT);
    let run = send.finish();

    assert_eq!(run.code, Some(130), "{run:?}");
    assert!(run.stderr.contains("Interrupted. What was said so far is kept."), "{run:?}");
    assert_eq!(system.texts_at_rest(&chat), [STORY, "Once upon a time, "]);
}

#[test]
fn ctrl_c_takes_a_message_back_that_waits_and_sigterm_leaves_it() {
    let gate = Gate::default();
    let system = System::start(&storyteller(&gate));
    let chat = system.chat(STORY);
    let mut back = Running::start(&mut system.client(&["send", "--json", "--chat", &chat, "Not this."]));
    back.wait_for_line("queuedMessage");
    let mut left = Running::start(&mut system.client(&["send", "--json", "--chat", &chat, "Hello?"]));
    left.wait_for_line("queuedMessage");

    back.signal(Signal::INT);
    let back = back.finish();
    left.signal(Signal::TERM);
    let left = left.finish();
    gate.open();

    assert_eq!(back.code, Some(130), "{back:?}");
    assert!(back.stderr.contains("taken back"), "{back:?}");
    assert_eq!(left.code, Some(130), "{left:?}");
    assert_eq!(
        system.texts_at_rest(&chat),
        [STORY, "Once upon a time, the end.", "Hello?", "Hello, **you**."]
    );
}

#[test]
fn interrupt_stops_a_turn_that_somebody_else_waits_for() {
    let system = System::start(&storyteller(&Gate::default()));
    let mut send = Running::start(&mut system.client(&["send", "--json", STORY]));
    send.wait_for_line("partAppend");
    let chat = lines(&send.said())[0]["chat"]["chatId"].as_str().unwrap_or_default().to_owned();

    let interrupt = finish(&mut system.client(&["interrupt", "--json", "--chat", &chat]));
    let send = send.finish();
    let again = finish(&mut system.client(&["interrupt", "--chat", &chat]));

    assert_eq!(interrupt.code, Some(0), "{interrupt:?}");
    assert_eq!(lines(&interrupt.stdout)[0]["chat"]["state"].as_str(), Some("CHAT_STATE_INTERRUPTING"));
    assert_eq!(send.code, Some(1), "{send:?}");
    assert!(send.stderr.contains("Interrupted."), "{send:?}");
    assert_eq!(
        (again.code, again.stderr.as_str()),
        (Some(0), "Nothing runs in the chat now.\n"),
        "{again:?}"
    );
}

#[test]
fn watching_goes_on_over_a_restart_and_from_a_cursor() {
    let gate = Gate::default();
    let mut system = System::start(&storyteller(&gate));
    let chat = system.chat(STORY);
    let mut watch = Running::start(&mut system.client(&["watch", "--chat", &chat]));
    watch.wait_for_note(&format!("> {STORY}"));
    watch.wait_for_line("Once upon a time, ");
    let first = finish(&mut system.client(&["interrupt", "--chat", "0197f7a0-0000-7000-8000-000000000000"]));

    system.kill_serve();
    watch.wait_for_note("The control plane does not answer");
    system.serve();
    gate.open();
    watch.wait_for_line("Once upon a time, the end.\n");
    let mut programs = Running::start(&mut system.client(&["watch", "--json", "--chat", &chat]));
    programs.wait_for_line("CHAT_STATE_WAITING");
    programs.signal(Signal::INT);
    let programs = programs.finish();
    let seen = lines(&programs.stdout);
    let cursor = seen.last().unwrap()["cursor"].as_str().unwrap_or_default().to_owned();
    let second = finish(&mut system.client(&["send", "--chat", &chat, "Hello?"]));
    let mut later =
        Running::start(&mut system.client(&["watch", "--json", "--chat", &chat, "--cursor", &cursor]));
    later.wait_for_line("CHAT_STATE_WAITING");
    later.signal(Signal::TERM);
    let later = later.finish();
    watch.signal(Signal::INT);
    let watch = watch.finish();

    assert_eq!(first.code, Some(3), "{first:?}");
    assert_eq!(second.code, Some(0), "{second:?}");
    assert_eq!(watch.code, Some(130), "{watch:?}");
    assert_eq!(watch.stdout, "Once upon a time, the end.\nHello, **you**.\n", "{watch:?}");
    assert_eq!(said(&seen, "ROLE_ASSISTANT"), ["Once upon a time, the end."]);
    assert_eq!(said(&lines(&later.stdout), "ROLE_ASSISTANT"), ["Hello, **you**."], "only what is newer");
    assert_eq!(later.code, Some(130), "{later:?}");
}

#[test]
fn a_tool_of_a_client_is_told_with_what_to_do() {
    let provider = Provider::start(|_, _| Answer::Call("read_calendar", json!({"day": "today"})));
    let system = System::start(&provider);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let chat = runtime.block_on(async {
        use chatplane_proto::chat::v1::{
            CreateChatRequest, Part, TextPart, ToolDefinition, chat_service_client::ChatServiceClient, part,
        };
        let mut client = ChatServiceClient::connect(system.url()).await.unwrap();
        let tool = ToolDefinition {
            name: "read_calendar".to_owned(),
            description: "Reads the calendar.".to_owned(),
            input_schema_json: r#"{"type":"object"}"#.to_owned(),
        };
        let text = TextPart { text: "What is on?".to_owned() };
        let request = CreateChatRequest {
            parts: vec![Part { kind: Some(part::Kind::Text(text)) }],
            client_tools: vec![tool],
            ..Default::default()
        };
        let reply = client.create_chat(crate::fixture::with_token(request, &system.token)).await.unwrap();
        reply.into_inner().chat.unwrap().chat_id
    });

    let mut watch = Running::start(&mut system.client(&["watch", "--chat", &chat]));
    watch.wait_for_note("→ read_calendar");
    watch.wait_for_note("  read_calendar (message_id ");
    watch.wait_for_note("SubmitToolResults within");
    watch.signal(Signal::INT);
    let stopped = finish(&mut system.client(&["interrupt", "--chat", &chat]));

    assert_eq!(watch.finish().code, Some(130));
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
}
