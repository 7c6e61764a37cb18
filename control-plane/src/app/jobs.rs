//! Jobs beside the turns: leased to the sessions of this replica, and answered.
//!
//! A job's row is the truth: what is on its way to a worker, or is lost on the way, is
//! leased again when the lease has run out or its session is closed. So a job outlives the
//! turn, the worker and the replica, and never holds up any of them.

mod excerpt;
mod title;

use std::time::Duration;

use chatplane_domain::{ChatId, ErrorKind, OrganizationId, Usage};
use futures::{StreamExt as _, stream};
use tokio::time::{self, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{App, Call, Error, Failure, chain, new_id};
use crate::{
    authz::{self, Action, Actor, Resource},
    scheduler::{Job, JobWork, ModelConfig},
    store::{Ask, ChatView, JobAnswer, JobBounds, JobId, JobLease, TitleSource},
};

pub(crate) use title::{fallback as fallback_title, is_blank as is_blank_title};

/// How long a worker may work at a job: a title is not worth more.
const BUDGET: Duration = Duration::from_secs(30);
/// How long a job is leased: its budget, and time for the way there and back.
const LEASE: Duration = Duration::from_secs(45);
/// Leases that a job gets: each may have been paid for.
const ATTEMPTS_MAX: i32 = 3;
/// Until a job is leased again whose holder could not do it: a provider that is overloaded
/// still is a moment later.
const AGAIN_IN: Duration = Duration::from_secs(5);
/// Jobs that a session has at a time; its worker does no more of them at once.
const PER_SESSION_MAX: usize = 4;
/// Jobs of one claim: as many as are read and sent in a moment.
const PER_CLAIM_MAX: usize = 32;
/// So many jobs are read at once, which leaves most of the database's connections to the
/// turns.
const READS_MAX: usize = 2;

/// Whether titles are written, and by which model.
#[derive(Clone, Debug)]
pub(crate) struct TitleSettings {
    /// Whether a new chat gets one without being asked.
    pub(crate) generate: bool,
    /// The model that writes them; none for the chat's own.
    pub(crate) model: Option<String>,
}

/// A worker's answer to a job.
#[derive(Clone, Debug)]
pub(crate) struct FinishJob {
    /// The job's lease.
    pub(crate) lease: JobLease,
    /// The job's chat.
    pub(crate) chat: ChatId,
    /// What came of it.
    pub(crate) result: JobResult,
    /// The model that was called, if one was, and its tokens.
    pub(crate) model_call: Option<(String, Usage)>,
}

/// What came of a job.
#[derive(Clone, Debug)]
pub(crate) enum JobResult {
    /// The title, as the model wrote it.
    Title(String),
    /// Why there is none.
    Failed {
        /// What kind of failure it was.
        kind: ErrorKind,
        /// Whether another try may go better.
        retryable: bool,
    },
}

/// Why a job did not go down its session.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error(transparent)]
    Unread(#[from] Failure),
    #[error(transparent)]
    NoModels(#[from] Error),
}

impl App {
    /// Leases jobs that are due to sessions of this replica, until `stop`.
    pub(super) async fn claim_jobs(self, stop: CancellationToken) {
        let scheduler = &self.inner.scheduler;
        let mut due = time::interval(scheduler.limits().sweep_every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = due.tick() => {}
                () = scheduler.jobs_waiting() => {}
            }
            // A full claim may have left some.
            while !stop.is_cancelled() {
                match self.claim_some_jobs().await {
                    Ok(claimed) if claimed >= PER_CLAIM_MAX => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(cause = %chain(&error), "jobs could not be claimed; the next look tries again");
                        break;
                    }
                }
            }
        }
    }

    /// Answers how many jobs were taken out of the way.
    async fn claim_some_jobs(&self) -> Result<usize, Failure> {
        let sessions = self.inner.scheduler.sessions_for_jobs();
        if sessions.is_empty() {
            return Ok(0);
        }
        let bounds = JobBounds {
            per_session_max: number(PER_SESSION_MAX),
            attempts_max: ATTEMPTS_MAX,
            lease: LEASE,
            jobs_max: number(PER_CLAIM_MAX),
        };
        let claimed = self.in_time(self.inner.store.claim_jobs(&sessions, bounds)).await?;
        for job in &claimed.given_up {
            tracing::warn!(job_id = %job.0, "a job was given up: nobody finished it in all its leases");
        }
        let taken = claimed.leased.len() + claimed.given_up.len();
        let deliver = async |(lease, chat)| {
            if let Err(error) = self.deliver_job(lease, chat).await {
                let (job_id, cause) = (lease.job.0, chain(&error));
                tracing::warn!(%job_id, %cause, "a job could not be read; it is leased again later");
            }
        };
        stream::iter(claimed.leased).for_each_concurrent(READS_MAX, deliver).await;
        Ok(taken)
    }

    /// Reads what a job is about, and sends it down its session. One that nobody could do is
    /// dropped.
    async fn deliver_job(&self, lease: JobLease, chat: ChatId) -> Result<(), Undelivered> {
        let read = self.inner.store.title_source(chat, excerpt::TEXT_CHARS_MAX);
        let Some(source) = self.in_time(read).await? else { return self.drop_job(lease).await };
        let excerpt = excerpt::excerpt(&source.turns);
        if excerpt.is_empty() {
            return self.drop_job(lease).await;
        }
        let Some(model) = self.model_for_titles(&source).await? else {
            tracing::warn!(job_id = %lease.job.0, "no model can be used to write a title; the chat keeps the one it has");
            return self.drop_job(lease).await;
        };
        let job = Job { lease, chat, model, timeout: BUDGET, work: JobWork::Title { excerpt } };
        if !self.inner.scheduler.give_job(job, PER_SESSION_MAX) {
            tracing::debug!(job_id = %lease.job.0, "a job's session has gone; it is leased again later");
        }
        Ok(())
    }

    async fn drop_job(&self, lease: JobLease) -> Result<(), Undelivered> {
        Ok(self.in_time(self.inner.store.drop_job(lease)).await?)
    }

    /// The model that writes titles: the operator's choice, else the chat's, else the
    /// default one; the first of them that can be used.
    async fn model_for_titles(&self, source: &TitleSource) -> Result<Option<ModelConfig>, Error> {
        let chosen = self.inner.titles.model.as_deref();
        for name in [chosen.map(Some), Some(Some(source.model.as_str())), Some(None)].into_iter().flatten() {
            if let Some(model) = self.usable_model(source.organization, name).await? {
                return Ok(Some(model));
            }
        }
        Ok(None)
    }

    async fn usable_model(
        &self,
        organization: OrganizationId,
        name: Option<&str>,
    ) -> Result<Option<ModelConfig>, Error> {
        let row = match self.model(organization, name).await {
            Ok(row) => row,
            Err(Error::ModelNotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let key = self.inner.models.key(&row).map(str::to_owned);
        Ok(key.map(|key| ModelConfig::of(row, key)))
    }

    /// Takes a worker's answer to a job.
    ///
    /// # Errors
    ///
    /// `LeaseLost` when the job has gone to somebody else, or is over.
    pub(crate) async fn finish_job(&self, actor: &Actor, finish: FinishJob) -> Result<(), Error> {
        authz::may(actor, Action::Dispatch, Resource::Deployment).map_err(Error::chat_denied)?;
        let FinishJob { lease, chat, result, model_call } = finish;
        let (title, again_in) = match result {
            JobResult::Title(words) => (title::written(&words), None),
            JobResult::Failed { kind, retryable } => {
                let again_in = retryable.then_some(AGAIN_IN);
                tracing::info!(job_id = %lease.job.0, attempt = lease.attempt, ?kind, retryable, "a job was not done");
                (None, again_in)
            }
        };
        let answer = JobAnswer { lease, chat, title, again_in, model_call };
        let finished = self.inner.store.finish_job(&answer).await?.ok_or(Error::LeaseLost)?;
        if let Some(owner) = finished.owner.filter(|_| finished.is_titled) {
            self.inner.hub.chat_changed(chat);
            self.inner.hub.owner_changed(owner);
        }
        // Its session may have another.
        self.inner.scheduler.job_waits();
        Ok(())
    }

    /// Asks for a new title. The chat has its old one until a worker has written it.
    ///
    /// # Errors
    ///
    /// `ChatNotFound`, `RequestIdReused`.
    pub(crate) async fn regenerate_title(&self, call: &Call, chat: ChatId) -> Result<ChatView, Error> {
        let (viewer, _) = call.user()?;
        let ask = Ask { request: call.request.clone(), viewer: Some(viewer), ..Ask::default() };
        let reply = self
            .inner
            .store
            .ask_for_title(chat, new_job_id(), &ask, |snapshot| {
                super::require_chat(&call.actor, Action::WriteChat, snapshot)
            })
            .await?;
        self.inner.scheduler.job_waits();
        Ok(reply.chat)
    }
}

/// An id for a job.
pub(super) fn new_job_id() -> JobId {
    JobId(new_id())
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
