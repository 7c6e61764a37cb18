//! The agent's stream, without gRPC.

use std::future::pending;

use bytes::Bytes;
use chatplane_domain::{CallId, ChatId, MessageId, WorkspaceId};
use futures::{FutureExt, stream};
use uuid::Uuid;

use super::*;
use crate::app::tools::{CallKey, Disposition, Verdict, Workspaces};

const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(1));
/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

fn attach(workspaces: &Workspaces, ping_interval: Duration) -> (Attached, mpsc::Receiver<ToAgent>) {
    let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
    let turn = workspaces.registering(WORKSPACE).now_or_never().unwrap();
    let attachment = workspaces.attach(turn, outgoing, 0);
    let listings = Listings::new(Box::new(|_| pending().boxed()));
    (
        Attached { attachment, listings, shutdown: CancellationToken::new(), ping_interval, _leaving: None },
        messages,
    )
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

fn key() -> CallKey {
    CallKey { chat: ChatId(Uuid::nil()), call: CallId { message: MessageId(1), index: 0 } }
}

#[tokio::test]
async fn an_agent_that_lists_its_journal_is_told_what_becomes_of_it() {
    let (mut attached, mut messages) = attach(&Workspaces::default(), LONG);
    let verdict = |key| Verdict { key, disposition: Disposition::Cancel };
    attached.listings = Listings::new(Box::new(move |listed| {
        futures::future::ready(Ok(listed.into_iter().map(verdict).collect())).boxed()
    }));
    let said = stream::iter([Ok(FromAgent::JournalEntries(vec![key()]))]).chain(stream::pending());

    let serving = attached.serve(said);
    let told = tokio::select! {
        served = serving => panic!("the stream goes on: {served:?}"),
        told = messages.recv() => told,
    };

    assert_eq!(told, Some(ToAgent::JournalVerdicts(vec![verdict(key())])));
}

#[tokio::test]
async fn an_agent_is_read_and_pinged_while_the_database_does_not_answer() {
    let (attached, mut messages) = attach(&Workspaces::default(), Duration::from_millis(1));
    let listed = stream::iter([Ok(FromAgent::JournalEntries(vec![key()]))]);
    let pongs = stream::iter((0..20).map(|_| Ok(FromAgent::Pong)));
    let pings = async { while !matches!(messages.recv().await, Some(ToAgent::Ping(2))) {} };

    let said = listed.chain(stream::once(pings).filter_map(|()| std::future::ready(None))).chain(pongs);
    let served = attached.serve(said).await;

    assert!(served.is_ok(), "{served:?}");
}
