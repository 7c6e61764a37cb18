//! Tokens of answers that no write has stored: they were paid for all the same.

use std::sync::Arc;

use chatplane_domain::Usage;
use tokio::{sync::mpsc, time::sleep};

use crate::{
    limits::Limits,
    link::{CallError, Client, Holder, UsageReport},
};

/// Reports that wait. More are dropped: they would have failed as well.
const REPORTS_MAX: usize = 1024;

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

/// Sends reports until all their senders are gone.
pub(crate) async fn report_all(
    client: Client,
    limits: Arc<Limits>,
    mut reports: mpsc::Receiver<UsageReport>,
) {
    while let Some(report) = reports.recv().await {
        if let Err(error) = send(&client, &limits, &report).await {
            tracing::warn!(%error, model = report.model, "the usage of a model call could not be reported");
        }
    }
}

async fn send(client: &Client, limits: &Limits, report: &UsageReport) -> Result<(), CallError> {
    let mut failures = 0;
    loop {
        let result = client.report_usage(report).await;
        failures += 1;
        match result {
            Err(CallError::Unavailable { .. }) if failures < limits.usage_tries_max => {
                sleep(limits.rewrite.pause(failures, rand::random())).await;
            }
            decided => return decided,
        }
    }
}
