//! Chats in which nothing happens.

use chatplane_control_plane::Limits;
use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, Options, eventually};
use prost_types::FieldMask;
use sqlx::PgConnection;

use crate::{age, count, execute, idle, owner, replica::Replica, set};

async fn archived(client: &mut Client, chat: &str) -> bool {
    client.chat(chat).await.expect("it is there").archived
}

/// Waits until a sweep has archived this chat, the last of those that are due.
async fn swept(client: &mut Client, last: &str) {
    eventually("the last chat is archived", async || archived(client, last).await.then_some(())).await;
}

async fn pin(client: &mut Client, chat: &str) {
    let request = proto::UpdateChatRequest {
        chat_id: chat.to_owned(),
        update_mask: Some(FieldMask { paths: vec!["pin_order".to_owned()] }),
        pin_order: 1,
        ..Default::default()
    };
    client.chats.update_chat(request).await.expect("it is pinned");
}

#[tokio::test]
async fn chats_in_which_nothing_happens_are_archived_but_for_pinned_and_busy_ones() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let mut connection = cluster.database.connection().await;
    let mut chats: [String; 5] = Default::default();
    for chat in &mut chats {
        *chat = idle(&mut client).await;
    }
    let [old, pinned, fresh, failed, last] = chats;
    let busy = client.create_chat("no worker takes it").await.chat_id;
    pin(&mut client, &pinned).await;
    let error = "update chats set state = 'error', last_error = '{\"kind\": \"internal\", \"message\": \"\", \
                 \"detail\": \"\", \"provider\": \"\", \"status_code\": null, \"retryable\": false}'";
    execute(&mut connection, format!("{error} where chat_id = '{failed}'")).await;
    for chat in [&old, &pinned, &busy, &failed] {
        age(&mut connection, chat, 40).await;
    }
    age(&mut connection, &last, 31).await;
    age(&mut connection, &fresh, 29).await;
    set(&mut owner(&cluster), [30, 0, 0], None).await.expect("owners set it");

    let replica = Replica::start(&cluster.database, Limits::default()).await;
    swept(&mut client, &last).await;

    let mut found = Vec::new();
    for chat in [&old, &failed, &pinned, &busy, &fresh] {
        found.push(archived(&mut client, chat).await);
    }
    assert_eq!(found, [true, true, false, false, false]);
    assert_eq!(client.chat(&pinned).await.expect("it is there").pin_order, 1);
    replica.stop().await;
}

#[tokio::test]
async fn a_family_with_a_busy_or_a_recent_child_stays() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let mut connection = cluster.database.connection().await;
    let mut roots = Vec::new();
    for _ in 0..3 {
        roots.push(idle(&mut client).await);
    }
    let children =
        [client.create_chat("busy").await.chat_id, idle(&mut client).await, idle(&mut client).await];
    for (root, child) in roots.iter().zip(&children) {
        let related = format!(
            "update chats set root_chat_id = '{root}', parent_chat_id = '{root}' where chat_id = '{child}'"
        );
        execute(&mut connection, related).await;
        age(&mut connection, root, 40).await;
    }
    // The third's child has been left alone, too.
    age(&mut connection, &children[0], 40).await;
    age(&mut connection, &children[2], 40).await;
    let last = idle(&mut client).await;
    age(&mut connection, &last, 31).await;
    set(&mut owner(&cluster), [30, 0, 0], None).await.expect("owners set it");

    let replica = Replica::start(&cluster.database, Limits::default()).await;
    swept(&mut client, &last).await;

    let mut found = Vec::new();
    for chat in roots.iter().chain(&children) {
        found.push(archived(&mut client, chat).await);
    }
    assert_eq!(found, [false, false, true, false, false, false]);
    replica.stop().await;
}

/// All chats, locked: who comes to write one waits.
struct HeldChats(PgConnection);

impl HeldChats {
    async fn hold(cluster: &Cluster) -> Self {
        let mut connection = cluster.database.connection().await;
        execute(&mut connection, "begin".to_owned()).await;
        execute(&mut connection, "select chat_id from chats for update".to_owned()).await;
        Self(connection)
    }

    /// Lets them go when both replicas have come to the same first chat.
    async fn until_both_wait(mut self, connection: &mut PgConnection) {
        let waiting = "select count(*) from pg_stat_activity \
                       where datname = current_database() and wait_event_type = 'Lock'";
        eventually("both wait", async || (count(connection, waiting).await >= 2).then_some(())).await;
        execute(&mut self.0, "rollback".to_owned()).await;
    }
}

#[tokio::test]
async fn two_replicas_that_sweep_at_once_archive_and_delete_each_chat_once() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let mut connection = cluster.database.connection().await;
    for _ in 0..60 {
        idle(&mut client).await;
    }
    execute(&mut connection, "update chats set update_time = now() - interval '40 days'".to_owned()).await;
    execute(&mut connection, "create table before as select chat_id, snapshot_version from chats".to_owned())
        .await;
    let moved_by = "select count(*) from chats c join before b on b.chat_id = c.chat_id \
                    where c.snapshot_version = b.snapshot_version + 1";
    set(&mut owner(&cluster), [30, 0, 0], None).await.expect("owners set it");

    let held = HeldChats::hold(&cluster).await;
    let replicas = [
        Replica::start(&cluster.database, Limits::default()).await,
        Replica::start(&cluster.database, Limits::default()).await,
    ];
    held.until_both_wait(&mut connection).await;
    let archived = "select count(*) from chats where archived";
    eventually("all are archived", async || (count(&mut connection, archived).await == 60).then_some(()))
        .await;
    let archived_once = count(&mut connection, moved_by).await;
    execute(
        &mut connection,
        "update before b set snapshot_version = c.snapshot_version from chats c where c.chat_id = b.chat_id"
            .to_owned(),
    )
    .await;
    execute(&mut connection, "update chats set archive_time = now() - interval '40 days'".to_owned()).await;
    let held = HeldChats::hold(&cluster).await;
    set(&mut owner(&cluster), [30, 30, 0], None).await.expect("owners set it");
    held.until_both_wait(&mut connection).await;
    let deleted = "select count(*) from chats where delete_time is not null";
    eventually("all are deleted", async || (count(&mut connection, deleted).await == 60).then_some(())).await;

    for replica in replicas {
        replica.stop().await;
    }
    assert_eq!(archived_once, 60);
    assert_eq!(count(&mut connection, moved_by).await, 60);
}
