//! Writes of a lease holder: numbered, one at a time, repeated until there is a reply.

use chatplane_domain::{ChatError, ErrorKind};
use tokio::time::sleep;

use super::{Context, Exit, STALE_MAX, Turn};
use crate::{
    limits::Limits,
    link::{CallError, Disposition, Holder, NewAnswer, NewResult, Outcome, TurnHeader, Write, WriteNo},
};

/// How often a lease that cannot be taken is given back before its next delivery decides.
const GIVE_BACK_TRIES: u32 = 5;

/// What the control plane said in the end.
pub(super) enum Delivered {
    /// The write is applied.
    Applied(Outcome),
    /// The write was refused; the turn has been ended with an error instead.
    Failed(Outcome),
    /// History or state have changed under it.
    Stale,
    /// The lease is over.
    LeaseLost,
    /// Neither the write nor an error is accepted.
    Refused,
}

/// What came of a write.
pub(super) enum Written {
    /// It is applied.
    Applied(Outcome),
    /// It is not; the loop looks again.
    Not,
    /// It is not, and the turn's error ended the lease.
    Ended,
}

impl Written {
    /// How the loop goes on when nothing depends on the outcome.
    pub(super) fn settled(self) -> Result<(), Exit> {
        match self {
            Written::Applied(outcome) => settle(&outcome),
            Written::Not => Ok(()),
            Written::Ended => Err(Exit::Released),
        }
    }
}

/// How the loop goes on after a write.
pub(super) fn settle(outcome: &Outcome) -> Result<(), Exit> {
    match outcome.disposition {
        Disposition::Continues | Disposition::NextTurn => Ok(()),
        Disposition::Released => Err(Exit::Released),
    }
}

/// Everything a write needs that outlives the loop's borrow.
#[derive(Clone)]
pub(super) struct Delivery {
    context: Context,
    holder: Holder,
    no: WriteNo,
}

impl Delivery {
    /// Repeats a write until there is a reply: whether a write whose reply was lost has
    /// been applied, only its repetition under the same number tells.
    pub(super) async fn deliver(self, write: &Write) -> Delivered {
        match self.insist(write).await {
            Ok(outcome) => Delivered::Applied(outcome),
            Err(CallError::LeaseLost) => Delivered::LeaseLost,
            Err(CallError::Stale) => Delivered::Stale,
            Err(error) => {
                let chat_id = self.holder.key.chat_id;
                tracing::error!(%chat_id, fence = self.holder.key.fence, %error, "a write was refused");
                self.fail_instead(write).await
            }
        }
    }

    /// A refused write has not used up its number.
    async fn fail_instead(&self, refused: &Write) -> Delivered {
        if matches!(refused, Write::Fail(_) | Write::Release) {
            return Delivered::Refused;
        }
        match self.insist(&Write::Fail(internal())).await {
            Ok(outcome) => Delivered::Failed(outcome),
            Err(CallError::LeaseLost) => Delivered::LeaseLost,
            Err(CallError::Stale) => Delivered::Stale,
            Err(_) => Delivered::Refused,
        }
    }

    async fn insist(&self, write: &Write) -> Result<Outcome, CallError> {
        let mut failures = 0;
        loop {
            match self.context.client.write(&self.holder, self.no, write).await {
                Err(CallError::Unavailable { code, pause }) => {
                    failures += 1;
                    tracing::debug!(?code, failures, "a write is repeated");
                    sleep(self.context.pause_before_repeat(failures, pause)).await;
                }
                decided => return decided,
            }
        }
    }
}

impl Turn {
    /// The next write, ready to be delivered beside other work.
    pub(super) fn delivery(&self) -> Delivery {
        let no = WriteNo { write_no: self.write_no + 1, history_version: self.versions.history };
        Delivery { context: self.context.clone(), holder: self.holder.clone(), no }
    }

    /// Hands in a write and learns from its outcome.
    pub(super) async fn write(&mut self, write: Write) -> Result<Written, Exit> {
        let delivered = Box::pin(self.delivery().deliver(&write)).await;
        self.delivered(&write, delivered)
    }

    /// Learns from what became of a write.
    pub(super) fn delivered(&mut self, write: &Write, delivered: Delivered) -> Result<Written, Exit> {
        match delivered {
            Delivered::Applied(outcome) => {
                self.applied(write, &outcome);
                Ok(Written::Applied(outcome))
            }
            Delivered::Failed(outcome) => {
                self.applied(&Write::Fail(internal()), &outcome);
                Ok(if settle(&outcome).is_ok() { Written::Not } else { Written::Ended })
            }
            Delivered::Stale => {
                self.stale_writes += 1;
                self.unread_from(self.versions.history);
                if self.stale_writes > STALE_MAX { Err(Exit::Refused) } else { Ok(Written::Not) }
            }
            Delivered::LeaseLost => Err(Exit::Lost),
            Delivered::Refused => Err(Exit::Refused),
        }
    }

    fn applied(&mut self, write: &Write, outcome: &Outcome) {
        self.write_no += 1;
        self.stale_writes = 0;
        let known_history = self.versions.history;
        match write {
            Write::CommitToolResults(_) => self.versions.wrote_results(outcome.history_version),
            Write::RecordRetry { .. } => {
                self.attempt += 1;
                self.versions.wrote(outcome.snapshot_version, outcome.history_version);
            }
            Write::CommitStep(_) | Write::FinishInterruption { .. } | Write::Fail(_) | Write::Release => {
                self.interrupting = false;
                self.versions.wrote(outcome.snapshot_version, outcome.history_version);
            }
        }
        if outcome.history_version != known_history {
            // As the control plane counts: where the lease goes on, the next model call is
            // under way with the write.
            self.attempt = 1;
            self.forget_tries();
        }
        if outcome.has_added {
            self.unread_from(known_history);
        }
        if outcome.disposition == Disposition::NextTurn {
            self.begin_turn();
            // Settings of the turn come with its read, also should it have no rows.
            self.unread_from(known_history);
        }
        if let Some(model) = &outcome.model {
            self.settings.model = (**model).clone();
        }
        self.live.rebase(outcome.snapshot_version);
    }

    /// Ends the turn with an error.
    pub(super) async fn fail(&mut self, error: ChatError) -> Result<(), Exit> {
        tracing::warn!(chat_id = %self.holder.key.chat_id, kind = ?error.kind, "the turn ends with an error");
        self.write(Write::Fail(error)).await?.settled()
    }

    /// Ends an interruption with what there is.
    pub(super) async fn finish_interruption(
        &mut self,
        partial: Option<NewAnswer>,
        results: Vec<NewResult>,
    ) -> Result<(), Exit> {
        self.write_interruption(partial, results).await?.settled()
    }

    /// The same, for who needs to know whether it was accepted.
    pub(super) async fn write_interruption(
        &mut self,
        partial: Option<NewAnswer>,
        results: Vec<NewResult>,
    ) -> Result<Written, Exit> {
        self.summaries.drop_all();
        let model_call = partial.as_ref().map_or(self.model_calls, |partial| partial.model_call);
        let known_history = self.versions.history;
        let has_rows = partial.is_some() || !results.is_empty();
        let written = self.write(Write::FinishInterruption { partial, results, model_call }).await?;
        if has_rows && matches!(written, Written::Applied(_)) {
            self.unread_from(known_history);
        }
        Ok(written)
    }
}

/// Gives a lease back that this worker does not run. False when nobody knows whether that
/// was heard; the lease is then delivered again.
pub(crate) async fn give_back(context: &Context, holder: &Holder, header: &TurnHeader) -> bool {
    let no = WriteNo { write_no: header.last_write_no + 1, history_version: header.history_version };
    let Limits { rewrite, .. } = *context.limits;
    for failures in 1..=GIVE_BACK_TRIES {
        match context.client.write(holder, no, &Write::Release).await {
            Ok(_) | Err(CallError::LeaseLost) => return true,
            Err(CallError::Stale | CallError::Refused { .. }) => return false,
            Err(CallError::Unavailable { .. }) => sleep(rewrite.pause(failures, rand::random())).await,
        }
    }
    false
}

fn internal() -> ChatError {
    ChatError {
        kind: ErrorKind::Internal,
        message: "The turn was stopped by a defect of chatplane. Send the message again.".to_owned(),
        detail: String::new(),
        provider: String::new(),
        status_code: None,
        retryable: false,
    }
}
