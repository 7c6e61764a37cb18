//! What model calls cost is told, whatever becomes of their answers: with the write that stores the answer, or by
//! itself, again and again for as long as the worker lives.

use super::{
    World,
    message::Call,
    turn::{Doing, Io, IoOf, Turn},
    worker::Asked,
};
use crate::{bug::Bug, database::ModelCall, scheduler::LeaseKey};

/// The key under which a model call of this lease is paid for.
pub(super) fn paid(turn: &Turn, model_call: i64) -> ModelCall {
    (turn.key.chat, turn.key.fence, model_call)
}

impl World {
    pub(super) fn report(&mut self, no: usize, paid: ModelCall) {
        self.worker_calls(no, Call::ReportUsage(paid), Asked::Usage(paid));
    }

    /// What the lease has paid for and not handed in is told, however it ends.
    pub(super) fn drop_turn(&mut self, no: usize, key: LeaseKey) {
        let Some(turn) = self.workers[no].turns.remove(&key) else { return };
        if let Doing::Model { model_call, .. } = turn.doing {
            self.report(no, paid(&turn, model_call));
        }
        if let Some(Io { what: IoOf::Write { write, .. }, .. }) = &turn.io
            && let Some(model_call) = write.model_call
        {
            self.report(no, paid(&turn, model_call));
        }
    }

    /// A refused answer was paid for all the same.
    pub(super) fn report_refused(&mut self, no: usize, turn: &Turn, what: &IoOf) {
        if let IoOf::Write { write, .. } = what
            && let Some(model_call) = write.model_call
            && self.bug != Some(Bug::RefusedAnswerNotReported)
        {
            self.report(no, paid(turn, model_call));
        }
    }
}
