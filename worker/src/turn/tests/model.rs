//! A model that says what a test wrote down.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use chatplane_domain::{ChatError, ErrorKind, Usage};
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::Semaphore;

use crate::llm::{
    CallFailure, Intake, ModelCall, ModelEvent, PartKind, PromptMessage, Provider, Providers, StopReason,
    UserPiece,
};

/// What happens next in an answer.
#[derive(Clone)]
pub(super) enum Beat {
    Say(ModelEvent),
    Fail(CallFailure),
    /// Until the test lets it go on.
    Wait(Arc<Semaphore>),
    /// For ever.
    Hang,
}

/// The model.
#[derive(Default)]
pub(super) struct ScriptedModel {
    answers: Mutex<VecDeque<Vec<Beat>>>,
    calls: Mutex<Vec<ModelCall>>,
    /// Streams that are open.
    open: Arc<AtomicUsize>,
}

impl ScriptedModel {
    pub(super) fn new(answers: impl IntoIterator<Item = Vec<Beat>>) -> Arc<Self> {
        let answers = Mutex::new(answers.into_iter().collect());
        Arc::new(ScriptedModel { answers, ..ScriptedModel::default() })
    }

    pub(super) fn calls(&self) -> Vec<ModelCall> {
        self.calls.lock().unwrap().clone()
    }

    pub(super) fn open_streams(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Provider for ScriptedModel {
    fn call(&self, call: ModelCall) -> BoxStream<'static, Result<ModelEvent, CallFailure>> {
        self.calls.lock().unwrap().push(call);
        let beats = self.answers.lock().unwrap().pop_front().unwrap_or_else(|| vec![Beat::Hang]);
        self.open.fetch_add(1, Ordering::SeqCst);
        let open = Open(self.open.clone());
        let state = (VecDeque::from(beats), open);
        futures::stream::unfold(state, async |(mut beats, open)| {
            loop {
                match beats.pop_front()? {
                    Beat::Say(event) => return Some((Ok(event), (beats, open))),
                    Beat::Fail(failure) => return Some((Err(failure), (VecDeque::new(), open))),
                    Beat::Wait(gate) => gate.acquire().await.unwrap().forget(),
                    Beat::Hang => futures::future::pending::<()>().await,
                }
            }
        })
        .boxed()
    }

    /// As Anthropic's.
    fn intake(&self, _: &str, _: &str) -> Intake {
        Providers::default().get("anthropic").unwrap().intake("http://127.0.0.1:1", "claude-sonnet-4-6")
    }
}

/// What a user says in words.
pub(super) fn words(message: &PromptMessage) -> Vec<&str> {
    let PromptMessage::User { parts } = message else { panic!("{message:?}") };
    let words = parts.iter().filter_map(|part| match part {
        UserPiece::Text(text) => Some(text.as_str()),
        UserPiece::Image(_) | UserPiece::Document(_) => None,
    });
    words.collect()
}

pub(super) const USAGE: Usage = Usage {
    input_tokens: 10,
    output_tokens: 5,
    cache_read_tokens: 0,
    cache_write_tokens: 0,
    reasoning_tokens: 0,
};

pub(super) fn say(text: &str) -> Vec<Beat> {
    [begin(text), vec![Beat::Say(ModelEvent::PartFinished { provider_state: Bytes::new() })]].concat()
}

/// A part that is not finished.
pub(super) fn begin(text: &str) -> Vec<Beat> {
    let deltas = text.split_inclusive(' ').map(|word| Beat::Say(ModelEvent::Delta(word.to_owned())));
    [Beat::Say(ModelEvent::PartStarted(PartKind::Text))].into_iter().chain(deltas).collect()
}

pub(super) fn call(tool_name: &str, arguments: &str) -> Vec<Beat> {
    let kind = PartKind::ToolCall { tool_name: tool_name.to_owned() };
    vec![
        Beat::Say(ModelEvent::PartStarted(kind)),
        Beat::Say(ModelEvent::Delta(arguments.to_owned())),
        Beat::Say(ModelEvent::PartFinished { provider_state: Bytes::from_static(b"call_1") }),
    ]
}

pub(super) fn used() -> Vec<Beat> {
    vec![Beat::Say(ModelEvent::Usage(USAGE))]
}

pub(super) fn end(reason: StopReason) -> Vec<Beat> {
    [used(), vec![Beat::Say(ModelEvent::Finished(reason))]].concat()
}

/// The same for a prompt of so many tokens.
pub(super) fn end_at(input_tokens: i64, reason: StopReason) -> Vec<Beat> {
    let usage = Usage { input_tokens, ..USAGE };
    vec![Beat::Say(ModelEvent::Usage(usage)), Beat::Say(ModelEvent::Finished(reason))]
}

pub(super) fn answer(text: &str) -> Vec<Beat> {
    [say(text), end(StopReason::EndTurn)].concat()
}

pub(super) fn fail(kind: ErrorKind, retryable: bool) -> Vec<Beat> {
    let error = ChatError {
        kind,
        message: "It failed.".to_owned(),
        detail: "because".to_owned(),
        provider: "scripted".to_owned(),
        status_code: Some(503),
        retryable,
    };
    vec![Beat::Fail(CallFailure { error, retry_after: None })]
}
