//! Watching all chats, end to end: each kind of change, resuming anywhere, and who sees what.

mod changes;
mod cursors;
mod readers;
mod release_before;
mod watcher;

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use chatplane_tests::{Client, Cluster, Role};

/// Another replica on the same database.
fn second_replica(cluster: &Cluster, address: SocketAddr, logs: &Path) -> Role {
    let variables = BTreeMap::from([
        ("CHATPLANE_LISTEN", address.to_string()),
        ("CHATPLANE_DATABASE_URL", cluster.database.url().to_owned()),
        ("CHATPLANE_DATABASE_CONNECTIONS", "4".to_owned()),
        ("CHATPLANE_MODEL", "test".to_owned()),
        ("ANTHROPIC_API_KEY", "test-key".to_owned()),
        ("CHATPLANE_GENERATE_TITLES", "false".to_owned()),
    ]);
    Role::start("serve-2", &["serve"], &variables, logs)
}

fn stranger(cluster: &Cluster) -> Client {
    Client::new(&cluster.url(), &cluster.tokens.stranger)
}
