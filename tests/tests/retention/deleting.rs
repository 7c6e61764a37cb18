//! What is left of chats and of recordings when their time has come.

use chatplane_control_plane::Limits;
use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, Cluster, Options, eventually, file_part,
    model_server::{ModelServer, say},
    text,
};
use sqlx::{PgConnection, Row as _};

use crate::{age, archive, count, execute, idle, owner, reason, replica::Replica, set};

/// Rows by which accounts are made, as text.
async fn accounts(connection: &mut PgConnection) -> Vec<String> {
    let sql = "select m.chat_id::text \
                   || (m.id, m.role, m.model, m.created_by, m.usage, m.runtime_ms, m.create_time)::text \
               from messages m \
               union all \
               select c::text from model_calls c \
               order by 1";
    let rows = sqlx::query(sql).fetch_all(connection).await.expect("it answers");
    rows.iter().map(|row| row.get(0)).collect()
}

/// As if all files had been uploaded two days ago.
async fn age_files(connection: &mut PgConnection) {
    execute(connection, "update files set unlink_time = unlink_time - interval '2 days'".to_owned()).await;
}

/// Waits until a chat cannot be found any more.
async fn gone(client: &mut Client, chat: &str) {
    eventually("the chat is deleted", async || {
        let refused = client.chat(chat).await.err()?;
        assert_eq!(reason(&refused), "CHAT_NOT_FOUND");
        Some(())
    })
    .await;
}

/// Inserts a run with two steps that ended so many days ago.
async fn record(connection: &mut PgConnection, chat: &str, days: i32) {
    let run = uuid::Uuid::now_v7();
    execute(
        connection,
        format!(
            "insert into debug_runs (chat_id, run_id, start_time, end_time) \
             values ('{chat}', '{run}', now() - interval '{days} days', now() - interval '{days} days')"
        ),
    )
    .await;
    execute(
        connection,
        format!(
            "insert into debug_steps (chat_id, run_id, step, fence, model_call, model, request, response, truncated, \
             usage, attempts, start_time, first_token_ms, duration_ms) \
             select '{chat}', '{run}', n, extract(epoch from clock_timestamp()) * 1000000, n, 'test', 's3cret', '', \
             false, '{{}}', '[]', now(), 0, 0 from generate_series(1, 2) n"
        ),
    )
    .await;
}

#[tokio::test]
async fn a_chat_that_was_archived_long_ago_is_erased_and_accounts_lose_no_row() {
    let model = ModelServer::start(|_| say("s3cret answer")).await;
    let options = Options { model_url: model.url(), workers: 1, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    let mut connection = cluster.database.connection().await;
    let file = client.upload("s3cret.txt", b"s3cret bytes").await.expect("it is stored");
    let request = proto::CreateChatRequest {
        parts: vec![text("s3cret question"), file_part(&file)],
        ..Default::default()
    };
    let created = client.chats.create_chat(request).await.expect("it is created").into_inner();
    let chat = created.chat.expect("a chat").chat_id;
    client.watch_to_rest(&chat).await;
    record(&mut connection, &chat, 1).await;
    let recent = idle_after(&mut client).await;
    archive(&mut client, &chat).await;
    archive(&mut client, &recent).await;
    age(&mut connection, &chat, 31).await;
    age(&mut connection, &recent, 29).await;
    age_files(&mut connection).await;
    let before = accounts(&mut connection).await;
    set(&mut owner(&cluster), [0, 30, 0], None).await.expect("owners set it");

    let replica = Replica::start(&cluster.database, Limits::default()).await;
    gone(&mut client, &chat).await;

    assert!(client.chat(&recent).await.expect("it is there").archived);
    assert_eq!(accounts(&mut connection).await, before);
    for nothing in [
        "select count(*) from messages m join chats c on c.chat_id = m.chat_id \
         where c.delete_time is not null and m.content::text like '%s3cret%'",
        "select count(*) from chat_metadata d join chats c on c.chat_id = d.chat_id \
         where c.delete_time is not null and d.title <> ''",
        "select count(*) from files",
        "select count(*) from file_contents",
        "select count(*) from debug_runs",
        "select count(*) from debug_steps",
    ] {
        assert_eq!(count(&mut connection, nothing).await, 0, "{nothing}");
    }
    let listed = proto::ListDebugRunsRequest { chat_id: chat.clone(), ..Default::default() };
    let listed = client.chats.list_debug_runs(listed).await.expect_err("it is gone");
    let downloaded = client.files.get_file(proto::GetFileRequest { file_id: file.file_id }).await;
    assert_eq!(reason(&listed), "CHAT_NOT_FOUND");
    assert_eq!(reason(&downloaded.expect_err("it is gone")), "FILE_NOT_FOUND");
    replica.stop().await;
}

#[tokio::test]
async fn files_that_no_chat_is_linked_to_go_whatever_the_settings_are() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let mut connection = cluster.database.connection().await;
    let unused = client.upload("unused", b"unused").await.expect("it is stored");
    let linked = client.upload("linked", b"linked").await.expect("it is stored");
    let parts = vec![text("see"), file_part(&linked)];
    let request = proto::CreateChatRequest { parts, ..Default::default() };
    client.chats.create_chat(request).await.expect("it is created");
    age_files(&mut connection).await;
    let fresh = client.upload("fresh", b"fresh").await.expect("it is stored");

    let replica = Replica::start(&cluster.database, Limits::default()).await;
    let mut client = Client::new(&replica.url(), &cluster.tokens.user);
    let mut get = async |file: &proto::File| {
        client.files.get_file(proto::GetFileRequest { file_id: file.file_id.clone() }).await
    };
    let refused = eventually("the file is gone", async || get(&unused).await.err()).await;

    assert_eq!(reason(&refused), "FILE_NOT_FOUND");
    for file in [&linked, &fresh] {
        get(file).await.expect("it is there");
    }
    assert_eq!(count(&mut connection, "select count(*) from file_contents").await, 2);
    replica.stop().await;
}

#[tokio::test]
async fn a_large_chat_is_erased_to_its_last_row() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let mut connection = cluster.database.connection().await;
    let chat = idle(&mut client).await;
    for statement in [
        "insert into messages (chat_id, id, role, visibility, content_version, content, content_bytes, revision, \
         created_by, search) \
         select chat_id, n, 'user', 'both', 1, '{\"parts\": \"s3cret\"}', 6, 1, owner_id, 's3cret'::tsvector \
         from chats, generate_series(1000, 6000) n",
        "update chats set next_message_id = 6001",
    ] {
        execute(&mut connection, statement.to_owned()).await;
    }
    archive(&mut client, &chat).await;
    age(&mut connection, &chat, 31).await;
    set(&mut owner(&cluster), [0, 30, 0], None).await.expect("owners set it");

    let replica = Replica::start(&cluster.database, Limits::default()).await;
    gone(&mut client, &chat).await;
    let erasing = "select count(*) from chats where erasing";
    eventually("all is erased", async || (count(&mut connection, erasing).await == 0).then_some(())).await;

    let telling = "select count(*) from messages where search is not null or content <> '{\"parts\": []}'";
    assert_eq!(count(&mut connection, telling).await, 0);
    replica.stop().await;
}

#[tokio::test]
async fn a_chat_that_cannot_be_erased_keeps_neither_other_chats_nor_files() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let mut connection = cluster.database.connection().await;
    let (stuck, other) = (idle(&mut client).await, idle(&mut client).await);
    assert!(stuck < other, "it is tried first");
    client.upload("unused", b"unused").await.expect("it is stored");
    age_files(&mut connection).await;
    for chat in [&stuck, &other] {
        archive(&mut client, chat).await;
        age(&mut connection, chat, 31).await;
    }
    execute(&mut connection, "update chats set next_message_id = 6001".to_owned()).await;
    execute(
        &mut connection,
        format!(
            "alter table messages add constraint stuck \
             check (chat_id <> '{stuck}' or content <> '{{\"parts\": []}}') not valid"
        ),
    )
    .await;
    set(&mut owner(&cluster), [0, 30, 0], None).await.expect("owners set it");

    let replica = Replica::start(&cluster.database, Limits::default()).await;
    gone(&mut client, &stuck).await;
    gone(&mut client, &other).await;
    let left = "select (select count(*) from chats where erasing) + (select count(*) from files)";
    eventually("all others are gone", async || (count(&mut connection, left).await == 1).then_some(())).await;
    let erasing: String = sqlx::query_scalar("select chat_id::text from chats where erasing")
        .fetch_one(&mut connection)
        .await
        .expect("it is there");
    execute(&mut connection, "alter table messages drop constraint stuck".to_owned()).await;
    eventually("it is erased, too", async || (count(&mut connection, left).await == 0).then_some(())).await;

    assert_eq!(erasing, stuck);
    replica.stop().await;
}

/// A chat that waits, though there is a worker.
async fn idle_after(client: &mut Client) -> String {
    let chat = client.create_chat("hello").await.chat_id;
    client.watch_to_rest(&chat).await;
    chat
}

#[tokio::test]
async fn a_chat_that_was_brought_back_and_one_of_a_deployment_that_keeps_all_stay() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let mut connection = cluster.database.connection().await;
    let (back, again, last) = (idle(&mut client).await, idle(&mut client).await, idle(&mut client).await);
    for chat in [&back, &again, &last] {
        archive(&mut client, chat).await;
        age(&mut connection, chat, 40).await;
    }
    for chat in [&back, &again] {
        let request = proto::UnarchiveChatRequest { chat_id: chat.clone(), ..Default::default() };
        client.chats.unarchive_chat(request).await.expect("it is brought back");
    }
    archive(&mut client, &again).await;
    // Everything that is live is archived at once, and nothing deleted.
    age(&mut connection, &back, 400).await;
    let mut owner = owner(&cluster);
    set(&mut owner, [100, 0, 0], None).await.expect("owners set it");
    let replica = Replica::start(&cluster.database, Limits::default()).await;
    eventually("a sweep has come by", async || {
        client.chat(&back).await.expect("it is there").archived.then_some(())
    })
    .await;
    assert!(client.chat(&last).await.expect("it is there").archived, "0 days are for ever");

    set(&mut owner, [0, 30, 0], None).await.expect("owners set it");
    gone(&mut client, &last).await;

    for chat in [&back, &again] {
        assert!(client.chat(chat).await.expect("it is there").archived, "it was archived just now");
    }
    replica.stop().await;
}

#[tokio::test]
async fn what_was_recorded_goes_when_its_time_has_come_and_no_sooner() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let mut connection = cluster.database.connection().await;
    let chat = idle(&mut client).await;
    for _ in 0..25 {
        record(&mut connection, &chat, 8).await;
    }
    for days in [6, 0] {
        record(&mut connection, &chat, days).await;
    }
    set(&mut owner(&cluster), [0, 0, 7], None).await.expect("owners set it");

    let replicas = [
        Replica::start(&cluster.database, Limits::default()).await,
        Replica::start(&cluster.database, Limits::default()).await,
    ];
    let old = "select count(*) from debug_runs where end_time < now() - interval '7 days'";
    eventually("they are deleted", async || (count(&mut connection, old).await == 0).then_some(())).await;

    for replica in replicas {
        replica.stop().await;
    }
    assert_eq!(count(&mut connection, "select count(*) from debug_runs").await, 2);
    assert_eq!(count(&mut connection, "select count(*) from debug_steps").await, 4);
}

#[tokio::test]
async fn sessions_that_were_closed_long_ago_are_forgotten_and_no_others() {
    let database = chatplane_tests::Database::create().await;
    let replica = Replica::start(&database, Limits::default()).await;
    let mut connection = database.connection().await;
    // In one statement: one sweep sees all of them.
    let sessions = "insert into sessions (session_id, replica_id, connection, worker_name, slots_total, \
                                          create_time, expire_time, close_time) \
                    select gen_random_uuid(), gen_random_uuid(), 1, worker_name, 1, \
                           now() - interval '60 days', now() + interval '1 hour', now() - days * interval '1 day' \
                    from (values ('long ago', 31), ('lately', 29), ('open', null)) as s (worker_name, days)";
    execute(&mut connection, sessions.to_owned()).await;

    eventually("one is forgotten", async || {
        (count(&mut connection, "select count(*) from sessions").await < 3).then_some(())
    })
    .await;
    let left = "select string_agg(worker_name, ', ' order by worker_name) from sessions";
    let left: String = sqlx::query_scalar(left).fetch_one(&mut connection).await.expect("it answers");

    assert_eq!(left, "lately, open");
    replica.stop().await;
}
