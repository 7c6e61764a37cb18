//! Files: uploading and reading them, and what becomes of them in chats.

mod contents;
mod downloading;
mod holder;
mod linking;
mod parts;
mod queued;
mod reading;
#[path = "../retention/replica.rs"]
mod replica;
mod slow_lines;
mod uploading;

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, Options};
use sqlx::PgConnection;
use tonic::Status;
use tonic_types::StatusExt as _;

/// The reason that a refusal names.
fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The first field that a refusal names.
fn field(status: &Status) -> String {
    let details = status.get_details_bad_request();
    let first = details.and_then(|details| details.field_violations.into_iter().next());
    first.map(|violation| violation.field).unwrap_or_default()
}

async fn cluster() -> (Cluster, Client) {
    with_settings([]).await
}

async fn with_settings<const N: usize>(serve: [(&'static str, String); N]) -> (Cluster, Client) {
    let cluster = Cluster::start(Options { serve: serve.into(), ..Options::default() }).await;
    let client = cluster.client();
    (cluster, client)
}

async fn number(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(connection).await.expect("the query is right")
}

/// Ids of the files that a chat shows.
fn files_of(chat: &proto::Chat) -> Vec<String> {
    chat.files.iter().map(|file| file.file_id.clone()).collect()
}

/// What a part that refers to the file looks like to readers.
fn shown(file: &proto::File) -> proto::Part {
    let part = proto::FilePart {
        file_id: file.file_id.clone(),
        name: file.name.clone(),
        media_type: file.media_type.clone(),
        size_bytes: file.size_bytes,
    };
    proto::Part { kind: Some(proto::part::Kind::File(part)) }
}
