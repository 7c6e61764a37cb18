//! What is recorded of model calls, by real workers: every way in which a call ends, and
//! nothing where nobody wants it.

mod leases;
mod steps;
mod switches;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, Options, eventually, model_server::ModelServer};

/// The key that the cluster's model is called with.
const KEY: &str = "test-key";

async fn cluster(model: &ModelServer, workspace: bool) -> Cluster {
    Cluster::start(Options { model_url: model.url(), workers: 1, workspace, ..Options::default() }).await
}

/// The operator says who decides.
async fn set_policy(cluster: &Cluster, policy: proto::DebugPolicy) {
    let mut owner = Client::new(&cluster.url(), &cluster.tokens.owner);
    let request = proto::UpdateDebugRecordingRequest { policy: policy.into(), user_enabled: None };
    owner.settings.update_debug_recording(request).await.expect("owners set the policy");
}

async fn in_state(client: &mut Client, chat: &str, state: proto::ChatState) {
    eventually("the chat comes to rest", async || {
        let chat = client.chat(chat).await.ok()?;
        (chat.state() == state).then_some(())
    })
    .await;
}

/// The runs of a chat, newest first, once they have so many steps in all. They are handed in
/// after the turn has gone on.
async fn runs(client: &mut Client, chat: &str, steps: i32) -> Vec<proto::DebugRun> {
    eventually("the steps are recorded", async || {
        let request = proto::ListDebugRunsRequest { chat_id: chat.to_owned(), ..Default::default() };
        let runs = client.chats.list_debug_runs(request).await.expect("runs are listed").into_inner().runs;
        let recorded: i32 = runs.iter().map(|run| run.step_count).sum();
        (recorded >= steps).then_some(runs)
    })
    .await
}

async fn steps(client: &mut Client, run: &proto::DebugRun) -> Vec<proto::DebugStep> {
    let request = proto::GetDebugRunRequest {
        chat_id: run.chat_id.clone(),
        run_id: run.run_id.clone(),
        ..Default::default()
    };
    let found = client.chats.get_debug_run(request).await.expect("the run is there").into_inner();
    assert_eq!(found.run.as_ref(), Some(run));
    found.steps
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("it is JSON")
}
