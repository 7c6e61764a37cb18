//! The write, with two connections in a forced order.

use chatplane_domain::{
    AnswerContent, BusyBehavior, CallId, CallKind, Command, ConfigureChat, Fence, HolderCommand, MessageId,
    NextStep, SessionId, State, Usage, WriteHeader,
};
use uuid::Uuid;

use super::world::{applied, call, call_of, claimable, held, leased, run, step, summary, text, tool, world};
use crate::store::{
    Ask, Claim, Error, MessageBounds, ModelCall, Reply, Request, Snapshot, TransactError, Transacted,
};

fn commit_with_a_call(session: SessionId) -> Command {
    commit_of(session, vec![call(CallKind::Worker)])
}

fn commit_of(session: SessionId, parts: Vec<AnswerContent>) -> Command {
    let header = WriteHeader { session, fence: Fence::FIRST, write_no: 1, history_version: 1 };
    Command::Holder(HolderCommand { header, write: step(Some(parts), NextStep::Continue, None) })
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
    let ask = Ask { model_calls: vec![call], ..Ask::default() };
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
    assert_eq!(again.reply.chat.state, State::Interrupting);
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

    let replies: Vec<Reply> = [first, second]
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
        let configure = ConfigureChat { model: Some(format!("model-{number}")), ..ConfigureChat::default() };
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
    let claimed = leased(world.store.claim(claimable(&[]), lease).await);
    assert_eq!(claimed.decision.chat.id, second);
    let none = world.store.claim(claimable(&[]), lease).await;
    assert!(matches!(none, Ok(Claim::Nothing)), "{none:?}");

    other.rollback().await.expect("the lock is given back");
    let none = world.store.claim(claimable(&[first]), lease).await;
    assert!(matches!(none, Ok(Claim::Nothing)), "{none:?}");
    let claimed = leased(world.store.claim(claimable(&[second]), lease).await);
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
        (
            "chats_compaction_is_running",
            "update chats set compact_requested = true, state = 'waiting', runnable_since = null",
        ),
        ("chats_action_timeout_range", "update chats set action_timeout_ms = 999"),
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

    let listed = world.store.messages(chat, MessageBounds::default(), 10).await;

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
        text("first"),
        call_of("list_dir", arguments[0], CallKind::Worker),
        text("between"),
        call_of("list_dir", arguments[1], CallKind::Worker),
        call_of("list_dir", arguments[2], CallKind::Worker),
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

#[tokio::test]
async fn a_lost_compare_of_a_commit_with_a_summary_writes_no_boundary_and_no_usage() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    world.answer(chat, vec![text("one")], NextStep::Continue).await;
    let calls = [1, 2].map(|number| ModelCall {
        fence: Fence::FIRST,
        number,
        model: "test".to_owned(),
        usage: Usage { output_tokens: number, ..Usage::default() },
    });
    let covered = Some((MessageId(2), 3));
    let ask = Ask { model_calls: calls.to_vec(), covered, ..Ask::default() };
    let snapshot = world.snapshot(chat, &ask).await;
    let write = step(Some(vec![text("two")]), NextStep::Finish, Some(summary(2, "in short")));
    let stale = run(&snapshot, held(&snapshot, write)).expect("it is allowed");

    world.apply(chat, world.send("faster")).await;
    let wrote = world.store.write(&snapshot, &stale, &ask).await.expect("it answers");

    assert!(!wrote);
    assert_eq!(world.live(chat).await, [1, 2]);
    assert_eq!(world.count("select count(*) from model_calls").await, 0);
    assert_eq!(world.count("select count(*) from chats where covers_through is not null").await, 0);
}

#[tokio::test]
async fn a_write_accounts_for_each_of_its_model_calls_once() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    let calls = [(1, 3), (2, 4)].map(|(number, output_tokens)| ModelCall {
        fence: Fence::FIRST,
        number,
        model: "a\0b".to_owned(),
        usage: Usage { output_tokens, ..Usage::default() },
    });
    let session = world.snapshot(chat, &Ask::default()).await.chat.last_lease.expect("it is leased").session;
    world.store.report_usage(chat, session, &calls[0]).await.expect("it answers");

    // A summary that came to nothing was paid for: one message, two model calls.
    let ask = Ask { model_calls: calls.to_vec(), ..Ask::default() };
    let commit = |snapshot: &Snapshot| {
        run(snapshot, held(snapshot, step(Some(vec![text("done")]), NextStep::Finish, None)))
    };
    applied(world.store.transact(chat, &ask, |_| Ok(()), commit).await);

    assert_eq!(world.count("select count(*) from model_calls").await, 2);
    assert_eq!(world.count("select sum(output_tokens)::bigint from model_calls").await, 7);
}

#[tokio::test]
async fn a_chat_keeps_what_its_client_can_until_that_changes() {
    let world = world().await;
    let mut new = world.new_chat_of("first");
    new.client_tools = vec![tool("ask"), tool("look")];
    let chat = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    let written = "select count(*) from chats where client_tool_definitions = '[]'";

    world.apply(chat, world.send("second")).await;
    world.apply(chat, Command::InterruptChat).await;
    let ask = Ask { turn_bytes_max: Some(1024), ..Ask::default() };
    let kept = world.snapshot(chat, &ask).await;
    let names = kept.chat.settings.client_tools.clone();
    let definitions = kept.turn_settings.expect("it was asked for").client_tools;
    let none = ConfigureChat { client_tools: Some(Vec::new()), ..ConfigureChat::default() };
    world.apply(chat, Command::ConfigureChat(none)).await;

    assert_eq!(names, ["ask", "look"]);
    assert_eq!(definitions, [tool("ask"), tool("look")]);
    assert_eq!(world.count(written).await, 1);
    assert_eq!(world.snapshot(chat, &ask).await.chat.settings.client_tools, Vec::<String>::new());
}

#[tokio::test]
async fn a_queued_message_whose_model_is_gone_is_answered_by_the_default_one_and_says_so() {
    let world = world().await;
    let models = "insert into models (
            organization_id, name, provider, endpoint, provider_model, is_default, enabled,
            context_tokens_max, output_tokens_max
        )
        select organization_id, m.name, '', '', '', m.name = 'default', m.name <> 'off', 1000, 1000
        from organizations, unnest(array['default', 'on', 'off']) as m (name)";
    world.execute(models).await;
    let chat = world.new_chat().await;
    for (name, busy) in
        [("on", BusyBehavior::Queue), ("off", BusyBehavior::Queue), ("gone", BusyBehavior::Steer)]
    {
        let Command::SendMessage(mut send) = world.send_busy(name, busy) else { unreachable!() };
        send.message.model = Some(name.to_owned());
        world.apply(chat, Command::SendMessage(send)).await;
    }

    let fallbacks = |snapshot: &Snapshot| -> Vec<_> {
        snapshot
            .chat
            .queue
            .iter()
            .map(|queued| (queued.model.clone(), queued.fallback_model.clone()))
            .collect()
    };
    let known = fallbacks(&world.snapshot(chat, &Ask::default()).await);
    world.lease(chat).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    world.answer(chat, vec![text("two")], NextStep::Finish).await;
    world.answer(chat, vec![text("three")], NextStep::Finish).await;

    let some = |name: &str| Some(name.to_owned());
    let expected = [(some("gone"), some("default")), (some("on"), None), (some("off"), some("default"))];
    assert_eq!(known, expected);
    let sql = "select model, requested_model from messages where role = 'user' order by id";
    let rows: Vec<(String, Option<String>)> =
        sqlx::query_as(sql).fetch_all(&world.pool).await.expect("the statement is right");
    let expected = [("test", None), ("default", some("gone")), ("on", None), ("default", some("off"))];
    assert_eq!(rows, expected.map(|(model, requested)| (model.to_owned(), requested)));
}
