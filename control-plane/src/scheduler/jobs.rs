//! Jobs on their way to the sessions of this replica.
//!
//! A job takes no slot and is none of a session's leases, so the rules of sessions do not
//! know it. What waits here for its connection's task is bounded for each session, and may
//! be lost: the job's row is leased again when its time has run out.

use std::{collections::VecDeque, time::Duration};

use chatplane_domain::{ChatId, SessionId};

use super::{ModelConfig, Scheduler};
use crate::store::JobLease;

/// A job as its holder gets it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    /// The lease of the job.
    pub(crate) lease: JobLease,
    /// The chat that it is for.
    pub(crate) chat: ChatId,
    /// The model to call.
    pub(crate) model: ModelConfig,
    /// Until it must be answered.
    pub(crate) timeout: Duration,
    /// What to do.
    pub(crate) work: JobWork,
}

/// What a job is about.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum JobWork {
    /// To write a title.
    Title {
        /// What was said in the chat.
        excerpt: String,
    },
}

impl std::fmt::Debug for JobWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // The excerpt is the users' own words.
            Self::Title { excerpt } => f.debug_struct("Title").field("bytes", &excerpt.len()).finish(),
        }
    }
}

impl Scheduler {
    /// The sessions that may be given a job now: connected, and alive when last asked.
    pub(crate) fn sessions_for_jobs(&self) -> Vec<SessionId> {
        self.lock().roster.available(self.now())
    }

    /// Puts a job on its way to its session. Answers false when the session is not here, or
    /// has this many waiting already.
    pub(crate) fn give_job(&self, job: Job, waiting_max: usize) -> bool {
        let session = job.lease.session;
        {
            let mut state = self.lock();
            if !state.roster.contains(session) {
                return false;
            }
            let waiting = state.jobs.entry(session).or_default();
            if waiting.len() >= waiting_max {
                return false;
            }
            waiting.push_back(job);
        }
        self.rouse(session);
        true
    }

    /// What a connection has to send, if it is still its session's.
    pub(crate) fn take_jobs(&self, session: SessionId, connection: i64) -> VecDeque<Job> {
        let mut state = self.lock();
        if !state.roster.is_connection(session, connection) {
            return VecDeque::new();
        }
        state.jobs.remove(&session).unwrap_or_default()
    }

    /// A job may be due: look for it now.
    pub(crate) fn job_waits(&self) {
        self.inner.jobs_waiting.notify_one();
    }

    /// Returns when somebody has said that a job may be due.
    pub(crate) async fn jobs_waiting(&self) {
        self.inner.jobs_waiting.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Uuid;

    use super::*;
    use crate::{
        scheduler::{Opening, SchedulerLimits},
        store::JobId,
    };

    fn session(no: u128) -> SessionId {
        SessionId(Uuid::from_u128(no))
    }

    fn job(no: u128, session: SessionId) -> Job {
        let model = ModelConfig {
            name: "test".to_owned(),
            provider: String::new(),
            endpoint: String::new(),
            provider_model: String::new(),
            api_key: "secret".to_owned(),
            context_tokens_max: 1,
            output_tokens_max: 1,
            first_token_timeout: Duration::ZERO,
            silence_timeout: Duration::ZERO,
        };
        Job {
            lease: JobLease { job: JobId(Uuid::from_u128(no)), session, attempt: 1 },
            chat: ChatId(Uuid::max()),
            model,
            timeout: Duration::from_secs(30),
            work: JobWork::Title { excerpt: "my plan".to_owned() },
        }
    }

    fn scheduler() -> Scheduler {
        let scheduler = Scheduler::new(SchedulerLimits::default());
        let opening = Opening { connection: 2, slots_total: 1, listed: BTreeSet::new(), rows: Vec::new() };
        scheduler.open(session(1), opening).expect("it is new");
        scheduler
    }

    #[tokio::test]
    async fn a_busy_session_takes_jobs_since_they_take_no_slot() {
        let scheduler = scheduler();
        let _slot = scheduler.promise(None).expect("a slot is free");

        assert_eq!(scheduler.free_slots(), 0);
        assert_eq!(scheduler.sessions_for_jobs(), [session(1)]);
    }

    #[tokio::test]
    async fn jobs_wait_for_the_sessions_own_connection_and_only_so_many() {
        let scheduler = scheduler();

        assert!(scheduler.give_job(job(1, session(1)), 2));
        assert!(scheduler.give_job(job(2, session(1)), 2));
        assert!(!scheduler.give_job(job(3, session(1)), 2));
        assert!(!scheduler.give_job(job(4, session(9)), 2), "that session is not here");

        assert!(scheduler.take_jobs(session(1), 1).is_empty(), "an earlier connection gets nothing");
        assert_eq!(scheduler.take_jobs(session(1), 2).len(), 2);
        assert!(scheduler.take_jobs(session(1), 2).is_empty());
    }

    #[tokio::test]
    async fn a_draining_replica_gives_no_jobs() {
        let scheduler = scheduler();

        scheduler.drain();

        assert_eq!(scheduler.sessions_for_jobs(), []);
    }

    #[test]
    fn a_job_shows_neither_key_nor_words_when_it_is_printed() {
        let printed = format!("{:?}", job(1, session(1)));

        assert!(!printed.contains("secret") && !printed.contains("plan"), "{printed}");
    }
}
