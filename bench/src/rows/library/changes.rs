//! What changes, and who hears of it: marks of what was read, and watchers of all chats.

use std::{collections::BTreeMap, time::Instant};

use sqlx::{Connection as _, PgConnection};
use tokio::try_join;
use uuid::Uuid;

use super::{Figures, Floor};
use crate::{
    bench::Bench,
    client::{Client, library::Page},
    database::connect,
    error::{Error, OrFailed as _, Result},
    library::{Facts, LARGEST},
    measure::library as measures,
    report::table::number,
    samples::Samples,
    stack::Stack,
    wait::milliseconds,
};

const UNREAD: &str = "select chat_id from chat_user_metadata where chat_id = any($1) and has_unread";
/// Makes chats unread that were read, as an answer does.
const FORGET: &str = "
    update chat_user_metadata u
    set has_unread = true, read_message_id = c.last_answer_id - 1
    from chats c
    where c.chat_id = u.chat_id
    and c.chat_id = any($1)
    and u.user_id = c.owner_id";

async fn client(stack: &Stack<'_>, facts: &Facts) -> Result<Client> {
    Client::new(stack.channel().await?, &facts.owners[LARGEST].token)
}

/// Marks chats as read that are not, each once.
pub(super) async fn mark_read(bench: &Bench<'_>, stack: &Stack<'_>, facts: &Facts) -> Result<Figures> {
    let mut client = client(stack, facts).await?;
    let events = bench.scale.library_warm_up + bench.scale.library_events;
    let chats: Vec<Uuid> = facts.seen.iter().copied().take(events).collect();
    let mut connection = connect(stack.database.url()).await?;
    let before = unread(&mut connection, &chats).await?;
    forget(&mut connection, &chats).await?;
    let mut ms = Vec::with_capacity(events);
    for (event, chat) in chats.iter().map(Uuid::to_string).enumerate() {
        let start = Instant::now();
        client.mark_read(&chat).await?;
        if event >= bench.scale.library_warm_up {
            ms.push(milliseconds(start.elapsed()));
        }
    }
    let left = unread(&mut connection, &chats).await?;
    // As they were, for the rounds that follow.
    forget(&mut connection, &before).await?;
    connection.close().await.or_failed("leave PostgreSQL")?;
    match left.is_empty() {
        true => Ok(Figures { measure: &measures::MARK_READ, ms, floor: Floor::Write, notes: Vec::new() }),
        false => Err(Error::wrong("chats are unread that were marked as read")),
    }
}

/// Those of the chats that are unread.
async fn unread(connection: &mut PgConnection, chats: &[Uuid]) -> Result<Vec<Uuid>> {
    sqlx::query_scalar(UNREAD).bind(chats).fetch_all(connection).await.or_failed("find unread chats")
}

async fn forget(connection: &mut PgConnection, chats: &[Uuid]) -> Result<()> {
    let forgotten = sqlx::query(FORGET).bind(chats).execute(connection).await;
    forgotten.map(|_| ()).or_failed("make chats unread")
}

/// The event of a change at a watcher: from just before the client's call, so an upper bound of what it takes
/// from the commit on.
pub(super) async fn watch(bench: &Bench<'_>, stack: &Stack<'_>, facts: &Facts) -> Result<Figures> {
    let mut client = client(stack, facts).await?;
    let mut watch = client.watch_all("").await?;
    watch.begun().await?;
    let events = bench.scale.library_warm_up + bench.scale.library_events;
    let (mut ms, mut after_reply) = (Vec::with_capacity(events), Vec::with_capacity(events));
    for (event, chat) in facts.seen.iter().map(Uuid::to_string).cycle().take(events).enumerate() {
        let title = facts.new_title();
        let start = Instant::now();
        let awaited = BTreeMap::from([(chat.as_str(), title.as_str())]);
        let (replied, seen) = try_join!(client.rename(&chat, &title), watch.titles(awaited))?;
        if event >= bench.scale.library_warm_up {
            ms.push(milliseconds(seen - start));
            after_reply.push(milliseconds(seen.saturating_duration_since(replied)));
        }
    }
    let after = Samples::new(after_reply).ok_or_else(|| Error::wrong("nothing was changed"))?;
    let note = format!(
        "the event came {} ms, p99 {} ms, after the reply to the change, 0 where it was first",
        number(after.median()),
        number(after.percentile(99))
    );
    Ok(Figures { measure: &measures::EVENT, ms, floor: Floor::Event, notes: vec![note] })
}

/// A watcher that comes back after a while: until it has the last change that it missed.
pub(super) async fn resume(bench: &Bench<'_>, stack: &Stack<'_>, facts: &Facts) -> Result<Figures> {
    let mut client = client(stack, facts).await?;
    let [few, many] = bench.scale.library_changes;
    let resumes = bench.scale.library_resumes;
    let ms = resume_after(&mut client, facts, few, resumes).await?;
    let of_many = resume_after(&mut client, facts, many, resumes).await?;
    let of_many = Samples::new(of_many).ok_or_else(|| Error::wrong("nothing was resumed"))?;
    let note = format!(
        "after {} changes {} ms, p99 {} ms; w2 itself after {}",
        many.min(facts.seen.len()),
        number(of_many.median()),
        number(of_many.percentile(99)),
        few.min(facts.seen.len())
    );
    Ok(Figures { measure: &measures::RESUMED, ms, floor: Floor::Read, notes: vec![note] })
}

/// The same stretch each time: reading it leaves nothing behind.
async fn resume_after(
    client: &mut Client,
    facts: &Facts,
    changes: usize,
    resumes: usize,
) -> Result<Vec<f64>> {
    let cursor = client.list(&Page::default()).await?.watch_cursor;
    let mut renamed = BTreeMap::new();
    for chat in facts.seen.iter().rev().take(changes) {
        let (chat, title) = (chat.to_string(), facts.new_title());
        client.rename(&chat, &title).await?;
        renamed.insert(chat, title);
    }
    let mut ms = Vec::with_capacity(resumes);
    for _ in 0..resumes {
        let awaited = renamed.iter().map(|(chat, title)| (chat.as_str(), title.as_str())).collect();
        let start = Instant::now();
        let mut watch = client.watch_all(&cursor).await?;
        ms.push(milliseconds(watch.titles(awaited).await? - start));
    }
    Ok(ms)
}
