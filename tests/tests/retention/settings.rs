//! Who says how long things are kept.

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, Options};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{owner, reason, set};

async fn read(client: &mut Client) -> proto::Retention {
    let request = proto::GetRetentionRequest {};
    let read = client.settings.get_retention(request).await.expect("it is read").into_inner();
    read.retention.expect("every reply has it")
}

#[tokio::test]
async fn everything_is_kept_at_first_and_owners_say_for_how_long_and_all_may_read_it() {
    let cluster = Cluster::start(Options::default()).await;
    let (mut user, mut owner) = (cluster.client(), owner(&cluster));
    let at_first = read(&mut user).await;

    let first = set(&mut owner, [30, 60, 90], Some(0)).await.expect("owners set it");
    let second = set(&mut owner, [0, 0, 36_500], None).await.expect("owners set it");

    assert_eq!(at_first, proto::Retention::default());
    assert_eq!((first.auto_archive_days, first.delete_archived_days, first.delete_debug_days), (30, 60, 90));
    assert_eq!((first.version, second.version), (1, 2));
    assert!(first.update_time.is_some());
    assert_eq!(read(&mut user).await, second);
}

#[tokio::test]
async fn who_has_seen_another_version_is_told_and_a_repeat_is_answered_with_what_it_stored() {
    let cluster = Cluster::start(Options::default()).await;
    let mut owner = owner(&cluster);
    let too_early = set(&mut owner, [1, 1, 1], Some(1)).await.expect_err("there is none yet");
    let stored = set(&mut owner, [1, 2, 3], Some(0)).await.expect("owners set it");

    let repeated = set(&mut owner, [1, 2, 3], Some(0)).await.expect("it is a repeat");
    let other = set(&mut owner, [1, 2, 4], Some(0)).await.expect_err("it is no repeat");

    assert_eq!(repeated, stored);
    for (refused, version) in [(too_early, "0"), (other, "1")] {
        let info = refused.get_details_error_info().expect("a reason");
        assert_eq!((refused.code(), info.reason.as_str()), (Code::Aborted, "VERSION_MISMATCH"));
        assert_eq!(info.metadata["version"], version);
    }
}

#[tokio::test]
async fn users_set_nothing_and_each_wrong_field_is_named() {
    let cluster = Cluster::start(Options::default()).await;
    let (mut user, mut owner) = (cluster.client(), owner(&cluster));

    let forbidden = set(&mut user, [1, 1, 1], None).await.expect_err("users set nothing");
    let wrong = set(&mut owner, [-1, 36_501, i32::MAX], Some(-1)).await.expect_err("all is wrong");

    assert_eq!((forbidden.code(), reason(&forbidden).as_str()), (Code::PermissionDenied, "ACTION_FORBIDDEN"));
    assert_eq!((wrong.code(), reason(&wrong).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    let details = wrong.get_details_bad_request().expect("it names fields");
    let fields: Vec<String> = details.field_violations.into_iter().map(|violation| violation.field).collect();
    let expected = ["auto_archive_days", "delete_archived_days", "delete_debug_days", "expected_version"];
    assert_eq!(fields, expected);
    assert_eq!(read(&mut owner).await, proto::Retention::default());
}
