//! Commands of lease holders.

use std::time::Duration;

use chatplane_domain::{
    Answer, AnswerContent, CallKind, ChatId, Command, CommitStep, Context, HolderCommand, HolderWrite,
    NextStep, Outcome, SessionId, WriteHeader, WriteOutcome, decide,
};

use super::{App, Error};
use crate::{
    authz::{self, Action, Actor, Resource},
    scheduler::ModelConfig,
    store::{Applied, Ask, ModelCall, Snapshot, Transacted},
};

/// How long a suspended chat waits for a client, a person or a sub-agent.
pub(crate) const SUSPENSION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A command of a lease holder.
#[derive(Clone, Debug)]
pub(crate) struct HolderCall {
    /// The chat.
    pub(crate) chat: ChatId,
    /// Which write of which lease.
    pub(crate) header: WriteHeader,
    /// What is written. Kinds of calls and the journal are filled in here.
    pub(crate) write: HolderWrite,
    /// The model call that the write accounts for.
    pub(crate) model_call: Option<ModelCall>,
}

/// What a lease holder is answered.
#[derive(Clone, Debug)]
pub(crate) struct HolderReply {
    /// What came of the write.
    pub(crate) outcome: WriteOutcome,
    /// The model, when it is another one from now on.
    pub(crate) model: Option<ModelConfig>,
}

impl App {
    /// Writes for a lease holder.
    ///
    /// # Errors
    ///
    /// `LeaseLost`, `Superseded`, `FieldInvalid`, `StateForbids`.
    pub(crate) async fn holder_write(&self, actor: &Actor, call: HolderCall) -> Result<HolderReply, Error> {
        authz::may(actor, Action::Dispatch, Resource::Deployment).map_err(Error::chat_denied)?;
        let HolderCall { chat, header, write, model_call } = call;
        let ask = Ask { model_call, ..Ask::default() };
        let queue_max = self.inner.limits.queue_max;
        let decide = |snapshot: &Snapshot| {
            let context = Context { now: snapshot.now, queue_max, lease_offer: None };
            let write = complete(write.clone(), snapshot);
            let command = Command::Holder(HolderCommand { header, write });
            Ok::<_, Error>(decide(&snapshot.chat, command, context)?)
        };
        match self.inner.store.transact(chat, &ask, |_| Ok(()), decide).await {
            Ok(Transacted::Applied(applied)) => {
                self.after_commit(&applied, None).await;
                self.holder_reply(&applied).await
            }
            // Only clients' requests are kept whole; a holder's replay is the row's own.
            Ok(Transacted::Replayed(_)) => Err(Error::LeaseLost),
            // A lease names its chat: a chat that is not there has none.
            Err(error) => Err(match Error::from(error) {
                Error::ChatNotFound => Error::LeaseLost,
                error => error,
            }),
        }
    }

    async fn holder_reply(&self, applied: &Applied) -> Result<HolderReply, Error> {
        let chat = &applied.decision.chat;
        let (outcome, may_have_changed) = match applied.decision.outcome {
            Outcome::Written(outcome) => {
                (outcome, chat.settings.model != applied.snapshot.chat.settings.model)
            }
            // What the model was before a write of then is not kept.
            Outcome::Replayed(outcome) => (outcome, true),
            Outcome::Client { .. } | Outcome::Applied => return Err(Error::LeaseLost),
        };
        let goes_on = chat.live_lease().is_some();
        let model = if may_have_changed && goes_on {
            // Without one, the holder reads the turn, and that ends it with an error.
            self.model_config(chat).await.ok().and_then(Result::ok)
        } else {
            None
        };
        Ok(HolderReply { outcome, model })
    }

    /// Keeps what a model call cost, whatever became of its answer.
    ///
    /// # Errors
    ///
    /// `LeaseLost` when there was no such lease.
    pub(crate) async fn report_usage(
        &self,
        actor: &Actor,
        chat: ChatId,
        session: SessionId,
        call: &ModelCall,
    ) -> Result<(), Error> {
        authz::may(actor, Action::Dispatch, Resource::Deployment).map_err(Error::chat_denied)?;
        let was_leased = self.inner.store.report_usage(chat, session, call).await?;
        if was_leased { Ok(()) } else { Err(Error::LeaseLost) }
    }
}

/// Fills in what the control plane knows and a worker does not: who settles a call, and
/// which journal it will be run under.
fn complete(write: HolderWrite, snapshot: &Snapshot) -> HolderWrite {
    match write {
        HolderWrite::CommitStep(CommitStep { answer, next, .. }) => {
            let answer = answer.map(|answer| with_kinds(answer, &snapshot.chat.settings.client_tools));
            let journal = snapshot.workspace.as_ref().and_then(|workspace| workspace.journal_id);
            HolderWrite::CommitStep(CommitStep { answer, next, journal })
        }
        HolderWrite::FinishInterruption { partial, results } => {
            let partial = partial.map(|answer| with_kinds(answer, &snapshot.chat.settings.client_tools));
            HolderWrite::FinishInterruption { partial, results }
        }
        HolderWrite::CommitToolResults(_)
        | HolderWrite::RecordRetry { .. }
        | HolderWrite::Fail(_)
        | HolderWrite::Release => write,
    }
}

fn with_kinds(mut answer: Answer, client_tools: &[String]) -> Answer {
    for part in &mut answer.parts {
        if let AnswerContent::ToolCall(call) = &mut part.content {
            let is_client = client_tools.contains(&call.tool_name);
            call.kind = if is_client { CallKind::Client } else { CallKind::Worker };
        }
    }
    answer
}

/// Suspending without a deadline of its own.
pub(crate) fn suspend() -> NextStep {
    NextStep::Suspend(SUSPENSION_MAX)
}
