//! From a history to the next step. Pure: no I/O, no clock, no chance.

mod answer;
mod history;
mod prompt;
#[cfg(test)]
mod tests;

use chatplane_domain::{ChatError, ErrorKind};

pub(crate) use answer::{After, after, check, partial};
pub(crate) use history::{CallId, Content, History, Message, OpenCall};
pub(crate) use prompt::Prompt;

/// What a lease holder does next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    /// Calls the model.
    CallModel(Prompt),
    /// Runs the calls that have no result.
    RunTools(Vec<OpenCall>),
}

/// Reads off a history what comes next. A runnable chat always has a next step: what
/// ends a turn is the write of its last answer.
pub(crate) fn next(history: &History, model_calls_max: usize) -> Result<Next, ChatError> {
    let open = history.open_calls();
    if !open.is_empty() {
        return Ok(Next::RunTools(open));
    }
    if history.answers_of_turn() >= model_calls_max {
        return Err(turn_limit(model_calls_max));
    }
    Ok(Next::CallModel(prompt::build(history)))
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
