//! Jobs beside the turns: how they come down the session, and how they are answered.

use std::{sync::Arc, time::Duration};

use chatplane_domain::{ChatError, Usage};
use chatplane_proto::worker::v1 as proto;
use uuid::Uuid;

use super::{
    client::Client,
    convert::{self, Malformed},
    status::CallError,
    types::Model,
};

/// One lease of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JobKey {
    pub(crate) job_id: Uuid,
    /// Counts the leases of the job from 1.
    pub(crate) attempt: i32,
}

/// A job, and who has to answer it. It holds words of users: there is no `Debug`.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) key: JobKey,
    /// The chat that it is about.
    pub(crate) chat_id: Uuid,
    /// The session that it was given to.
    pub(crate) session_id: Arc<str>,
    pub(crate) model: Model,
    /// How long until it goes to another session.
    pub(crate) timeout: Duration,
    pub(crate) kind: JobKind,
}

/// What is to be done.
#[derive(Clone)]
pub(crate) enum JobKind {
    /// A title for what was said.
    Title { excerpt: String },
    /// Something that a newer control plane asks of newer workers.
    Unknown,
}

/// What came of a job, and what it cost.
#[derive(Clone)]
pub(crate) struct JobAnswer {
    pub(crate) result: Result<String, ChatError>,
    /// The model that was called; empty when none was.
    pub(crate) model: String,
    pub(crate) usage: Usage,
}

/// Reads a job that was delivered to this session.
pub(super) fn job(job: proto::Job, session_id: Arc<str>) -> Result<Job, Malformed> {
    let job_id = Uuid::try_parse(&job.job_id).map_err(|_| Malformed("job_id"))?;
    let chat_id = Uuid::try_parse(&job.chat_id).map_err(|_| Malformed("chat_id"))?;
    let kind = match job.kind {
        Some(proto::job::Kind::Title(title)) => JobKind::Title { excerpt: title.excerpt },
        None => JobKind::Unknown,
    };
    Ok(Job {
        key: JobKey { job_id, attempt: job.attempt },
        chat_id,
        session_id,
        model: convert::model(job.model.ok_or(Malformed("model"))?),
        timeout: Duration::from_millis(job.timeout_ms.max(0).unsigned_abs()),
        kind,
    })
}

impl Client {
    /// Answers a job.
    pub(crate) async fn finish_job(&self, job: &Job, answer: &JobAnswer) -> Result<(), CallError> {
        use proto::finish_job_request::Result as Told;
        let result = match &answer.result {
            Ok(title) => Told::Title(title.clone()),
            Err(error) => Told::Error(convert::from_error(error)),
        };
        let request = proto::FinishJobRequest {
            session_id: job.session_id.to_string(),
            job_id: job.key.job_id.to_string(),
            attempt: job.key.attempt,
            result: Some(result),
            model: answer.model.clone(),
            usage: Some(convert::from_usage(answer.usage)),
            chat_id: job.chat_id.to_string(),
        };
        self.unary(request, async |mut client, request| client.finish_job(request).await).await?;
        Ok(())
    }
}
