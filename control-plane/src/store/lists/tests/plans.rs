//! No list reads a table whole, and none reads many more rows than it answers.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Postgres, QueryBuilder, Row as _};
use uuid::Uuid;

use super::library::{Library, OWNERS};
use crate::store::{
    ListPosition, ListQuery,
    lists::{by_workspace, children, page, searched::TEXTS},
    search::{RANK, RANK_ALL, Search},
};

const EXPLAIN: &str = "explain (analyze, format json) ";

/// Rows that a statement may read for each that it answers: the chat, its metadata, and what
/// the user keeps about it are three.
const ROWS_READ_MAX: u64 = 4;

/// Nodes of a plan, with what is below them.
fn nodes(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    [plan].into_iter().chain(below).collect()
}

/// What a plan has read, counted where it reads tables: how many rows of all, and that
/// nothing was read whole.
fn rows_read(plan: &Value) -> u64 {
    let mut read = 0.0;
    for node in nodes(plan) {
        assert_ne!(node["Node Type"], "Seq Scan", "{plan:#}");
        if node["Relation Name"].is_null() {
            continue;
        }
        // An average over its loops, which may be a fraction.
        let number = |field: &str| node[field].as_f64().unwrap_or(0.0);
        let rows = number("Actual Rows")
            + number("Rows Removed by Filter")
            + number("Rows Removed by Index Recheck");
        read += rows * number("Actual Loops");
    }
    read.round() as u64
}

fn check(what: &str, plan: &Value) {
    let plan = &plan[0]["Plan"];
    let answered = plan["Actual Rows"].as_u64().unwrap_or(0);
    let read = rows_read(plan);
    assert!(answered > 0, "{what} answers something: {plan:#}");
    assert!(read <= ROWS_READ_MAX * answered, "{what}: {read} rows for {answered}: {plan:#}");
}

impl Library {
    async fn explained(&self, mut statement: QueryBuilder<Postgres>) -> Value {
        statement.build_query_scalar().fetch_one(&self.store.lists).await.expect("it is explained")
    }

    fn search(&self, words: &str) -> Search {
        let ListQuery { user, filter, terms, .. } =
            self.query(0, &format!("search:\"{words}\" archived:any"), 25);
        Search { user, filter, terms: terms.expect("it searches") }
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

    // What most chats pass, or a third of them, is looked for among the last: some are read in
    // vain, but no table is read whole.
    for q in ["label:team=blue", "model:large", "title:%", "has_unread:false", "state:waiting archived:any"] {
        let query = library.query(0, q, 25);
        rows_read(&library.explained(page::recent(EXPLAIN, &query, None, query.limit + 1)).await[0]["Plan"]);
    }
    for q in [
        "",
        "archived:true",
        "has_unread:true",
        "state:error",
        "label:\"env=100% _rare\"",
        &workspace,
        "created_after:2026-01-01",
    ] {
        let mut query = library.query(0, q, 25);
        let first = library.explained(page::recent(EXPLAIN, &query, None, query.limit + 1)).await;
        check(q, &first);
        let list = library.store.list_chats(&query).await.expect("it is listed");
        let Some(next) = list.next(list.entries.len()) else { continue };
        let ListPosition::Recent { begin_time, update_time, chat_id } = next else {
            panic!("pins are few: {next:?}")
        };
        let bounds = page::RecentBounds { begin_time, last: Some((update_time, chat_id.0)) };
        query.after = Some(next);
        let second = library.explained(page::recent(EXPLAIN, &query, Some(bounds), query.limit + 1)).await;
        check(&format!("{q}, next page"), &second);
    }
    let query = library.query(0, "", 25);
    check("what is pinned", &library.explained(page::pinned(EXPLAIN, &query, query.limit + 1)).await);
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
        check(words, &plan);
    }
}

async fn what_is_found_is_ranked_and_shown_by_its_keys(library: &Library) {
    let search = library.search("zanzibar");
    let mut matches = search.matches("", 1..=13, &[]);
    let rows = matches.build().fetch_all(&library.store.lists).await.expect("they are found");
    let chats: Vec<Uuid> = rows.iter().map(|row| row.get("chat_id")).collect();
    let ids: Vec<i64> = rows.iter().map(|row| row.get("id")).collect();
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
    let roots: Vec<Uuid> = library.chats.iter().filter(|chat| chat.owner == 0).map(|chat| chat.id).collect();

    let plan = library.explained(children(EXPLAIN, library.owners[0], roots[..25].to_vec())).await;
    check("children", &plan);
    let mut asked = library.workspaces.clone();
    asked.push(Uuid::now_v7());
    let plan = library.explained(by_workspace(EXPLAIN, library.owners[0], asked)).await;
    assert_eq!(plan[0]["Plan"]["Actual Rows"], 1, "of {OWNERS} workspaces one is theirs");
    check("badges", &plan);
}
