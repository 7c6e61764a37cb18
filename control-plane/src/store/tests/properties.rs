//! After random commands the rows say what the chat's row says of them, and what the model
//! sees is what the rules say, told from the rows alone.

use chatplane_domain::{
    Answer, AnswerContent, AnswerPart, Body, BusyBehavior, CallId, CallKind, Chat, ChatId, Command,
    ConfigureChat, EditQueuedMessage, ExpireCause, ExpireLease, FinishedCall, HolderWrite, MessageId,
    NextStep, OpenCall, SessionId, SubmittedResult, Usage, UserPart,
};
use uuid::Uuid;

use super::world::{
    World, applied, call, edit_message, fork_of, held, ids, result, run, step, summary, text, tool, world,
};
use crate::store::{Ask, MessageView, Snapshot, TransactError, Transacted};

/// Commands that are tried of one seed; about half of them are refused.
const COMMANDS: usize = 120;
/// Seeds of the short form, and of the long one.
const SEEDS: u64 = 6;
const SEEDS_LONG: u64 = 60;

/// SplitMix64: the same numbers for the same seed, everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        let bound = u64::try_from(choices.len()).expect("few").max(1);
        choices.get(usize::try_from(self.below(bound)).expect("few")).cloned()
    }

    fn words(&mut self) -> String {
        "x".repeat(usize::try_from(self.below(50)).expect("few") + 1)
    }
}

/// A row as the rules see it.
#[derive(Clone, Debug)]
struct Row {
    id: i64,
    role: String,
    visibility: String,
    deleted: bool,
    covers_through: Option<i64>,
    content_bytes: i64,
    revision: i64,
}

async fn rows(world: &World, chat: ChatId) -> Vec<Row> {
    type Columns = (i64, String, String, bool, Option<i64>, i64, i64);
    let sql = "select id, role, visibility, deleted, covers_through, content_bytes, revision
        from messages where chat_id = $1 order by id";
    let rows: Vec<Columns> =
        sqlx::query_as(sql).bind(chat.0).fetch_all(&world.pool).await.expect("the statement is right");
    let row = |(id, role, visibility, deleted, covers_through, content_bytes, revision)| Row {
        id,
        role,
        visibility,
        deleted,
        covers_through,
        content_bytes,
        revision,
    };
    rows.into_iter().map(row).collect()
}

/// The newest boundary, told from its rows.
fn boundary(rows: &[Row]) -> Option<i64> {
    rows.iter().filter(|row| !row.deleted).filter_map(|row| row.covers_through).max()
}

/// What the model sees, told from the rows.
fn prompt(rows: &[Row]) -> Vec<&Row> {
    let newest = boundary(rows);
    let is_seen = |row: &&Row| {
        let not_covered = match row.covers_through {
            Some(through) => Some(through) == newest,
            None => newest.is_none_or(|through| row.id > through),
        };
        !row.deleted && row.visibility != "user" && (row.role == "system" || not_covered)
    };
    rows.iter().filter(is_seen).collect()
}

/// One command of a kind, made for the chat as it is, and what it asks for.
fn any_command(chance: &mut Chance, world: &World, chat: &Chat, rows: &[Row]) -> (Ask, Made) {
    let live: Vec<&Row> = rows.iter().filter(|row| !row.deleted).collect();
    // Mostly what can be edited.
    let users: Vec<&Row> = live.iter().filter(|row| row.role == "user").copied().collect();
    let any_id = |chance: &mut Chance| {
        let choices = if chance.is(90) { &users } else { &live };
        chance.of(choices).map_or(1, |row| row.id)
    };
    let queued = chance.of(&chat.queue).map(|queued| queued.id);
    let plain = |command| (Ask::default(), Made::Plain(command));
    match chance.below(if chat.live_lease().is_some() { 34 } else { 14 }) {
        0..=1 => {
            let busy = [BusyBehavior::Queue, BusyBehavior::Steer, BusyBehavior::Interrupt];
            let busy = chance.of(&busy).expect("there are three");
            plain(world.send_busy(&chance.words(), busy))
        }
        2..=3 => {
            let target = any_id(chance);
            (Ask { target: Some(MessageId(target)), ..Ask::default() }, Made::Edit(target, chance.words()))
        }
        4 => (Ask { history_ends: true, ..Ask::default() }, Made::Clear),
        5 => (Ask { history_ends: true, ..Ask::default() }, Made::Compact),
        6 => plain(Command::InterruptChat),
        7 => match queued {
            Some(id) => match chance.below(4) {
                0 => plain(Command::DeleteQueuedMessage(id)),
                1 => plain(Command::MoveQueuedMessage { id, index: 0 }),
                2 => plain(Command::PromoteQueuedMessage(id)),
                _ => {
                    let parts = vec![UserPart::Text(chance.words())];
                    plain(Command::EditQueuedMessage(EditQueuedMessage { id, parts }))
                }
            },
            None => plain(if chance.is(50) { Command::ArchiveChat } else { Command::UnarchiveChat }),
        },
        8 => plain(Command::ConfigureChat(any_settings(chance))),
        9 => plain(Command::SubmitToolResults(submitted(chance, &chat.open_calls))),
        10 => match &chat.last_lease {
            Some(lease) if chance.is(30) => {
                let (fence, cause) = (lease.fence, ExpireCause::SessionEnded);
                plain(Command::ExpireLease(ExpireLease { fence, cause }))
            }
            Some(_) | None => plain(Command::UnarchiveChat),
        },
        11..=13 => plain(Command::Lease(SessionId(Uuid::now_v7()))),
        _ => any_write(chance, chat, rows),
    }
}

/// What is made of a command once the store has answered.
#[derive(Clone)]
enum Made {
    Plain(Command),
    Edit(i64, String),
    Clear,
    Compact,
    Held(HolderWrite),
}

impl Made {
    fn command(&self, snapshot: &Snapshot, world: &World) -> Command {
        let ends = || snapshot.history_ends.expect("it was asked for");
        match self {
            Self::Plain(command) => command.clone(),
            Self::Edit(target, words) => edit_message(snapshot, *target, world.message(words)),
            Self::Clear => Command::ClearContext(ends()),
            Self::Compact => Command::CompactChat(ends()),
            Self::Held(write) => held(snapshot, write.clone()),
        }
    }
}

fn any_settings(chance: &mut Chance) -> ConfigureChat {
    let nothing = ConfigureChat::default();
    match chance.below(3) {
        0 => ConfigureChat { model: Some(chance.words()), ..nothing },
        1 => ConfigureChat { client_tools: Some(vec![tool("ask")]), ..nothing },
        _ => {
            let prompt = if chance.is(70) { Some(chance.words()) } else { None };
            ConfigureChat { system_prompt: Some(prompt), ..nothing }
        }
    }
}

fn submitted(chance: &mut Chance, open: &[OpenCall]) -> Vec<SubmittedResult> {
    let calls = open.iter().filter(|call| call.kind == CallKind::Client && chance.is(60));
    calls
        .map(|call| SubmittedResult { call: call.id, output: "submitted".to_owned(), is_error: false })
        .collect()
}

fn finished(chance: &mut Chance, open: &[OpenCall]) -> Vec<FinishedCall> {
    let calls = open.iter().filter(|call| call.kind == CallKind::Worker && chance.is(70));
    calls.map(|call| result(call.id.message.0, call.id.index, "finished")).collect()
}

fn any_write(chance: &mut Chance, chat: &Chat, rows: &[Row]) -> (Ask, Made) {
    let mut ask = Ask::default();
    let write = match chance.below(20) {
        0 => HolderWrite::Release,
        1 => HolderWrite::Fail(chatplane_domain::ChatError {
            kind: chatplane_domain::ErrorKind::Internal,
            message: "it failed".to_owned(),
            detail: String::new(),
            provider: String::new(),
            status_code: None,
            retryable: false,
        }),
        2..=4 => {
            let partial = chance.is(50).then(|| answer(vec![text(&chance.words())]));
            HolderWrite::FinishInterruption { partial, results: finished(chance, &chat.open_calls) }
        }
        5..=8 => HolderWrite::CommitToolResults(finished(chance, &chat.open_calls)),
        _ => {
            let covered = chance.of(rows).filter(|_| chance.is(60));
            let made_from = chat.versions.history - i64::try_from(chance.below(3)).expect("few");
            let summary = covered.map(|row| summary(row.id, &chance.words()));
            ask.covered = summary.as_ref().map(|summary| (summary.covers_through, made_from));
            let next = chance.of(&[NextStep::Continue, NextStep::Finish, NextStep::Suspend]);
            let parts = chance.is(80).then(|| any_parts(chance));
            step(parts, next.expect("there are three"), summary)
        }
    };
    (ask, Made::Held(write))
}

fn any_parts(chance: &mut Chance) -> Vec<AnswerContent> {
    let mut parts = vec![text(&chance.words())];
    for kind in [CallKind::Worker, CallKind::Client] {
        parts.extend(chance.is(25).then(|| call(kind)));
    }
    parts
}

fn answer(parts: Vec<AnswerContent>) -> Answer {
    let part = |content| AnswerPart { content, provider_state: Vec::new() };
    Answer {
        parts: parts.into_iter().map(part).collect(),
        model: "test".to_owned(),
        usage: Usage::default(),
        runtime_ms: 1,
        interrupted: false,
    }
}

#[tokio::test]
async fn rows_and_chats_agree_after_random_commands() {
    let world = world().await;
    let seeds = if std::env::var("CI").is_ok() { SEEDS_LONG } else { SEEDS };
    let mut accepted = 0;

    for seed in 0..seeds {
        accepted += random_life(&world, seed).await;
    }

    let least = usize::try_from(seeds).expect("few") * COMMANDS / 5;
    assert!(accepted >= least, "{accepted} of {least} commands were accepted: too few say anything");
}

/// Answers how many commands were accepted.
async fn random_life(world: &World, seed: u64) -> usize {
    let mut chance = Chance(seed);
    let mut new = world.new_chat_of("first");
    new.deployment_prompt = chance.is(50).then(|| "be good".to_owned());
    new.system_prompt = chance.is(50).then(|| "be short".to_owned());
    let chat = applied(world.create(new, &Ask::default()).await).decision.chat.id;
    let mut accepted = 0;
    let mut history = rows(world, chat).await;
    for number in 0..COMMANDS {
        let before = world.snapshot(chat, &Ask::default()).await.chat;
        let (ask, made) = any_command(&mut chance, world, &before, &history);
        let decide = |snapshot: &Snapshot| run(snapshot, made.command(snapshot, world));
        let written = match world.store.transact(chat, &ask, |_| Ok(()), decide).await {
            Ok(Transacted::Applied(applied)) => applied,
            Err(TransactError::Refused(_)) => continue,
            other => panic!("seed {seed}, command {number}: {other:?}"),
        };
        accepted += 1;
        let context = format!("seed {seed}, command {number}");
        let after = rows(world, chat).await;
        check_chat(world, chat, &written.decision.chat, &after, &context).await;
        check_changes(&history, &after, written.decision.change.as_ref(), &context);
        if chance.is(15) {
            check_copy(world, chat, &after, &mut chance, &context).await;
        }
        history = after;
    }
    accepted
}

/// The chat's row, and what is read of its messages, say what the rows say.
async fn check_chat(world: &World, chat: ChatId, decided: &Chat, rows: &[Row], context: &str) {
    let ask = Ask { turn_bytes_max: Some(i64::MAX), ..Ask::default() };
    let ask = Ask { for_holder: decided.live_lease().is_some(), ..ask };
    let read = world.snapshot(chat, &ask).await;
    let expected = prompt(rows);
    let bytes: i64 = expected.iter().map(|row| row.content_bytes).sum();
    let stored = Chat { history_bytes: bytes, ..decided.clone() };
    let queue = read.chat.queue.clone();
    assert_eq!(Chat { queue, ..stored }, read.chat, "{context}");
    assert_eq!(read.chat.queue.len(), decided.queue.len(), "{context}");
    assert_eq!(read.chat.covers_through.map(|id| id.0), boundary(rows), "{context}");
    let seen = read.turn_input.expect("it was asked for");
    assert_eq!(ids(&seen), expected.iter().map(|row| row.id).collect::<Vec<_>>(), "{context}");
    let measured = |message: &MessageView| i64::try_from(message.body.content_bytes()).expect("few");
    assert_eq!(seen.iter().map(measured).sum::<i64>(), bytes, "{context}: bytes are what they say");
    check_calls(&seen, &decided.open_calls, context);
}

/// Every call has one result before the next answer or message, or is open.
fn check_calls(seen: &[MessageView], open: &[OpenCall], context: &str) {
    let mut waiting: Vec<CallId> = Vec::new();
    for message in seen {
        match &message.body {
            Body::Assistant(answer) => {
                assert_eq!(waiting, [], "{context}: calls without a result");
                let indexes = 0..i32::try_from(answer.calls().count()).expect("few");
                waiting = indexes.map(|index| CallId { message: message.id, index }).collect();
            }
            Body::Tool(result) => {
                let place = waiting.iter().position(|call| *call == result.call);
                waiting.remove(place.unwrap_or_else(|| panic!("{context}: a result of no call")));
            }
            Body::User(_) | Body::System(_) => {
                // Boundaries stand beside the messages, not between them.
                let is_between = message.covers_through.is_none() && matches!(message.body, Body::User(_));
                assert!(!is_between || waiting.is_empty(), "{context}: calls without a result");
            }
        }
    }
    assert_eq!(waiting, open.iter().map(|call| call.id).collect::<Vec<_>>(), "{context}");
}

/// What was there stays as it was, unless it is deleted; readers get all that stands behind
/// an edited message anew.
fn check_changes(before: &[Row], after: &[Row], change: Option<&chatplane_domain::Change>, context: &str) {
    let from = change.and_then(|change| change.delete_from).map(|id| id.0);
    let one = change.and_then(|change| change.delete_one).map(|id| id.0);
    for (old, new) in before.iter().zip(after) {
        let place = old.covers_through.unwrap_or(old.id);
        let named = one == Some(old.id) || (old.role != "system" && from.is_some_and(|from| place >= from));
        let resent = old.role != "system" && from.is_some_and(|from| old.id >= from);
        assert_eq!(new.deleted, old.deleted || named, "{context}: {old:?}");
        let is_touched = !old.deleted && (named || resent);
        assert_eq!(new.revision > old.revision, is_touched, "{context}: {old:?}");
        assert_eq!((new.id, new.content_bytes), (old.id, old.content_bytes), "{context}");
    }
}

/// A copy up to a row has what the rules say, and can go on.
async fn check_copy(world: &World, chat: ChatId, rows: &[Row], chance: &mut Chance, context: &str) {
    let visible = |row: &&Row| !row.deleted && row.role != "system" && row.visibility != "model";
    let targets: Vec<i64> = rows.iter().filter(visible).map(|row| row.id).collect();
    let Some(target) = chance.of(&targets) else { return };
    let ask = Ask { fork: Some(MessageId(target)), ..Ask::default() };
    let id = ChatId(Uuid::now_v7());
    let copied = world.store.fork(chat, &ask, |_| Ok(()), |source| fork_of(source, id, target)).await;
    let copied = applied(copied).decision.chat;

    let is_copied =
        |row: &&Row| !row.deleted && (row.role == "system" || row.covers_through.unwrap_or(row.id) <= target);
    let expected: Vec<i64> = rows.iter().filter(is_copied).map(|row| row.id).collect();
    let copies = self::rows(world, id).await;
    let kept: Vec<i64> = copies.iter().map(|row| row.id).filter(|id| expected.contains(id)).collect();
    assert_eq!(kept, expected, "{context}, copied up to {target}");
    assert!(copies.iter().all(|row| row.revision == 1 && !row.deleted), "{context}");
    check_chat(world, id, &copied, &copies, &format!("{context}, copied up to {target}")).await;
    world.apply(id, world.send("go on")).await;
}
