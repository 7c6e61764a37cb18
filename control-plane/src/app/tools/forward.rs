//! Calls for agents that are attached to another replica.
//!
//! The row of a workspace says where its agent is. A call is sent there by the other replica,
//! which looks at the chat itself and does not pass the call on; so a row that is out of date
//! costs a moment, never a loop. What goes wrong on the way says nothing of the call: it is
//! looked for again, like one whose agent has left.

use std::sync::Arc;

use chatplane_domain::{CallId, ChatId, OpenCall, WorkspaceId};
use futures::{Stream, future::BoxFuture, stream::BoxStream};
use tokio::sync::watch;

use super::{
    CallTool, ToolPiece,
    check::Look,
    run::{Reach, Run},
};
use crate::{
    app::{App, Error, peers::require_peer},
    authz::Actor,
    peers::{ENDED_CALLS_MAX, EndedCalls, EndedCause, LinkMessage, Peer},
};

/// What another replica answers to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeerToolPiece {
    /// What the tool does.
    Piece(ToolPiece),
    /// Always the last: the agent is not there, or not any more.
    AgentGone {
        /// It was sent the call before.
        was_sent: bool,
    },
}

/// Why another replica's answer does not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerCallError {
    /// It was refused, as this replica would have.
    #[error("the other replica refused the call")]
    Refused(#[source] Error),
    /// It could not be called, or broke off.
    #[error("the other replica is not to be reached: {0}")]
    Unreachable(String),
}

/// What comes of a call elsewhere.
pub(crate) type PeerToolStream = BoxStream<'static, Result<PeerToolPiece, PeerCallError>>;

/// How calls reach other replicas; `grpc` does it.
pub(crate) trait PeerTools: Send + Sync {
    /// Sends a call.
    fn call_tool(
        &self,
        peer: &Peer,
        token: String,
        call: &CallTool,
    ) -> BoxFuture<'static, Result<PeerToolStream, PeerCallError>>;
}

/// The way to agents of other replicas.
pub(super) struct Elsewhere {
    pub(super) send: SendElsewhere,
    /// Changes when an agent has registered somewhere.
    pub(super) workspaces: watch::Receiver<u64>,
    /// Changes when a replica is to be reached that was not.
    pub(super) links: watch::Receiver<()>,
}

/// Sends a call to the replica that has its agent. None when no other replica has it, or that replica
/// is not to be reached.
pub(super) type SendElsewhere = Box<
    dyn Fn(WorkspaceId, Arc<CallTool>) -> BoxFuture<'static, Result<Option<PeerToolStream>, Error>>
        + Send
        + Sync,
>;

/// Hears when an agent that was nowhere might be somewhere.
pub(super) struct Stirred {
    workspaces: watch::Receiver<u64>,
    links: watch::Receiver<()>,
}

impl Stirred {
    /// Waits until it is worth while to look again.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.workspaces.changed() => {}
            Ok(()) = self.links.changed() => {}
            else => std::future::pending().await,
        }
    }
}

impl Elsewhere {
    /// Registers interest. Do so before you try, or a change in between goes unseen.
    pub(super) fn wait(&self) -> Stirred {
        let mut stirred = Stirred { workspaces: self.workspaces.clone(), links: self.links.clone() };
        stirred.workspaces.mark_unchanged();
        stirred.links.mark_unchanged();
        stirred
    }
}

impl App {
    /// The way to agents of other replicas.
    pub(super) fn elsewhere(&self) -> Elsewhere {
        let app = self.clone();
        Elsewhere {
            send: Box::new(move |workspace, call| {
                let app = app.clone();
                Box::pin(async move { app.send_elsewhere(workspace, &call).await })
            }),
            workspaces: self.inner.hub.subscribe_workspaces(),
            links: self.inner.peers.changes(),
        }
    }

    async fn send_elsewhere(
        &self,
        workspace: WorkspaceId,
        call: &CallTool,
    ) -> Result<Option<PeerToolStream>, Error> {
        let inner = &self.inner;
        let Some(tools) = &inner.peer_tools else {
            return Ok(None);
        };
        let replica = inner.store.workspace_replica(workspace).await?;
        let linked = replica.filter(|replica| *replica != inner.replica);
        let Some((peer, token)) = linked.and_then(|replica| inner.peers.linked(replica)) else {
            return Ok(None);
        };
        match tools.call_tool(&peer, token, call).await {
            Ok(stream) => Ok(Some(stream)),
            Err(PeerCallError::Refused(error)) => Err(error),
            Err(error @ PeerCallError::Unreachable(_)) => {
                tracing::info!(peer = %peer.replica, %error, "a tool call could not be sent on");
                Ok(None)
            }
        }
    }

    /// Runs a call that a worker has asked for at another replica, if the agent is here.
    ///
    /// # Errors
    ///
    /// As `call_tool`.
    pub(crate) async fn call_tool_here(
        &self,
        actor: &Actor,
        call: CallTool,
    ) -> Result<impl Stream<Item = Result<PeerToolPiece, Error>> + Send + use<>, Error> {
        require_peer(actor)?;
        // The other replica has looked at the history and the arguments; what may have changed
        // since is looked at here.
        let checked = self.check_call(&call, Look::Again).await?;
        Ok(Run::new(self, Arc::new(call), checked, Reach::Here).into_stream())
    }

    /// Tells the agents of calls that need not go on, also those of other replicas. It is the
    /// fast path alone: an agent that does not hear it lists its journal.
    pub(in crate::app) fn end_calls<'a>(
        &self,
        chat: ChatId,
        calls: impl IntoIterator<Item = &'a OpenCall>,
        cause: EndedCause,
    ) {
        let sent = |open: &OpenCall| Some((open.id, open.workspace?));
        let calls: Vec<(CallId, WorkspaceId)> = calls.into_iter().filter_map(sent).collect();
        let workspaces = &self.inner.workspaces;
        workspaces.ended(chat, &calls, cause);
        let calls: Vec<_> =
            calls.into_iter().filter(|(_, workspace)| !workspaces.is_online(*workspace)).collect();
        for calls in calls.chunks(ENDED_CALLS_MAX) {
            let ended = EndedCalls { chat, calls: calls.to_vec(), cause };
            self.inner.peers.tell_all(&LinkMessage::CallsEnded(ended));
        }
    }
}
