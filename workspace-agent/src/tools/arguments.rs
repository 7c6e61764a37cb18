//! The arguments of a call, read with sentences that name the field.
//!
//! Models send fields that no schema names; those are ignored, so that a call that can be understood runs.

use serde_json::{Map, Value};

/// A JSON object.
#[derive(Debug)]
pub(crate) struct Arguments(Map<String, Value>);

/// What is wrong with arguments, in words for the model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgumentsError {
    #[error("The arguments are not a JSON object.")]
    NotAnObject,
    #[error("The argument `{0}` is missing.")]
    Missing(&'static str),
    #[error("The argument `{0}` must be a string.")]
    NotText(&'static str),
    #[error("The argument `{0}` must be a whole number of at least 1.")]
    NotPositive(&'static str),
}

impl Arguments {
    /// Reads what the model wrote. Nothing at all counts as the empty object.
    pub(crate) fn parse(json: &str) -> Result<Self, ArgumentsError> {
        if json.trim().is_empty() {
            return Ok(Self(Map::new()));
        }
        serde_json::from_str(json).map(Self).map_err(|_| ArgumentsError::NotAnObject)
    }

    /// A string, where there is one.
    pub(crate) fn text(&self, field: &'static str) -> Result<Option<&str>, ArgumentsError> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ArgumentsError::NotText(field)),
        }
    }

    /// A number from 1, where there is one. Some models write whole numbers as `3.0`.
    pub(crate) fn positive(&self, field: &'static str) -> Result<Option<u64>, ArgumentsError> {
        let Some(value) = self.0.get(field).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let whole = value.as_u64().or_else(|| whole(value.as_f64()?));
        match whole {
            Some(number) if number >= 1 => Ok(Some(number)),
            _ => Err(ArgumentsError::NotPositive(field)),
        }
    }
}

/// The float as a number, when it is one exactly.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are checked")]
fn whole(number: f64) -> Option<u64> {
    /// Above 2^53 floats are no longer all of the whole numbers.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_must_be_an_object() {
        for json in ["[]", "3", "\"path\"", "{", "{} x", &"[".repeat(100_000)] {
            assert_eq!(Arguments::parse(json).unwrap_err(), ArgumentsError::NotAnObject);
        }
        assert!(Arguments::parse("").is_ok());
        assert!(Arguments::parse("{\"surplus\": true}").is_ok());
    }

    #[test]
    fn an_error_names_its_field() {
        let arguments = Arguments::parse(r#"{"path": 3, "offset": "7", "limit": 0}"#).unwrap();

        assert_eq!(arguments.text("path"), Err(ArgumentsError::NotText("path")));
        assert_eq!(arguments.positive("offset"), Err(ArgumentsError::NotPositive("offset")));
        assert_eq!(arguments.positive("limit"), Err(ArgumentsError::NotPositive("limit")));
    }

    #[test]
    fn whole_numbers_may_be_floats_and_null_is_absent() {
        let arguments = Arguments::parse(r#"{"a": 3.0, "b": 3.5, "c": -1, "d": 1e300, "e": null}"#).unwrap();

        assert_eq!(arguments.positive("a"), Ok(Some(3)));
        assert_eq!(arguments.positive("b"), Err(ArgumentsError::NotPositive("b")));
        assert_eq!(arguments.positive("c"), Err(ArgumentsError::NotPositive("c")));
        assert_eq!(arguments.positive("d"), Err(ArgumentsError::NotPositive("d")));
        assert_eq!(arguments.positive("e"), Ok(None));
        assert_eq!(arguments.text("e"), Ok(None));
    }
}
