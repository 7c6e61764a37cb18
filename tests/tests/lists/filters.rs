//! Which chats a filter lets pass.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, text};
use sqlx::Executor as _;

use crate::{archive, cluster, idle, interrupt, listed, page, pin, request};

#[tokio::test]
async fn what_is_pinned_comes_first_and_archived_chats_are_asked_for() {
    let (_cluster, mut client) = cluster().await;
    let mut chats = Vec::new();
    for title in ["a", "b", "c", "d"] {
        chats.push(idle(&mut client, title, &[]).await);
    }
    let [a, b, c, d] = &chats[..] else { panic!("there are four") };
    pin(&mut client, b, 1).await;
    pin(&mut client, a, 1).await;
    // The first time it goes behind the others.
    pin(&mut client, a, 1).await;
    archive(&mut client, d).await;

    assert_eq!(listed(&mut client, "").await, [a, b, c].map(String::clone));
    assert_eq!(listed(&mut client, "archived:true").await, [d.as_str()]);
    assert_eq!(listed(&mut client, "archived:any").await, [a, b, d, c].map(String::clone));
    let page = page(&mut client, request("")).await;
    let chat = client.chat(a).await.expect("it is there");
    assert_eq!(page.chats[0].chat.as_ref(), Some(&chat), "a listed chat is what GetChat returns");
    assert!(page.chats[0].r#match.is_none() && !page.watch_cursor.is_empty());
}

#[tokio::test]
async fn titles_and_labels_are_compared_as_they_are_written() {
    let (_cluster, mut client) = cluster().await;
    let percent = idle(&mut client, "100% Größe", &[("env", "a%")]).await;
    let words =
        idle(&mut client, "snake_case \"quoted\" c:\\", &[("env", "a%"), ("team", "two words")]).await;
    let plain = idle(&mut client, "1000 snakexcase", &[("env", "ab")]).await;

    for (q, expected) in [
        ("title:%", vec![&percent]),
        ("title:100", vec![&plain, &percent]),
        ("title:GRÖSSE", vec![]),
        ("title:\"% grÖ\"", vec![&percent]),
        ("title:e_c", vec![&words]),
        ("title:\"\\\"QUOTED\\\" C:\\\\\"", vec![&words]),
        ("title:.*", vec![]),
        ("label:env=a%", vec![&words, &percent]),
        ("label:env=a% label:\"team=two words\"", vec![&words]),
        ("label:env=a", vec![]),
        ("label:env=a% label:env=ab", vec![]),
        ("label:env=ab title:snake", vec![&plain]),
    ] {
        assert_eq!(listed(&mut client, q).await, expected.into_iter().cloned().collect::<Vec<_>>(), "{q}");
    }
}

#[tokio::test]
async fn state_model_workspace_time_and_what_is_unread_are_conditions_too() {
    let (cluster, mut client) = cluster().await;
    let waiting = idle(&mut client, "waiting", &[]).await;
    let running = client.create_chat("running").await;
    let create = proto::CreateChatRequest {
        parts: vec![text("with a workspace")],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let housed = client.chats.create_chat(create).await.expect("created").into_inner().chat.expect("a chat");
    interrupt(&mut client, &housed.chat_id).await;
    let unread = format!(
        "update chat_user_metadata set has_unread = true where chat_id = '{waiting}';
         update chats set model = 'other%' where chat_id = '{waiting}';
         update chats set create_time = '2026-03-01 12:00Z' where chat_id = '{waiting}'"
    );
    cluster.database.connection().await.execute(sqlx::AssertSqlSafe(unread)).await.expect("it is stored");

    let workspace = format!("workspace:{}", cluster.workspace);
    for (q, expected) in [
        ("state:running", vec![&running.chat_id]),
        ("state:waiting has_unread:false", vec![&housed.chat_id]),
        ("state:error", vec![]),
        ("has_unread:true", vec![&waiting]),
        ("model:other%", vec![&waiting]),
        ("model:other", vec![]),
        (&workspace, vec![&housed.chat_id]),
        ("created_before:2026-03-02", vec![&waiting]),
        ("created_after:2026-03-01 created_before:2026-03-01T12:00:00Z", vec![]),
        ("created_after:2026-03-01T13:00:00+01:00 created_before:2026-03-02", vec![&waiting]),
    ] {
        assert_eq!(listed(&mut client, q).await, expected.into_iter().cloned().collect::<Vec<_>>(), "{q}");
    }
}

#[tokio::test]
async fn another_users_chats_are_in_nobodys_list() {
    let (cluster, mut client) = cluster().await;
    let chat = idle(&mut client, "mine", &[("env", "a")]).await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);

    let workspace = format!("workspace:{} archived:any", cluster.workspace);
    for q in ["", "archived:any", "label:env=a", "title:mine", "state:waiting", &workspace, "search:mine"] {
        assert!(listed(&mut stranger, q).await.is_empty(), "{q}");
    }
    assert_eq!(listed(&mut client, "").await, [chat]);
}
