//! The arguments of a call, read with sentences that name the field.
//!
//! Models send fields that no schema names; those are ignored, so that a call that can be understood runs.

use serde_json::{Map, Value};

/// A JSON object.
#[derive(Debug)]
pub(crate) struct Arguments(Map<String, Value>);

/// What is wrong with arguments, in words for the model. Each names the field, `edits[2].path` within others.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgumentsError {
    #[error("The arguments are not a JSON object.")]
    NotAnObject,
    #[error("The argument `{0}` is missing.")]
    Missing(String),
    #[error("The argument `{0}` must be a string.")]
    NotText(String),
    #[error("The argument `{0}` must be a whole number of at least 1.")]
    NotPositive(String),
    #[error("The argument `{0}` must be true or false.")]
    NotFlag(String),
    #[error("The argument `{0}` must be an array of objects.")]
    NotObjects(String),
}

impl Arguments {
    /// Reads what the model wrote. Nothing at all counts as the empty object.
    pub(crate) fn parse(json: &str) -> Result<Self, ArgumentsError> {
        if json.trim().is_empty() {
            return Ok(Self(Map::new()));
        }
        serde_json::from_str(json).map(Self).map_err(|_| ArgumentsError::NotAnObject)
    }

    /// The fields of the object.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields { values: &self.0, place: String::new() }
    }

    /// A string, where there is one.
    pub(crate) fn text(&self, field: &str) -> Result<Option<&str>, ArgumentsError> {
        self.fields().text(field)
    }

    /// A number from 1, where there is one.
    pub(crate) fn positive(&self, field: &str) -> Result<Option<u64>, ArgumentsError> {
        self.fields().positive(field)
    }
}

/// The fields of an object.
pub(crate) struct Fields<'a> {
    values: &'a Map<String, Value>,
    /// Where the object is, up to the name of a field.
    place: String,
}

impl<'a> Fields<'a> {
    /// A string, where there is one.
    pub(crate) fn text(&self, field: &str) -> Result<Option<&'a str>, ArgumentsError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ArgumentsError::NotText(self.name(field))),
        }
    }

    /// A string that must be there.
    pub(crate) fn required_text(&self, field: &str) -> Result<&'a str, ArgumentsError> {
        self.text(field)?.ok_or_else(|| ArgumentsError::Missing(self.name(field)))
    }

    /// A number from 1, where there is one. Some models write whole numbers as `3.0`.
    pub(crate) fn positive(&self, field: &str) -> Result<Option<u64>, ArgumentsError> {
        let Some(value) = self.value(field) else {
            return Ok(None);
        };
        let whole = value.as_u64().or_else(|| whole(value.as_f64()?));
        match whole {
            Some(number) if number >= 1 => Ok(Some(number)),
            _ => Err(ArgumentsError::NotPositive(self.name(field))),
        }
    }

    /// A truth value; one that is not there is false.
    pub(crate) fn flag(&self, field: &str) -> Result<bool, ArgumentsError> {
        match self.value(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(ArgumentsError::NotFlag(self.name(field))),
        }
    }

    /// The objects of an array that must be there.
    pub(crate) fn required_objects(&self, field: &str) -> Result<Vec<Fields<'a>>, ArgumentsError> {
        let value = self.value(field).ok_or_else(|| ArgumentsError::Missing(self.name(field)))?;
        let objects = value.as_array().ok_or_else(|| ArgumentsError::NotObjects(self.name(field)))?;
        let object = |(index, value): (usize, &'a Value)| {
            let values = value.as_object().ok_or_else(|| ArgumentsError::NotObjects(self.name(field)))?;
            Ok(Fields { values, place: format!("{}[{index}].", self.name(field)) })
        };
        objects.iter().enumerate().map(object).collect()
    }

    /// Some models write null for what they leave out.
    fn value(&self, field: &str) -> Option<&'a Value> {
        self.values.get(field).filter(|value| !value.is_null())
    }

    fn name(&self, field: &str) -> String {
        format!("{}{field}", self.place)
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

        assert_eq!(arguments.text("path"), Err(ArgumentsError::NotText("path".to_owned())));
        assert_eq!(arguments.positive("offset"), Err(ArgumentsError::NotPositive("offset".to_owned())));
        assert_eq!(arguments.positive("limit"), Err(ArgumentsError::NotPositive("limit".to_owned())));
    }

    #[test]
    fn whole_numbers_may_be_floats_and_null_is_absent() {
        let arguments = Arguments::parse(r#"{"a": 3.0, "b": 3.5, "c": -1, "d": 1e300, "e": null}"#).unwrap();

        assert_eq!(arguments.positive("a"), Ok(Some(3)));
        assert_eq!(arguments.positive("b"), Err(ArgumentsError::NotPositive("b".to_owned())));
        assert_eq!(arguments.positive("c"), Err(ArgumentsError::NotPositive("c".to_owned())));
        assert_eq!(arguments.positive("d"), Err(ArgumentsError::NotPositive("d".to_owned())));
        assert_eq!(arguments.positive("e"), Ok(None));
        assert_eq!(arguments.text("e"), Ok(None));
    }

    #[test]
    fn an_error_within_an_array_names_its_place() {
        let arguments = Arguments::parse(
            r#"{"edits": [{"path": "a", "all": true}, {"path": 3, "all": "yes"}], "mixed": [{}, 1], "no": {}}"#,
        )
        .unwrap();
        let fields = arguments.fields();
        let edits = fields.required_objects("edits").unwrap();

        assert_eq!(edits[0].required_text("path"), Ok("a"));
        assert_eq!(edits[0].flag("all"), Ok(true));
        assert_eq!(edits[0].flag("other"), Ok(false));
        let sentence = |error: ArgumentsError| error.to_string();
        assert_eq!(
            edits[1].required_text("path").map_err(sentence),
            Err("The argument `edits[1].path` must be a string.".to_owned())
        );
        assert_eq!(edits[1].flag("all"), Err(ArgumentsError::NotFlag("edits[1].all".to_owned())));
        assert_eq!(edits[1].required_text("new"), Err(ArgumentsError::Missing("edits[1].new".to_owned())));
        for (field, error) in [
            ("mixed", ArgumentsError::NotObjects("mixed".to_owned())),
            ("no", ArgumentsError::NotObjects("no".to_owned())),
            ("none", ArgumentsError::Missing("none".to_owned())),
        ] {
            assert_eq!(fields.required_objects(field).err(), Some(error));
        }
    }
}
