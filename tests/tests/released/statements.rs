//! The statements of the release before, on the schema of this one.

use std::{collections::BTreeMap, env, fs};

use chatplane_tests::Database;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Either, Executor as _, SqlSafeStr as _, TypeInfo as _,
};

const STATEMENTS: &str = include_str!("../../../released/statements.json");
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../released/statements.json");
const DESCRIBED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.sqlx");

/// A statement as `.sqlx` described it.
#[derive(Deserialize, Serialize)]
struct Released {
    query: String,
    /// Types of what is bound.
    parameters: Vec<String>,
    /// Names and types of what is answered.
    columns: Vec<(String, String)>,
}

/// A type's name as `.sqlx` writes it.
fn described(sql_name: &str) -> String {
    let (name, array) = match sql_name.strip_suffix("[]") {
        Some(name) => (name, "Array"),
        None => (sql_name, ""),
    };
    let word = match name {
        "BIGINT" | "INT8" => "Int8",
        "INT" | "INT4" => "Int4",
        "SMALLINT" | "INT2" => "Int2",
        "BOOL" => "Bool",
        "DOUBLE PRECISION" | "FLOAT8" => "Float8",
        "TIMESTAMPTZ" => "Timestamptz",
        "JSONB" => "Jsonb",
        "JSON" => "Json",
        "BYTEA" => "Bytea",
        "UUID" => "Uuid",
        "TEXT" => "Text",
        "VOID" => "Void",
        other => other,
    };
    format!("{word}{array}")
}

#[tokio::test]
async fn the_schema_understands_every_statement_of_the_release_before() {
    if env::var_os(super::UPDATE).is_some() {
        return update();
    }
    let released: Vec<Released> = serde_json::from_str(STATEMENTS).expect("the file is well formed");
    let database = Database::create().await;
    let mut connection = database.connection().await;

    let mut changed = Vec::new();
    for Released { query, parameters, columns } in &released {
        let text = AssertSqlSafe(query.clone()).into_sql_str();
        match connection.describe(text).await {
            Err(error) => changed.push(format!("{error}: {query}")),
            Ok(now) => {
                let types = match now.parameters() {
                    Some(Either::Left(types)) => types.iter().map(|found| described(found.name())).collect(),
                    Some(Either::Right(_)) | None => Vec::new(),
                };
                let answered = now
                    .columns()
                    .iter()
                    .map(|column| (column.name().to_owned(), described(column.type_info().name())));
                let answered: Vec<_> = answered.collect();
                if &types != parameters || &answered != columns {
                    changed
                        .push(format!("{types:?} for {parameters:?}, {answered:?} for {columns:?}: {query}"));
                }
            }
        }
    }

    assert!(released.len() > 100);
    assert!(changed.is_empty(), "{changed:#?}");
    connection.close().await.expect("it closes");
}

/// Takes what this tree's statements are described by for the release's.
fn update() {
    let files = fs::read_dir(DESCRIBED).expect("the descriptions are there");
    let described = files.map(|file| {
        let text = fs::read_to_string(file.expect("it is listed").path()).expect("it is read");
        serde_json::from_str::<Json>(&text).expect("it is well formed")
    });
    let name = |name: &Json| name.as_str().map_or_else(|| name.to_string(), str::to_owned);
    let statements: BTreeMap<String, Released> = described
        .map(|described| {
            let Json::Object(about) = &described["describe"] else { panic!("it describes: {described}") };
            let parameters = about["parameters"]["Left"].as_array().into_iter().flatten().map(name).collect();
            let columns = about["columns"].as_array().into_iter().flatten();
            let columns = columns.map(|column| (name(&column["name"]), name(&column["type_info"]))).collect();
            let query = name(&described["query"]);
            (query.clone(), Released { query, parameters, columns })
        })
        .collect();
    let lines = statements.values().map(|statement| serde_json::to_string(statement).expect("it is plain"));
    let lines = lines.collect::<Vec<_>>().join(",\n");
    fs::write(FILE, format!("[\n{lines}\n]\n")).expect("the file is written");
}
