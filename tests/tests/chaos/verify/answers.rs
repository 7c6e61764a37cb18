//! Answers and their accounts, held against what the model server sent.

use std::collections::BTreeMap;

use chatplane_tests::model_server::{Call, PartKind};
use sqlx::PgConnection;

use super::SHOWN_MAX;
use crate::model;

/// What assistants have said: chat, message, whether it was stopped, and its text.
const ANSWERS: &str = "
select m.chat_id::text, m.id, m.interrupted, string_agg(p.part ->> 'text', '' order by p.place)
from messages m
cross join lateral jsonb_array_elements(m.content -> 'parts') with ordinality as p (part, place)
where m.role = 'assistant'
and m.covers_through is null
and p.part ->> 'kind' = 'text'
group by m.chat_id, m.id, m.interrupted";

/// A call that was stopped before the model had said anything has no tokens.
const ACCOUNTS: &str = "select input_tokens from model_calls where input_tokens > 0";

/// An answer in a history.
struct Answer {
    chat: String,
    message: i64,
    is_interrupted: bool,
    text: String,
}

pub(super) async fn broken(connection: &mut PgConnection, calls: &[Call]) -> Vec<String> {
    let answers: Vec<(String, i64, bool, String)> =
        sqlx::query_as(ANSWERS).fetch_all(&mut *connection).await.expect("the answers can be read");
    let answers = answers.into_iter().map(|(chat, message, is_interrupted, text)| Answer {
        chat,
        message,
        is_interrupted,
        text,
    });
    let answers: Vec<Answer> = answers.collect();
    let accounts: Vec<i64> =
        sqlx::query_scalar(ACCOUNTS).fetch_all(connection).await.expect("the accounts can be read");
    let mut wrong = wrong(&answers, &accounts, calls);
    wrong.truncate(SHOWN_MAX);
    wrong
}

/// What answers, accounts and the model server's journal say against each other.
fn wrong(answers: &[Answer], accounts: &[i64], calls: &[Call]) -> Vec<String> {
    let mut accounted: BTreeMap<usize, usize> = BTreeMap::new();
    for number in accounts.iter().filter_map(|tokens| model::number_of_account(*tokens)) {
        *accounted.entry(number).or_default() += 1;
    }
    let mut stored: BTreeMap<usize, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for answer in answers {
        let Some(number) = model::number_of(&answer.text) else {
            found.push(answer.is("has no number"));
            continue;
        };
        *stored.entry(number).or_default() += 1;
        found.extend(answer.difference(calls.get(number)));
        if !answer.is_interrupted && !accounted.contains_key(&number) {
            found.push(answer.is("is stored, and its tokens are not"));
        }
    }
    let twice = stored.into_iter().filter(|(_, times)| *times > 1);
    found.extend(twice.map(|(number, times)| format!("6: answer {number} is stored {times} times")));
    let twice = accounted.into_iter().filter(|(_, times)| *times > 1);
    found.extend(
        twice.map(|(number, times)| format!("8: model call {number} is accounted for {times} times")),
    );
    found
}

impl Answer {
    fn is(&self, what: &str) -> String {
        format!("answers: message {} of chat {} {what}: {:?}", self.message, self.chat, self.text)
    }

    /// An answer is all that was sent; one that was stopped is its beginning.
    fn difference(&self, call: Option<&Call>) -> Option<String> {
        let Some(call) = call else { return Some(self.is("was never sent")) };
        let texts = call.parts.iter().filter(|part| part.kind == PartKind::Text);
        let sent: String = texts.map(|part| part.sent.as_str()).collect();
        let is_right = if self.is_interrupted { sent.starts_with(&self.text) } else { sent == self.text };
        (!is_right).then(|| self.is(&format!("is not what was sent, which is {sent:?}")))
    }
}

#[cfg(test)]
mod tests {
    use chatplane_tests::model_server::{End, Part, Request};

    use super::*;

    fn call(sent: &str) -> Call {
        let part = Part { kind: PartKind::Text, sent: sent.to_owned() };
        Call { request: Request::default(), parts: vec![part], end: Some(End::Played) }
    }

    fn answer(text: &str) -> Answer {
        Answer { chat: "chat".to_owned(), message: 2, is_interrupted: false, text: text.to_owned() }
    }

    #[test]
    fn what_was_sent_and_paid_once_is_right() {
        let calls = [call("#0 hello"), call("#1 hello"), call("#2 never stored")];
        let stopped = Answer { is_interrupted: true, ..answer("#1 he") };

        assert_eq!(wrong(&[answer("#0 hello"), stopped], &[1, 3], &calls), Vec::<String>::new());
    }

    #[test]
    fn each_lie_is_found() {
        let lies = [
            ("changed", vec![answer("#0 hallo")], vec![1]),
            ("cut short", vec![answer("#0 he")], vec![1]),
            (
                "stopped, and more than was sent",
                vec![Answer { is_interrupted: true, ..answer("#0 hello!") }],
                vec![1],
            ),
            ("never sent", vec![answer("#1 hello")], vec![2]),
            ("without a number", vec![answer("hello")], vec![]),
            ("stored twice", vec![answer("#0 hello"), answer("#0 hello")], vec![1]),
            ("paid twice", vec![answer("#0 hello")], vec![1, 1]),
            ("not paid", vec![answer("#0 hello")], vec![]),
        ];
        for (lie, answers, accounts) in lies {
            assert_eq!(wrong(&answers, &accounts, &[call("#0 hello")]).len(), 1, "{lie}");
        }
    }
}
