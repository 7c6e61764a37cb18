//! Who says whether model calls are recorded.

use chatplane_proto::chat::v1::{self as proto, DebugPolicy};
use chatplane_tests::{Client, Cluster, Options};
use tonic::Code;

use crate::{field, reason, set};

async fn read(client: &mut Client) -> proto::DebugRecording {
    let request = proto::GetDebugRecordingRequest {};
    let read = client.settings.get_debug_recording(request).await.expect("it is read").into_inner();
    read.debug_recording.expect("every reply has it")
}

fn recording(policy: DebugPolicy, user_enabled: bool, effective: bool) -> proto::DebugRecording {
    proto::DebugRecording { policy: policy.into(), user_enabled, effective }
}

async fn people() -> (Cluster, Client, Client, Client) {
    let cluster = Cluster::start(Options::default()).await;
    let owner = Client::new(&cluster.url(), &cluster.tokens.owner);
    let stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    let user = cluster.client();
    (cluster, user, owner, stranger)
}

#[tokio::test]
async fn nothing_is_recorded_at_first_and_each_user_chooses_where_the_policy_allows_it() {
    let (_cluster, mut user, mut owner, mut stranger) = people().await;
    let at_first = read(&mut user).await;

    let allowed = set(&mut owner, DebugPolicy::Allowed, None).await.expect("owners set the policy");
    let chosen = set(&mut user, DebugPolicy::Unspecified, Some(true)).await.expect("users choose");

    assert_eq!(at_first, recording(DebugPolicy::Forbidden, false, false));
    assert_eq!(allowed, recording(DebugPolicy::Allowed, false, false));
    assert_eq!(chosen, recording(DebugPolicy::Allowed, true, true));
    assert_eq!(read(&mut user).await, chosen);
    assert_eq!(read(&mut stranger).await, allowed);
    let forced = set(&mut owner, DebugPolicy::Forced, None).await.expect("owners set the policy");
    assert_eq!(forced, recording(DebugPolicy::Forced, false, true));
    assert_eq!(read(&mut stranger).await, forced);
    set(&mut owner, DebugPolicy::Forbidden, None).await.expect("owners set the policy");
    assert_eq!(read(&mut user).await, recording(DebugPolicy::Forbidden, true, false));
}

#[tokio::test]
async fn a_choice_that_is_nobodys_to_make_is_refused_and_stores_nothing() {
    let (_cluster, mut user, mut owner, _) = people().await;

    let policy = set(&mut user, DebugPolicy::Forced, None).await.expect_err("users set no policy");
    let forbidden = set(&mut user, DebugPolicy::Unspecified, Some(true)).await.expect_err("it is forbidden");
    let both = set(&mut owner, DebugPolicy::Forced, Some(true)).await.expect_err("it is forced");

    for refused in [policy, forbidden, both] {
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "ACTION_FORBIDDEN"));
    }
    assert_eq!(read(&mut owner).await, recording(DebugPolicy::Forbidden, false, false));
    let both = set(&mut owner, DebugPolicy::Allowed, Some(true)).await.expect("owners may do both");
    assert_eq!(both, recording(DebugPolicy::Allowed, true, true));
    let nothing = set(&mut user, DebugPolicy::Unspecified, None).await.expect("nothing is asked for");
    assert_eq!(nothing, recording(DebugPolicy::Allowed, false, false));
    let unknown = proto::UpdateDebugRecordingRequest { policy: 9, user_enabled: None };
    let unknown = owner.settings.update_debug_recording(unknown).await.expect_err("there is no such policy");
    assert_eq!((reason(&unknown).as_str(), field(&unknown).as_str()), ("FIELD_INVALID", "policy"));
}
