//! One job: call the model, and answer.

use std::{sync::Arc, time::Duration};

use chatplane_domain::{ChatError, ErrorKind, Usage};
use futures::StreamExt as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::title;
use crate::{
    limits::Limits,
    link::{CallError, Client, Job, JobAnswer, JobKind},
    llm::{Answer, ModelCall, Provider},
    turn::Providers,
};

/// How long a job may take, unless it says less: a title is not worth more.
const JOB_DURATION_MAX: Duration = Duration::from_secs(30);
/// How long an answer is repeated while nobody can be reached. The job's lease ends at about
/// that time.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// What every job needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) providers: Providers,
    pub(super) limits: Arc<Limits>,
    /// The process ends: what runs is given up, and said to be.
    pub(super) ending: CancellationToken,
}

/// Does a job and answers it.
pub(super) async fn run(context: Context, job: Job) {
    let answer = match &job.kind {
        JobKind::Title { excerpt } => {
            let call = title::model_call(&job.model, excerpt, &context.limits);
            ask(&context, &job, call).await
        }
        JobKind::Unknown => unpaid(unknown_kind()),
    };
    finish(context, job, answer).await;
}

/// Answers a job that is not done.
pub(super) async fn refuse(context: Context, job: Job) {
    finish(context, job, unpaid(busy())).await;
}

/// Calls the model within the job's time. Whatever ends the call, the tokens that it has
/// told by then are told on: they were paid for.
async fn ask(context: &Context, job: &Job, call: ModelCall) -> JobAnswer {
    let Some(provider) = (context.providers)(&job.model.provider) else {
        return unpaid(unknown_provider(&job.model.provider));
    };
    let mut answer = Answer::default();
    let budget = job.timeout.min(JOB_DURATION_MAX);
    let listening = listen(&*provider, call, &mut answer);
    let result = tokio::select! {
        biased;
        () = context.ending.cancelled() => Err(given_up()),
        heard = timeout(budget, listening) => heard.unwrap_or_else(|_| Err(too_slow(&job.model.provider))),
    };
    let model = job.model.name.clone();
    JobAnswer { result: result.map(|()| title::title(&answer)), model, usage: answer.usage }
}

/// Adds the answer up to its end. Dropped, it closes the provider's connection.
async fn listen(provider: &dyn Provider, call: ModelCall, answer: &mut Answer) -> Result<(), ChatError> {
    let name = call.provider_model.clone();
    let mut events = provider.call(call);
    while let Some(event) = events.next().await {
        answer.apply(&event.map_err(|failure| failure.error)?);
        if answer.stop_reason.is_some() {
            return Ok(());
        }
    }
    Err(cut_short(&name))
}

/// Answers, and repeats that while nobody can be reached: a job that is not answered is
/// done, and paid for, once more.
async fn finish(context: Context, job: Job, answer: JobAnswer) {
    let Limits { rewrite, .. } = *context.limits;
    let (job_id, attempt) = (job.key.job_id, job.key.attempt);
    if let Err(error) = &answer.result {
        tracing::warn!(%job_id, attempt, kind = ?error.kind, model = job.model.name, "a job was not done");
    }
    let answering = async {
        let mut failures = 0;
        loop {
            match context.client.finish_job(&job, &answer).await {
                Err(CallError::Unavailable { pause, .. }) => {
                    failures += 1;
                    let asked = pause.unwrap_or_default().min(rewrite.max);
                    sleep(rewrite.pause(failures, rand::random()).max(asked)).await;
                }
                decided => return decided,
            }
        }
    };
    match timeout(ANSWER_PATIENCE, answering).await {
        Ok(Ok(())) => tracing::debug!(%job_id, attempt, "a job is answered"),
        // A repeat finds the job answered, and so does one that went to another session.
        Ok(Err(CallError::LeaseLost)) => tracing::debug!(%job_id, attempt, "a job is over, or another's"),
        Ok(Err(error)) => tracing::warn!(%job_id, attempt, %error, "the answer of a job was refused"),
        Err(_) => tracing::warn!(%job_id, attempt, "a job could not be answered"),
    }
}

/// An answer without a call of the model.
fn unpaid(error: ChatError) -> JobAnswer {
    JobAnswer { result: Err(error), model: String::new(), usage: Usage::default() }
}

/// All that goes wrong here may go right at another worker or another time; how often that is
/// tried is the control plane's business.
fn error(kind: ErrorKind, provider: &str, message: &str) -> ChatError {
    ChatError {
        kind,
        message: message.to_owned(),
        detail: String::new(),
        provider: provider.to_owned(),
        status_code: None,
        retryable: true,
    }
}

fn busy() -> ChatError {
    error(ErrorKind::Overloaded, "", "The worker does as many jobs as it can: another worker may be free.")
}

fn given_up() -> ChatError {
    error(ErrorKind::Internal, "", "The worker has stopped: another one does the job.")
}

fn unknown_kind() -> ChatError {
    error(
        ErrorKind::Internal,
        "",
        "This worker does not know this kind of job: bring all workers up to date.",
    )
}

fn unknown_provider(provider: &str) -> ChatError {
    let message = "This worker does not know the model's provider: choose another model.";
    error(ErrorKind::ModelUnusable, provider, message)
}

fn too_slow(provider: &str) -> ChatError {
    let message = "The model took too long for a title: choose a faster one for titles.";
    error(ErrorKind::Timeout, provider, message)
}

fn cut_short(provider: &str) -> ChatError {
    error(ErrorKind::MalformedResponse, provider, "The provider's answer ended in the middle.")
}
