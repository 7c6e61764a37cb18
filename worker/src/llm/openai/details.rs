//! Details of thinking that must go back, as some servers stream them: a list whose items
//! come in pieces.

use serde_json::value::RawValue;

use super::super::state::{Fields, raw_text, text_field};

/// What a detail costs beside its fields, so that no number of empty ones is free.
const DETAIL_BYTES: usize = 64;
/// The fields of a detail that grow; each detail has one of them at most.
const TEXT_FIELDS: [&str; 2] = ["text", "summary"];

/// The details of one part.
#[derive(Debug, Default)]
pub(super) struct Details {
    list: Vec<Detail>,
}

#[derive(Debug)]
struct Detail {
    /// All but the text.
    fields: Fields,
    text: Option<(&'static str, String)>,
}

impl Details {
    /// Adds a piece, and returns how many bytes it takes. A piece of the type and index of
    /// the one before carries on its text, and its other fields, such as a signature,
    /// belong to it too; encrypted data comes whole.
    pub(super) fn add(&mut self, mut fields: Fields) -> usize {
        let text = TEXT_FIELDS.into_iter().find_map(|name| Some((name, text_field(&fields, name)?)));
        if let Some((name, _)) = text {
            fields.remove(name);
        }
        let carries_on = text.is_some() || fields.contains_key("signature");
        match self.list.last_mut().filter(|last| carries_on && last.is_of(&fields)) {
            Some(last) => last.carry_on(fields, text),
            None => {
                let bytes = fields.iter().map(|(name, value)| name.len() + value.get().len()).sum::<usize>();
                let text_bytes = text.as_ref().map_or(0, |(name, text)| name.len() + text.len());
                self.list.push(Detail { fields, text });
                DETAIL_BYTES + bytes + text_bytes
            }
        }
    }

    /// The list as it goes back; `None` when there is nothing.
    pub(super) fn into_json(self) -> Option<Box<RawValue>> {
        if self.list.is_empty() {
            return None;
        }
        let fields = |detail: Detail| {
            let mut fields = detail.fields;
            fields.extend(detail.text.map(|(name, text)| (name.to_owned(), raw_text(&text))));
            fields
        };
        let list: Vec<Fields> = self.list.into_iter().map(fields).collect();
        Some(serde_json::value::to_raw_value(&list).expect("raw JSON can always be written"))
    }
}

impl Detail {
    fn is_of(&self, fields: &Fields) -> bool {
        let value = |fields: &Fields, name: &str| fields.get(name).map(|value| value.get().to_owned());
        ["type", "index"].iter().all(|name| value(&self.fields, name) == value(fields, name))
    }

    /// Adds a piece, and returns how many bytes it takes.
    fn carry_on(&mut self, fields: Fields, text: Option<(&'static str, String)>) -> usize {
        let mut bytes = 0;
        if let Some((name, more)) = text {
            bytes += more.len();
            self.text.get_or_insert((name, String::new())).1.push_str(&more);
        }
        for (name, value) in fields {
            let known = self.fields.get(&name).is_some_and(|kept| kept.get() == value.get());
            if !known && value.get() != "null" {
                bytes += name.len() + value.get().len();
                self.fields.insert(name, value);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn add(details: &mut Details, detail: &Value) -> usize {
        details.add(serde_json::from_str(&detail.to_string()).unwrap())
    }

    fn list(details: Details) -> Value {
        serde_json::from_str(details.into_json().unwrap().get()).unwrap()
    }

    #[test]
    fn pieces_are_put_together_and_whole_details_stay_apart() {
        let mut details = Details::default();
        for detail in [
            json!({"type": "reasoning.text", "index": 0, "text": "Let ", "format": "x"}),
            json!({"type": "reasoning.text", "index": 0, "text": "me.", "format": "x", "signature": null}),
            json!({"type": "reasoning.text", "index": 0, "signature": "c2ln"}),
            json!({"type": "reasoning.summary", "index": 1, "summary": "It "}),
            json!({"type": "reasoning.summary", "index": 1, "summary": "did."}),
            json!({"type": "reasoning.encrypted", "index": 2, "data": "ZW5j"}),
            json!({"type": "reasoning.encrypted", "index": 2, "data": "more"}),
        ] {
            add(&mut details, &detail);
        }

        let expected = json!([
            {"type": "reasoning.text", "index": 0, "text": "Let me.", "format": "x", "signature": "c2ln"},
            {"type": "reasoning.summary", "index": 1, "summary": "It did."},
            {"type": "reasoning.encrypted", "index": 2, "data": "ZW5j"},
            {"type": "reasoning.encrypted", "index": 2, "data": "more"},
        ]);
        assert_eq!(list(details), expected);
    }

    #[test]
    fn a_piece_costs_what_it_adds() {
        let mut details = Details::default();
        let piece = json!({"type": "reasoning.text", "index": 0, "text": "word ", "format": "x"});
        assert!(add(&mut details, &piece) > DETAIL_BYTES);
        assert_eq!((add(&mut details, &piece), add(&mut details, &piece)), (5, 5));
        assert!(Details::default().into_json().is_none());
    }
}
