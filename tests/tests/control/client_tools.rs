//! Tools that the client runs: the chat waits for them without a worker.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, eventually, text};
use tonic::Status;

use crate::{cluster, field, holder::Holder, new_id, reason, stage::TOOL};

/// A chat that waits for two calls, and the message that asked for them.
async fn suspended(cluster: &Cluster, client: &mut Client, action_timeout_ms: i64) -> (String, i64) {
    let request = proto::CreateChatRequest {
        parts: vec![text("first")],
        client_tools: vec![proto::ToolDefinition {
            name: TOOL.to_owned(),
            description: "Asks the user.".to_owned(),
            input_schema_json: "{\"type\":\"object\"}".to_owned(),
        }],
        action_timeout_ms,
        ..Default::default()
    };
    let chat = client.chats.create_chat(request).await.expect("created").into_inner().chat.expect("a chat");
    let mut holder = Holder::open(cluster).await;
    let asked = holder.suspend(&[TOOL, TOOL]).await.committed_message_ids[0];
    (chat.chat_id, asked)
}

fn results(chat: &str, message_id: i64, outputs: &[(i32, &str)]) -> proto::SubmitToolResultsRequest {
    let result = |(call_index, output): &(i32, &str)| proto::SubmittedResult {
        call: Some(proto::CallId { message_id, call_index: *call_index }),
        output: (*output).to_owned(),
        is_error: *call_index == 1,
    };
    proto::SubmitToolResultsRequest {
        chat_id: chat.to_owned(),
        results: outputs.iter().map(result).collect(),
        ..Default::default()
    }
}

async fn submit(
    client: &mut Client,
    request: proto::SubmitToolResultsRequest,
) -> Result<proto::Chat, Status> {
    Ok(client.chats.submit_tool_results(request).await?.into_inner().chat.expect("a chat"))
}

#[tokio::test]
async fn a_suspended_chat_tells_what_it_waits_for_and_until_when() {
    let (cluster, mut client) = cluster().await;

    let (chat, asked) = suspended(&cluster, &mut client, 60_000).await;

    let chat = client.chat(&chat).await.expect("it is there");
    assert_eq!(
        (chat.state(), chat.client_tool_names.clone()),
        (proto::ChatState::Suspended, vec![TOOL.to_owned()])
    );
    let required = chat.action_required.clone().expect("calls wait");
    let pending = |call_index: i32| proto::PendingCall {
        call: Some(proto::CallId { message_id: asked, call_index }),
        tool_name: TOOL.to_owned(),
        kind: proto::CallKind::Client.into(),
    };
    assert_eq!(required.calls, vec![pending(0), pending(1)]);
    let (deadline, since) = (required.deadline.expect("a deadline"), chat.update_time.expect("a time"));
    assert_eq!(deadline.seconds - since.seconds, 60);
    let listed = client.chats.list_chats(proto::ListChatsRequest::default()).await.expect("listed");
    let listed: Vec<_> = listed.into_inner().chats.into_iter().filter_map(|listed| listed.chat).collect();
    assert_eq!(listed, vec![chat.clone()]);
    let messages = client.messages(&chat.chat_id).await;
    let Some(proto::part::Kind::ToolCall(call)) = &messages[1].parts[0].kind else { panic!("no call") };
    assert_eq!(call.kind(), proto::CallKind::Client);
}

#[tokio::test]
async fn results_may_come_one_by_one_and_the_last_goes_on_with_the_turn() {
    let (cluster, mut client) = cluster().await;
    let (chat, asked) = suspended(&cluster, &mut client, 0).await;
    let deadline =
        client.chat(&chat).await.expect("it is there").action_required.expect("calls wait").deadline;

    let partly = submit(&mut client, results(&chat, asked, &[(1, "no idea")])).await.expect("it is taken");
    let required = partly.action_required.clone().expect("one call still waits");
    assert_eq!((partly.state(), required.calls.len()), (proto::ChatState::Suspended, 1));
    assert_eq!(required.deadline, deadline, "a part keeps the deadline");
    let done = submit(&mut client, results(&chat, asked, &[(0, "42\0")])).await.expect("it is taken");

    assert_eq!((done.state(), done.action_required), (proto::ChatState::Running, None));
    let messages = client.messages(&chat).await;
    let result = |message: &proto::Message| match message.parts[0].kind.clone() {
        Some(proto::part::Kind::ToolResult(result)) => result,
        other => panic!("no result: {other:?}"),
    };
    let (first, second) = (result(&messages[2]), result(&messages[3]));
    assert_eq!((first.call_index, first.output.as_str(), first.is_error), (1, "no idea", true));
    assert_eq!((second.call_index, second.output.as_str(), second.is_error), (0, "42\0", false));
    let mut holder = Holder::open(&cluster).await;
    holder.finish("Done.").await;
}

#[tokio::test]
async fn a_call_that_is_settled_takes_no_second_result() {
    let (cluster, mut client) = cluster().await;
    let (chat, asked) = suspended(&cluster, &mut client, 0).await;
    submit(&mut client, results(&chat, asked, &[(0, "42")])).await.expect("it is taken");

    let again = results(&chat, asked, &[(0, "43"), (1, "yes")]);
    let refused = submit(&mut client, again).await.expect_err("the first is settled");

    assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", "results"));
    let chat = client.chat(&chat).await.expect("it is there");
    assert_eq!(chat.action_required.expect("the other still waits").calls.len(), 1);
}

#[tokio::test]
async fn results_that_are_handed_in_again_under_their_request_id_are_taken_once() {
    let (cluster, mut client) = cluster().await;
    let (chat, asked) = suspended(&cluster, &mut client, 0).await;
    let request = proto::SubmitToolResultsRequest {
        request_id: new_id(),
        ..results(&chat, asked, &[(0, "42"), (1, "yes")])
    };

    let first = submit(&mut client, request.clone()).await.expect("they are taken");
    let again = submit(&mut client, request).await.expect("they were taken");

    assert_eq!(again, first);
    assert_eq!(client.messages(&chat).await.len(), 4);
}

#[tokio::test]
async fn calls_that_nobody_settles_time_out_and_the_turn_goes_on() {
    let (cluster, mut client) = cluster().await;

    let (chat, asked) = suspended(&cluster, &mut client, 1000).await;

    let running = eventually("the turn goes on", async || {
        client.chat(&chat).await.ok().filter(|chat| chat.state() == proto::ChatState::Running)
    })
    .await;
    assert_eq!(running.action_required, None);
    let messages = client.messages(&chat).await;
    for message in &messages[2..] {
        let Some(proto::part::Kind::ToolResult(result)) = &message.parts[0].kind else { panic!("no result") };
        assert_eq!(result.synthetic_reason(), proto::SyntheticReason::TimedOut);
    }
    let refused = submit(&mut client, results(&chat, asked, &[(0, "42")])).await.expect_err("too late");
    assert_eq!(reason(&refused), "STATE_FORBIDS");
}
