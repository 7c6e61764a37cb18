//! The control plane behind PgBouncer in transaction mode, with fewer connections to PostgreSQL than it uses.

mod pooler;

use std::collections::BTreeMap;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, Cluster, Database, Options, eventually,
    model_server::{ModelServer, say},
    peers::skip,
};
use futures::future::join_all;
use pooler::Pooler;

/// Connections that PgBouncer opens to PostgreSQL; the replica may use ten.
const POOL_SIZE: i64 = 3;
const CHATS: usize = 24;

/// A cluster whose replica reaches PostgreSQL through the pooler, and the pooler; none where there is no PgBouncer.
async fn cluster(model: &ModelServer) -> Option<(Cluster, Pooler)> {
    let database = Database::create().await;
    let Some(pooler) = Pooler::start(&database, POOL_SIZE).await else {
        skip("pgbouncer is not installed");
        return None;
    };
    let serve = BTreeMap::from([
        ("CHATPLANE_DATABASE_URL", pooler.url()),
        ("CHATPLANE_LISTENER_DATABASE_URL", database.url().to_owned()),
        ("CHATPLANE_NO_STATEMENT_CACHE", "true".to_owned()),
    ]);
    let options = Options { model_url: model.url(), workers: 2, serve, ..Options::default() };
    Some((Cluster::start_on(database, options).await, pooler))
}

async fn answered(client: &mut Client, chat: &str, answers: usize) {
    eventually("the chat is answered", async || {
        let at_rest = client.chat(chat).await.ok()?.state() == proto::ChatState::Waiting;
        let messages = client.messages(chat).await;
        let count = messages.iter().filter(|message| message.role() == proto::Role::Assistant).count();
        (at_rest && count == answers).then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_chats_share_few_connections_to_postgresql() {
    let model = ModelServer::start(|_| say("A kumquat is a fruit.")).await;
    let Some((cluster, _pooler)) = cluster(&model).await else { return };

    let turns = (0..CHATS).map(|no| {
        let mut client = cluster.client();
        async move {
            let chat = client.create_chat(&format!("What is number {no}?")).await.chat_id;
            answered(&mut client, &chat, 1).await;
            client.send(&chat, "And then?").await.expect("it is taken");
            answered(&mut client, &chat, 2).await;
            chat
        }
    });
    let chats = join_all(turns).await;

    let mut client = cluster.client();
    let found =
        proto::ListChatsRequest { q: "search:kumquat".to_owned(), page_size: 100, ..Default::default() };
    let found = client.chats.list_chats(found).await.expect("they are found").into_inner().chats;
    let mut found: Vec<String> =
        found.into_iter().filter_map(|listed| listed.chat).map(|chat| chat.chat_id).collect();
    let mut expected = chats;
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let sql = "select count(*) from pg_stat_activity where datname = $1 and application_name = 'pooled'";
    let mut connection = cluster.database.connection().await;
    let connections: i64 = sqlx::query_scalar(sql)
        .bind(cluster.database.name())
        .fetch_one(&mut connection)
        .await
        .expect("it is counted");
    assert!((1..=POOL_SIZE).contains(&connections), "{connections}");
}

#[tokio::test]
async fn a_pooler_that_is_restarted_costs_a_moment_and_no_message() {
    let model = ModelServer::start(|_| say("Here I am.")).await;
    let Some((cluster, mut pooler)) = cluster(&model).await else { return };
    let mut client = cluster.client();
    let chat = client.create_chat("Are you there?").await.chat_id;
    answered(&mut client, &chat, 1).await;

    pooler.restart().await;
    eventually("a message is taken again", async || client.send(&chat, "And now?").await.ok()).await;

    answered(&mut client, &chat, 2).await;
    assert_eq!(client.messages(&chat).await.len(), 4);
}
