//! The life of one `CallTool`: sent, sent again when the agent has gone and come back, answered.
//!
//! Nothing is spawned: the caller's stream drives it, and dropping the stream ends it. The call itself goes
//! on then; a later holder finds it by its id. Every look at the row is right before a sending, since waiting
//! takes seconds in which the lease may go to somebody else.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bytes::Buf;
use chatplane_domain::ANSWER_BYTES_MAX;
use futures::{StreamExt, future::BoxFuture, stream};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    CallKey, CallTool, Sending, ToolEnd, ToolPiece, ToolStream,
    check::{Checked, Look, Target},
    outlet::{End, Outlet, Piece},
    registry::{CALLS_MAX, NotSent, Waiting, Workspaces},
};
use crate::{
    app::{App, Error},
    authz::{self, Action, Actor, Resource},
};

/// A call whose agent goes away under it so often is not sent again: it may be what kills the agent.
const SENDINGS_MAX: u32 = 3;
/// The same where there is a journal. Sending again is harmless there: an agent joins a call that still runs, and
/// one that died under it answers that its outcome is unknown. So a stream that breaks now and then does not end
/// a call that is well. What is not journalled runs anew each time, as it only reads; should that kill the agent,
/// the worker's limit for a tool ends it long before this one.
const SENDINGS_JOURNALLED_MAX: u32 = 1000;

/// Looks at the row again.
type CheckAgain = Box<dyn Fn() -> BoxFuture<'static, Result<Checked, Error>> + Send>;

impl App {
    /// Runs a committed call in its workspace. Dropping the stream leaves the call running.
    ///
    /// # Errors
    ///
    /// `CredentialsInvalid`, `FieldInvalid`, `ChatNotFound`, `LeaseLost`, `Superseded`, or what the database
    /// says; the stream ends with `LeaseLost`, `Superseded` or `ShuttingDown`.
    pub(crate) async fn call_tool(&self, actor: &Actor, call: CallTool) -> Result<ToolStream, Error> {
        authz::may(actor, Action::Dispatch, Resource::Deployment).map_err(Error::chat_denied)?;
        if call.arguments_json.len() > ANSWER_BYTES_MAX {
            return Err(Error::invalid("arguments_json", format!("at most {ANSWER_BYTES_MAX} bytes")));
        }
        let checked = self.check_call(&call, Look::First).await?;
        let call = Arc::new(call);
        let (app, again) = (self.clone(), call.clone());
        let check_again: CheckAgain = Box::new(move || {
            let (app, call) = (app.clone(), again.clone());
            Box::pin(async move { app.check_call(&call, Look::Again).await })
        });
        let inner = &self.inner;
        Ok(Run {
            workspaces: inner.workspaces.clone(),
            shutdown: inner.shutdown.clone(),
            workspace_return: inner.limits.workspace_return,
            call,
            checked: Some(checked),
            check_again,
            progress: Progress::Unsent,
            sendings: 0,
            passed_bytes: 0,
            repeated_bytes: 0,
        }
        .into_stream())
    }
}

struct Run {
    workspaces: Workspaces,
    shutdown: CancellationToken,
    workspace_return: Duration,
    call: Arc<CallTool>,
    /// What the last look at the row said, until something was waited for.
    checked: Option<Checked>,
    check_again: CheckAgain,
    progress: Progress,
    sendings: u32,
    /// Output that the caller has got.
    passed_bytes: usize,
    /// Output that is still to come and that the caller has got already. An agent that comes back sends a call's
    /// output from its start. (A tool that only reads may run anew and write something else now; that is no
    /// more than a preview that misleads until the result is there.)
    repeated_bytes: usize,
}

enum Progress {
    Unsent,
    Running(Arc<Outlet>),
    Over,
}

impl Run {
    fn into_stream(self) -> ToolStream {
        stream::try_unfold(self, |mut run| async move { Ok(run.next().await?.map(|piece| (piece, run))) })
            .boxed()
    }

    async fn next(&mut self) -> Result<Option<ToolPiece>, Error> {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => Err(Error::ShuttingDown),
            piece = self.next_piece() => piece,
        }
    }

    async fn next_piece(&mut self) -> Result<Option<ToolPiece>, Error> {
        loop {
            let outlet = match &self.progress {
                Progress::Over => return Ok(None),
                Progress::Running(outlet) => outlet.clone(),
                Progress::Unsent => match self.send().await? {
                    Ok(outlet) => outlet,
                    Err(end) => return Ok(Some(self.over(end))),
                },
            };
            match outlet.next().await {
                Piece::Output(mut data) => {
                    let repeated = self.repeated_bytes.min(data.len());
                    self.repeated_bytes -= repeated;
                    data.advance(repeated);
                    if !data.is_empty() {
                        self.passed_bytes += data.len();
                        return Ok(Some(ToolPiece::Output(data)));
                    }
                }
                Piece::End(End::Ended(end)) => return Ok(Some(self.over(end))),
                Piece::End(End::Detached) => {
                    self.progress = Progress::Unsent;
                    self.repeated_bytes = self.passed_bytes;
                }
                Piece::End(End::TakenOver) => return Err(Error::LeaseLost),
                Piece::End(End::Repeated) => return Err(Error::Superseded),
            }
        }
    }

    fn over(&mut self, end: ToolEnd) -> ToolPiece {
        self.progress = Progress::Over;
        ToolPiece::Result(end)
    }

    /// Sends the call, waiting for its agent if need be; or says how the call ends without.
    async fn send(&mut self) -> Result<Result<Arc<Outlet>, ToolEnd>, Error> {
        let deadline = Instant::now() + self.workspace_return;
        let mut waiting: Option<Waiting> = None;
        loop {
            let target = match self.check().await? {
                Checked::Run(target) => target,
                Checked::Answer(end) => return Ok(Err(end)),
            };
            if self.sendings >= sendings_max(&target) {
                return Ok(Err(self.unsent(&target, None)));
            }
            let not_sent = match self.workspaces.send(target.workspace, self.sending(&target)) {
                Ok(outlet) => {
                    self.sendings += 1;
                    self.progress = Progress::Running(outlet.clone());
                    return Ok(Ok(outlet));
                }
                Err(NotSent::LateHolder) => return Err(Error::LeaseLost),
                Err(not_sent @ (NotSent::Offline | NotSent::Busy)) => not_sent,
            };
            let Some(waiting) = &mut waiting else {
                // Once more, now that no change goes unseen.
                waiting = Some(self.workspaces.wait(target.workspace));
                self.checked = Some(Checked::Run(target));
                continue;
            };
            tokio::select! {
                () = waiting.changed() => {}
                () = sleep_until(deadline) => return Ok(Err(self.unsent(&target, Some(not_sent)))),
            }
        }
    }

    async fn check(&mut self) -> Result<Checked, Error> {
        match self.checked.take() {
            Some(checked) => Ok(checked),
            None => (self.check_again)().await,
        }
    }

    fn sending(&self, target: &Target) -> Sending {
        let call = &self.call;
        Sending {
            key: CallKey { chat: call.chat, call: call.call },
            fence: call.fence,
            journal: target.journal,
            tool_name: call.tool_name.clone(),
            arguments_json: call.arguments_json.clone(),
        }
    }

    /// What the model reads when the call cannot be sent; none: it was sent too often.
    fn unsent(&self, target: &Target, not_sent: Option<NotSent>) -> ToolEnd {
        let name = &target.name;
        let mut sentence = match not_sent {
            Some(NotSent::Busy) => {
                format!("The workspace \"{name}\" is busy: {CALLS_MAX} tool calls are running there.")
            }
            Some(NotSent::Offline | NotSent::LateHolder) => format!("The workspace \"{name}\" is offline."),
            None => {
                let sendings = self.sendings;
                format!("The connection to the workspace \"{name}\" broke {sendings} times under this call.")
            }
        };
        let what_ran = match (self.sendings, target.journal) {
            // Where there is no journal, nothing runs that changes anything.
            (0, None) => "The tool did not run.",
            // Another holder of the chat, or another replica, may have sent it before.
            (0, Some(_)) => {
                "The tool did not run, unless it had been started before; then its outcome is unknown."
            }
            (_, _) => "The tool had started; whether it ran to its end is unknown.",
        };
        let _ = write!(sentence, " {what_ran} Try again later, or go on without it.");
        ToolEnd::error(sentence)
    }
}

fn sendings_max(target: &Target) -> u32 {
    match target.journal {
        Some(_) => SENDINGS_JOURNALLED_MAX,
        None => SENDINGS_MAX,
    }
}

#[cfg(test)]
mod tests;
