//! What is no list.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chatplane_proto::chat::v1 as proto;
use tonic::Code;

use crate::{cluster, field, idle, ids, page, reason, request};

#[tokio::test]
async fn a_filter_that_is_none_is_refused_with_the_place() {
    let (_cluster, mut client) = cluster().await;
    let many = (0..65).fold(String::new(), |words, number| format!("{words} w{number}"));
    let many = format!("state:error search:\"{many}\"");
    let long = format!("title:{}", "x".repeat(1024));

    for (q, place) in [
        ("deploy", "at character 0: "),
        ("state:error deploy", "at character 12: "),
        ("owner:me", "at character 0: keys are"),
        ("title:\"ünd", "at character 6: the quote"),
        ("archived:maybe", "at character 9: archived is"),
        ("state:error state:error", "at character 12: each key"),
        ("search:\"%_\"", "at character 7: there is no letter"),
        (&many, "at character 19: it searches for at most 64"),
        (&long, "at character 1024: it has at most"),
    ] {
        let refused = client.chats.list_chats(request(q)).await.expect_err(q);
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::InvalidArgument, "FIELD_INVALID"),
            "{q}"
        );
        let (field, description) = field(&refused);
        assert_eq!(field, "q");
        assert!(description.starts_with(place), "{q}: {description}");
    }
}

#[tokio::test]
async fn a_page_token_belongs_to_its_filter_and_is_ours() {
    let (_cluster, mut client) = cluster().await;
    for number in 0..3 {
        idle(&mut client, &format!("chat {number}"), &[]).await;
    }
    for q in ["title:chat", "search:chat"] {
        let first = page(&mut client, proto::ListChatsRequest { page_size: 1, ..request(q) }).await;
        let token = first.next_page_token;
        assert!(!token.is_empty());
        for (page_token, q) in [
            (token.clone(), ""),
            (token.clone(), "title:chat archived:any"),
            (format!("{token}x"), q),
            ("e30".to_owned(), q),
            ("x".repeat(70_000), q),
        ] {
            let request = proto::ListChatsRequest { page_token, ..request(q) };
            let refused = client.chats.list_chats(request).await.expect_err(q);
            assert_eq!(
                (reason(&refused).as_str(), field(&refused).0.as_str()),
                ("FIELD_INVALID", "page_token")
            );
        }
    }
    let request = proto::ListChatsRequest { page_size: -1, ..request("") };
    let refused = client.chats.list_chats(request).await.expect_err("no size");
    assert_eq!(field(&refused).0, "page_size");
}

#[tokio::test]
async fn tokens_that_somebody_made_up_do_no_harm() {
    let (_cluster, mut client) = cluster().await;
    let chat = idle(&mut client, "chat", &[]).await;
    let page_one =
        page(&mut client, proto::ListChatsRequest { page_size: 1, ..request("search:chat") }).await;
    assert_eq!(ids(&page_one), [chat]);
    idle(&mut client, "chat", &[]).await;
    let token = page(&mut client, proto::ListChatsRequest { page_size: 1, ..request("search:chat") }).await;
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(token.next_page_token).expect("it is base64");
    let token = String::from_utf8(decoded).expect("it is text");
    let window = token.find("\"window\":").expect("it has a window");
    let shown = token.find(",\"shown\"").expect("it names what was shown");

    for forged in [
        r#"{"from":9223372036854775807,"through":null}"#,
        r#"{"from":9223372036854775807,"through":-9223372036854775808}"#,
        r#"{"from":-9223372036854775808,"through":9223372036854775807}"#,
        r#"{"from":0,"through":0}"#,
        r#"{"from":1,"through":9223372036854775807}"#,
    ] {
        let forged = format!("{}\"window\":{forged}{}", &token[..window], &token[shown..]);
        let page_token = BASE64_URL_SAFE_NO_PAD.encode(forged);
        let request = proto::ListChatsRequest { page_token, ..request("search:chat") };
        client.chats.list_chats(request).await.expect("it is listed");
    }
}
