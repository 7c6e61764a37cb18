//! `RecordDebugStep`: what a model call was.

use chatplane_proto::worker::v1 as proto;

use crate::{
    app::{App, Error},
    authz::Actor,
    grpc::convert_worker as convert,
};

pub(super) async fn record_debug_step(
    app: &App,
    actor: &Actor,
    request: proto::RecordDebugStepRequest,
) -> Result<proto::RecordDebugStepResponse, Error> {
    app.record_debug_step(actor, &convert::debug_step(request)?).await?;
    Ok(proto::RecordDebugStepResponse {})
}
