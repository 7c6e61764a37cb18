//! The life of one `CallTool`: sent, sent again when the agent has gone and come back, answered.
//!
//! Nothing is spawned: the caller's stream drives it, and dropping the stream ends it. The call itself goes
//! on then; a later holder finds it by its id. Every look at the row is right before a sending, since waiting
//! takes seconds in which the lease may go to somebody else.

use std::{fmt::Write as _, future::pending, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use chatplane_domain::ANSWER_BYTES_MAX;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    CallKey, CallTool, PeerCallError, PeerToolPiece, PeerToolStream, Sending, ToolEnd, ToolPiece, ToolStream,
    check::{Checked, Look, Target},
    forward::{Elsewhere, Stirred},
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

/// An agent that is nowhere is looked for this often.
const LOOK_AGAIN_INTERVAL: Duration = Duration::from_millis(500);

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
        let run = Run::new(self, Arc::new(call), checked, Reach::Anywhere(self.elsewhere()));
        let pieces = run.into_stream();
        Ok(pieces.map(|piece| piece.map(for_worker)).boxed())
    }
}

/// A call that reaches every replica says itself what became of it when no agent is there.
fn for_worker(piece: PeerToolPiece) -> ToolPiece {
    match piece {
        PeerToolPiece::Piece(piece) => piece,
        PeerToolPiece::AgentGone { .. } => ToolPiece::Result(ToolEnd::error("The workspace is offline.")),
    }
}

/// Where an agent is looked for.
pub(super) enum Reach {
    /// At this replica alone: another one has sent the call on.
    Here,
    /// At the replica that it is attached to.
    Anywhere(Elsewhere),
}

pub(super) struct Run {
    workspaces: Workspaces,
    shutdown: CancellationToken,
    workspace_return: Duration,
    call: Arc<CallTool>,
    /// What the last look at the row said, until something was waited for.
    checked: Option<Checked>,
    check_again: CheckAgain,
    reach: Reach,
    progress: Progress,
    sendings: u32,
    /// Since when the agent is waited for; none once it was heard.
    waiting_since: Option<Instant>,
    /// The replica that should have the agent did not: something is to change before it is asked again.
    is_turned_away: bool,
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
    /// It runs on an agent of another replica.
    Elsewhere(PeerToolStream),
    Over,
}

impl Run {
    /// A call that was looked at just now.
    pub(super) fn new(app: &App, call: Arc<CallTool>, checked: Checked, reach: Reach) -> Self {
        let (again, app) = (call.clone(), app.clone());
        let inner = app.inner.clone();
        let check_again: CheckAgain = Box::new(move || {
            let (app, call) = (app.clone(), again.clone());
            Box::pin(async move { app.check_call(&call, Look::Again).await })
        });
        Self {
            workspaces: inner.workspaces.clone(),
            shutdown: inner.shutdown.clone(),
            workspace_return: inner.limits.workspace_return,
            call,
            checked: Some(checked),
            check_again,
            reach,
            progress: Progress::Unsent,
            sendings: 0,
            waiting_since: None,
            is_turned_away: false,
            passed_bytes: 0,
            repeated_bytes: 0,
        }
    }

    pub(super) fn into_stream(self) -> BoxStream<'static, Result<PeerToolPiece, Error>> {
        stream::try_unfold(self, |mut run| async move { Ok(run.next().await?.map(|piece| (piece, run))) })
            .boxed()
    }

    async fn next(&mut self) -> Result<Option<PeerToolPiece>, Error> {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => Err(Error::ShuttingDown),
            piece = self.next_piece() => piece,
        }
    }

    async fn next_piece(&mut self) -> Result<Option<PeerToolPiece>, Error> {
        loop {
            let piece = match &mut self.progress {
                Progress::Over => return Ok(None),
                Progress::Running(outlet) => {
                    let outlet = outlet.clone();
                    self.heard(outlet.next().await)?
                }
                Progress::Elsewhere(stream) => {
                    let heard = stream.next().await;
                    self.heard_elsewhere(heard)?
                }
                Progress::Unsent => self.send().await?,
            };
            if piece.is_some() {
                return Ok(piece);
            }
        }
    }

    /// What the agent says.
    fn heard(&mut self, piece: Piece) -> Result<Option<PeerToolPiece>, Error> {
        match piece {
            Piece::Output(data) => Ok(self.output(data)),
            Piece::End(End::Ended(end)) => Ok(Some(self.over(end))),
            Piece::End(End::Detached) => Ok(match self.reach {
                Reach::Here => Some(self.gone()),
                Reach::Anywhere(_) => {
                    self.unsend();
                    None
                }
            }),
            Piece::End(End::TakenOver) => Err(Error::LeaseLost),
            Piece::End(End::Repeated) => Err(Error::Superseded),
        }
    }

    /// What another replica says of it.
    fn heard_elsewhere(
        &mut self,
        heard: Option<Result<PeerToolPiece, PeerCallError>>,
    ) -> Result<Option<PeerToolPiece>, Error> {
        match heard {
            Some(Ok(PeerToolPiece::Piece(ToolPiece::Output(data)))) => return Ok(self.output(data)),
            Some(Ok(PeerToolPiece::Piece(ToolPiece::Result(end)))) => return Ok(Some(self.over(end.cut()))),
            Some(Err(PeerCallError::Refused(error))) => return Err(error),
            Some(Ok(PeerToolPiece::AgentGone { was_sent: false })) => {}
            // In the other cases it may have been; the agent has its time to come back from now on.
            Some(Ok(PeerToolPiece::AgentGone { was_sent: true }) | Err(PeerCallError::Unreachable(_)))
            | None => {
                self.sendings += 1;
                self.waiting_since = None;
            }
        }
        self.unsend();
        self.is_turned_away = true;
        Ok(None)
    }

    /// An agent that comes back sends a call's output from its start.
    fn unsend(&mut self) {
        self.progress = Progress::Unsent;
        self.repeated_bytes = self.passed_bytes;
    }

    fn output(&mut self, mut data: Bytes) -> Option<PeerToolPiece> {
        self.waiting_since = None;
        let repeated = self.repeated_bytes.min(data.len());
        self.repeated_bytes -= repeated;
        data.advance(repeated);
        if data.is_empty() {
            return None;
        }
        self.passed_bytes += data.len();
        Some(PeerToolPiece::Piece(ToolPiece::Output(data)))
    }

    fn over(&mut self, end: ToolEnd) -> PeerToolPiece {
        self.progress = Progress::Over;
        PeerToolPiece::Piece(ToolPiece::Result(end))
    }

    fn gone(&mut self) -> PeerToolPiece {
        self.progress = Progress::Over;
        PeerToolPiece::AgentGone { was_sent: self.sendings > 0 }
    }

    /// Sends the call, waiting for its agent if need be; or says how the call ends without.
    async fn send(&mut self) -> Result<Option<PeerToolPiece>, Error> {
        let deadline = *self.waiting_since.get_or_insert_with(Instant::now) + self.workspace_return;
        let mut waiting: Option<Waiting> = None;
        let mut stirred = match &self.reach {
            Reach::Here => None,
            Reach::Anywhere(elsewhere) => Some(elsewhere.wait()),
        };
        loop {
            let target = match self.check().await? {
                Checked::Run(target) => target,
                Checked::Answer(end) => return Ok(Some(self.over(end))),
            };
            if self.sendings >= sendings_max(&target) {
                let end = self.unsent(&target, None);
                return Ok(Some(self.over(end)));
            }
            let not_sent = match self.workspaces.send(target.workspace, self.sending(&target)) {
                Ok(outlet) => {
                    self.sendings += 1;
                    self.waiting_since = None;
                    self.progress = Progress::Running(outlet);
                    return Ok(None);
                }
                Err(NotSent::LateHolder) => return Err(Error::LeaseLost),
                Err(NotSent::Offline) => match self.send_elsewhere(&target).await? {
                    Sent::Elsewhere => return Ok(None),
                    Sent::Gone => return Ok(Some(self.gone())),
                    Sent::Nowhere => NotSent::Offline,
                },
                Err(NotSent::Busy) => NotSent::Busy,
            };
            let Some(waiting) = &mut waiting else {
                // Once more, now that no change goes unseen.
                waiting = Some(self.workspaces.wait(target.workspace));
                self.checked = Some(Checked::Run(target));
                continue;
            };
            tokio::select! {
                () = waiting.changed() => {}
                () = look_again(stirred.as_mut()) => {}
                () = sleep_until(deadline) => {
                    let end = self.unsent(&target, Some(not_sent));
                    return Ok(Some(self.over(end)));
                }
            }
            self.is_turned_away = false;
        }
    }

    async fn send_elsewhere(&mut self, target: &Target) -> Result<Sent, Error> {
        let Reach::Anywhere(elsewhere) = &self.reach else {
            return Ok(Sent::Gone);
        };
        if self.is_turned_away {
            return Ok(Sent::Nowhere);
        }
        let sent = (elsewhere.send)(target.workspace, self.call.clone()).await?;
        Ok(sent.map_or(Sent::Nowhere, |stream| {
            self.progress = Progress::Elsewhere(stream);
            Sent::Elsewhere
        }))
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

/// Whether an agent of another replica has got a call.
enum Sent {
    /// It was sent on.
    Elsewhere,
    /// No other replica is known to have the agent.
    Nowhere,
    /// It is not this replica's to send on.
    Gone,
}

/// Waits until the agent might be somewhere. What is said of that may be lost, so that it is looked for anyway.
async fn look_again(stirred: Option<&mut Stirred>) {
    let said = async {
        match stirred {
            Some(stirred) => stirred.changed().await,
            None => pending().await,
        }
    };
    let _ = timeout(LOOK_AGAIN_INTERVAL, said).await;
}

fn sendings_max(target: &Target) -> u32 {
    match target.journal {
        Some(_) => SENDINGS_JOURNALLED_MAX,
        None => SENDINGS_MAX,
    }
}

#[cfg(test)]
mod tests;
