//! PostgreSQL killed in mid-turn. In a binary of its own, since its server is shared.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Cluster, Options, crash_postgres, eventually,
    model_server::{Action, Gate, ModelServer},
    restart_postgres,
};
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn a_crash_of_postgres_loses_no_accepted_write() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |_| {
        vec![Action::text("half "), held.wait(), Action::text("and half"), Action::stop()]
    })
    .await;
    let cluster = Cluster::start(Options { model_url: model.url(), workers: 1, ..Options::default() }).await;
    let mut client = cluster.client();
    let chat = client.create_chat("Go.").await.chat_id;
    gate.reached().await;

    crash_postgres().await;
    let refused = client.send(&chat, "Lost?").await.expect_err("the database is gone");
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.get_details_error_info().expect("a reason").reason, "UNAVAILABLE");
    assert!(refused.get_details_retry_info().is_some(), "it says when to try again");
    gate.open();
    restart_postgres().await;
    eventually("the chat comes to rest", async || {
        let chat = client.chat(&chat).await.ok()?;
        (chat.state() == proto::ChatState::Waiting).then_some(())
    })
    .await;

    let messages = client.messages(&chat).await;
    assert_eq!(messages.len(), 2);
    assert_eq!(model.calls().len(), 1, "the worker kept its answer until it could commit");
}
