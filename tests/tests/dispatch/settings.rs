//! Settings as they come to a worker with a turn.

use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};
use chatplane_tests::Client;
use sqlx::PgConnection;

use crate::{
    execute, number,
    replica::{World, quick},
    worker::{Held, Worker, answer, call, result},
};

async fn instruct(client: &mut Client, text: &str) {
    let request = chat::UpdateUserInstructionsRequest { text: text.to_owned(), expected_version: None };
    client.settings.update_user_instructions(request).await.expect("they are stored");
}

/// Runs a turn of the chat to its end, and answers with what the worker was told.
async fn turn(client: &mut Client, worker: &mut Worker, chat: &str) -> proto::TurnHeader {
    client.send(chat, "Go on").await.expect("it is sent");
    let mut held = worker.lease().await;
    let header = held.header.clone();
    worker.finish(&mut held).await;
    worker.forget(&held).await;
    header
}

async fn first_turn(client: &mut Client, worker: &mut Worker) -> (String, proto::TurnHeader) {
    let chat = client.create_chat("Hello").await.chat_id;
    let mut held = worker.lease().await;
    let header = held.header.clone();
    worker.finish(&mut held).await;
    worker.forget(&held).await;
    (chat, header)
}

#[tokio::test]
async fn a_turn_comes_with_its_owners_instructions_as_they_are_when_it_begins() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    let mut stranger = Client::new(&replica.url(), &world.stranger_token);
    instruct(&mut stranger, "Be rude.").await;

    let (chat, before) = first_turn(&mut client, &mut worker).await;
    instruct(&mut client, "Be brief.").await;
    let after = turn(&mut client, &mut worker, &chat).await;
    instruct(&mut client, "").await;
    let without = turn(&mut client, &mut worker, &chat).await;

    assert_eq!(before.user_instructions, "");
    assert_eq!(after.user_instructions, "Be brief.");
    assert_eq!(without.user_instructions, "");
}

#[tokio::test]
async fn get_turn_says_what_the_instructions_are_now() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    client.create_chat("Look").await;
    let mut held = worker.lease().await;
    let outcome =
        worker.commit(&mut held, call("list_dir"), proto::NextStep::Continue).await.expect("it is committed");
    instruct(&mut client, "Be brief.").await;
    let results = vec![result(outcome.committed_message_ids[0], "a file")];
    let request = proto::CommitToolResultsRequest { header: held.write(), results };
    let stored = worker.calls.commit_tool_results(request).await.expect("it is committed").into_inner();
    held.written(&stored.outcome.expect("an outcome"));

    let read = crate::writes::get_turn(&mut worker, held.get(0)).await.expect("the turn is read");

    assert_eq!(held.header.user_instructions, "");
    assert_eq!(read.header.user_instructions, "Be brief.");
}

/// The percent that the next turn is told.
async fn percent(client: &mut Client, worker: &mut Worker, chat: &str) -> i32 {
    turn(client, worker, chat).await.compaction_threshold_percent
}

async fn set(client: &mut Client, model: &str, percent: i32) {
    let request = chat::SetCompactionThresholdRequest { model: model.to_owned(), percent };
    client.settings.set_compaction_threshold(request).await.expect("it is stored");
}

/// Writes to the models' table, and waits until the replica has read it again.
async fn model(connection: &mut PgConnection, client: &mut Client, change: &str, shown: i32) {
    execute(connection, format!("update models set {change}")).await;
    chatplane_tests::eventually("the models are read again", async || {
        let listed = client.chats.list_models(chat::ListModelsRequest::default()).await.ok()?.into_inner();
        let model = listed.models.into_iter().next()?;
        (model.compaction_threshold_percent == shown).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_users_threshold_comes_before_the_models_and_that_before_the_default() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    let mut sql = world.database.connection().await;
    let mut stranger = Client::new(&replica.url(), &world.stranger_token);
    set(&mut stranger, "test", 5).await;

    let (chat, first) = first_turn(&mut client, &mut worker).await;
    assert_eq!(first.compaction_threshold_percent, 70, "a small context, and nothing is set");
    model(&mut sql, &mut client, "context_tokens_max = 500000", 30).await;
    assert_eq!(percent(&mut client, &mut worker, &chat).await, 30);
    model(&mut sql, &mut client, "compaction_threshold_percent = 55", 55).await;
    assert_eq!(percent(&mut client, &mut worker, &chat).await, 55);
    set(&mut client, "test", 100).await;
    assert_eq!(percent(&mut client, &mut worker, &chat).await, 100);
    set(&mut client, "test", 0).await;
    assert_eq!(percent(&mut client, &mut worker, &chat).await, 0);

    let request = chat::DeleteCompactionThresholdRequest { model: "test".to_owned() };
    client.settings.delete_compaction_threshold(request).await.expect("it is deleted");
    assert_eq!(percent(&mut client, &mut worker, &chat).await, 55);
}

#[tokio::test]
async fn a_stored_threshold_that_has_become_invalid_falls_back() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    let mut sql = world.database.connection().await;
    set(&mut client, "test", 40).await;
    execute(
        &mut sql,
        "alter table compaction_thresholds drop constraint compaction_thresholds_percent_range".to_owned(),
    )
    .await;
    execute(&mut sql, "alter table models drop constraint models_compaction_threshold_range".to_owned())
        .await;
    let (chat, first) = first_turn(&mut client, &mut worker).await;
    assert_eq!(first.compaction_threshold_percent, 40);

    execute(&mut sql, "update compaction_thresholds set percent = 400".to_owned()).await;
    assert_eq!(percent(&mut client, &mut worker, &chat).await, 70);
    model(&mut sql, &mut client, "compaction_threshold_percent = 60", 60).await;
    assert_eq!(percent(&mut client, &mut worker, &chat).await, 60);
    model(&mut sql, &mut client, "compaction_threshold_percent = -1", 70).await;
    assert_eq!(percent(&mut client, &mut worker, &chat).await, 70);
}

#[tokio::test]
async fn a_chat_keeps_the_deployment_prompt_that_it_began_with() {
    let world = World::new().await;
    let replica = world.replica(quick()).await;
    let mut client = world.client(&replica);
    let mut owner = Client::new(&replica.url(), &world.owner_token);
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    let set = async |owner: &mut Client, text: &str, default_enabled: bool| {
        let request = chat::UpdateDeploymentPromptRequest {
            text: text.to_owned(),
            default_enabled,
            expected_version: None,
        };
        let set = owner.settings.update_deployment_prompt(request).await.expect("it is stored").into_inner();
        set.deployment_prompt.expect("the prompt").default_text
    };

    let built_in = set(&mut owner, "Grow beans.", true).await;
    let chat = client.create_chat("Hello").await.chat_id;
    let mut held = worker.lease().await;
    assert_eq!(system(&held), [format!("{built_in}\n\nGrow beans.")]);
    worker.commit(&mut held, answer("Hi."), proto::NextStep::Finish).await.expect("it is committed");
    worker.forget(&held).await;
    set(&mut owner, "Grow peas.", false).await;
    client.send(&chat, "Go on").await.expect("it is sent");
    let mut again = worker.lease().await;
    assert_eq!(system(&again), [format!("{built_in}\n\nGrow beans.")]);
    worker.finish(&mut again).await;
    worker.forget(&again).await;
    client.create_chat("Hello").await;
    assert_eq!(system(&worker.lease().await), ["Grow peas."]);
    let mut sql = world.database.connection().await;
    assert_eq!(number(&mut sql, "select version from deployment_prompts".to_owned()).await, 3);
}

/// The instructions among a turn's messages.
fn system(held: &Held) -> Vec<String> {
    let messages = held.messages.iter().filter_map(|message| message.message.as_ref());
    let system = messages.filter(|message| message.role() == chat::Role::System);
    let texts = system.flat_map(|message| &message.parts).filter_map(|part| match &part.kind {
        Some(chat::part::Kind::Text(text)) => Some(text.text.clone()),
        _ => None,
    });
    texts.collect()
}
