//! What users wrote, and how it is found.

use chatplane_domain::{ChatId, Command, MessageId, NextStep, UserPart};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::world::{World, applied, step, summary, text, world};
use crate::store::PromptPage;

const MIB: usize = 1024 * 1024;
/// As many as in the budget: 51 chats of 5,000 messages.
const CHATS: i64 = 51;
const MESSAGES: usize = 5_000;

async fn prompts(world: &World, chat: ChatId, before: Option<i64>, limit: usize) -> PromptPage {
    world.store.prompts(chat, before.map(MessageId), limit).await.expect("it answers")
}

fn found(page: &PromptPage) -> Vec<(i64, &str)> {
    page.prompts.iter().map(|prompt| (prompt.message.0, prompt.text.as_str())).collect()
}

#[tokio::test]
async fn prompts_are_what_users_wrote_and_see_newest_first() {
    let world = world().await;
    let chat = world.new_chat().await;
    world.lease(chat).await;
    let mut message = world.message("second, ");
    message.parts.push(UserPart::Text("in \0 two parts\n".to_owned()));
    let sent = chatplane_domain::SendMessage {
        id: chatplane_domain::QueuedMessageId(chat.0),
        message,
        busy: chatplane_domain::BusyBehavior::Queue,
    };
    world.apply(chat, Command::SendMessage(sent)).await;
    world.answer(chat, vec![text("one")], NextStep::Finish).await;
    // A summary is a user's message that no user wrote.
    let both = step(Some(vec![text("two")]), NextStep::Finish, Some(summary(2, "in short")));
    applied(world.hold(chat, both).await);
    for words in [" \n\t", "third", "waits"] {
        world.apply(chat, world.send(words)).await;
    }
    world.apply(chat, Command::InterruptChat).await;
    world.apply(chat, Command::InterruptChat).await;

    let all = prompts(&world, chat, None, 500).await;

    assert_eq!(found(&all), [(10, "waits"), (9, "third"), (3, "second, in \0 two parts\n"), (1, "first")]);
    assert!(!all.has_more);
    assert_eq!(found(&prompts(&world, chat, Some(9), 1).await), [], "8 is white space alone");
    assert_eq!(found(&prompts(&world, chat, Some(9), 2).await).len(), 1);
    applied(world.edit(chat, 3, "edited").await);
    assert_eq!(found(&prompts(&world, chat, None, 500).await), [(11, "edited"), (1, "first")]);
}

#[tokio::test]
async fn a_message_of_another_form_is_passed_over() {
    let world = world().await;
    let chat = world.new_chat().await;
    for (content, expected) in [
        (r#"{"parts": "first"}"#, None),
        (r#"{"parts": null}"#, None),
        ("[]", None),
        (
            r#"{"parts": [{"kind": "text", "text": 1}, 7, {"kind": "text", "text": "still here"}]}"#,
            Some("still here"),
        ),
        (r#"{"parts": [{"kind": "image", "text": "no words"}]}"#, None),
    ] {
        sqlx::query("update messages set content = $1::jsonb")
            .bind(content)
            .execute(&world.pool)
            .await
            .expect("it is stored");
        let page = prompts(&world, chat, None, 10).await;
        assert_eq!(found(&page), expected.map(|text| (1, text)).into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn large_prompts_make_the_list_shorter_and_white_space_does_not_end_it() {
    let world = world().await;
    let chat = world.new_chat().await;
    for words in ["x".repeat(MIB), " ".repeat(5 * MIB / 2), "y".repeat(MIB), "z".repeat(2 * MIB)] {
        world.apply(chat, Command::InterruptChat).await;
        world.apply(chat, world.send(&words)).await;
    }
    let lengths = |page: &PromptPage| -> Vec<(i64, usize)> {
        page.prompts.iter().map(|prompt| (prompt.message.0, prompt.text.len())).collect()
    };

    let first = prompts(&world, chat, None, 10).await;
    let second = prompts(&world, chat, Some(5), 10).await;
    let third = prompts(&world, chat, Some(4), 10).await;
    let only_white_space = prompts(&world, chat, Some(4), 1).await;

    assert_eq!((lengths(&first), first.has_more), (vec![(5, 2 * MIB)], true));
    assert_eq!((lengths(&second), second.has_more), (vec![(4, MIB)], true));
    assert_eq!((lengths(&third), third.has_more), (vec![(2, MIB), (1, 5)], false));
    assert_eq!((lengths(&only_white_space), only_white_space.has_more), (vec![], false));
}

#[tokio::test]
async fn prompts_of_a_long_chat_among_many_are_found_by_their_index_alone() {
    let world = world().await;
    // The one's messages stand together in the table, the other's between those of others, as
    // when chats run at the same time: there each row is read from a page of its own.
    let (together, mixed) = (world.new_chat().await, world.new_chat().await);
    fill(&world, together, mixed).await;

    for (chat, before, limit, rows) in
        [(mixed, i64::MAX, 500, 500), (mixed, 3_000, 500, 500), (together, i64::MAX, 2_000, 2_000)]
    {
        let plan = explained(&world, chat, before, limit).await;

        let top = &plan["Plan"];
        let mut nodes = Vec::new();
        collect(top, &mut nodes);
        let kinds: Vec<&str> = nodes.iter().filter_map(|node| node["Node Type"].as_str()).collect();
        let indexes: Vec<&str> = nodes.iter().filter_map(|node| node["Index Name"].as_str()).collect();
        assert_eq!(indexes, ["messages_prompts"], "{kinds:?}");
        assert!(!kinds.iter().any(|kind| kind.contains("Sort")), "{kinds:?}");
        let removed = |node: &&Value| {
            ["Rows Removed by Filter", "Rows Removed by Index Recheck"].map(|name| node[name].as_u64())
        };
        assert_eq!(nodes.iter().flat_map(removed).flatten().sum::<u64>(), 0);
        assert_eq!(top["Actual Rows"].as_u64(), Some(rows));
        let buffers =
            ["Shared Hit Blocks", "Shared Read Blocks"].map(|name| top[name].as_u64().expect("a number"));
        let buffers: u64 = buffers.iter().sum();
        assert!(buffers <= rows + 10, "{buffers} buffers for {rows} rows");
    }
    let all = prompts(&world, mixed, None, 5_000).await;
    assert_eq!((all.prompts.len(), all.has_more), (MESSAGES / 2, false));
}

/// Fills the chats up, and 49 others.
async fn fill(world: &World, together: ChatId, mixed: ChatId) {
    let others = "insert into chats (
            chat_id, organization_id, owner_id, root_chat_id, model, effort, state, runnable_since,
            snapshot_version, history_version, next_message_id
        )
        select n.id, c.organization_id, c.owner_id, n.id, c.model, c.effort, c.state, c.runnable_since, 1, 1, 2
        from chats c, (select gen_random_uuid() as id from generate_series(3, $2)) n
        where c.chat_id = $1";
    let messages = "insert into messages (
            chat_id, id, role, visibility, content_version, content, content_bytes, created_by, usage,
            revision
        )
        select
            c.chat_id, i, case when i % 2 = 1 then 'user' else 'assistant' end, 'both', 1,
            jsonb_build_object('parts', jsonb_build_array(
                jsonb_build_object('kind', 'text', 'text', 'message ' || i || repeat(' and more', 20))
            )),
            200, case when i % 2 = 1 then c.owner_id end, case when i % 2 = 0 then '{}'::jsonb end, 1
        from generate_series($2, $3) i
        cross join chats c
        where (c.chat_id = $1) = $4
        and (i > 1 or c.chat_id not in ($1, $5))
        order by i, c.chat_id";
    let mut connection = world.pool.acquire().await.expect("it answers");
    // What they refer to is there: checking that of each takes most of the time.
    let unchecked = "set session_replication_role = 'replica'";
    sqlx::query(unchecked).execute(&mut *connection).await.expect("it is set");
    let made = sqlx::query(others).bind(mixed.0).bind(CHATS).execute(&mut *connection).await;
    made.expect("they are made");
    for is_together in [true, false] {
        for first in (1_i64..).step_by(500).take(MESSAGES / 500) {
            let batch = sqlx::query(messages).bind(together.0).bind(first).bind(first + 499);
            let made = batch.bind(is_together).bind(mixed.0).execute(&mut *connection).await;
            made.expect("they are made");
        }
    }
    sqlx::query("vacuum analyze messages").execute(&mut *connection).await.expect("it is done");
}

/// The plan of the statement itself, as its connections plan it: for no value in particular.
async fn explained(world: &World, chat: ChatId, before: i64, limit: i64) -> Value {
    let statement = include_str!("../list_prompts.sql").replace("\"found!\"", "found");
    let mut connection = world.pool.acquire().await.expect("it answers");
    let prepare = format!("prepare prompts (uuid, bigint, bigint, bigint) as {statement}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.expect("the statement is right");
    let values = format!("'{}', {before}, {limit}, {}", chat.0, i64::MAX);
    let explain = format!("explain (analyze, buffers, format json) execute prompts ({values})");
    let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain))
        .fetch_one(&mut *connection)
        .await
        .expect("it is explained");
    sqlx::raw_sql("deallocate prompts").execute(&mut *connection).await.expect("it was prepared");
    plan[0].clone()
}

pub(super) fn collect<'a>(node: &'a Value, nodes: &mut Vec<&'a Value>) {
    nodes.push(node);
    for child in node["Plans"].as_array().into_iter().flatten() {
        collect(child, nodes);
    }
}
