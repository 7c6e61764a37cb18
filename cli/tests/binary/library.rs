//! `chatplane chats` and the commands for what it lists: `show`, `read`, `archive`, `label`, `pin`; and completion.

use chatplane_proto::chat::v1::{
    CreateChatRequest, Part, TextPart, chat_service_client::ChatServiceClient, part,
};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    fixture::{Finished, finish, with_token},
    provider::{Answer, Provider, last_words},
    pty::{CTRL_C, CTRL_D, ENTER, Terminal},
    system::System,
};

/// Where the age of a chat stands in its row, in characters.
const AGE: std::ops::Range<usize> = 58..62;

fn naturalist() -> Provider {
    Provider::start(|_, request| match last_words(request).as_str() {
        "Who waits?" => Answer::Say("The heron waits, and waits."),
        _ => Answer::Say("I do not know."),
    })
}

/// A chat that was answered, which nobody has seen.
fn answered(system: &System, text: &str) -> String {
    let chat = system.chat(text);
    assert_eq!(system.texts_at_rest(&chat).len(), 2);
    chat
}

fn run(system: &System, words: &[&str]) -> Finished {
    finish(&mut system.client(words))
}

fn done(system: &System, words: &[&str]) -> String {
    let run = run(system, words);
    assert_eq!(run.code, Some(0), "{run:?}");
    run.stdout
}

/// The table with names for ids, as wide, and without the ages, which a busy machine may change.
fn table(stdout: &str, names: &[(&str, &str)]) -> String {
    let row = |row: &str| {
        let Some((id, name)) = names.iter().find(|(id, _)| row.contains(id)) else {
            return row.to_owned() + "\n";
        };
        let mut letters: Vec<char> = row.chars().collect();
        letters.splice(AGE, " AGO".chars());
        letters.into_iter().collect::<String>().replace(id, &format!("{name:36}")) + "\n"
    };
    stdout.lines().map(row).collect()
}

#[test]
fn chats_are_a_table_with_pins_unread_answers_and_labels() {
    let system = System::start(&naturalist());
    let heron = answered(&system, "Who waits?");
    let otter = answered(&system, "Who swims?");
    let egret = answered(&system, "Who is white?");
    let names = [(heron.as_str(), "HERON"), (otter.as_str(), "OTTER"), (egret.as_str(), "EGRET")];
    done(&system, &["pin", &heron]);
    done(&system, &["label", &otter, "team=river", "season=all year"]);
    done(&system, &["archive", &egret]);

    let listed = done(&system, &["chats"]);
    let archived = done(&system, &["chats", "archived:true"]);
    let found = done(&system, &["chats", "search:her"]);
    let both = done(&system, &["chats", "label:team=river", "title:\"who SWIMS\""]);
    let none = run(&system, &["chats", "label:team=lake"]);
    let wrong = run(&system, &["chats", "colour:blue"]);

    let heading = format!("PIN   {:36}  STATE          AGE  ", "CHAT");
    assert_eq!(
        table(&listed, &names),
        format!(
            "{heading}TITLE       LABELS\n\
             \x20 1 • {:36}  waiting        AGO  Who waits?\n\
             \x20   • {:36}  waiting        AGO  Who swims?  season=all year team=river\n",
            "HERON", "OTTER"
        )
    );
    assert_eq!(
        table(&archived, &names),
        format!("{heading}TITLE          LABELS\n    • {:36}  archived       AGO  Who is white?\n", "EGRET")
    );
    assert_eq!(
        table(&found, &names),
        format!(
            "{heading}TITLE       LABELS\n\
             \x20 1 • {:36}  waiting        AGO  Who waits?\n\
             \x20     assistant #3: The heron waits, and waits.\n",
            "HERON"
        )
    );
    assert_eq!(table(&both, &names).lines().count(), 2, "{both}");
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""), "{none:?}");
    assert!(none.stderr.contains("There are no such chats."), "{none:?}");
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(3), ""), "{wrong:?}");
    assert!(wrong.stderr.contains("refused to list the chats"), "{wrong:?}");
}

#[test]
fn a_long_list_is_printed_page_by_page_and_for_programs_line_by_line() {
    let system = System::start(&naturalist());
    let runtime = Runtime::new().unwrap();
    let mut client = runtime.block_on(ChatServiceClient::connect(system.url())).unwrap();
    for number in 0..30 {
        let text = TextPart { text: format!("Question {number}") };
        let parts = vec![Part { kind: Some(part::Kind::Text(text)) }];
        let request = CreateChatRequest { parts, ..Default::default() };
        runtime.block_on(client.create_chat(with_token(request, &system.token))).unwrap();
    }

    let page = run(&system, &["chats"]);
    let all = run(&system, &["chats", "--all"]);
    let lines = done(&system, &["chats", "--all", "--json"]);

    assert_eq!(page.stdout.lines().count(), 1 + 25, "{page:?}");
    assert!(page.stderr.contains("--all lists them"), "{page:?}");
    assert_eq!((all.stdout.lines().count(), all.stderr.as_str()), (1 + 30, ""), "{all:?}");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 30);
    assert!(lines.iter().all(|line| line["chat"]["chatId"].is_string()), "{lines:?}");
}

#[test]
fn a_chat_is_shown_archived_brought_back_labelled_and_pinned() {
    let system = System::start(&naturalist());
    let chat = answered(&system, "Who waits?");
    let other = answered(&system, "Who swims?");

    let shown = done(&system, &["show", &chat]);
    assert!(
        shown.starts_with(&format!("chat       {chat}\ntitle      Who waits?\nstate      waiting\n")),
        "{shown}"
    );
    let json: Value = serde_json::from_str(&done(&system, &["show", "--json", &chat])).unwrap();
    assert_eq!(json["chat"]["title"], "Who waits?");

    assert!(done(&system, &["show", &other]).contains("unread     yes\n"));
    let read = run(&system, &["read", &other]);
    assert_eq!((read.code, read.stderr.as_str()), (Some(0), "The chat is read.\n"), "{read:?}");
    assert!(done(&system, &["show", &other]).contains("unread     no\n"));
    let json: Value = serde_json::from_str(&done(&system, &["read", "--json", &chat])).unwrap();
    assert_eq!(
        (&json["chat"]["chatId"], &json["chat"]["readMessageId"]),
        (&chat.as_str().into(), &"3".into())
    );

    assert_eq!(done(&system, &["label", &chat]), "");
    assert_eq!(done(&system, &["label", &chat, "b=2", "a=1=one"]), "a=1=one\nb=2\n");
    assert_eq!(done(&system, &["label", &chat, "--remove", "b", "c=3"]), "a=1=one\nc=3\n");
    assert_eq!(done(&system, &["label", &chat]), "a=1=one\nc=3\n");
    let wrong = run(&system, &["label", &chat, "nothing"]);
    assert_eq!((wrong.code, wrong.stderr.contains("a label is KEY=VALUE")), (Some(2), true), "{wrong:?}");
    let twice = run(&system, &["label", &chat, "a=1", "a=2"]);
    assert_eq!((twice.code, twice.stderr.contains("given twice")), (Some(2), true), "{twice:?}");
    let refused = run(&system, &["label", &chat, "no spaces=x"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(3), ""), "{refused:?}");

    let pinned = |chat: &str, words: &[&str]| {
        let line = done(&system, &[&["pin", "--json", chat], words].concat());
        serde_json::from_str::<Value>(&line).unwrap()["chat"]["pinOrder"].clone()
    };
    assert_eq!([pinned(&chat, &[]), pinned(&other, &["--place", "1"]), pinned(&chat, &[])], [1, 1, 2]);
    let unpinned = run(&system, &["unpin", &other]);
    assert_eq!(
        (unpinned.code, unpinned.stderr.as_str()),
        (Some(0), "The chat is not pinned.\n"),
        "{unpinned:?}"
    );

    let archived = run(&system, &["archive", &chat]);
    assert_eq!(archived.stderr, format!("Archived. `chatplane unarchive {chat}` brings it back.\n"));
    let cannot = run(&system, &["pin", &chat]);
    assert_eq!(cannot.code, Some(3), "{cannot:?}");
    assert!(cannot.stderr.contains("refused to change the chat"), "{cannot:?}");
    done(&system, &["unarchive", &chat]);
    assert!(done(&system, &["show", &chat]).contains("state      waiting\n"));

    let nowhere = "0197f7a0-0000-7000-8000-000000000000";
    for words in [
        &["show", nowhere][..],
        &["read", nowhere],
        &["archive", nowhere],
        &["unarchive", nowhere],
        &["label", nowhere, "a=b"],
        &["pin", nowhere],
        &["unpin", nowhere],
        &["files", "list", nowhere],
    ] {
        let run = run(&system, words);
        assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""), "{run:?}");
        assert!(run.stderr.contains("the control plane refused to"), "{run:?}");
    }
}

#[test]
fn a_shell_is_offered_commands_and_the_ids_of_chats() {
    let mut system = System::start(&naturalist());
    let chat = answered(&system, "Who waits?");
    let other = answered(&system, "Who swims?");
    let ids = |run: &Finished| -> Vec<String> {
        // What is no id is a flag.
        run.stdout.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect()
    };
    let script = done(&system, &["completions", "bash"]);
    let complete = |system: &System, words: &[&str]| {
        let mut command = system.client(&["--", "chatplane"]);
        command.args(words).env("CHATPLANE_COMPLETE", "bash");
        finish(command.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n"))
    };

    let commands = complete(&system, &["un"]);
    let chats = complete(&system, &["show", ""]);
    let unread = complete(&system, &["read", ""]);
    done(&system, &["read", &chat]);
    let unread_then = complete(&system, &["read", ""]);
    done(&system, &["archive", &other]);
    let archived = complete(&system, &["unarchive", ""]);
    let active = complete(&system, &["archive", ""]);
    let by_flag = complete(&system, &["watch", "--chat", &chat[..8]]);
    system.kill_serve();
    let without_answer = complete(&system, &["show", "0"]);

    assert!(script.contains("CHATPLANE_COMPLETE=\"bash\"") && script.contains("chatplane"), "{script}");
    assert_eq!((commands.code, commands.stdout.trim()), (Some(0), "unarchive\nunpin"), "{commands:?}");
    assert_eq!(ids(&chats), [other.clone(), chat.clone()], "{chats:?}");
    assert_eq!(ids(&unread), [other.clone(), chat.clone()], "{unread:?}");
    assert_eq!(ids(&unread_then), [other.as_str()], "{unread_then:?}");
    assert_eq!(ids(&archived), [other.as_str()], "{archived:?}");
    assert_eq!(ids(&active), [chat.as_str()], "{active:?}");
    assert_eq!(by_flag.stdout.trim(), chat, "{by_flag:?}");
    assert_eq!((without_answer.code, without_answer.stdout.trim()), (Some(0), ""), "{without_answer:?}");
}

#[test]
fn on_a_terminal_a_chat_is_chosen_and_opened() {
    let system = System::start(&naturalist());
    let heron = answered(&system, "Who waits?");
    answered(&system, "Who swims?");
    done(&system, &["label", &heron, "team=river"]);
    let mut terminal = Terminal::start(&mut system.client(&["chats"]));

    terminal.wait_until_it_shows("the list", |screen| {
        let rows: Vec<&str> = screen.lines().collect();
        rows.len() == 4 && rows[1].starts_with("> ") && rows[1].contains("Who swims?")
    });
    terminal.press("j");
    terminal.wait_until_it_shows("the other", |screen| {
        screen.lines().any(|row| row.starts_with("> ") && row.contains("Who waits?  team=river"))
    });
    terminal.press(ENTER);
    terminal.wait_until_it_shows("the chat", |screen| screen.contains("The heron waits, and waits."));
    terminal.wait_until_idle();
    terminal.press(&format!("Who is white?{ENTER}"));
    terminal.wait_until_it_shows("the answer", |screen| screen.contains("I do not know."));
    terminal.wait_until_idle();
    terminal.press(CTRL_D);

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    assert!(terminal.is_as_it_was());
    assert!(!terminal.screen().contains("Enter opens"), "{}", terminal.screen());
    assert_eq!(system.texts_at_rest(&heron).len(), 4);
}

#[test]
fn the_list_on_a_terminal_follows_what_happens_to_the_chats() {
    let system = System::start(&naturalist());
    let heron = answered(&system, "Who waits?");
    let mut terminal = Terminal::start(&mut system.client(&["chats"]));
    terminal.wait_until_it_shows("the list", |screen| screen.contains("• ") && screen.contains("Who waits?"));

    let otter = answered(&system, "Who swims?");
    terminal.wait_until_it_shows("another chat above the chosen one", |screen| {
        let rows: Vec<&str> = screen.lines().collect();
        rows.len() == 4
            && rows[1].starts_with("  ")
            && rows[1].contains("Who swims?")
            && rows[2].starts_with("> ")
    });
    done(&system, &["read", &heron]);
    done(&system, &["archive", &otter]);
    terminal.wait_until_it_shows("what is left, and read", |screen| {
        screen.lines().count() == 3 && !screen.contains('•') && screen.contains("> ")
    });
    terminal.press("q");

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    assert!(terminal.is_as_it_was());
}

#[test]
fn the_list_on_a_terminal_takes_a_query_and_is_left_without_a_trace() {
    let system = System::start(&naturalist());
    answered(&system, "Who waits?");
    answered(&system, "Who swims?");
    let mut terminal = Terminal::start(&mut system.client(&["chats"]));
    terminal.wait_until_it_shows("the list", |screen| screen.contains("Who swims?"));

    terminal.press(&format!("/search:heron{ENTER}"));
    terminal.wait_until_it_shows("what was found", |screen| {
        screen.contains("The heron waits") && !screen.contains("Who swims?")
    });
    terminal.wait_for("\u{1b}[1;4mheron\u{1b}[0m");
    terminal.press(&format!("/\u{15}colour:blue{ENTER}"));
    terminal.wait_until_it_shows("the refusal", |screen| screen.contains("refused to list the chats"));
    terminal.press("q");

    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());
    assert!(terminal.is_as_it_was());
    assert_eq!(terminal.screen(), "");

    let mut left = Terminal::start(&mut system.client(&["chats", "title:who"]));
    left.wait_until_it_shows("the list", |screen| screen.contains("Who swims?"));
    left.press(CTRL_C);
    assert_eq!(left.code(), Some(130), "{}", left.shown());
    let mut refused = Terminal::start(&mut system.client(&["chats", "colour:blue"]));
    assert_eq!(refused.code(), Some(3), "{}", refused.shown());
}

#[test]
fn a_command_for_a_chat_has_it_chosen_where_none_is_named() {
    let system = System::start(&naturalist());
    let heron = answered(&system, "Who waits?");
    let otter = answered(&system, "Who swims?");
    done(&system, &["archive", &heron]);
    done(&system, &["archive", &otter]);

    let mut terminal = Terminal::start(&mut system.client(&["unarchive"]));
    terminal.wait_until_it_shows("what is archived", |screen| screen.contains("Who waits?"));
    terminal.press(&format!("/\u{15}archived:true title:waits{ENTER}"));
    terminal.wait_until_it_shows("the one", |screen| !screen.contains("Who swims?"));
    terminal.press(ENTER);
    terminal.wait_for("The chat is back.");
    assert_eq!(terminal.code(), Some(0), "{}", terminal.shown());

    let mut left = Terminal::start(&mut system.client(&["archive"]));
    left.wait_until_it_shows("the list", |screen| screen.contains("> ") && screen.contains("Who waits?"));
    left.press("q");
    assert_eq!(left.code(), Some(130), "{}", left.shown());
    assert!(done(&system, &["show", &heron]).contains("state      waiting\n"), "nothing was done");

    for words in [&["show"][..], &["pin"], &["label"], &["watch"], &["clear"], &["files", "list"]] {
        let run = run(&system, words);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
        assert!(run.stderr.contains("`chatplane chats` lists those there are"), "{run:?}");
    }
}
