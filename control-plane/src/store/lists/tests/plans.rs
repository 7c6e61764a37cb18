//! No list reads a table whole, and none reads many more rows than it answers.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _, Postgres, QueryBuilder, Row as _};
use uuid::Uuid;

use super::library::{Library, OWNERS};
use crate::store::{
    ListPosition, ListQuery,
    lists::{
        PINS, begun, by_workspace,
        children::families,
        few::{FEW_MAX, FewBy, few, passing},
        page,
        recent::{Among, RecentBounds, recent},
        searched::TEXTS,
    },
    search::{RANK, RANK_ALL, Search},
};

const EXPLAIN: &str = "explain (analyze, buffers, format json) ";

/// Rows that a statement may read for each that it answers: the chat's place in its index, the
/// chat, its metadata, and what the user keeps about it are four.
const ROWS_READ_MAX: u64 = 4;

/// Blocks that a statement may read beside four for each row that it answers, where
/// conditions are decided within an index: entries that do not pass are no rows, but take
/// their blocks. Looking each of some hundred chats up takes over a thousand.
const BLOCKS_MAX: u64 = 40;

const NO_BOUNDS: RecentBounds<'_> = RecentBounds { pinned: &[], begin_time: None, last: None };

/// Nodes of a plan, with what is below them.
fn nodes(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    [plan].into_iter().chain(below).collect()
}

/// What a plan has read, counted where it reads tables and indexes: how many rows and entries
/// of all, and that nothing was read whole.
fn rows_read(plan: &Value) -> u64 {
    let mut read = 0.0;
    for node in nodes(plan) {
        // What stands in a plan but is not run reads nothing, such as the files of a chat without.
        let is_run = node["Actual Loops"].as_u64().unwrap_or(0) > 0;
        assert!(!is_run || node["Node Type"] != "Seq Scan", "{plan:#}");
        if node["Relation Name"].is_null() && node["Index Name"].is_null() {
            continue;
        }
        // An average over its loops, which may be a fraction.
        let number = |field: &str| node[field].as_f64().unwrap_or(0.0);
        let mut rows = number("Rows Removed by Index Recheck");
        // Whether at once or by a bitmap, an entry and its row are one. Of a bitmap the entries
        // are counted, which may be more than the rows that are then read.
        if node["Node Type"] != "Bitmap Heap Scan" {
            rows += number("Actual Rows") + number("Rows Removed by Filter");
        }
        read += rows * number("Actual Loops");
    }
    read.round() as u64
}

/// Rows of one table that a plan has read.
fn read_of(plan: &Value, relation: &str) -> u64 {
    let of_relation = nodes(plan).into_iter().filter(|node| node["Relation Name"] == relation);
    let number = |node: &Value, field: &str| node[field].as_f64().unwrap_or(0.0);
    let rows = of_relation.map(|node| number(node, "Actual Rows") * number(node, "Actual Loops"));
    rows.sum::<f64>().round() as u64
}

fn check(what: &str, plan: &Value) {
    check_within(what, plan, ROWS_READ_MAX);
}

fn check_within(what: &str, plan: &Value, rows_read_max: u64) {
    let plan = &plan[0]["Plan"];
    let answered = plan["Actual Rows"].as_u64().unwrap_or(0);
    let read = rows_read(plan);
    assert!(answered > 0, "{what} answers something: {plan:#}");
    assert!(read <= rows_read_max * answered, "{what}: {read} rows for {answered}: {plan:#}");
}

/// Blocks of a plan.
fn blocks(plan: &Value) -> u64 {
    let number = |field: &str| plan[0]["Plan"][field].as_u64().unwrap_or(0);
    number("Shared Hit Blocks") + number("Shared Read Blocks")
}

impl Library {
    /// The plan of a statement, where nothing keeps PostgreSQL from reading a table whole: it
    /// is kept from it in production only because an estimate may be wrong.
    async fn explained(&self, mut statement: QueryBuilder<Postgres>) -> Value {
        let plan = self.store.lists.with(async |connection| {
            connection.execute("set enable_seqscan = on").await?;
            let plan = statement.build_query_scalar().fetch_one(&mut *connection).await;
            connection.execute("set enable_seqscan = off").await?;
            plan
        });
        plan.await.expect("it is explained")
    }

    fn search(&self, words: &str) -> Search {
        let ListQuery { user, filter, terms, .. } =
            self.query(0, &format!("search:\"{words}\" archived:any"), 25);
        Search { user, filter, terms: terms.expect("it searches"), among: None }
    }

    async fn recent(&self, query: &ListQuery, among: Among<'_>, bounds: RecentBounds<'_>) -> Value {
        let asked = (query.user, &query.filter);
        self.explained(recent(EXPLAIN, asked, among, bounds, query.limit + 1)).await
    }
}

#[tokio::test]
async fn no_statement_of_a_list_reads_a_table_whole_or_many_more_rows_than_it_answers() {
    let library = Library::build().await;

    lists_read_what_they_show(&library).await;
    searches_read_what_they_find(&library).await;
    what_is_found_is_ranked_and_shown_by_its_keys(&library).await;
    children_and_badges_read_what_they_show(&library).await;
}

async fn lists_read_what_they_show(library: &Library) {
    let workspace = format!("workspace:{}", library.workspaces[0]);

    for (q, rows_read_max) in [
        ("", ROWS_READ_MAX),
        ("archived:true", ROWS_READ_MAX),
        ("state:error", ROWS_READ_MAX),
        ("model:large", ROWS_READ_MAX),
        (&workspace, ROWS_READ_MAX),
        ("created_after:2026-01-01", ROWS_READ_MAX),
        ("created_after:2026-09-21T14:15:00Z", ROWS_READ_MAX),
        ("created_before:2026-09-21T14:15:00Z", ROWS_READ_MAX),
        ("created_before:2026-09-21T14:14:00Z model:large", ROWS_READ_MAX),
        ("has_unread:false", ROWS_READ_MAX),
        // The row beside the chat's is read to know whether it passes, and of three chats one does.
        ("label:team=blue", 7),
    ] {
        let query = library.query(0, q, 25);
        let among =
            if q.starts_with("label") { Among::Newest { skipped: 0, count: 500 } } else { Among::All };
        let first = library.recent(&query, among, NO_BOUNDS).await;
        check_within(q, &first, rows_read_max);
        let answered = first[0]["Plan"]["Actual Rows"].as_u64().unwrap_or(0);
        assert!(blocks(&first) <= 4 * rows_read_max * answered + BLOCKS_MAX, "{q}: {first:#}");
        let list = library.store.list_chats(&query).await.expect("it is listed");
        let Some(next) = list.next(list.entries.len()) else { continue };
        let ListPosition::Listed(position) = &next else { panic!("it is no search: {next:?}") };
        let last = position.last.map(|(time, chat)| (time, chat.0));
        let bounds = RecentBounds { pinned: &position.pinned, begin_time: Some(position.begin_time), last };
        let second = library.recent(&query, among, bounds).await;
        // Those that are pinned are dropped on the way: they were listed first.
        let answered = second[0]["Plan"]["Actual Rows"].as_u64().unwrap_or(0);
        let read = rows_read(&second[0]["Plan"]);
        let most = rows_read_max * answered + position.pinned.len() as u64;
        assert!(answered > 0 && read <= most, "{q}, next page: {read} rows for {answered}: {second:#}");
    }
    what_nothing_passes_is_found_without_a_row(library).await;
    few_that_pass_come_from_their_index(library).await;
    let query = library.query(0, "", 25);
    let mut pins = begun(format!("{EXPLAIN}{PINS} limit "), query.user);
    pins.push_bind(100_i64);
    let pins = library.explained(pins).await;
    check("pins", &pins);
    let list = library.store.list_chats(&query).await.expect("it is listed");
    let Some(ListPosition::Listed(position)) = list.next(1) else { panic!("there are more") };
    let pinned = library.explained(page::pinned_chats(EXPLAIN, &query, &position.pinned, 26)).await;
    check("what is pinned", &pinned);
}

async fn what_nothing_passes_is_found_without_a_row(library: &Library) {
    for q in ["model:rare", "created_before:2026-01-01", "created_after:2027-01-01"] {
        let query = library.query(0, q, 25);
        let plan = library.recent(&query, Among::All, NO_BOUNDS).await;
        assert_eq!(rows_read(&plan[0]["Plan"]), 0, "{q}: {plan:#}");
        assert!(blocks(&plan) <= BLOCKS_MAX, "{q}: {plan:#}");
    }
    for q in ["title:nowhere", "title:qx", "label:env=none"] {
        let query = library.query(0, q, 25);
        let asked = (query.user, &query.filter);
        let plan = library.explained(passing(EXPLAIN, FewBy::Metadata, asked, FEW_MAX)).await;
        assert_eq!(rows_read(&plan[0]["Plan"]), 0, "{q}: {plan:#}");
    }
}

async fn few_that_pass_come_from_their_index(library: &Library) {
    for q in ["label:\"env=100% _rare\"", "title:%", "title:\"über 50%\"", "has_unread:true"] {
        let query = library.query(0, q, 25);
        let asked = (query.user, &query.filter);
        let [by] = FewBy::of(&query.filter)[..] else { panic!("{q} has one index") };
        let few_max = by.max(FEW_MAX);
        let plan = library.explained(passing(EXPLAIN, by, asked, few_max)).await;
        check(&format!("{q}, which pass"), &plan);
        let passed = plan[0]["Plan"]["Actual Rows"].as_u64().unwrap_or(0);
        let few = library.store.lists.with(async |connection| few(connection, asked, FEW_MAX).await);
        let few = few.await.expect("it answers").expect("they are few");
        assert_eq!(few.chats.len() as u64, passed, "{q}");
        let query = ListQuery { filter: few.rest, ..query };
        // All that pass are put in order by their time, and those of the page are shown.
        let plan = library.recent(&query, Among::These(&few.chats), NO_BOUNDS).await;
        let answered = plan[0]["Plan"]["Actual Rows"].as_u64().unwrap_or(0);
        let read = rows_read(&plan[0]["Plan"]);
        assert!(answered > 0 && read <= 2 * passed + 3 * answered, "{q}: {read}: {plan:#}");
        // On the way through the index they are told without their rows.
        let among = Among::TheseAmongNewest(&few.chats, 2000);
        let plan = library.recent(&query, among, NO_BOUNDS).await;
        assert_eq!(plan[0]["Plan"]["Actual Rows"].as_u64(), Some(answered), "{q}: {plan:#}");
        assert!(blocks(&plan) <= BLOCKS_MAX, "{q}: {plan:#}");
    }
}

async fn searches_read_what_they_find(library: &Library) {
    for (words, buckets) in [
        ("the", 12..=12),
        ("zanzibar", 1..=13),
        ("word31", 5..=12),
        ("word17 the", 1..=13),
        ("zan", 1..=13),
        ("東京", 1..=13),
        ("nothing", 1..=13),
    ] {
        let search = library.search(words);
        let plan = library.explained(search.matches(EXPLAIN, buckets.clone(), &[])).await;
        if words == "nothing" {
            assert_eq!(rows_read(&plan[0]["Plan"]), 0, "{plan:#}");
            continue;
        }
        // A chat is answered once, with the places of its newest messages.
        let matches = read_of(&plan[0]["Plan"], "messages") + read_of(&plan[0]["Plan"], "chat_metadata");
        let read = rows_read(&plan[0]["Plan"]);
        assert!(matches > 0 && read <= 3 * matches, "{words}: {read} rows for {matches}: {plan:#}");
    }
}

async fn what_is_found_is_ranked_and_shown_by_its_keys(library: &Library) {
    let search = library.search("zanzibar");
    let mut matches = search.matches("", 1..=13, &[]);
    let rows = matches.build().fetch_all(&library.store.lists).await.expect("they are found");
    let places = rows.iter().flat_map(|row| {
        let chat: Uuid = row.get("chat_id");
        row.get::<Vec<i64>, _>("ids").into_iter().map(move |id| (chat, id))
    });
    let (chats, ids): (Vec<Uuid>, Vec<i64>) = places.unzip();
    let queries = vec![search.terms.beginnings("")];

    let rank: Value = sqlx::query_scalar(AssertSqlSafe(format!("{EXPLAIN} {RANK}")))
        .bind(&chats)
        .bind(&ids)
        .bind(vec![1; ids.len()])
        .bind(&queries)
        .bind(&queries)
        .fetch_one(&library.store.lists)
        .await
        .expect("it is explained");
    let all: Value = sqlx::query_scalar(AssertSqlSafe(format!("{EXPLAIN} {RANK_ALL}")))
        .bind(&chats[..1])
        .bind(search.terms.beginnings("#"))
        .bind(search.terms.words("#"))
        .fetch_one(&library.store.lists)
        .await
        .expect("it is explained");
    let texts: Value = sqlx::query_scalar(AssertSqlSafe(format!("{EXPLAIN} {TEXTS}")))
        .bind(&chats)
        .bind(&ids)
        .bind(1000)
        .fetch_one(&library.store.lists)
        .await
        .expect("it is explained");

    check("ranks", &rank);
    check("texts", &texts);
    assert!(rows_read(&all[0]["Plan"]) <= 51, "a chat's messages and its title: {all:#}");
}

async fn children_and_badges_read_what_they_show(library: &Library) {
    // Two of each root of an owner that has a workspace.
    library
        .execute(
            "insert into chats (
                chat_id, organization_id, owner_id, parent_chat_id, root_chat_id, model, effort, state,
                snapshot_version, history_version, next_message_id
            )
            select
                gen_random_uuid(), c.organization_id, c.owner_id, c.chat_id, c.chat_id, c.model, c.effort,
                'waiting', 1, 1, 1
            from chats c, generate_series(1, 2)
            where c.workspace_id is not null;
            insert into chat_metadata (chat_id) select chat_id from chats where parent_chat_id is not null;
            analyze chats",
        )
        .await;
    let roots = library.chats.iter().filter(|chat| chat.owner == 0 && chat.has_workspace);
    let roots: Vec<Uuid> = roots.map(|chat| chat.id).take(25).collect();

    let plan = library.explained(families(EXPLAIN, library.owners[0], roots)).await;
    check("roots with their children", &plan);
    let mut asked = library.workspaces.clone();
    asked.push(Uuid::now_v7());
    let plan = library.explained(by_workspace(EXPLAIN, library.owners[0], asked)).await;
    assert_eq!(plan[0]["Plan"]["Actual Rows"], 1, "of {OWNERS} workspaces one is theirs");
    check("badges", &plan);
}
