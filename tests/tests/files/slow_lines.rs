//! Uploads over a slow line: their answer begins after their last byte, however late that is.

use std::time::Duration;

use chatplane_control_plane::Limits;
use chatplane_proto::chat::v1::UploadFileRequest;
use chatplane_tests::{Client, Cluster, DEADLINE};
use futures::{Stream, StreamExt as _, stream};
use tokio::time::{interval, timeout};
use tonic::{Code, Status};

use crate::{
    cluster, reason,
    replica::Replica,
    uploading::{data, header, send},
};

/// Long for a call that waits for nothing, and short for a test.
const ANSWER_BEGINS: Duration = Duration::from_millis(500);
/// Between two pieces of an upload.
const PACE: Duration = Duration::from_millis(50);

async fn replica(cluster: &Cluster, upload_idle: Duration) -> (Replica, Client) {
    let limits = Limits { answer_begins: ANSWER_BEGINS, upload_idle, ..Limits::default() };
    let replica = Replica::start(&cluster.database, limits).await;
    let client = Client::new(&replica.url(), &cluster.tokens.user);
    (replica, client)
}

/// A header, and then these bytes again and again, one piece at each beat.
fn paced(bytes: &'static [u8]) -> impl Stream<Item = UploadFileRequest> + Send {
    let pieces = stream::unfold(interval(PACE), move |mut beat| async move {
        beat.tick().await;
        Some((data(bytes), beat))
    });
    stream::iter([header("slow.txt")]).chain(pieces)
}

#[tokio::test]
async fn an_upload_that_keeps_its_rate_may_take_longer_than_other_calls() {
    let (cluster, _) = cluster().await;
    let (replica, mut client) = replica(&cluster, Limits::default().upload_idle).await;
    // Its last piece comes no earlier than after twice the time.
    let pieces = 2 * ANSWER_BEGINS.as_millis() / PACE.as_millis() + 1;
    let pieces = usize::try_from(pieces).expect("they are few");

    let stored = send(&mut client, paced(&[b'x'; 4096]).take(1 + pieces)).await.expect("it is stored");

    assert_eq!(stored.file.expect("a file").size_bytes, i64::try_from(pieces * 4096).expect("it is small"));
    replica.stop().await;
}

#[tokio::test]
async fn an_upload_below_the_rate_is_refused_as_too_slow() {
    let (cluster, _) = cluster().await;
    let (replica, mut client) = replica(&cluster, 2 * ANSWER_BEGINS).await;

    let endless = timeout(DEADLINE, send(&mut client, paced(b"x"))).await.expect("it is answered in time");

    let refused: Status = endless.expect_err("a few bytes a second are too few");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "LIMIT_EXCEEDED"));
    assert!(refused.message().contains("too slowly"), "{}", refused.message());
    replica.stop().await;
}
