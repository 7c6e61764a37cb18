//! Tool calls through the control plane: a worker and a workspace agent whose every word is the test's.

#[path = "workspace/agent.rs"]
mod agent;
#[path = "workspace/holder.rs"]
mod holder;
#[path = "workspace/journal.rs"]
mod journal;
#[path = "workspace/registration.rs"]
mod registration;
#[path = "workspace/replicas.rs"]
mod replicas;
#[path = "workspace/world.rs"]
mod world;

use agent::{Agent, call_id, register};
use chatplane_proto::{
    chat::v1 as chat,
    worker::v1::{CallToolRequest, CallToolResult, call_tool_response::Piece},
    workspace::v1::{self as proto, attach_request::Message as Up, attach_response::Message as Down},
};
use chatplane_tests::eventually;
use holder::Holder;
use sqlx::{Connection, Executor};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;
use world::{HASTY, PATIENT, World};

fn reason(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info().expect("every refusal has a reason");
    (status.code(), info.reason)
}

fn done(output: &str) -> CallToolResult {
    CallToolResult { output: output.to_owned(), is_error: false }
}

async fn online(world: &World) -> Vec<chat::Workspace> {
    let request = chat::ListWorkspacesRequest::default();
    world.client().chats.list_workspaces(request).await.expect("they are listed").into_inner().workspaces
}

#[tokio::test]
async fn an_agent_is_online_with_its_tools_while_it_is_attached() {
    let world = World::start(PATIENT).await;
    let before = online(&world).await;

    let agent = Agent::attach(&world).await;
    let meanwhile = online(&world).await;
    drop(agent);

    assert!(!before[0].online && before[0].tools.is_empty());
    assert!(meanwhile[0].online);
    assert_eq!(meanwhile[0].tools, register().tools);
    eventually("the workspace is offline", async || (!online(&world).await[0].online).then_some(())).await;
}

#[tokio::test]
async fn a_call_reaches_the_agent_and_its_output_and_result_the_worker() {
    let world = World::start(PATIENT).await;
    let journal = Uuid::now_v7().to_string();
    let with_journal = Up::Register(proto::Register { journal_id: journal.clone(), ..register() });
    let mut agent = Agent::try_attach(&world, &world.agent_token, with_journal).await.expect("it registers");
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;

    let mut call = holder.call().await;
    let called = agent.called().await;
    agent.writes(&called, b"hello").await;
    let output = call.next().await.expect("it goes on");
    agent.ends(&called, "done").await;

    let expected = proto::CallTool {
        call_id: Some(call_id(&holder.chat, holder.call)),
        fence: holder.fence,
        journal_id: journal,
        tool_name: "read_file".to_owned(),
        arguments_json: "{}".to_owned(),
    };
    assert_eq!(called, expected);
    assert_eq!(output, Some(Piece::Output("hello".into())));
    assert_eq!(call.result().await, done("done"));
}

#[tokio::test]
async fn a_call_without_an_agent_ends_in_words_for_the_model() {
    let world = World::start(HASTY).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;

    let sentence = holder.call().await.error().await;

    assert!(sentence.contains("\"laptop\" is offline") && sentence.contains("did not run"), "{sentence}");
}

#[tokio::test]
async fn a_call_of_a_chat_without_a_workspace_ends_in_words_for_the_model() {
    let world = World::start(PATIENT).await;
    world.create_chat(None).await;
    let holder = Holder::of_a_call(&world).await;

    let sentence = holder.call().await.error().await;

    assert!(sentence.contains("no workspace"), "{sentence}");
}

#[tokio::test]
async fn a_call_into_a_workspace_that_is_no_longer_the_owners_ends_in_words_for_the_model() {
    let world = World::start(PATIENT).await;
    let _agent = Agent::attach(&world).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;
    let mut connection = world.database.connection().await;
    let statement = format!("update workspaces set owner_id = '{}'", world.stranger);
    connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("it is given away");
    connection.close().await.expect("the connection closes");

    let sentence = holder.call().await.error().await;

    assert!(sentence.contains("may not use"), "{sentence}");
}

#[tokio::test]
async fn a_call_whose_agent_goes_away_runs_again_on_the_one_that_comes() {
    let world = World::start(PATIENT).await;
    let mut agent = Agent::attach(&world).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;
    let call = holder.call().await;
    let first = agent.called().await;

    drop(agent);
    let mut agent = Agent::attach(&world).await;
    let second = agent.called().await;
    agent.ends(&second, "done").await;

    assert_eq!(first, second);
    assert_eq!(call.result().await, done("done"));
}

#[tokio::test]
async fn a_caller_that_lets_go_and_asks_again_finds_its_call_running() {
    let world = World::start(PATIENT).await;
    let mut agent = Agent::attach(&world).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;
    drop(holder.call().await);
    let called = agent.called().await;

    let mut again = holder.call().await;
    agent.writes(&called, b"hello").await;
    let output = again.next().await.expect("it goes on");
    agent.ends(&called, "done").await;

    assert_eq!(output, Some(Piece::Output("hello".into())));
    assert_eq!(again.result().await, done("done"));
}

/// Calls that the holder may not make, each with what it hears.
fn wrong_calls(right: &CallToolRequest) -> Vec<(CallToolRequest, (Code, &'static str))> {
    let change = |change: fn(&mut CallToolRequest)| {
        let mut request = right.clone();
        change(&mut request);
        request
    };
    let (lost, invalid) = (Code::FailedPrecondition, Code::InvalidArgument);
    let other_id = || Uuid::now_v7().to_string();
    let mut other_session = right.clone();
    other_session.session_id = other_id();
    let mut other_chat = right.clone();
    other_chat.chat_id = other_id();
    vec![
        (change(|call| call.fence += 1), (lost, "LEASE_LOST")),
        (other_session, (lost, "LEASE_LOST")),
        (change(|call| call.history_version = 1), (Code::Aborted, "SUPERSEDED")),
        (other_chat, (Code::NotFound, "CHAT_NOT_FOUND")),
        (change(|call| call.call.as_mut().expect("it has one").call_index = 1), (invalid, "FIELD_INVALID")),
        (change(|call| call.call = None), (invalid, "FIELD_INVALID")),
        (change(|call| call.fence = 0), (invalid, "FIELD_INVALID")),
        (change(|call| "rm".clone_into(&mut call.tool_name)), (invalid, "FIELD_INVALID")),
        (change(|call| "7".clone_into(&mut call.session_id)), (invalid, "FIELD_INVALID")),
        // The same object, but not what was committed.
        (change(|call| "{ }".clone_into(&mut call.arguments_json)), (invalid, "FIELD_INVALID")),
    ]
}

#[tokio::test]
async fn a_call_is_checked_like_a_write_of_the_holder() {
    let world = World::start(PATIENT).await;
    let mut agent = Agent::attach(&world).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;

    for (request, (code, name)) in wrong_calls(&holder.request()) {
        let shown = format!("{request:?}");
        let refused = holder.try_call(request).await.err().expect(&shown);
        assert_eq!(reason(&refused), (code, name.to_owned()), "{shown}");
    }

    // None of them reached the agent.
    let call = holder.call().await;
    let called = agent.called().await;
    agent.ends(&called, "done").await;
    assert_eq!((called.fence, call.result().await), (holder.fence, done("done")));
}

#[tokio::test]
async fn a_call_that_the_user_interrupts_is_cancelled_at_the_agent_and_no_other_starts() {
    let world = World::start(PATIENT).await;
    let mut agent = Agent::attach(&world).await;
    world.create_chat(Some(world.workspace)).await;
    let mut holder = Holder::of_a_call(&world).await;
    let _call = holder.call().await;
    let called = agent.called().await;
    let interrupt = chat::InterruptChatRequest { chat_id: holder.chat.clone(), ..Default::default() };
    world.client().chats.interrupt_chat(interrupt).await.expect("it is interrupted");

    let sentence = holder.call().await.error().await;
    holder.finish_interruption().await;

    assert!(sentence.contains("interrupted"), "{sentence}");
    let cancel = proto::CancelTool { call_id: called.call_id };
    assert_eq!(agent.next().await.expect("it goes on"), Some(Down::CancelTool(cancel)));
}

#[tokio::test]
async fn a_newer_agent_replaces_an_older_one_which_hears_why() {
    let world = World::start(PATIENT).await;
    let mut older = Agent::attach(&world).await;

    let _newer = Agent::attach(&world).await;

    let ended = older.next().await.expect_err("it is put out");
    assert_eq!(reason(&ended), (Code::AlreadyExists, "WORKSPACE_REPLACED".to_owned()));
    assert!(online(&world).await[0].online);
}

#[tokio::test]
async fn a_wrong_registration_is_refused_with_its_fields() {
    let world = World::start(PATIENT).await;
    let mut unnamed = register();
    unnamed.tools[0].name = "two words".to_owned();
    let no_journal = proto::Register { journal_id: "7".to_owned(), ..register() };
    let cases = [
        (Up::Pong(proto::Pong { ping_no: 1 }), "register"),
        (Up::Register(unnamed), "register.tools[0].name"),
        (Up::Register(no_journal), "register.journal_id"),
    ];

    for (first, field) in cases {
        let refused = Agent::try_attach(&world, &world.agent_token, first).await.err().expect(field);
        assert_eq!(reason(&refused), (Code::InvalidArgument, "FIELD_INVALID".to_owned()), "{field}");
        let details = refused.get_details_bad_request().expect("the field is named");
        assert_eq!(details.field_violations[0].field, field);
    }
    assert!(!online(&world).await[0].online);

    let mut agent = Agent::attach(&world).await;
    agent.says(Up::Register(register())).await;
    let ended = agent.next().await.expect_err("once is enough");
    assert_eq!(reason(&ended), (Code::InvalidArgument, "FIELD_INVALID".to_owned()));
}

#[tokio::test]
async fn a_token_of_another_kind_attaches_nothing() {
    let world = World::start(PATIENT).await;

    let refused = Agent::try_attach(&world, &world.worker_token, Up::Register(register())).await;

    let refused = refused.err().expect("it is no agent's token");
    assert_eq!(reason(&refused), (Code::Unauthenticated, "CREDENTIALS_INVALID".to_owned()));
}

#[tokio::test]
async fn a_replica_that_leaves_says_so_to_agents_and_callers() {
    let world = World::start(PATIENT).await;
    let mut agent = Agent::attach(&world).await;
    world.create_chat(Some(world.workspace)).await;
    let holder = Holder::of_a_call(&world).await;
    let mut call = holder.call().await;
    agent.called().await;

    world.shut_down();

    let leaving = (Code::Unavailable, "SHUTTING_DOWN".to_owned());
    assert_eq!(reason(&agent.next().await.expect_err("the stream ends")), leaving);
    assert_eq!(reason(&call.next().await.expect_err("the stream ends")), leaving);
    drop((agent, call, holder));
    world.stopped().await;
}
