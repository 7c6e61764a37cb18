//! `ListDebugRuns` and `GetDebugRun`: decode, name the use case, encode.

use chatplane_domain::MessageId;
use chatplane_proto::chat::v1 as proto;

use super::{convert, page_token};
use crate::{
    app::{App, DebugAttempt, DebugRunQuery, DebugRunView, DebugStepView, Error},
    authz::Actor,
    limits::pages,
};

pub(super) async fn list_debug_runs(
    app: &App,
    actor: &Actor,
    request: proto::ListDebugRunsRequest,
) -> Result<proto::ListDebugRunsResponse, Error> {
    let chat = convert::chat_id(&request.chat_id)?;
    let limit = convert::page_size(request.page_size, pages::DEBUG_RUNS_DEFAULT, pages::DEBUG_RUNS_MAX)?;
    let before = page_token::debug_runs(&request.page_token)?;
    let page = app.list_debug_runs(actor, chat, before, limit).await?;
    let next_page_token = match page.entries.last() {
        Some(last) if page.has_more => page_token::of_debug_runs(last.run_id),
        Some(_) | None => String::new(),
    };
    let runs = page.entries.into_iter().map(run).collect();
    Ok(proto::ListDebugRunsResponse { runs, next_page_token })
}

pub(super) async fn get_debug_run(
    app: &App,
    actor: &Actor,
    request: proto::GetDebugRunRequest,
) -> Result<proto::GetDebugRunResponse, Error> {
    let query = DebugRunQuery {
        chat: convert::chat_id(&request.chat_id)?,
        run: convert::uuid("run_id", &request.run_id)?,
        after: page_token::debug_steps(&request.page_token)?.unwrap_or(0),
        limit: convert::page_size(request.page_size, pages::DEBUG_STEPS_DEFAULT, pages::DEBUG_STEPS_MAX)?,
    };
    let (view, page) = app.get_debug_run(actor, query).await?;
    // Errors of tries count, too, where the database has only counted texts.
    let steps = convert::fitting(&page.entries, step);
    let last = convert::last_shown(&page.entries, steps.len(), page.has_more);
    let next_page_token = last.map(|last| page_token::of_debug_steps(last.number)).unwrap_or_default();
    Ok(proto::GetDebugRunResponse { run: Some(run(view)), steps, next_page_token })
}

fn run(view: DebugRunView) -> proto::DebugRun {
    proto::DebugRun {
        run_id: view.run_id.to_string(),
        chat_id: view.chat.to_string(),
        trigger_message_id: id(view.trigger),
        history_tip_message_id: id(view.history_tip),
        step_count: i32::try_from(view.step_count).unwrap_or(i32::MAX),
        start_time: Some(convert::timestamp(view.start_time)),
        end_time: Some(convert::timestamp(view.end_time)),
        usage: Some(convert::usage(view.usage)),
    }
}

fn step(view: DebugStepView) -> proto::DebugStep {
    let DebugStepView { number, step } = view;
    proto::DebugStep {
        step: number,
        assistant_message_id: id(step.assistant_message),
        history_tip_message_id: id(step.history_tip),
        model: step.model,
        request_json: step.request_json,
        response_json: step.response_json,
        truncated: step.truncated,
        usage: Some(convert::usage(step.usage)),
        attempts: step.attempts.into_iter().map(attempt).collect(),
        error: step.error.map(convert::chat_error),
        start_time: Some(convert::timestamp(step.start_time)),
        first_token_ms: step.first_token_ms,
        duration_ms: step.duration_ms,
    }
}

fn attempt(attempt: DebugAttempt) -> proto::DebugAttempt {
    proto::DebugAttempt {
        attempt: attempt.attempt,
        duration_ms: attempt.duration_ms,
        error: attempt.error.map(convert::chat_error),
    }
}

fn id(message: Option<MessageId>) -> i64 {
    message.map_or(0, |id| id.0)
}
