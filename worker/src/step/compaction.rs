//! When a history is summarized, how much of it, and what the model is asked for. Pure.
//!
//! # Theory of operation
//!
//! The last answer's own count of its input says how full the context is. Above the
//! threshold a summary is due beside the next model call; above the hard limit, when the
//! provider has refused the history, or when a person asked for it, it is due before
//! anything else. Either way it is asked for with the very prompt that the turn uses, up to
//! some row, and one more message: what a provider has cached of the one serves the other.
//!
//! A summary ends between complete steps and before words of a user that nobody has
//! answered: a call is never apart from its result, and the model reads a new request in
//! the user's own words.

use std::collections::BTreeSet;

use chatplane_domain::{ChatError, ErrorKind, SUMMARY_BYTES_MAX, UserPart};

use super::{
    history::{CallId, Content, History, Message, PastAnswer, Rows},
    prompt::{self, Instructions, Prompt},
};
use crate::{
    files::INLINE_BYTES_MAX,
    llm::{Answer, CallFailure, PartContent, PromptMessage, StopReason},
};

/// At this fullness the turn waits for the summary: what is left may not hold the next
/// answer with the results of its calls.
const HARD_PERCENT: i64 = 95;
/// A threshold that is never reached: nothing is summarized unless somebody asks for it.
const NEVER_PERCENT: i32 = 100;
/// A context that stays above its threshold although it was summarized is summarized again
/// when it has grown by so much, and not beside every step. So is one whose summary beside
/// the turn has come to nothing.
const GROWTH_PERCENT_MIN: i64 = 5;

/// Asks for the summary.
const REQUEST: &str = "Write a summary of this conversation. It will take the conversation's place: whoever goes \
    on with it sees your summary and nothing of what came before. Keep what is needed to go on without asking \
    again: what the user wants, in the user's own words where they matter; constraints and preferences; what was \
    decided, and why; what was done, found and changed, with exact names, paths, commands, numbers and errors; \
    what is left to do, and what was about to be done next. Leave out what no longer matters. Write in the \
    language of the conversation. Answer with the summary alone: do not call tools, and do not go on with the \
    work.";

/// When a summary was begun beside the turn that came to nothing: it was late, or it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InVain {
    /// Percent of the context at that time.
    pub(crate) context_percent: i32,
    /// The newest summary of that time, if there was one.
    pub(crate) summary: Option<i64>,
}

/// What a summary depends on beside the history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compaction {
    /// A person has asked for a summary, and for nothing else.
    pub(crate) is_requested: bool,
    /// Percent of the context at which a summary is due.
    pub(crate) threshold_percent: i32,
    /// What fits the model's context; 0 when nobody knows.
    pub(crate) context_tokens_max: i64,
    /// A summary may begin beside the turn: none is on its way, and none has just failed.
    pub(crate) may_begin: bool,
    /// The last one beside a turn of this chat that came to nothing. What made it late or fail
    /// is likely to do so again: the next one has to wait until the context has changed.
    pub(crate) in_vain: Option<InVain>,
    /// The provider has refused this very history for its length.
    pub(crate) is_refused: bool,
    /// The provider has also refused to summarize it up to this row, for its length.
    pub(crate) refused_through: Option<i64>,
}

/// A summary that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SummaryPlan {
    /// The last message that it covers.
    pub(crate) covers_through: i64,
    /// Tokens of the context, as last counted.
    pub(crate) context_tokens: i64,
    /// The same as percent of what fits, rounded down.
    pub(crate) context_percent: i32,
    /// The newest summary so far, if there is one.
    pub(crate) summary_before: Option<i64>,
    /// What the model is asked.
    pub(crate) prompt: Prompt,
}

/// Whether a summary is due.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Due {
    /// None is.
    No,
    /// Beside the next model call.
    Beside(SummaryPlan),
    /// Before anything else.
    Now(SummaryPlan),
}

/// Reads off a history without open calls whether a summary is due.
pub(super) fn due(
    rows: &Rows<'_>,
    instructions: Instructions<'_>,
    state: &Compaction,
) -> Result<Due, ChatError> {
    let fullness = Fullness::of(rows, state);
    let must_wait = state.is_requested || state.is_refused || fullness.is_hard(state);
    let summary_before = rows.summary.map(|summary| summary.id);
    let is_hopeful = state.in_vain.is_none_or(|last| fullness.has_changed_since(last, summary_before));
    let may_begin = state.may_begin && is_hopeful && fullness.is_soft(state);
    if !must_wait && !may_begin {
        return Ok(Due::No);
    }
    match cut(rows, state.refused_through) {
        Some(covers_through) => {
            let mut prompt = prompt::up_to(rows, instructions, covers_through);
            prompt.messages.push(PromptMessage::User { parts: vec![UserPart::Text(REQUEST.to_owned())] });
            let Fullness { tokens, percent, .. } = fullness;
            let context_percent = i32::try_from(percent).unwrap_or(i32::MAX);
            let plan = SummaryPlan {
                covers_through,
                context_tokens: tokens,
                context_percent,
                summary_before,
                prompt,
            };
            Ok(if must_wait { Due::Now(plan) } else { Due::Beside(plan) })
        }
        None if state.is_refused => Err(too_long()),
        None if state.is_requested && state.refused_through.is_some() => Err(too_long()),
        None if state.is_requested => Err(nothing_to_summarize()),
        // The count may be wrong; only the provider knows.
        None => Ok(Due::No),
    }
}

/// What becomes of a turn whose history the provider has refused for its length: none when
/// a summary can help.
pub(crate) fn refused(history: &History, state: &Compaction, refusal: ChatError) -> Option<ChatError> {
    let rows = history.rows();
    if state.threshold_percent >= NEVER_PERCENT {
        return Some(refusal);
    }
    match (cut(&rows, state.refused_through), rows.summary) {
        (Some(_), _) => None,
        (None, Some(_)) => Some(too_long()),
        // A summary was tried, and refused as well.
        (None, None) if state.refused_through.is_some() => Some(too_long()),
        (None, None) => Some(refusal),
    }
}

/// How full the context is.
#[derive(Clone, Copy, Debug)]
struct Fullness {
    tokens: i64,
    percent: i64,
    /// What it was right after the newest summary, if there is one.
    percent_after_summary: Option<i64>,
}

impl Fullness {
    /// By the newest answer that had a count. One that was made before the newest summary,
    /// and came with it, counted what is no longer there.
    fn of(rows: &Rows<'_>, state: &Compaction) -> Self {
        let summarized = rows.summary.map(|summary| summary.revision);
        let is_current = |message: &&&Message| summarized.is_none_or(|revision| message.revision > revision);
        let mut counts = rows.rest.iter().filter(is_current).filter_map(|message| count(message));
        let first = counts.next().unwrap_or_default();
        let tokens = counts.next_back().unwrap_or(first);
        let percent = |tokens: i64| {
            let percent = tokens.saturating_mul(100).checked_div(state.context_tokens_max);
            if state.context_tokens_max > 0 { percent.unwrap_or_default() } else { 0 }
        };
        let percent_after_summary = summarized.map(|_| percent(first));
        Fullness { tokens, percent: percent(tokens), percent_after_summary }
    }

    fn is_hard(self, state: &Compaction) -> bool {
        let threshold = state.threshold_percent;
        threshold < NEVER_PERCENT && self.passes(HARD_PERCENT.max(threshold.into()))
    }

    fn is_soft(self, state: &Compaction) -> bool {
        let threshold = state.threshold_percent;
        threshold < NEVER_PERCENT && self.passes(threshold.into())
    }

    /// Whether a summary beside the turn is worth another try: the context has grown, or it is
    /// another one since a boundary, an edit or the choice of a model.
    fn has_changed_since(self, last: InVain, summary: Option<i64>) -> bool {
        let before = i64::from(last.context_percent);
        last.summary != summary || self.percent < before || self.percent >= before + GROWTH_PERCENT_MIN
    }

    /// Whether a summary may help that is due from this percentage on.
    fn passes(self, limit: i64) -> bool {
        let after_summary = self.percent_after_summary.filter(|after| *after >= limit);
        let has_grown = after_summary.is_none_or(|after| self.percent >= after + GROWTH_PERCENT_MIN);
        self.percent >= limit && has_grown
    }
}

/// What an answer's model call read, when its provider has counted that.
fn count(message: &Message) -> Option<i64> {
    let Content::Assistant(PastAnswer { usage, .. }) = &message.content else {
        return None;
    };
    let read = usage.input_tokens.saturating_add(usage.cache_read_tokens);
    Some(read.saturating_add(usage.cache_write_tokens)).filter(|tokens| *tokens > 0)
}

/// The last message that a summary covers: the end of the newest complete step. Where the
/// provider has refused to summarize that much, at most half of it, or whatever is less.
fn cut(rows: &Rows<'_>, refused_through: Option<i64>) -> Option<i64> {
    let ends = step_ends(rows);
    let Some(refused) = refused_through else {
        return ends.last().map(|end| end.id);
    };
    let refused_bytes = ends.iter().find(|end| end.id >= refused).map_or(usize::MAX, |end| end.bytes);
    let smaller = || ends.iter().take_while(|end| end.id < refused);
    let half = smaller().take_while(|end| end.bytes <= refused_bytes / 2).last();
    half.or_else(|| smaller().next()).map(|end| end.id)
}

/// Where a complete step ends.
struct StepEnd {
    id: i64,
    /// How much was said up to there since the newest boundary.
    bytes: usize,
}

fn step_ends(rows: &Rows<'_>) -> Vec<StepEnd> {
    let mut ends = Vec::new();
    let mut open = BTreeSet::new();
    let mut bytes = 0;
    for message in &rows.rest {
        let id = message.id;
        bytes += size(message);
        match &message.content {
            Content::System { .. } | Content::User { .. } => continue,
            Content::Assistant(answer) => {
                let calls = answer.parts.iter().filter(|part| is_call(&part.content));
                open.extend((0..).zip(calls).map(|(index, _)| CallId { message_id: id, index }));
            }
            Content::Tool { results } => {
                for result in results {
                    open.remove(&CallId { message_id: result.call_message_id, index: result.call_index });
                }
            }
        }
        if open.is_empty() {
            ends.push(StepEnd { id, bytes });
        }
    }
    ends
}

fn is_call(content: &PartContent) -> bool {
    matches!(content, PartContent::ToolCall { .. })
}

fn size(message: &Message) -> usize {
    match &message.content {
        Content::System { texts } => texts.iter().map(String::len).sum(),
        Content::User { parts } => parts.iter().map(said_bytes).sum(),
        Content::Assistant(answer) => answer.parts.iter().map(|part| content_bytes(&part.content)).sum(),
        Content::Tool { results } => results.iter().map(|result| result.output.len()).sum(),
    }
}

/// A file counts for what it may come to as words; what an image is to a model, nobody tells.
fn said_bytes(part: &UserPart) -> usize {
    match part {
        UserPart::File(file) => usize::try_from(file.size_bytes).unwrap_or_default().min(INLINE_BYTES_MAX),
        UserPart::Text(_) | UserPart::FileReference { .. } | UserPart::DiffComment { .. } => {
            part.content_bytes()
        }
    }
}

fn content_bytes(content: &PartContent) -> usize {
    match content {
        PartContent::Text(text) | PartContent::Reasoning(text) => text.len(),
        PartContent::ToolCall { tool_name, arguments_json } => tool_name.len() + arguments_json.len(),
    }
}

/// The summary in an answer: its words. A model that calls tools all the same has nobody to
/// run them. One that thinks and says nothing has failed, and so has one that was cut off:
/// nobody knows what is missing.
pub(crate) fn summary_text(answer: &Answer) -> Result<String, CallFailure> {
    let failed = |error| Err(CallFailure { error, retry_after: None });
    if answer.stop_reason == Some(StopReason::MaxTokens) {
        return failed(cut_off());
    }
    let texts = answer.parts.iter().filter_map(|part| match &part.content {
        PartContent::Text(text) if !text.trim().is_empty() => Some(text.trim()),
        PartContent::Text(_) | PartContent::Reasoning(_) | PartContent::ToolCall { .. } => None,
    });
    let mut text = texts.collect::<Vec<_>>().join("\n\n");
    text.truncate(text.floor_char_boundary(SUMMARY_BYTES_MAX));
    if text.is_empty() { failed(empty_summary()) } else { Ok(text) }
}

fn too_long() -> ChatError {
    failure(
        "The chat is too long for its model, also when what can be is summarized: edit or shorten the last \
         messages, clear the context, choose a model with a larger one, or start a new chat.",
    )
}

fn nothing_to_summarize() -> ChatError {
    failure("There is nothing to summarize: no step of the chat is complete. Send a message to go on.")
}

/// A summary that the control plane does not take, again and again: a defect, of which the
/// user must be able to come out.
pub(crate) fn not_accepted() -> ChatError {
    failure("The chat could not be summarized: it kept changing. Send a message to try again.")
}

fn empty_summary() -> ChatError {
    let message = "The model's summary of the chat was empty: try again, choose another model, or clear the \
                   context.";
    ChatError { retryable: true, ..failure(message) }
}

/// Not to be repeated as it was: it would be cut off again.
fn cut_off() -> ChatError {
    failure(
        "The model's summary of the chat was cut off at the limit of its tokens: choose a model that may write \
         more, or with less effort, or clear the context.",
    )
}

fn failure(message: &str) -> ChatError {
    ChatError {
        kind: ErrorKind::CompactionFailed,
        message: message.to_owned(),
        detail: String::new(),
        provider: String::new(),
        status_code: None,
        retryable: false,
    }
}

#[cfg(test)]
#[path = "compaction_tests.rs"]
mod tests;
