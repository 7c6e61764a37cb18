//! JSON as a person writes it: what fits on a line stands on one, and what matters comes first.

use serde_json::Value;

/// What a line holds.
const WIDTH: usize = 100;
const INDENT: usize = 2;

/// Writes JSON, fields in the order in which these paths name them.
pub(crate) fn print(value: &Value, paths: &[&str]) -> String {
    let order: Vec<&str> = paths.iter().flat_map(|path| path.split('.')).collect();
    written(value, &order, 0, 0)
}

/// `used` is what stands before the value on its line.
fn written(value: &Value, order: &[&str], indent: usize, used: usize) -> String {
    let line = on_one_line(value, order);
    // Room for a comma.
    if used + line.chars().count() < WIDTH {
        return line;
    }
    let inner = indent + INDENT;
    let (open, items, close) = match value {
        Value::Object(_) => {
            let field = |(name, value): (&str, &Value)| {
                let name = format!("{:inner$}\"{name}\": ", "");
                let used = name.chars().count();
                name + &written(value, order, inner, used)
            };
            ('{', fields(value, order).into_iter().map(field).collect::<Vec<_>>(), '}')
        }
        Value::Array(items) => {
            let item = |value| format!("{:inner$}{}", "", written(value, order, inner, inner));
            ('[', items.iter().map(item).collect(), ']')
        }
        _ => return line,
    };
    format!("{open}\n{}\n{:indent$}{close}", items.join(",\n"), "")
}

fn on_one_line(value: &Value, order: &[&str]) -> String {
    match value {
        Value::Object(_) => {
            let field = |(name, value)| format!("\"{name}\": {}", on_one_line(value, order));
            format!("{{{}}}", fields(value, order).into_iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| on_one_line(item, order)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// Fields that nobody names come last, by name.
fn fields<'a>(value: &'a Value, order: &[&str]) -> Vec<(&'a str, &'a Value)> {
    let fields = value.as_object().into_iter().flatten();
    let mut fields: Vec<(&str, &Value)> = fields.map(|(name, value)| (name.as_str(), value)).collect();
    fields.sort_by_key(|(name, _)| order.iter().position(|known| known == name).unwrap_or(usize::MAX));
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_stands_on_one_line_in_the_order_of_the_paths() {
        let value = json!({"a": 1, "z": {"y": [true, "x"]}, "m": null});

        assert_eq!(print(&value, &["z.y", "a"]), r#"{"z": {"y": [true, "x"]}, "a": 1, "m": null}"#);
        assert_eq!(print(&json!({}), &[]), "{}");
    }

    #[test]
    fn what_does_not_fit_is_broken_from_the_outside_in() {
        let long = "word ".repeat(12);
        let value = json!({"items": [{"id": "1", "text": long}, {"id": "2", "text": long}]});

        let text = print(&value, &["items.id", "items.text"]);

        let item = |id| format!(r#"    {{"id": "{id}", "text": "{long}"}}"#);
        assert_eq!(text, format!("{{\n  \"items\": [\n{},\n{}\n  ]\n}}", item(1), item(2)));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
