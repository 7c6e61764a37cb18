//! Jobs beside the turns.

use chatplane_proto::worker::v1 as proto;

use super::{
    convert, millis, session_id,
    turn::model_config,
    writes::{NAME_CHARS_MAX, chat_error, cut, usage},
};
use crate::{
    app::{Error, FinishJob, JobId, JobLease, JobResult},
    scheduler::{Job, JobWork},
};

/// More than any title; the rest of a longer one is not looked at.
const TITLE_CHARS_MAX: usize = 4096;

pub(crate) fn finish_job(request: proto::FinishJobRequest) -> Result<FinishJob, Error> {
    use proto::finish_job_request::Result as Told;
    if request.attempt < 1 {
        return Err(Error::invalid("attempt", "it counts up from 1"));
    }
    let lease = JobLease {
        job: JobId(convert::uuid("job_id", &request.job_id)?),
        session: session_id("session_id", &request.session_id)?,
        attempt: request.attempt,
    };
    let chat = convert::chat_id(&request.chat_id)?;
    let result = match request.result {
        Some(Told::Title(title)) => JobResult::Title(cut(title, TITLE_CHARS_MAX)),
        Some(Told::Error(error)) => {
            let error = chat_error(Some(error))?;
            JobResult::Failed { kind: error.kind, retryable: error.retryable }
        }
        None => return Err(Error::invalid("result", "it is a title or an error")),
    };
    let usage = usage("usage", request.usage)?;
    let model_call = (!request.model.is_empty()).then(|| (cut(request.model, NAME_CHARS_MAX), usage));
    Ok(FinishJob { lease, chat, result, model_call })
}

// To workers.

pub(super) fn job(job: Job) -> proto::Job {
    let Job { lease, chat, model, timeout, work } = job;
    let kind = match work {
        JobWork::Title { excerpt } => proto::job::Kind::Title(proto::TitleJob { excerpt }),
    };
    proto::Job {
        job_id: lease.job.0.to_string(),
        attempt: lease.attempt,
        chat_id: chat.to_string(),
        model: Some(model_config(model)),
        timeout_ms: millis(timeout),
        kind: Some(kind),
    }
}
