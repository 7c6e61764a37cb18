//! The latest chat of a workspace.

use std::collections::HashMap;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, text};
use sqlx::Executor as _;
use uuid::Uuid;

use crate::{archive, cluster, field, idle, interrupt, reason};

async fn badges(client: &mut Client, workspace_ids: Vec<String>) -> HashMap<String, proto::Chat> {
    let request = proto::ListChatsByWorkspaceRequest { workspace_ids };
    let listed = client.chats.list_chats_by_workspace(request).await.expect("it is listed").into_inner();
    listed.chats.into_iter().collect()
}

#[tokio::test]
async fn a_workspace_shows_its_chat_that_changed_last_and_is_not_archived() {
    let (cluster, mut client) = cluster().await;
    let workspace = cluster.workspace.to_string();
    let mut chats = Vec::new();
    for words in ["one", "two", "three"] {
        let create = proto::CreateChatRequest {
            parts: vec![text(words)],
            workspace_id: workspace.clone(),
            ..Default::default()
        };
        let chat =
            client.chats.create_chat(create).await.expect("created").into_inner().chat.expect("a chat");
        interrupt(&mut client, &chat.chat_id).await;
        chats.push(chat.chat_id);
    }
    archive(&mut client, &chats[2]).await;
    client.send(&chats[0], "again").await.expect("it is sent");
    let asked = vec![workspace.clone(), Uuid::now_v7().to_string(), workspace.clone()];

    let shown = badges(&mut client, asked.clone()).await;

    let latest = client.chat(&chats[0]).await.expect("it is there");
    assert_eq!(shown, HashMap::from([(workspace, latest)]));
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    assert!(badges(&mut stranger, asked).await.is_empty());
}

#[tokio::test]
async fn workspaces_are_named_by_their_ids_and_not_too_many() {
    let (_cluster, mut client) = cluster().await;

    for (workspace_ids, wrong) in [
        (vec![], "workspace_ids"),
        (vec![Uuid::now_v7().to_string(); 101], "workspace_ids"),
        (vec![Uuid::now_v7().to_string(), "mine".to_owned()], "workspace_ids[1]"),
    ] {
        let request = proto::ListChatsByWorkspaceRequest { workspace_ids };
        let refused = client.chats.list_chats_by_workspace(request).await.expect_err(wrong);
        assert_eq!((reason(&refused).as_str(), field(&refused).0.as_str()), ("FIELD_INVALID", wrong));
    }
}

#[tokio::test]
async fn chats_that_do_not_fit_an_answer_are_refused_and_not_left_out() {
    let (cluster, mut client) = cluster().await;
    let mut workspace_ids = vec![];
    for number in 0..3 {
        let chat = idle(&mut client, &format!("chat {number}"), &[]).await;
        let workspace = Uuid::now_v7().to_string();
        let large = format!(
            "insert into workspaces (workspace_id, organization_id, owner_id, name)
             select '{workspace}', organization_id, owner_id, 'workspace {number}'
             from chats where chat_id = '{chat}';
             update chats set workspace_id = '{workspace}', last_turn_summary = repeat('x', 900000)
             where chat_id = '{chat}'"
        );
        cluster.database.connection().await.execute(sqlx::AssertSqlSafe(large)).await.expect("it is stored");
        workspace_ids.push(workspace);
    }

    let request = proto::ListChatsByWorkspaceRequest { workspace_ids: workspace_ids.clone() };
    let refused = client.chats.list_chats_by_workspace(request).await.expect_err("they are too large");

    assert_eq!(reason(&refused), "LIMIT_EXCEEDED");
    assert!(refused.message().contains("at most 2 workspaces"), "{}", refused.message());
    assert_eq!(badges(&mut client, workspace_ids[1..].to_vec()).await.len(), 2);
}
