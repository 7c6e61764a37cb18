//! Page tokens: opaque to clients, readable for us.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chatplane_domain::WorkspaceId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::app::{Error, ListPosition};

/// No other token of ours is longer.
const TOKEN_BYTES_MAX: usize = 1024;
/// A token of a search names the chats that were shown: up to 1,000, with 29 bytes each.
const LIST_TOKEN_BYTES_MAX: usize = 32 * 1024;

#[derive(Serialize, Deserialize)]
struct List {
    /// Of the filter: what comes after a page of one list is nowhere in another.
    q_sha256: String,
    after: ListPosition,
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
struct DebugRuns {
    debug_run_id: Uuid,
}

#[derive(Serialize, Deserialize)]
struct DebugSteps {
    debug_step: i32,
}

#[derive(Serialize, Deserialize)]
struct Workspaces {
    workspace_id: Uuid,
}

pub(crate) fn of_list(q: &str, after: ListPosition) -> String {
    write(&List { q_sha256: hashed(q), after })
}

/// Where the page of this filter begins.
pub(crate) fn list(token: &str, q: &str) -> Result<Option<ListPosition>, Error> {
    let Some(list) = read_within::<List>(token, LIST_TOKEN_BYTES_MAX)? else {
        return Ok(None);
    };
    if list.q_sha256 != hashed(q) {
        return Err(Error::invalid("page_token", "it belongs to a list with another `q`"));
    }
    if !list.after.is_possible() {
        return Err(invalid());
    }
    Ok(Some(list.after))
}

fn hashed(q: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(q))
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

pub(crate) fn of_debug_runs(last: Uuid) -> String {
    write(&DebugRuns { debug_run_id: last })
}

/// The last run of the page before.
pub(crate) fn debug_runs(token: &str) -> Result<Option<Uuid>, Error> {
    Ok(read::<DebugRuns>(token)?.map(|token| token.debug_run_id))
}

pub(crate) fn of_debug_steps(last: i32) -> String {
    write(&DebugSteps { debug_step: last })
}

/// The last step of the page before.
pub(crate) fn debug_steps(token: &str) -> Result<Option<i32>, Error> {
    Ok(read::<DebugSteps>(token)?.map(|token| token.debug_step))
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
    read_within(token, TOKEN_BYTES_MAX)
}

fn read_within<T: DeserializeOwned>(token: &str, bytes_max: usize) -> Result<Option<T>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    if token.len() > bytes_max {
        return Err(invalid());
    }
    let json = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    serde_json::from_slice(&json).map(Some).map_err(|_| invalid())
}
