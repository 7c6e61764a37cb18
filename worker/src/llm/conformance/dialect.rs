//! What the shared tests must know of each wire format.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatplane_domain::Effort;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{anthropic_rules, openai_rules};
use crate::llm::anthropic::Anthropic;
use crate::llm::assembly::Assembly;
use crate::llm::call::{HttpProvider, WireFormat};
use crate::llm::failure::Failures;
use crate::llm::openai::OpenAi;
use crate::llm::reading::{Reading, Times};
use crate::llm::sse::Event;
use crate::llm::{
    Answer, AnswerPart, CallFailure, CallLimits, ModelCall, ModelEvent, PromptMessage, Provider,
    ToolDefinition, UserPiece,
};

/// The model that is called.
pub(super) const MODEL: &str = "some-model";
/// Thinking and its signature wherever a history has any, so that rules can compare them.
pub(super) const THOUGHT: (&str, &str) = ("hm", "c2ln");

/// The bytes of every file of a history…
pub(super) const FILE: &[u8] = b"\x00\xFF\x10\xFE";
/// …as they are sent.
pub(super) const FILE_BASE64: &str = "AP8Q/g==";

/// A wire format with samples of its streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) name: &'static str,
    /// What stands between an address and the path in a base URL.
    pub(super) base: &'static str,
    /// Where calls go.
    pub(super) path: &'static str,
    /// A header with the key `sk-secret`.
    pub(super) key_header: &'static str,
    /// The stream before the answer begins.
    pub(super) start: &'static str,
    /// The answer begins.
    pub(super) begin: &'static str,
    /// The answer grows by `héllo`.
    pub(super) word: &'static str,
    /// A sign of life.
    pub(super) ping: &'static str,
    /// The answer is whole.
    pub(super) end: &'static str,
    /// What remains of the end that an answer can do without.
    pub(super) spare: &'static str,
    /// The provider gives up since it is overloaded.
    pub(super) overloaded: &'static str,
    /// The events of an answer.
    pub(super) events: fn(&[Piece]) -> Vec<Value>,
    /// Panics where a request breaks the provider's rules.
    pub(super) validate: fn(&Value),
    /// A name of the error at hand, in an error's body.
    pub(super) error: fn(&str, &str) -> Value,
    wire: Wire,
}

/// The functions of a wire format.
#[derive(Clone, Copy, Debug)]
struct Wire {
    provider: fn() -> Arc<dyn Provider>,
    body: fn(&ModelCall, &Url) -> String,
    assemble: fn(&str, &[Value]) -> Vec<ModelEvent>,
    read: fn(Vec<Bytes>) -> stream::BoxStream<'static, Result<ModelEvent, CallFailure>>,
}

impl Wire {
    const fn of<F: WireFormat>() -> Self {
        Self { provider: provider::<F>, body: F::body, assemble: assemble::<F>, read: read::<F> }
    }
}

/// A piece of an answer that a model writes.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Thought,
    /// Thinking with details that must go back, where the wire format has such.
    DetailedThought,
    Text(&'static str),
    Call {
        id: &'static str,
        tool_name: &'static str,
        arguments: &'static str,
    },
}

/// All wire formats.
pub(super) const DIALECTS: [Dialect; 2] = [
    Dialect {
        name: "anthropic",
        base: "",
        path: "/v1/messages",
        key_header: "x-api-key: sk-secret",
        start: "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5}}}\n\n",
        begin: "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        word: "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"h\u{e9}llo\"}}\n\n",
        ping: "event: ping\ndata: {\"type\": \"ping\"}\n\n",
        end: concat!(
            "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
            "data: {\"type\":\"message_stop\"}\n\n",
        ),
        spare: "",
        overloaded: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n",
        events: anthropic_rules::events,
        validate: anthropic_rules::validate,
        error: |kind, message| json!({"type": "error", "error": {"type": kind, "message": message}}),
        wire: Wire::of::<Anthropic>(),
    },
    Dialect {
        name: "openai",
        base: "/v1",
        path: "/v1/chat/completions",
        key_header: "authorization: Bearer sk-secret",
        start: "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null},\"finish_reason\":null}]}\n\n",
        begin: "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\u{e9}\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"llo\"}}]}\n\n",
        word: "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\u{e9}llo\"},\"finish_reason\":null}],\"usage\":null}\n\n",
        ping: ": ping\n\n",
        end: concat!(
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n",
            "data: [DONE]\n\n",
        ),
        spare: "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\ndata: [DONE]\n\n",
        overloaded: "data: {\"error\":{\"message\":\"busy\",\"type\":\"overloaded_error\",\"code\":null}}\n\n",
        events: openai_rules::events,
        validate: openai_rules::validate,
        error: |kind, message| json!({"error": {"type": kind, "message": message, "param": null, "code": kind}}),
        wire: Wire::of::<OpenAi>(),
    },
];

impl Dialect {
    /// The provider, with connections of its own.
    pub(super) fn provider(&self) -> Arc<dyn Provider> {
        (self.wire.provider)()
    }

    /// The request of a call to some server.
    pub(super) fn request(&self, call: &ModelCall) -> Value {
        self.request_to("http://127.0.0.1:1/", call)
    }

    /// The request of a call to the server at this address.
    pub(super) fn request_to(&self, url: &str, call: &ModelCall) -> Value {
        serde_json::from_str(&self.body_to(url, call)).expect("the body is JSON")
    }

    /// The same to the byte.
    pub(super) fn body_to(&self, url: &str, call: &ModelCall) -> String {
        (self.wire.body)(call, &Url::parse(url).unwrap())
    }

    /// The parts of an answer that `model` wrote, as they are kept.
    pub(super) fn parts(&self, model: &str, pieces: &[Piece]) -> Vec<AnswerPart> {
        let mut answer = Answer::default();
        for event in (self.wire.assemble)(model, &(self.events)(pieces)) {
            answer.apply(&event);
        }
        assert!(answer.stop_reason.is_some(), "{} has a whole answer", self.name);
        answer.parts
    }

    /// What a stream says that comes in these pieces.
    pub(super) async fn read(&self, pieces: &[&[u8]]) -> (Vec<ModelEvent>, Option<CallFailure>) {
        let chunks = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        let mut stream = (self.wire.read)(chunks);
        let mut events = Vec::new();
        loop {
            match stream.try_next().await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, None),
                Err(failure) => return (events, Some(failure)),
            }
        }
    }
}

/// A call of a model at this address.
pub(super) fn call(endpoint: &str) -> ModelCall {
    ModelCall {
        endpoint: endpoint.to_owned(),
        api_key: "sk-secret".to_owned(),
        provider_model: MODEL.to_owned(),
        effort: Effort::Unspecified,
        output_tokens_max: 100,
        system: Vec::new(),
        messages: vec![PromptMessage::User { parts: vec![UserPiece::Text("Say hello.".to_owned())] }],
        tools: Vec::new(),
        limits: limits(),
    }
}

/// Limits that no honest answer reaches.
pub(super) fn limits() -> CallLimits {
    CallLimits {
        first_token_timeout: Duration::from_secs(20),
        silence_timeout: Duration::from_secs(20),
        answer_duration_max: Duration::from_secs(60),
        answer_bytes_max: 10_000,
    }
}

/// A tool without parameters.
pub(super) fn tool(name: &str) -> ToolDefinition {
    ToolDefinition {
        name: name.to_owned(),
        description: "Does something.".to_owned(),
        input_schema_json: "{\"properties\":{}}".to_owned(),
    }
}

fn provider<F: WireFormat>() -> Arc<dyn Provider> {
    Arc::new(HttpProvider::<F>::default())
}

fn assemble<F: WireFormat>(model: &str, events: &[Value]) -> Vec<ModelEvent> {
    let mut assembly = F::assembly(model.to_owned(), 10_000);
    let event = |data: &Value| {
        // The one event that is no JSON on the wire.
        let data = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
        assembly.event(&Event { name: String::new(), data }).expect("the events are valid")
    };
    events.iter().flat_map(event).collect()
}

fn read<F: WireFormat>(chunks: Vec<Bytes>) -> stream::BoxStream<'static, Result<ModelEvent, CallFailure>> {
    let limits = limits();
    let times = Times::start(Instant::now(), &limits);
    let (host, api_key) = ("models.example".into(), "sk-secret".into());
    let failures = Failures { provider: F::NAME, host, api_key, has_files: false };
    let chunks = stream::iter(chunks.into_iter().map(Ok)).boxed();
    let reading =
        Reading::new(chunks, F::assembly(MODEL.to_owned(), limits.answer_bytes_max), times, failures);
    stream::try_unfold(reading, |mut reading| async move {
        Ok(reading.next_event().await?.map(|event| (event, reading)))
    })
    .boxed()
}
