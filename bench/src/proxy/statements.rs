//! Which statements were run, told by how they begin: where more round trips are made
//! than there should be, it shows what they are.

use std::collections::{BTreeMap, HashMap};

use super::wire::{BIND, PARSE, QUERY};

/// How much of a statement is told.
const WORDS_CHARS_MAX: usize = 48;

/// How often each statement was run.
pub(crate) type Counts = BTreeMap<String, u64>;

/// The prepared statements of one connection.
#[derive(Debug, Default)]
pub(super) struct Statements {
    prepared: HashMap<Vec<u8>, String>,
}

impl Statements {
    /// The words of the statement that a client's message runs or prepares, if it does.
    pub(super) fn run(&mut self, tag: u8, body: &[u8]) -> Option<String> {
        let mut texts = body.split(|byte| *byte == 0);
        match tag {
            QUERY => texts.next().map(words),
            PARSE => {
                let (name, text) = (texts.next()?, texts.next()?);
                let words = words(text);
                self.prepared.insert(name.to_vec(), words.clone());
                // The unnamed statement is parsed and run in one go.
                (!name.is_empty()).then(|| format!("prepare {words}"))
            }
            BIND => self.prepared.get(texts.nth(1)?).cloned(),
            _ => None,
        }
    }
}

/// How a statement begins, in one line.
fn words(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line: Vec<&str> = text.split_whitespace().collect();
    line.join(" ").chars().take(WORDS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_statement_is_known_by_its_name() {
        let mut statements = Statements::default();

        assert_eq!(statements.run(PARSE, b"s1\0select\n   1\0\0").as_deref(), Some("prepare select 1"));
        assert_eq!(statements.run(BIND, b"\0s1\0\0\0").as_deref(), Some("select 1"));
        assert_eq!(statements.run(BIND, b"\0s2\0").as_deref(), None);
        assert_eq!(statements.run(QUERY, b"-- ping\0").as_deref(), Some("-- ping"));
        assert_eq!(statements.run(b'S', b"").as_deref(), None);
    }

    #[test]
    fn the_unnamed_statement_counts_when_it_is_run() {
        let mut statements = Statements::default();

        assert_eq!(statements.run(PARSE, b"\0begin\0"), None);
        assert_eq!(statements.run(BIND, b"\0\0").as_deref(), Some("begin"));
    }
}
