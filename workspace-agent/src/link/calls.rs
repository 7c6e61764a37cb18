//! The calls that run on one stream.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use chatplane_proto::{
    chat::v1::CallId,
    workspace::v1::{AttachRequest, ToolCallId, ToolEnded, ToolOutput, attach_request::Message},
};
use futures::FutureExt;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::tools::{Arguments, Call, Ended, OutputSink, Tool};

/// A result on the wire, by the contract.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// A tool call, named for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallKey {
    pub(super) chat_id: Uuid,
    message_id: i64,
    call_index: i32,
}

impl CallKey {
    /// None when the contract does not allow such an id.
    pub(super) fn parse(id: &ToolCallId) -> Option<Self> {
        let CallId { message_id, call_index } = id.call?;
        let chat_id = Uuid::try_parse(&id.chat_id).ok()?;
        Some(Self { chat_id, message_id, call_index })
    }

    fn to_proto(self) -> ToolCallId {
        let Self { chat_id, message_id, call_index } = self;
        ToolCallId { chat_id: chat_id.to_string(), call: Some(CallId { message_id, call_index }) }
    }
}

/// Running calls. Dropping it stops them all.
pub(super) struct Calls {
    running: HashMap<CallKey, CancellationToken>,
    tasks: JoinSet<(CallKey, Ended)>,
    outgoing: mpsc::Sender<AttachRequest>,
    /// Parent of every call's cancellation: a blocking thread outlives its aborted task, but not this.
    all: CancellationToken,
    _cancel_on_drop: DropGuard,
}

impl Calls {
    /// None yet. What calls write goes to `outgoing`.
    pub(super) fn new(outgoing: mpsc::Sender<AttachRequest>) -> Self {
        let all = CancellationToken::new();
        let guard = all.clone().drop_guard();
        Self { running: HashMap::new(), tasks: JoinSet::new(), outgoing, all, _cancel_on_drop: guard }
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn is_running(&self, key: CallKey) -> bool {
        self.running.contains_key(&key)
    }

    /// Runs a call that is not running.
    pub(super) fn start(&mut self, key: CallKey, tool: Arc<dyn Tool>, arguments: Arguments) {
        let cancel = self.all.child_token();
        self.running.insert(key, cancel.clone());
        let outgoing = self.outgoing.clone();
        self.tasks.spawn(async move { (key, run(key, tool, arguments, cancel, outgoing).await) });
    }

    /// Asks a call to stop. One that has ended was reported, or is about to be.
    pub(super) fn cancel(&self, key: CallKey) {
        if let Some(cancel) = self.running.get(&key) {
            cancel.cancel();
        }
    }

    /// The next call that ends; none when none runs. It no longer counts as running before its end is sent,
    /// so a call repeated from now on runs again, and is never taken for one that will still be reported.
    pub(super) async fn next_ended(&mut self) -> Option<AttachRequest> {
        let (key, ended) = self.tasks.join_next().await?.expect("a call catches its tool's panic");
        self.running.remove(&key);
        Some(tool_ended(key.to_proto(), ended))
    }
}

/// Runs the tool and sends on what it writes, all of it before the end.
async fn run(
    key: CallKey,
    tool: Arc<dyn Tool>,
    arguments: Arguments,
    cancel: CancellationToken,
    outgoing: mpsc::Sender<AttachRequest>,
) -> Ended {
    let (output, mut written) = OutputSink::new();
    let run = tool.run(Call { arguments, output, cancel });
    let mut run = AssertUnwindSafe(run).catch_unwind();
    let ended = loop {
        tokio::select! {
            Some(data) = written.recv() => send_output(key, data, &outgoing).await,
            ended = &mut run => break ended,
        }
    };
    while let Ok(data) = written.try_recv() {
        send_output(key, data, &outgoing).await;
    }
    ended.unwrap_or_else(|_| {
        tracing::error!(tool = tool.definition().name, "a tool panicked");
        Ended::failed("The tool failed by a defect of its own.")
    })
}

/// Waits while the stream is full. It fails when the stream has broken, and then this task is dropped too.
async fn send_output(key: CallKey, data: Bytes, outgoing: &mpsc::Sender<AttachRequest>) {
    let output = ToolOutput { call_id: Some(key.to_proto()), data };
    let _ = outgoing.send(AttachRequest { message: Some(Message::ToolOutput(output)) }).await;
}

/// The message that ends a call.
pub(super) fn tool_ended(call_id: ToolCallId, ended: Ended) -> AttachRequest {
    let Ended { output, is_error } = ended;
    let ended = ToolEnded { call_id: Some(call_id), output: cut(output), is_error };
    AttachRequest { message: Some(Message::ToolEnded(ended)) }
}

/// Tools keep to limits of their own; this is the net under them.
fn cut(mut output: String) -> String {
    const NOTICE: &str = "\n(the result was cut here: it is larger than 1 MiB)";
    if output.len() > OUTPUT_BYTES_MAX {
        output.truncate(output.floor_char_boundary(OUTPUT_BYTES_MAX - NOTICE.len()));
        output.push_str(NOTICE);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_is_too_large_is_cut_at_a_character() {
        let text = cut("茶".repeat(1_000_000));

        assert!(text.len() <= OUTPUT_BYTES_MAX);
        assert!(
            text.starts_with("茶")
                && text.ends_with("茶\n(the result was cut here: it is larger than 1 MiB)")
        );
        assert_eq!(cut("short".to_owned()), "short");
    }
}
