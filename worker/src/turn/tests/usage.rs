//! What a model call cost is told, whatever happens to its answer.

use std::time::Duration;

use chatplane_domain::ErrorKind;

use super::{
    ControlPlane, RunningWorker, ScriptedModel, TOKEN,
    model::{answer, begin, fail, used},
    quick_limits,
};
use crate::{backoff::Backoff, limits::Limits};

/// However long nobody takes it, and without holding up others.
#[tokio::test]
async fn what_was_paid_for_is_reported_until_it_is_stored() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().reports_refused.insert(1, 40);
    let failing = || [begin("half an "), used(), fail(ErrorKind::Overloaded, true)].concat();
    let model = ScriptedModel::new([failing(), failing(), answer("whole")]);
    let _worker = RunningWorker::start(&control_plane, &model);

    control_plane.lease().await;

    control_plane.until("both reports", |state| state.usage.len() == 2).await;
    let reported = control_plane.state().usage.iter().map(|report| report.model_call).collect::<Vec<_>>();
    assert_eq!(reported, [2, 1]);
}

#[tokio::test]
async fn a_worker_that_leaves_in_a_pause_tells_first_what_was_paid_for() {
    let control_plane = ControlPlane::start().await;
    control_plane.state().reports_refused.insert(1, 1);
    let failing = [begin("half an "), used(), fail(ErrorKind::Overloaded, true)].concat();
    let model = ScriptedModel::new([failing, answer("whole")]);
    // Longer than it may take to leave.
    let hours = Duration::from_secs(24 * 3600);
    let limits = Limits { rewrite: Backoff { first: hours, max: hours }, ..quick_limits() };
    let worker = RunningWorker::start_within(limits, &control_plane, &model, &["--token", TOKEN]);
    control_plane.lease().await;
    let ended_and_refused = "the end, and the first try";
    control_plane.until(ended_and_refused, |state| !state.leased && state.reports_refused[&1] == 0).await;

    worker.stop().await.unwrap();

    assert_eq!(control_plane.state().usage.len(), 1);
}
