//! Lists from a database of their own, as a read replica is one.

use chatplane_control_plane::Limits;
use chatplane_proto::chat::v1 as chat;
use chatplane_tests::Client;

use crate::replica::{World, quick};

async fn listed(client: &mut Client) -> Vec<String> {
    let page = client.chats.list_chats(chat::ListChatsRequest::default()).await.expect("they are listed");
    page.into_inner().chats.into_iter().filter_map(|entry| Some(entry.chat?.chat_id)).collect()
}

#[tokio::test]
async fn lists_come_from_the_read_replica_and_all_else_from_the_database() {
    // A read replica that is far behind: it has the schema and no chat.
    let (world, behind) = (World::new().await, World::new().await);
    let url = behind.database.url().to_owned();
    let set = |config: &mut chatplane_control_plane::Config| config.read_database_url = Some(url);
    let (here, there) = (
        world.replica_with(Limits::default(), quick(), set).await,
        world.replica_with(Limits::default(), quick(), |_| {}).await,
    );
    let (mut client, mut other) = (world.client(&here), world.client(&there));

    let created = client.create_chat("Hello").await.chat_id;

    assert_eq!(client.chat(&created).await.expect("it is read from the database").chat_id, created);
    assert_eq!(listed(&mut client).await, Vec::<String>::new());
    assert_eq!(listed(&mut other).await, [created]);
    here.stop().await;
    there.stop().await;
}
