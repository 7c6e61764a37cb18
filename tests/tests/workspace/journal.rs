//! What a workspace agent that keeps a journal is told, and which calls are stopped.

use chatplane_proto::{
    chat::v1::{self as chat, CallId},
    worker::v1::call_tool_response::Piece,
    workspace::v1::{
        self as proto, JournalDisposition, ToolCallId, attach_request::Message as Up,
        attach_response::Message as Down,
    },
};
use chatplane_tests::eventually;
use sqlx::{Connection, Executor};
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    agent::{Agent, call_id, register},
    done,
    holder::{Call, Holder},
    reason,
    world::{PATIENT, World},
};

/// An agent that keeps a journal.
async fn attach(world: &World, journal: Uuid) -> Agent {
    let first = Up::Register(proto::Register { journal_id: journal.to_string(), ..register() });
    Agent::try_attach(world, &world.agent_token, first).await.expect("the agent registers")
}

/// The next output of a call, so many bytes at least.
async fn output(call: &mut Call, bytes: usize) -> Vec<u8> {
    let mut output = Vec::new();
    while output.len() < bytes {
        match call.next().await.expect("it goes on") {
            Some(Piece::Output(data)) => output.extend_from_slice(&data),
            other => panic!("not output: {other:?}"),
        }
    }
    output
}

async fn execute(world: &World, statement: String) {
    let mut connection = world.database.connection().await;
    connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("the statement is right");
    connection.close().await.expect("the connection closes");
}

async fn interrupt(world: &World, chat: &str) {
    let request = chat::InterruptChatRequest { chat_id: chat.to_owned(), ..Default::default() };
    world.client().chats.interrupt_chat(request).await.expect("it is interrupted");
}

fn verdict(call: &ToolCallId, disposition: JournalDisposition) -> proto::JournalVerdict {
    proto::JournalVerdict { call_id: Some(call.clone()), disposition: disposition.into() }
}

#[tokio::test]
async fn entries_are_kept_while_their_call_is_open_stopped_by_an_interrupt_and_dropped_after() {
    let world = World::start(PATIENT).await;
    let mut agent = attach(&world, Uuid::now_v7()).await;
    world.create_chat(Some(world.workspace)).await;
    let mut holder = Holder::of_a_call(&world).await;
    let open = call_id(&holder.chat, holder.call);
    let sibling = call_id(&holder.chat, CallId { call_index: 1, ..holder.call });
    let unknown = call_id(&Uuid::now_v7().to_string(), holder.call);
    let nobodys = call_id("7", holder.call);
    let listed = vec![sibling.clone(), nobodys, open.clone(), unknown.clone(), ToolCallId::default()];

    let mut told = vec![agent.lists(listed.clone()).await];
    interrupt(&world, &holder.chat).await;
    told.push(agent.lists(listed.clone()).await);
    holder.finish_interruption().await;
    told.push(agent.lists(listed).await);

    let committed = JournalDisposition::Committed;
    let expected = [JournalDisposition::Keep, JournalDisposition::Cancel, committed].map(|disposition| {
        vec![verdict(&sibling, committed), verdict(&open, disposition), verdict(&unknown, committed)]
    });
    assert_eq!(told, expected);
    assert_eq!(agent.lists(Vec::new()).await, Vec::new(), "an empty list is answered too");
}

#[tokio::test]
async fn a_call_of_another_workspace_is_none_of_an_agents() {
    let world = World::start(PATIENT).await;
    let mut agent = attach(&world, Uuid::now_v7()).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;
    let call = call_id(&holder.chat, holder.call);
    execute(&world, format!("update calls set workspace_id = '{}'", Uuid::now_v7())).await;

    let told = agent.lists(vec![call.clone()]).await;

    assert_eq!(told, [verdict(&call, JournalDisposition::Committed)]);
}

#[tokio::test]
async fn a_list_that_is_too_long_is_refused_and_the_longest_is_answered() {
    let world = World::start(PATIENT).await;
    let mut agent = attach(&world, Uuid::now_v7()).await;
    let call = call_id(&Uuid::now_v7().to_string(), CallId { message_id: 1, call_index: 0 });

    let told = agent.lists(vec![call.clone(); 1000]).await;
    agent.says(Up::JournalEntries(proto::JournalEntries { call_ids: vec![call; 1001] })).await;
    let ended = agent.next().await.expect_err("it is too long");

    assert_eq!(told.len(), 1000);
    assert_eq!(reason(&ended), (Code::InvalidArgument, "FIELD_INVALID".to_owned()));
    let details = ended.get_details_bad_request().expect("the field is named");
    assert_eq!(details.field_violations[0].field, "journal_entries.call_ids");
}

#[tokio::test]
async fn a_database_that_fails_keeps_the_agent_and_the_next_list_is_answered() {
    let world = World::start(PATIENT).await;
    let mut agent = attach(&world, Uuid::now_v7()).await;
    let calls = [1, 2].map(|message_id| CallId { message_id, call_index: 0 });
    let calls = calls.map(|call| call_id(&Uuid::now_v7().to_string(), call));
    let mut locking = world.database.connection().await;
    // A transaction sees who waits as it first looked, so another connection looks.
    let mut looking = world.database.connection().await;
    locking.execute("begin; lock table calls in access exclusive mode").await.expect("it is locked");
    agent.says(Up::JournalEntries(proto::JournalEntries { call_ids: vec![calls[0].clone()] })).await;
    let waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%listed%' \
                   and datname = current_database() and pid <> pg_backend_pid()";
    let backend: i32 = eventually("the lookup waits", async || {
        sqlx::query_scalar(waiting).fetch_optional(&mut looking).await.expect("it answers")
    })
    .await;

    // Pings go on while the database does not answer.
    agent.pinged().await;
    let cancel = "select pg_cancel_backend($1)";
    sqlx::query(cancel).bind(backend).execute(&mut looking).await.expect("it is cancelled");
    locking.execute("commit").await.expect("it is unlocked");
    for connection in [locking, looking] {
        connection.close().await.expect("the connection closes");
    }
    // A list that comes before the failure is known fails with it.
    let told = agent.keeps_listing(vec![calls[1].clone()]).await;

    assert_eq!(
        told,
        [verdict(&calls[1], JournalDisposition::Committed)],
        "the list that failed has no answer"
    );
}

#[tokio::test]
async fn a_call_carries_the_journal_of_its_commit_also_to_an_agent_with_another() {
    let world = World::start(PATIENT).await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let agent = attach(&world, first).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;
    drop(agent);

    let mut agent = attach(&world, second).await;
    let call = holder.call().await;
    let called = agent.called().await;
    agent.ends(&called, "done").await;

    assert_eq!(called.journal_id, first.to_string());
    assert_eq!(call.result().await, done("done"));
}

#[tokio::test]
async fn a_call_outlives_four_breaks_of_its_agents_stream() {
    let world = World::start(PATIENT).await;
    let journal = Uuid::now_v7();
    let mut agent = attach(&world, journal).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;
    let call = holder.call().await;
    let first = agent.called().await;

    for _ in 0..4 {
        drop(agent);
        agent = attach(&world, journal).await;
        assert_eq!(agent.called().await, first);
    }
    agent.ends(&first, "done").await;

    assert_eq!(call.result().await, done("done"));
}

#[tokio::test]
async fn an_interrupt_stops_the_tool_at_once_though_nobody_waits_for_it() {
    let world = World::start(PATIENT).await;
    let mut agent = attach(&world, Uuid::now_v7()).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;
    let call = holder.call().await;
    let called = agent.called().await;
    drop(call);

    interrupt(&world, &holder.chat).await;

    let cancel = proto::CancelTool { call_id: called.call_id };
    assert_eq!(agent.next().await.expect("it goes on"), Some(Down::CancelTool(cancel)));
}

#[tokio::test]
async fn an_interrupt_stops_a_tool_that_an_agent_still_runs_from_before_it_came_back() {
    let world = World::start(PATIENT).await;
    let journal = Uuid::now_v7();
    let mut agent = attach(&world, journal).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;
    let call = holder.call().await;
    let called = agent.called().await;
    drop(call);
    drop(agent);
    let mut agent = attach(&world, journal).await;

    interrupt(&world, &holder.chat).await;

    let cancel = proto::CancelTool { call_id: called.call_id };
    assert_eq!(agent.next().await.expect("it goes on"), Some(Down::CancelTool(cancel)));
}

#[tokio::test]
async fn a_tool_whose_worker_committed_another_result_is_stopped() {
    let world = World::start(PATIENT).await;
    let mut agent = attach(&world, Uuid::now_v7()).await;
    world.create_chat(Some(world.workspace)).await;
    let mut holder = Holder::of_a_call(&world).await;
    let _call = holder.call().await;
    let called = agent.called().await;

    holder.commit_result("It took too long.").await;

    let cancel = proto::CancelTool { call_id: called.call_id };
    assert_eq!(agent.next().await.expect("it goes on"), Some(Down::CancelTool(cancel)));
}

#[tokio::test]
async fn a_worker_that_dies_leaves_its_tool_running_and_the_next_one_gets_all_of_its_output_and_its_result() {
    let world = World::start(PATIENT).await;
    let mut agent = attach(&world, Uuid::now_v7()).await;
    world.create_chat(Some(world.workspace)).await;
    let dying = Holder::of_a_call(&world).await;
    let (call, mut waiting) = (dying.call, dying.call().await);
    let called = agent.called().await;
    agent.writes(&called, b"one ").await;
    assert_eq!(waiting.next().await.expect("it goes on"), Some(Piece::Output("one ".into())));

    drop((waiting, dying));
    let next = Holder::after(&world, call).await;
    let mut waiting = next.call().await;
    agent.writes(&called, b"two").await;
    let output = output(&mut waiting, b"one two".len()).await;
    agent.ends(&called, "done").await;

    assert_eq!(next.fence, called.fence + 1);
    assert_eq!(agent.heard().await, [], "it is asked once, and never told to stop");
    assert_eq!(String::from_utf8_lossy(&output), "one two");
    assert_eq!(waiting.result().await, done("done"));
}

#[tokio::test]
async fn of_a_call_that_has_written_too_much_the_next_holder_sees_the_beginning_and_the_result() {
    let world = World::start(PATIENT).await;
    let mut agent = attach(&world, Uuid::now_v7()).await;
    world.create_chat(Some(world.workspace)).await;
    let dying = Holder::of_a_call(&world).await;
    let (call, mut waiting) = (dying.call, dying.call().await);
    let called = agent.called().await;
    let written = [vec![b'a'; 200 * 1024], vec![b'b'; 100 * 1024]];
    for piece in &written {
        agent.writes(&called, piece).await;
        output(&mut waiting, piece.len()).await;
    }

    drop((waiting, dying));
    let next = Holder::after(&world, call).await;
    let mut waiting = next.call().await;
    let seen = output(&mut waiting, 256 * 1024).await;
    agent.writes(&called, b"late").await;
    agent.ends(&called, "done").await;

    assert!(seen == written.concat()[..256 * 1024], "it is not the beginning");
    assert_eq!(waiting.result().await, done("done"), "what was written late does not join on");
}

#[tokio::test]
async fn a_list_is_answered_after_the_agent_has_come_back() {
    let world = World::start(PATIENT).await;
    let journal = Uuid::now_v7();
    let mut agent = attach(&world, journal).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;
    let call = call_id(&holder.chat, holder.call);
    let waiting = holder.call().await;
    agent.called().await;
    drop(agent);

    let mut agent = attach(&world, journal).await;
    let again = agent.called().await;
    let told = agent.lists(vec![call.clone()]).await;
    agent.ends(&again, "done").await;

    assert_eq!(told, [verdict(&call, JournalDisposition::Keep)]);
    assert_eq!(waiting.result().await, done("done"));
}
