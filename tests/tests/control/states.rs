//! In which state each call is possible, and what it leads to. The rules are the domain's;
//! that the way from the contract to them leads through the right one is tested here.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, text};

use crate::{
    new_id,
    stage::{Stage, expected, message},
};

/// The first message of the queue, or one that is not there.
async fn queued(client: &mut Client, chat: &str) -> String {
    let request = proto::ListQueuedMessagesRequest { chat_id: chat.to_owned(), ..Default::default() };
    let listed = client.chats.list_queued_messages(request).await.expect("the queue is listed").into_inner();
    listed.queued_messages.into_iter().next().map_or_else(new_id, |queued| queued.queued_message_id)
}

#[tokio::test]
async fn a_message_waits_in_every_state_that_is_not_idle() {
    let stage = Stage::set().await;
    for busy in [proto::BusyBehavior::Queue, proto::BusyBehavior::Steer] {
        let stage = if busy == proto::BusyBehavior::Queue { &stage } else { &Stage::set().await };

        let table = stage
            .table(async |mut client, chat| {
                Ok(client.chats.send_message(message(&chat, busy)).await?.into_inner().chat)
            })
            .await;

        assert_eq!(
            table,
            expected(
                "W E0: RUNNING 0
                 E1: RUNNING 1
                 R0 L0: RUNNING 1
                 R1 L1: RUNNING 2
                 I0: INTERRUPTING 1
                 I1: INTERRUPTING 2
                 S0: SUSPENDED 1
                 S1: SUSPENDED 2
                 XW XE0 XE1: STATE_FORBIDS"
            ),
            "{busy:?}"
        );
    }
}

#[tokio::test]
async fn a_message_that_interrupts_stops_what_runs() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat| {
            let request = message(&chat, proto::BusyBehavior::Interrupt);
            Ok(client.chats.send_message(request).await?.into_inner().chat)
        })
        .await;

    assert_eq!(
        table,
        expected(
            "W E0 R0 S0: RUNNING 0
             E1 R1 S1: RUNNING 1
             L0 I0: INTERRUPTING 1
             L1 I1: INTERRUPTING 2
             XW XE0 XE1: STATE_FORBIDS"
        )
    );
}

#[tokio::test]
async fn an_interrupt_ends_on_the_spot_what_no_worker_has() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat_id| {
            let request = proto::InterruptChatRequest { chat_id, ..Default::default() };
            Ok(client.chats.interrupt_chat(request).await?.into_inner().chat)
        })
        .await;

    assert_eq!(
        table,
        expected(
            "W R0 S0: WAITING 0
             R1 S1: RUNNING 0
             L0 I0: INTERRUPTING 0
             L1 I1: INTERRUPTING 1
             E0: ERROR 0
             E1: ERROR 1
             XW XE0 XE1: STATE_FORBIDS"
        )
    );
}

#[tokio::test]
async fn an_edit_starts_a_turn_in_every_live_state_and_clears_the_queue() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat_id| {
            let message_id = client.messages(&chat_id).await[0].message_id;
            let parts = vec![text("edited")];
            let request = proto::EditMessageRequest { chat_id, message_id, parts, ..Default::default() };
            Ok(client.chats.edit_message(request).await?.into_inner().chat)
        })
        .await;

    assert_eq!(
        table,
        expected(
            "W E0 E1 R0 R1 L0 L1 I0 I1 S0 S1: RUNNING 0
             XW XE0 XE1: STATE_FORBIDS"
        )
    );
}

#[tokio::test]
async fn a_copy_of_a_chat_in_any_state_waits() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat_id| {
            let before = client.chat(&chat_id).await?;
            let message_id = client.messages(&chat_id).await.last().expect("it has messages").message_id;
            let request =
                proto::ForkChatRequest { chat_id: chat_id.clone(), message_id, ..Default::default() };
            let copy = client.chats.fork_chat(request).await?.into_inner().chat;
            assert_eq!(client.chat(&chat_id).await?, before, "the source stays as it is");
            Ok(copy)
        })
        .await;

    assert_eq!(table, expected("W E0 E1 R0 R1 L0 L1 I0 I1 S0 S1 XW XE0 XE1: WAITING 0"));
}

#[tokio::test]
async fn settings_change_in_every_live_state_and_leave_it_as_it_is() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat_id| {
            let request = proto::ConfigureChatRequest {
                chat_id,
                update_mask: Some(prost_types::FieldMask { paths: vec!["effort".to_owned()] }),
                effort: proto::Effort::Low.into(),
                ..Default::default()
            };
            Ok(client.chats.configure_chat(request).await?.into_inner().chat)
        })
        .await;

    assert_eq!(
        table,
        expected(
            "W: WAITING 0
             E0: ERROR 0
             E1: ERROR 1
             R0 L0: RUNNING 0
             R1 L1: RUNNING 1
             I0: INTERRUPTING 0
             I1: INTERRUPTING 1
             S0: SUSPENDED 0
             S1: SUSPENDED 1
             XW XE0 XE1: STATE_FORBIDS"
        )
    );
}

#[tokio::test]
async fn the_system_prompt_changes_only_in_an_idle_chat_without_an_answer() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat_id| {
            let request = proto::ConfigureChatRequest {
                chat_id,
                update_mask: Some(prost_types::FieldMask { paths: vec!["system_prompt".to_owned()] }),
                system_prompt: "Be brief.".to_owned(),
                ..Default::default()
            };
            Ok(client.chats.configure_chat(request).await?.into_inner().chat)
        })
        .await;

    // The chat that waits has an answer.
    assert_eq!(
        table,
        expected(
            "E0: ERROR 0
             W E1 R0 R1 L0 L1 I0 I1 S0 S1 XW XE0 XE1: STATE_FORBIDS"
        )
    );
}

#[tokio::test]
async fn results_are_taken_only_from_a_suspended_chat() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat_id| {
            let required = client.chat(&chat_id).await?.action_required;
            let pending = required.and_then(|required| required.calls.into_iter().next());
            let call = pending.and_then(|pending| pending.call);
            let call = call.unwrap_or(proto::CallId { message_id: 1, call_index: 0 });
            let result =
                proto::SubmittedResult { call: Some(call), output: "42".to_owned(), is_error: false };
            let request =
                proto::SubmitToolResultsRequest { chat_id, results: vec![result], ..Default::default() };
            Ok(client.chats.submit_tool_results(request).await?.into_inner().chat)
        })
        .await;

    assert_eq!(
        table,
        expected(
            "S0: RUNNING 0
             S1: RUNNING 1
             W E0 E1 R0 R1 L0 L1 I0 I1 XW XE0 XE1: STATE_FORBIDS"
        )
    );
}

#[tokio::test]
async fn only_an_idle_chat_with_an_answer_is_compacted() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat_id| {
            let request = proto::CompactChatRequest { chat_id, ..Default::default() };
            Ok(client.chats.compact_chat(request).await?.into_inner().chat)
        })
        .await;

    // The chats that stopped with an error have no answer; those with one are tested apart.
    assert_eq!(
        table,
        expected(
            "W: RUNNING 0
             E0 E1 R0 R1 L0 L1 I0 I1 S0 S1 XW XE0 XE1: STATE_FORBIDS"
        )
    );
}

#[tokio::test]
async fn only_an_idle_chat_is_cleared() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat_id| {
            let request = proto::ClearContextRequest { chat_id, ..Default::default() };
            Ok(client.chats.clear_context(request).await?.into_inner().chat)
        })
        .await;

    assert_eq!(
        table,
        expected(
            "W E0: WAITING 0
             E1 R0 R1 L0 L1 I0 I1 S0 S1 XW XE0 XE1: STATE_FORBIDS"
        )
    );
}

#[tokio::test]
async fn a_queued_message_is_edited_and_moved_in_every_live_state() {
    let stage = Stage::set().await;
    let lines = "E1: ERROR 1
                 R1 L1: RUNNING 1
                 I1: INTERRUPTING 1
                 S1: SUSPENDED 1
                 W E0 R0 L0 I0 S0: QUEUED_MESSAGE_NOT_FOUND
                 XW XE0 XE1: STATE_FORBIDS";

    let edited = stage
        .table(async |mut client, chat_id| {
            let queued_message_id = queued(&mut client, &chat_id).await;
            let parts = vec![text("edited")];
            let request =
                proto::EditQueuedMessageRequest { chat_id, queued_message_id, parts, ..Default::default() };
            Ok(client.chats.edit_queued_message(request).await?.into_inner().chat)
        })
        .await;
    let moved = stage
        .table(async |mut client, chat_id| {
            let queued_message_id = queued(&mut client, &chat_id).await;
            let request =
                proto::MoveQueuedMessageRequest { chat_id, queued_message_id, ..Default::default() };
            Ok(client.chats.move_queued_message(request).await?.into_inner().chat)
        })
        .await;

    assert_eq!(edited, expected(lines));
    assert_eq!(moved, expected(lines));
}

#[tokio::test]
async fn a_queued_message_is_deleted_in_every_live_state() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat_id| {
            let queued_message_id = queued(&mut client, &chat_id).await;
            let request =
                proto::DeleteQueuedMessageRequest { chat_id, queued_message_id, ..Default::default() };
            Ok(client.chats.delete_queued_message(request).await?.into_inner().chat)
        })
        .await;

    assert_eq!(
        table,
        expected(
            "E1: ERROR 0
             R1 L1: RUNNING 0
             I1: INTERRUPTING 0
             S1: SUSPENDED 0
             W E0 R0 L0 I0 S0: QUEUED_MESSAGE_NOT_FOUND
             XW XE0 XE1: STATE_FORBIDS"
        )
    );
}

#[tokio::test]
async fn a_promoted_message_enters_at_once_unless_a_worker_has_the_chat() {
    let stage = Stage::set().await;

    let table = stage
        .table(async |mut client, chat_id| {
            let queued_message_id = queued(&mut client, &chat_id).await;
            let request =
                proto::PromoteQueuedMessageRequest { chat_id, queued_message_id, ..Default::default() };
            Ok(client.chats.promote_queued_message(request).await?.into_inner().chat)
        })
        .await;

    assert_eq!(
        table,
        expected(
            "E1 R1 S1: RUNNING 0
             L1 I1: INTERRUPTING 1
             W E0 R0 L0 I0 S0 XW XE0 XE1: STATE_FORBIDS"
        )
    );
}

#[tokio::test]
async fn only_an_idle_chat_is_archived_and_only_an_archived_one_brought_back() {
    let stage = Stage::set().await;

    let unarchived = stage
        .table(async |mut client, chat_id| {
            let request = proto::UnarchiveChatRequest { chat_id, ..Default::default() };
            Ok(client.chats.unarchive_chat(request).await?.into_inner().chat)
        })
        .await;
    let archived = stage
        .table(async |mut client, chat_id| {
            let request = proto::ArchiveChatRequest { chat_id, ..Default::default() };
            Ok(client.chats.archive_chat(request).await?.into_inner().chat)
        })
        .await;

    assert_eq!(
        unarchived,
        expected(
            "XW: WAITING 0
             XE0: ERROR 0
             XE1: ERROR 1
             W E0 E1 R0 R1 L0 L1 I0 I1 S0 S1: STATE_FORBIDS"
        )
    );
    assert_eq!(
        archived,
        expected(
            "W XW: WAITING archived 0
             E0 XE0: ERROR archived 0
             E1 XE1: ERROR archived 1
             R0 R1 L0 L1 I0 I1 S0 S1: STATE_FORBIDS"
        )
    );
}
