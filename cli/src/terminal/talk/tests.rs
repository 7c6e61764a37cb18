use chatplane_proto::chat::v1::{ChatState, Message, StateChanged};

use self::control_plane::ControlPlane;
use super::*;

mod control_plane;

/// Far above what anything here takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn talk(control_plane: &ControlPlane) -> Talk {
    Talk::new(control_plane.client(), None, Settings::default(), Vec::new(), Advice::Nothing)
}

async fn until(talk: &mut Talk, what: &str, is_it: impl Fn(&News) -> bool) -> News {
    let wait = async {
        loop {
            let news = talk.news().await.unwrap();
            if is_it(&news) {
                return news;
            }
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("no {what}"))
}

async fn until_noted(talk: &mut Talk, text: &str) {
    let is_it = |output: &Output| matches!(output, Output::Note(note) if note.contains(text));
    until(talk, text, |news| news.outputs.iter().any(is_it)).await;
}

/// Sends a message that makes a chat, and waits until it has.
async fn begin(talk: &mut Talk) -> String {
    talk.send("Hello?".to_owned(), BusyBehavior::Queue).unwrap();
    until(talk, "chat", |news| news.line.is_some()).await;
    talk.chat_id().unwrap().to_owned()
}

/// Sends a message to the chat, which is queued.
async fn queue(talk: &mut Talk) {
    talk.send("And then?".to_owned(), BusyBehavior::Queue).unwrap();
    let is_queued = |news: &News| news.line.as_ref().is_some_and(|line| line.contains("queuedMessage"));
    until(talk, "queued message", is_queued).await;
}

fn entered(message_id: i64) -> Event {
    Event::Message(Message { message_id, role: Role::User.into(), ..Default::default() })
}

fn at_rest() -> Event {
    let state = ChatState::Waiting.into();
    Event::State(StateChanged { state, snapshot_version: 2, ..Default::default() })
}

async fn until_it_rests(talk: &mut Talk, control_plane: &ControlPlane) -> Option<Outcome> {
    control_plane.tell(talk.chat_id().unwrap(), at_rest());
    until(talk, "rest", |news| news.outcome.is_some()).await.outcome
}

#[tokio::test]
async fn stopping_takes_back_what_the_watch_has_not_told_of() {
    let control_plane = ControlPlane::start().await;
    let mut talk = talk(&control_plane);
    begin(&mut talk).await;
    queue(&mut talk).await;
    queue(&mut talk).await;
    control_plane.take_calls();
    assert_eq!(talk.waiting(), [""; 0], "the watch is late");

    talk.stop().await;

    assert_eq!(
        control_plane.take_calls(),
        [
            "ListQueuedMessages chat-1",
            "DeleteQueuedMessage queued-1",
            "ListQueuedMessages chat-1",
            "DeleteQueuedMessage queued-2",
            "InterruptChat chat-1",
        ]
    );
}

#[tokio::test]
async fn stopping_waits_for_what_is_on_its_way_and_drops_what_is_not() {
    let control_plane = ControlPlane::start().await;
    let mut talk = talk(&control_plane);
    talk.send("Hello?".to_owned(), BusyBehavior::Queue).unwrap();
    talk.send("And then?".to_owned(), BusyBehavior::Queue).unwrap();
    talk.begin_what_can_begin();

    talk.stop().await;

    assert_eq!(
        control_plane.take_calls(),
        ["CreateChat chat-1", "ListQueuedMessages chat-1", "InterruptChat chat-1"]
    );
}

#[tokio::test]
async fn chats_that_were_left_in_the_middle_of_a_turn_are_stopped_too() {
    let control_plane = ControlPlane::start().await;
    let mut talk = talk(&control_plane);
    begin(&mut talk).await;
    talk.begin_anew().unwrap();
    begin(&mut talk).await;
    until_it_rests(&mut talk, &control_plane).await;
    talk.begin_anew().unwrap();
    let forked = begin(&mut talk).await;
    control_plane.tell(&forked, entered(5));
    until(&mut talk, "message", |news| news.enters).await;
    talk.fork().unwrap();
    until_noted(&mut talk, "This is now a copy, chat chat-4").await;
    talk.fork().unwrap();
    until_noted(&mut talk, "This is now a copy, chat chat-5").await;
    control_plane.take_calls();

    let not_stopped = talk.stop().await;

    let mut calls = control_plane.take_calls();
    calls.retain(|call| call.starts_with("InterruptChat"));
    calls.sort();
    assert_eq!(calls, ["InterruptChat chat-1", "InterruptChat chat-3"], "the others are at rest");
    assert_eq!(not_stopped, 0);
}

#[tokio::test]
async fn more_chats_than_are_remembered_are_told() {
    let control_plane = ControlPlane::start().await;
    let mut talk = talk(&control_plane);
    for _ in 0..=stop::LEFT_MAX {
        begin(&mut talk).await;
        talk.begin_anew().unwrap();
    }

    assert_eq!(talk.stop().await, 1);

    assert_eq!(words::not_stopped(1).matches("the chat left first").count(), 1);
    assert_eq!(words::not_stopped(2).matches("the 2 chats left first").count(), 1);
}

#[tokio::test]
async fn what_is_refused_while_somebody_leaves_is_told() {
    let control_plane = ControlPlane::start().await;
    let mut talk = talk(&control_plane);
    begin(&mut talk).await;
    until_it_rests(&mut talk, &control_plane).await;
    control_plane.refuse("SendMessage");
    talk.send("And then?".to_owned(), BusyBehavior::Queue).unwrap();

    let refused = talk.let_go().await;
    let is_busy = talk.is_busy();
    control_plane.refuse("InterruptChat");
    queue(&mut talk).await;
    talk.interrupt();
    let not_interrupted = talk.let_go().await;

    let words = "the control plane refused to send the message: it is not the time for it";
    assert_eq!((refused.unsent, refused.notes), (0, vec![words.to_owned()]));
    assert!(!is_busy, "nothing runs");
    assert_eq!(not_interrupted.notes, [words::NOT_INTERRUPTED_AT_LAST]);
}

#[tokio::test]
async fn an_interrupt_is_told_at_the_end_of_its_turn_and_of_no_other() {
    let control_plane = ControlPlane::start().await;
    let mut talk = talk(&control_plane);

    begin(&mut talk).await;
    talk.interrupt();
    let of_its_turn = until_it_rests(&mut talk, &control_plane).await;
    talk.begin_anew().unwrap();
    begin(&mut talk).await;
    talk.interrupt();
    talk.begin_anew().unwrap();
    begin(&mut talk).await;
    let of_another_chat = until_it_rests(&mut talk, &control_plane).await;
    talk.let_go().await;
    let calls = control_plane.take_calls();

    assert_eq!(of_its_turn, Some(Outcome::Interrupted));
    assert_eq!(of_another_chat, Some(Outcome::Answered));
    let interrupted: Vec<&String> = calls.iter().filter(|call| call.starts_with("Interrupt")).collect();
    assert_eq!(interrupted, ["InterruptChat chat-1", "InterruptChat chat-2"]);
}

#[tokio::test]
async fn an_interrupt_that_failed_or_had_nothing_to_stop_is_forgotten() {
    let control_plane = ControlPlane::start().await;
    let mut talk = talk(&control_plane);

    control_plane.refuse("CreateChat");
    talk.send("Hello?".to_owned(), BusyBehavior::Queue).unwrap();
    talk.interrupt();
    until_noted(&mut talk, "refused to create a chat").await;
    control_plane.refuse("InterruptChat");
    begin(&mut talk).await;
    let after_a_refused_message = until_it_rests(&mut talk, &control_plane).await;
    talk.begin_anew().unwrap();
    begin(&mut talk).await;
    talk.interrupt();
    until_noted(&mut talk, words::NOT_INTERRUPTED).await;
    let after_a_refused_interrupt = until_it_rests(&mut talk, &control_plane).await;

    assert_eq!(after_a_refused_message, Some(Outcome::Answered));
    assert_eq!(after_a_refused_interrupt, Some(Outcome::Answered));
}
