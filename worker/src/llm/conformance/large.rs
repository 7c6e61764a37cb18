//! Where requests are made.

use std::thread;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::{Url, header::HeaderMap};

use super::{
    dialect::call,
    server::{answer_with_status, serve},
};
use crate::llm::{
    Attachment, Intake, ModelCall, PromptMessage, Provider, UserPiece,
    anthropic::Anthropic,
    call::{HttpProvider, WireFormat},
    failure::Reported,
};

/// A wire format whose requests say on which thread they were made.
struct Threads;

impl WireFormat for Threads {
    const NAME: &'static str = "threads";
    const PATH: &'static [&'static str] = &["threads"];
    type Assembly = <Anthropic as WireFormat>::Assembly;

    fn headers(api_key: &str) -> Option<HeaderMap> {
        Anthropic::headers(api_key)
    }

    fn body(_: &ModelCall, _: &Url) -> String {
        format!("{:?}", thread::current().id())
    }

    fn intake(url: &Url, model: &str) -> Intake {
        Anthropic::intake(url, model)
    }

    fn reported(body: &[u8]) -> Option<Reported> {
        Anthropic::reported(body)
    }

    fn assembly(model: String, answer_bytes_max: usize) -> Self::Assembly {
        Anthropic::assembly(model, answer_bytes_max)
    }
}

/// The thread on which the request of a call with this piece is made.
async fn thread_of(piece: UserPiece) -> String {
    let server = serve(answer_with_status("500 Oh", "", "no")).await;
    let mut call = call(&server.endpoint);
    call.messages.push(PromptMessage::User { parts: vec![piece] });

    let mut stream = HttpProvider::<Threads>::default().call(call);

    assert!(stream.next().await.expect("it fails").is_err());
    let request = server.request.await.expect("it has come");
    request.split_once("\r\n\r\n").expect("it has a body").1.to_owned()
}

#[tokio::test]
async fn a_large_request_is_made_aside_and_a_small_one_at_once() {
    let here = format!("{:?}", thread::current().id());
    let image = |bytes: usize| {
        let data = Bytes::from(vec![0; bytes]);
        UserPiece::Image(Attachment { name: String::new(), media_type: "image/png".to_owned(), data })
    };

    assert_eq!(thread_of(UserPiece::Text("hi".to_owned())).await, here);
    assert_eq!(thread_of(image(64)).await, here);
    assert_ne!(thread_of(UserPiece::Text("x".repeat(1024 * 1024))).await, here);
    assert_ne!(thread_of(image(1024 * 1024)).await, here);
}
