//! Settings, results of the client's tools, archiving.

use chatplane_proto::chat::v1 as proto;
use prost_types::FieldMask;
use rand::{Rng, seq::IndexedRandom as _};

use super::{Operation, User};
use crate::CLIENT_TOOL;

impl User {
    pub(super) async fn configure(&mut self, chat: &str) {
        let request_id = self.request_id();
        let path = ["effort", "client_tools", "workspace_id", "action_timeout_ms", "system_prompt"]
            .choose(&mut self.random)
            .expect("there are some");
        let is_on = self.random.random_bool(0.6);
        let tool = proto::ToolDefinition {
            name: CLIENT_TOOL.to_owned(),
            description: format!("Asks the user, the {}. way.", self.random.random_range(1..100)),
            input_schema_json: r#"{"type": "object"}"#.to_owned(),
        };
        let efforts = [proto::Effort::Low, proto::Effort::Medium, proto::Effort::High];
        let request = proto::ConfigureChatRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            update_mask: Some(FieldMask { paths: vec![(*path).to_owned()] }),
            effort: (*efforts.choose(&mut self.random).expect("there are some")).into(),
            client_tools: if is_on { vec![tool] } else { Vec::new() },
            workspace_id: if is_on { self.storm.workspace.clone() } else { String::new() },
            action_timeout_ms: if is_on { 1_000 } else { 300_000 },
            system_prompt: if is_on { "Be brief.".to_owned() } else { String::new() },
            ..Default::default()
        };
        self.ask(Operation::ConfigureChat, &request_id, async |client| {
            client.chats.configure_chat(request.clone()).await
        })
        .await;
    }

    /// Hands in some of what a suspended chat waits for, or all.
    pub(crate) async fn submit(&mut self, chat: &str) {
        let request = proto::GetChatRequest { chat_id: chat.to_owned() };
        let read = self.client.chats.get_chat(request).await.expect("a chat can always be read").into_inner();
        let Some(required) = read.chat.and_then(|chat| chat.action_required) else { return };
        let most = if self.random.random_bool(0.3) { 1 } else { required.calls.len() };
        let results = required.calls.iter().take(most).map(|pending| proto::SubmittedResult {
            call: pending.call,
            output: "the user says so".to_owned(),
            is_error: self.random.random_bool(0.2),
        });
        let results = results.collect();
        let request_id = self.request_id();
        let request = proto::SubmitToolResultsRequest {
            chat_id: chat.to_owned(),
            request_id: request_id.clone(),
            results,
        };
        self.ask(Operation::SubmitToolResults, &request_id, async |client| {
            client.chats.submit_tool_results(request.clone()).await
        })
        .await;
    }

    /// Archives a chat, or brings it back.
    pub(super) async fn archive(&mut self, chat: &str) {
        let is_archived = self.client.chat(chat).await.expect("a chat can always be read").archived;
        // Sometimes it is refused.
        if is_archived != self.random.random_ratio(1, 8) {
            return self.unarchive(chat).await;
        }
        let request_id = self.request_id();
        let request = proto::ArchiveChatRequest { chat_id: chat.to_owned(), request_id: request_id.clone() };
        let archived = self
            .ask(Operation::ArchiveChat, &request_id, async |client| {
                client.chats.archive_chat(request.clone()).await
            })
            .await;
        // Some did not mean it.
        if archived.accepted().is_some() && self.random.random_bool(0.5) {
            self.unarchive(chat).await;
        }
    }

    async fn unarchive(&mut self, chat: &str) {
        let request_id = self.request_id();
        let request =
            proto::UnarchiveChatRequest { chat_id: chat.to_owned(), request_id: request_id.clone() };
        self.ask(Operation::UnarchiveChat, &request_id, async |client| {
            client.chats.unarchive_chat(request.clone()).await
        })
        .await;
    }
}
