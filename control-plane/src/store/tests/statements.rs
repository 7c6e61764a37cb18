//! What the writing statements must say, told from their text.

/// The statements, and what their parts hang on: the row that was compared, or the one that a
/// copy or a new chat begins with.
const STATEMENTS: [(&str, &str, &str); 5] = [
    ("apply_update.sql", include_str!("../apply_update.sql"), "updated"),
    ("apply_message.sql", include_str!("../apply_message.sql"), "updated"),
    ("apply_create.sql", include_str!("../apply_create.sql"), "created"),
    ("apply_fork.sql", include_str!("../apply_fork.sql"), "created"),
    ("apply_erase.sql", include_str!("../apply_erase.sql"), "updated"),
];

/// The parts of a statement by name.
fn parts(statement: &str) -> Vec<(&str, &str)> {
    let text = statement.split_once("with ").expect("it has parts").1;
    let begin = |part: &str| part.ends_with(" as (") && !part.starts_with(' ');
    let mut parts: Vec<(&str, usize, usize)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_end();
        if begin(trimmed) {
            parts.push((trimmed.trim_end_matches(" as ("), at, at));
        }
        if let Some(last) = parts.last_mut()
            && !line.starts_with("select")
        {
            last.2 = at + line.len();
        }
        at += line.len();
    }
    parts.into_iter().map(|(name, begin, end)| (name, &text[begin..end])).collect()
}

#[test]
fn every_part_of_a_write_hangs_on_what_was_compared() {
    for (file, statement, root) in STATEMENTS {
        let parts = parts(statement);
        let first = parts.iter().position(|(name, _)| *name == root).expect("it has a root");

        assert!(parts.len() > first + 2, "{file}: {parts:?}");
        let mut hanging = vec![root];
        for (name, part) in &parts[first + 1..] {
            let names = |word: &str, on: &str| {
                part.split(&format!("{word} {on}")).skip(1).any(|rest| rest.starts_with([',', '\n', ' ']))
            };
            let hangs = hanging.iter().any(|on| names("from", on) || names("using", on));
            assert!(hangs, "{file}: {name} is written though the compare is lost");
            hanging.push(name);
        }
        assert!(statement.trim_end().ends_with(&format!("from {root}")), "{file}");
    }
    let (_, update, _) = STATEMENTS[0];
    assert!(parts(update)[0].1.contains("and snapshot_version = $2"));
    let (_, message, _) = STATEMENTS[1];
    assert!(parts(message)[0].1.contains("and snapshot_version = $2"));
    let (_, erase, _) = STATEMENTS[4];
    assert!(parts(erase)[0].1.contains("and snapshot_version = $2"));
    let fork = parts(STATEMENTS[3].1);
    assert!(fork[0].1.contains("and c.history_version = $2"));
    assert!(fork.iter().any(|(name, part)| *name == "created" && part.contains("from source")));
}

#[test]
fn only_what_a_model_call_cost_may_be_written_before() {
    for (file, statement, _) in STATEMENTS {
        for (name, part) in parts(statement) {
            assert_eq!(part.contains("on conflict"), name == "usage_stored", "{file}: {name}");
        }
    }
}
