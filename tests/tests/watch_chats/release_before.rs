//! A replica of the release before still runs beside this one, and writes as it always has.

use chatplane_proto::chat::v1::{self as proto, ChatChange, ChatState};
use chatplane_tests::{Cluster, Options, eventually};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::watcher::Watcher;

/// It creates a chat like this one.
const CREATE: &str = "
    with created as (
        insert into chats (
            chat_id, organization_id, owner_id, root_chat_id, model, effort, state, snapshot_version,
            history_version, runnable_since, next_message_id
        )
        select '{chat}', c.organization_id, c.owner_id, '{chat}', c.model, c.effort, 'running', 1, 1, now(), 2
        from chats c
        where c.chat_id = '{like}'
        returning chat_id, owner_id
    ),
    metadata_created as (
        insert into chat_metadata (chat_id, title) select chat_id, 'phacelia' from created
    )
    insert into messages (
        chat_id, id, role, visibility, content_version, content, content_bytes, created_by, model, revision
    )
    select
        chat_id, 1, 'user', 'both', 1, '{\"parts\": [{\"kind\": \"text\", \"text\": \"in april?\"}]}', 9, owner_id,
        'test', 1
    from created";
/// Its worker answers.
const ANSWER: &str = "
    with updated as (
        update chats
        set state = 'waiting',
            snapshot_version = 2,
            history_version = 2,
            runnable_since = null,
            next_message_id = 3,
            answered = true
        where chat_id = '{chat}'
        returning chat_id
    )
    insert into messages (
        chat_id, id, role, visibility, content_version, content, content_bytes, model, usage, revision
    )
    select
        chat_id, 2, 'assistant', 'both', 1, '{\"parts\": [{\"kind\": \"text\", \"text\": \"sow it in may\"}]}', 13,
        'test', '{\"input_tokens\": 1, \"output_tokens\": 1}', 2
    from updated";

#[tokio::test]
async fn what_it_does_is_watched_listed_and_found() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let like = client.create_chat("hello").await.chat_id;
    let chat = uuid::Uuid::now_v7().to_string();
    let mut watcher = Watcher::begin(&mut client, "").await;
    let mut connection = cluster.database.connection().await;
    let mut write = async |statement: &str| {
        let statement = statement.replace("{chat}", &chat).replace("{like}", &like);
        connection.execute(AssertSqlSafe(statement)).await.expect("it is written");
    };

    write(CREATE).await;
    let created = watcher.until(&chat, |_| true).await;
    write(ANSWER).await;
    let answered = watcher.until(&chat, |chat| chat.state() == ChatState::Waiting).await;
    let listed = async |q: &str| {
        let request = proto::ListChatsRequest { q: q.to_owned(), ..Default::default() };
        let page = cluster.client().chats.list_chats(request).await.expect("it is listed").into_inner();
        let mut chats = page.chats.into_iter().filter_map(|listed| listed.chat);
        chats.find(|listed| listed.chat_id == chat)
    };
    let unread = listed("has_unread:true").await;
    for words in ["search:phacelia", "search:april", "search:\"sow may\""] {
        eventually("it is found", async || listed(words).await).await;
    }

    assert!(created.contains(&ChatChange::Created), "{created:?}");
    assert!(
        answered.contains(&ChatChange::State) && answered.contains(&ChatChange::ReadState),
        "{answered:?}"
    );
    assert!(unread.is_some_and(|chat| chat.has_unread));
}
