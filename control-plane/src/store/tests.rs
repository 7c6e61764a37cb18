//! The write against a real PostgreSQL, with two connections in a forced order.

use chatplane_domain::{
    Answer, AnswerContent, AnswerPart, BusyBehavior, CallId, CallKind, ChatId, Command, CommitStep, Context,
    Decision, Fence, HolderCommand, HolderWrite, MessageId, NextStep, QueuedMessageId, Rejection, RequestId,
    SessionId, ToolCall, Usage, UserId, UserMessage, WriteHeader, create, decide,
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use super::{
    Applied, Ask, Claim, ClaimError, DEFAULT_ORGANIZATION, Error, MetadataView, ModelCall, Request, Snapshot,
    Store, TransactError, Transacted,
};
use crate::testing::database;

type Outcome = Result<Transacted, TransactError<Rejection>>;

struct World {
    store: Store,
    pool: PgPool,
    user: UserId,
}

async fn world() -> World {
    let url = database().await;
    let store = Store::connect(&url, 4).await.expect("the database answers");
    let user = UserId(Uuid::now_v7());
    store.create_user(user, DEFAULT_ORGANIZATION, "user", false).await.expect("the user is new");
    // The store keeps its connections to itself.
    let pool = PgPoolOptions::new().connect_lazy_with(store.connections.options());
    World { pool, store, user }
}

impl World {
    fn message(&self, text: &str) -> UserMessage {
        UserMessage {
            created_by: self.user,
            texts: vec![text.to_owned()],
            model: None,
            effort: None,
            queued_message_id: None,
        }
    }

    async fn chat(&self, request: Option<Request>) -> Outcome {
        let (now, _) = self.store.now_and_replay::<Rejection>(None).await?;
        let context = Context { now, queue_max: 3, lease_offer: None };
        let decision = create(
            chatplane_domain::CreateChat {
                id: ChatId(Uuid::now_v7()),
                organization: DEFAULT_ORGANIZATION,
                owner: self.user,
                model: "test".to_owned(),
                effort: chatplane_domain::Effort::Unspecified,
                workspace: None,
                deployment_prompt: None,
                system_prompt: None,
                workspace_notice: None,
                message: self.message("first"),
            },
            context,
        );
        let metadata = MetadataView { metadata_version: 1, title: String::new(), labels: Default::default() };
        let ask = Ask { request, ..Ask::default() };
        self.store.create(&decision, &ask, metadata, None, now).await
    }

    async fn new_chat(&self) -> ChatId {
        match self.chat(None).await.expect("it is created") {
            Transacted::Applied(applied) => applied.decision.chat.id,
            Transacted::Replayed(_) => panic!("nothing to replay"),
        }
    }

    async fn transact(&self, chat: ChatId, ask: &Ask, command: Command) -> Outcome {
        self.store.transact(chat, ask, |_| Ok(()), |snapshot| run(snapshot, command.clone())).await
    }

    fn send(&self, text: &str) -> Command {
        Command::SendMessage(chatplane_domain::SendMessage {
            id: QueuedMessageId(Uuid::now_v7()),
            message: self.message(text),
            busy: BusyBehavior::Queue,
        })
    }

    fn request(&self, body: u8) -> Request {
        Request {
            actor: self.user.0,
            id: RequestId(Uuid::now_v7()),
            method: "SendMessage",
            body_sha256: [body; 32],
        }
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.expect("the statement is right")
    }
}

fn run(snapshot: &Snapshot, command: Command) -> Result<Decision, Rejection> {
    decide(&snapshot.chat, command, Context { now: snapshot.now, queue_max: 3, lease_offer: None })
}

fn applied(outcome: Outcome) -> Box<Applied> {
    match outcome.expect("it is applied") {
        Transacted::Applied(applied) => applied,
        Transacted::Replayed(_) => panic!("it is no repeat"),
    }
}

fn leased(claimed: Result<Claim, ClaimError<Rejection>>) -> Box<Applied> {
    match claimed {
        Ok(Claim::Leased(applied)) => applied,
        other => panic!("nothing was claimed: {other:?}"),
    }
}

#[tokio::test]
async fn a_lost_compare_writes_nothing_the_request_id_included() {
    let world = world().await;
    let chat = world.new_chat().await;
    let request = world.request(1);
    let ask = Ask { request: Some(request.clone()), ..Ask::default() };
    let snapshot = world.store.read(chat, &ask).await.expect("it answers").expect("it is there");
    let stale = run(&snapshot, world.send("stale")).expect("it is allowed");

    // Somebody else writes between the read and the write.
    applied(world.transact(chat, &Ask::default(), world.send("faster")).await);
    let wrote = world.store.write(&snapshot, &stale, &ask).await.expect("it answers");

    assert!(!wrote);
    assert_eq!(world.count("select count(*) from requests").await, 0);
    assert_eq!(world.count("select count(*) from queued_messages").await, 1);
    assert_eq!(world.count("select snapshot_version from chats").await, 2);
}

#[tokio::test]
async fn a_lost_compare_of_a_commit_writes_no_message_no_call_and_no_usage() {
    let world = world().await;
    let chat = world.new_chat().await;
    let session = SessionId(Uuid::now_v7());
    applied(world.transact(chat, &Ask::default(), Command::Lease(session)).await);
    let call = ModelCall {
        fence: Fence::FIRST,
        number: 1,
        model: "test".to_owned(),
        usage: Usage { output_tokens: 7, ..Usage::default() },
    };
    let ask = Ask { model_call: Some(call), ..Ask::default() };
    let snapshot = world.store.read(chat, &ask).await.expect("it answers").expect("it is there");
    let stale = run(&snapshot, commit_with_a_call(session)).expect("it is allowed");

    // Somebody queues a message between the read and the write.
    applied(world.transact(chat, &Ask::default(), world.send("faster")).await);
    let wrote = world.store.write(&snapshot, &stale, &ask).await.expect("it answers");

    assert!(!wrote);
    assert_eq!(world.count("select count(*) from messages").await, 1);
    assert_eq!(world.count("select count(*) from calls").await, 0);
    assert_eq!(world.count("select count(*) from model_calls").await, 0);
    let again = world.transact(chat, &ask, commit_with_a_call(session)).await;
    applied(again);
    assert_eq!(world.count("select count(*) from messages").await, 2);
    assert_eq!(world.count("select count(*) from calls where not settled").await, 1);
    assert_eq!(world.count("select sum(output_tokens)::bigint from model_calls").await, 7);
}

fn commit_with_a_call(session: SessionId) -> Command {
    commit_of(session, vec![call_part("{}")])
}

fn call_part(arguments: &str) -> AnswerContent {
    AnswerContent::ToolCall(ToolCall {
        tool_name: "list_dir".to_owned(),
        arguments_json: arguments.to_owned(),
        kind: CallKind::Worker,
    })
}

fn commit_of(session: SessionId, parts: Vec<AnswerContent>) -> Command {
    let parts = parts.into_iter().map(|content| AnswerPart { content, provider_state: Vec::new() });
    let answer = Answer {
        parts: parts.collect(),
        model: "test".to_owned(),
        usage: Usage::default(),
        runtime_ms: 1,
        interrupted: false,
    };
    let step = CommitStep { answer: Some(answer), next: NextStep::Continue, journal: None };
    let header = WriteHeader { session, fence: Fence::FIRST, write_no: 1, history_version: 1 };
    Command::Holder(HolderCommand { header, write: HolderWrite::CommitStep(step) })
}

#[tokio::test]
async fn an_interrupt_that_read_no_lease_loses_its_compare_once_the_lease_is_taken() {
    let world = world().await;
    let chat = world.new_chat().await;
    let snapshot = world.store.read(chat, &Ask::default()).await.expect("it answers").expect("it is there");
    let blind = run(&snapshot, Command::InterruptChat).expect("it is allowed");

    let session = SessionId(Uuid::now_v7());
    applied(world.transact(chat, &Ask::default(), Command::Lease(session)).await);
    let wrote = world.store.write(&snapshot, &blind, &Ask::default()).await.expect("it answers");

    assert!(!wrote, "an interrupt that does not know of the lease must not finish on the spot");
    let again = applied(world.transact(chat, &Ask::default(), Command::InterruptChat).await);
    assert_eq!(again.reply.chat.state, chatplane_domain::State::Interrupting);
}

#[tokio::test]
async fn a_decision_that_changes_nothing_stores_its_request_id_only_where_it_was_read() {
    let world = world().await;
    let chat = world.new_chat().await;
    applied(world.transact(chat, &Ask::default(), Command::InterruptChat).await);
    let ask = Ask { request: Some(world.request(1)), ..Ask::default() };
    let snapshot = world.store.read(chat, &ask).await.expect("it answers").expect("it is there");
    let idle = run(&snapshot, Command::InterruptChat).expect("nothing to stop");

    applied(world.transact(chat, &Ask::default(), world.send("faster")).await);
    let wrote = world.store.write(&snapshot, &idle, &ask).await.expect("it answers");

    assert!(!wrote);
    assert_eq!(world.count("select count(*) from requests").await, 0);
}

#[tokio::test]
async fn two_requests_with_one_id_at_once_have_the_effect_of_one() {
    let world = world().await;
    let chat = world.new_chat().await;
    let ask = Ask { request: Some(world.request(1)), ..Ask::default() };
    // Two replicas make up different ids for the queued message.
    let (one, two) = (world.send("once"), world.send("once"));

    let (first, second) = tokio::join!(world.transact(chat, &ask, one), world.transact(chat, &ask, two));

    let replies: Vec<super::Reply> = [first, second]
        .into_iter()
        .map(|outcome| match outcome.expect("both are answered") {
            Transacted::Applied(applied) => applied.reply,
            Transacted::Replayed(reply) => *reply,
        })
        .collect();
    assert_eq!(replies[0].queued.as_ref().map(|q| q.id), replies[1].queued.as_ref().map(|q| q.id));
    assert_eq!(world.count("select count(*) from queued_messages").await, 1);
    let reused =
        Ask { request: ask.request.map(|r| Request { body_sha256: [2; 32], ..r }), ..Ask::default() };
    let refused = world.transact(chat, &reused, world.send("other")).await;
    assert!(matches!(refused, Err(TransactError::RequestIdReused)));
}

#[tokio::test]
async fn two_creations_with_one_id_at_once_make_one_chat() {
    let world = world().await;
    let request = Request { method: "CreateChat", ..world.request(1) };

    let (first, second) = tokio::join!(world.chat(Some(request.clone())), world.chat(Some(request.clone())));

    first.expect("answered");
    second.expect("answered");
    assert_eq!(world.count("select count(*) from chats").await, 1);
    assert_eq!(world.count("select count(*) from messages").await, 1);
}

#[tokio::test]
async fn many_writers_of_one_chat_all_get_through() {
    let world = world().await;
    let chat = world.new_chat().await;

    let ask = Ask::default();
    let writers = (0..12).map(|number| {
        // Configuring never runs out of room, unlike a queue.
        let configure = chatplane_domain::ConfigureChat {
            model: Some(format!("model-{number}")),
            ..chatplane_domain::ConfigureChat::default()
        };
        world.transact(chat, &ask, Command::ConfigureChat(configure))
    });
    let outcomes = futures::future::join_all(writers).await;

    assert!(outcomes.iter().all(Result::is_ok), "after three losses the row is locked first");
    assert_eq!(world.count("select snapshot_version from chats").await, 13);
}

#[tokio::test]
async fn a_claim_takes_no_chat_that_somebody_is_taking_and_reads_it_after_its_lock() {
    let world = world().await;
    let (first, second) = (world.new_chat().await, world.new_chat().await);
    let session = SessionId(Uuid::now_v7());
    let mut other = world.pool.begin().await.expect("a transaction begins");
    sqlx::query("select from chats where chat_id = $1 for update")
        .bind(first.0)
        .execute(&mut *other)
        .await
        .expect("the row is locked");

    let lease = |snapshot: &Snapshot| run(snapshot, Command::Lease(session));
    let claimed = leased(world.store.claim(1024, &[], lease).await);
    assert_eq!(claimed.decision.chat.id, second);
    let none = world.store.claim(1024, &[], lease).await;
    assert!(matches!(none, Ok(Claim::Nothing)), "{none:?}");

    other.rollback().await.expect("the lock is given back");
    let none = world.store.claim(1024, &[first], lease).await;
    assert!(matches!(none, Ok(Claim::Nothing)), "{none:?}");
    let claimed = leased(world.store.claim(1024, &[second], lease).await);
    assert_eq!(claimed.decision.chat.id, first);
    assert_eq!(claimed.snapshot.turn_input.as_ref().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_database_repeats_the_invariants_of_the_domain() {
    let world = world().await;
    world.new_chat().await;

    for (constraint, sql) in [
        ("chats_state_known", "update chats set state = 'asleep', runnable_since = null"),
        ("chats_archived_is_idle", "update chats set archived = true"),
        ("chats_runnable_has_time", "update chats set runnable_since = null"),
        (
            "chats_interrupting_is_leased",
            "update chats set state = 'interrupting', runnable_since = null, interrupt_time = now()",
        ),
        (
            "chats_waiting_has_no_queue",
            "update chats set state = 'waiting', runnable_since = null, queue_length = 1",
        ),
        ("chats_error_is_named", "update chats set state = 'error', runnable_since = null"),
        (
            "chats_suspended_has_open_calls",
            "update chats set state = 'suspended', runnable_since = null, action_deadline = now()",
        ),
        ("chats_versions_ordered", "update chats set history_version = 9"),
        ("messages_id_range", "update messages set id = 9007199254740992"),
        ("messages_user_has_author", "update messages set created_by = null"),
    ] {
        let error = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&world.pool).await.expect_err(constraint);
        let broken = error.as_database_error().and_then(|error| error.constraint());
        assert_eq!(broken, Some(constraint));
    }
}

#[tokio::test]
async fn an_unknown_content_version_is_a_typed_error_and_never_dropped() {
    let world = world().await;
    let chat = world.new_chat().await;
    sqlx::query("update messages set content_version = 99").execute(&world.pool).await.expect("it is stored");

    let listed = world.store.messages(chat, super::MessageBounds::default(), 10).await;

    assert!(matches!(listed, Err(Error::ContentVersion { version: 99 })), "{listed:?}");
}

#[tokio::test]
async fn the_arguments_of_a_committed_call_are_read_byte_by_byte_and_by_the_calls_own_index() {
    let world = world().await;
    let chat = world.new_chat().await;
    let session = SessionId(Uuid::now_v7());
    applied(world.transact(chat, &Ask::default(), Command::Lease(session)).await);
    let arguments = ["{\"a\": \"\u{1a}0\"}", "not { json\0", ""];
    let parts = vec![
        AnswerContent::Text("first".to_owned()),
        call_part(arguments[0]),
        AnswerContent::Text("between".to_owned()),
        call_part(arguments[1]),
        call_part(arguments[2]),
    ];
    applied(world.transact(chat, &Ask::default(), commit_of(session, parts)).await);

    let read = async |message, index| {
        world.store.committed_arguments(chat, CallId { message: MessageId(message), index }).await
    };

    for (index, arguments) in (0..).zip(arguments) {
        assert_eq!(read(2, index).await.expect("it is there"), arguments);
    }
    for (message, index) in [(2, 3), (1, 0), (3, 0)] {
        let missing = read(message, index).await;
        assert!(matches!(missing, Err(Error::RowInvalid)), "{missing:?}");
    }
    sqlx::query("update messages set content_version = 99").execute(&world.pool).await.expect("it is stored");
    let unknown = read(2, 0).await;
    assert!(matches!(unknown, Err(Error::ContentVersion { version: 99 })), "{unknown:?}");
}
