//! What users were promised: an accepted request is there, and its words are there once.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::SHOWN_MAX;
use crate::records::{Queued, Recorded};

/// What users said in each chat. What a copy began with was said elsewhere.
const SAID: &str = "
select m.chat_id::text, m.content #>> '{parts,0,text}', m.queued_message_id::text
from messages m
join soak_inserted i using (chat_id, id)
where m.role = 'user'
and m.covers_through is null
and not (i.revision = 1 and m.chat_id = any ($1::text[]::uuid[]))";

/// All that ever was in a queue.
const WAITED: &str = "
select q.chat_id::text, q.queued_message_id::text, q.content #>> '{parts,0,text}', q.removed, q.revision
from queued_messages q";

/// A user's message in a history.
struct Said {
    chat: String,
    words: String,
    queued: Option<String>,
}

/// A message in a queue, or one that was there.
struct Waited {
    chat: String,
    id: String,
    words: String,
    removed: bool,
    revision: i64,
}

pub(super) async fn broken(connection: &mut PgConnection, recorded: &Recorded) -> Vec<String> {
    let requests: Vec<String> = sqlx::query_scalar("select request_id::text from requests")
        .fetch_all(&mut *connection)
        .await
        .expect("the requests can be read");
    let copies: Vec<&str> = recorded.forks.iter().map(|fork| fork.copy.as_str()).collect();
    let said: Vec<(String, String, Option<String>)> = sqlx::query_as(SAID)
        .bind(copies)
        .fetch_all(&mut *connection)
        .await
        .expect("the messages can be read");
    let waited: Vec<(String, String, String, bool, i64)> =
        sqlx::query_as(WAITED).fetch_all(connection).await.expect("the queues can be read");
    let said = said.into_iter().map(|(chat, words, queued)| Said { chat, words, queued }).collect();
    let waited = waited
        .into_iter()
        .map(|(chat, id, words, removed, revision)| Waited { chat, id, words, removed, revision })
        .collect();
    Promises { recorded, said, waited, requests: requests.into_iter().collect() }.broken()
}

/// What was promised, and what there is.
struct Promises<'a> {
    recorded: &'a Recorded,
    said: Vec<Said>,
    waited: Vec<Waited>,
    requests: BTreeSet<String>,
}

impl Promises<'_> {
    fn broken(&self) -> Vec<String> {
        let mut found = Vec::new();
        for lines in [self.lost(), self.at_once(), self.queues(), self.unheard_of()] {
            found.extend(lines.into_iter().take(SHOWN_MAX));
        }
        found
    }

    /// What was accepted and is nowhere.
    fn lost(&self) -> Vec<String> {
        let Recorded { requests, queued, .. } = self.recorded;
        let requests = requests.difference(&self.requests);
        let requests = requests.map(|id| format!("7: request {id} was accepted and is lost"));
        let there: BTreeSet<&str> = self.waited.iter().map(|waited| waited.id.as_str()).collect();
        let queued = queued.keys().filter(|id| !there.contains(id.as_str()));
        requests.chain(queued.map(|id| format!("7: queued message {id} was accepted and is lost"))).collect()
    }

    /// Words that entered a history at once are there once.
    fn at_once(&self) -> Vec<String> {
        let mut times: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for said in self.said.iter().filter(|said| said.queued.is_none()) {
            *times.entry((&said.chat, &said.words)).or_default() += 1;
        }
        let mut found = Vec::new();
        for (chat, words) in &self.recorded.entered {
            for words in words {
                let times = times.get(&(chat.as_str(), words.as_str())).copied().unwrap_or_default();
                if times != 1 {
                    found.push(format!("7: {words:?} was accepted, and is {times} times in chat {chat}"));
                }
            }
        }
        let twice = times.iter().filter(|(_, times)| **times > 1);
        found.extend(twice.map(|((chat, words), _)| format!("7: {words:?} is repeated in chat {chat}")));
        found
    }

    /// A queued message says what was accepted last for it, and is in the history once or was
    /// deleted.
    fn queues(&self) -> Vec<String> {
        let mut entered: BTreeMap<(&str, &str), Vec<&Said>> = BTreeMap::new();
        for said in &self.said {
            if let Some(queued) = &said.queued {
                entered.entry((&said.chat, queued)).or_default().push(said);
            }
        }
        let mut found = Vec::new();
        for waited in &self.waited {
            let said = entered.remove(&(waited.chat.as_str(), waited.id.as_str())).unwrap_or_default();
            let wrong = self.wrong_words(waited, &said).or_else(|| self.wrong_end(waited, &said));
            if let Some(wrong) = wrong {
                found.push(format!("5: queued message {} of chat {} {wrong}", waited.id, waited.chat));
            }
        }
        let strange = entered.into_keys();
        found.extend(strange.map(|(chat, id)| format!("5: {id} is in chat {chat}, and never was queued")));
        found
    }

    fn wrong_words(&self, waited: &Waited, said: &[&Said]) -> Option<String> {
        let nothing = Queued::default();
        let known = self.recorded.queued.get(&waited.id).unwrap_or(&nothing);
        let is_known = match known.words.last_key_value() {
            Some((_, last)) => *last == waited.words,
            // Nobody was told that it was queued.
            None => self.may_be_said(&waited.chat, &waited.words),
        };
        if !is_known && !known.possible.contains(&waited.words) {
            return Some(format!("says {:?}, and was accepted with {:?}", waited.words, known.words));
        }
        let other = said.iter().find(|said| said.words != waited.words)?;
        Some(format!("says {:?}, and entered with {:?}", waited.words, other.words))
    }

    fn wrong_end(&self, waited: &Waited, said: &[&Said]) -> Option<String> {
        let deleted_in = self.recorded.queued.get(&waited.id).and_then(|known| known.deleted);
        match (waited.removed, said.len()) {
            (true, 1) | (false, 0) if deleted_in.is_some() => {
                Some("was deleted by name, and is there".to_owned())
            }
            (true, 1) | (false, 0) => None,
            (true, 0) if self.may_be_deleted(waited) => None,
            (true, 0) => Some("has left, and is not in the history".to_owned()),
            (_, times) => Some(format!("is {times} times in the history")),
        }
    }

    /// By name, or by an edit, in the very snapshot that the reply told.
    fn may_be_deleted(&self, waited: &Waited) -> bool {
        let Recorded { queued, edits, possible_edits, .. } = self.recorded;
        let by_name = queued.get(&waited.id).is_some_and(|known| {
            known.deleted == Some(waited.revision) || (known.deleted.is_none() && known.possibly_deleted)
        });
        by_name
            || edits.contains(&(waited.chat.clone(), waited.revision))
            || possible_edits.contains(&waited.chat)
    }

    /// Words that nobody wrote. A copy that nobody was told of is nobody's.
    fn unheard_of(&self) -> Vec<String> {
        let Recorded { entered, forks, .. } = self.recorded;
        let copies: BTreeSet<&str> = forks.iter().map(|fork| fork.copy.as_str()).collect();
        let is_known = |chat: &str| entered.contains_key(chat) || copies.contains(chat);
        let said = self.said.iter().filter(|said| said.queued.is_none() && is_known(&said.chat));
        let unheard_of = said.filter(|said| {
            let is_entered = entered.get(&said.chat).is_some_and(|words| words.contains(&said.words));
            !is_entered && !self.may_be_said(&said.chat, &said.words)
        });
        unheard_of.map(|said| format!("7: nobody said {:?} in chat {}", said.words, said.chat)).collect()
    }

    fn may_be_said(&self, chat: &str, words: &str) -> bool {
        self.recorded.possible.get(chat).is_some_and(|possible| possible.contains(words))
    }
}
