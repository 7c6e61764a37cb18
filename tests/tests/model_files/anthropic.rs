//! As Anthropic wants it.

use chatplane_tests::{
    Cluster, Options, file_part,
    model_server::{ModelServer, call_tools, say},
    text,
};
use serde_json::json;

use super::{
    COMMENT_AS_SHOWN, IMAGE_LABEL, JSON_AS_SHOWN, PLACE_AS_SHOWN, at_rest, attachments, create, decoded,
    image, long_text_as_shown, messages_sent, pdf,
};

#[tokio::test]
async fn everything_that_is_attached_reaches_the_model_and_every_call_of_the_turn_sends_the_same() {
    let model =
        ModelServer::start_queue([call_tools(&[("list_dir", json!({"path": "."}))]), say("I see.")]).await;
    let options = Options { model_url: model.url(), workers: 1, workspace: true, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    let parts = attachments(&mut client).await;
    let request = chatplane_proto::chat::v1::CreateChatRequest {
        parts,
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let created = client.chats.create_chat(request).await.expect("the chat is created").into_inner();

    at_rest(&mut client, &created.chat.expect("a chat").chat_id).await;

    let requests = model.requests();
    let [first, second] = &requests[..] else { panic!("{} calls", requests.len()) };
    let blocks = first.messages()[0]["content"].as_array().expect("blocks");
    let [look, label, picture, document, long, data, place, comment] = &blocks[..] else {
        panic!("{blocks:?}")
    };
    assert_eq!(look["text"], "Look at this.");
    assert_eq!(label["text"], IMAGE_LABEL);
    assert_eq!((&picture["type"], &picture["source"]["type"]), (&json!("image"), &json!("base64")));
    assert_eq!(picture["source"]["media_type"], "image/png");
    assert_eq!(decoded(&picture["source"]["data"]), image());
    assert_eq!((&document["type"], &document["title"]), (&json!("document"), &json!("b.pdf")));
    assert_eq!(document["source"]["media_type"], "application/pdf");
    assert_eq!(decoded(&document["source"]["data"]), pdf());
    assert_eq!(long["text"], long_text_as_shown("long.txt"));
    assert_eq!(data["text"], JSON_AS_SHOWN);
    assert_eq!(place["text"], PLACE_AS_SHOWN);
    assert_eq!(comment["text"], COMMENT_AS_SHOWN);
    let (first, second) = (messages_sent(first), messages_sent(second));
    assert!(second.starts_with(&first), "the second call repeats the first to the byte, and goes on");
}

#[tokio::test]
async fn an_image_that_is_too_large_for_the_provider_is_said_to_be_there() {
    let model = ModelServer::start_queue([say("I see."), say("And that.")]).await;
    let cluster = Cluster::start(Options { model_url: model.url(), workers: 1, ..Options::default() }).await;
    let mut client = cluster.client();
    let mut large = image();
    large.resize(4 * 1024 * 1024, 0);
    let large = client.upload("large.png", &large).await.expect("the file is stored");
    let mut wide = image();
    wide[16..20].copy_from_slice(&8001_u32.to_be_bytes());
    let wide = client.upload("wide.png", &wide).await.expect("the file is stored");

    let chat = create(&mut client, vec![file_part(&large), file_part(&wide), text("What is it?")]).await;
    at_rest(&mut client, &chat).await;

    let requests = model.requests();
    let shown = requests[0].user_texts();
    let [large, wide, "What is it?"] = shown[..] else { panic!("{shown:?}") };
    for (shown, name) in [(large, "large.png"), (wide, "wide.png")] {
        assert!(shown.contains(name) && shown.contains("larger than the model's provider takes"), "{shown}");
    }
}

#[tokio::test]
async fn a_message_of_a_file_alone_is_answered() {
    let model = ModelServer::start_queue([say("A picture.")]).await;
    let cluster = Cluster::start(Options { model_url: model.url(), workers: 1, ..Options::default() }).await;
    let mut client = cluster.client();
    let file = client.upload("a.png", &image()).await.expect("the file is stored");

    let chat = create(&mut client, vec![file_part(&file)]).await;
    at_rest(&mut client, &chat).await;

    let requests = model.requests();
    assert_eq!(decoded(&requests[0].messages()[0]["content"][1]["source"]["data"]), image());
}
