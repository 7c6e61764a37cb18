//! `chatplane fork`, `compact` and `clear`.

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    fixture::{Running, finish, wait_until},
    provider::{Answer, Provider, last_words},
    pty::{CTRL_D, ENTER, Terminal},
    system::System,
};

/// Summarizes when it is asked to, and else says what it sees.
fn counter() -> Provider {
    Provider::start(|_, request| {
        if last_words(request).contains("do not call tools") {
            return Answer::Say("All was **said**.");
        }
        let messages = request["messages"].to_string();
        match request["messages"].as_array().map(Vec::len) {
            _ if messages.contains("All was") && !messages.contains("Hello?") => {
                Answer::Say("I see a summary.")
            }
            Some(1) => Answer::Say("I see one."),
            Some(3) => Answer::Say("I see three."),
            _ => Answer::Say("I see many."),
        }
    })
}

fn chat_at_rest(system: &System) -> String {
    let chat = system.chat("Hello?");
    assert_eq!(system.texts_at_rest(&chat), ["Hello?", "I see one."]);
    chat
}

#[test]
fn a_copy_has_its_own_life_and_its_id_is_printed_alone() {
    let system = System::start(&counter());
    let chat = chat_at_rest(&system);

    let fork = finish(&mut system.client(&["fork", "--chat", &chat]));
    let copy = fork.stdout.trim().to_owned();
    let sent = finish(&mut system.client(&["send", "--chat", &copy, "Again?"]));
    let json = finish(&mut system.client(&["fork", "--json", "--chat", &chat, "--message", "2"]));
    let line: Value = serde_json::from_str(&json.stdout).unwrap();
    let short = line["chat"]["chatId"].as_str().unwrap_or_default().to_owned();
    let nothing = finish(&mut system.client(&["fork", "--chat", &chat, "--message", "99"]));

    assert_eq!((fork.code, copy.len()), (Some(0), 36), "{fork:?}");
    assert!(fork.stderr.contains(&format!("chatplane chat --chat {copy}")), "{fork:?}");
    assert_eq!((sent.code, sent.stdout.as_str()), (Some(0), "I see three.\n"), "{sent:?}");
    assert_eq!(system.texts_at_rest(&chat), ["Hello?", "I see one."]);
    assert_eq!(system.texts_at_rest(&copy), ["Hello?", "I see one.", "Again?", "I see three."]);
    assert_eq!(system.texts_at_rest(&short), ["Hello?"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(3), ""), "{nothing:?}");
}

#[test]
fn a_summary_is_waited_for_and_printed_and_takes_the_place_of_what_was_said() {
    let system = System::start(&counter());
    let chat = chat_at_rest(&system);

    let compact = finish(&mut system.client(&["compact", "--chat", &chat]));
    let again = finish(&mut system.client(&["compact", "--chat", &chat]));
    let sent = finish(&mut system.client(&["send", "--chat", &chat, "Again?"]));
    let json = finish(&mut system.client(&["compact", "--json", "--chat", &chat]));

    assert_eq!((compact.code, compact.stdout.as_str()), (Some(0), "All was **said**.\n"), "{compact:?}");
    assert!(compact.stderr.contains("was summarized"), "{compact:?}");
    assert_eq!(again.code, Some(3), "{again:?}");
    assert!(again.stderr.contains("refused to summarize the chat"), "{again:?}");
    assert_eq!((sent.code, sent.stdout.as_str()), (Some(0), "I see a summary.\n"), "{sent:?}");
    assert_eq!(json.code, Some(0), "{json:?}");
    let is_reply = |line: &&str| line.contains("compactRequested") && !line.contains("cursor");
    assert_eq!(json.stdout.lines().filter(is_reply).count(), 1, "{json:?}");
}

#[test]
fn ctrl_c_stops_a_summary_that_was_begun() {
    let provider = Provider::start(|_, request| match last_words(request).as_str() {
        "Hello?" => Answer::Say("I see one."),
        _ => Answer::Nothing,
    });
    let system = System::start(&provider);
    let chat = chat_at_rest(&system);
    let mut compact = Running::start(&mut system.client(&["compact", "--json", "--chat", &chat]));
    compact.wait_for_line("compactRequested\":true");

    compact.signal(Signal::INT);
    let run = compact.finish();

    assert_eq!(run.code, Some(130), "{run:?}");
    assert_eq!(system.texts_at_rest(&chat), ["Hello?", "I see one."]);
}

#[test]
fn ctrl_c_before_a_summary_was_asked_for_leaves_at_once_and_asks_for_nothing() {
    let mut system = System::start(&counter());
    let chat = chat_at_rest(&system);
    system.kill_serve();

    for words in [&["compact", "--chat", &chat] as &[&str], &["compact", "--no-wait", "--chat", &chat]] {
        let mut compact = Running::start(&mut system.client(words));
        compact.wait_for_note("The control plane does not answer");
        compact.signal(Signal::INT);
        let run = compact.finish();
        assert_eq!((run.code, run.stdout.as_str()), (Some(130), ""), "{run:?}");
    }
    system.serve();

    assert_eq!(system.texts_at_rest(&chat), ["Hello?", "I see one."]);
}

#[test]
fn a_cleared_context_is_readable_and_the_model_begins_anew() {
    let system = System::start(&counter());
    let chat = chat_at_rest(&system);

    let clear = finish(&mut system.client(&["clear", "--chat", &chat]));
    let again = finish(&mut system.client(&["clear", "--json", "--chat", &chat]));
    let sent = finish(&mut system.client(&["send", "--chat", &chat, "Again?"]));

    assert_eq!((clear.code, clear.stdout.as_str()), (Some(0), ""), "{clear:?}");
    assert!(clear.stderr.contains("The context is clear"), "{clear:?}");
    assert_eq!(again.code, Some(3), "{again:?}");
    assert_eq!((sent.code, sent.stdout.as_str()), (Some(0), "I see one.\n"), "{sent:?}");
    let texts = system.texts_at_rest(&chat);
    assert_eq!([texts[0].as_str(), texts[texts.len() - 1].as_str()], ["Hello?", "I see one."], "{texts:?}");
}

#[test]
fn in_a_chat_the_same_is_a_word_with_a_slash() {
    let system = System::start(&counter());
    let chat = chat_at_rest(&system);
    let mut terminal = Terminal::start(&mut system.client(&["chat", "--chat", &chat]));
    terminal.wait_until_it_shows("what was said", |screen| screen.contains("I see one."));
    terminal.wait_until_idle();

    terminal.press(&format!("/compact{ENTER}"));
    terminal.wait_for("was summarized");
    terminal.wait_until_idle();
    terminal.press(&format!("/fork{ENTER}"));
    terminal.wait_for("This is now a copy");
    terminal.wait_until_idle();
    terminal.press(&format!("Again?{ENTER}"));
    terminal.wait_for("I see a summary.");
    terminal.wait_until_idle();
    terminal.press(&format!("/clear{ENTER}"));
    terminal.wait_for("The context was cleared");
    terminal.wait_until_idle();
    terminal.press(&format!("/new{ENTER}"));
    terminal.wait_for("begins a new chat");
    terminal.press(&format!("/compact{ENTER}"));
    terminal.wait_for("There is no message yet");
    terminal.press(CTRL_D);

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    wait_until(|| match system.texts_at_rest(&chat).len() {
        // With the two rows that tell of the summary.
        4 => Ok(()),
        rows => Err(format!("{rows} rows")),
    });
}
