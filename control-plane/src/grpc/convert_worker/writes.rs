//! What the holders of leases write.

use std::time::Duration;

use chatplane_domain::{
    Answer, AnswerContent, AnswerPart, COMMIT_BYTES_MAX, CallKind, ChatError, ChatId, CommitStep, Covered,
    DETAIL_CHARS_MAX, ErrorKind, Fence, FinishedCall, HolderWrite, MessageId, NextStep, PARTS_MAX, SessionId,
    Summary, ToolCall, Usage, WriteHeader,
};
use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};

use super::{call_id, convert, fence, positive, session_id};
use crate::app::{Error, HolderCall, ModelCall};

/// One commit hands in at most this many results.
const RESULTS_MAX: usize = 100;
/// A sentence for a person is cut to this many characters.
const SENTENCE_CHARS_MAX: usize = 1000;
/// Names of models and providers are cut to this many characters.
pub(super) const NAME_CHARS_MAX: usize = 200;
/// No retry is put off longer.
const DELAY_MAX: Duration = Duration::from_secs(60 * 60);

pub(crate) fn commit_step(request: proto::CommitStepRequest) -> Result<HolderCall, Error> {
    let (chat, header) = write_header(request.header)?;
    let next = match proto::NextStep::try_from(request.next) {
        Ok(proto::NextStep::Continue) => NextStep::Continue,
        Ok(proto::NextStep::Finish) => NextStep::Finish,
        Ok(proto::NextStep::Suspend) => NextStep::Suspend,
        Ok(proto::NextStep::Unspecified) | Err(_) => {
            return Err(Error::invalid("next", "it is CONTINUE, FINISH or SUSPEND"));
        }
    };
    let answer = request.answer.map(|given| answer("answer", given)).transpose()?;
    let of_answer = model_call(header.fence, request.model_call, answer.as_ref())?;
    let summary = request.summary.map(|given| summary(header.fence, given)).transpose()?;
    let (summary, of_summary, summarized_history) = match summary {
        Some(given) => (Some(given.summary), Some(given.model_call), Some(given.history_version)),
        None => (None, None, None),
    };
    let model_calls: Vec<ModelCall> = of_answer.into_iter().chain(of_summary).collect();
    if let [answered, summarized] = &model_calls[..]
        && answered.number == summarized.number
    {
        let description = "it is another model call than the answer's, with a number of its own";
        return Err(Error::invalid("summary.model_call", description));
    }
    let write = HolderWrite::CommitStep(CommitStep { answer, next, journal: None, summary });
    Ok(HolderCall { chat, header, write, model_calls, summarized_history })
}

pub(crate) fn commit_tool_results(request: proto::CommitToolResultsRequest) -> Result<HolderCall, Error> {
    let (chat, header) = write_header(request.header)?;
    let write = HolderWrite::CommitToolResults(results(request.results, 0)?);
    Ok(HolderCall { chat, header, write, model_calls: Vec::new(), summarized_history: None })
}

pub(crate) fn record_retry(request: proto::RecordRetryRequest) -> Result<HolderCall, Error> {
    let (chat, header) = write_header(request.header)?;
    let delay = u64::try_from(request.delay_ms).map(Duration::from_millis).ok();
    let delay = delay
        .filter(|delay| *delay <= DELAY_MAX)
        .ok_or_else(|| Error::invalid("delay_ms", format!("it is 0 to {}", DELAY_MAX.as_millis())))?;
    let write = HolderWrite::RecordRetry { error: chat_error(request.error)?, delay };
    Ok(HolderCall { chat, header, write, model_calls: Vec::new(), summarized_history: None })
}

pub(crate) fn finish_interruption(request: proto::FinishInterruptionRequest) -> Result<HolderCall, Error> {
    let (chat, header) = write_header(request.header)?;
    let partial = request.partial.map(|given| answer("partial", given)).transpose()?;
    let model_call = model_call(header.fence, request.model_call, partial.as_ref())?;
    let partial_bytes = partial.as_ref().map_or(0, Answer::content_bytes);
    let write =
        HolderWrite::FinishInterruption { partial, results: results(request.results, partial_bytes)? };
    let model_calls = model_call.into_iter().collect();
    Ok(HolderCall { chat, header, write, model_calls, summarized_history: None })
}

pub(crate) fn fail(request: proto::FailRequest) -> Result<HolderCall, Error> {
    let (chat, header) = write_header(request.header)?;
    let write = HolderWrite::Fail(chat_error(request.error)?);
    Ok(HolderCall { chat, header, write, model_calls: Vec::new(), summarized_history: None })
}

pub(crate) fn release(request: proto::ReleaseRequest) -> Result<HolderCall, Error> {
    let (chat, header) = write_header(request.header)?;
    let write = HolderWrite::Release;
    Ok(HolderCall { chat, header, write, model_calls: Vec::new(), summarized_history: None })
}

pub(crate) fn report_usage(
    request: proto::ReportUsageRequest,
) -> Result<(ChatId, SessionId, ModelCall), Error> {
    let call = ModelCall {
        fence: fence("fence", request.fence)?,
        number: positive("model_call", request.model_call)?,
        model: cut(request.model, NAME_CHARS_MAX),
        usage: usage("usage", request.usage)?,
    };
    let chat = convert::chat_id(&request.chat_id)?;
    Ok((chat, session_id("session_id", &request.session_id)?, call))
}

fn write_header(header: Option<proto::WriteHeader>) -> Result<(ChatId, WriteHeader), Error> {
    let header = header.ok_or_else(|| Error::invalid("header", "it is required"))?;
    let chat = ChatId(convert::uuid("header.chat_id", &header.chat_id)?);
    let header = WriteHeader {
        session: session_id("header.session_id", &header.session_id)?,
        fence: fence("header.fence", header.fence)?,
        write_no: header.write_no,
        history_version: header.history_version,
    };
    Ok((chat, header))
}

fn answer(field: &str, message: proto::NewMessage) -> Result<Answer, Error> {
    let proto::NewMessage { parts, provider_states, model, usage: tokens, runtime_ms } = message;
    if parts.len() > PARTS_MAX {
        let description = format!("an answer has at most {PARTS_MAX} parts");
        return Err(Error::invalid(format!("{field}.parts"), description));
    }
    if !provider_states.is_empty() && provider_states.len() != parts.len() {
        let description = "there is one entry a part, or none at all";
        return Err(Error::invalid(format!("{field}.provider_states"), description));
    }
    if runtime_ms < 0 {
        return Err(Error::invalid(format!("{field}.runtime_ms"), "it is not negative"));
    }
    let states = provider_states.into_iter().map(Some).chain(std::iter::repeat(None));
    let mut calls = 0;
    let parts = parts
        .into_iter()
        .zip(states)
        .enumerate()
        .map(|(index, (part, state))| {
            let content = answer_content(&format!("{field}.parts[{index}]"), part, &mut calls)?;
            Ok(AnswerPart { content, provider_state: state.map(Vec::from).unwrap_or_default() })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Answer {
        parts,
        model: cut(model, NAME_CHARS_MAX),
        usage: usage(&format!("{field}.usage"), tokens)?,
        runtime_ms,
        interrupted: false,
    })
}

/// Calls are numbered in order, whatever their sender thinks: a wrong number is a
/// defect that would name another call for good.
fn answer_content(field: &str, part: chat::Part, calls: &mut i32) -> Result<AnswerContent, Error> {
    match part.kind {
        Some(chat::part::Kind::Text(text)) => Ok(AnswerContent::Text(text.text)),
        Some(chat::part::Kind::Reasoning(reasoning)) => Ok(AnswerContent::Reasoning(reasoning.text)),
        Some(chat::part::Kind::ToolCall(call)) => {
            if call.call_index != *calls {
                let description = format!("calls are numbered from 0 in order; this is call {calls}");
                return Err(Error::invalid(format!("{field}.tool_call.call_index"), description));
            }
            *calls += 1;
            let kind = call_kind(field, call.kind)?;
            let chat::ToolCallPart { tool_name, arguments_json, .. } = call;
            Ok(AnswerContent::ToolCall(ToolCall { tool_name, arguments_json, kind }))
        }
        Some(
            chat::part::Kind::ToolResult(_)
            | chat::part::Kind::File(_)
            | chat::part::Kind::FileReference(_)
            | chat::part::Kind::DiffComment(_),
        )
        | None => Err(Error::invalid(field, "an answer has text, reasoning and tool calls")),
    }
}

/// The worker has called the model with the tools that its turn named, so it alone knows
/// whose tool the model meant: settings may have changed since.
fn call_kind(field: &str, kind: i32) -> Result<CallKind, Error> {
    match chat::CallKind::try_from(kind) {
        Ok(chat::CallKind::Unspecified) => Ok(CallKind::Worker),
        Ok(chat::CallKind::Client) => Ok(CallKind::Client),
        Err(_) => Err(Error::invalid(format!("{field}.tool_call.kind"), "it is CLIENT or unspecified")),
    }
}

/// A summary, the model call that made it and the history that it was made from.
struct GivenSummary {
    summary: Summary,
    model_call: ModelCall,
    history_version: i64,
}

fn summary(fence: Fence, given: proto::Summary) -> Result<GivenSummary, Error> {
    let proto::Summary { covers_through, history_version, text, model, usage: tokens, .. } = given;
    let number = positive("summary.model_call", given.model_call)?;
    let counts = [
        ("summary.runtime_ms", given.runtime_ms),
        ("summary.context_tokens", given.context_tokens),
        ("summary.context_percent", given.context_percent.into()),
    ];
    if let Some((field, _)) = counts.iter().find(|(_, count)| *count < 0) {
        return Err(Error::invalid(*field, "it is not negative"));
    }
    let summary = Summary {
        covers_through: MessageId(positive("summary.covers_through", covers_through)?),
        // What it covers is looked up with the chat.
        covered: Covered { live: false, changed_since: false },
        text,
        model: cut(model, NAME_CHARS_MAX),
        usage: usage("summary.usage", tokens)?,
        runtime_ms: given.runtime_ms,
        context_tokens: given.context_tokens,
        context_percent: given.context_percent,
    };
    let model_call = ModelCall { fence, number, model: summary.model.clone(), usage: summary.usage };
    let history_version = positive("summary.history_version", history_version)?;
    Ok(GivenSummary { summary, model_call, history_version })
}

fn model_call(fence: Fence, number: i64, answer: Option<&Answer>) -> Result<Option<ModelCall>, Error> {
    let Some(answer) = answer else { return Ok(None) };
    let number = positive("model_call", number)?;
    Ok(Some(ModelCall { fence, number, model: answer.model.clone(), usage: answer.usage }))
}

fn results(results: Vec<proto::ToolResult>, other_bytes: usize) -> Result<Vec<FinishedCall>, Error> {
    if results.len() > RESULTS_MAX {
        return Err(Error::invalid("results", format!("at most {RESULTS_MAX} results")));
    }
    let bytes: usize = results.iter().map(|result| result.output.len()).sum();
    if bytes + other_bytes > COMMIT_BYTES_MAX {
        return Err(Error::invalid(
            "results",
            format!("a commit has at most {COMMIT_BYTES_MAX} bytes in all"),
        ));
    }
    let finished = |(index, result): (usize, proto::ToolResult)| {
        let field = format!("results[{index}]");
        if result.runtime_ms < 0 {
            return Err(Error::invalid(format!("{field}.runtime_ms"), "it is not negative"));
        }
        Ok(FinishedCall {
            call: call_id(&format!("{field}.call"), result.call)?,
            output: result.output,
            is_error: result.is_error,
            runtime_ms: result.runtime_ms,
        })
    };
    results.into_iter().enumerate().map(finished).collect()
}

pub(super) fn usage(field: &str, usage: Option<chat::Usage>) -> Result<Usage, Error> {
    let usage = usage.unwrap_or_default();
    let usage = Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
    };
    let counts = [
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    ];
    if counts.iter().any(|count| *count < 0) {
        return Err(Error::invalid(field, "tokens are not negative"));
    }
    Ok(usage)
}

/// Texts are cut and not refused: a turn that fails must be able to say so.
pub(super) fn chat_error(error: Option<chat::ChatError>) -> Result<ChatError, Error> {
    let error = error.ok_or_else(|| Error::invalid("error", "it is required"))?;
    let kind = chat::ErrorKind::try_from(error.kind).ok().and_then(error_kind);
    let status_code = match error.status_code {
        0 => None,
        code => Some(
            u16::try_from(code).map_err(|_| Error::invalid("error.status_code", "it is a status of HTTP"))?,
        ),
    };
    Ok(ChatError {
        kind: kind.ok_or_else(|| Error::invalid("error.kind", "it is unknown"))?,
        message: cut(error.message, SENTENCE_CHARS_MAX),
        detail: cut(error.detail, DETAIL_CHARS_MAX),
        provider: cut(error.provider, NAME_CHARS_MAX),
        status_code,
        retryable: error.retryable,
    })
}

fn error_kind(kind: chat::ErrorKind) -> Option<ErrorKind> {
    Some(match kind {
        chat::ErrorKind::Unspecified => return None,
        chat::ErrorKind::RateLimited => ErrorKind::RateLimited,
        chat::ErrorKind::Overloaded => ErrorKind::Overloaded,
        chat::ErrorKind::ProviderUnavailable => ErrorKind::ProviderUnavailable,
        chat::ErrorKind::Timeout => ErrorKind::Timeout,
        chat::ErrorKind::Authentication => ErrorKind::Authentication,
        chat::ErrorKind::InvalidRequest => ErrorKind::InvalidRequest,
        chat::ErrorKind::ContextLength => ErrorKind::ContextLength,
        chat::ErrorKind::MalformedResponse => ErrorKind::MalformedResponse,
        chat::ErrorKind::AnswerTooLarge => ErrorKind::AnswerTooLarge,
        chat::ErrorKind::TurnLimit => ErrorKind::TurnLimit,
        chat::ErrorKind::AttemptsExhausted => ErrorKind::AttemptsExhausted,
        chat::ErrorKind::ModelUnusable => ErrorKind::ModelUnusable,
        chat::ErrorKind::Refused => ErrorKind::Refused,
        chat::ErrorKind::Internal => ErrorKind::Internal,
        chat::ErrorKind::CompactionFailed => ErrorKind::CompactionFailed,
    })
}

/// Names and sentences of workers, as PostgreSQL can keep them.
pub(super) fn cut(text: String, chars_max: usize) -> String {
    let mut text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
    }
    text
}
