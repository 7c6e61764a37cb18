//! Titles that a model writes, beside those that a user gives.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{
    Client, Cluster, Options, eventually,
    model_server::{Gate, ModelServer, Purpose, say},
};

use crate::{becomes, change, found, pairs, title, update};

/// A chat for which a model is about to hand in the title "Pulses" when the gate opens.
async fn titling(gate: &Gate) -> (ModelServer, Cluster, Client, proto::Chat) {
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.purpose() {
        Purpose::Title => [vec![held.wait()], say("Pulses")].concat(),
        Purpose::Turn | Purpose::Summary => say("Done."),
    })
    .await;
    let options = Options {
        model_url: model.url(),
        workers: 1,
        serve: [("CHATPLANE_GENERATE_TITLES", "true".to_owned())].into(),
        ..Options::default()
    };
    let cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    let chat = client.create_chat("How many beans?").await;
    gate.reached().await;
    (model, cluster, client, chat)
}

/// Waits until no job is left.
async fn is_over(cluster: &Cluster) {
    let mut connection = cluster.database.connection().await;
    eventually("the job is over", async || {
        let left: i64 =
            sqlx::query_scalar("select count(*) from jobs").fetch_one(&mut connection).await.ok()?;
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_title_that_a_user_gave_stays_when_the_models_comes_late() {
    let gate = Gate::new();
    let (_model, cluster, mut client, chat) = titling(&gate).await;

    update(&mut client, title(&chat.chat_id, "Peas")).await.expect("it is renamed");
    gate.open();
    is_over(&cluster).await;

    let after = client.chat(&chat.chat_id).await.expect("it is there");
    assert_eq!((after.title.as_str(), after.metadata_version), ("Peas", 2));
}

#[tokio::test]
async fn the_title_that_is_there_stays_when_a_user_says_so() {
    let gate = Gate::new();
    let (_model, cluster, mut client, chat) = titling(&gate).await;

    let kept = update(&mut client, title(&chat.chat_id, &chat.title)).await.expect("it keeps its name");
    gate.open();
    is_over(&cluster).await;

    let after = client.chat(&chat.chat_id).await.expect("it is there");
    assert_eq!((kept.metadata_version, after.metadata_version), (1, 1));
    assert_eq!(after.title, chat.title);
}

#[tokio::test]
async fn labels_do_not_stand_in_the_way_of_a_title() {
    let gate = Gate::new();
    let (_model, _cluster, mut client, chat) = titling(&gate).await;

    let request = proto::UpdateChatRequest {
        set_labels: pairs(&[("team", "blue")]),
        ..change(&chat.chat_id, &["set_labels"])
    };
    let labelled = update(&mut client, request).await.expect("it is labelled");
    gate.open();
    let after = becomes(&mut client, &chat.chat_id, "it has its title", |chat| chat.title == "Pulses").await;

    assert_eq!((labelled.metadata_version, after.metadata_version), (2, 3));
    assert_eq!(after.labels, pairs(&[("team", "blue")]));
}

#[tokio::test]
async fn a_title_can_be_asked_for_again_after_a_user_gave_one() {
    let gate = Gate::new();
    let (_model, cluster, mut client, chat) = titling(&gate).await;
    update(&mut client, title(&chat.chat_id, "Peas")).await.expect("it is renamed");
    gate.open();
    is_over(&cluster).await;

    let request = proto::RegenerateTitleRequest { chat_id: chat.chat_id.clone(), ..Default::default() };
    client.chats.regenerate_title(request).await.expect("a title is asked for");

    let after = becomes(&mut client, &chat.chat_id, "it has its title", |chat| chat.title == "Pulses").await;
    assert_eq!(after.metadata_version, 3);
    assert_eq!(found(&mut client, "pulses").await, [chat.chat_id]);
    assert_eq!(found(&mut client, "peas").await, Vec::<String>::new());
}
