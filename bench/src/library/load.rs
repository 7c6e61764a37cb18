//! Writes the plan into the database: `copy`, over two connections, batch by batch in the order of time.
//!
//! Each batch is a transaction, as changes have one each, and indexes are there from the beginning, as in a
//! database that has grown. Foreign keys are not looked at: what they refer to is made here.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::try_join_all;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{
    copy::Rows,
    document::Document,
    plan::{Plan, PlannedChat, TURN_MESSAGES, Turn},
    random::Random,
    words::Words,
};
use crate::{
    database::connect,
    error::{OrFailed as _, Result},
};

/// Texts that a replica files under one bucket.
const BUCKET_TEXTS: u64 = 4096;
/// One a processor that there is at least.
const CONNECTIONS: usize = 2;
const CHATS_A_BATCH: usize = 1_000;
const TURNS_A_BATCH: usize = 2_000;
/// No trigger fires, and none of the foreign keys' either. A commit need not be on the disk before the next one:
/// what is lost with the machine was never measured. The index of search takes its news in larger bunches than
/// usual, which leaves the same index sooner.
const SETTINGS: &str = "
    set session_replication_role = replica;
    set synchronous_commit = off;
    set work_mem = '128MB';
    set gin_pending_list_limit = '32MB'";
const CHATS: &str = "
    copy chats (
        chat_id, organization_id, owner_id, parent_chat_id, root_chat_id, workspace_id, model, effort, state,
        archived, snapshot_version, history_version, error_version, last_error, next_message_id, answered,
        create_time, update_time, last_turn_summary, last_answer_id, archive_time, client_tools_version,
        create_xid
    ) from stdin with (format binary)";
const CHATS_FIELDS: i16 = 23;
const METADATA: &str =
    "copy chat_metadata (chat_id, owner_id, title, labels, search) from stdin with (format binary)";
const METADATA_FIELDS: i16 = 5;
const READS: &str = "
    copy chat_user_metadata (chat_id, user_id, pin_order, read_message_id, has_unread)
    from stdin with (format binary)";
const READS_FIELDS: i16 = 5;
const MESSAGES: &str = "
    copy messages (
        chat_id, id, role, visibility, content_version, content, content_bytes, created_by, model,
        requested_model, usage, runtime_ms, revision, create_time, search
    ) from stdin with (format binary)";
const MESSAGES_FIELDS: i16 = 15;
/// Replicas name it with the chats that it creates.
const TRANSACTION: &str = "select pg_current_xact_id()::text::bigint";
/// What lexemes of an owner begin with in a bucket, by owner and then bucket.
const PREFIXES: &str = "
    select encode(substr(sha256(uuid_send(o.owner_id) || int8send(b.bucket)), 1, 4), 'hex')
    from unnest($1::uuid[]) with ordinality as o (owner_id, number)
    cross join generate_series(1, $2::bigint) as b (bucket)
    order by o.number, b.bucket";
const ERROR: &str = r#"{"kind": "overloaded", "message": "The provider is overloaded. Try again later.",
    "detail": "", "provider": "bench", "status_code": 529, "retryable": true}"#;
const USAGE: &str = r#"{"input_tokens": 900, "output_tokens": 60}"#;
const CALL: &str =
    r#", {"kind": "tool_call", "tool_name": "read_file", "arguments_json": "{}", "call_kind": "worker"}"#;
/// A turn's messages have about so many words: two thirds of the text is the last answer's.
pub(super) const TITLE_WORDS: usize = 4;
const PROMPT_WORDS: usize = 14;
const REMARK_WORDS: usize = 8;
const ANSWER_WORDS: usize = 40;

/// Everything that rows are made from.
#[derive(Debug)]
pub(super) struct Source {
    plan: Plan,
    words: Words,
    organization: Uuid,
    /// With their workspaces, as the plan numbers them.
    owners: Vec<(Uuid, Vec<Uuid>)>,
    buckets: u64,
    prefixes: Vec<String>,
}

/// The word that only one message has.
pub(crate) fn needle(number: usize) -> String {
    format!("qa{number:03}q")
}

impl Source {
    pub(super) async fn new(
        connection: &mut PgConnection,
        plan: Plan,
        owners: Vec<(Uuid, Vec<Uuid>)>,
    ) -> Result<Self> {
        let organization = "select organization_id from users limit 1";
        let organization =
            sqlx::query_scalar(organization).fetch_one(&mut *connection).await.or_failed("find a user")?;
        let buckets = plan.texts / BUCKET_TEXTS + 1;
        let ids: Vec<Uuid> = owners.iter().map(|(id, _)| *id).collect();
        let prefixes = sqlx::query_scalar(PREFIXES)
            .bind(ids)
            .bind(i64::try_from(buckets).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await
            .or_failed("make prefixes")?;
        Ok(Self { plan, words: Words::new(), organization, owners, buckets, prefixes })
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The bucket that was begun last.
    pub(super) fn buckets(&self) -> i64 {
        i64::try_from(self.buckets).unwrap_or(i64::MAX)
    }

    /// What lexemes begin with that are stored after so many texts.
    fn prefix(&self, owner: usize, text: u64) -> &str {
        let bucket = usize::try_from(text / BUCKET_TEXTS).unwrap_or_default();
        let of_owner = usize::try_from(self.buckets).unwrap_or_default();
        &self.prefixes[owner * of_owner + bucket]
    }

    /// Rows of some chats, made in this transaction: of `chats`, `chat_metadata` and `chat_user_metadata`.
    fn chats(&self, numbers: Range<usize>, transaction: i64) -> [Vec<u8>; 3] {
        let (mut chats, mut metadata, mut reads) = (Rows::new(), Rows::new(), Rows::new());
        for number in numbers {
            let chat = &self.plan.chats[number];
            self.push_chat(&mut chats, chat, transaction);
            let mut random = Random::new(u64::MAX - u64::try_from(number).unwrap_or_default());
            self.push_metadata(&mut metadata, chat, &self.words.text(&mut random, TITLE_WORDS));
            self.push_read(&mut reads, chat);
        }
        [chats.end(), metadata.end(), reads.end()]
    }

    fn push_chat(&self, rows: &mut Rows, chat: &PlannedChat, transaction: i64) {
        let (owner, workspaces) = &self.owners[chat.owner];
        let messages = i64::from(chat.turns * TURN_MESSAGES);
        rows.row(CHATS_FIELDS).uuid(chat.id).uuid(self.organization).uuid(*owner);
        match chat.parent.map(|parent| self.plan.chats[parent].id) {
            Some(parent) => rows.uuid(parent).uuid(parent),
            None => rows.null().uuid(chat.id),
        };
        match chat.workspace {
            Some(number) => rows.uuid(workspaces[number]),
            None => rows.null(),
        };
        rows.text(chat.model).text("unspecified").text(if chat.has_failed { "error" } else { "waiting" });
        rows.boolean(chat.is_archived).bigint(messages).bigint(messages);
        match chat.has_failed {
            true => rows.bigint(messages).jsonb(ERROR),
            false => rows.bigint(0).null(),
        };
        rows.bigint(messages + 1).boolean(true).time(chat.create_micros).time(chat.update_micros);
        rows.text("").bigint(messages);
        match chat.is_archived {
            true => rows.time(chat.update_micros),
            false => rows.null(),
        };
        rows.bigint(1).bigint(transaction);
    }

    fn push_metadata(&self, rows: &mut Rows, chat: &PlannedChat, title: &str) {
        let labels: Vec<String> =
            chat.labels.iter().map(|(key, value)| format!(r#""{key}": "{value}""#)).collect();
        let prefix = self.prefix(chat.owner, chat.title_text);
        rows.row(METADATA_FIELDS).uuid(chat.id).uuid(self.owners[chat.owner].0).text(title);
        rows.jsonb(&format!("{{{}}}", labels.join(", "))).search(&Document::of(title), prefix);
    }

    fn push_read(&self, rows: &mut Rows, chat: &PlannedChat) {
        let messages = i64::from(chat.turns * TURN_MESSAGES);
        rows.row(READS_FIELDS).uuid(chat.id).uuid(self.owners[chat.owner].0);
        match chat.pin {
            Some(order) => rows.integer(order),
            None => rows.null(),
        };
        let read = if chat.has_unread { messages - i64::from(TURN_MESSAGES) } else { messages };
        rows.bigint(read).boolean(chat.has_unread);
    }

    /// Rows of the messages of some turns.
    fn messages(&self, numbers: Range<usize>) -> Vec<u8> {
        let mut rows = Rows::new();
        for number in numbers {
            let mut random = Random::new(u64::try_from(number).unwrap_or_default());
            self.push_turn(&mut rows, &self.plan.turns[number], &mut random);
        }
        rows.end()
    }

    fn push_turn(&self, rows: &mut Rows, turn: &Turn, random: &mut Random) {
        let mut prompt = self.words.text(random, PROMPT_WORDS);
        if let (0, Some(number)) = (turn.number, self.plan.chats[turn.chat].needle) {
            prompt.push(' ');
            prompt.push_str(&needle(number));
        }
        let remark = self.words.text(random, REMARK_WORDS);
        let result = self.words.text(random, ANSWER_WORDS);
        let answer = self.words.text(random, ANSWER_WORDS);
        let first = i64::from(turn.number * TURN_MESSAGES) + 1;
        self.push_text(rows, turn, (first, turn.text), &prompt, Says::User);
        self.push_text(rows, turn, (first + 1, turn.text + 1), &remark, Says::Call);
        self.push_result(rows, turn, first + 2, &result);
        self.push_text(rows, turn, (first + 3, turn.text + 2), &answer, Says::Answer);
    }

    /// A message that is found by its words.
    fn push_text(&self, rows: &mut Rows, turn: &Turn, (id, number): (i64, u64), text: &str, says: Says) {
        let chat = &self.plan.chats[turn.chat];
        let call = if says == Says::Call { CALL } else { "" };
        let content = format!(r#"{{"parts": [{{"kind": "text", "text": "{text}"}}{call}]}}"#);
        begin_message(rows, chat.id, id, if says == Says::User { "user" } else { "assistant" });
        rows.jsonb(&content).bigint(i64::try_from(text.len()).unwrap_or(i64::MAX));
        match says {
            Says::User => rows.uuid(self.owners[chat.owner].0).text(chat.model).null().null().null(),
            Says::Call | Says::Answer => {
                rows.null().text(chat.model).text(chat.model).jsonb(USAGE).bigint(1500)
            }
        };
        rows.bigint(id).time(turn.micros).search(&Document::of(text), self.prefix(chat.owner, number));
    }

    fn push_result(&self, rows: &mut Rows, turn: &Turn, id: i64, output: &str) {
        let chat = &self.plan.chats[turn.chat];
        let content = format!(
            r#"{{"parts": [{{"kind": "tool_result", "call_message_id": {}, "call_index": 0,
                "tool_name": "read_file", "output": "{output}", "is_error": false}}]}}"#,
            id - 1
        );
        begin_message(rows, chat.id, id, "tool");
        rows.jsonb(&content).bigint(i64::try_from(output.len()).unwrap_or(i64::MAX));
        rows.null().null().null().null().null().bigint(id).time(turn.micros).null();
    }
}

/// Whose text it is, and what comes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    User,
    Call,
    Answer,
}

fn begin_message(rows: &mut Rows, chat: Uuid, id: i64, role: &str) {
    rows.row(MESSAGES_FIELDS).uuid(chat).bigint(id).text(role).text("both").smallint(1);
}

/// Writes everything.
pub(super) async fn load(url: &str, source: &Arc<Source>) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    try_join_all((0..CONNECTIONS).map(|_| load_share(url, source, &next))).await?;
    let mut connection = connect(url).await?;
    sqlx::query("select setval('search_buckets', $1)")
        .bind(source.buckets())
        .execute(&mut connection)
        .await
        .or_failed("begin a bucket")?;
    // What autovacuum does in time: statistics, visibility, and the index without news beside it.
    connection.execute("vacuum (analyze)").await.or_failed("vacuum")?;
    connection.execute("checkpoint").await.or_failed("write everything to the disk")?;
    connection.close().await.or_failed("leave PostgreSQL")
}

/// Takes one batch after the other, chats and then messages, until there is none.
async fn load_share(url: &str, source: &Arc<Source>, next: &AtomicUsize) -> Result<()> {
    let mut connection = connect(url).await?;
    sqlx::raw_sql(SETTINGS).execute(&mut connection).await.or_failed("set up a connection")?;
    let chats = source.plan.chats.len();
    let batches = chats.div_ceil(CHATS_A_BATCH);
    loop {
        let batch = next.fetch_add(1, Ordering::Relaxed);
        let source = Arc::clone(source);
        if batch < batches {
            let start = batch * CHATS_A_BATCH;
            let numbers = start..(start + CHATS_A_BATCH).min(chats);
            let mut transaction = connection.begin().await.or_failed("begin a transaction")?;
            let number = sqlx::query_scalar(TRANSACTION).fetch_one(&mut *transaction).await;
            let number: i64 = number.or_failed("begin a transaction")?;
            let made = spawn_blocking(move || source.chats(numbers, number)).await.or_failed("make chats")?;
            for (statement, rows) in [CHATS, METADATA, READS].into_iter().zip(made) {
                copy(&mut transaction, statement, rows).await?;
            }
            transaction.commit().await.or_failed("commit chats")?;
            continue;
        }
        let start = (batch - batches) * TURNS_A_BATCH;
        if start >= source.plan.turns.len() {
            return connection.close().await.or_failed("leave PostgreSQL");
        }
        let numbers = start..(start + TURNS_A_BATCH).min(source.plan.turns.len());
        let made = spawn_blocking(move || source.messages(numbers)).await.or_failed("make messages")?;
        copy(&mut connection, MESSAGES, made).await?;
    }
}

async fn copy(connection: &mut PgConnection, statement: &str, rows: Vec<u8>) -> Result<()> {
    let mut copy = connection.copy_in_raw(statement).await.or_failed("begin to copy")?;
    copy.send(rows).await.or_failed("copy rows")?;
    copy.finish().await.or_failed("copy rows")?;
    Ok(())
}
