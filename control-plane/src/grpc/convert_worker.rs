//! Between `chatplane.worker.v1` and our own types. Nothing else converts them.

mod debug;
mod jobs;
mod session;
mod turn;
mod writes;

use std::time::Duration;

use chatplane_domain::{CallId, ChatId, Fence, MessageId, SessionId};
use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};

use super::convert;
use crate::{app::Error, scheduler::LeaseKey};

pub(crate) use debug::debug_step;
pub(crate) use jobs::finish_job;
pub(crate) use session::{from_worker, open, to_worker};
pub(crate) use turn::{call_tool, get_turn, outcome, read_file, tool_piece, turn_piece};
pub(crate) use writes::{
    commit_step, commit_tool_results, fail, finish_interruption, record_retry, release, report_usage,
};

fn session_id(field: &str, text: &str) -> Result<SessionId, Error> {
    convert::uuid(field, text).map(SessionId)
}

fn lease_key(field: &str, key: Option<proto::LeaseKey>) -> Result<LeaseKey, Error> {
    let key = key.ok_or_else(|| Error::invalid(field, "it is required"))?;
    let chat = ChatId(convert::uuid(&format!("{field}.chat_id"), &key.chat_id)?);
    Ok(LeaseKey { chat, fence: fence(&format!("{field}.fence"), key.fence)? })
}

fn fence(field: &str, fence: i64) -> Result<Fence, Error> {
    Ok(Fence(positive(field, fence)?))
}

fn positive(field: &str, number: i64) -> Result<i64, Error> {
    if number < 1 {
        return Err(Error::invalid(field, "it counts up from 1"));
    }
    Ok(number)
}

fn call_id(field: &str, call: Option<chat::CallId>) -> Result<CallId, Error> {
    let call = call.ok_or_else(|| Error::invalid(field, "it is required"))?;
    if call.message_id < 1 || call.call_index < 0 {
        return Err(Error::invalid(field, "message_id counts from 1, call_index from 0"));
    }
    Ok(CallId { message: MessageId(call.message_id), index: call.call_index })
}

fn key_of(key: LeaseKey) -> proto::LeaseKey {
    proto::LeaseKey { chat_id: key.chat.to_string(), fence: key.fence.0 }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
