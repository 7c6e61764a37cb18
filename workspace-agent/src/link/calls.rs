//! The calls whose ends one stream owes: reads, which run on it and end with it, runs of the journal, which it
//! follows, and answers of the journal, which are being read from the disk.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use chatplane_proto::{
    chat::v1::CallId,
    workspace::v1::{AttachRequest, ToolCallId, ToolEnded, ToolOutput, attach_request::Message},
};
use futures::future::join;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::{
    journal::{CallKey, Next, Run},
    tools::{Arguments, Ended, Tool},
};

/// Recorded answers that are in memory at a time, of at most 1 MiB each: they are sent one by one anyway.
const ANSWERS_MAX: usize = 8;

/// None when the contract does not allow such an id.
pub(super) fn key_of(id: &ToolCallId) -> Option<CallKey> {
    let CallId { message_id, call_index } = id.call?;
    let chat_id = Uuid::try_parse(&id.chat_id).ok()?;
    Some(CallKey { chat_id, message_id, call_index })
}

/// As the contract writes it.
pub(super) fn id_of(key: CallKey) -> ToolCallId {
    let CallKey { chat_id, message_id, call_index } = key;
    ToolCallId { chat_id: chat_id.to_string(), call: Some(CallId { message_id, call_index }) }
}

/// Calls whose ends are to be sent. Dropping it stops the reads, and leaves the journal's runs alone.
pub(super) struct Calls {
    running: HashMap<CallKey, Running>,
    tasks: JoinSet<Owed>,
    answers: Arc<Semaphore>,
    outgoing: mpsc::Sender<AttachRequest>,
    /// Parent of every read's cancellation: a blocking thread outlives its aborted task, but not this.
    all: CancellationToken,
    _cancel_on_drop: DropGuard,
}

/// An end that is to be sent, with the room that it takes in memory until then.
type Owed = (CallKey, Ended, Option<OwnedSemaphorePermit>);

enum Running {
    Read(Arc<Follower>),
    Journalled(Arc<Follower>),
    /// It has ended long ago.
    Recorded,
}

impl Calls {
    /// None yet. What calls write goes to `outgoing`.
    pub(super) fn new(outgoing: mpsc::Sender<AttachRequest>) -> Self {
        let all = CancellationToken::new();
        let guard = all.clone().drop_guard();
        let answers = Arc::new(Semaphore::new(ANSWERS_MAX));
        Self {
            running: HashMap::new(),
            tasks: JoinSet::new(),
            answers,
            outgoing,
            all,
            _cancel_on_drop: guard,
        }
    }

    /// How many reads run.
    pub(super) fn reads(&self) -> usize {
        self.running.values().filter(|running| matches!(running, Running::Read(_))).count()
    }

    /// Whether an end of the call will be sent.
    pub(super) fn is_running(&self, key: CallKey) -> bool {
        self.running.contains_key(&key)
    }

    /// Runs a call that only reads, and is not running.
    pub(super) fn read(&mut self, key: CallKey, tool: Arc<dyn Tool>, arguments: Arguments) {
        let follower = Arc::new(Follower::new(Arc::new(Run::new(self.all.child_token()))));
        self.running.insert(key, Running::Read(follower.clone()));
        let outgoing = self.outgoing.clone();
        self.tasks.spawn(async move {
            let run = follower.run.clone();
            let performed = async { run.end(run.perform(tool.as_ref(), arguments).await) };
            let ((), ended) = join(performed, follower.follow(key, &outgoing)).await;
            (key, ended, None)
        });
    }

    /// Sends a run's output from its beginning, also what was sent before, and then its end.
    pub(super) fn follow(&mut self, key: CallKey, run: Arc<Run>) {
        if let Some(Running::Journalled(follower)) = self.running.get(&key) {
            return follower.rewind();
        }
        let follower = Arc::new(Follower::new(run));
        self.running.insert(key, Running::Journalled(follower.clone()));
        let outgoing = self.outgoing.clone();
        self.tasks.spawn(async move { (key, follower.follow(key, &outgoing).await, None) });
    }

    /// Sends a recorded answer, once it is there. Pings are answered while the disk is waited for.
    pub(super) fn answer(&mut self, key: CallKey, recorded: impl Future<Output = Ended> + Send + 'static) {
        self.running.insert(key, Running::Recorded);
        let answers = self.answers.clone();
        self.tasks.spawn(async move {
            let room = answers.acquire_owned().await.expect("the semaphore is never closed");
            (key, recorded.await, Some(room))
        });
    }

    /// Asks a call to stop. One that has ended was reported, or is about to be.
    pub(super) fn cancel(&self, key: CallKey) {
        if let Some(Running::Read(follower) | Running::Journalled(follower)) = self.running.get(&key) {
            follower.run.cancel();
        }
    }

    /// The next call that ends; none when none runs. It no longer counts as running before its end is sent,
    /// so a call repeated from now on is looked up anew, and is never taken for one that will still be
    /// reported.
    pub(super) async fn next_ended(&mut self) -> Option<AttachRequest> {
        let (key, ended, _room) = self.tasks.join_next().await?.expect("a call catches its tool's panic");
        self.running.remove(&key);
        Some(tool_ended(id_of(key), ended))
    }
}

/// Sends on what a run writes.
struct Follower {
    run: Arc<Run>,
    sent_bytes: AtomicUsize,
    rewound: Notify,
}

impl Follower {
    fn new(run: Arc<Run>) -> Self {
        Self { run, sent_bytes: AtomicUsize::new(0), rewound: Notify::new() }
    }

    /// Begins again with the first byte: somebody new asks for the call.
    fn rewind(&self) {
        self.sent_bytes.store(0, Ordering::Relaxed);
        self.rewound.notify_one();
    }

    /// All of the output goes before the end.
    async fn follow(&self, key: CallKey, outgoing: &mpsc::Sender<AttachRequest>) -> Ended {
        loop {
            let position = self.sent_bytes.load(Ordering::Relaxed);
            let next = tokio::select! {
                () = self.rewound.notified() => continue,
                next = self.run.next(position) => next,
            };
            let data = match next {
                Next::Ended(ended) => return ended,
                Next::Output(data) => data,
            };
            let moved = position + data.len();
            let order = Ordering::Relaxed;
            // Otherwise it was rewound in between, and these are not the bytes that come next.
            if self.sent_bytes.compare_exchange(position, moved, order, order).is_ok() {
                send_output(key, data, outgoing).await;
            }
        }
    }
}

/// Waits while the stream is full. It fails when the stream has broken, and then this task is dropped too.
async fn send_output(key: CallKey, data: Bytes, outgoing: &mpsc::Sender<AttachRequest>) {
    let output = ToolOutput { call_id: Some(id_of(key)), data };
    let _ = outgoing.send(AttachRequest { message: Some(Message::ToolOutput(output)) }).await;
}

/// The message that ends a call.
pub(super) fn tool_ended(call_id: ToolCallId, ended: Ended) -> AttachRequest {
    let Ended { output, is_error } = ended;
    let ended = ToolEnded { call_id: Some(call_id), output, is_error };
    AttachRequest { message: Some(Message::ToolEnded(ended)) }
}
