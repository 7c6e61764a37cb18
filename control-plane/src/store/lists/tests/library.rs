//! A database with many chats, and what is known of them.

use std::collections::{BTreeMap, HashMap};

use chatplane_domain::{ChatId, UserId};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    chat_filter,
    limits::Limits,
    store::{DEFAULT_ORGANIZATION, Database, ListPosition, ListQuery, SearchTerms, Store},
    testing::database,
};

pub(super) const OWNERS: usize = 5;
const CHATS: usize = 1200;
const MESSAGES: usize = 50_000;
/// As many as a bucket takes.
const BATCH: usize = 4096;

pub(super) struct Library {
    pub(super) store: Store,
    pub(super) owners: Vec<UserId>,
    /// A workspace of each owner.
    pub(super) workspaces: Vec<Uuid>,
    pub(super) chats: Vec<Chat>,
}

/// What is known of a chat.
#[derive(Clone, Debug)]
pub(super) struct Chat {
    pub(super) id: Uuid,
    pub(super) owner: usize,
    pub(super) archived: bool,
    pub(super) state: &'static str,
    pub(super) model: &'static str,
    pub(super) has_workspace: bool,
    pub(super) update_time: DateTime<Utc>,
    pub(super) title: String,
    pub(super) labels: BTreeMap<&'static str, String>,
    pub(super) pin_order: Option<i32>,
    pub(super) has_unread: bool,
    pub(super) texts: Vec<String>,
}

impl Library {
    pub(super) async fn build() -> Self {
        let store = Store::connect(Database::at(&database().await, 4, Limits::default().database_use_max))
            .await
            .expect("the database answers");
        store.begin_bucket().await.expect("it answers");
        let mut owners = Vec::new();
        for number in 0..OWNERS {
            let owner = UserId(Uuid::now_v7());
            let name = format!("user {number}");
            store.create_user(owner, DEFAULT_ORGANIZATION, &name, false).await.expect("the user is new");
            owners.push(owner);
        }
        let mut library = Self { store, owners, workspaces: Vec::new(), chats: Vec::new() };
        library.add_workspaces().await;
        library.chats = (0..CHATS).map(chat).collect();
        library.add_chats().await;
        library.add_messages().await;
        library.execute("vacuum analyze").await;
        library
    }

    pub(super) async fn execute(&self, sql: &'static str) {
        let done =
            self.store.connections.with(async |connection| sqlx::raw_sql(sql).execute(connection).await);
        done.await.expect("the statement is right");
    }

    /// Rows of a table, from JSON.
    async fn insert(&self, sql: &'static str, rows: Value) {
        sqlx::query(sql).bind(rows).execute(&self.store.connections).await.expect("the statement is right");
    }

    async fn add_workspaces(&mut self) {
        self.workspaces = (0..OWNERS).map(|_| Uuid::now_v7()).collect();
        let rows = self.workspaces.iter().zip(&self.owners);
        let rows = rows.map(|(id, owner)| json!({"workspace_id": id, "owner_id": owner.0})).collect();
        let sql = "insert into workspaces (workspace_id, organization_id, owner_id, name)
             select workspace_id, '00000000-0000-7000-8000-000000000001', owner_id, 'workspace'
             from jsonb_to_recordset($1) as w (workspace_id uuid, owner_id uuid)";
        self.insert(sql, rows).await;
    }

    async fn add_chats(&self) {
        let row = |chat: &Chat| {
            let owner = self.owners[chat.owner];
            json!({
                "chat_id": chat.id, "owner_id": owner.0, "archived": chat.archived, "state": chat.state,
                "model": chat.model, "workspace_id": chat.has_workspace.then(|| self.workspaces[chat.owner]),
                "update_time": chat.update_time, "title": chat.title, "labels": chat.labels,
                "pin_order": chat.pin_order, "has_unread": chat.has_unread,
                "search": self.store.buckets.document(owner, [chat.title.as_str()].into_iter()),
            })
        };
        let rows: Value = self.chats.iter().map(row).collect();
        let sql = "insert into chats (
                 chat_id, organization_id, owner_id, root_chat_id, workspace_id, model, effort, state,
                 archived, snapshot_version, history_version, next_message_id, create_time, update_time,
                 last_error, create_xid
             )
             select
                 chat_id, '00000000-0000-7000-8000-000000000001', owner_id, chat_id, workspace_id, model,
                 'unspecified', state, archived, 1, 1, 50, update_time, update_time,
                 case when state = 'error' then jsonb_build_object(
                     'kind', 'internal', 'message', '', 'detail', '', 'provider', '', 'retryable', false
                 ) end,
                 pg_current_xact_id()
             from jsonb_to_recordset($1) as c (
                 chat_id uuid, owner_id uuid, workspace_id uuid, model text, state text, archived boolean,
                 update_time timestamptz
             )";
        self.insert(sql, rows.clone()).await;
        let sql = "insert into chat_metadata (chat_id, owner_id, title, labels, search)
             select chat_id, owner_id, title, labels, search::tsvector
             from jsonb_to_recordset($1) as d (
                 chat_id uuid, owner_id uuid, title text, labels jsonb, search text
             )";
        self.insert(sql, rows.clone()).await;
        let sql = "insert into chat_user_metadata (chat_id, user_id, pin_order, has_unread)
             select chat_id, owner_id, pin_order, has_unread
             from jsonb_to_recordset($1) as u (
                 chat_id uuid, owner_id uuid, pin_order integer, has_unread boolean
             )";
        self.insert(sql, rows).await;
    }

    async fn add_messages(&mut self) {
        let mut numbers = HashMap::new();
        for start in (0..MESSAGES).step_by(BATCH) {
            let mut rows = Vec::new();
            for number in start..MESSAGES.min(start + BATCH) {
                // A chat's messages stand together, as they do in life, but not all of them.
                let index = (number * 7 / 293) % CHATS;
                let chat = &mut self.chats[index];
                let id = numbers.entry(index).and_modify(|id| *id += 1).or_insert(1_i64);
                let text = text(number, index);
                let owner = self.owners[chat.owner];
                rows.push(json!({
                    "chat_id": chat.id, "id": id, "created_by": (*id % 2 == 1).then_some(owner.0),
                    "content": {"parts": [{"kind": "text", "text": text}]},
                    "search": self.store.buckets.document(owner, [text.as_str()].into_iter()),
                }));
                chat.texts.push(text);
            }
            let sql = "insert into messages (
                     chat_id, id, role, visibility, content_version, content, content_bytes, created_by,
                     usage, revision, search
                 )
                 select
                     chat_id, id, case when created_by is null then 'assistant' else 'user' end, 'both', 1,
                     content, 0, created_by,
                     case when created_by is null then '{}'::jsonb end, 1, search::tsvector
                 from jsonb_to_recordset($1) as m (
                     chat_id uuid, id bigint, created_by uuid, content jsonb, search text
                 )";
            self.insert(sql, rows.into()).await;
            self.store.tend_search().await.expect("it is tended");
        }
    }

    pub(super) fn query(&self, owner: usize, q: &str, limit: usize) -> ListQuery {
        let filter = chat_filter::parse(q).expect("it is a filter");
        let terms = filter.search.as_ref().map(|search| SearchTerms::of(&search.text).expect("it has words"));
        ListQuery { user: self.owners[owner], filter, terms, after: None, limit }
    }

    /// All pages of a list, one after another; every page but the last is full.
    pub(super) async fn walk(&self, mut query: ListQuery) -> Vec<ChatId> {
        let mut chats = Vec::new();
        loop {
            let list = self.store.list_chats(&query).await.expect("it is listed");
            chats.extend(list.entries.iter().map(|entry| entry.chat.chat_id));
            let next = list.next(list.entries.len());
            assert!(next.is_none() || list.entries.len() == query.limit, "a page is full or the last");
            let Some(next) = next else { return chats };
            assert!(next.is_possible());
            // As a client hands it in.
            let token = serde_json::to_string(&next).expect("it is plain");
            query.after = Some(serde_json::from_str::<ListPosition>(&token).expect("it is what was written"));
        }
    }
}

fn chat(number: usize) -> Chat {
    // The first owner has the most.
    let owner = if number % 5 < 2 { 0 } else { number % OWNERS };
    let archived = number % 6 == 5;
    let label = |key, value: &str| (key, value.to_owned());
    let mut labels = BTreeMap::new();
    labels.extend((number.is_multiple_of(3)).then(|| label("team", "blue")));
    labels.extend((number.is_multiple_of(75)).then(|| label("env", "100% _rare")));
    let mut title = format!("Chat {number}");
    if number.is_multiple_of(90) {
        title.push_str(" Über 50% of_it");
    }
    Chat {
        // The ids are not in the order of time.
        id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + (number as u128 * 7919) % 100_003),
        owner,
        archived,
        state: if number % 41 == 7 { "error" } else { "waiting" },
        model: if number.is_multiple_of(4) { "large" } else { "test" },
        has_workspace: number.is_multiple_of(10),
        // Some have the same.
        update_time: DateTime::UNIX_EPOCH + TimeDelta::seconds(1_790_000_000 + (number / 2) as i64),
        title,
        labels,
        pin_order: (!archived && number % 100 == 1)
            .then_some(i32::try_from(number % 70).expect("it is small") + 1),
        has_unread: number % 31 == 3,
        texts: Vec::new(),
    }
}

/// Words of which few are common and many are rare.
fn text(number: usize, chat: usize) -> String {
    let mut text = String::from("the");
    for place in 0..8 {
        let random = (number * 31 + place * 7).wrapping_mul(2_654_435_761) >> 7;
        text.push_str(&format!(" word{}", 1 + random % (1 + random % 997)));
    }
    if number.is_multiple_of(500) {
        text.push_str(" Zanzibar");
    }
    if chat.is_multiple_of(50) {
        text.push_str(" 我們住在東京都");
    }
    text
}
