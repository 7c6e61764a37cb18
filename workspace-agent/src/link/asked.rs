//! What becomes of a call that is asked for, and of the journal's entries.
//!
//! What is known of a call is told to whoever asks, whatever their fence: it is the truth about the call, and
//! the control plane refuses what a late holder makes of it. The fence decides who gets a tool run.

use chatplane_proto::workspace::v1::{
    AttachRequest, CallTool, JournalDisposition, JournalEntries, JournalVerdict, JournalVerdicts, ToolCallId,
    attach_request::Message as Outgoing,
};

use super::{
    calls::{id_of, key_of, tool_ended},
    session::{Cause, Session},
};
use crate::{
    journal::{Answer, CallKey, Disposition, Input, Known, Refusal},
    tools::{Arguments, Effect, Ended},
};

/// The answer to a fence below one that was seen.
pub(super) const LATE_HOLDER: &str = "The call did not run: another worker has taken over the chat.";

/// When a call is answered.
enum Reply {
    /// At once.
    Now(Ended),
    /// When it has been read from the disk.
    Recorded(CallKey),
    /// When it ends.
    Later,
}

/// For which journal a call was committed.
enum MeantFor {
    None,
    Ours,
    Another,
}

impl Session<'_> {
    /// Starts or joins the call, or answers at once.
    pub(super) async fn call_tool(&mut self, mut call: CallTool) -> Result<(), Cause> {
        let Some(call_id) = call.call_id.take() else {
            tracing::warn!("a tool call without an id cannot be answered");
            return Ok(());
        };
        let ended = match self.ask(&call_id, &call) {
            Reply::Later => return Ok(()),
            Reply::Now(ended) => ended,
            Reply::Recorded(key) => {
                self.calls.answer(key, self.link.journal.recorded(key));
                return Ok(());
            }
        };
        self.send(tool_ended(call_id, ended)).await
    }

    fn ask(&mut self, call_id: &ToolCallId, call: &CallTool) -> Reply {
        let Some(key) = key_of(call_id) else {
            return Reply::Now(Ended::failed("The id of the call is malformed."));
        };
        let is_late = !self.link.fences.admit(key.chat_id, call.fence);
        if is_late {
            tracing::warn!(chat_id = %key.chat_id, fence = call.fence, "a late holder asks for a tool call");
        }
        if is_late && self.calls.is_running(key) {
            // An end names only the call. While the rightful holder waits for it, an end sent to the late one
            // would be taken for the real one, and the real one is the answer to both.
            return Reply::Later;
        }
        let input = Input::of(&call.tool_name, &call.arguments_json);
        match self.link.journal.known(key, &input) {
            Some(Known::Running(run)) => {
                self.calls.follow(key, run);
                Reply::Later
            }
            // It has just ended, and the end that is on its way is the answer to both.
            Some(Known::Recorded | Known::Told(Answer::OutcomeUnknown)) if self.calls.is_running(key) => {
                Reply::Later
            }
            Some(Known::Recorded) => Reply::Recorded(key),
            Some(Known::Told(answer)) => Reply::Now(answer.into()),
            None if is_late => Reply::Now(Ended::failed(LATE_HOLDER)),
            None => self.start(key, call, input).map_or_else(Reply::Now, |()| Reply::Later),
        }
    }

    /// Starts a call of which the journal knows nothing.
    fn start(&mut self, key: CallKey, call: &CallTool, input: Input) -> Result<(), Ended> {
        if self.calls.is_running(key) {
            // The one end that will be sent is the answer to both.
            return Ok(());
        }
        let meant_for = self.meant_for(&call.journal_id);
        let tool = match (self.link.tools.find(&call.tool_name), &meant_for) {
            (Ok(tool), _) => tool,
            // It may be a tool of before, which is not offered any more.
            (Err(_), MeantFor::Another) => return Err(Answer::OtherJournal.into()),
            (Err(unknown), MeantFor::None | MeantFor::Ours) => return Err(unknown),
        };
        match (tool.effect(), meant_for) {
            (Effect::Reads, _) | (Effect::Changes, MeantFor::Ours) => {}
            (Effect::Changes, MeantFor::None) => return Err(Answer::NoJournal.into()),
            (Effect::Changes, MeantFor::Another) => return Err(Answer::OtherJournal.into()),
        }
        let arguments =
            Arguments::parse(&call.arguments_json).map_err(|error| Ended::failed(error.to_string()))?;
        let calls_max = self.link.limits.calls_max;
        let busy = self.calls.reads() + self.link.journal.running() >= calls_max;
        let refusal = Refusal::Busy { calls_max };
        match tool.effect() {
            Effect::Reads if busy => Err(Answer::Refused(refusal).into()),
            Effect::Reads => {
                self.calls.read(key, tool, arguments);
                Ok(())
            }
            Effect::Changes if busy => Err(self.link.journal.refuse(key, refusal).into()),
            Effect::Changes => {
                let run = self.link.journal.start(key, input, tool, arguments)?;
                self.calls.follow(key, run);
                Ok(())
            }
        }
    }

    fn meant_for(&self, journal_id: &str) -> MeantFor {
        if journal_id.is_empty() {
            MeantFor::None
        } else if journal_id == self.link.journal.id().to_string() {
            MeantFor::Ours
        } else {
            MeantFor::Another
        }
    }

    /// Stops a call, whether or not this stream follows it.
    pub(super) fn cancel_tool(&self, call_id: &ToolCallId) {
        if let Some(key) = key_of(call_id) {
            self.calls.cancel(key);
            self.link.journal.cancel(key);
        }
    }

    /// Lists what is in the journal; nothing when it is empty.
    pub(super) async fn list(&self) -> Result<(), Cause> {
        let keys = self.link.journal.keys();
        for page in keys.chunks(self.link.limits.listed_max) {
            let call_ids = page.iter().copied().map(id_of).collect();
            let entries = Outgoing::JournalEntries(JournalEntries { call_ids });
            self.send(AttachRequest { message: Some(entries) }).await?;
        }
        Ok(())
    }

    /// Does what the control plane says of the entries.
    pub(super) fn apply(&mut self, verdicts: JournalVerdicts) {
        let known = |verdict: JournalVerdict| {
            let key = key_of(verdict.call_id.as_ref()?)?;
            let disposition = match verdict.disposition() {
                JournalDisposition::Committed => Disposition::Committed,
                JournalDisposition::Cancel => Disposition::Cancel,
                // What we do not know is kept, by the contract.
                JournalDisposition::Keep | JournalDisposition::Unspecified => Disposition::Keep,
            };
            Some((key, disposition))
        };
        self.link.journal.apply(verdicts.verdicts.into_iter().filter_map(known));
    }
}
