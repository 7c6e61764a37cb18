//! As OpenAI wants it.

use std::collections::BTreeMap;

use chatplane_tests::{
    Cluster, Options,
    model_server::{ModelServer, say_in_chunks},
};

use super::{
    COMMENT_AS_SHOWN, IMAGE_LABEL, JSON_AS_SHOWN, PLACE_AS_SHOWN, at_rest, attachments, create, decoded,
    image, long_text_as_shown, messages_sent,
};

#[tokio::test]
async fn everything_that_is_attached_reaches_the_model_or_is_said_to_be_there() {
    let model = ModelServer::start(|_| say_in_chunks("I see.")).await;
    let serve = BTreeMap::from([
        ("CHATPLANE_PROVIDER", "openai".to_owned()),
        ("OPENAI_BASE_URL", format!("{}/v1", model.url())),
        ("OPENAI_API_KEY", "test-key".to_owned()),
    ]);
    let cluster = Cluster::start(Options { workers: 1, serve, ..Options::default() }).await;
    let mut client = cluster.client();
    let parts = attachments(&mut client).await;

    let chat = create(&mut client, parts).await;
    at_rest(&mut client, &chat).await;
    client.send(&chat, "And now?").await.expect("sent");
    at_rest(&mut client, &chat).await;

    let requests = model.requests();
    assert_eq!(requests[0].target, "POST /v1/chat/completions");
    let said = requests[0].messages().iter().find(|message| message["role"] == "user");
    let content = said.expect("a message")["content"].as_array().expect("parts");
    let [look, label, picture, document, long, data, place, comment] = &content[..] else {
        panic!("{content:?}")
    };
    assert_eq!((look["type"].as_str(), look["text"].as_str()), (Some("text"), Some("Look at this.")));
    assert_eq!(label["text"], IMAGE_LABEL);
    assert_eq!(picture["type"], "image_url");
    let url = picture["image_url"]["url"].as_str().expect("a URL");
    let bytes = url.strip_prefix("data:image/png;base64,").expect("a URL with the bytes");
    assert_eq!(decoded(&bytes.into()), image());
    let document = document["text"].as_str().expect("a placeholder");
    assert!(document.contains("b.pdf") && document.contains("cannot take files of this type"), "{document}");
    assert_eq!(long["text"], long_text_as_shown("long.txt"));
    assert_eq!(data["text"], JSON_AS_SHOWN);
    assert_eq!(place["text"], PLACE_AS_SHOWN);
    assert_eq!(comment["text"], COMMENT_AS_SHOWN);
    let last = requests[1].messages().last().expect("a message");
    assert_eq!(last["content"], "And now?", "words alone are a plain text");
    assert!(messages_sent(&requests[1]).starts_with(&messages_sent(&requests[0])));
}
