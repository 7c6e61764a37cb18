use chatplane_proto::chat::v1::{
    ActionRequired, CallId, ErrorChanged, ErrorKind, Part, PendingCall, PreviewReset, PreviewTruncated,
    QueuedMessage, QueuedMessageRemoved, RetryChanged, StateChanged, TextPart, ToolCallPart, ToolResultPart,
};

use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// What a person sees, and a note in brackets where it appears.
struct Screen {
    transcript: Transcript,
    text: String,
}

impl Default for Screen {
    fn default() -> Self {
        Self { transcript: Transcript::new(Advice::Operator), text: String::new() }
    }
}

impl Screen {
    fn see(&mut self, event: Event) -> &mut Self {
        for output in self.transcript.apply(event, NOW) {
            match output {
                Output::Answer(bytes) => self.text.push_str(std::str::from_utf8(&bytes).unwrap()),
                Output::NewLine if self.text.is_empty() || self.text.ends_with('\n') => {}
                Output::NewLine => self.text.push('\n'),
                Output::Message(message) => self.text.push_str(&format!("<{message}>")),
                Output::Note(note) => self.text.push_str(&format!("[{note}]")),
            }
        }
        self
    }
}

fn stream(base_version: i64) -> StreamId {
    StreamId { base_version, index: 0 }
}

fn started(base: i64, part: i32, kind: PartKind) -> Event {
    let header = PartStarted { stream: Some(stream(base)), part, kind: kind.into(), ..Default::default() };
    Event::PartStarted(header)
}

fn append(base: i64, part: i32, offset: i64, text: &str) -> Event {
    Event::PartAppend(PartAppend {
        stream: Some(stream(base)),
        part,
        offset,
        data: text.as_bytes().to_vec().into(),
    })
}

fn text(text: &str) -> Part {
    Part { kind: Some(part::Kind::Text(TextPart { text: text.to_owned() })) }
}

fn call(name: &str) -> Part {
    let call =
        ToolCallPart { tool_name: name.to_owned(), arguments_json: "{}".to_owned(), ..Default::default() };
    Part { kind: Some(part::Kind::ToolCall(call)) }
}

fn message(message_id: i64, revision: i64, role: Role, parts: Vec<Part>) -> Event {
    Event::Message(Message { message_id, revision, role: role.into(), parts, ..Default::default() })
}

fn state(state: ChatState) -> Event {
    Event::State(StateChanged { state: state.into(), ..Default::default() })
}

fn reset(base: Option<i64>) -> Event {
    Event::PreviewReset(PreviewReset { stream: base.map(stream) })
}

#[test]
fn streamed_text_is_printed_once_and_its_commit_adds_nothing() {
    let mut screen = Screen::default();

    screen
        .see(message(1, 1, Role::User, vec![text("hello?")]))
        .see(state(ChatState::Running))
        .see(started(2, 0, PartKind::Reasoning))
        .see(append(2, 0, 0, "hmm"))
        .see(started(2, 1, PartKind::Text))
        .see(append(2, 1, 0, "Hel"))
        .see(append(2, 1, 3, "lo"))
        .see(message(2, 3, Role::Assistant, vec![text("Hello")]))
        .see(state(ChatState::Waiting));

    assert_eq!(screen.text, "<hello?>\nHello");
    assert_eq!(screen.transcript.outcome(), Some(&Outcome::Answered));
}

#[test]
fn what_the_preview_missed_is_printed_from_the_commit() {
    let mut screen = Screen::default();

    screen
        .see(started(2, 0, PartKind::Text))
        .see(append(2, 0, 0, "One, "))
        .see(Event::PreviewTruncated(PreviewTruncated { stream: Some(stream(2)) }))
        .see(append(2, 0, 5, "never shown"))
        .see(message(2, 3, Role::Assistant, vec![text("One, "), text("two")]));

    assert_eq!(screen.text, "One, two");
}

#[test]
fn without_any_preview_the_commit_is_printed() {
    let mut screen = Screen::default();

    screen.see(message(2, 3, Role::Assistant, vec![text("Hello")])).see(state(ChatState::Waiting));

    assert_eq!(screen.text, "Hello");
}

#[test]
fn a_gap_in_the_preview_is_closed_by_the_commit() {
    let mut screen = Screen::default();

    screen
        .see(started(2, 0, PartKind::Text))
        .see(append(2, 0, 0, "a"))
        .see(append(2, 0, 2, "c"))
        .see(append(2, 0, 1, "b"))
        .see(message(2, 3, Role::Assistant, vec![text("abc")]));

    assert_eq!(screen.text, "abc");
}

#[test]
fn a_stream_sent_again_after_a_reconnect_is_not_printed_again() {
    let mut screen = Screen::default();

    screen
        .see(started(2, 0, PartKind::Text))
        .see(append(2, 0, 0, "Hello, "))
        .see(reset(None))
        .see(started(2, 0, PartKind::Text))
        .see(append(2, 0, 0, "Hel"))
        .see(append(2, 0, 3, "lo, you"))
        .see(message(2, 3, Role::Assistant, vec![text("Hello, you")]))
        .see(message(2, 3, Role::Assistant, vec![text("Hello, you")]));

    assert_eq!(screen.text, "Hello, you");
}

#[test]
fn a_repeated_model_call_that_answers_differently_begins_again_and_says_so() {
    let mut screen = Screen::default();

    screen
        .see(started(2, 0, PartKind::Text))
        .see(append(2, 0, 0, "It is red"))
        .see(reset(Some(2)))
        .see(started(4, 0, PartKind::Text))
        .see(append(4, 0, 0, "It is"))
        .see(append(4, 0, 5, " blue"))
        .see(append(2, 0, 9, ", late"))
        .see(message(2, 5, Role::Assistant, vec![text("It is blue.")]));

    assert_eq!(screen.text, format!("It is red\n[{}]It is blue.", words::ANSWER_BEGINS_AGAIN));
}

#[test]
fn a_newer_stream_replaces_an_older_one_without_a_reset() {
    let mut screen = Screen::default();

    screen
        .see(started(2, 0, PartKind::Text))
        .see(append(2, 0, 0, "Yes"))
        .see(started(4, 0, PartKind::Text))
        .see(append(4, 0, 0, "Yes!"));

    assert_eq!(screen.text, "Yes!");
}

#[test]
fn an_answer_kept_shorter_than_printed_is_printed_as_kept() {
    let mut screen = Screen::default();

    screen.see(started(2, 0, PartKind::Text)).see(append(2, 0, 0, "Too much")).see(message(
        2,
        3,
        Role::Assistant,
        vec![text("Too")],
    ));

    assert_eq!(screen.text, format!("Too much\n[{}]Too", words::ANSWER_BEGINS_AGAIN));
}

#[test]
fn texts_of_several_steps_are_lines_with_their_tool_calls_as_notes() {
    let mut screen = Screen::default();

    screen
        .see(started(2, 0, PartKind::Text))
        .see(append(2, 0, 0, "Let me look."))
        .see(message(2, 3, Role::Assistant, vec![text("Let me look."), call("list_dir")]))
        .see(started(2, 0, PartKind::Text))
        .see(append(2, 0, 0, "an old stream"))
        .see(started(3, 0, PartKind::ToolOutput))
        .see(append(3, 0, 0, "raw output"))
        .see(message(3, 4, Role::Tool, vec![]))
        .see(started(4, 0, PartKind::Text))
        .see(append(4, 0, 0, "Two files."))
        .see(message(4, 5, Role::Assistant, vec![text("Two files.")]));

    assert_eq!(screen.text, "Let me look.[→ list_dir {}]\nTwo files.");
}

#[test]
fn every_retry_is_told_once() {
    let attempt = |attempt| {
        let error = ChatError {
            kind: ErrorKind::Overloaded.into(),
            message: "busy".to_owned(),
            ..Default::default()
        };
        let retry = RetryState { error: Some(error), attempt, next_attempt_time: Some(NOW.into()) };
        Event::Retry(RetryChanged { retry: Some(retry) })
    };
    let mut screen = Screen::default();

    screen.see(attempt(2)).see(attempt(2)).see(attempt(3)).see(Event::Retry(RetryChanged { retry: None }));

    assert_eq!(screen.text, "[OVERLOADED: busy; attempt 2 in 0.0 s][OVERLOADED: busy; attempt 3 in 0.0 s]");
}

#[test]
fn a_chat_in_error_ends_with_that_error() {
    let error = ChatError { kind: ErrorKind::Authentication.into(), ..Default::default() };
    let mut screen = Screen::default();

    screen.see(state(ChatState::Running));
    let before = screen.transcript.outcome().cloned();
    screen.see(Event::Error(ErrorChanged { error: Some(error.clone()) })).see(state(ChatState::Error));

    assert_eq!(before, None);
    assert_eq!(screen.transcript.outcome(), Some(&Outcome::Failed(Box::new(error))));
}

#[test]
fn a_running_tools_lines_stand_between_its_call_and_its_result() {
    let output = PartStarted {
        stream: Some(stream(3)),
        kind: PartKind::ToolOutput.into(),
        call: Some(CallId { message_id: 2, call_index: 0 }),
        ..Default::default()
    };
    let result = ToolResultPart {
        call_message_id: 2,
        tool_name: "execute".to_owned(),
        output: "one\ntwo".to_owned(),
        ..Default::default()
    };
    let result = Part { kind: Some(part::Kind::ToolResult(result)) };
    let mut screen = Screen::default();

    screen
        .see(message(2, 3, Role::Assistant, vec![call("execute")]))
        .see(Event::PartStarted(output))
        .see(append(3, 0, 0, "one\ntwo"))
        .see(message(3, 4, Role::Tool, vec![result]));

    assert_eq!(screen.text, "[→ execute {}][  │ one][  │ two][← execute: 2 lines]");
}

#[test]
fn the_next_turn_is_open_until_its_own_end() {
    let error = ChatError { kind: ErrorKind::Authentication.into(), ..Default::default() };
    let mut screen = Screen::default();
    screen.see(Event::Error(ErrorChanged { error: Some(error) })).see(state(ChatState::Error));

    screen.transcript.begin_turn();
    let begun = screen.transcript.outcome().cloned();
    screen.see(state(ChatState::Running));
    let running = screen.transcript.outcome().cloned();
    screen.see(message(2, 3, Role::Assistant, vec![text("Hello")])).see(state(ChatState::Waiting));

    assert_eq!((begun, running), (None, None));
    assert_eq!(screen.transcript.outcome(), Some(&Outcome::Answered));
}

#[test]
fn after_a_retry_the_model_is_waited_for_again() {
    let mut screen = Screen::default();
    screen.transcript.begin_turn();
    screen.transcript.has_told_to_wait();
    let attempt = |attempt| {
        let retry = RetryState { attempt, next_attempt_time: Some(NOW.into()), ..Default::default() };
        Event::Retry(RetryChanged { retry: Some(retry) })
    };

    screen.see(attempt(2));
    let is_told_again = screen.transcript.waits_for_model();
    screen.transcript.has_told_to_wait();
    screen.see(attempt(2));

    assert!(is_told_again);
    assert!(!screen.transcript.waits_for_model(), "a reconnect repeats what has been told");
}

#[test]
fn it_is_the_model_that_is_waited_for_until_its_first_word_and_after_each_result() {
    let mut screen = Screen::default();

    screen.transcript.begin_turn();
    assert!(screen.transcript.waits_for_model());
    screen.see(started(2, 0, PartKind::Reasoning));
    assert!(!screen.transcript.waits_for_model());
    screen.see(message(2, 3, Role::Assistant, vec![call("execute")]));
    assert!(!screen.transcript.waits_for_model(), "the tool runs");
    screen.see(message(3, 4, Role::Tool, vec![]));
    assert!(screen.transcript.waits_for_model());
    screen.see(state(ChatState::Waiting));
    assert!(!screen.transcript.waits_for_model());
}

#[test]
fn a_summary_that_comes_with_an_answer_does_not_cut_it() {
    let boundary = |message_id, role: Role, parts| {
        let rows = Message { message_id, revision: 3, role: role.into(), parts, ..Default::default() };
        Event::Message(Message { covers_through: 1, ..rows })
    };
    let summarized = ToolCallPart {
        tool_name: "chat_summarized".to_owned(),
        arguments_json: r#"{"source":"manual","percent":5,"tokens":10}"#.to_owned(),
        ..Default::default()
    };
    let result = ToolResultPart { output: "All was said.".to_owned(), ..Default::default() };
    let mut screen = Screen::default();

    screen
        .see(state(ChatState::Running))
        .see(started(2, 0, PartKind::Text))
        .see(append(2, 0, 0, "Hel"))
        .see(Event::PartStarted(PartStarted {
            stream: Some(StreamId { base_version: 2, index: 1 }),
            kind: PartKind::Summary.into(),
            ..Default::default()
        }))
        .see(append(2, 0, 3, "lo"))
        .see(boundary(3, Role::Assistant, vec![Part { kind: Some(part::Kind::ToolCall(summarized)) }]))
        .see(boundary(4, Role::Tool, vec![Part { kind: Some(part::Kind::ToolResult(result)) }]))
        .see(message(5, 3, Role::Assistant, vec![text("Hello.")]));

    let note = "[The history of 10 tokens was summarized: the model goes on from the summary.]";
    assert_eq!(screen.text, format!("Hello{note}."));
    assert_eq!(screen.transcript.summary(), Some("All was said."));
}

#[test]
fn a_users_message_ends_what_was_written_before_it() {
    let mut screen = Screen::default();

    screen
        .see(started(2, 0, PartKind::Text))
        .see(append(2, 0, 0, "Half"))
        .see(message(3, 4, Role::User, vec![text("Stop it.")]))
        .see(append(2, 0, 4, " too late"))
        .see(started(2, 1, PartKind::Text))
        .see(started(4, 0, PartKind::Text))
        .see(append(4, 0, 0, "Well."));

    assert_eq!(screen.text, "Half\n<Stop it.>\nWell.");
}

#[test]
fn a_message_whose_model_is_gone_says_who_answers() {
    let replaced = Message {
        message_id: 2,
        role: Role::User.into(),
        model: "new".to_owned(),
        requested_model: "old".to_owned(),
        ..Default::default()
    };
    let mut screen = Screen::default();

    screen.see(Event::Message(replaced));

    assert_eq!(screen.text, "<>[The model old cannot be used any more: new answers.]");
}

#[test]
fn what_is_going_on_is_known_at_every_step() {
    let upserted = |id: &str, position, steering| {
        let queued_message_id = id.to_owned();
        Event::QueuedMessageUpserted(QueuedMessage {
            queued_message_id,
            position,
            steering,
            ..Default::default()
        })
    };
    let queue = |screen: &Screen| -> Vec<String> {
        screen.transcript.queue().map(|waiting| waiting.queued_message_id.clone()).collect()
    };
    let mut screen = Screen::default();

    assert_eq!(screen.transcript.activity(), Activity::Idle);
    screen.transcript.begin_turn();
    assert_eq!(screen.transcript.activity(), Activity::Model);
    screen.see(state(ChatState::Running)).see(started(2, 0, PartKind::Text));
    assert_eq!(screen.transcript.activity(), Activity::Answer);
    screen.see(message(2, 3, Role::Assistant, vec![call("execute")]));
    assert_eq!(screen.transcript.activity(), Activity::Tools(vec!["execute".to_owned()]));
    let result = ToolResultPart { call_message_id: 2, ..Default::default() };
    screen.see(message(3, 4, Role::Tool, vec![Part { kind: Some(part::Kind::ToolResult(result)) }]));
    assert_eq!(screen.transcript.activity(), Activity::Model);
    screen.see(upserted("b", 2, false)).see(upserted("a", 1, false)).see(upserted("s", 3, true));
    assert_eq!(queue(&screen), ["s", "a", "b"]);
    screen
        .see(upserted("b", 0, false))
        .see(Event::QueuedMessageRemoved(QueuedMessageRemoved { queued_message_id: "a".to_owned() }));
    assert_eq!(queue(&screen), ["s", "b"]);
    screen.see(state(ChatState::Interrupting));
    assert_eq!(screen.transcript.activity(), Activity::Interruption);
    screen.see(state(ChatState::Waiting));
    assert_eq!(screen.transcript.activity(), Activity::Idle);
}

#[test]
fn calls_of_a_client_are_told_once_and_again_when_one_is_settled() {
    let action = |calls: &[i32]| {
        let call = |index: &i32| PendingCall {
            call: Some(CallId { message_id: 2, call_index: *index }),
            tool_name: format!("tool{index}"),
            ..Default::default()
        };
        Event::ActionRequired(ActionRequired { calls: calls.iter().map(call).collect(), deadline: None })
    };
    let mut screen = Screen::default();

    screen.see(action(&[0, 1])).see(state(ChatState::Suspended)).see(action(&[0, 1])).see(action(&[1]));

    assert_eq!(screen.transcript.activity(), Activity::Client);
    let told = |name: &str| screen.text.matches(name).count();
    assert_eq!((told("tool0"), told("tool1")), (1, 2), "{}", screen.text);
}

#[test]
fn rest_from_before_a_message_is_not_the_end_of_its_turn() {
    let state_at = |state: ChatState, snapshot_version| {
        Event::State(StateChanged { state: state.into(), snapshot_version, ..Default::default() })
    };
    let mut screen = Screen::default();
    screen.transcript.begin_turn();
    screen.transcript.has_begun(7);

    screen.see(state_at(ChatState::Waiting, 6));
    let before = (screen.transcript.take_outcome(), screen.transcript.activity());
    screen.see(state_at(ChatState::Waiting, 9));

    assert_eq!(before, (None, Activity::Model));
    assert_eq!(screen.transcript.take_outcome(), Some(Outcome::Answered));
    assert_eq!(screen.transcript.take_outcome(), None, "it is told once");
}

#[test]
fn a_turn_that_was_stopped_says_so_and_the_next_one_does_not() {
    let stopped =
        Message { message_id: 2, role: Role::Assistant.into(), interrupted: true, ..Default::default() };
    let mut screen = Screen::default();

    screen.see(Event::Message(stopped));
    assert_eq!(screen.transcript.outcome_so_far(), Outcome::Interrupted);
    screen.see(state(ChatState::Waiting));
    assert_eq!(screen.transcript.take_outcome(), Some(Outcome::Interrupted));
    screen.see(message(3, 4, Role::User, vec![])).see(state(ChatState::Waiting));
    assert_eq!(screen.transcript.take_outcome(), Some(Outcome::Answered));
}
