//! Roots are listed with their children.

use sqlx::Executor as _;

use crate::{cluster, idle, ids, page, request};

#[tokio::test]
async fn children_come_with_their_root_and_not_by_themselves() {
    let (cluster, mut client) = cluster().await;
    let root = idle(&mut client, "root", &[]).await;
    let other = idle(&mut client, "other", &[]).await;
    // Nothing makes children yet.
    let mut children = Vec::new();
    for (number, parent) in [(1, None), (2, None), (3, Some(0))] {
        let id = uuid::Uuid::now_v7().to_string();
        let parent = parent.map_or(&root, |index: usize| &children[index]);
        let insert = format!(
            "insert into chats (
                 chat_id, organization_id, owner_id, parent_chat_id, root_chat_id, model, effort, state,
                 snapshot_version, history_version, next_message_id
             )
             select '{id}', organization_id, owner_id, '{parent}', chat_id, model, effort, 'waiting', 1, 1, 1
             from chats where chat_id = '{root}';
             insert into chat_metadata (chat_id, title) values ('{id}', 'child {number}')"
        );
        cluster.database.connection().await.execute(sqlx::AssertSqlSafe(insert)).await.expect("it is stored");
        children.push(id);
    }

    let page = page(&mut client, request("")).await;

    assert_eq!(ids(&page), [other, root.clone()]);
    let listed: Vec<&str> = page.chats[1].children.iter().map(|child| child.chat_id.as_str()).collect();
    assert_eq!(listed, children);
    assert_eq!(page.chats[1].children[2].parent_chat_id, children[0]);
    assert!(page.chats[0].children.is_empty());
    let searched = crate::page(&mut client, request("search:child")).await;
    assert!(searched.chats.is_empty(), "a search finds roots");
}

#[tokio::test]
async fn a_root_with_many_children_leaves_the_others_theirs() {
    let (cluster, mut client) = cluster().await;
    let crowded = idle(&mut client, "crowded", &[]).await;
    let other = idle(&mut client, "other", &[]).await;
    for (root, count) in [(&crowded, 1100), (&other, 2)] {
        let insert = format!(
            "with made as (
                 insert into chats (
                     chat_id, organization_id, owner_id, parent_chat_id, root_chat_id, model, effort, state,
                     snapshot_version, history_version, next_message_id
                 )
                 select
                     lpad(to_hex(i), 32, '0')::uuid, organization_id, owner_id, chat_id, chat_id, model, effort,
                     'waiting', 1, 1, 1
                 from chats, generate_series({count}, {count} * 2 - 1) i
                 where chat_id = '{root}'
                 returning chat_id
             )
             insert into chat_metadata (chat_id) select chat_id from made"
        );
        cluster.database.connection().await.execute(sqlx::AssertSqlSafe(insert)).await.expect("it is stored");
    }

    let page = page(&mut client, request("")).await;

    assert_eq!(ids(&page), [other, crowded]);
    let counts: Vec<usize> = page.chats.iter().map(|listed| listed.children.len()).collect();
    assert_eq!(counts, [2, 50]);
    let oldest = format!("{:032x}", 1100).parse::<uuid::Uuid>().expect("it is one").to_string();
    assert_eq!(page.chats[1].children[0].chat_id, oldest);
}
