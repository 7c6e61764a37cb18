//! From a history to the next step. Pure: no I/O, no clock, no chance.

mod answer;
mod compaction;
mod history;
mod prompt;
#[cfg(test)]
mod tests;

use chatplane_domain::{ChatError, ErrorKind};

pub(crate) use answer::{After, after, check, partial};
use compaction::Due;
pub(crate) use compaction::{Compaction, InVain, SummaryPlan, not_accepted, refused, summary_text};
pub(crate) use history::{CallId, Content, History, Message, OpenCall, PastAnswer};
pub(crate) use prompt::{Instructions, Prompt};

/// What a lease holder does next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    /// Calls the model; a summary may be due beside it.
    CallModel { prompt: Prompt, beside: Option<SummaryPlan> },
    /// Runs the calls that have no result.
    RunTools(Vec<OpenCall>),
    /// Summarizes before anything else.
    Summarize(SummaryPlan),
    /// Gives the chat back: somebody else settles its open calls.
    Suspend,
}

/// What the next step depends on beside the history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) instructions: Instructions<'a>,
    /// Model calls that a turn may have.
    pub(crate) model_calls_max: usize,
    /// Answers of this turn that a summary took the place of.
    pub(crate) answers_summarized: usize,
    pub(crate) compaction: Compaction,
}

/// Reads off a history what comes next. A runnable chat always has a next step: what
/// ends a turn is the write of its last answer.
pub(crate) fn next(history: &History, situation: &Situation<'_>) -> Result<Next, ChatError> {
    let rows = history.rows();
    let mut open = rows.open_calls();
    if !open.is_empty() {
        open.retain(|call| !call.is_clients);
        return Ok(if open.is_empty() { Next::Suspend } else { Next::RunTools(open) });
    }
    let Situation { instructions, model_calls_max, answers_summarized, compaction } = situation;
    let is_used_up = rows.answers_of_turn(*answers_summarized) >= *model_calls_max;
    if is_used_up && !compaction.is_requested {
        return Err(turn_limit(*model_calls_max));
    }
    let beside = match compaction::due(&rows, *instructions, compaction)? {
        Due::Now(plan) => return Ok(Next::Summarize(plan)),
        Due::Beside(plan) => Some(plan),
        Due::No => None,
    };
    Ok(Next::CallModel { prompt: prompt::build(&rows, *instructions), beside })
}

fn turn_limit(model_calls_max: usize) -> ChatError {
    ChatError {
        kind: ErrorKind::TurnLimit,
        message: format!("The turn has used its {model_calls_max} model calls. Send a message to go on."),
        detail: String::new(),
        provider: String::new(),
        status_code: None,
        retryable: false,
    }
}
