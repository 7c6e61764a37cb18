//! Lines of the golden table: commands of clients.

use chatplane_domain::{
    BusyBehavior, CallKind, Chat, Command, ConfigureChat, EditQueuedMessage, HistoryEnds, MessageId, Role,
    SubmittedResult, UserPart,
};

use super::{Line, holder::asked};
use crate::{
    fixtures::{client_tool, edit, edit_of, ends, later, queued_id, send, submitted},
    states::{call_id, push, with_calls, with_two_queued},
};

/// Named by commands that name something that is not there.
const UNKNOWN: u128 = 99;

pub(super) fn lines() -> Vec<Line> {
    let groups = [sending(), editing(), queue(), interrupting(), settling(), configuring(), context()];
    groups.into_iter().flatten().collect()
}

fn full(mut chat: Chat) -> Chat {
    if !chat.queue.is_empty() {
        push(&mut chat, 2, false);
        push(&mut chat, 3, false);
    }
    chat
}

/// Two queued messages, where the state allows it the first of them steering.
fn steered(chat: Chat) -> Chat {
    let mut chat = with_two_queued(chat);
    if !matches!(chat.state(), chatplane_domain::State::Error | chatplane_domain::State::Interrupting)
        && let Some(head) = chat.queue.first_mut()
    {
        head.steering = true;
    }
    chat
}

fn with_worker_call(chat: Chat) -> Chat {
    with_calls(chat, &[CallKind::Worker])
}

fn with_two_client_calls(chat: Chat) -> Chat {
    with_calls(chat, &[CallKind::Client, CallKind::Client])
}

fn sending() -> Vec<Line> {
    let queue = |_: &Chat| send(5, BusyBehavior::Queue);
    let steer = |_: &Chat| send(5, BusyBehavior::Steer);
    let interrupt = |_: &Chat| send(5, BusyBehavior::Interrupt);
    vec![
        Line::new("SendMessage QUEUE", queue),
        Line::new("SendMessage QUEUE, 3 queued", queue).given(full),
        Line::new("SendMessage QUEUE, lease offered", queue).offered(),
        Line::new("SendMessage STEER", steer),
        Line::new("SendMessage STEER, 3 queued", steer).given(full),
        Line::new("SendMessage STEER, lease offered", steer).offered(),
        Line::new("SendMessage INTERRUPT", interrupt),
        Line::new("SendMessage INTERRUPT, 3 queued", interrupt).given(full),
        Line::new("SendMessage INTERRUPT, a worker's call open", interrupt).given(with_worker_call),
        Line::new("SendMessage INTERRUPT, lease offered", interrupt).offered(),
    ]
}

fn editing() -> Vec<Line> {
    vec![
        Line::new("EditMessage", |_| edit(2)),
        Line::new("EditMessage, a worker's call open", |_| edit(2)).given(with_worker_call),
        Line::new("EditMessage, lease offered", |_| edit(2)).offered(),
        Line::new("EditMessage of an answer", |_| edit_of(3, Some(Role::Assistant))),
        Line::new("EditMessage, a summary asked for", |_| edit(2)).given(asked),
        Line::new("EditMessage of no live row", |_| edit_of(99, None)),
    ]
}

fn queue() -> Vec<Line> {
    let edit_queued = |number| {
        Command::EditQueuedMessage(EditQueuedMessage {
            id: queued_id(number),
            parts: vec![UserPart::Text("other words".to_owned())],
        })
    };
    let delete = |number| Command::DeleteQueuedMessage(queued_id(number));
    let to = |number, index| Command::MoveQueuedMessage { id: queued_id(number), index };
    let promote = |number| Command::PromoteQueuedMessage(queued_id(number));
    vec![
        Line::new("EditQueuedMessage", move |_| edit_queued(1)),
        Line::new("EditQueuedMessage that is unknown", move |_| edit_queued(UNKNOWN)),
        Line::new("DeleteQueuedMessage", move |_| delete(1)),
        Line::new("DeleteQueuedMessage, 2 queued", move |_| delete(1)).given(with_two_queued),
        Line::new("DeleteQueuedMessage that is unknown", move |_| delete(UNKNOWN)),
        Line::new("MoveQueuedMessage to its own place", move |_| to(1, 0)),
        Line::new("MoveQueuedMessage, 2 queued", move |_| to(2, 0)).given(with_two_queued),
        Line::new("MoveQueuedMessage over a steering one", move |_| to(2, 0)).given(steered),
        Line::new("MoveQueuedMessage that is unknown", move |_| to(UNKNOWN, 0)),
        Line::new("PromoteQueuedMessage, the head", move |_| promote(1)),
        Line::new("PromoteQueuedMessage, the head of 2", move |_| promote(1)).given(with_two_queued),
        Line::new("PromoteQueuedMessage, the last of 2", move |_| promote(2)).given(with_two_queued),
        Line::new("PromoteQueuedMessage, lease offered", move |_| promote(1)).offered(),
        Line::new("PromoteQueuedMessage that is unknown", move |_| promote(UNKNOWN)),
    ]
}

fn interrupting() -> Vec<Line> {
    let interrupt = |_: &Chat| Command::InterruptChat;
    vec![
        Line::new("InterruptChat", interrupt),
        Line::new("InterruptChat, 2 queued", interrupt).given(with_two_queued),
        Line::new("InterruptChat, a worker's call open", interrupt).given(with_worker_call),
        Line::new("InterruptChat, lease offered", interrupt).offered(),
        Line::new("InterruptChat, a summary asked for", interrupt).given(asked),
    ]
}

fn settling() -> Vec<Line> {
    let submit = |indices: &'static [i32]| {
        move |_: &Chat| {
            let results: Vec<SubmittedResult> =
                indices.iter().map(|index| submitted(call_id(*index))).collect();
            Command::SubmitToolResults(results)
        }
    };
    vec![
        Line::new("SubmitToolResults, all", submit(&[0])),
        Line::new("SubmitToolResults, all of 2", submit(&[1, 0])).given(with_two_client_calls),
        Line::new("SubmitToolResults, 1 of 2", submit(&[1])).given(with_two_client_calls),
        Line::new("SubmitToolResults, all, steering queued", submit(&[0])).given(|chat| {
            let mut chat = steered(chat);
            chat.queue.truncate(1);
            chat
        }),
        Line::new("SubmitToolResults, all, 1 of 2 steering", submit(&[0])).given(steered),
        Line::new("SubmitToolResults, all, after the deadline", submit(&[0])).at(later(61)),
        Line::new("SubmitToolResults, all, lease offered", submit(&[0])).offered(),
        Line::new("SubmitToolResults, one call twice", submit(&[0, 0])).given(with_two_client_calls),
        Line::new("SubmitToolResults of an approval", submit(&[0]))
            .given(|chat| with_calls(chat, &[CallKind::Approval])),
        Line::new("SubmitToolResults of an unknown call", submit(&[7])),
        Line::new("SubmitToolResults, none", submit(&[])),
    ]
}

fn configuring() -> Vec<Line> {
    let model = |_: &Chat| {
        Command::ConfigureChat(ConfigureChat {
            model: Some("another".to_owned()),
            ..ConfigureChat::default()
        })
    };
    let same = |_: &Chat| Command::ConfigureChat(ConfigureChat::default());
    let prompt = |_: &Chat| {
        Command::ConfigureChat(ConfigureChat {
            system_prompt: Some(Some("Be kind.".to_owned())),
            ..ConfigureChat::default()
        })
    };
    let no_prompt = |_: &Chat| {
        Command::ConfigureChat(ConfigureChat { system_prompt: Some(None), ..ConfigureChat::default() })
    };
    let tools = |names: &[&str]| {
        Command::ConfigureChat(ConfigureChat {
            client_tools: Some(names.iter().map(|name| client_tool(name)).collect()),
            ..ConfigureChat::default()
        })
    };
    let unanswered = |chat| Chat { answered: false, ..chat };
    vec![
        Line::new("ConfigureChat", model),
        Line::new("ConfigureChat, lease offered", model).offered(),
        Line::new("ConfigureChat to what is", same),
        Line::new("ConfigureChat, prompt before the first answer", prompt).given(unanswered),
        Line::new("ConfigureChat, prompt after it", prompt),
        Line::new("ConfigureChat, no prompt before the first answer", no_prompt).given(unanswered),
        Line::new("ConfigureChat, no prompt where there is none", no_prompt).given(|chat| Chat {
            answered: false,
            system_prompt: None,
            ..chat
        }),
        Line::new("ConfigureChat, the tools that it has", move |_| tools(&["open_page"])).given(
            |mut chat| {
                chat.settings.client_tools = vec!["open_page".to_owned()];
                chat
            },
        ),
        Line::new("ConfigureChat, no tools where there are none", move |_| tools(&[])),
        Line::new("ArchiveChat", |_| Command::ArchiveChat),
        Line::new("UnarchiveChat", |_| Command::UnarchiveChat),
    ]
}

fn context() -> Vec<Line> {
    let compact = |_: &Chat| Command::CompactChat(ends(3, Some(3)));
    let clear = |_: &Chat| Command::ClearContext(ends(3, Some(3)));
    let covered = |chat| Chat { covers_through: Some(MessageId(3)), ..chat };
    vec![
        Line::new("CompactChat", compact),
        Line::new("CompactChat, 2 queued", compact).given(with_two_queued),
        Line::new("CompactChat, lease offered", compact).offered(),
        Line::new("CompactChat, no answer", |_| Command::CompactChat(ends(2, None))),
        Line::new("CompactChat, no answer since the last boundary", compact).given(covered),
        Line::new("ClearContext", clear),
        Line::new("ClearContext, no message", |_| Command::ClearContext(HistoryEnds::default())),
        Line::new("ClearContext, no message since the last boundary", clear).given(covered),
    ]
}
