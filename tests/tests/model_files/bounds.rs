//! Messages are small, and what they name is not: a call is bounded all the same.

use chatplane_proto::chat::v1::SendMessageRequest;
use chatplane_tests::{
    Cluster, Options, file_part,
    model_server::{ModelServer, say},
};

use super::{SHOWN_BYTES, at_rest, create};

/// Files of as many bytes as a model gets to see of one, which one message may name.
const FILES: usize = 20;
/// As many of them as one call shows: 3 MiB.
const SHOWN: usize = 24;

#[tokio::test]
async fn of_texts_that_are_named_again_and_again_a_call_shows_the_newest_and_says_what_is_missing() {
    let model = ModelServer::start_queue([say("I see."), say("Again.")]).await;
    let cluster = Cluster::start(Options { model_url: model.url(), workers: 1, ..Options::default() }).await;
    let mut client = cluster.client();
    let mut parts = Vec::new();
    for number in 0..FILES {
        let file = client.upload(&format!("{number}.txt"), &[b'x'; SHOWN_BYTES]).await;
        parts.push(file_part(&file.expect("the file is stored")));
    }
    let half = &parts[..FILES / 2];

    let chat = create(&mut client, [half, half].concat()).await;
    at_rest(&mut client, &chat).await;
    let request = SendMessageRequest { chat_id: chat.clone(), parts, ..Default::default() };
    client.chats.send_message(request).await.expect("it is sent");
    at_rest(&mut client, &chat).await;

    let requests = model.requests();
    let count = |call: usize| {
        let body = std::str::from_utf8(&requests[call].bytes).expect("JSON is UTF-8");
        let whole = body.matches(&"x".repeat(SHOWN_BYTES)).count();
        let again = body.matches("is in this message already").count();
        (whole, again, body.matches("newer files take up all the room").count())
    };
    assert_eq!(count(0), (FILES / 2, FILES / 2, 0));
    assert_eq!(count(1), (SHOWN, FILES / 2, FILES + FILES / 2 - SHOWN));
    assert!(requests[1].bytes.len() < SHOWN * SHOWN_BYTES + 64 * 1024, "{}", requests[1].bytes.len());
}
