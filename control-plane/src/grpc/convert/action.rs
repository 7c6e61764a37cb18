//! What a suspended chat waits for, as clients see it.

use chatplane_domain::CallKind;
use chatplane_proto::chat::v1 as proto;

use super::{call_id, timestamp};
use crate::app::{ActionRequired, PendingCall};

pub(crate) fn action_required(required: ActionRequired) -> proto::ActionRequired {
    proto::ActionRequired {
        calls: required.calls.into_iter().map(pending_call).collect(),
        deadline: Some(timestamp(required.deadline)),
    }
}

fn pending_call(pending: PendingCall) -> proto::PendingCall {
    proto::PendingCall {
        call: Some(call_id(pending.id)),
        tool_name: pending.tool_name,
        kind: call_kind(pending.kind).into(),
    }
}

/// Kinds that no client settles yet are told as the control plane's own.
pub(crate) fn call_kind(kind: CallKind) -> proto::CallKind {
    match kind {
        CallKind::Client => proto::CallKind::Client,
        CallKind::Worker | CallKind::Approval | CallKind::Child => proto::CallKind::Unspecified,
    }
}
