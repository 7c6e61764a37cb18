//! A call that is repeated under its request id has the effect of one and gets the same reply.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, text};
use futures::future::join_all;

use crate::{
    calls::{Call, Target, changes},
    cluster,
    holder::Holder,
    interrupt, new_id, reason,
    stage::TOOL,
};

/// The call of this name.
fn call(target: &Target, name: &str) -> Call {
    changes(target).into_iter().find(|call| call.name == name).expect("there is such a call")
}

/// A chat in which the call succeeds. The holder keeps it as it is.
async fn prepared(cluster: &Cluster, client: &mut Client, name: &str) -> (Target, Option<Holder>) {
    let created = proto::CreateChatRequest { parts: vec![text("first")], ..Default::default() };
    let created = client.chats.create_chat(created).await.expect("it is created").into_inner();
    let chat = created.chat.expect("a chat").chat_id;
    let message = created.message.expect("a message").message_id;
    let mut target = Target { chat: chat.clone(), message, ..Target::default() };
    let mut holder = None;
    match name {
        "submit_tool_results" => {
            let mut worker = Holder::open(cluster).await;
            let outcome = worker.suspend(&[TOOL]).await;
            target.call.message_id = outcome.committed_message_ids[0];
            holder = Some(worker);
        }
        "compact_chat" => {
            let mut worker = Holder::open(cluster).await;
            worker.finish("Done.").await;
            holder = Some(worker);
        }
        "clear_context" | "archive_chat" => drop(interrupt(client, &chat).await),
        "unarchive_chat" => {
            interrupt(client, &chat).await;
            let archive = proto::ArchiveChatRequest { chat_id: chat, ..Default::default() };
            client.chats.archive_chat(archive).await.expect("it is archived");
        }
        name if name.ends_with("queued_message") => {
            let queued = client.send(&chat, "queued").await.expect("it is queued").queued_message;
            target.queued = queued.expect("it is queued").queued_message_id;
            client.send(&chat, "queued too").await.expect("it is queued");
        }
        _ => {}
    }
    (target, holder)
}

#[tokio::test]
async fn every_change_that_is_repeated_gets_the_reply_of_then() {
    let (cluster, mut client) = cluster().await;
    let names: Vec<&str> = changes(&Target::default()).iter().map(|call| call.name).collect();

    for name in names {
        let (target, _holder) = prepared(&cluster, &mut client, name).await;
        let id = new_id();
        let first = call(&target, name).run(&client, &id).await.expect(name);
        // Whatever becomes of this: the chat moves on, or cannot.
        let _ = client.send(&target.chat, "meanwhile").await;
        let before = client.chat(&target.chat).await.expect("it is there");

        let again = call(&target, name).run(&client, &id).await.expect(name);

        assert_eq!(again, first, "{name}");
        assert_eq!(client.chat(&target.chat).await.expect("it is there"), before, "{name}");
        interrupt_whatever(&mut client, &target.chat).await;
    }
}

/// Leaves nothing runnable for the next worker.
async fn interrupt_whatever(client: &mut Client, chat: &str) {
    loop {
        let request = proto::InterruptChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        let Ok(response) = client.chats.interrupt_chat(request).await else { return };
        let chat = response.into_inner().chat.expect("a chat");
        if chat.state() != proto::ChatState::Running {
            return;
        }
    }
}

#[tokio::test]
async fn a_request_id_that_is_used_for_anything_else_is_refused() {
    let (cluster, mut client) = cluster().await;
    let names: Vec<&str> = changes(&Target::default()).iter().map(|call| call.name).collect();

    for name in names {
        let (target, _holder) = prepared(&cluster, &mut client, name).await;
        let other = client.create_chat("another").await.chat_id;
        let id = new_id();
        call(&target, name).run(&client, &id).await.expect(name);

        let elsewhere = Target { chat: other.clone(), ..target.clone() };
        let another_body = call(&elsewhere, name).run(&client, &id).await.expect_err(name);
        let different = if name == "interrupt_chat" { "send_message" } else { "interrupt_chat" };
        let another_method = call(&target, different).run(&client, &id).await.expect_err(name);

        assert_eq!(reason(&another_body), "REQUEST_ID_REUSED", "{name}");
        assert_eq!(reason(&another_method), "REQUEST_ID_REUSED", "{name}");
        interrupt_whatever(&mut client, &target.chat).await;
        interrupt_whatever(&mut client, &other).await;
    }
}

#[tokio::test]
async fn calls_at_once_under_one_request_id_have_the_effect_of_one() {
    let (cluster, mut client) = cluster().await;
    for name in ["send_message", "fork_chat", "edit_message", "delete_queued_message"] {
        let (target, _holder) = prepared(&cluster, &mut client, name).await;
        let before = client.chat(&target.chat).await.expect("it is there");
        let id = new_id();

        let call = call(&target, name);
        let replies = join_all((0..8).map(|_| call.run(&client, &id))).await;

        let replies: Vec<Vec<u8>> = replies.into_iter().map(|reply| reply.expect(name)).collect();
        assert!(replies.windows(2).all(|pair| pair[0] == pair[1]), "{name}");
        let after = client.chat(&target.chat).await.expect("it is there");
        let writes = i64::from(name != "fork_chat");
        assert_eq!(after.snapshot_version, before.snapshot_version + writes, "{name}");
    }
    let listed = client.chats.list_chats(proto::ListChatsRequest::default()).await.expect("listed");
    assert_eq!(listed.into_inner().chats.len(), 5, "one copy was made");
}
