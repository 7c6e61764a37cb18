//! Many chats: names, pins, what is unread, lists and search, and how to follow them all.

use crate::step::{Step, call, event, refused, streamed};

pub(super) fn steps() -> Vec<Step> {
    let mut steps = name();
    steps.extend(list());
    steps.extend(search());
    steps.extend(watch());
    steps
}

fn name() -> Vec<Step> {
    vec![
        Step::Section("Many chats"),
        Step::Words(
            "A chat can be given a title and labels. `updateMask` names what changes: `setLabels` and `removeLabels` some \
             labels, `labels` all of them.",
        ),
        call(
            "ChatService/UpdateChat",
            r#"{
  "chatId": "$fork",
  "updateMask": "title,setLabels",
  "title": "Sowing in March",
  "setLabels": {"season": "spring"}
}"#,
            &["chat.chatId", "chat.title", "chat.labels", "chat.metadataVersion"],
        )
        .into(),
    ]
}

fn list() -> Vec<Step> {
    vec![
        Step::Words(
            "`q` says which chats to list: terms, all of which must hold. This chat has an answer that was not read.",
        ),
        call(
            "ChatService/ListChats",
            r#"{"q": "label:project=garden has_unread:true"}"#,
            &["chats.chat.chatId", "chats.chat.title", "chats.chat.hasUnread"],
        )
        .into(),
        Step::Words(
            "Whoever watches a chat reads it. Without watching, say how far you have read; 0 is all of it.",
        ),
        call("ChatService/MarkRead", r#"{"chatId": "$chat"}"#, &["chat.chatId", "chat.readMessageId"]).into(),
        Step::Words("A term that is no term is refused, with its place."),
        refused("ChatService/ListChats", r#"{"q": "archived:any colour:green"}"#).into(),
        Step::Words("For a list of workspaces there is the latest chat of each."),
        call(
            "ChatService/ListChatsByWorkspace",
            r#"{"workspaceIds": ["$workspace"]}"#,
            &["chats.*.chatId", "chats.*.title"],
        )
        .into(),
    ]
}

fn search() -> Vec<Step> {
    vec![
        Step::Words(
            "`search` looks in titles and in what users and models wrote, for all the words or their beginnings. The \
             best match comes first, with the text around it and the places in that, in code points.",
        ),
        call(
            "ChatService/ListChats",
            r#"{"q": "search:\"phacelia apr\""}"#,
            &[
                "chats.chat.chatId",
                "chats.chat.title",
                "chats.match.messageId",
                "chats.match.role",
                "chats.match.snippet",
                "chats.match.highlights.start",
                "chats.match.highlights.end",
            ],
        )
        .into(),
    ]
}

fn watch() -> Vec<Step> {
    vec![
        Step::Words("To keep a list, read it once."),
        call("ChatService/ListChats", "{}", &["chats.chat.chatId", "chats.chat.title", "watchCursor"])
            .keep("list", "watchCursor")
            .into(),
        Step::Words("Then something happens: a chat is pinned, which puts it before the others."),
        call(
            "ChatService/UpdateChat",
            r#"{"chatId": "$chat", "updateMask": "pinOrder", "pinOrder": 1}"#,
            &["chat.chatId", "chat.pinOrder"],
        )
        .into(),
        Step::Words(
            "`WatchChats` tells what has happened to all of your chats since the list was read, and goes on with what \
             happens. Each event has the whole chat, what of it changed, and a cursor, to go on after it on any \
             replica.",
        ),
        streamed(
            "ChatService/WatchChats",
            r#"{"cursor": "$list"}"#,
            vec![event(
                "chatChanged",
                &["cursor", "chatChanged.changes", "chatChanged.chat.chatId", "chatChanged.chat.pinOrder"],
            )],
        )
        .into(),
        Step::Words(
            "Without a cursor it begins with the present. `progress` comes at once, and when nothing happens.",
        ),
        streamed("ChatService/WatchChats", "{}", vec![event("progress", &["cursor", "progress"])]).into(),
    ]
}
