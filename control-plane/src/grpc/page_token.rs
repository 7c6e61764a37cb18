//! Page tokens: opaque to clients, readable for us.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chatplane_domain::{ChatId, WorkspaceId};
use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::app::{ChatPosition, Error};

/// No token of ours is longer.
const TOKEN_BYTES_MAX: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Chats {
    archived: bool,
    update_time: DateTime<Utc>,
    chat_id: ChatId,
}

#[derive(Serialize, Deserialize)]
struct Models {
    model: String,
}

#[derive(Serialize, Deserialize)]
struct Thresholds {
    threshold_model: String,
}

#[derive(Serialize, Deserialize)]
struct Queue {
    queue_position: i64,
}

#[derive(Serialize, Deserialize)]
struct Workspaces {
    workspace_id: Uuid,
}

pub(crate) fn of_chats(archived: bool, last: ChatPosition) -> String {
    write(&Chats { archived, update_time: last.update_time, chat_id: last.chat_id })
}

pub(crate) fn chats(token: &str, archived: bool) -> Result<Option<ChatPosition>, Error> {
    let Some(chats) = read::<Chats>(token)? else {
        return Ok(None);
    };
    if chats.archived != archived {
        return Err(Error::invalid("page_token", "it belongs to a list with another `archived`"));
    }
    // A forged time beyond these is none that PostgreSQL takes.
    if !(1970..=9999).contains(&chats.update_time.year()) {
        return Err(invalid());
    }
    Ok(Some(ChatPosition { update_time: chats.update_time, chat_id: chats.chat_id }))
}

pub(crate) fn of_models(last: &str) -> String {
    write(&Models { model: last.to_owned() })
}

pub(crate) fn models(token: &str) -> Result<Option<String>, Error> {
    Ok(read::<Models>(token)?.map(|token| token.model))
}

pub(crate) fn of_thresholds(last: &str) -> String {
    write(&Thresholds { threshold_model: last.to_owned() })
}

pub(crate) fn thresholds(token: &str) -> Result<Option<String>, Error> {
    let after = read::<Thresholds>(token)?.map(|token| token.threshold_model);
    // A forged name beyond these is none that PostgreSQL takes.
    if after.as_ref().is_some_and(|model| model.contains('\0')) {
        return Err(invalid());
    }
    Ok(after)
}

pub(crate) fn of_queue(last: i64) -> String {
    write(&Queue { queue_position: last })
}

/// The position of the last queued message of the page before.
pub(crate) fn queue(token: &str) -> Result<Option<i64>, Error> {
    Ok(read::<Queue>(token)?.map(|token| token.queue_position))
}

pub(crate) fn of_workspaces(last: WorkspaceId) -> String {
    write(&Workspaces { workspace_id: last.0 })
}

pub(crate) fn workspaces(token: &str) -> Result<Option<WorkspaceId>, Error> {
    Ok(read::<Workspaces>(token)?.map(|token| WorkspaceId(token.workspace_id)))
}

fn invalid() -> Error {
    Error::invalid("page_token", "use the next_page_token of the page before, unchanged")
}

fn write<T: Serialize>(position: &T) -> String {
    let json = serde_json::to_vec(position).expect("positions are plain structs");
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

fn read<T: DeserializeOwned>(token: &str) -> Result<Option<T>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(invalid());
    }
    let json = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    serde_json::from_slice(&json).map(Some).map_err(|_| invalid())
}
