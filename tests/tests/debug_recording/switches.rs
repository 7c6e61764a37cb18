//! Who decides whether model calls are recorded.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::model_server::{ModelServer, say};

use super::{cluster, in_state, runs, set_policy};

async fn choose(client: &mut chatplane_tests::Client, enabled: bool) {
    let request = proto::UpdateDebugRecordingRequest { policy: 0, user_enabled: Some(enabled) };
    client.settings.update_debug_recording(request).await.expect("the choice is stored");
}

#[tokio::test]
async fn nothing_is_recorded_until_somebody_wants_it_and_from_the_next_turn_on() {
    let model = ModelServer::start(|_| say("Yes.")).await;
    let cluster = cluster(&model, false).await;
    let mut client = cluster.client();
    let chat = client.create_chat("Off by default.").await.chat_id;
    in_state(&mut client, &chat, proto::ChatState::Waiting).await;
    set_policy(&cluster, proto::DebugPolicy::Allowed).await;
    client.send(&chat, "Allowed, and not chosen.").await.expect("sent");
    in_state(&mut client, &chat, proto::ChatState::Waiting).await;
    choose(&mut client, true).await;
    client.send(&chat, "Chosen.").await.expect("sent");
    in_state(&mut client, &chat, proto::ChatState::Waiting).await;

    // Steps come in order: what the turns before had recorded would be there.
    let recorded = runs(&mut client, &chat, 1).await;

    let messages = client.messages(&chat).await;
    let chosen = messages[messages.len() - 2].message_id;
    assert_eq!(recorded.iter().map(|run| run.trigger_message_id).collect::<Vec<_>>(), [chosen]);
}

#[tokio::test]
async fn what_a_user_has_chosen_is_nothing_once_it_is_forbidden_and_nothing_is_needed_once_it_is_forced() {
    let model = ModelServer::start(|_| say("Yes.")).await;
    let cluster = cluster(&model, false).await;
    let mut client = cluster.client();
    set_policy(&cluster, proto::DebugPolicy::Allowed).await;
    choose(&mut client, true).await;
    set_policy(&cluster, proto::DebugPolicy::Forbidden).await;
    let chat = client.create_chat("Forbidden.").await.chat_id;
    in_state(&mut client, &chat, proto::ChatState::Waiting).await;
    set_policy(&cluster, proto::DebugPolicy::Allowed).await;
    choose(&mut client, false).await;
    set_policy(&cluster, proto::DebugPolicy::Forced).await;
    client.send(&chat, "Forced.").await.expect("sent");
    in_state(&mut client, &chat, proto::ChatState::Waiting).await;

    let recorded = runs(&mut client, &chat, 1).await;

    let messages = client.messages(&chat).await;
    let forced = messages[messages.len() - 2].message_id;
    assert_eq!(recorded.iter().map(|run| run.trigger_message_id).collect::<Vec<_>>(), [forced]);
}
