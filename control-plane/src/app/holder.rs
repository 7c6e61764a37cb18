//! Commands of lease holders.

use chatplane_domain::{
    ChatId, Command, CommitStep, Context, Covered, HolderCommand, HolderWrite, Outcome, SessionId,
    WriteHeader, WriteOutcome, decide,
};

use super::{App, Error};
use crate::{
    authz::{self, Action, Actor, Resource},
    scheduler::ModelConfig,
    store::{Applied, Ask, ModelCall, Snapshot, Transacted},
};

/// A command of a lease holder.
#[derive(Clone, Debug)]
pub(crate) struct HolderCall {
    /// The chat.
    pub(crate) chat: ChatId,
    /// Which write of which lease.
    pub(crate) header: WriteHeader,
    /// What is written. The journal, and what a summary covers, are filled in here.
    pub(crate) write: HolderWrite,
    /// The model calls that the write accounts for: an answer's, a summary's.
    pub(crate) model_calls: Vec<ModelCall>,
    /// Version of the history that the write's summary was made from.
    pub(crate) summarized_history: Option<i64>,
}

impl HolderCall {
    fn ask(&self) -> Ask {
        let summary = match &self.write {
            HolderWrite::CommitStep(CommitStep { summary, .. }) => summary.as_ref(),
            HolderWrite::CommitToolResults(_)
            | HolderWrite::RecordRetry { .. }
            | HolderWrite::FinishInterruption { .. }
            | HolderWrite::Fail(_)
            | HolderWrite::Release => None,
        };
        Ask {
            model_calls: self.model_calls.clone(),
            covered: summary.map(|summary| summary.covers_through).zip(self.summarized_history),
            ..Ask::default()
        }
    }
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
        let ask = call.ask();
        let HolderCall { chat, header, write, .. } = call;
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
            self.turn_model(chat).await.ok().and_then(Result::ok).map(|model| model.config)
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

/// Fills in what the control plane knows and a worker does not: which journal calls will
/// be run under, and what has become of the messages that a summary covers.
fn complete(write: HolderWrite, snapshot: &Snapshot) -> HolderWrite {
    match write {
        HolderWrite::CommitStep(mut step) => {
            step.journal = snapshot.workspace.as_ref().and_then(|workspace| workspace.journal_id);
            if let Some(summary) = &mut step.summary {
                summary.covered = snapshot.covered.unwrap_or(Covered { live: false, changed_since: false });
            }
            HolderWrite::CommitStep(step)
        }
        HolderWrite::CommitToolResults(_)
        | HolderWrite::RecordRetry { .. }
        | HolderWrite::FinishInterruption { .. }
        | HolderWrite::Fail(_)
        | HolderWrite::Release => write,
    }
}
