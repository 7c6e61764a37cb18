//! From a reply to what is shown of it. Ids, times and cursors are never the same twice: the page
//! has stand-ins for them, the same one for the same id wherever it comes up.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// Stands for every time.
const TIME: &str = "2026-11-20T09:30:00Z";
/// Stands for every cursor and token of a page.
const CURSOR: &str = "AXLRa1ABAwEDAAEB";
/// Fields whose values a client only hands back.
const OPAQUE: [&str; 3] = ["cursor", "nextPageToken", "watchCursor"];
/// Numbers that depend on how fast something was, or on who came first.
const VARYING: [&str; 7] = [
    "snapshotVersion",
    "historyVersion",
    "queueVersion",
    "metadataVersion",
    "baseVersion",
    "revision",
    "position",
];

/// Gives ids their stand-ins.
#[derive(Debug, Default)]
pub(crate) struct StandIns(HashMap<String, String>);

impl StandIns {
    fn of(&mut self, id: &str) -> String {
        let next = self.0.len() + 1;
        let stand_in = || format!("0198c5a0-0000-7000-8000-{next:012}");
        self.0.entry(id.to_owned()).or_insert_with(stand_in).clone()
    }

    /// The value as the page shows it.
    pub(crate) fn stand_in(&mut self, value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| {
                    let value = match OPAQUE.contains(&name.as_str()) {
                        true => json!(CURSOR),
                        false => self.stand_in(value),
                    };
                    // A map has ids for keys.
                    let is_id = uuid::Uuid::try_parse(&name).is_ok();
                    (if is_id { self.of(&name) } else { name }, value)
                });
                Value::Object(fields.collect())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.stand_in(item)).collect()),
            Value::String(text) if uuid::Uuid::try_parse(&text).is_ok() => json!(self.of(&text)),
            Value::String(text) if is_time(&text) => json!(TIME),
            other => other,
        }
    }
}

/// What lies at these paths, with what leads there. A path goes through every item of a list, and
/// with `*` through every field.
///
/// # Panics
///
/// When there is nothing at one of them.
pub(crate) fn pruned(value: &Value, paths: &[&str]) -> Value {
    let mut found = json!({});
    for path in paths {
        let names: Vec<&str> = path.split('.').collect();
        let part = at(value, &names);
        assert!(!part.is_null(), "there is no {path} in {value:#}");
        merge(&mut found, part);
    }
    found
}

/// What lies at one path of a reply, outside lists but for their numbers.
pub(crate) fn text_at(value: &Value, path: &str) -> Option<String> {
    let step = |value: Value, name: &str| match name.parse::<usize>() {
        Ok(index) => value.get(index).cloned(),
        Err(_) => value.get(name).cloned(),
    };
    let found = path.split('.').try_fold(value.clone(), step)?;
    found.as_str().map(str::to_owned)
}

fn at(value: &Value, names: &[&str]) -> Value {
    match (value, names) {
        (value, []) => value.clone(),
        (Value::Array(items), names) => Value::Array(items.iter().map(|item| at(item, names)).collect()),
        (Value::Object(fields), ["*", rest @ ..]) => {
            fields.iter().map(|(name, value)| (name.clone(), at(value, rest))).collect()
        }
        (Value::Object(fields), [name, rest @ ..]) => match fields.get(*name).map(|value| at(value, rest)) {
            Some(found) if !is_empty(&found) => json!({*name: found}),
            Some(_) | None => Value::Null,
        },
        _ => Value::Null,
    }
}

/// A list in which nothing was found.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_null),
        _ => false,
    }
}

fn merge(into: &mut Value, value: Value) {
    match (into, value) {
        (Value::Object(into), Value::Object(fields)) => {
            for (name, value) in fields {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(items)) => {
            for (into, item) in into.iter_mut().zip(items) {
                merge(into, item);
            }
        }
        (into @ Value::Null, value) => *into = value,
        (_, _) => {}
    }
}

/// Whether a text is a time as JSON writes it: `2026-11-20T09:30:00.123Z`.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |place: usize| bytes.get(place).is_some_and(u8::is_ascii_digit);
    text.ends_with('Z')
        && bytes.get(10) == Some(&b'T')
        && [0, 1, 2, 3, 5, 6, 8, 9, 11, 12].into_iter().all(is_digit)
}

/// The documents of a reply as they can be compared: without what varies.
pub(crate) fn comparable(reply: &str) -> Vec<Value> {
    let documents = serde_json::Deserializer::from_str(reply).into_iter::<Value>();
    documents.map(|document| without_varying(document.expect("the page shows JSON"))).collect()
}

fn without_varying(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let value =
                    if VARYING.contains(&name.as_str()) { json!("any") } else { without_varying(value) };
                (name, value)
            });
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_varying).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_through_lists_and_keep_what_leads_to_them() {
        let reply = json!({
            "has": true,
            "items": [{"a": "1", "b": "2"}, {"b": "3"}],
            "map": {"x": {"e": "6", "f": "7"}, "y": {"e": "8"}},
            "more": {"c": "4", "d": "5"},
        });

        let shown = pruned(&reply, &["items.a", "items.b", "map.*.e", "more.d"]);

        let expected = json!({
            "items": [{"a": "1", "b": "2"}, {"b": "3"}],
            "map": {"x": {"e": "6"}, "y": {"e": "8"}},
            "more": {"d": "5"},
        });
        assert_eq!(shown, expected);
        assert_eq!(text_at(&reply, "items.1.b").as_deref(), Some("3"));
        assert_eq!(text_at(&reply, "items.2.b"), None);
    }

    #[test]
    fn an_id_has_the_same_stand_in_wherever_it_comes_up() {
        let [one, two] = ["01a1fdfc-008c-7479-8223-d9af72d16b50", "01a1fdfc-008c-7479-8223-d9af72d16b51"];
        let mut stand_ins = StandIns::default();

        let first = stand_ins
            .stand_in(json!({"a": one, "b": [two], "t": "2026-11-21T12:01:53.291426Z", "cursor": "x"}));
        let second = stand_ins.stand_in(json!({"c": two, two: "3"}));

        let [one, two] = [1, 2].map(|number| format!("0198c5a0-0000-7000-8000-{number:012}"));
        assert_eq!(first, json!({"a": one, "b": [two], "t": TIME, "cursor": CURSOR}));
        assert_eq!(second, json!({"c": two, two: "3"}));
    }

    #[test]
    fn what_varies_is_not_compared_and_everything_else_is() {
        let page = "{\"revision\": \"3\", \"a\": \"1\"}\n{\"b\": 2}";

        assert_eq!(comparable(page), comparable("{\"a\": \"1\", \"revision\": \"4\"} {\"b\": 2}"));
        assert_ne!(comparable(page), comparable("{\"a\": \"1\"} {\"b\": 2}"));
        assert_ne!(comparable(page), comparable("{\"revision\": \"3\", \"a\": \"2\"} {\"b\": 2}"));
    }
}
