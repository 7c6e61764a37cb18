//! The agent's stream, without gRPC.

use bytes::Bytes;
use chatplane_domain::{CallId, ChatId, MessageId, WorkspaceId};
use futures::stream;
use uuid::Uuid;

use super::*;
use crate::app::tools::{CallKey, Workspaces};

const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(1));
/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

fn attach(workspaces: &Workspaces, ping_interval: Duration) -> (Attached, mpsc::Receiver<ToAgent>) {
    let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
    let registration = workspaces.register();
    let attachment = workspaces.attach(WORKSPACE, registration, outgoing).unwrap();
    (Attached { attachment, shutdown: CancellationToken::new(), ping_interval }, messages)
}

#[tokio::test]
async fn an_agent_that_leaves_is_no_longer_online() {
    let workspaces = Workspaces::default();
    let (attached, _messages) = attach(&workspaces, LONG);

    let served = attached.serve(stream::iter([Ok(FromAgent::Pong)])).await;

    assert!(served.is_ok(), "{served:?}");
    assert!(!workspaces.is_online(WORKSPACE));
}

#[tokio::test]
async fn a_silent_agent_is_detached_after_five_pings() {
    let workspaces = Workspaces::default();
    let (attached, mut messages) = attach(&workspaces, Duration::from_millis(1));

    let served = attached.serve(stream::pending()).await;

    assert!(matches!(served, Err(Error::SessionLost)), "{served:?}");
    assert!(!workspaces.is_online(WORKSPACE));
    let pings: Vec<_> = std::iter::from_fn(|| messages.try_recv().ok()).collect();
    assert_eq!(pings, (2..=5).map(ToAgent::Ping).collect::<Vec<_>>());
}

#[test]
fn whatever_an_agent_says_is_a_sign_of_life() {
    let mut heartbeat = Heartbeat::after_first_ping();

    for ping_no in 2..=100 {
        assert_eq!(heartbeat.next_ping(), Some(ping_no));
        if ping_no % i64::from(UNANSWERED_MAX) == 0 {
            heartbeat.heard();
        }
    }
    for _ in 0..UNANSWERED_MAX {
        assert!(heartbeat.next_ping().is_some());
    }
    assert_eq!(heartbeat.next_ping(), None);
}

#[tokio::test]
async fn the_stream_of_a_replaced_agent_ends_with_the_reason() {
    let workspaces = Workspaces::default();
    let (older, _older_messages) = attach(&workspaces, LONG);
    let (_newer, _newer_messages) = attach(&workspaces, LONG);

    let served = older.serve(stream::pending()).await;

    assert!(matches!(served, Err(Error::WorkspaceReplaced)), "{served:?}");
    assert!(workspaces.is_online(WORKSPACE));
}

#[tokio::test]
async fn a_stream_ends_with_its_replica() {
    let (attached, _messages) = attach(&Workspaces::default(), LONG);
    attached.shutdown.cancel();

    let served = attached.serve(stream::pending()).await;

    assert!(matches!(served, Err(Error::ShuttingDown)), "{served:?}");
}

#[tokio::test]
async fn what_is_wrong_ends_the_stream_and_what_is_nobodys_does_not() {
    let (attached, _messages) = attach(&Workspaces::default(), LONG);
    let call = CallId { message: MessageId(1), index: 0 };
    let nobodys = FromAgent::Output {
        key: CallKey { chat: ChatId(Uuid::nil()), call },
        data: Bytes::from_static(b"?"),
    };
    let said = [Ok(nobodys), Err(Error::invalid("register", "again"))];

    let served = attached.serve(stream::iter(said).chain(stream::pending())).await;

    assert!(matches!(served, Err(Error::FieldInvalid(_))), "{served:?}");
}
