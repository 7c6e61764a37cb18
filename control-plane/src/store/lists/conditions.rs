//! A filter as SQL: fragments that are written here, and values that are bound.

use std::collections::BTreeMap;

use sqlx::{Postgres, QueryBuilder, types::Json};

use crate::{
    chat_filter::{Archived, ChatFilter},
    store::content,
};

/// What a filter asks of the chat's own row, `c`.
pub(in crate::store) fn of_chat(sql: &mut QueryBuilder<Postgres>, filter: &ChatFilter) {
    match filter.archived {
        Archived::No => sql.push(" and not c.archived"),
        Archived::Only => sql.push(" and c.archived"),
        Archived::Any => sql,
    };
    if let Some(state) = filter.state {
        let state = state.as_str();
        sql.push(" and c.state = ").push_bind(state);
        if state != "waiting" {
            // The predicate of an index that has few rows.
            sql.push(" and c.state <> 'waiting'");
        }
    }
    if let Some(model) = &filter.model {
        sql.push(" and c.model = ").push_bind(model.clone());
    }
    if let Some(workspace) = filter.workspace {
        sql.push(" and c.workspace_id = ").push_bind(workspace.0);
    }
    if let Some(time) = filter.created_after {
        sql.push(" and c.create_time >= ").push_bind(time);
        // None changed before it was created: what changed earlier need not be looked at.
        sql.push(" and c.update_time >= ").push_bind(time);
    }
    if let Some(time) = filter.created_before {
        sql.push(" and c.create_time < ").push_bind(time);
    }
}

/// What it asks of title and labels, `d`.
pub(in crate::store) fn of_metadata(sql: &mut QueryBuilder<Postgres>, filter: &ChatFilter) {
    // The same key twice, with two values, is a label that no chat has.
    for (key, value) in &filter.labels {
        let label = BTreeMap::from([(key.clone(), value.clone())]);
        sql.push(" and d.labels @> ").push_bind(Json(label));
    }
    if let Some(title) = &filter.title {
        sql.push(" and d.title ~ ").push_bind(whatever_case(title));
    }
}

/// What it asks of what the user keeps, `u`, which may be missing.
pub(in crate::store) fn of_user(sql: &mut QueryBuilder<Postgres>, filter: &ChatFilter) {
    match filter.has_unread {
        Some(true) => sql.push(" and u.has_unread"),
        Some(false) => sql.push(" and u.has_unread is not true"),
        None => sql,
    };
}

/// A regular expression for a text in whatever case. What is the same letter is said here, and
/// not by the database, whose locale may know of ASCII alone. Each character is written by its
/// number, so that none of them has a meaning.
fn whatever_case(text: &str) -> String {
    let mut pattern = String::new();
    for character in content::escape(text).chars() {
        let lower = alone(character.to_lowercase());
        let upper = alone(character.to_uppercase());
        let mut cases: Vec<char> = [Some(character), lower, upper].into_iter().flatten().collect();
        cases.sort_unstable();
        cases.dedup();
        let cases: String = cases.into_iter().map(|case| format!("\\U{:08X}", u32::from(case))).collect();
        pattern.push_str(&format!("[{cases}]"));
    }
    pattern
}

/// The other case of a character, if that is one character, too.
fn alone(mut cased: impl Iterator<Item = char>) -> Option<char> {
    let first = cased.next()?;
    if cased.next().is_none() { Some(first) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_compared_letter_by_letter_in_both_cases() {
        assert_eq!(whatever_case("ä"), "[\\U000000C4\\U000000E4]");
        assert_eq!(whatever_case(".%ß"), "[\\U0000002E][\\U00000025][\\U000000DF]");
    }
}
