//! Whether what a watcher was told is what the database said.

use std::collections::{BTreeMap, BTreeSet};

use chatplane_proto::chat::v1::{self as proto, ChatChange};
use serde_json::{Value, json};

use crate::{
    journal::{History, Version},
    transcript::{Told, Transcript},
};

/// Which versions of a chat's rows a picture shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    chat: usize,
    metadata: usize,
    user: usize,
}

/// What is wrong with a transcript, given the histories of all chats.
pub(crate) fn faults(transcript: &Transcript, histories: &BTreeMap<String, History>) -> Vec<String> {
    let mut last: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
    let mut deleted: BTreeSet<&str> = BTreeSet::new();
    let mut faults = Vec::new();
    for told in &transcript.told {
        let chat = told.chat_id();
        let Some(history) = histories.get(chat).filter(|history| history.owner == transcript.owner) else {
            faults.push(format!("{chat} is told to somebody who does not own it"));
            continue;
        };
        match told {
            Told::Deleted(_) => {
                deleted.insert(chat);
                if !history.chat.iter().any(|version| version.said["is_deleted"] == true) {
                    faults.push(format!("{chat} is told as deleted, and is there"));
                }
            }
            Told::Changed { .. } if deleted.contains(chat) => {
                faults.push(format!("{chat} is told after its deletion"));
            }
            Told::Changed { chat: picture, changes } => {
                let before = last.get(chat).map_or(&[] as &[Place], Vec::as_slice);
                match next(picture, changes, history, before) {
                    Ok(places) => drop(last.insert(chat, places)),
                    Err(fault) => faults.push(format!("{chat}: {fault}")),
                }
            }
        }
    }
    faults
}

/// Where a picture can be, after the places where the last one can have been: a pin that comes
/// and goes looks the same at many of them. None of before is the first picture of all.
fn next(
    picture: &proto::Chat,
    changes: &[ChatChange],
    history: &History,
    before: &[Place],
) -> Result<Vec<Place>, String> {
    let moments = moments(picture, history);
    if moments.is_empty() {
        return Err(format!("this was never so: {picture:?}"));
    }
    let is_later = |from: &Place, to: &Place| {
        from.chat <= to.chat && from.metadata <= to.metadata && from.user <= to.user
    };
    let is_possible = |to: &Place| {
        let comes_first = before.is_empty() && missing(history, None, *to, changes).is_empty();
        let follows =
            |from: &Place| is_later(from, to) && missing(history, Some(*from), *to, changes).is_empty();
        comes_first || before.iter().any(follows)
    };
    let possible: Vec<Place> = moments.iter().copied().filter(is_possible).collect();
    if possible.is_empty() {
        return Err(format!("from {before:?} to {moments:?} this is not all: {changes:?} in {history:?}"));
    }
    Ok(possible)
}

/// The moments at which a picture was true.
fn moments(picture: &proto::Chat, history: &History) -> Vec<Place> {
    let (of_chat, of_metadata, of_user) = (chat_said(picture), metadata_said(picture), user_said(picture));
    let files: BTreeSet<String> = picture.files.iter().map(|file| file.file_id.clone()).collect();
    let matching = |versions: &[Version], said: &Value| -> Vec<usize> {
        (0..versions.len()).filter(|place| versions[*place].said == *said).collect()
    };
    let (metadata, users) = (matching(&history.metadata, &of_metadata), matching(&history.user, &of_user));
    let mut moments = Vec::new();
    for chat in matching(&history.chat, &of_chat).into_iter().filter(|place| history.files[*place] == files) {
        for metadata in &metadata {
            let places = users.iter().map(|user| Place { chat, metadata: *metadata, user: *user });
            moments.extend(places.filter(|place| is_of_one_moment(history, *place)));
        }
    }
    moments
}

/// What one transaction wrote is seen as a whole, or not at all.
fn is_of_one_moment(history: &History, place: Place) -> bool {
    let rows =
        [(&history.chat, place.chat), (&history.metadata, place.metadata), (&history.user, place.user)];
    let seen: BTreeSet<i64> = rows
        .iter()
        .flat_map(|(versions, place)| versions[..=*place].iter().map(|version| version.xid))
        .collect();
    rows.iter()
        .all(|(versions, place)| versions[place + 1..].iter().all(|version| !seen.contains(&version.xid)))
}

/// Kinds of changes that lie between two pictures and were not told.
fn missing(history: &History, before: Option<Place>, now: Place, changes: &[ChatChange]) -> Vec<ChatChange> {
    let from = before.unwrap_or_default();
    let mut due = BTreeSet::new();
    if before.is_none() {
        due.insert(ChatChange::Created);
    }
    let mut compare = |versions: &[Version], from: usize, to: usize, fields: &[&str], change: ChatChange| {
        let differs = |place: usize| {
            fields.iter().any(|field| versions[place].said[*field] != versions[place - 1].said[*field])
        };
        if (from + 1..=to).any(differs) {
            due.insert(change);
        }
    };
    let is_archived = history.chat[now.chat].said["archived"] == true;
    let archived = if is_archived { ChatChange::Archived } else { ChatChange::Unarchived };
    compare(&history.chat, from.chat, now.chat, &["archived"], archived);
    compare(&history.chat, from.chat, now.chat, &["state"], ChatChange::State);
    compare(&history.chat, from.chat, now.chat, &["last_turn_summary"], ChatChange::Summary);
    compare(&history.chat, from.chat, now.chat, &["open_call_count"], ChatChange::ActionRequired);
    compare(&history.metadata, from.metadata, now.metadata, &["title", "labels"], ChatChange::Metadata);
    let read = ["read_message_id", "has_unread"];
    compare(&history.user, from.user, now.user, &read, ChatChange::ReadState);
    compare(&history.user, from.user, now.user, &["pin_order"], ChatChange::Pin);
    due.into_iter().filter(|change| !changes.contains(change)).collect()
}

fn chat_said(chat: &proto::Chat) -> Value {
    let micros = |time: prost_types::Timestamp| time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000;
    let name = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_lowercase();
    json!({
        "snapshot_version": chat.snapshot_version,
        "history_version": chat.history_version,
        "queue_version": chat.queue_version,
        "state": name(chat.state().as_str_name(), "CHAT_STATE_"),
        "archived": chat.archived,
        "model": chat.model,
        "effort": name(chat.effort().as_str_name(), "EFFORT_"),
        "queue_length": chat.queue_length,
        "last_turn_summary": chat.last_turn_summary,
        "compact_requested": chat.compact_requested,
        "client_tools": chat.client_tool_names,
        "action_timeout_ms": chat.action_timeout_ms,
        "open_call_count": chat.action_required.as_ref().map_or(0, |required| required.calls.len()),
        "has_error": chat.last_error.is_some(),
        "has_retry": chat.retry.is_some(),
        "update_us": chat.update_time.map(micros),
        "archive_us": chat.archive_time.map(micros),
        "is_deleted": false,
    })
}

fn metadata_said(chat: &proto::Chat) -> Value {
    json!({ "metadata_version": chat.metadata_version, "title": chat.title, "labels": chat.labels })
}

fn user_said(chat: &proto::Chat) -> Value {
    json!({
        "pin_order": chat.pin_order,
        "read_message_id": chat.read_message_id,
        "has_unread": chat.has_unread,
    })
}
