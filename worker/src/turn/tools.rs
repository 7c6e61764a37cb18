//! The tool calls of a step: run together, committed as they end.

use std::{mem, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Exit, Reading, Turn,
    control::Signal,
    wait_for,
    write::{Delivered, Written, settle},
};
use crate::{
    limits::{RESULTS_BYTES_MAX, RESULTS_MAX},
    link::{CallError, Holder, LivePartKind, LiveStream, NewResult, Outcome, StreamOpener, TurnNews, Write},
    llm::ToolResult,
    session::Control,
    step::{Content, Message, OpenCall},
    tools::{self, ToolEnd, Toolbox},
};

/// A call that has ended. Its stream stays until its result is stored.
struct Finished {
    result: NewResult,
    live: Option<LiveStream>,
}

/// A write of results on its way.
struct Writing {
    finished: Vec<Finished>,
    delivered: BoxFuture<'static, (Write, Delivered)>,
}

/// The calls of a step at work.
struct Calls {
    /// Those that run or will; empty once they were let go.
    running: BoxStream<'static, Result<Option<Finished>, Exit>>,
    all_ended: bool,
    /// Cancelled once the work is to stop: what runs may end, nothing begins.
    stopping: CancellationToken,
    /// When what still runs is let go.
    let_go_at: Option<Instant>,
    finished: Vec<Finished>,
    writing: Option<Writing>,
    /// Never beside a write: of their two answers nobody could tell which is the newer.
    reading: Option<Reading>,
    /// What is wanted of the loop, to be done when no write is on its way.
    wanted: Option<Signal>,
    /// Tells running calls which history is known; it moves with every result.
    history: watch::Sender<i64>,
}

/// What happens beside the calls.
enum Happening {
    Delivered(Box<(Write, Delivered)>),
    Read(Box<Result<TurnNews, Exit>>),
    Wanted(Signal),
    Ended(Option<Result<Option<Finished>, Exit>>),
    Overdue,
}

impl Turn {
    /// Runs the open calls; returns when all have results, or when something else is wanted.
    pub(super) async fn run_tools(&mut self, open: Vec<OpenCall>) -> Result<(), Exit> {
        let mut calls = self.start_calls(open);
        loop {
            if calls.writing.is_none() && calls.reading.is_none() {
                match calls.wanted {
                    Some(Signal::Interrupt) if calls.all_ended => {
                        return self.hand_in_interrupted(calls.finished).await;
                    }
                    // The control plane has them cancelled, and their ends are on their way.
                    Some(Signal::Interrupt) => {}
                    // Beside the calls: a control plane that is slow to tell the news must
                    // hold up neither what tools write nor a stop.
                    Some(Signal::Reload) => calls.reading = Some(self.reading()),
                    Some(Signal::GiveBack) | None if !calls.finished.is_empty() => {
                        self.start_writing(&mut calls);
                    }
                    Some(Signal::GiveBack) | None if calls.all_ended => return Ok(()),
                    Some(Signal::GiveBack) | None => {}
                }
            }
            match self.calls_happening(&mut calls).await {
                Happening::Delivered(delivered) => {
                    if !self.results_delivered(&mut calls, *delivered)? {
                        return Ok(());
                    }
                }
                Happening::Read(news) => {
                    calls.reading = None;
                    calls.wanted = None;
                    let known_history = self.versions.history;
                    self.learn((*news)?);
                    if self.versions.history != known_history {
                        return Ok(());
                    }
                }
                Happening::Wanted(signal) => {
                    if signal == Signal::Interrupt {
                        // Nobody pays for it while the calls end.
                        self.summaries.drop_all();
                    }
                    calls.want(signal, self.context.limits.interrupt_grace);
                }
                Happening::Ended(Some(finished)) => calls.finished.extend(finished?),
                Happening::Ended(None) => calls.all_ended = true,
                Happening::Overdue => calls.let_go(),
            }
        }
    }

    fn start_calls(&self, open: Vec<OpenCall>) -> Calls {
        let (history, known_history) = watch::channel(self.versions.history);
        let stopping = CancellationToken::new();
        let runner = Arc::new(CallRunner {
            context: self.context.clone(),
            holder: self.holder.clone(),
            opener: self.live.opener(),
            tools: self.settings.tools.clone(),
            stopping: stopping.clone(),
        });
        let control = self.control.clone();
        let run = move |call| {
            let (runner, known_history, control) = (runner.clone(), known_history.clone(), control.clone());
            async move { runner.run(call, known_history, control).await }
        };
        let parallel = self.context.limits.parallel_calls_max;
        let running = futures::stream::iter(open).map(run).buffer_unordered(parallel).boxed();
        Calls {
            running,
            all_ended: false,
            stopping,
            let_go_at: None,
            finished: Vec::new(),
            writing: None,
            reading: None,
            wanted: None,
            history,
        }
    }

    async fn calls_happening(&mut self, calls: &mut Calls) -> Happening {
        let (ended, wanted) = (calls.all_ended, calls.wanted);
        let writing = calls.writing.as_mut().map(|writing| &mut writing.delivered);
        let overdue = calls.let_go_at.filter(|_| !ended);
        // A stop comes before the end of the drain, but does not make it wait.
        let drain_end = overdue.map(|_| self.drain_end());
        let mut overdue = overdue.map(|at| sleep_until(at).boxed());
        let mut drain_end = drain_end.map(FutureExt::boxed);
        tokio::select! {
            biased;
            delivered = wait_for(writing) => Happening::Delivered(Box::new(delivered)),
            signal = self.next_signal_but(wanted) => Happening::Wanted(signal),
            news = wait_for(calls.reading.as_mut()) => Happening::Read(Box::new(news)),
            finished = calls.running.next(), if !ended => Happening::Ended(finished),
            () = wait_for(overdue.as_mut()) => Happening::Overdue,
            () = wait_for(drain_end.as_mut()) => Happening::Overdue,
        }
    }

    fn start_writing(&self, calls: &mut Calls) {
        let finished = take_batch(&mut calls.finished);
        let write =
            Write::CommitToolResults(finished.iter().map(|finished| finished.result.clone()).collect());
        let delivery = self.delivery();
        let delivered = async move {
            let delivered = delivery.deliver(&write).await;
            (write, delivered)
        };
        calls.writing = Some(Writing { finished, delivered: delivered.boxed() });
    }

    /// Learns from a write of results; false when the calls are to be looked at anew.
    fn results_delivered(&mut self, calls: &mut Calls, delivered: (Write, Delivered)) -> Result<bool, Exit> {
        let Some(Writing { finished, .. }) = calls.writing.take() else {
            return Ok(true);
        };
        let known_history = self.versions.history;
        match self.delivered(&delivered.0, delivered.1)? {
            Written::Applied(outcome) => {
                self.store(finished, &outcome, known_history);
                calls.history.send_replace(self.versions.history);
                settle(&outcome)?;
                Ok(self.unread_after.is_none())
            }
            Written::Not => Ok(false),
            Written::Ended => Err(Exit::Released),
        }
    }

    /// Enters stored results into the known history.
    fn store(&mut self, finished: Vec<Finished>, outcome: &Outcome, known_history: i64) {
        if outcome.committed_ids.len() != finished.len() {
            self.unread_from(known_history);
        }
        for (id, Finished { result, live }) in outcome.committed_ids.iter().zip(finished) {
            let result = ToolResult {
                call_message_id: result.call.message_id,
                call_index: result.call.index,
                output: result.output,
                is_error: result.is_error,
            };
            let content = Content::Tool { results: vec![result] };
            self.history.put(Message::new(*id, outcome.history_version, content));
            if let Some(live) = live {
                live.commit();
            }
        }
    }

    /// Ends an interruption with the results there are; what is too much for one write goes
    /// into writes of its own first.
    async fn hand_in_interrupted(&mut self, mut finished: Vec<Finished>) -> Result<(), Exit> {
        loop {
            let batch = take_batch(&mut finished);
            let results = batch.iter().map(|finished| finished.result.clone()).collect();
            if finished.is_empty() {
                let written = self.write_interruption(None, results).await?;
                if matches!(written, Written::Applied(_)) {
                    batch.into_iter().filter_map(|finished| finished.live).for_each(LiveStream::commit);
                }
                return written.settled();
            }
            let known_history = self.versions.history;
            match self.write(Write::CommitToolResults(results)).await? {
                Written::Applied(outcome) => self.store(batch, &outcome, known_history),
                other => return other.settled(),
            }
        }
    }
}

impl Calls {
    fn want(&mut self, signal: Signal, interrupt_grace: Duration) {
        self.wanted = Some(signal);
        match signal {
            Signal::Reload => {}
            Signal::GiveBack => self.let_go(),
            Signal::Interrupt => {
                self.reading = None;
                self.stopping.cancel();
                self.let_go_at = Some(Instant::now() + interrupt_grace);
            }
        }
    }

    /// Lets go of what runs; what becomes of it is the control plane's to say.
    fn let_go(&mut self) {
        self.reading = None;
        self.running = futures::stream::empty().boxed();
        self.all_ended = true;
    }
}

/// As many results as one write takes, at least one.
fn take_batch(finished: &mut Vec<Finished>) -> Vec<Finished> {
    let mut bytes = 0;
    let fits = |finished: &&Finished| {
        bytes += finished.result.output.len();
        bytes <= RESULTS_BYTES_MAX
    };
    let count = finished.iter().take(RESULTS_MAX).take_while(fits).count().max(1).min(finished.len());
    let rest = finished.split_off(count);
    mem::replace(finished, rest)
}

/// Runs single calls.
struct CallRunner {
    context: Context,
    holder: Holder,
    opener: StreamOpener,
    tools: Toolbox,
    stopping: CancellationToken,
}

impl CallRunner {
    /// Runs a call to its end; none when the work stopped before.
    async fn run(
        &self,
        call: OpenCall,
        known_history: watch::Receiver<i64>,
        mut control: watch::Receiver<Control>,
    ) -> Result<Option<Finished>, Exit> {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => return Ok(None),
            // Its owner ends this with everything else.
            _ = control.wait_for(|control| control.may_start) => {}
        }
        let since = Instant::now();
        let ended = match self.tools.check(&call) {
            Ok(()) => {
                let duration_max = self.context.limits.tool_duration_max;
                let ran = timeout(duration_max, self.insist(&call, &known_history)).await;
                ran.unwrap_or_else(|_| Ok(Some((overdue(duration_max), None))))?
            }
            Err(end) => Some((end, None)),
        };
        let finished = |(ToolEnd { output, is_error }, live)| {
            let output = tools::cut(output);
            let result = NewResult { call: call.id, output, is_error, runtime: since.elapsed() };
            Finished { result, live }
        };
        Ok(ended.map(finished))
    }

    /// Asks for the call until there is an answer, or until patience ends. Repeating is safe:
    /// the workspace agent knows calls by their ids. Once the work stops nothing is repeated:
    /// what became of the call is then the control plane's to say.
    async fn insist(
        &self,
        call: &OpenCall,
        known_history: &watch::Receiver<i64>,
    ) -> Result<Option<(ToolEnd, Option<LiveStream>)>, Exit> {
        let mut failing_since = None;
        let mut failures = 0;
        loop {
            // A stream of its own for each try that writes: repeated output may not join on.
            let mut live = None;
            let known = *known_history.borrow();
            let on_output = |data: Bytes| live.get_or_insert_with(|| self.open_stream(call)).append(&data);
            match self.context.client.call_tool(&self.holder, known, call, on_output).await {
                Ok(end) => return Ok(Some((end, live))),
                Err(CallError::LeaseLost) => return Err(Exit::Lost),
                Err(CallError::Refused { code, reason }) => {
                    tracing::warn!(chat_id = %self.holder.key.chat_id, ?code, reason, "a tool call was refused");
                    return Ok(Some((refused(&reason), None)));
                }
                // Stale too: a result committed beside this call has moved the history.
                Err(CallError::Unavailable { .. } | CallError::Stale) => {}
            }
            if live.is_some() {
                failing_since = None;
                failures = 0;
            }
            failures += 1;
            if failing_since.get_or_insert_with(Instant::now).elapsed() >= self.context.limits.call_patience {
                return Ok(Some((unreachable(), None)));
            }
            let pause = self.context.limits.rewrite.pause(failures, rand::random());
            if timeout(pause, self.stopping.cancelled()).await.is_ok() {
                return Ok(None);
            }
        }
    }

    fn open_stream(&self, call: &OpenCall) -> LiveStream {
        let live = self.opener.open();
        live.start_part(LivePartKind::ToolOutput { tool_name: call.tool_name.clone(), call: call.id });
        live
    }
}

fn refused(reason: &str) -> ToolEnd {
    ToolEnd::error(match reason {
        "WORKSPACE_NOT_FOUND" | "ACTION_FORBIDDEN" => {
            "The tool did not run: the chat's workspace may not be used.".to_owned()
        }
        _ => format!("The tool could not be run ({reason})."),
    })
}

fn unreachable() -> ToolEnd {
    ToolEnd::error("The workspace could not be reached. Whether the tool ran is unknown.")
}

fn overdue(duration_max: Duration) -> ToolEnd {
    let minutes = duration_max.as_secs() / 60;
    ToolEnd::error(format!(
        "The tool did not end within {minutes} minutes. Whether it still runs is unknown."
    ))
}
