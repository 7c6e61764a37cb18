//! What model calls were, as workers hand it in.

use chatplane_domain::MessageId;
use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};
use chrono::{DateTime, Utc};
use prost_types::Timestamp;

use super::{
    convert, fence, positive, session_id,
    writes::{NAME_CHARS_MAX, chat_error, cut, usage},
};
use crate::app::{DebugAttempt, DebugStep, Error, HandedIn};

/// Bytes of what was asked, and of what was answered.
const JSON_BYTES_MAX: usize = 1024 * 1024;
/// Tries of a model call: more than there are under all leases of a turn together.
const ATTEMPTS_MAX: usize = 100;

pub(crate) fn debug_step(request: proto::RecordDebugStepRequest) -> Result<HandedIn, Error> {
    let step = request.step.ok_or_else(|| Error::invalid("step", "it is required"))?;
    Ok(HandedIn {
        chat: convert::chat_id(&request.chat_id)?,
        session: session_id("session_id", &request.session_id)?,
        fence: fence("fence", request.fence)?,
        model_call: positive("model_call", request.model_call)?,
        trigger: message("trigger_message_id", request.trigger_message_id)?,
        run_history_tip: message("run_history_tip_message_id", request.run_history_tip_message_id)?,
        step: self::step(step)?,
    })
}

fn step(step: chat::DebugStep) -> Result<DebugStep, Error> {
    for (field, json) in [("request_json", &step.request_json), ("response_json", &step.response_json)] {
        if json.len() > JSON_BYTES_MAX {
            let description = format!("at most {JSON_BYTES_MAX} bytes; cut it and say so in `truncated`");
            return Err(Error::invalid(format!("step.{field}"), description));
        }
    }
    if step.attempts.len() > ATTEMPTS_MAX {
        return Err(Error::invalid("step.attempts", format!("at most {ATTEMPTS_MAX} tries")));
    }
    Ok(DebugStep {
        assistant_message: message("step.assistant_message_id", step.assistant_message_id)?,
        history_tip: message("step.history_tip_message_id", step.history_tip_message_id)?,
        model: cut(step.model, NAME_CHARS_MAX),
        request_json: step.request_json,
        response_json: step.response_json,
        truncated: step.truncated,
        usage: usage("step.usage", step.usage)?,
        attempts: step.attempts.into_iter().map(attempt).collect::<Result<_, _>>()?,
        error: step.error.map(|error| chat_error(Some(error))).transpose()?,
        start_time: time("step.start_time", step.start_time)?,
        first_token_ms: lasted("step.first_token_ms", step.first_token_ms)?,
        duration_ms: lasted("step.duration_ms", step.duration_ms)?,
    })
}

fn attempt(attempt: chat::DebugAttempt) -> Result<DebugAttempt, Error> {
    Ok(DebugAttempt {
        attempt: attempt.attempt,
        duration_ms: lasted("step.attempts.duration_ms", attempt.duration_ms)?,
        error: attempt.error.map(|error| chat_error(Some(error))).transpose()?,
    })
}

/// A message by its id; 0 for none.
fn message(field: &str, id: i64) -> Result<Option<MessageId>, Error> {
    convert::message_bound(field, id)
}

fn lasted(field: &str, ms: i64) -> Result<i64, Error> {
    if ms < 0 {
        return Err(Error::invalid(field, "it is not negative"));
    }
    Ok(ms)
}

fn time(field: &str, time: Option<Timestamp>) -> Result<DateTime<Utc>, Error> {
    let time = time.ok_or_else(|| Error::invalid(field, "it is required"))?;
    let nanos = u32::try_from(time.nanos).ok();
    nanos
        .and_then(|nanos| DateTime::from_timestamp(time.seconds, nanos))
        .ok_or_else(|| Error::invalid(field, "it is a time that the calendar knows"))
}
