//! The workspace agents that are attached to this replica, and the calls that run on them.
//!
//! An agent's end of a call names the call alone, not the fence under which it was asked for. An agent that
//! refuses a late holder's fence could therefore be taken to have ended the rightful holder's call. So along
//! one attachment the fences of a chat never fall: a lower one is refused here and not sent. (The row was
//! asked right before, by the caller; this closes the gap between that look and the sending.)
//!
//! An entry of `running` lives from the sending to the agent's end, or to the end of the attachment, whether
//! or not anybody still waits for it. A caller that comes back finds its call there, with the beginning of its
//! output. The agent is not asked again: it would begin its output anew, which could not be told from what was
//! on its way. The one end that it sends is the answer to all; and a late holder can ask for nothing that the
//! later one does not want run, so the agent may learn the later fence by the next call.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use chatplane_domain::{CallId, ChatId, Fence, WorkspaceId};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    watch,
};
use tokio_util::sync::CancellationToken;

use super::{
    CallKey, FromAgent, Sending, ToAgent, ToolEnd, Verdict,
    outlet::{Beginning, End, Outlet},
    registering::{Registering, Turn},
};
use crate::peers::EndedCause;

/// Calls that one agent runs at a time, as many as it takes.
pub(super) const CALLS_MAX: usize = 64;
/// Messages that wait for an agent: every call may be sent and cancelled, as many that were sent earlier may be
/// cancelled, and the rest is for pings and verdicts. An agent that does not read them is detached for its
/// silence.
pub(super) const OUTGOING_MAX: usize = 3 * CALLS_MAX + 8;
/// Room in the queue that is not used for cancelling calls of which it is not known whether they run.
const OUTGOING_RESERVED: usize = 2 * CALLS_MAX;
/// Chats whose fence is kept along an attachment; beyond, only those with running calls.
const FENCES_MAX: usize = 10_000;

/// The agents of this replica.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workspaces {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    places: Mutex<HashMap<WorkspaceId, Place>>,
    registering: Registering,
    attachments: AtomicU64,
}

/// Exists while its workspace has an agent, or a call waits for one.
#[derive(Debug, Default)]
struct Place {
    agent: Option<Agent>,
    /// Moves when a call that could not start might.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Agent {
    attachment_no: AttachmentNo,
    /// Counts the workspace's registrations, at whatever replica.
    registration: i64,
    outgoing: mpsc::Sender<ToAgent>,
    replaced: CancellationToken,
    running: HashMap<CallKey, Running>,
    /// The highest fence that was sent of each chat.
    fences: HashMap<ChatId, Fence>,
}

#[derive(Debug)]
struct Running {
    fence: Fence,
    /// Who waits for it, if anybody does.
    caller: Weak<Outlet>,
    /// What it has written along this attachment, for who asks for it next.
    beginning: Beginning,
    cancelled: bool,
}

/// Tells the agents of a workspace apart that come one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AttachmentNo(u64);

/// An agent in its place. It leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Attachment {
    workspaces: Workspaces,
    workspace: WorkspaceId,
    attachment_no: AttachmentNo,
    outgoing: mpsc::Sender<ToAgent>,
    replaced: CancellationToken,
}

/// Why a call was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    /// No agent is attached.
    Offline,
    /// The agent runs as many calls as it takes.
    Busy,
    /// A later holder of the chat has sent calls.
    LateHolder,
}

/// Hears when a call that could not be sent might.
#[derive(Debug)]
pub(super) struct Waiting {
    workspaces: Workspaces,
    workspace: WorkspaceId,
    changed: watch::Receiver<()>,
}

impl Workspaces {
    /// Whether an agent of the workspace is attached to this replica.
    #[must_use]
    pub(crate) fn is_online(&self, workspace: WorkspaceId) -> bool {
        self.lock().get(&workspace).is_some_and(|place| place.agent.is_some())
    }

    /// Asks the agents to stop calls that need not go on: see `cancel` and `settled` of theirs.
    ///
    /// It is the fast path alone: a word that does not fit an agent's queue is not said, and an agent that is
    /// not here hears it when it lists its journal.
    pub(crate) fn ended(&self, chat: ChatId, calls: &[(CallId, WorkspaceId)], cause: EndedCause) {
        let stop = match cause {
            EndedCause::Cancelled => Agent::cancel,
            EndedCause::Settled => Agent::cancel_running,
        };
        let mut places = self.lock();
        for (call, workspace) in calls {
            if let Some(agent) = places.get_mut(workspace).and_then(|place| place.agent.as_mut()) {
                stop(agent, CallKey { chat, call: *call });
            }
        }
    }

    /// The agents that are attached here, with their attachments' numbers.
    pub(crate) fn attachments(&self) -> Vec<(WorkspaceId, i64)> {
        let places = self.lock();
        let agents = places.iter().filter_map(|(workspace, place)| Some((*workspace, place.agent.as_ref()?)));
        agents.map(|(workspace, agent)| (workspace, agent.registration)).collect()
    }

    /// An agent of the workspace has registered at another replica: an earlier one here is put out.
    pub(crate) fn attached_elsewhere(&self, workspace: WorkspaceId, registration: i64) {
        let mut places = self.lock();
        let Some(place) = places.get_mut(&workspace) else {
            return;
        };
        if let Some(older) = place.agent.take_if(|agent| agent.registration < registration) {
            older.replaced.cancel();
            older.leave();
            if place.changed.receiver_count() == 0 {
                places.remove(&workspace);
            }
        }
    }

    /// Waits until no other agent of the workspace registers. It is waited for as long as the database takes
    /// to answer the agents before, so wait for the end of the replica and of the agent's stream as well.
    pub(super) async fn registering(&self, workspace: WorkspaceId) -> Turn {
        self.shared.registering.turn(workspace).await
    }

    /// Puts the agent whose turn it is in its place, and puts out an older one.
    pub(super) fn attach(
        &self,
        turn: Turn,
        outgoing: mpsc::Sender<ToAgent>,
        registration: i64,
    ) -> Attachment {
        let workspace = turn.workspace();
        let attachment_no = AttachmentNo(self.shared.attachments.fetch_add(1, Ordering::Relaxed));
        let mut places = self.lock();
        let place = places.entry(workspace).or_default();
        let replaced = CancellationToken::new();
        let agent = Agent {
            attachment_no,
            registration,
            outgoing: outgoing.clone(),
            replaced: replaced.clone(),
            running: HashMap::new(),
            fences: HashMap::new(),
        };
        if let Some(older) = place.agent.replace(agent) {
            older.replaced.cancel();
            older.leave();
        }
        place.changed.send_replace(());
        drop(places);
        // The next one puts this one out, so not before it is there.
        drop(turn);
        Attachment { workspaces: self.clone(), workspace, attachment_no, outgoing, replaced }
    }

    /// Sends a call, or joins it where it runs. Its output comes from its start.
    pub(super) fn send(&self, workspace: WorkspaceId, sending: Sending) -> Result<Arc<Outlet>, NotSent> {
        let mut places = self.lock();
        let agent = places.get_mut(&workspace).and_then(|place| place.agent.as_mut());
        agent.ok_or(NotSent::Offline)?.send(sending)
    }

    /// Registers interest. Do so before you try again, or a change in between goes unseen.
    pub(super) fn wait(&self, workspace: WorkspaceId) -> Waiting {
        let changed = self.lock().entry(workspace).or_default().changed.subscribe();
        Waiting { workspaces: self.clone(), workspace, changed }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Place>> {
        // A panic elsewhere leaves the map whole: nothing in here panics between two changes.
        self.shared.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agent {
    fn send(&mut self, sending: Sending) -> Result<Arc<Outlet>, NotSent> {
        let Sending { key, fence, .. } = sending;
        if self.fences.get(&key.chat).is_some_and(|seen| *seen > fence) {
            return Err(NotSent::LateHolder);
        }
        let outlet = if let Some(running) = self.running.get_mut(&key) {
            let outlet = Arc::new(Outlet::after(&running.beginning));
            let end = if fence > running.fence { End::TakenOver } else { End::Repeated };
            running.fence = fence;
            if let Some(earlier) = mem::replace(&mut running.caller, Arc::downgrade(&outlet)).upgrade() {
                earlier.end(end);
            }
            outlet
        } else {
            if self.running.len() >= CALLS_MAX {
                return Err(NotSent::Busy);
            }
            push(&self.outgoing, ToAgent::CallTool(sending))?;
            let outlet = Arc::new(Outlet::default());
            let caller = Arc::downgrade(&outlet);
            let running = Running { fence, caller, beginning: Beginning::default(), cancelled: false };
            self.running.insert(key, running);
            outlet
        };
        self.note_fence(key.chat, fence);
        Ok(outlet)
    }

    fn note_fence(&mut self, chat: ChatId, fence: Fence) {
        self.fences.insert(chat, fence);
        if self.fences.len() > FENCES_MAX {
            let running = &self.running;
            self.fences.retain(|chat, _| running.keys().any(|key| key.chat == *chat));
        }
    }

    /// Nobody waits for the call any more. An agent that keeps a journal goes on with its calls when its
    /// stream breaks, so it is asked also for calls that were not sent along this one.
    fn cancel(&mut self, key: CallKey) {
        if self.running.contains_key(&key) {
            self.cancel_running(key);
        } else if self.outgoing.capacity() > OUTGOING_RESERVED {
            let _ = push(&self.outgoing, ToAgent::CancelTool(key));
        }
    }

    /// The call has got its result; if it runs here, a worker that waits no longer has committed one of its
    /// own. Most calls have ended by then, and nothing is sent for those.
    fn cancel_running(&mut self, key: CallKey) {
        if let Some(running) = self.running.get_mut(&key)
            && !running.cancelled
        {
            running.cancelled = push(&self.outgoing, ToAgent::CancelTool(key)).is_ok();
        }
    }

    fn output(&mut self, key: CallKey, data: &[u8]) {
        let Some(running) = self.running.get_mut(&key) else {
            return;
        };
        running.beginning.push(data);
        if let Some(caller) = running.caller.upgrade() {
            caller.push(data);
        }
    }

    fn end(&mut self, key: CallKey, end: ToolEnd) {
        if let Some(caller) = self.running.remove(&key).and_then(|running| running.caller.upgrade()) {
            caller.end(End::Ended(end.cut()));
        }
    }

    /// Tells the callers that the agent is gone.
    fn leave(self) {
        for caller in self.running.into_values().filter_map(|running| running.caller.upgrade()) {
            caller.end(End::Detached);
        }
    }
}

fn push(outgoing: &mpsc::Sender<ToAgent>, message: ToAgent) -> Result<(), NotSent> {
    outgoing.try_send(message).map_err(|error| match error {
        TrySendError::Full(_) => NotSent::Busy,
        TrySendError::Closed(_) => NotSent::Offline,
    })
}

impl Attachment {
    /// What the agent says about its calls. Those that it does not run here are nobody's.
    pub(super) fn received(&self, message: FromAgent) {
        let mut places = self.workspaces.lock();
        let Some(place) = places.get_mut(&self.workspace) else {
            return;
        };
        let agent = place.agent.as_mut().filter(|agent| agent.attachment_no == self.attachment_no);
        match (agent, message) {
            (Some(agent), FromAgent::Output { key, data }) => agent.output(key, &data),
            (Some(agent), FromAgent::Ended { key, end }) => {
                agent.end(key, end);
                place.changed.send_replace(());
            }
            (Some(_), FromAgent::Pong | FromAgent::JournalEntries(_)) | (None, _) => {}
        }
    }

    /// Pings the agent. One that does not read is not pinged, and soon detached for its silence.
    pub(super) fn ping(&self, ping_no: i64) {
        let _ = push(&self.outgoing, ToAgent::Ping(ping_no));
    }

    /// Tells the agent what becomes of entries of its journal. One that does not read is not told, and asks
    /// again.
    pub(super) fn judge(&self, verdicts: Vec<Verdict>) {
        let _ = push(&self.outgoing, ToAgent::JournalVerdicts(verdicts));
    }

    pub(super) fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// Resolves when a newer agent of the same workspace has attached.
    pub(super) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut places = self.workspaces.lock();
        let Some(place) = places.get_mut(&self.workspace) else {
            return;
        };
        if let Some(agent) = place.agent.take_if(|agent| agent.attachment_no == self.attachment_no) {
            agent.leave();
            if place.changed.receiver_count() == 0 {
                places.remove(&self.workspace);
            }
        }
    }
}

impl Waiting {
    /// Waits until a call that could not be sent might be.
    pub(super) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // The place stays while somebody waits for it; without one nothing comes.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut places = self.workspaces.lock();
        // Under the lock, so that the last of several that end at once finds that it is the last.
        self.changed = watch::channel(()).1;
        if places
            .get(&self.workspace)
            .is_some_and(|place| place.agent.is_none() && place.changed.receiver_count() == 0)
        {
            places.remove(&self.workspace);
        }
    }
}

#[cfg(test)]
mod tests;
