//! What users were promised: an accepted request is there, once.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;

use super::SHOWN_MAX;
use crate::records::Recorded;

pub(super) async fn broken(connection: &mut PgConnection, recorded: &Recorded) -> Vec<String> {
    let requests: Vec<String> = sqlx::query_scalar("select request_id::text from requests")
        .fetch_all(&mut *connection)
        .await
        .expect("the requests can be read");
    let requests: BTreeSet<String> = requests.into_iter().collect();
    let lost =
        recorded.requests.difference(&requests).map(|id| format!("7: request {id} was accepted and is lost"));
    let mut found: Vec<String> = lost.take(SHOWN_MAX).collect();
    found.extend(words(connection, recorded).await);
    found
}

/// Every accepted text is in its chat's history once, deleted or not, or it is or was in
/// the queue and never entered.
async fn words(connection: &mut PgConnection, recorded: &Recorded) -> Vec<String> {
    let said = counted(
        connection,
        "select m.chat_id::text, m.content #>> '{parts,0,text}', m.queued_message_id::text \
         from messages m \
         where m.role = 'user' \
         and m.covers_through is null",
    )
    .await;
    let queued = counted(
        connection,
        "select q.chat_id::text, q.content #>> '{parts,0,text}', q.queued_message_id::text \
         from queued_messages q",
    )
    .await;
    let mut found = Vec::new();
    for (chat, words) in &recorded.words {
        for words in words {
            let key = (chat.clone(), words.clone());
            let (in_history, in_queue) = (times(&said, &key), times(&queued, &key));
            if in_history > 1 || in_queue > 1 {
                found.push(format!("7: {words:?} is {in_history} times in the history of chat {chat}"));
            } else if in_history + in_queue == 0 && !may_be_rewritten(&queued, recorded, chat) {
                found.push(format!("7: {words:?} was accepted and is not in chat {chat}"));
            }
        }
    }
    found.truncate(SHOWN_MAX);
    found
}

type Texts = HashMap<(String, String), Vec<Option<String>>>;

async fn counted(connection: &mut PgConnection, query: &'static str) -> Texts {
    let rows: Vec<(String, String, Option<String>)> =
        sqlx::query_as(query).fetch_all(connection).await.expect("the texts can be read");
    let mut texts = Texts::new();
    for (chat, text, queued) in rows {
        texts.entry((chat, text)).or_default().push(queued);
    }
    texts
}

fn times(texts: &Texts, key: &(String, String)) -> usize {
    texts.get(key).map_or(0, Vec::len)
}

/// Whether some queued message of the chat was given other words.
fn may_be_rewritten(queued: &Texts, recorded: &Recorded, chat: &str) -> bool {
    let of_chat = queued.iter().filter(|((of, _), _)| of == chat);
    of_chat.flat_map(|(_, ids)| ids.iter().flatten()).any(|id| recorded.rewritten.contains(id))
}
