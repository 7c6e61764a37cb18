//! Commands of the lease holder.
//!
//! The order of the checks matters: a replay is answered before staleness is looked
//! at, or a lost reply would come back as a false SUPERSEDED.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{forbid, invalid, summary, unchanged};
use crate::{
    ANSWER_BYTES_MAX, ATTEMPTS_MAX, Answer, COMMIT_BYTES_MAX, CallKind, Chat, ChatError, CommitStep, Context,
    Decision, Disposition, Execution, FinishedCall, HolderCommand, HolderWrite, NextStep, Outcome, PARTS_MAX,
    Rejection, Retry, SyntheticReason, TOOL_OUTPUT_BYTES_MAX, ToolResult, WriteHeader,
    draft::{Draft, attempts_exhausted},
    turn_summary,
};

pub(super) fn decide(chat: &Chat, command: HolderCommand, context: Context) -> Result<Decision, Rejection> {
    let HolderCommand { header, write } = command;
    if let Some(replay) = check_header(chat, &header)? {
        return Ok(replay);
    }
    let mut draft = Draft::new(chat, context);
    let disposition = match write {
        HolderWrite::CommitStep(step) => commit_step(&mut draft, step)?,
        HolderWrite::CommitToolResults(results) => commit_tool_results(&mut draft, results)?,
        HolderWrite::RecordRetry { error, delay } => {
            if chat.execution != Execution::Leased {
                return Err(forbid(chat, "RecordRetry"));
            }
            let next_attempt_time =
                time_after(&draft, delay).ok_or_else(|| invalid("delay_ms", "it is too long"))?;
            record_retry(&mut draft, error, next_attempt_time)
        }
        HolderWrite::FinishInterruption { partial, results } => {
            if !matches!(chat.execution, Execution::Interrupting { .. }) {
                return Err(forbid(chat, "FinishInterruption"));
            }
            check_size(partial.as_ref(), &results)?;
            store_results(&mut draft, results)?;
            if let Some(partial) = partial {
                store_answer(&mut draft, Answer { interrupted: true, ..partial }, None)?;
            }
            finish_interruption(&mut draft)
        }
        HolderWrite::Fail(error) => {
            if matches!(chat.execution, Execution::Interrupting { .. }) {
                finish_interruption(&mut draft)
            } else {
                draft.stop_with(error);
                Disposition::Released
            }
        }
        HolderWrite::Release => {
            if matches!(chat.execution, Execution::Interrupting { .. }) {
                draft.end_interrupted(SyntheticReason::Interrupted);
                draft.run_head_or_wait();
            } else {
                draft.run();
            }
            Disposition::Released
        }
    };
    Ok(draft.finish_written(header.write_no, disposition))
}

/// Fence, replay, number, lease, history: in this order.
fn check_header(chat: &Chat, header: &WriteHeader) -> Result<Option<Decision>, Rejection> {
    let lease = chat.last_lease.as_ref().ok_or(Rejection::LeaseLost)?;
    if lease.fence != header.fence || lease.session != header.session {
        return Err(Rejection::LeaseLost);
    }
    let last_no = lease.last_write.map_or(0, |last| last.write_no);
    if let Some(last) = lease.last_write
        && last.write_no == header.write_no
    {
        return Ok(Some(unchanged(chat, Outcome::Replayed(last.outcome))));
    }
    if header.write_no != last_no + 1 {
        return Err(invalid("write_no", &format!("the next write of this lease is number {}", last_no + 1)));
    }
    if chat.live_lease().is_none() {
        return Err(Rejection::LeaseLost);
    }
    if header.history_version != chat.versions.history {
        return Err(Rejection::Superseded);
    }
    Ok(None)
}

fn commit_step(draft: &mut Draft<'_>, step: CommitStep) -> Result<Disposition, Rejection> {
    let CommitStep { answer, next, journal, summary } = step;
    if matches!(draft.chat.execution, Execution::Interrupting { .. }) {
        if let Some(answer) = answer {
            store_answer(draft, answer, journal)?;
        }
        return Ok(finish_interruption(draft));
    }
    if answer.is_none() {
        check_without_answer(&draft.chat, next, summary.is_some())?;
    }
    if let Some(summary) = summary {
        summary::check(draft, &summary)?;
        summary::store(draft, summary);
    }
    let turn_summary = answer.as_ref().map(turn_summary::of_answer);
    if let Some(answer) = answer {
        store_answer(draft, answer, journal)?;
    }
    go_on(draft, next, turn_summary)
}

/// A summary takes the place of an answer where the turn waited for it, and where it was
/// asked for.
fn check_without_answer(chat: &Chat, next: NextStep, summarized: bool) -> Result<(), Rejection> {
    if summarized && !chat.open_calls.is_empty() {
        return Err(invalid("summary", "every call of the last answer needs a result first"));
    }
    match next {
        NextStep::Suspend => Ok(()),
        NextStep::Continue if summarized => Ok(()),
        NextStep::Finish if summarized && chat.compact_requested => Ok(()),
        NextStep::Finish if summarized => {
            Err(invalid("answer", "only a summary that was asked for ends a turn; else NEXT_STEP_CONTINUE"))
        }
        NextStep::Continue | NextStep::Finish => {
            Err(invalid("answer", "only NEXT_STEP_SUSPEND goes without an answer or a summary"))
        }
    }
}

fn go_on(
    draft: &mut Draft<'_>,
    next: NextStep,
    turn_summary: Option<String>,
) -> Result<Disposition, Rejection> {
    let open = &draft.chat.open_calls;
    match next {
        NextStep::Finish if !open.is_empty() => {
            Err(invalid("next", "a turn with open calls goes on: NEXT_STEP_CONTINUE or NEXT_STEP_SUSPEND"))
        }
        NextStep::Continue => {
            if open.is_empty() {
                draft.enter_steering();
            }
            Ok(Disposition::Continues)
        }
        NextStep::Finish => Ok(finish_turn(draft, turn_summary)),
        NextStep::Suspend => {
            if open.is_empty() || open.iter().any(|call| call.kind == CallKind::Worker) {
                return Err(invalid(
                    "next",
                    "a chat is suspended when its only open calls are those of clients, persons or sub-agents",
                ));
            }
            let timeout = draft.chat.settings.action_timeout;
            let deadline = time_after(draft, timeout).ok_or_else(|| invalid("next", "it waits too long"))?;
            draft.suspend(deadline);
            Ok(Disposition::Released)
        }
    }
}

/// Steering extends the turn, the head starts the next, and else the chat waits. A turn
/// that made nothing but a summary leaves the line of the turn before.
fn finish_turn(draft: &mut Draft<'_>, turn_summary: Option<String>) -> Disposition {
    if draft.enter_steering() {
        return Disposition::Continues;
    }
    if let Some(line) = turn_summary {
        draft.end_turn(line);
    }
    if draft.enter_head() {
        draft.chat.retry = None;
        Disposition::NextTurn
    } else {
        draft.wait();
        Disposition::Released
    }
}

fn commit_tool_results(draft: &mut Draft<'_>, results: Vec<FinishedCall>) -> Result<Disposition, Rejection> {
    if results.is_empty() {
        return Err(invalid("results", "at least one result is needed"));
    }
    check_size(None, &results)?;
    store_results(draft, results)?;
    let running = draft.chat.execution == Execution::Leased;
    if running && draft.chat.open_calls.is_empty() {
        draft.enter_steering();
    }
    Ok(Disposition::Continues)
}

fn record_retry(draft: &mut Draft<'_>, error: ChatError, next_attempt_time: DateTime<Utc>) -> Disposition {
    if draft.chat.attempt >= ATTEMPTS_MAX {
        draft.stop_with(attempts_exhausted(Some(&error)));
        return Disposition::Released;
    }
    draft.chat.attempt += 1;
    draft.chat.retry = Some(Retry { error, attempt: draft.chat.attempt, next_attempt_time });
    Disposition::Continues
}

/// What is open is closed; exactly one message, the head, enters.
fn finish_interruption(draft: &mut Draft<'_>) -> Disposition {
    draft.end_interrupted(SyntheticReason::Interrupted);
    if draft.enter_head() {
        draft.keep_lease();
        Disposition::NextTurn
    } else {
        draft.wait();
        Disposition::Released
    }
}

/// The bound of a commit in all; an answer and each result have their own beside it.
fn check_size(answer: Option<&Answer>, results: &[FinishedCall]) -> Result<(), Rejection> {
    let results_bytes: usize = results.iter().map(|result| result.output.len()).sum();
    if answer.map_or(0, Answer::content_bytes) + results_bytes > COMMIT_BYTES_MAX {
        let description =
            format!("a commit has at most {COMMIT_BYTES_MAX} bytes; hand in fewer results at once");
        return Err(invalid("results", &description));
    }
    Ok(())
}

fn store_answer(
    draft: &mut Draft<'_>,
    answer: Answer,
    journal: Option<crate::JournalId>,
) -> Result<(), Rejection> {
    if !draft.chat.open_calls.is_empty() {
        return Err(invalid("answer", "every call of the last answer needs a result first"));
    }
    if answer.parts.len() > PARTS_MAX {
        return Err(invalid("answer", &format!("an answer has at most {PARTS_MAX} parts")));
    }
    if answer.content_bytes() > ANSWER_BYTES_MAX {
        return Err(invalid("answer", &format!("an answer has at most {ANSWER_BYTES_MAX} bytes")));
    }
    draft.commit_answer(answer, journal);
    Ok(())
}

fn store_results(draft: &mut Draft<'_>, results: Vec<FinishedCall>) -> Result<(), Rejection> {
    for result in results {
        if result.output.len() > TOOL_OUTPUT_BYTES_MAX {
            let description = format!("an output has at most {TOOL_OUTPUT_BYTES_MAX} bytes");
            return Err(invalid("results", &description));
        }
        let open = draft.chat.open_calls.iter().find(|open| open.id == result.call);
        if open.is_none_or(|open| open.kind != CallKind::Worker) {
            return Err(invalid("results", "each result must name an open call of the worker's, once"));
        }
        draft.settle(result.call, |open| ToolResult {
            call: open.id,
            tool_name: open.tool_name.clone(),
            output: result.output,
            is_error: result.is_error,
            synthetic: None,
            runtime_ms: result.runtime_ms,
        });
        draft.count_committed();
    }
    Ok(())
}

/// None where the calendar ends.
fn time_after(draft: &Draft<'_>, duration: Duration) -> Option<DateTime<Utc>> {
    let delta = TimeDelta::from_std(duration).ok()?;
    draft.now().checked_add_signed(delta)
}
