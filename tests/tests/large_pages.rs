//! Lists of large entries are cut by bytes: no message on any wire exceeds 3 MiB.

use std::collections::BTreeMap;

use chatplane_proto::{MESSAGE_BYTES_MAX, chat::v1 as proto};
use chatplane_tests::{Cluster, Options, text};
use prost::Message;
use sqlx::Executor;

#[tokio::test]
async fn a_page_of_chats_with_large_labels_is_cut() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let labels: BTreeMap<String, String> =
        (0..50).map(|number| (format!("{number:0>64}"), "🐟".repeat(256))).collect();
    for _ in 0..60 {
        let request = proto::CreateChatRequest {
            parts: vec![text("hello")],
            labels: labels.clone(),
            ..Default::default()
        };
        client.chats.create_chat(request).await.expect("created");
    }

    let mut seen = 0;
    let mut page_token = String::new();
    loop {
        let request = proto::ListChatsRequest { page_size: 100, page_token, q: String::new() };
        let page = client.chats.list_chats(request).await.expect("listed").into_inner();
        assert!(page.encoded_len() <= MESSAGE_BYTES_MAX);
        assert!(!page.chats.is_empty());
        seen += page.chats.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }

    assert_eq!(seen, 60);
}

#[tokio::test]
async fn a_page_of_workspaces_with_many_tools_is_cut() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let insert = "insert into workspaces (workspace_id, organization_id, owner_id, name, tools) \
                  select gen_random_uuid(), organization_id, owner_id, 'large', jsonb_build_array( \
                      jsonb_build_object('name', 'tool', 'description', repeat('x', 1000000), \
                      'input_schema_json', '{}')) \
                  from workspaces, generate_series(1, 6)";
    cluster.database.connection().await.execute(insert).await.expect("they are inserted");

    let mut seen = 0;
    let mut page_token = String::new();
    loop {
        let request = proto::ListWorkspacesRequest { page_size: 0, page_token };
        let page = client.chats.list_workspaces(request).await.expect("listed").into_inner();
        assert!(page.encoded_len() <= MESSAGE_BYTES_MAX);
        seen += page.workspaces.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }

    assert_eq!(seen, 7);
}
