//! What is recorded of model calls: stored once, listed, and deleted with what it tells of.

mod boundaries;
mod reading;
mod recording;
mod switches;

use chatplane_proto::{
    chat::v1 as proto,
    worker::v1::{self as worker, worker_service_client::WorkerServiceClient},
};
use chatplane_tests::{Client, Cluster, Options};
use sqlx::PgConnection;
use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// The reason that a refusal names.
fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The first field that a refusal names.
fn field(status: &Status) -> String {
    let details = status.get_details_bad_request();
    let first = details.and_then(|details| details.field_violations.into_iter().next());
    first.map(|violation| violation.field).unwrap_or_default()
}

type Calls = WorkerServiceClient<InterceptedService<Channel, chatplane_tests::Bearer>>;

/// A control plane whose worker is the test.
struct Stage {
    cluster: Cluster,
    client: Client,
    calls: Calls,
    session: Uuid,
}

impl Stage {
    /// Everything is recorded.
    async fn new() -> Self {
        let cluster = Cluster::start(Options::default()).await;
        let channel = Endpoint::from_shared(cluster.url()).expect("the URL is one").connect_lazy();
        let token = chatplane_tests::Bearer::new(&cluster.tokens.worker);
        let calls = WorkerServiceClient::with_interceptor(channel, token);
        let session = Uuid::now_v7();
        let stage = Self { client: cluster.client(), calls, session, cluster };
        let opened = "insert into sessions (session_id, replica_id, connection, worker_name, slots_total, expire_time) \
                      values ($1, $1, 1, 'test', 1, now() + interval '1 hour')";
        let mut connection = stage.connection().await;
        sqlx::query(opened).bind(session).execute(&mut connection).await.expect("it is stored");
        let mut owner = Client::new(&stage.cluster.url(), &stage.cluster.tokens.owner);
        set(&mut owner, proto::DebugPolicy::Forced, None).await.expect("owners set the policy");
        stage
    }

    async fn connection(&self) -> PgConnection {
        self.cluster.database.connection().await
    }

    /// A chat with so many messages of its user, which rests, and that had three leases.
    async fn chat(&mut self, messages: usize) -> (String, Vec<i64>) {
        let chat = self.client.create_chat("number 1").await.chat_id;
        self.interrupt(&chat).await;
        for number in 2..=messages {
            self.client.send(&chat, &format!("number {number}")).await.expect("it is sent");
            self.interrupt(&chat).await;
        }
        let leased = "update chats set fence = 3, session_id = $1 where chat_id = $2";
        let id: Uuid = chat.parse().expect("it is a UUID");
        let mut connection = self.connection().await;
        let query = sqlx::query(leased).bind(self.session).bind(id);
        query.execute(&mut connection).await.expect("it is stored");
        let of_user = self.client.messages(&chat).await.into_iter();
        let ids =
            of_user.filter(|message| message.role() == proto::Role::User).map(|message| message.message_id);
        (chat, ids.collect())
    }

    async fn interrupt(&mut self, chat: &str) {
        let request = proto::InterruptChatRequest { chat_id: chat.to_owned(), ..Default::default() };
        self.client.chats.interrupt_chat(request).await.expect("it is stopped");
    }

    async fn edit(&mut self, chat: &str, message_id: i64) {
        let request = proto::EditMessageRequest {
            chat_id: chat.to_owned(),
            message_id,
            parts: vec![chatplane_tests::text("replaced")],
            ..Default::default()
        };
        self.client.chats.edit_message(request).await.expect("it is edited");
    }

    /// A call that a message has started, which saw that message and was not answered.
    fn step(&self, chat: &str, model_call: i64, trigger: i64) -> worker::RecordDebugStepRequest {
        let step = proto::DebugStep {
            history_tip_message_id: trigger,
            model: "test".to_owned(),
            request_json: format!("{{\"call\":{model_call}}}"),
            start_time: Some(std::time::SystemTime::now().into()),
            duration_ms: 10,
            ..Default::default()
        };
        worker::RecordDebugStepRequest {
            session_id: self.session.to_string(),
            chat_id: chat.to_owned(),
            fence: 1,
            model_call,
            trigger_message_id: trigger,
            run_history_tip_message_id: trigger,
            step: Some(step),
        }
    }

    async fn record(&mut self, request: worker::RecordDebugStepRequest) -> Result<(), Status> {
        self.calls.record_debug_step(request).await.map(|_| ())
    }

    async fn runs(&mut self, chat: &str) -> Vec<proto::DebugRun> {
        let request = proto::ListDebugRunsRequest { chat_id: chat.to_owned(), ..Default::default() };
        self.client.chats.list_debug_runs(request).await.expect("they are listed").into_inner().runs
    }

    async fn steps(&mut self, run: &proto::DebugRun) -> Vec<proto::DebugStep> {
        let request = proto::GetDebugRunRequest {
            chat_id: run.chat_id.clone(),
            run_id: run.run_id.clone(),
            ..Default::default()
        };
        self.client.chats.get_debug_run(request).await.expect("it is there").into_inner().steps
    }
}

/// Sets policy, choice, or both.
async fn set(
    client: &mut Client,
    policy: proto::DebugPolicy,
    user_enabled: Option<bool>,
) -> Result<proto::DebugRecording, Status> {
    let request = proto::UpdateDebugRecordingRequest { policy: policy.into(), user_enabled };
    let stored = client.settings.update_debug_recording(request).await?.into_inner();
    Ok(stored.debug_recording.expect("every reply has it"))
}
