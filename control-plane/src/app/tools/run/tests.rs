//! The life of a call, with a scripted row and agents whose queues are at hand.

use std::{collections::VecDeque, sync::Mutex};

use bytes::Bytes;
use chatplane_domain::{CallId, ChatId, Fence, JournalId, MessageId, SessionId, WorkspaceId};
use futures::FutureExt;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::*;
use crate::app::tools::{
    FromAgent, ToAgent,
    registry::{Attachment, OUTGOING_MAX},
};

const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(1));
const KEY: CallKey =
    CallKey { chat: ChatId(Uuid::from_u128(2)), call: CallId { message: MessageId(7), index: 0 } };
/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

/// What another replica answers to one call.
type Answer = Vec<Result<PeerToolPiece, PeerCallError>>;

struct Scene {
    workspaces: Workspaces,
    shutdown: CancellationToken,
    /// What other replicas answer, one call each; nothing: no other replica has the agent.
    elsewhere: Arc<Mutex<VecDeque<Answer>>>,
    stirred: watch::Sender<u64>,
    /// What further looks at the row say; the call may run when there is nothing.
    script: Arc<Mutex<VecDeque<Result<Checked, Error>>>>,
}

struct Agent {
    attachment: Attachment,
    queue: mpsc::Receiver<ToAgent>,
}

fn target() -> Checked {
    Checked::Run(Target { workspace: WORKSPACE, name: "laptop".to_owned(), journal: None })
}

fn journalled_target() -> Checked {
    let journal = Some(JournalId(Uuid::nil()));
    Checked::Run(Target { workspace: WORKSPACE, name: "laptop".to_owned(), journal })
}

fn scene() -> Scene {
    Scene {
        workspaces: Workspaces::default(),
        shutdown: CancellationToken::new(),
        elsewhere: Arc::default(),
        stirred: watch::Sender::new(0),
        script: Arc::default(),
    }
}

impl Scene {
    fn attach(&self) -> Agent {
        let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
        let turn = self.workspaces.registering(WORKSPACE).now_or_never().unwrap();
        let attachment = self.workspaces.attach(turn, outgoing, 0);
        Agent { attachment, queue }
    }

    fn reach(&self) -> Reach {
        let elsewhere = self.elsewhere.clone();
        Reach::Anywhere(Elsewhere {
            send: Box::new(move |_, _| {
                let answer = elsewhere.lock().unwrap().pop_front();
                let answer: Option<PeerToolStream> = answer.map(|pieces| stream::iter(pieces).boxed());
                Box::pin(async move { Ok(answer) })
            }),
            workspaces: self.stirred.subscribe(),
            links: watch::Sender::new(()).subscribe(),
        })
    }

    fn call(&self, fence: i64, workspace_return: Duration) -> ToolStream {
        self.call_after(fence, workspace_return, Some(target()))
    }

    /// A call after a look at the row, or before any.
    fn call_after(&self, fence: i64, workspace_return: Duration, checked: Option<Checked>) -> ToolStream {
        let script = self.script.clone();
        let call = CallTool {
            session: SessionId(Uuid::nil()),
            chat: KEY.chat,
            fence: Fence(fence),
            history_version: 1,
            call: KEY.call,
            tool_name: "read_file".to_owned(),
            arguments_json: "{}".to_owned(),
        };
        let run = Run {
            workspaces: self.workspaces.clone(),
            shutdown: self.shutdown.clone(),
            workspace_return,
            call: Arc::new(call),
            checked,
            check_again: Box::new(move || {
                let next = script.lock().unwrap().pop_front();
                Box::pin(async move { next.unwrap_or_else(|| Ok(target())) })
            }),
            reach: self.reach(),
            progress: Progress::Unsent,
            sendings: 0,
            waiting_since: None,
            is_turned_away: false,
            passed_bytes: 0,
            repeated_bytes: 0,
        };
        run.into_stream().map(|piece| piece.map(for_worker)).boxed()
    }
}

impl Agent {
    async fn called(&mut self) {
        let message = self.queue.recv().await.unwrap();
        assert!(matches!(message, ToAgent::CallTool(Sending { key: KEY, .. })), "{message:?}");
    }

    fn writes(&self, text: &'static str) {
        let data = Bytes::from_static(text.as_bytes());
        self.attachment.received(FromAgent::Output { key: KEY, data });
    }

    fn ends(&self) {
        self.attachment.received(FromAgent::Ended { key: KEY, end: done() });
    }
}

fn done() -> ToolEnd {
    ToolEnd { output: "done".to_owned(), is_error: false }
}

fn output(text: &'static str) -> ToolPiece {
    ToolPiece::Output(Bytes::from_static(text.as_bytes()))
}

async fn rest(stream: ToolStream) -> Vec<ToolPiece> {
    stream.map(Result::unwrap).collect().await
}

async fn error_result(stream: ToolStream) -> String {
    match rest(stream).await.pop() {
        Some(ToolPiece::Result(ToolEnd { output, is_error: true })) => output,
        other => panic!("no error result: {other:?}"),
    }
}

#[tokio::test]
async fn a_call_streams_its_output_and_ends_with_its_result() {
    let scene = scene();
    let mut agent = scene.attach();
    let mut stream = scene.call(1, LONG);

    let (first, ()) = tokio::join!(stream.next(), async {
        agent.called().await;
        agent.writes("hello");
    });
    agent.ends();

    assert_eq!(first.unwrap().unwrap(), output("hello"));
    assert_eq!(rest(stream).await, vec![ToolPiece::Result(done())]);
}

#[tokio::test]
async fn without_an_agent_the_model_reads_which_workspace_is_offline() {
    let scene = scene();

    let sentence = error_result(scene.call(1, Duration::ZERO)).await;

    assert!(sentence.contains("\"laptop\" is offline") && sentence.contains("did not run"), "{sentence}");
}

#[tokio::test]
async fn without_its_agent_a_call_that_another_may_have_sent_is_not_said_not_to_have_run() {
    let scene = scene();
    scene.script.lock().unwrap().push_back(Ok(journalled_target()));
    let stream = scene.call_after(1, Duration::ZERO, None);

    let sentence = error_result(stream).await;

    assert!(sentence.contains("unless it had been started before"), "{sentence}");
}

#[tokio::test]
async fn a_call_waits_for_an_agent_that_returns() {
    let scene = scene();
    let stream = scene.call(1, LONG);

    let (pieces, _agent) = tokio::join!(rest(stream), async {
        tokio::task::yield_now().await;
        let mut agent = scene.attach();
        agent.called().await;
        agent.ends();
        agent
    });

    assert_eq!(pieces, vec![ToolPiece::Result(done())]);
}

#[tokio::test]
async fn a_call_whose_agent_goes_away_is_sent_again_and_its_preview_goes_on_where_it_was() {
    let scene = scene();
    let mut agent = scene.attach();
    let mut stream = scene.call(1, LONG);
    let (first, ()) = tokio::join!(stream.next(), async {
        agent.called().await;
        agent.writes("hel");
    });

    let (pieces, _agent) = tokio::join!(rest(stream), async {
        drop(agent);
        tokio::task::yield_now().await;
        let mut agent = scene.attach();
        agent.called().await;
        agent.writes("he");
        agent.writes("llo");
        agent.ends();
        agent
    });

    assert_eq!(first.unwrap().unwrap(), output("hel"));
    assert_eq!(pieces, vec![output("lo"), ToolPiece::Result(done())]);
}

#[tokio::test]
async fn a_call_whose_agent_does_not_come_back_has_an_unknown_outcome() {
    let scene = scene();
    let mut agent = scene.attach();

    let (sentence, ()) = tokio::join!(error_result(scene.call(1, Duration::ZERO)), async {
        agent.called().await;
        drop(agent);
    });

    assert!(sentence.contains("offline") && sentence.contains("unknown"), "{sentence}");
}

#[tokio::test]
async fn a_call_under_which_agents_keep_going_away_is_not_sent_for_ever() {
    let scene = scene();
    let mut agent = scene.attach();

    let (sentence, sendings) = tokio::join!(error_result(scene.call(1, LONG)), async {
        let mut sendings = 0;
        while sendings < SENDINGS_MAX {
            agent.called().await;
            sendings += 1;
            agent = scene.attach();
        }
        sendings
    });

    assert!(sentence.contains("broke 3 times"), "{sentence}");
    assert_eq!(sendings, SENDINGS_MAX);
    assert!(agent.queue.try_recv().is_err());
}

#[tokio::test]
async fn a_journalled_call_outlives_more_breaks_of_its_agents_stream_than_another_may_have() {
    let scene = scene();
    let mut agent = scene.attach();
    let looks = (0..=SENDINGS_MAX).map(|_| Ok(journalled_target()));
    scene.script.lock().unwrap().extend(looks);
    let stream = scene.call_after(1, LONG, Some(journalled_target()));

    let (pieces, _agent) = tokio::join!(rest(stream), async {
        for _ in 0..=SENDINGS_MAX {
            agent.called().await;
            agent = scene.attach();
        }
        agent.called().await;
        agent.ends();
        agent
    });

    assert_eq!(pieces, vec![ToolPiece::Result(done())]);
}

#[tokio::test]
async fn a_journalled_call_under_which_agents_keep_going_away_is_not_sent_for_ever_either() {
    let scene = scene();
    let mut agent = scene.attach();
    let looks = (0..SENDINGS_JOURNALLED_MAX).map(|_| Ok(journalled_target()));
    scene.script.lock().unwrap().extend(looks);
    let stream = scene.call_after(1, LONG, Some(journalled_target()));

    let (sentence, ()) = tokio::join!(error_result(stream), async {
        for _ in 0..SENDINGS_JOURNALLED_MAX {
            agent.called().await;
            agent = scene.attach();
        }
    });

    assert!(sentence.contains("broke 1000 times") && sentence.contains("unknown"), "{sentence}");
    assert!(agent.queue.try_recv().is_err());
}

#[tokio::test]
async fn a_holder_that_lost_its_lease_while_it_waited_gets_nothing_run() {
    let scene = scene();
    scene.script.lock().unwrap().push_back(Err(Error::LeaseLost));
    let mut stream = scene.call(1, LONG);

    let (piece, mut agent) = tokio::join!(stream.next(), async {
        tokio::task::yield_now().await;
        scene.attach()
    });

    assert!(matches!(piece, Some(Err(Error::LeaseLost))), "{piece:?}");
    assert!(agent.queue.try_recv().is_err());
}

#[tokio::test]
async fn a_call_that_was_settled_otherwise_while_it_waited_is_answered() {
    let scene = scene();
    let answer = ToolEnd::error("interrupted");
    scene.script.lock().unwrap().push_back(Ok(Checked::Answer(answer.clone())));

    let (pieces, _agent) = tokio::join!(rest(scene.call(1, LONG)), async {
        tokio::task::yield_now().await;
        scene.attach()
    });

    assert_eq!(pieces, vec![ToolPiece::Result(answer)]);
}

#[tokio::test]
async fn a_dropped_call_runs_on_and_the_next_holder_gets_its_result() {
    let scene = scene();
    let mut agent = scene.attach();
    let mut first = scene.call(1, LONG);
    let called = tokio::select! {
        _ = first.next() => false,
        () = agent.called() => true,
    };
    drop(first);

    agent.writes("hello");
    let (pieces, ()) = tokio::join!(rest(scene.call(2, LONG)), async {
        tokio::task::yield_now().await;
        agent.ends();
    });

    assert!(called);
    assert_eq!(pieces, vec![output("hello"), ToolPiece::Result(done())]);
    assert!(agent.queue.try_recv().is_err(), "it is neither asked again nor told to stop");
}

#[tokio::test]
async fn a_late_holder_hears_that_its_lease_is_lost() {
    let scene = scene();
    let mut agent = scene.attach();
    let mut late = scene.call(1, LONG);
    let mut rightful = scene.call(2, LONG);

    let (late_piece, rightful_piece) = tokio::join!(late.next(), async {
        let (piece, ()) = tokio::join!(rightful.next(), async {
            agent.called().await;
            agent.ends();
        });
        piece
    });

    assert!(matches!(late_piece, Some(Err(Error::LeaseLost))), "{late_piece:?}");
    assert_eq!(rightful_piece.unwrap().unwrap(), ToolPiece::Result(done()));
}

#[tokio::test]
async fn a_replica_that_shuts_down_ends_its_calls() {
    let scene = scene();
    let _agent = scene.attach();
    let mut stream = scene.call(1, LONG);

    scene.shutdown.cancel();
    let pieces = [stream.next().await, stream.next().await];

    assert!(matches!(pieces, [Some(Err(Error::ShuttingDown)), None]), "{pieces:?}");
}

fn elsewhere(piece: ToolPiece) -> Result<PeerToolPiece, PeerCallError> {
    Ok(PeerToolPiece::Piece(piece))
}

fn gone(was_sent: bool) -> Result<PeerToolPiece, PeerCallError> {
    Ok(PeerToolPiece::AgentGone { was_sent })
}

#[tokio::test]
async fn a_call_whose_agent_is_elsewhere_runs_there() {
    let scene = scene();
    let answer = vec![elsewhere(output("hello")), elsewhere(ToolPiece::Result(done()))];
    scene.elsewhere.lock().unwrap().push_back(answer);

    let pieces = rest(scene.call(1, LONG)).await;

    assert_eq!(pieces, vec![output("hello"), ToolPiece::Result(done())]);
}

#[tokio::test]
async fn a_replica_that_turns_a_call_away_is_asked_again_when_something_has_changed() {
    let scene = scene();
    let answers = [vec![gone(false)], vec![elsewhere(ToolPiece::Result(done()))]];
    scene.elsewhere.lock().unwrap().extend(answers);

    let mut stream = scene.call(1, LONG);
    assert!(stream.next().now_or_never().is_none());
    assert_eq!(scene.elsewhere.lock().unwrap().len(), 1, "it is not asked again at once");
    scene.stirred.send_modify(|changes| *changes += 1);

    assert_eq!(rest(stream).await, vec![ToolPiece::Result(done())]);
}

#[tokio::test]
async fn a_link_that_breaks_under_a_call_is_not_the_end_of_it_and_repeats_no_output() {
    let scene = scene();
    let broken = Err(PeerCallError::Unreachable("it broke".to_owned()));
    let answers = [
        vec![elsewhere(output("hel")), broken],
        vec![elsewhere(output("hello")), elsewhere(ToolPiece::Result(done()))],
    ];
    scene.elsewhere.lock().unwrap().extend(answers);

    let pieces = rest(scene.call(1, LONG)).await;

    assert_eq!(pieces, vec![output("hel"), output("lo"), ToolPiece::Result(done())]);
}

#[tokio::test]
async fn what_another_replica_refuses_is_refused_here() {
    let scene = scene();
    let refused = Err(PeerCallError::Refused(Error::LeaseLost));
    scene.elsewhere.lock().unwrap().push_back(vec![refused]);

    let first = scene.call(1, LONG).next().await;

    assert!(matches!(first, Some(Err(Error::LeaseLost))), "{first:?}");
}

#[tokio::test]
async fn an_agent_that_left_elsewhere_and_does_not_come_back_may_have_run_the_call() {
    let scene = scene();
    scene.elsewhere.lock().unwrap().push_back(vec![gone(true)]);

    let sentence = error_result(scene.call(1, Duration::ZERO)).await;

    assert!(sentence.contains("had started"), "{sentence}");
}
