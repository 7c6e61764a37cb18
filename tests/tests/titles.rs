//! Titles, end to end: a model writes them beside the turns.

use chatplane_proto::chat::v1::{self as proto, watch_chat_response::Event};
use chatplane_tests::{
    Client, Cluster, Options, eventually,
    model_server::{Gate, ModelServer, Purpose, Request, say},
};
use sqlx::Executor as _;

async fn cluster(model: &ModelServer, serve: &[(&'static str, &str)]) -> Cluster {
    let serve = serve.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Cluster::start(Options { model_url: model.url(), workers: 1, serve, ..Options::default() }).await
}

const TITLES: (&str, &str) = ("CHATPLANE_GENERATE_TITLES", "true");

/// A model that says the same to everybody, and this when it is asked for a title.
async fn titling(title: &'static str) -> ModelServer {
    ModelServer::start(move |request| match request.purpose() {
        Purpose::Title => say(title),
        Purpose::Turn | Purpose::Summary => say("Done."),
    })
    .await
}

fn asked_for_titles(model: &ModelServer) -> Vec<Request> {
    let requests = model.requests().into_iter();
    requests.filter(|request| request.purpose() == Purpose::Title).collect()
}

/// Waits until a chat has this title.
async fn comes_to_be_called(client: &mut Client, chat: &str, title: &str) -> proto::Chat {
    eventually(&format!("the chat is called {title:?}"), async || {
        client.chat(chat).await.ok().filter(|chat| chat.title == title)
    })
    .await
}

async fn regenerate(client: &mut Client, chat: &str) {
    let request = proto::RegenerateTitleRequest { chat_id: chat.to_owned(), ..Default::default() };
    client.chats.regenerate_title(request).await.expect("a title is asked for");
}

#[tokio::test]
async fn a_new_chat_gets_a_title_and_its_watchers_hear_of_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.purpose() {
        Purpose::Title => [vec![held.wait()], say("## \"Counting beans\"\n\nI chose this.")].concat(),
        Purpose::Turn | Purpose::Summary => say("Done."),
    })
    .await;
    let cluster = cluster(&model, &[TITLES]).await;
    let mut client = cluster.client();

    let created = client.create_chat("How many beans are in the garden?").await;
    client.watch_to_rest(&created.chat_id).await;
    gate.reached().await;
    let before = client.chat(&created.chat_id).await.expect("the chat is there");
    let mut watch = client.watch(&created.chat_id, "").await.expect("the chat can be watched");
    gate.open();
    let after = loop {
        let event = watch.message().await.expect("the stream goes on").expect("the stream goes on");
        if let Some(Event::ChatUpdated(proto::ChatUpdated { chat: Some(chat) })) = event.event
            && chat.metadata_version > before.metadata_version
        {
            break chat;
        }
    };

    assert_eq!(created.title, "How many beans are in the garden?");
    assert_eq!((before.state(), before.title), (proto::ChatState::Waiting, created.title));
    assert_eq!((after.title.as_str(), after.metadata_version), ("Counting beans", 2));
    assert_eq!(after.snapshot_version, before.snapshot_version);
    let asked = asked_for_titles(&model);
    assert_eq!(asked.len(), 1);
    assert!(asked[0].last_user_text().contains("User: How many beans are in the garden?"), "{asked:?}");
    assert!(!asked[0].has_tool("list_dir"));
}

#[tokio::test]
async fn a_worker_that_is_killed_with_a_title_in_hand_leaves_it_to_another() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.purpose() {
        Purpose::Title => [vec![held.wait()], say("Beans")].concat(),
        Purpose::Turn | Purpose::Summary => say("Done."),
    })
    .await;
    let mut cluster = cluster(&model, &[TITLES]).await;
    let mut client = cluster.client();
    let chat = client.create_chat("How many beans?").await.chat_id;
    gate.reached().await;

    cluster.workers[0].kill();
    cluster.add_worker();
    eventually("another worker asks for a title", async || {
        (asked_for_titles(&model).len() == 2).then_some(())
    })
    .await;
    gate.open();

    comes_to_be_called(&mut client, &chat, "Beans").await;
    assert_eq!(asked_for_titles(&model).len(), 2);
}

#[tokio::test]
async fn a_title_outlives_the_control_plane() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |request| match request.purpose() {
        Purpose::Title => [vec![held.wait()], say("Beans")].concat(),
        Purpose::Turn | Purpose::Summary => say("Done."),
    })
    .await;
    let mut cluster = cluster(&model, &[TITLES]).await;
    let mut client = cluster.client();
    let chat = client.create_chat("How many beans?").await.chat_id;
    gate.reached().await;

    cluster.restart_control_plane().await;
    gate.open();

    comes_to_be_called(&mut cluster.client(), &chat, "Beans").await;
}

#[tokio::test]
async fn without_generated_titles_a_chat_has_one_only_when_it_is_asked_for() {
    let model = titling("Beans").await;
    let cluster = cluster(&model, &[]).await;
    let mut client = cluster.client();
    let chat = client.create_chat("Question 1").await.chat_id;
    client.watch_to_rest(&chat).await;
    for no in 2..=6 {
        client.send(&chat, &format!("Question {no}")).await.expect("it is sent");
        client.watch_to_rest(&chat).await;
    }
    assert_eq!(asked_for_titles(&model), []);
    assert_eq!(client.chat(&chat).await.expect("the chat is there").title, "Question 1");

    regenerate(&mut client, &chat).await;
    comes_to_be_called(&mut client, &chat, "Beans").await;

    let asked = asked_for_titles(&model).remove(0);
    let turns = [1, 4, 5, 6].map(|no| format!("User: Question {no}\n\nAssistant: Done."));
    let [first, last @ ..] = turns;
    let excerpt = format!("{first}\n\n[...]\n\n{}", last.join("\n\n"));
    assert!(asked.last_user_text().contains(&excerpt), "{}", asked.last_user_text());
}

#[tokio::test]
async fn the_operators_model_writes_titles_and_the_chats_own_where_it_cannot_be_used() {
    let model = titling("Beans").await;
    let cluster = cluster(&model, &[TITLES, ("CHATPLANE_TITLE_MODEL", "small")]).await;
    let mut client = cluster.client();
    let models = |model: &ModelServer| -> Vec<String> {
        let asked = asked_for_titles(model).into_iter();
        asked.map(|request| request.body["model"].as_str().expect("a model is named").to_owned()).collect()
    };

    let first = client.create_chat("How many?").await.chat_id;
    comes_to_be_called(&mut client, &first, "Beans").await;
    assert_eq!(models(&model), ["test"]);
    let small = "insert into models ( \
             organization_id, name, provider, endpoint, provider_model, context_tokens_max, output_tokens_max \
         ) \
         select organization_id, 'small', provider, endpoint, 'small', context_tokens_max, output_tokens_max \
         from models";
    cluster.database.connection().await.execute(small).await.expect("it is stored");
    eventually("the new model is known", async || {
        let listed = client.chats.list_models(proto::ListModelsRequest::default()).await.ok()?.into_inner();
        (listed.models.len() == 2).then_some(())
    })
    .await;
    let second = client.create_chat("How many?").await.chat_id;
    comes_to_be_called(&mut client, &second, "Beans").await;

    assert_eq!(models(&model), ["test", "small"]);
}
