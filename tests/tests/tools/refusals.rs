//! Tools that may not be used.

use std::{collections::BTreeMap, fs};

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Options, text};
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use crate::world::{World, model_that_calls, model_that_runs};

#[tokio::test]
async fn an_agent_that_only_reads_offers_no_other_tools_and_refuses_their_calls_with_a_sentence() {
    let calls = vec![
        ("execute", json!({"command": "touch ran"})),
        ("write_file", json!({"path": "ran", "content": ""})),
        ("edit_files", json!({"edits": [{"path": "a.txt", "old_text": "a", "new_text": "b"}]})),
        ("read_file", json!({"path": "a.txt"})),
    ];
    let agent = BTreeMap::from([("CHATPLANE_WORKSPACE_READ_ONLY", "true".to_owned())]);
    let options = Options { agent, ..Options::default() };
    let mut world = World::start_with(model_that_calls(calls).await, options).await;
    world.write("a.txt", "a\n");

    let chat = world.chat().await;
    let mut results = world.results(&chat).await;

    let request = world.model.requests().remove(0);
    let offered =
        ["read_file", "list_dir", "write_file", "edit_files", "execute"].map(|tool| request.has_tool(tool));
    assert_eq!(offered, [true, true, false, false, false]);
    results.sort_by_key(|result| result.call_index);
    let refused: Vec<bool> = results.iter().map(|result| result.is_error).collect();
    assert_eq!(refused, [true, true, true, false], "{results:#?}");
    for result in &results[..3] {
        assert!(result.output.contains("The tools are: "), "{result:?}");
    }
    assert!(!world.path("ran").exists());
    assert_eq!(world.read("a.txt"), "a\n");
}

#[tokio::test]
async fn a_chat_of_a_stranger_cannot_use_the_workspace() {
    let world = World::start(model_that_runs("touch ran").await).await;
    let mut stranger = Client::new(&world.cluster.url(), &world.cluster.tokens.stranger);

    let request = proto::CreateChatRequest {
        parts: vec![text("Go.")],
        workspace_id: world.cluster.workspace.to_string(),
        ..Default::default()
    };
    let refused = stranger.chats.create_chat(request).await.expect_err("it is not the stranger's");
    let chat = stranger.create_chat("Go.").await.chat_id;
    stranger.watch_to_rest(&chat).await;

    let info = refused.get_details_error_info().expect("every refusal has a reason");
    assert_eq!((refused.code(), info.reason.as_str()), (Code::NotFound, "WORKSPACE_NOT_FOUND"));
    assert!(!world.model.requests()[0].has_tool("execute"));
    let told = format!("{:?}", world.model.requests()[1].new_tool_results());
    assert!(told.contains("no workspace"), "{told}");
    let files = fs::read_dir(world.cluster.directory.path()).expect("the workspace is there");
    assert_eq!(files.count(), 0);
}
