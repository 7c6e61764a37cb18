//! An agent at one replica, a worker at another.

use chatplane_tests::tcp_proxy::Mode;

use super::*;

#[tokio::test]
async fn a_call_reaches_an_agent_that_is_attached_to_another_replica() {
    let first = World::start(PATIENT).await;
    let second = first.beside(PATIENT).await;
    let mut agent = Agent::attach(&first).await;
    second.create_chat(Some(first.workspace)).await;
    let holder = Holder::of_a_call(&second).await;

    let mut call = holder.call().await;
    let called = agent.called().await;
    agent.writes(&called, b"hello").await;
    let output = call.next().await.expect("it goes on");
    agent.ends(&called, "done").await;

    assert_eq!(called.call_id, Some(call_id(&holder.chat, holder.call)));
    assert_eq!(output, Some(Piece::Output("hello".into())));
    assert_eq!(call.result().await, done("done"));
}

#[tokio::test]
async fn a_workspace_is_online_at_every_replica_while_its_agent_is_anywhere() {
    let first = World::start(PATIENT).await;
    let second = first.beside(PATIENT).await;

    let agent = Agent::attach(&first).await;
    eventually("it is online", async || online(&second).await[0].online.then_some(())).await;
    drop(agent);

    eventually("it is offline", async || (!online(&second).await[0].online).then_some(())).await;
}

#[tokio::test]
async fn an_agent_that_registers_at_another_replica_puts_out_the_earlier_one_and_gets_its_call() {
    let first = World::start(PATIENT).await;
    let second = first.beside(PATIENT).await;
    let mut earlier = Agent::attach(&first).await;
    first.create_chat(Some(first.workspace)).await;
    let holder = Holder::of_a_call(&first).await;
    let call = holder.call().await;
    earlier.called().await;

    let mut later = Agent::attach(&second).await;
    let put_out = earlier.put_out().await;
    let called = later.called().await;
    later.ends(&called, "done").await;

    assert_eq!(reason(&put_out), (Code::AlreadyExists, "WORKSPACE_REPLACED".to_owned()));
    assert_eq!(call.result().await, done("done"));
}

#[tokio::test]
async fn a_call_waits_for_its_agent_to_come_back_at_another_replica() {
    let first = World::start(PATIENT).await;
    let second = first.beside(PATIENT).await;
    first.create_chat(Some(first.workspace)).await;
    let holder = Holder::of_a_call(&first).await;

    let call = holder.call().await;
    let mut agent = Agent::attach(&second).await;
    let called = agent.called().await;
    agent.ends(&called, "done").await;

    assert_eq!(call.result().await, done("done"));
}

#[tokio::test]
async fn an_interrupt_at_one_replica_cancels_a_call_on_the_agent_of_another() {
    let first = World::start(PATIENT).await;
    let second = first.beside(PATIENT).await;
    let mut agent = Agent::attach(&first).await;
    let chat_id = second.create_chat(Some(first.workspace)).await;
    let holder = Holder::of_a_call(&second).await;
    let _call = holder.call().await;
    let called = agent.called().await;

    let request = chat::InterruptChatRequest { chat_id, ..Default::default() };
    second.client().chats.interrupt_chat(request).await.expect("it is interrupted");

    let told = agent.next().await.expect("a word");
    let cancelled = Down::CancelTool(proto::CancelTool { call_id: called.call_id });
    assert_eq!(told, Some(cancelled));
}

#[tokio::test]
async fn a_replica_that_is_gone_without_a_word_has_no_agents() {
    let first = World::start(HASTY).await;
    let second = first.beside(HASTY).await;
    second.create_chat(Some(first.workspace)).await;
    let holder = Holder::of_a_call(&second).await;
    // Its row says where the agent was, and nobody is there.
    let mut database = first.database.connection().await;
    let elsewhere = "update workspaces set replica_id = '00000000-0000-0000-0000-000000000001'";
    database.execute(elsewhere).await.expect("the row is there");

    let sentence = holder.call().await.error().await;

    assert!(sentence.contains("offline"), "{sentence}");
}

#[tokio::test]
async fn a_call_whose_replica_loses_its_power_is_sent_again_where_its_agent_comes_back() {
    let first = World::start(PATIENT).await;
    let second = first.beside(PATIENT).await;
    let mut agent = Agent::attach(&first).await;
    second.create_chat(Some(first.workspace)).await;
    let holder = Holder::of_a_call(&second).await;
    let mut call = holder.call().await;
    let called = agent.called().await;
    agent.writes(&called, b"so far").await;
    assert_eq!(call.next().await.expect("it goes on"), Some(Piece::Output("so far".into())));

    // Neither of the two hears of the other any more, nor that a connection has ended.
    first.line.set(Mode::Swallow);
    second.line.set(Mode::Swallow);
    let mut agent = Agent::attach(&second).await;
    let called_again = agent.called().await;
    agent.ends(&called_again, "done").await;

    assert_eq!(called_again.call_id, called.call_id);
    assert_eq!(call.result().await, done("done"));
}
