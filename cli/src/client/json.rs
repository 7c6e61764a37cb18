//! Messages of the contract as programs read them: one JSON object a line, in protobuf's own JSON form. Names
//! are those of the contract in lowerCamelCase, 64-bit integers are strings, times are RFC 3339, bytes are
//! base64, and what has its default value is left out: what `buf curl` and `grpcurl` print, too. Texts come from
//! models and strangers, and the line may be read on a terminal: what that would obey, or what makes one thing
//! look like another there, is written as `\uXXXX`, which is the same to whoever reads JSON.

use std::{fmt::Write as _, sync::LazyLock};

use chatplane_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::words::turns_text;

/// The descriptors of the whole contract.
static CONTRACT: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptors were compiled with the contract")
});

/// The message as a line without its end. `name` is its name in `chatplane.chat.v1`.
pub(crate) fn line(name: &str, message: &impl Message) -> String {
    let descriptor = CONTRACT
        .get_message_by_name(&format!("chatplane.chat.v1.{name}"))
        .expect("names are those of the contract, and each is tested");
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("what was encoded by the contract can be decoded by it");
    let line = serde_json::to_string(&dynamic).expect("every message has a JSON form, and it goes to memory");
    escaped(line)
}

/// The same JSON without what a terminal obeys. Outside of texts JSON has none of these characters.
fn escaped(line: String) -> String {
    if !line.contains(is_obeyed) {
        return line;
    }
    let mut escaped = String::with_capacity(line.len());
    for character in line.chars() {
        if is_obeyed(character) {
            write!(escaped, "\\u{:04x}", u32::from(character)).expect("it goes to memory");
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// All of them have four digits.
fn is_obeyed(character: char) -> bool {
    character.is_control() || turns_text(character) || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use chatplane_proto::chat::v1::{
        Chat, ChatState, CreateChatResponse, PartAppend, StreamId, WatchChatResponse,
        watch_chat_response::Event,
    };

    use super::*;

    #[test]
    fn names_are_the_contracts_in_json() {
        let chat = Chat {
            chat_id: "0197".to_owned(),
            state: ChatState::Running.into(),
            snapshot_version: 5,
            create_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            ..Default::default()
        };

        assert_eq!(
            line("CreateChatResponse", &CreateChatResponse { chat: Some(chat), message: None }),
            r#"{"chat":{"chatId":"0197","state":"CHAT_STATE_RUNNING","createTime":"1970-01-01T00:00:00Z","snapshotVersion":"5"}}"#
        );
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let append = PartAppend {
            stream: Some(StreamId { base_version: 2, index: 0 }),
            part: 1,
            offset: 3,
            data: b"two\nlines".to_vec().into(),
        };
        let event = WatchChatResponse { cursor: "c".to_owned(), event: Some(Event::PartAppend(append)) };

        assert_eq!(
            line("WatchChatResponse", &event),
            r#"{"cursor":"c","partAppend":{"stream":{"baseVersion":"2"},"part":1,"offset":"3","data":"dHdvCmxpbmVz"}}"#
        );
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_means_the_same() {
        let obeyed = "\u{7f}\u{80}\u{9b}2J\u{9f}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{1b}\n";
        let kept = "é \\ \" \u{a0} \u{200d} 日本 🦀";
        let chat = Chat { title: format!("{obeyed}{kept}"), ..Default::default() };

        let line =
            line("CreateChatResponse", &CreateChatResponse { chat: Some(chat.clone()), message: None });

        assert!(
            !line.contains(|character| obeyed.contains(character) && !"2J".contains(character)),
            "{line}"
        );
        assert!(line.contains(r"\u007f\u0080\u009b2J\u009f\u061c\u200e\u200f\u2028"), "{line}");
        assert!(line.contains("\u{a0} \u{200d} 日本 🦀"), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["chat"]["title"], chat.title.as_str());
    }

    #[test]
    fn every_message_that_is_printed_is_known() {
        for name in [
            "CreateChatResponse",
            "SendMessageResponse",
            "WatchChatResponse",
            "InterruptChatResponse",
            "ForkChatResponse",
            "CompactChatResponse",
            "ClearContextResponse",
            "ListedChat",
            "GetChatResponse",
            "UpdateChatResponse",
            "MarkReadResponse",
            "ArchiveChatResponse",
            "UnarchiveChatResponse",
            "UploadFileResponse",
            "DownloadFileResponse",
            "File",
        ] {
            assert!(CONTRACT.get_message_by_name(&format!("chatplane.chat.v1.{name}")).is_some(), "{name}");
        }
    }
}
