//! Whether what a watcher was told is what the database said.

use std::collections::{BTreeMap, BTreeSet};

use chatplane_proto::chat::v1::{self as proto, ChatChange};
use serde_json::Value;

use crate::{
    journal::{History, Version},
    kinds, picture,
    transcript::{Told, Transcript},
};

/// Which versions of a chat's rows a picture shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) chat: usize,
    pub(crate) metadata: usize,
    pub(crate) user: usize,
}

/// What was told of a chat last.
#[derive(Debug)]
struct Last {
    /// Where it can have been: a pin that comes and goes looks the same at many places.
    places: Vec<Place>,
    stream: usize,
}

/// A chat as it is told.
struct Telling<'a> {
    history: &'a History,
    picture: &'a proto::Chat,
    changes: BTreeSet<ChatChange>,
    /// None the first time of all.
    last: Option<&'a Last>,
    stream: usize,
    /// The stream's cursor had told what transactions below this one wrote.
    told: i64,
}

/// What is wrong with a transcript, given the histories of all chats.
pub(crate) fn faults(transcript: &Transcript, histories: &BTreeMap<String, History>) -> Vec<String> {
    let mut last: BTreeMap<&str, Last> = BTreeMap::new();
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
            Told::Changed { chat: picture, changes, stream } => {
                let telling = Telling {
                    history,
                    picture,
                    changes: changes.iter().copied().collect(),
                    last: last.get(chat),
                    stream: *stream,
                    told: transcript.streams[*stream - 1],
                };
                match telling.places() {
                    Ok(places) => drop(last.insert(chat, Last { places, stream: *stream })),
                    Err(fault) => faults.push(format!("{chat}: {fault}")),
                }
            }
        }
    }
    faults
}

impl Telling<'_> {
    /// Where the picture can be, after the places where the last one can have been.
    fn places(&self) -> Result<Vec<Place>, String> {
        let moments = moments(self.picture, self.history);
        if moments.is_empty() {
            return Err(format!("this was never so: {:?}", self.picture));
        }
        let possible: Vec<Place> = moments.iter().copied().filter(|to| self.can_be_at(*to)).collect();
        if possible.is_empty() {
            let Self { history, changes, last, told, .. } = self;
            return Err(format!(
                "{changes:?} is not what changed from {last:?} to {moments:?}, with a cursor that had told \
                 what is below {told}, in {history:?}"
            ));
        }
        Ok(possible)
    }

    fn can_be_at(&self, to: Place) -> bool {
        let Some(last) = self.last else {
            return self.names_changes_since_cursor(None, to);
        };
        last.places.iter().any(|from| {
            let is_later = from.chat <= to.chat && from.metadata <= to.metadata && from.user <= to.user;
            let is_named = if last.stream == self.stream {
                // Nothing is told twice in one stream, and no kind that there was not.
                *from != to && self.changes == or_other(kinds::between(self.history, Some(*from), to))
            } else {
                self.names_changes_since_cursor(Some(*from), to)
            };
            is_later && is_named
        })
    }

    /// Whoever comes back may be told the last moments again, but all that was not told.
    fn names_changes_since_cursor(&self, from: Option<Place>, to: Place) -> bool {
        let due = kinds::between(self.history, from, to);
        let possible = kinds::since(self.history, self.told, to);
        let is_other = self.changes == BTreeSet::from([ChatChange::Unspecified]);
        due.is_subset(&self.changes) && self.changes.is_subset(&possible) || due.is_empty() && is_other
    }
}

/// What is none of the named kinds has one of its own.
fn or_other(kinds: BTreeSet<ChatChange>) -> BTreeSet<ChatChange> {
    if kinds.is_empty() { BTreeSet::from([ChatChange::Unspecified]) } else { kinds }
}

/// The moments at which a picture was true.
fn moments(picture: &proto::Chat, history: &History) -> Vec<Place> {
    let files = picture::files(picture);
    let matching = |versions: &[Version], said: &Value| -> Vec<usize> {
        (0..versions.len()).filter(|place| versions[*place].said == *said).collect()
    };
    let metadata = matching(&history.metadata, &picture::of_metadata(picture));
    let users = matching(&history.user, &picture::of_user(picture));
    let chats = matching(&history.chat, &picture::of_chat(picture));
    let mut moments = Vec::new();
    for chat in chats.into_iter().filter(|place| history.files[*place] == files) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: i64 = 10;
    const ANSWERED: i64 = 20;

    /// A chat that was created, and then answered.
    fn pictures() -> [proto::Chat; 2] {
        let created = proto::Chat { state: proto::ChatState::Running.into(), ..Default::default() };
        let answered =
            proto::Chat { snapshot_version: 1, state: proto::ChatState::Waiting.into(), ..created.clone() };
        [created, answered]
    }

    fn history() -> History {
        let [created, answered] = pictures();
        let version = |xid, said| Version { xid, said };
        History {
            chat: vec![
                version(CREATED, picture::of_chat(&created)),
                version(ANSWERED, picture::of_chat(&answered)),
            ],
            metadata: vec![version(CREATED, picture::of_metadata(&created))],
            user: vec![version(CREATED, picture::of_user(&created))],
            files: vec![BTreeSet::new(); 2],
            ..History::default()
        }
    }

    /// Whether it can be told so, in the first or the second stream, after the creation was told in
    /// the first.
    fn is_right(picture: &proto::Chat, changes: &[ChatChange], stream: usize, told: i64) -> bool {
        let history = history();
        let last = Last { places: vec![Place::default()], stream: 1 };
        let changes = changes.iter().copied().collect();
        Telling { history: &history, picture, changes, last: Some(&last), stream, told }.places().is_ok()
    }

    #[test]
    fn a_kind_that_is_missing_or_too_much_is_found_and_so_is_what_is_told_twice_or_never_was() {
        use ChatChange::{Created, Pin, State, Unspecified};
        let [created, answered] = pictures();
        let other = proto::Chat { title: "never".to_owned(), ..answered.clone() };

        assert!(is_right(&answered, &[State], 1, 0));
        assert!(!is_right(&answered, &[State, Pin], 1, 0), "a kind too much");
        assert!(!is_right(&answered, &[State, Created], 1, 0), "a kind that was told");
        assert!(!is_right(&answered, &[Unspecified], 1, 0), "a kind is missing");
        assert!(!is_right(&created, &[Unspecified], 1, 0), "told twice in a stream");
        assert!(!is_right(&other, &[State], 1, 0), "it never was so");

        assert!(is_right(&answered, &[State, Created], 2, CREATED), "told again after a cursor");
        assert!(!is_right(&answered, &[State, Created], 2, ANSWERED), "the cursor was behind the creation");
        assert!(!is_right(&answered, &[Created], 2, CREATED), "a kind is missing");
        assert!(is_right(&created, &[Created], 2, CREATED));
    }
}
