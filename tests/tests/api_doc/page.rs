//! From the list to the page, and from the page to its commands.

use std::fmt::Write as _;

use super::{
    reasons,
    step::{Call, Shown, Step},
};

/// Stands at the end of a request.
const END: &str = "END";
const SHELL: &str = "```sh\n";
const JSON: &str = "```json\n";
const FENCE: &str = "```\n";
/// What a line of prose holds.
const WIDTH: usize = 118;
const BUF: &str = "buf curl";

/// A command of the page with the reply that is shown below it.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) command: String,
    pub(crate) reply: String,
}

/// The page with these replies, one for each call.
pub(crate) fn render(steps: &[Step], replies: &[String]) -> String {
    let mut page = String::new();
    let mut replies = replies.iter();
    for step in steps {
        match step {
            Step::Section(title) => write!(page, "## {title}\n\n"),
            Step::Words(words) => write!(page, "{}\n\n", wrapped(words.trim())),
            Step::Behind(_) => Ok(()),
            Step::Call(call) => {
                let reply = replies.next().expect("there is a reply for each call");
                write!(page, "{}", example(call, reply))
            }
        }
        .expect("writing to a String cannot fail");
    }
    page + &reasons::table()
}

/// A paragraph of one line is broken into short ones; what has lines of its own keeps them.
fn wrapped(words: &str) -> String {
    if words.contains('\n') {
        return words.to_owned();
    }
    let mut text = String::new();
    let mut used = 0;
    for word in words.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > WIDTH {
            text.push('\n');
            used = 0;
        } else if used > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text
}

fn example(call: &Call, reply: &str) -> String {
    let Call { method, body, token, .. } = call;
    let with_buf = format!(
        "{BUF} --protocol grpc --http2-prior-knowledge -H \"authorization: Bearer {token}\" -d @- \\\n  \
         \"http://$address/chatplane.chat.v1.{method}\" <<{END}\n{body}\n{END}\n"
    );
    let with_grpcurl = format!(
        "grpcurl -plaintext -H \"authorization: Bearer {token}\" -d @ \\\n  \
         \"$address\" chatplane.chat.v1.{method} <<{END}\n{body}\n{END}\n"
    );
    format!(
        "{SHELL}{with_buf}{FENCE}\n<details><summary>grpcurl</summary>\n\n{SHELL}{with_grpcurl}{FENCE}\n</details>\n\n\
         {JSON}{reply}\n{FENCE}\n{}",
        kept(call)
    )
}

/// Says which variables the reply gives.
fn kept(call: &Call) -> String {
    let of_reply = call.keeps.iter().map(|(variable, path)| format!("`${variable}` is its `{path}`"));
    let of_events = match &call.shown {
        Shown::Events(events) => events.as_slice(),
        Shown::Reply(_) | Shown::Refusal => &[],
    };
    let of_events = of_events.iter().filter_map(|event| {
        let (variable, path) = event.keep?;
        Some(format!("`${variable}` is the `{path}` of that {}", event.kind))
    });
    let all: Vec<String> = of_reply.chain(of_events).collect();
    match all.is_empty() {
        true => String::new(),
        false => wrapped(&format!("From here on {}.", all.join(", and "))) + "\n\n",
    }
}

/// The commands of a page with their replies, in order.
pub(crate) fn examples(page: &str) -> Vec<Example> {
    let start = format!("{SHELL}{BUF}");
    let pieces = page.split(&start).skip(1);
    let example = |piece: &str| {
        let (command, rest) = piece.split_once(FENCE)?;
        let (_, rest) = rest.split_once(JSON)?;
        let (reply, _) = rest.split_once(FENCE)?;
        Some(Example { command: format!("{BUF}{command}"), reply: reply.trim_end().to_owned() })
    };
    pieces.map(|piece| example(piece).expect("a command has a reply below it")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::call;

    #[test]
    fn what_is_written_is_found_again() {
        let steps = [
            Step::Section("One"),
            call("ChatService/GetChat", r#"{"chatId": "$chat"}"#, &["chat"])
                .keep("title", "chat.title")
                .into(),
            Step::Words("Words."),
            call("ChatService/ListChats", "{}", &["chats"]).into(),
        ];

        let page = render(&steps, &["{\n  \"a\": 1\n}".to_owned(), "{}".to_owned()]);

        let found = examples(&page);
        assert_eq!(found.len(), 2);
        assert!(found[0].command.starts_with("buf curl --protocol grpc "), "{}", found[0].command);
        assert!(found[0].command.ends_with("<<END\n{\"chatId\": \"$chat\"}\nEND\n"), "{}", found[0].command);
        assert_eq!((found[0].reply.as_str(), found[1].reply.as_str()), ("{\n  \"a\": 1\n}", "{}"));
        assert!(page.contains("From here on `$title` is its `chat.title`.\n"), "{page}");
        assert!(page.contains("\"$address\" chatplane.chat.v1.ChatService/ListChats <<END\n"), "{page}");
    }
}
