//! Two who write at once, in either order: a lock that the test holds puts them in a row.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, Cluster, Options, eventually,
    model_server::{Gate, ModelServer, say},
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::{answered, archive, cluster, idle, last_message, mark_read, new_id, pin, reason, update};

/// Holds what users keep of chats, so that nobody else writes it.
async fn hold(connection: &mut PgConnection) -> sqlx::Transaction<'_, sqlx::Postgres> {
    let mut transaction = connection.begin().await.expect("it begins");
    transaction.execute("select from chat_user_metadata for update").await.expect("they are locked");
    transaction
}

/// How many of the control plane's statements wait for a lock.
async fn waiting(connection: &mut PgConnection) -> i64 {
    let waiting = "select count(*) from pg_stat_activity \
                   where datname = current_database() and wait_event_type = 'Lock'";
    sqlx::query_scalar(waiting).fetch_one(connection).await.expect("it answers")
}

/// Waits until so many of them do.
async fn wait_in_line(cluster: &Cluster, count: i64) {
    let mut connection = cluster.database.connection().await;
    eventually("they wait for a lock", async || (waiting(&mut connection).await == count).then_some(()))
        .await;
}

/// Waits until a call has ended, or waits for a lock as the one more.
async fn goes_as_far_as_it_can<T>(cluster: &Cluster, call: &JoinHandle<T>, count: i64) {
    let mut connection = cluster.database.connection().await;
    eventually("it ends, or waits for a lock", async || {
        (call.is_finished() || waiting(&mut connection).await == count).then_some(())
    })
    .await;
}

fn reading(client: &Client, chat: &str) -> JoinHandle<Result<proto::Chat, Status>> {
    let (mut client, chat) = (client.clone(), chat.to_owned());
    tokio::spawn(async move { mark_read(&mut client, &chat, 0).await })
}

/// A chat with a read answer, and another answer that is committed when the gate opens.
async fn answering_at(gate: &Gate) -> (ModelServer, Cluster, Client, String) {
    let held = gate.clone();
    let model = ModelServer::start(move |request| {
        let mut script = say("Done.");
        if request.last_user_text().contains("again") {
            script.insert(0, held.wait());
        }
        script
    })
    .await;
    let options = Options { model_url: model.url(), workers: 1, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    let chat = client.create_chat("hello").await.chat_id;
    answered(&mut client, &chat).await;
    mark_read(&mut client, &chat, 0).await.expect("it was read");
    client.send(&chat, "again").await.expect("it is sent");
    gate.reached().await;
    (model, cluster, client, chat)
}

#[tokio::test]
async fn an_answer_that_comes_just_after_a_chat_was_read_is_unread() {
    let gate = Gate::new();
    let (_model, cluster, mut client, chat) = answering_at(&gate).await;
    let question = last_message(&mut client, &chat).await;
    let mut connection = cluster.database.connection().await;
    let held = hold(&mut connection).await;

    let reading = reading(&client, &chat);
    wait_in_line(&cluster, 1).await;
    gate.open();
    wait_in_line(&cluster, 2).await;
    held.commit().await.expect("it ends");
    reading.await.expect("it ends").expect("it was read");
    let after = answered(&mut client, &chat).await;

    assert_eq!((after.read_message_id, after.has_unread), (question, true));
}

#[tokio::test]
async fn an_answer_that_comes_just_before_a_chat_is_read_is_read() {
    let gate = Gate::new();
    let (_model, cluster, mut client, chat) = answering_at(&gate).await;
    let mut connection = cluster.database.connection().await;
    let held = hold(&mut connection).await;

    gate.open();
    wait_in_line(&cluster, 1).await;
    let reading = reading(&client, &chat);
    wait_in_line(&cluster, 2).await;
    held.commit().await.expect("it ends");
    reading.await.expect("it ends").expect("it was read");
    let after = answered(&mut client, &chat).await;

    assert_eq!(after.read_message_id, last_message(&mut client, &chat).await);
    assert!(!after.has_unread);
}

#[tokio::test]
async fn a_pin_just_before_the_chat_is_archived_does_not_stay() {
    let (cluster, mut client) = cluster().await;
    let chat = idle(&mut client).await;
    // The pin is written, and waits for the reply to be: somebody else stores one under its id.
    let request = proto::UpdateChatRequest { request_id: new_id(), ..pin(&chat, 1) };
    let store = format!(
        "insert into requests (actor_id, request_id, method, body_sha256, chat_id, result) \
         values ('{}', '{}', 'none', decode(repeat('00', 32), 'hex'), '{chat}', '{{}}')",
        cluster.user, request.request_id
    );
    let mut connection = cluster.database.connection().await;
    let mut held = connection.begin().await.expect("it begins");
    held.execute(sqlx::AssertSqlSafe(store)).await.expect("it is stored");

    let (mut pinning, mut archiving) = (client.clone(), client.clone());
    let pinned = tokio::spawn(async move { update(&mut pinning, request).await });
    wait_in_line(&cluster, 1).await;
    let archived = chat.clone();
    let archived = tokio::spawn(async move { archive(&mut archiving, &archived).await });
    goes_as_far_as_it_can(&cluster, &archived, 2).await;
    held.rollback().await.expect("it ends");

    assert_eq!(pinned.await.expect("it ends").expect("it is pinned").pin_order, 1);
    archived.await.expect("it ends").expect("it is archived");
    let after = client.chat(&chat).await.expect("it is there");
    assert_eq!((after.archived, after.pin_order), (true, 0));
}

#[tokio::test]
async fn a_chat_that_was_just_archived_is_not_pinned() {
    let (cluster, mut client) = cluster().await;
    let chat = idle(&mut client).await;
    let mut connection = cluster.database.connection().await;
    let held = hold(&mut connection).await;

    let (mut pinning, mut archiving) = (client.clone(), client.clone());
    let archived = chat.clone();
    let archived = tokio::spawn(async move { archive(&mut archiving, &archived).await });
    goes_as_far_as_it_can(&cluster, &archived, 1).await;
    let in_line = i64::from(!archived.is_finished());
    let request = pin(&chat, 1);
    let pinned = tokio::spawn(async move { update(&mut pinning, request).await });
    wait_in_line(&cluster, in_line + 1).await;
    held.commit().await.expect("it ends");

    archived.await.expect("it ends").expect("it is archived");
    assert_eq!(reason(&pinned.await.expect("it ends").expect_err("it is archived")), "STATE_FORBIDS");
    let after = client.chat(&chat).await.expect("it is there");
    assert_eq!((after.archived, after.pin_order), (true, 0));
}
