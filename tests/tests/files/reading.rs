//! Workers read files under a lease, and no others than those of its chat.

use chatplane_proto::{chat::v1 as proto, worker::v1::ReadFileRequest};
use chatplane_tests::{Client, file_part, text};
use tonic::Code;
use uuid::Uuid;

use crate::{
    cluster, field,
    holder::Holder,
    linking::{create, send, upload},
    reason, shown,
};

#[tokio::test]
async fn the_holder_of_a_lease_reads_the_files_of_its_chat() {
    let (cluster, mut client) = cluster().await;
    let content: Vec<u8> = (0..100_000_u32).flat_map(|line| format!("{line}\n").into_bytes()).collect();
    let file = client.upload("lines", &content).await.expect("it is stored");
    let empty = client.upload("empty", b"").await.expect("it is stored");
    let [queued] = upload(&mut client, ["queued"]).await;
    let chat = create(&mut client, vec![file_part(&file), file_part(&empty)]).await.expect("created").chat_id;
    send(&mut client, &chat, vec![file_part(&queued)]).await.expect("it is queued");

    let holder = Holder::open(&cluster).await;

    let shown_to_model = holder.messages.iter().filter_map(|message| message.message.as_ref());
    let user = shown_to_model.into_iter().find(|message| message.role() == proto::Role::User);
    assert_eq!(user.expect("the message comes with the lease").parts, [shown(&file), shown(&empty)]);
    let pieces = holder.read(holder.ask(&file.file_id)).await.expect("it is read");
    assert!(pieces.concat() == content);
    assert!(pieces.iter().all(|piece| (1..=256 * 1024).contains(&piece.len())));
    assert_eq!(holder.read(holder.ask(&empty.file_id)).await.expect("it is read").concat(), b"");
    // A message that waits may enter under this very lease.
    assert_eq!(holder.read(holder.ask(&queued.file_id)).await.expect("it is read").concat(), b"queued");
}

#[tokio::test]
async fn a_file_that_the_chat_does_not_refer_to_is_not_found() {
    let (cluster, mut client) = cluster().await;
    let [linked, other, edited_away] = upload(&mut client, ["linked", "other", "edited away"]).await;
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    let [theirs] = upload(&mut stranger, ["theirs"]).await;
    let chat = create(&mut client, vec![file_part(&edited_away)]).await.expect("it is created").chat_id;
    let holder = Holder::open(&cluster).await;
    holder.read(holder.ask(&edited_away.file_id)).await.expect("it is linked");
    let message_id = client.messages(&chat).await.last().expect("a message").message_id;
    let edit = proto::EditMessageRequest {
        chat_id: chat,
        message_id,
        parts: vec![file_part(&linked)],
        ..Default::default()
    };
    client.chats.edit_message(edit).await.expect("it is edited");

    let unknown = Uuid::now_v7().to_string();
    for id in [&other.file_id, &edited_away.file_id, &theirs.file_id, &unknown] {
        let refused = holder.read(holder.ask(id)).await.expect_err("it is not linked");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "FILE_NOT_FOUND"));
    }
    assert_eq!(holder.read(holder.ask(&linked.file_id)).await.expect("it is linked").concat(), b"linked");
}

#[tokio::test]
async fn without_a_live_lease_nothing_is_read() {
    let (cluster, mut client) = cluster().await;
    let [file] = upload(&mut client, ["file"]).await;
    create(&mut client, vec![file_part(&file)]).await.expect("it is created");
    let mut holder = Holder::open(&cluster).await;
    let other_chat = create(&mut client, vec![text("x"), file_part(&file)]).await.expect("created").chat_id;
    let asked = holder.ask(&file.file_id);

    for wrong in [
        ReadFileRequest { fence: asked.fence + 1, ..asked.clone() },
        ReadFileRequest { session_id: Uuid::now_v7().to_string(), ..asked.clone() },
        ReadFileRequest { chat_id: other_chat, ..asked.clone() },
        ReadFileRequest { chat_id: Uuid::now_v7().to_string(), ..asked.clone() },
    ] {
        let refused = holder.read(wrong).await.expect_err("it is not this lease");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "LEASE_LOST"));
    }
    for (wrong, expected) in [
        (ReadFileRequest { session_id: "x".to_owned(), ..asked.clone() }, "session_id"),
        (ReadFileRequest { chat_id: "x".to_owned(), ..asked.clone() }, "chat_id"),
        (ReadFileRequest { fence: 0, ..asked.clone() }, "fence"),
        (ReadFileRequest { file_id: "x".to_owned(), ..asked.clone() }, "file_id"),
    ] {
        let refused = holder.read(wrong).await.expect_err("it is malformed");
        assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), ("FIELD_INVALID", expected));
    }
    holder.read(asked.clone()).await.expect("the lease lives");
    holder.finish().await;
    let refused = holder.read(asked).await.expect_err("the lease has ended");
    assert_eq!(reason(&refused), "LEASE_LOST");
}
