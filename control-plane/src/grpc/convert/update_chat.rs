//! What a chat is to be called, and where its reader keeps it.

use chatplane_proto::chat::v1 as proto;

use super::{chat_id, configure::check_paths, labels, violation};
use crate::{
    app::{Error, FieldViolation, LabelChange, MarkRead, ReadTo, UpdateChat, is_blank_title},
    limits::metadata::TITLE_CHARS_MAX,
};

/// What `update_mask` may name.
const PATHS: [&str; 5] = ["title", "labels", "set_labels", "remove_labels", "pin_order"];

/// The changes that the mask names; the other fields are not looked at.
pub(crate) fn update_chat(request: proto::UpdateChatRequest) -> Result<UpdateChat, Error> {
    let proto::UpdateChatRequest {
        chat_id: chat,
        request_id: _,
        update_mask,
        title,
        labels,
        set_labels,
        remove_labels,
        pin_order,
        expected_version,
    } = request;
    let paths = update_mask.unwrap_or_default().paths;
    check_paths(&paths, &PATHS)?;
    let has = |path: &str| paths.iter().any(|given| given == path);
    let chat = chat_id(&chat)?;
    let mut violations = Vec::new();
    if has("title") {
        check_title(&title, &mut violations);
    }
    let title = has("title").then_some(title);
    let labels = match (has("labels"), has("set_labels"), has("remove_labels")) {
        (false, false, false) => None,
        (true, false, false) => Some(LabelChange::Replace(labels)),
        (true, _, _) => {
            let description = "labels replaces them all, and does not go with set_labels or remove_labels";
            violations.push(violation("update_mask", description));
            None
        }
        (false, sets, removes) => {
            let set = if sets { set_labels } else { Default::default() };
            let remove = if removes { remove_labels } else { Vec::new() };
            Some(LabelChange::Edit { set, remove })
        }
    };
    check_labels(labels.as_ref(), &mut violations);
    let pin_order = match usize::try_from(pin_order) {
        _ if !has("pin_order") => None,
        Ok(place) => Some(place),
        Err(_) => {
            violations.push(violation("pin_order", "it is a place from 1, or 0 for no pin"));
            None
        }
    };
    if expected_version.is_some_and(|version| version < 1) {
        let description = "it is the metadata_version of the chat that you have read";
        violations.push(violation("expected_version", description));
    }
    if !violations.is_empty() {
        return Err(Error::FieldInvalid(violations));
    }
    Ok(UpdateChat { chat, title, labels, pin_order, expected_version })
}

fn check_title(title: &str, violations: &mut Vec<FieldViolation>) {
    if is_blank_title(title) {
        violations.push(violation("title", "it is empty, or has nothing that can be seen"));
    }
    if title.contains('\0') {
        violations.push(violation("title", "it has no NUL character"));
    }
    if title.chars().count() > TITLE_CHARS_MAX {
        violations.push(violation("title", format!("at most {TITLE_CHARS_MAX} characters")));
    }
}

fn check_labels(change: Option<&LabelChange>, violations: &mut Vec<FieldViolation>) {
    match change {
        None => {}
        Some(LabelChange::Replace(all)) => labels::check("labels", all, violations),
        Some(LabelChange::Edit { set, remove }) => {
            labels::check("set_labels", set, violations);
            for (index, key) in remove.iter().enumerate() {
                if set.contains_key(key) {
                    let field = format!("remove_labels[{index}]");
                    violations.push(violation(field, "the same key is in set_labels"));
                }
            }
        }
    }
}

/// How far a chat was read.
pub(crate) fn mark_read(request: &proto::MarkReadRequest) -> Result<MarkRead, Error> {
    let to = match super::message_bound("message_id", request.message_id)? {
        None => ReadTo::Newest,
        Some(message) => ReadTo::Message(message),
    };
    Ok(MarkRead { chat: chat_id(&request.chat_id)?, to })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The fields that a request is refused for.
    fn refused(paths: &[&str], request: proto::UpdateChatRequest) -> Vec<String> {
        match update_chat(with_mask(paths, request)) {
            Err(Error::FieldInvalid(violations)) => {
                violations.into_iter().map(|violation| violation.field).collect()
            }
            other => panic!("it is not refused for its fields: {other:?}"),
        }
    }

    fn with_mask(paths: &[&str], request: proto::UpdateChatRequest) -> proto::UpdateChatRequest {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        let chat_id = "01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
        proto::UpdateChatRequest { chat_id, update_mask: Some(prost_types::FieldMask { paths }), ..request }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn only_what_the_mask_names_is_looked_at() {
        let request = proto::UpdateChatRequest {
            title: "Beans".to_owned(),
            labels: labels(&[("-", "")]),
            set_labels: labels(&[("-", "")]),
            remove_labels: vec!["-".to_owned()],
            pin_order: -1,
            ..Default::default()
        };

        let update = update_chat(with_mask(&["title"], request)).expect("the title can be used");

        assert_eq!(update.title.as_deref(), Some("Beans"));
        assert!(update.labels.is_none() && update.pin_order.is_none(), "{update:?}");
    }

    #[test]
    fn each_field_that_cannot_be_used_is_named() {
        let default = proto::UpdateChatRequest::default;
        let titled = |title: &str| proto::UpdateChatRequest { title: title.to_owned(), ..default() };
        let both = proto::UpdateChatRequest {
            set_labels: labels(&[("a", "1"), ("b", "")]),
            remove_labels: vec!["x".to_owned(), "a".to_owned()],
            ..default()
        };
        let version = |version| proto::UpdateChatRequest { expected_version: Some(version), ..titled("x") };
        let pin = proto::UpdateChatRequest { pin_order: -1, ..titled(" ") };

        assert_eq!(refused(&[], titled("x")), ["update_mask"]);
        assert_eq!(refused(&["title", "state"], titled("x")), ["update_mask"]);
        assert_eq!(refused(&["labels", "set_labels"], default()), ["update_mask"]);
        assert_eq!(refused(&["labels", "remove_labels"], default()), ["update_mask"]);
        assert_eq!(refused(&["title"], titled("")), ["title"]);
        assert_eq!(refused(&["title"], titled(&"x".repeat(201))), ["title"]);
        assert_eq!(refused(&["title"], titled("a\0b")), ["title"]);
        assert_eq!(refused(&["title"], titled("\u{200b} \u{202e}")), ["title"]);
        assert_eq!(
            refused(&["set_labels", "remove_labels"], both),
            ["set_labels[\"b\"]", "remove_labels[1]"]
        );
        assert_eq!(refused(&["title"], version(0)), ["expected_version"]);
        assert_eq!(refused(&["title", "pin_order"], pin), ["title", "pin_order"]);
    }
}
