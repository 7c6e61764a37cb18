//! Rules of labels: the same wherever labels are given.

use std::collections::BTreeMap;

use super::violation;
use crate::{
    app::FieldViolation,
    limits::labels::{COUNT_MAX, KEY_CHARS_MAX, VALUE_CHARS_MAX},
};

/// Adds a violation for every rule that a label breaks.
pub(super) fn check(field: &str, given: &BTreeMap<String, String>, violations: &mut Vec<FieldViolation>) {
    if given.len() > COUNT_MAX {
        violations.push(violation(field, format!("at most {COUNT_MAX} labels")));
    }
    for (key, value) in given.iter().take(COUNT_MAX) {
        let shown: String = key.chars().take(KEY_CHARS_MAX).collect();
        let broken = broken_by_key(key).into_iter().chain(broken_by_value(value)).flatten();
        violations.extend(broken.map(|rule| violation(format!("{field}[{shown:?}]"), rule)));
    }
}

fn broken_by_key(key: &str) -> [Option<String>; 3] {
    let is_first = |first: char| first.is_ascii_alphanumeric();
    let is_other = |other: char| other.is_ascii_alphanumeric() || "._/-".contains(other);
    let has_length = (1..=KEY_CHARS_MAX).contains(&key.chars().count());
    [
        (!has_length).then(|| format!("a key has 1 to {KEY_CHARS_MAX} characters")),
        (!key.chars().take(1).all(is_first)).then(|| "a key begins with a letter or a digit".to_owned()),
        (!key.chars().skip(1).all(is_other)).then(|| "a key is made of A-Z a-z 0-9 . _ / -".to_owned()),
    ]
}

fn broken_by_value(value: &str) -> [Option<String>; 2] {
    let has_length = (1..=VALUE_CHARS_MAX).contains(&value.chars().count());
    [
        (!has_length).then(|| format!("a value has 1 to {VALUE_CHARS_MAX} characters")),
        value.contains('\0').then(|| "a value has no NUL character".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The violations of one label, without the field that they name.
    fn broken(key: &str, value: &str) -> Vec<String> {
        let mut violations = Vec::new();
        check("labels", &BTreeMap::from([(key.to_owned(), value.to_owned())]), &mut violations);
        violations.into_iter().map(|violation| violation.description).collect()
    }

    #[test]
    fn what_the_rules_allow_is_taken() {
        let (key, value) = ("k".repeat(KEY_CHARS_MAX), "ü".repeat(VALUE_CHARS_MAX));
        for (key, value) in [("a", "1"), ("0", " "), ("team/sub.Part_1-x", "blue\nand green"), (&key, &value)]
        {
            assert_eq!(broken(key, value), Vec::<String>::new(), "{key}");
        }
    }

    #[test]
    fn each_rule_that_is_broken_gives_one_violation() {
        let length = format!("a key has 1 to {KEY_CHARS_MAX} characters");
        let first = "a key begins with a letter or a digit".to_owned();
        let others = "a key is made of A-Z a-z 0-9 . _ / -".to_owned();
        let value = format!("a value has 1 to {VALUE_CHARS_MAX} characters");
        let nul = "a value has no NUL character".to_owned();
        let long = "x".repeat(KEY_CHARS_MAX + 1);
        let long_value = "x".repeat(VALUE_CHARS_MAX + 1);

        assert_eq!(broken("", "v"), std::slice::from_ref(&length));
        assert_eq!(broken(&long, "v"), std::slice::from_ref(&length));
        assert_eq!(broken("-x", "v"), std::slice::from_ref(&first));
        assert_eq!(broken("x y", "v"), std::slice::from_ref(&others));
        assert_eq!(broken("x", ""), std::slice::from_ref(&value));
        assert_eq!(broken("x", &long_value), std::slice::from_ref(&value));
        assert_eq!(broken("x", "\0"), std::slice::from_ref(&nul));
        assert_eq!(
            broken(&format!("-ä{long}"), &format!("{long_value}\0")),
            [length, first, others, value, nul]
        );
    }

    #[test]
    fn violations_name_field_and_key_and_one_says_that_there_are_too_many() {
        let many: BTreeMap<String, String> =
            (0..=COUNT_MAX).map(|number| (format!("k{number}"), "v".to_owned())).collect();
        let mut violations = Vec::new();
        check("set_labels", &many, &mut violations);
        check("labels", &BTreeMap::from([("-x".to_owned(), "v".to_owned())]), &mut violations);

        let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["set_labels", "labels[\"-x\"]"]);
    }
}
