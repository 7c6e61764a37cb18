//! Jobs beside the turns: titles, for now.
//!
//! A job takes no slot and no lease of a chat: it comes down the session, a model is called
//! once, without tools, and one call of the control plane answers it. The control plane
//! leases it for a time and gives it to another session when that is over, so nothing here
//! has to last: one that cannot be done is answered with an error that may be retried, and
//! one that cannot even be answered runs out. Jobs go on while the worker drains; what is
//! left when the process ends is given up, which is said, with the tokens it has cost.
//!
//! A job holds words of users. Logs name its id, its model and the kind of an error, and
//! nothing else.

mod run;
mod title;

use std::{collections::HashMap, future::pending, sync::Arc};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    limits::Limits,
    link::{Client, Job, JobKey},
    turn::Providers,
};

/// Jobs at a time. They are short, and what they cost in memory and calls must not be felt
/// by the turns.
const JOBS_MAX: usize = 4;
/// Answers at a time that a job is not done. Beyond them nothing is answered: the lease of the
/// job runs out.
const REFUSALS_MAX: usize = 16;

/// Jobs at work.
pub(crate) struct Jobs {
    context: run::Context,
    tasks: JoinSet<()>,
    /// What each task is for.
    duties: HashMap<Id, Duty>,
}

/// What a task does with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    Run(JobKey),
    Refuse(JobKey),
}

impl Jobs {
    /// No jobs yet.
    pub(crate) fn new(client: Client, providers: Providers, limits: Arc<Limits>) -> Self {
        let context = run::Context { client, providers, limits, ending: CancellationToken::new() };
        Jobs { context, tasks: JoinSet::new(), duties: HashMap::new() }
    }

    /// Does a job, or answers that it is not done. One that is delivered twice is done once.
    pub(crate) fn start(&mut self, job: Job) {
        let key = job.key;
        let (job_id, attempt) = (key.job_id, key.attempt);
        let is_known = |duty: &Duty| matches!(duty, Duty::Run(known) | Duty::Refuse(known) if *known == key);
        if self.duties.values().any(is_known) {
            return;
        }
        let running = self.duties.values().filter(|duty| matches!(duty, Duty::Run(_))).count();
        let context = self.context.clone();
        if running < JOBS_MAX {
            tracing::debug!(%job_id, attempt, "a job begins");
            let id = self.tasks.spawn(run::run(context, job)).id();
            self.duties.insert(id, Duty::Run(key));
        } else if self.duties.len() - running < REFUSALS_MAX {
            let id = self.tasks.spawn(run::refuse(context, job)).id();
            self.duties.insert(id, Duty::Refuse(key));
        } else {
            tracing::warn!(%job_id, attempt, "too many jobs at once: one is left to another worker");
        }
    }

    /// Waits until a job has ended; for ever while there is none.
    pub(crate) async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.forget(ended),
            None => pending().await,
        }
    }

    /// Gives up what still runs, and lets that be said.
    pub(crate) async fn end(mut self) {
        self.context.ending.cancel();
        let grace = self.context.limits.release_grace;
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.forget(ended);
            }
        };
        if timeout(grace, all_ended).await.is_err() {
            tracing::warn!("some jobs could not be answered before the end");
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let duty = self.duties.remove(&id);
        // The lease of the job runs out, and another session gets it.
        if let Err(error) = ended {
            tracing::error!(%error, ?duty, "the work of a job has panicked");
        }
    }
}
