//! A database as large as that of a company after a year: 100,000 chats of eight users with two million
//! messages, unless told otherwise. It is made once, and all rounds measure it.
//!
//! - `random`, `words`: what is said;
//! - `plan`: which chats there are, and when what was said;
//! - `document`, `copy`, `load`: from there into the database.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chatplane_control_plane::admin::{self, TokenKind};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::{
    bench::{Bench, say},
    database::{Database, connect},
    error::{Error, OrFailed as _, Result},
    stack::Stack,
};
use document::Document;
use load::Source;
use plan::{OWNER_PERCENTS, Plan, TURN_MESSAGES, WORKSPACES};

use random::Random;
use words::Words;

pub(crate) use load::needle;
pub(crate) use plan::{LARGEST, MODELS, PINNING, SMALLEST};
pub(crate) use words::{han, word};

mod copy;
mod document;
mod load;
mod plan;
mod random;
mod words;

/// The middle of the year in which everything came about.
const MIDDLE: Duration = Duration::from_secs(180 * 24 * 3600);

/// Such a database.
pub(crate) struct Library {
    pub(crate) facts: Facts,
    pub(crate) database: Database,
}

/// What is known of it.
pub(crate) struct Facts {
    pub(crate) owners: Vec<Owner>,
    chats: usize,
    messages: usize,
    /// The chats of the largest owner that have a word of their own, in the order of [`needle`].
    pub(crate) needles: Vec<Uuid>,
    /// Roots of the largest owner that are not archived.
    pub(crate) seen: Vec<Uuid>,
    /// A date in the middle of the year, and the day after it.
    pub(crate) days: [String; 2],
    load_seconds: f64,
    words: Words,
}

/// A user with chats.
pub(crate) struct Owner {
    pub(crate) token: String,
    pub(crate) workspaces: Vec<Uuid>,
}

impl Library {
    pub(crate) async fn load(bench: &Bench<'_>) -> Result<Self> {
        let start = Instant::now();
        let (chats, messages) = (bench.scale.library_chats, bench.scale.library_messages);
        say(&format!("  loading {chats} chats with {messages} messages"));
        let database = Database::create(bench).await?;
        let (ids, owners) = create_owners(&database).await?;
        let until = SystemTime::now().duration_since(UNIX_EPOCH).or_failed("read the clock")?;
        let micros = i64::try_from(until.as_micros()).or_failed("read the clock")?;
        let plan = Plan::new(chats, messages / TURN_MESSAGES as usize, micros);
        let messages = plan.turns.len() * TURN_MESSAGES as usize;
        let mut connection = connect(database.url()).await?;
        let owned = ids.into_iter().zip(owners.iter().map(|owner| owner.workspaces.clone())).collect();
        let source = Arc::new(Source::new(&mut connection, plan, owned).await?);
        load::load(database.url(), &source).await?;
        let days = days(&mut connection, until - MIDDLE).await?;
        connection.close().await.or_failed("leave PostgreSQL")?;
        let of_largest = || {
            let chats = source.plan().chats.iter();
            chats.filter(|chat| chat.owner == LARGEST && chat.parent.is_none() && !chat.is_archived)
        };
        let needles = of_largest().filter(|chat| chat.needle.is_some()).map(|chat| chat.id).collect();
        let seen = of_largest().map(|chat| chat.id).collect();
        let load_seconds = start.elapsed().as_secs_f64();
        say(&format!("  loaded in {load_seconds:.0} s"));
        let facts = Facts { owners, chats, messages, needles, seen, days, load_seconds, words: Words::new() };
        Ok(Self { facts, database })
    }
}

impl Facts {
    /// A title that no chat has, of the words that titles have: what is looked for among them stays as frequent
    /// as it was.
    pub(crate) fn new_title(&self) -> String {
        let id = Uuid::now_v7();
        // Its last digits are chance.
        let mut random = Random::new(id.as_u64_pair().1);
        format!("{} {id}", self.words.text(&mut random, load::TITLE_WORDS))
    }

    /// What a reader should know of it.
    pub(crate) fn note(&self) -> String {
        format!(
            "{} chats of {} owners with {} messages, loaded in {:.0} s",
            self.chats,
            self.owners.len(),
            self.messages,
            self.load_seconds
        )
    }
}

/// What replicas store for a text must be what was loaded for texts: or else a search would be quick because
/// it finds nothing, or slow because it is not what it will be.
pub(crate) async fn check_form(stack: &Stack<'_>) -> Result<()> {
    const TEXT: &str = "bacebi dofu bacebi 一丁七";
    const STORED: &str = "
        select s.lexeme, s.positions::integer[]
        from messages m
        cross join lateral unnest(m.search) as s
        where m.chat_id = $1
        and m.role = 'user'
        order by s.lexeme collate \"C\"";
    const PREFIX: &str = "
        select encode(substr(sha256(uuid_send(c.owner_id) || int8send(b.last_value)), 1, 4), 'hex')
        from chats c
        cross join search_buckets b
        where c.chat_id = $1";
    let chat: Uuid = stack.client().await?.create_chat(TEXT).await?.parse().or_failed("read a chat's id")?;
    let mut connection = connect(stack.database.url()).await?;
    let prefix: String =
        sqlx::query_scalar(PREFIX).bind(chat).fetch_one(&mut connection).await.or_failed("make a prefix")?;
    let stored: Vec<(String, Vec<i32>)> =
        sqlx::query_as(STORED).bind(chat).fetch_all(&mut connection).await.or_failed("read a document")?;
    connection.close().await.or_failed("leave PostgreSQL")?;
    let places = |places: Vec<u16>| places.into_iter().map(i32::from).collect();
    let loaded: Vec<(String, Vec<i32>)> = Document::of(TEXT)
        .tokens
        .into_iter()
        .map(|(token, of_token)| (format!("{prefix}{token}"), places(of_token)))
        .collect();
    match stored == loaded {
        true => Ok(()),
        false => Err(Error::wrong(format!(
            "replicas store {stored:?} for a text and the benchmark has loaded {loaded:?}: search is measured in \
             another form than it has"
        ))),
    }
}

async fn create_owners(database: &Database) -> Result<(Vec<Uuid>, Vec<Owner>)> {
    let admin = admin::connect(database.url()).await.or_failed("connect to PostgreSQL")?;
    let (mut ids, mut owners) = (Vec::new(), Vec::new());
    for number in 0..OWNER_PERCENTS.len() {
        let user = admin.create_user(&format!("owner-{number}"), false).await.or_failed("create a user")?;
        let mut workspaces = Vec::with_capacity(WORKSPACES);
        for place in 0..WORKSPACES {
            let workspace = admin.create_workspace(user, &format!("workspace-{number}-{place}")).await;
            workspaces.push(workspace.or_failed("create a workspace")?.0);
        }
        let token = admin.create_token(TokenKind::User(user)).await.or_failed("create a token")?;
        ids.push(user.0);
        owners.push(Owner { token, workspaces });
    }
    admin.close().await;
    Ok((ids, owners))
}

/// A day since 1970 as it is written, and the one after it.
async fn days(connection: &mut PgConnection, since: Duration) -> Result<[String; 2]> {
    const DAY: &str = "
        select to_char(to_timestamp($1) at time zone 'UTC', 'YYYY-MM-DD'),
            to_char((to_timestamp($1) + interval '1 day') at time zone 'UTC', 'YYYY-MM-DD')";
    let day: (String, String) = sqlx::query_as(DAY)
        .bind(since.as_secs_f64())
        .fetch_one(connection)
        .await
        .or_failed("write a date")?;
    Ok([day.0, day.1])
}
