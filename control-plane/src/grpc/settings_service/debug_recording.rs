//! Whether turns are recorded: decode, name the use case, encode.

use chatplane_proto::chat::v1 as proto;

use crate::{
    app::{App, DebugPolicy, DebugSwitches, DebugSwitchesChange, Error},
    authz::Actor,
};

pub(super) async fn get_debug_recording(
    app: &App,
    actor: &Actor,
) -> Result<proto::GetDebugRecordingResponse, Error> {
    let debug_recording = Some(debug_recording(app.get_debug_recording(actor).await?));
    Ok(proto::GetDebugRecordingResponse { debug_recording })
}

pub(super) async fn update_debug_recording(
    app: &App,
    actor: &Actor,
    request: proto::UpdateDebugRecordingRequest,
) -> Result<proto::UpdateDebugRecordingResponse, Error> {
    let policy = match proto::DebugPolicy::try_from(request.policy) {
        Ok(proto::DebugPolicy::Unspecified) => None,
        Ok(proto::DebugPolicy::Forbidden) => Some(DebugPolicy::Forbidden),
        Ok(proto::DebugPolicy::Allowed) => Some(DebugPolicy::Allowed),
        Ok(proto::DebugPolicy::Forced) => Some(DebugPolicy::Forced),
        Err(_) => return Err(Error::invalid("policy", "it is FORBIDDEN, ALLOWED or FORCED")),
    };
    let change = DebugSwitchesChange { policy, user_enabled: request.user_enabled };
    let debug_recording = Some(debug_recording(app.update_debug_recording(actor, change).await?));
    Ok(proto::UpdateDebugRecordingResponse { debug_recording })
}

fn debug_recording(switches: DebugSwitches) -> proto::DebugRecording {
    let policy = match switches.policy {
        DebugPolicy::Forbidden => proto::DebugPolicy::Forbidden,
        DebugPolicy::Allowed => proto::DebugPolicy::Allowed,
        DebugPolicy::Forced => proto::DebugPolicy::Forced,
    };
    proto::DebugRecording {
        policy: policy.into(),
        user_enabled: switches.user_enabled,
        effective: switches.records(),
    }
}
