//! What a tool is, and the set of tools that the agent declares.

mod arguments;
mod middle_cut;
mod output;

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    arguments::{Arguments, ArgumentsError, Fields},
    middle_cut::MiddleCut,
    output::{OutputSink, Preview},
};

/// Something that a model may call.
pub(crate) trait Tool: Send + Sync + 'static {
    /// How it is declared.
    fn definition(&self) -> Definition;

    /// What a run of it may do.
    fn effect(&self) -> Effect;

    /// Runs one call. It ends soon after `call.cancel`, whatever it waits for; it decides itself how,
    /// since a process must be stopped before its end is told. Dropping the future abandons the call.
    fn run(&self, call: Call) -> BoxFuture<'static, Ended>;
}

/// What a run of a tool may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads: it may run again whenever somebody asks again.
    Reads,
    /// It may change something: it is journalled, and no call of it runs twice.
    Changes,
}

/// How a tool is declared to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Name, `[a-zA-Z0-9_-]{1,64}`.
    pub(crate) name: &'static str,
    /// What it does, for the model.
    pub(crate) description: &'static str,
    /// JSON Schema of its arguments.
    pub(crate) input_schema_json: &'static str,
}

/// What a tool gets.
pub(crate) struct Call {
    /// What the model asks for.
    pub(crate) arguments: Arguments,
    /// Where the tool may write while it runs.
    pub(crate) output: OutputSink,
    /// Nobody wants the result any more.
    pub(crate) cancel: CancellationToken,
}

/// What the model gets to read when a tool has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The text.
    pub(crate) output: String,
    /// The tool failed, or did not run.
    pub(crate) is_error: bool,
}

impl Ended {
    /// It worked.
    pub(crate) fn ok(output: impl Into<String>) -> Self {
        Self { output: output.into(), is_error: false }
    }

    /// It did not; the sentence tells the model why and what to do instead.
    pub(crate) fn failed(output: impl Into<String>) -> Self {
        Self { output: output.into(), is_error: true }
    }
}

/// The tools of an agent.
pub(crate) struct Tools {
    tools: Vec<Arc<dyn Tool>>,
}

impl Tools {
    /// In the order in which they are declared.
    pub(crate) fn new(tools: Vec<Arc<dyn Tool>>) -> Self {
        Self { tools }
    }

    /// How they are declared.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = Definition> {
        self.tools.iter().map(|tool| tool.definition())
    }

    /// The tool of that name, or a sentence that lists the names there are.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<dyn Tool>, Ended> {
        let found = self.tools.iter().find(|tool| tool.definition().name == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<_> = self.definitions().map(|definition| definition.name).collect();
            let name = shorten(name);
            Ended::failed(format!("There is no tool `{name}`. The tools are: {}.", names.join(", ")))
        })
    }
}

/// As much of a model's words as belongs into a sentence.
pub(crate) fn shorten(words: &str) -> String {
    const CHARS_MAX: usize = 200;
    match words.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}
