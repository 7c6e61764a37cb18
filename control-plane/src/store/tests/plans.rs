//! Statements of hot paths touch the rows that they answer, and no others.

use chatplane_domain::ChatId;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::{
    prompts::collect,
    world::{World, applied, world},
};
use crate::store::Ask;

/// Rows that a filter may drop: those that a boundary shows to users alone.
const DROPPED_MAX: u64 = 2;

/// A leased chat of 2,002 messages, all but two of them covered.
async fn covered(world: &World) -> ChatId {
    let mut new = world.new_chat_of("first");
    new.deployment_prompt = Some("be good".to_owned());
    let chat = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    world.lease(chat).await;
    world
        .execute(
            "insert into messages (
                chat_id, id, role, visibility, content_version, content, content_bytes, created_by, revision
            )
            select
                c.chat_id, i, 'user', 'both', 1,
                '{\"parts\": [{\"kind\": \"text\", \"text\": \"more\"}]}', 4, c.owner_id, 1
            from chats c, generate_series(3, 2002) i",
        )
        .await;
    world.execute("update chats set covers_through = 2000, next_message_id = 2003, history_bytes = 15").await;
    world.execute("vacuum analyze messages").await;
    chat
}

/// The plan of a statement as connections plan it, for no values in particular.
async fn explained(world: &World, statement: &str, types: &str, values: &str) -> Value {
    let mut connection = world.pool.acquire().await.expect("it answers");
    let prepare = format!("prepare explained ({types}) as {statement}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.expect("the statement is right");
    let explain = format!("explain (analyze, format json) execute explained ({values})");
    let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain))
        .fetch_one(&mut *connection)
        .await
        .expect("it is explained");
    sqlx::raw_sql("deallocate explained").execute(&mut *connection).await.expect("it was prepared");
    plan[0]["Plan"].clone()
}

#[tokio::test]
async fn instructions_are_found_among_thousands_of_covered_messages_without_reading_them() {
    let world = world().await;
    let chat = covered(&world).await;
    let lease = world.snapshot(chat, &Ask::default()).await.chat;
    let session = lease.last_lease.expect("it has one").session.0;
    let history = lease.versions.history;

    let read = include_str!("../read_chat.sql");
    let types = "uuid, uuid, uuid, bigint, bigint, boolean, uuid, uuid, boolean";
    let values = format!("'{}', null, null, 1000, 500, true, null, null, false", chat.0);
    let read = explained(&world, read, types, &values).await;
    let page = include_str!("../turn_page.sql");
    let types = "uuid, bigint, uuid, bigint, bigint, bigint, bigint, bigint, bigint";
    let values = format!("'{}', 1, '{session}', {history}, 0, 0, 1, 500, 1000", chat.0);
    let page = explained(&world, page, types, &values).await;

    assert_eq!(world.prompt(chat).await, [1, 2001, 2002]);
    for plan in [read, page] {
        let mut nodes = Vec::new();
        collect(&plan, &mut nodes);
        let of_messages: Vec<_> =
            nodes.into_iter().filter(|node| node["Relation Name"] == "messages").collect();
        let used = of_messages.iter().find(|node| node["Index Name"] == "messages_system");
        let used = used.expect("instructions have their index");
        assert_eq!(used["Actual Rows"].as_u64(), Some(1), "{used:#}");
        let dropped = of_messages.iter().filter_map(|node| node["Rows Removed by Filter"].as_u64());
        assert!(dropped.sum::<u64>() <= DROPPED_MAX, "{of_messages:#?}");
    }
}
