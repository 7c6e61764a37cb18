//! Whether a call may run: the same checks as a write of the holder, and whether the chat's owner may use
//! the workspace. What the model can act on is an answer to it; what the worker must act on is an error.

use chatplane_domain::{CallKind, Chat, JournalId, OpenCall, State, SyntheticReason, WorkspaceId};

use super::{CallTool, ToolEnd};
use crate::{
    app::{App, Error},
    authz::{self, Action, Actor, Resource},
    store::Ask,
};

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// The call may run there.
    Run(Target),
    /// It does not run, and this is its result.
    Answer(ToolEnd),
}

/// Where a call runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The workspace.
    pub(super) workspace: WorkspaceId,
    /// Its name, for the model.
    pub(super) name: String,
    /// The journal that was registered when the call was committed.
    pub(super) journal: Option<JournalId>,
}

/// Which look at the chat it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The worker has just asked.
    First,
    /// The call has waited, or is to be sent again. Its siblings' results may have moved the history, which
    /// does not concern it as long as it is open.
    Again,
}

/// What the chat alone says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict<'a> {
    Run(&'a OpenCall),
    Answer(ToolEnd),
}

impl App {
    /// Checks a call against the row, and what it asks for against what was committed.
    pub(super) async fn check_call(&self, call: &CallTool, look: Look) -> Result<Checked, Error> {
        let store = &self.inner.store;
        let read = store.read(call.chat, &Ask::default()).await?;
        let snapshot = read.ok_or(Error::ChatNotFound)?;
        let open = match verdict(&snapshot.chat, call, look)? {
            Verdict::Run(open) => open,
            Verdict::Answer(end) => return Ok(Checked::Answer(end)),
        };
        // What is committed does not change: one look at it is enough.
        if look == Look::First
            && store.committed_arguments(call.chat, call.call).await? != call.arguments_json
        {
            return Err(Error::invalid("arguments_json", "they are not those of the committed call"));
        }
        let Some(workspace) = open.workspace else {
            return Ok(answer("The tool did not run: the chat had no workspace when it was called."));
        };
        let row = match snapshot.workspace {
            Some(row) if row.workspace_id == workspace => Some(row),
            Some(_) | None => store.workspace(workspace).await?,
        };
        let owner = Actor::User {
            id: snapshot.chat.owner,
            organization: snapshot.chat.organization,
            // The agent acts as the chat's owner, never as an owner of the deployment.
            is_owner: false,
        };
        let row = row.filter(|row| {
            authz::may(&owner, Action::UseWorkspace, Resource::Workspace(row.owner_id)).is_ok()
        });
        Ok(match row {
            Some(row) => Checked::Run(Target { workspace, name: row.name, journal: open.journal }),
            None => answer("The tool did not run: the owner of this chat may not use its workspace."),
        })
    }
}

fn answer(sentence: &str) -> Checked {
    Checked::Answer(ToolEnd::error(sentence))
}

fn verdict<'a>(chat: &'a Chat, call: &CallTool, look: Look) -> Result<Verdict<'a>, Error> {
    let lease = chat.live_lease().ok_or(Error::LeaseLost)?;
    if lease.fence != call.fence || lease.session != call.session {
        return Err(Error::LeaseLost);
    }
    if look == Look::First && chat.versions.history != call.history_version {
        return Err(Error::Superseded);
    }
    let Some(open) = chat.open_calls.iter().find(|open| open.id == call.call) else {
        return Err(match look {
            Look::First => Error::invalid("call", "the chat has no such open call"),
            Look::Again => Error::Superseded,
        });
    };
    if open.kind != CallKind::Worker {
        return Err(Error::invalid("call", "it is not the worker's to run"));
    }
    if open.tool_name != call.tool_name {
        return Err(Error::invalid("tool_name", "it is not the name in the committed call"));
    }
    if chat.state() == State::Interrupting {
        return Ok(Verdict::Answer(ToolEnd::error(SyntheticReason::Interrupted.sentence())));
    }
    Ok(Verdict::Run(open))
}

#[cfg(test)]
mod tests;
