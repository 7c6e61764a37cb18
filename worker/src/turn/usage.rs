//! Tokens of answers that no write has stored: they were paid for all the same.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use chatplane_domain::Usage;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    limits::Limits,
    link::{CallError, Client, Holder, UsageReport},
};

/// Reports that wait in the queue, and as many on their way. More are dropped, with a warning: nothing has been taken
/// for so long that a worker with many slots has ended a thousand calls.
const REPORTS_MAX: usize = 1024;

/// Between two looks whether the worker leaves, and between tries when it does.
const LEAVE_INTERVAL: Duration = Duration::from_millis(100);

/// Where reports go.
#[derive(Clone)]
pub(crate) struct UsageReports {
    sender: mpsc::Sender<UsageReport>,
}

impl UsageReports {
    /// The two ends of the queue.
    pub(crate) fn new() -> (Self, mpsc::Receiver<UsageReport>) {
        let (sender, receiver) = mpsc::channel(REPORTS_MAX);
        (UsageReports { sender }, receiver)
    }

    /// Watches over the tokens of a model call.
    pub(super) fn guard(&self, holder: Holder, model_call: i64, model: String) -> UsageGuard {
        let report = UsageReport { holder, model_call, model, usage: Usage::default() };
        UsageGuard { reports: self.clone(), report }
    }
}

/// Reports a call's tokens when it is dropped, however that comes about.
pub(super) struct UsageGuard {
    reports: UsageReports,
    report: UsageReport,
}

impl UsageGuard {
    /// The call has used so much so far.
    pub(super) fn spent(&mut self, usage: Usage) {
        self.report.usage = usage;
    }

    /// A write has stored it.
    pub(super) fn stored(mut self) {
        self.report.usage = Usage::default();
    }
}

impl Drop for UsageGuard {
    fn drop(&mut self) {
        if self.report.usage != Usage::default() && self.reports.sender.try_send(self.report.clone()).is_err()
        {
            tracing::warn!(model = self.report.model, "the usage of a model call could not be reported");
        }
    }
}

/// Sends reports until all their senders are gone and nothing waits. One that no replica takes goes behind the
/// others and is sent again, for as long as the worker lives: a long outage costs nobody a cent.
pub(crate) async fn report_all(
    client: Client,
    limits: Arc<Limits>,
    mut reports: mpsc::Receiver<UsageReport>,
) {
    let mut waiting = VecDeque::new();
    let mut failures = 0;
    loop {
        if waiting.is_empty() {
            let Some(report) = reports.recv().await else { return };
            waiting.push_back(report);
        }
        // Those in the channel count with the others: both are bounded.
        while waiting.len() < REPORTS_MAX
            && let Ok(report) = reports.try_recv()
        {
            waiting.push_back(report);
        }
        let Some(report) = waiting.pop_front() else { continue };
        match client.report_usage(&report).await {
            Ok(()) => failures = 0,
            Err(CallError::Unavailable { .. }) => {
                waiting.push_back(report);
                failures += 1;
                pause(limits.rewrite.pause(failures, rand::random()), &reports).await;
            }
            Err(error) => {
                tracing::warn!(%error, model = report.model, "the usage of a model call could not be reported");
            }
        }
    }
}

/// Pauses; a worker that leaves meanwhile has no time for it.
async fn pause(longest: Duration, reports: &mpsc::Receiver<UsageReport>) {
    let end = Instant::now() + longest;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        sleep(left.min(LEAVE_INTERVAL)).await;
        if reports.is_closed() {
            return;
        }
    }
}
