//! The registry, with the agents' queues at hand.

use bytes::Bytes;
use chatplane_domain::{CallId, MessageId};
use futures::FutureExt;
use uuid::Uuid;

use super::*;
use crate::app::tools::outlet::Piece;

const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(1));
const CHAT: ChatId = ChatId(Uuid::from_u128(2));

struct Scene {
    workspaces: Workspaces,
    attachment: Attachment,
    queue: mpsc::Receiver<ToAgent>,
}

fn attach(workspaces: &Workspaces) -> (Attachment, mpsc::Receiver<ToAgent>) {
    let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
    let turn = workspaces.registering(WORKSPACE).now_or_never().unwrap();
    (workspaces.attach(turn, outgoing, 0), queue)
}

fn scene() -> Scene {
    let workspaces = Workspaces::default();
    let (attachment, queue) = attach(&workspaces);
    Scene { workspaces, attachment, queue }
}

fn key(index: i32) -> CallKey {
    CallKey { chat: CHAT, call: CallId { message: MessageId(7), index } }
}

fn sending(index: i32, fence: i64) -> Sending {
    Sending {
        key: key(index),
        fence: Fence(fence),
        journal: None,
        tool_name: "read_file".to_owned(),
        arguments_json: "{}".to_owned(),
    }
}

fn open(index: i32) -> (CallId, WorkspaceId) {
    (key(index).call, WORKSPACE)
}

impl Scene {
    fn cancel(&self, calls: &[(CallId, WorkspaceId)]) {
        self.workspaces.ended(CHAT, calls, EndedCause::Cancelled);
    }

    fn settled(&self, calls: &[(CallId, WorkspaceId)]) {
        self.workspaces.ended(CHAT, calls, EndedCause::Settled);
    }
}

fn end() -> ToolEnd {
    ToolEnd { output: "done".to_owned(), is_error: false }
}

fn output(index: i32, text: &'static str) -> FromAgent {
    FromAgent::Output { key: key(index), data: Bytes::from_static(text.as_bytes()) }
}

fn ended(index: i32) -> FromAgent {
    FromAgent::Ended { key: key(index), end: end() }
}

impl Scene {
    fn send(&self, sending: Sending) -> Result<Arc<Outlet>, NotSent> {
        self.workspaces.send(WORKSPACE, sending)
    }

    fn sent(&mut self) -> Vec<ToAgent> {
        std::iter::from_fn(|| self.queue.try_recv().ok()).collect()
    }
}

#[tokio::test]
async fn a_call_reaches_its_agent_and_its_output_and_result_come_back() {
    let mut scene = scene();

    let outlet = scene.send(sending(0, 1)).unwrap();
    scene.attachment.received(output(0, "hello"));
    scene.attachment.received(ended(0));

    assert_eq!(scene.sent(), vec![ToAgent::CallTool(sending(0, 1))]);
    assert_eq!(outlet.next().await, Piece::Output(Bytes::from_static(b"hello")));
    assert_eq!(outlet.next().await, Piece::End(End::Ended(end())));
}

#[test]
fn a_workspace_is_online_while_its_agent_is_attached_and_leaves_nothing_behind() {
    let workspaces = Workspaces::default();
    let before = workspaces.is_online(WORKSPACE);
    let (attachment, _queue) = attach(&workspaces);
    let meanwhile = workspaces.is_online(WORKSPACE);

    drop(attachment);

    assert_eq!((before, meanwhile, workspaces.is_online(WORKSPACE)), (false, true, false));
    assert!(workspaces.lock().is_empty());
}

#[tokio::test]
async fn a_newer_agent_takes_the_place_of_an_older_one_whose_calls_are_detached() {
    let Scene { workspaces, attachment: older, queue: _older_queue } = scene();
    let outlet = workspaces.send(WORKSPACE, sending(0, 1)).unwrap();

    let (_newer, mut newer_queue) = attach(&workspaces);

    older.replaced().await;
    assert_eq!(outlet.next().await, Piece::End(End::Detached));
    // What the older one still says or does concerns nobody.
    let outlet = workspaces.send(WORKSPACE, sending(0, 1)).unwrap();
    older.received(ended(0));
    drop(older);
    assert!(workspaces.is_online(WORKSPACE));
    assert_eq!(newer_queue.try_recv(), Ok(ToAgent::CallTool(sending(0, 1))));
    drop(workspaces);
    drop(_newer);
    assert_eq!(outlet.next().await, Piece::End(End::Detached));
}

#[test]
fn an_agent_that_asks_to_register_later_waits_for_the_earlier_one_and_replaces_it() {
    let workspaces = Workspaces::default();
    let (outgoing, _queue) = mpsc::channel(OUTGOING_MAX);
    let earlier = workspaces.registering(WORKSPACE).now_or_never().unwrap();
    let mut later = Box::pin(workspaces.registering(WORKSPACE));
    assert!((&mut later).now_or_never().is_none());

    let earlier = workspaces.attach(earlier, outgoing.clone(), 0);
    let later = workspaces.attach(later.now_or_never().unwrap(), outgoing, 0);

    assert!(earlier.replaced.is_cancelled());
    assert!(!later.replaced.is_cancelled());
}

#[tokio::test]
async fn a_repeated_call_joins_the_running_one_and_the_newest_caller_gets_it_from_its_start() {
    let mut scene = scene();
    let first = scene.send(sending(0, 1)).unwrap();
    scene.attachment.received(output(0, "one"));

    let second = scene.send(sending(0, 1)).unwrap();
    scene.attachment.received(output(0, "two"));
    scene.attachment.received(ended(0));

    assert_eq!(scene.sent().len(), 1);
    assert_eq!(first.next().await, Piece::Output(Bytes::from_static(b"one")));
    assert_eq!(first.next().await, Piece::End(End::Repeated));
    assert_eq!(second.next().await, Piece::Output(Bytes::from_static(b"onetwo")));
    assert_eq!(second.next().await, Piece::End(End::Ended(end())));
}

#[tokio::test]
async fn a_call_without_a_caller_runs_on_and_is_found_by_the_next_holder() {
    let mut scene = scene();
    drop(scene.send(sending(0, 1)).unwrap());
    scene.attachment.received(output(0, "nobody reads this yet"));

    let outlet = scene.send(sending(0, 2)).unwrap();
    scene.attachment.received(ended(0));

    assert_eq!(scene.sent(), vec![ToAgent::CallTool(sending(0, 1))]);
    assert_eq!(outlet.next().await, Piece::Output(Bytes::from_static(b"nobody reads this yet")));
    assert_eq!(outlet.next().await, Piece::End(End::Ended(end())));
}

#[test]
fn a_call_that_ends_with_nobody_waiting_is_forgotten() {
    let scene = scene();
    drop(scene.send(sending(0, 1)).unwrap());

    scene.attachment.received(ended(0));

    let places = scene.workspaces.lock();
    assert!(places[&WORKSPACE].agent.as_ref().unwrap().running.is_empty());
}

#[tokio::test]
async fn a_later_holder_takes_a_call_over_and_a_late_one_cannot_end_it() {
    let mut scene = scene();
    let late = scene.send(sending(0, 1)).unwrap();
    let rightful = scene.send(sending(0, 2)).unwrap();
    let sent = scene.sent().len();

    let refused = scene.send(sending(0, 1));

    assert_eq!(late.next().await, Piece::End(End::TakenOver));
    assert_eq!(refused.err(), Some(NotSent::LateHolder));
    assert_eq!((sent, scene.sent()), (1, vec![]));
    scene.attachment.received(ended(0));
    assert_eq!(rightful.next().await, Piece::End(End::Ended(end())));
}

#[test]
fn a_late_holder_is_refused_for_its_whole_chat_also_after_the_later_ones_calls_have_ended() {
    let scene = scene();
    let _rightful = scene.send(sending(0, 2)).unwrap();
    scene.attachment.received(ended(0));

    assert_eq!(scene.send(sending(1, 1)).err(), Some(NotSent::LateHolder));
    assert!(scene.send(sending(1, 2)).is_ok());
}

#[test]
fn fences_of_too_many_chats_are_forgotten_but_for_those_with_running_calls() {
    let scene = scene();
    let chat = |number: usize| ChatId(Uuid::from_u128(1_000 + number as u128));
    let of = |number, fence| Sending { key: CallKey { chat: chat(number), ..key(0) }, ..sending(0, fence) };
    let _running = scene.send(of(0, 2)).unwrap();
    let mut places = scene.workspaces.lock();
    let agent = places.get_mut(&WORKSPACE).unwrap().agent.as_mut().unwrap();

    for number in 1..=FENCES_MAX {
        agent.note_fence(chat(number), Fence(2));
    }

    assert_eq!(agent.fences, HashMap::from([(chat(0), Fence(2))]));
}

#[test]
fn an_agent_gets_a_bounded_number_of_calls_at_a_time() {
    let scene = scene();
    let most = i32::try_from(CALLS_MAX).unwrap();
    for index in 0..most {
        // Without its caller too a call takes the agent's time.
        drop(scene.send(sending(index, 1)).unwrap());
    }

    let refused = scene.send(sending(most, 1));
    scene.attachment.received(ended(0));

    assert_eq!(refused.err(), Some(NotSent::Busy));
    assert!(scene.send(sending(most, 1)).is_ok());
}

#[test]
fn a_queue_that_nobody_empties_refuses_calls_and_loses_pings() {
    let scene = scene();
    for ping_no in 0..=i64::try_from(OUTGOING_MAX).unwrap() {
        scene.attachment.ping(ping_no);
    }

    assert_eq!(scene.send(sending(0, 1)).err(), Some(NotSent::Busy));
}

#[test]
fn a_cancelled_call_is_cancelled_once_and_keeps_its_place_until_it_ends() {
    let mut scene = scene();
    let _outlet = scene.send(sending(0, 1)).unwrap();
    scene.sent();

    for _ in 0..2 {
        scene.cancel(&[open(0)]);
        scene.settled(&[open(0)]);
    }

    assert_eq!(scene.sent(), vec![ToAgent::CancelTool(key(0))]);
    assert_eq!(scene.send(sending(0, 1)).err(), None);
}

#[test]
fn a_call_that_may_run_since_an_earlier_stream_is_cancelled_too_at_its_workspace_alone() {
    let mut scene = scene();
    let elsewhere = (open(1).0, WorkspaceId(Uuid::nil()));

    scene.cancel(&[open(0), elsewhere]);

    assert_eq!(scene.sent(), vec![ToAgent::CancelTool(key(0))]);
}

#[test]
fn calls_that_have_ended_are_settled_without_a_word_and_those_that_run_are_stopped() {
    let mut scene = scene();
    for index in 0..2 {
        let _outlet = scene.send(sending(index, 1)).unwrap();
    }
    scene.attachment.received(ended(0));
    scene.sent();

    scene.settled(&[open(0), open(1), open(2)]);

    assert_eq!(scene.sent(), vec![ToAgent::CancelTool(key(1))]);
}

#[test]
fn cancelling_what_may_not_run_leaves_room_for_calls() {
    let scene = scene();
    let most = i32::try_from(OUTGOING_MAX).unwrap();
    let calls: Vec<_> = (0..most).map(open).collect();

    scene.cancel(&calls);

    for index in 0..i32::try_from(CALLS_MAX).unwrap() {
        assert!(scene.send(sending(index, 1)).is_ok(), "call {index}");
    }
}

#[tokio::test]
async fn who_waits_hears_of_an_agent_and_of_room_and_leaves_nothing_behind() {
    let workspaces = Workspaces::default();
    let mut waiting = workspaces.wait(WORKSPACE);
    let other = workspaces.wait(WORKSPACE);

    let (attachment, _queue) = attach(&workspaces);
    waiting.changed().await;
    workspaces.send(WORKSPACE, sending(0, 1)).unwrap();
    attachment.received(ended(0));
    waiting.changed().await;

    drop((attachment, waiting));
    assert_eq!(workspaces.lock().len(), 1);
    drop(other);
    assert!(workspaces.lock().is_empty());
}

#[tokio::test]
async fn a_result_that_is_too_large_is_cut_at_a_character() {
    let scene = scene();
    let outlet = scene.send(sending(0, 1)).unwrap();
    let too_large = ToolEnd { output: "茶".repeat(400_000), is_error: false };

    scene.attachment.received(FromAgent::Ended { key: key(0), end: too_large });

    let Piece::End(End::Ended(ToolEnd { output, is_error: false })) = outlet.next().await else {
        panic!("it is the tool's end");
    };
    assert!(output.len() <= chatplane_domain::TOOL_OUTPUT_BYTES_MAX);
    assert!(output.ends_with("茶\n(the result was cut here: it is larger than 1 MiB)"));
}

#[test]
fn an_agent_that_registered_elsewhere_since_puts_out_the_one_here_and_no_later_one() {
    let workspaces = Workspaces::default();
    let (outgoing, _queue) = mpsc::channel(OUTGOING_MAX);
    let turn = workspaces.registering(WORKSPACE).now_or_never().unwrap();
    let attachment = workspaces.attach(turn, outgoing, 5);
    let outlet = workspaces.send(WORKSPACE, sending(0, 1)).unwrap();

    workspaces.attached_elsewhere(WORKSPACE, 5);
    workspaces.attached_elsewhere(WORKSPACE, 4);
    assert!(workspaces.is_online(WORKSPACE));
    assert_eq!(workspaces.attachments(), [(WORKSPACE, 5)]);
    workspaces.attached_elsewhere(WORKSPACE, 6);

    assert!(!workspaces.is_online(WORKSPACE));
    assert!(attachment.replaced().now_or_never().is_some());
    assert_eq!(outlet.next().now_or_never(), Some(Piece::End(End::Detached)));
}
