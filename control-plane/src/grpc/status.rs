//! The one place where a `tonic::Status` is made.
//!
//! Every error carries `google.rpc.ErrorInfo` with a reason of the contract's
//! `ErrorReason`, and where it helps the details that say what to do.

use std::{collections::HashMap, time::Duration};

use chatplane_domain::State;
use chatplane_proto::chat::v1::ErrorReason;
use http::Response;
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use crate::app;

const DOMAIN: &str = "chatplane";
/// A refusal tells at most this many wrong fields: trailers have 16 KiB, and whoever mends
/// these is told the next.
const VIOLATIONS_MAX: usize = 20;
/// A database that restarts is back within seconds; more callers at once would not help it.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Said of a service or a method that there is not, which is all that the code says.
const UNKNOWN_METHOD: &str = "there is no such method: check the names of service and method, which reflection \
                              lists, and whether this replica is older than its client";

impl From<app::Error> for Status {
    fn from(error: app::Error) -> Self {
        match error {
            app::Error::FieldInvalid(violations) => field_invalid(violations),
            app::Error::StateForbids { state, archived, command } => state_forbids(state, archived, command),
            app::Error::QueueFull { queue_max } => limit(
                ErrorReason::QueueFull,
                &format!(
                    "the chat's queue holds {queue_max} messages; wait for the turn to end, or interrupt it"
                ),
            ),
            app::Error::VersionMismatch { version } => version_mismatch(version),
            app::Error::LimitExceeded(sentence) => limit(ErrorReason::LimitExceeded, &sentence),
            app::Error::Unavailable(_) => {
                tracing::warn!(cause = %app::chain(&error), "a call failed for want of the database");
                retry(ErrorReason::Unavailable, "the database does not answer; try again")
            }
            app::Error::ShuttingDown => {
                retry(ErrorReason::ShuttingDown, "this replica is shutting down; any other will do")
            }
            app::Error::Internal(_) => internal(&error),
            other => {
                let (code, reason, sentence) = sentence(&other);
                Status::with_error_details(code, sentence, info(reason, HashMap::new()))
            }
        }
    }
}

/// What is not there, or nothing that the caller may know of.
fn not_found(error: &app::Error) -> Option<(ErrorReason, &'static str)> {
    use ErrorReason as Reason;
    let told = match error {
        app::Error::ChatNotFound => (Reason::ChatNotFound, "there is no such chat; ListChats shows yours"),
        app::Error::ModelNotFound => {
            (Reason::ModelNotFound, "there is no such model; ListModels shows those that can be used")
        }
        app::Error::WorkspaceNotFound => {
            (Reason::WorkspaceNotFound, "there is no such workspace; ListWorkspaces shows yours")
        }
        app::Error::MessageNotFound => (
            Reason::MessageNotFound,
            "there is no such message in the chat, or it was deleted; ListMessages shows those that there are",
        ),
        app::Error::QueuedMessageNotFound => (
            Reason::QueuedMessageNotFound,
            "the message is not in the queue; it was deleted, or entered the history, which ListMessages shows",
        ),
        app::Error::FileNotFound => {
            (Reason::FileNotFound, "there is no such file of yours; upload it with FileService.UploadFile")
        }
        app::Error::DebugRunNotFound => (
            Reason::DebugRunNotFound,
            "there is no such run of the chat, or it was deleted; ListDebugRuns shows those that there are",
        ),
        _ => return None,
    };
    Some(told)
}

/// Errors that one sentence says all about.
fn sentence(error: &app::Error) -> (Code, ErrorReason, &'static str) {
    use ErrorReason as Reason;
    if let Some((reason, sentence)) = not_found(error) {
        return (Code::NotFound, reason, sentence);
    }
    match error {
        app::Error::CredentialsInvalid(sentence) => {
            (Code::Unauthenticated, Reason::CredentialsInvalid, sentence)
        }
        app::Error::ActionForbidden => (
            Code::PermissionDenied,
            Reason::ActionForbidden,
            "only an owner of the deployment may do this; ask one",
        ),
        app::Error::ChoiceForbidden => (
            Code::PermissionDenied,
            Reason::ActionForbidden,
            "the deployment's policy leaves no choice; an owner can set it to DEBUG_POLICY_ALLOWED",
        ),
        app::Error::LeaseLost => (
            Code::FailedPrecondition,
            Reason::LeaseLost,
            "the lease has ended or is somebody else's; drop its work",
        ),
        app::Error::SessionLost => {
            (Code::FailedPrecondition, Reason::SessionLost, "the session is closed; open a new one")
        }
        app::Error::Superseded => {
            (Code::Aborted, Reason::Superseded, "the history has changed; call GetTurn and go on from there")
        }
        app::Error::CursorExpired => (
            Code::OutOfRange,
            Reason::CursorExpired,
            "the cursor is ahead of the database; watch again without one",
        ),
        app::Error::RequestIdReused => (
            Code::AlreadyExists,
            Reason::RequestIdReused,
            "the request_id was used with another request; take a new UUID",
        ),
        app::Error::WorkspaceReplaced => (
            Code::AlreadyExists,
            Reason::WorkspaceReplaced,
            "a newer agent of the same workspace has registered; stop one of the two",
        ),
        app::Error::FieldInvalid(_)
        | app::Error::StateForbids { .. }
        | app::Error::QueueFull { .. }
        | app::Error::LimitExceeded(_)
        | app::Error::VersionMismatch { .. }
        | app::Error::Unavailable(_)
        | app::Error::ShuttingDown
        | app::Error::Internal(_) => unreachable!("these carry more than a sentence"),
        app::Error::ChatNotFound
        | app::Error::ModelNotFound
        | app::Error::WorkspaceNotFound
        | app::Error::MessageNotFound
        | app::Error::QueuedMessageNotFound
        | app::Error::FileNotFound
        | app::Error::DebugRunNotFound => unreachable!("these have been told"),
    }
}

/// What the transport says of a message that it cannot take: its own statuses carry no
/// reason. None for a stream that just broke.
pub(crate) fn undecodable(code: Code) -> Option<app::Error> {
    match code {
        Code::OutOfRange => {
            Some(app::Error::LimitExceeded("a message has at most 4 MiB; split what you send".to_owned()))
        }
        Code::Internal => {
            Some(app::Error::invalid("message", "it cannot be decoded as this method's request"))
        }
        _ => None,
    }
}

/// Gives a refusal of the transport itself a reason, as every other has.
pub(crate) fn with_reason(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    if headers.contains_key("grpc-status-details-bin") {
        return response;
    }
    match code_of(&response).and_then(undecodable) {
        Some(error) => Status::from(error).into_http(),
        None => with_sentence(response),
    }
}

/// Gives the transport's refusal of a method that it does not know a sentence: it says nothing.
pub(crate) fn with_sentence(response: Response<Body>) -> Response<Body> {
    let is_unknown = code_of(&response) == Some(Code::Unimplemented);
    if is_unknown && !response.headers().contains_key("grpc-message") {
        return Status::unimplemented(UNKNOWN_METHOD).into_http();
    }
    response
}

fn code_of(response: &Response<Body>) -> Option<Code> {
    response.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}

/// A call whose answer did not begin in time: its request never ended, or its handler did not.
pub(crate) fn too_late(limit: Duration) -> Status {
    let message = format!(
        "the call had no answer within {} s, its request's arrival included; send it without a pause, and try \
         again",
        limit.as_secs()
    );
    retry(ErrorReason::Unavailable, &message)
}

fn info(reason: ErrorReason, metadata: HashMap<String, String>) -> ErrorDetails {
    let name = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    ErrorDetails::with_error_info(name, DOMAIN, metadata)
}

fn retry(reason: ErrorReason, message: &str) -> Status {
    let mut details = info(reason, HashMap::new());
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(Code::Unavailable, message, details)
}

fn limit(reason: ErrorReason, message: &str) -> Status {
    let mut details = info(reason, HashMap::new());
    details.add_quota_failure_violation("chat", message);
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

fn field_invalid(violations: Vec<app::FieldViolation>) -> Status {
    let mut details = info(ErrorReason::FieldInvalid, HashMap::new());
    let message = violations
        .first()
        .map_or_else(String::new, |first| format!("{}: {}", first.field, first.description));
    for violation in violations.into_iter().take(VIOLATIONS_MAX) {
        details.add_bad_request_violation(violation.field, violation.description);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn version_mismatch(version: i64) -> Status {
    let metadata = HashMap::from([("version".to_owned(), version.to_string())]);
    Status::with_error_details(
        Code::Aborted,
        format!("the stored version is {version}; read what it says, and send your change for that version"),
        info(ErrorReason::VersionMismatch, metadata),
    )
}

fn state_forbids(state: State, archived: bool, command: &str) -> Status {
    let metadata = HashMap::from([
        ("state".to_owned(), state.as_str().to_owned()),
        ("archived".to_owned(), archived.to_string()),
        ("command".to_owned(), command.to_owned()),
    ]);
    let mut details = info(ErrorReason::StateForbids, metadata);
    let shown = if archived { "archived" } else { state.as_str() };
    let advice = advice(state, archived, command);
    let message = format!("{command} is not possible while the chat is {shown}: {advice}");
    details.add_precondition_failure_violation("STATE", "chat", message.clone());
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// What to do about a state, or what a command needs that the state alone does not say.
fn advice(state: State, archived: bool, command: &str) -> &'static str {
    let busy = matches!(state, State::Running | State::Interrupting | State::Suspended);
    match command {
        "ArchiveChat" if archived => "it is archived already",
        "UnarchiveChat" => "only an archived chat can be brought back",
        "UpdateChat" if archived => {
            "it cannot be pinned; bring it back with UnarchiveChat first, or leave pin_order out of update_mask"
        }
        _ if archived => "bring it back with UnarchiveChat first",
        "ArchiveChat" | "CompactChat" | "ClearContext" if busy => {
            "wait until its turn has ended, or stop it with InterruptChat"
        }
        "CompactChat" => "it has no answer since its last boundary that could be summarized",
        "ClearContext" => "there is nothing after its last boundary, or messages wait in its queue",
        "ConfigureChat" => {
            "its system prompt changes only before its first answer and while it is idle; leave it out of \
             update_mask"
        }
        "PromoteQueuedMessage" => "its queue is empty",
        "SubmitToolResults" => "no call waits for a result; `action_required` of a chat tells which do",
        _ => "GetChat tells what it is doing",
    }
}

/// The client gets an id, the log gets the chain.
fn internal(error: &app::Error) -> Status {
    let error_id = Uuid::now_v7();
    tracing::error!(%error_id, cause = %app::chain(error), "a call failed by a defect");
    let metadata = HashMap::from([("error_id".to_owned(), error_id.to_string())]);
    Status::with_error_details(
        Code::Internal,
        format!("a defect of chatplane; the log has more under {error_id}"),
        info(ErrorReason::Internal, metadata),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    fn shown(error: app::Error) -> (Code, String) {
        let status = Status::from(error);
        assert!(!status.message().is_empty());
        let info = status.get_details_error_info().expect("every status has a reason");
        assert_eq!(info.domain, "chatplane");
        (status.code(), info.reason)
    }

    #[test]
    fn every_error_has_the_code_and_the_reason_of_the_contract() {
        for (error, code, reason) in [
            (app::Error::CredentialsInvalid("no"), Code::Unauthenticated, "CREDENTIALS_INVALID"),
            (app::Error::ChatNotFound, Code::NotFound, "CHAT_NOT_FOUND"),
            (app::Error::ModelNotFound, Code::NotFound, "MODEL_NOT_FOUND"),
            (app::Error::WorkspaceNotFound, Code::NotFound, "WORKSPACE_NOT_FOUND"),
            (app::Error::MessageNotFound, Code::NotFound, "MESSAGE_NOT_FOUND"),
            (app::Error::QueuedMessageNotFound, Code::NotFound, "QUEUED_MESSAGE_NOT_FOUND"),
            (app::Error::ActionForbidden, Code::PermissionDenied, "ACTION_FORBIDDEN"),
            (app::Error::ChoiceForbidden, Code::PermissionDenied, "ACTION_FORBIDDEN"),
            (app::Error::VersionMismatch { version: 3 }, Code::Aborted, "VERSION_MISMATCH"),
            (app::Error::invalid("field", "wrong"), Code::InvalidArgument, "FIELD_INVALID"),
            (app::Error::LeaseLost, Code::FailedPrecondition, "LEASE_LOST"),
            (app::Error::SessionLost, Code::FailedPrecondition, "SESSION_LOST"),
            (app::Error::Superseded, Code::Aborted, "SUPERSEDED"),
            (app::Error::CursorExpired, Code::OutOfRange, "CURSOR_EXPIRED"),
            (app::Error::QueueFull { queue_max: 1 }, Code::ResourceExhausted, "QUEUE_FULL"),
            (app::Error::LimitExceeded("full".to_owned()), Code::ResourceExhausted, "LIMIT_EXCEEDED"),
            (app::Error::RequestIdReused, Code::AlreadyExists, "REQUEST_ID_REUSED"),
            (app::Error::WorkspaceReplaced, Code::AlreadyExists, "WORKSPACE_REPLACED"),
            (app::Error::ShuttingDown, Code::Unavailable, "SHUTTING_DOWN"),
            (app::Error::Internal(store::Error::RowInvalid), Code::Internal, "INTERNAL"),
        ] {
            assert_eq!(shown(error), (code, reason.to_owned()));
        }
    }

    #[test]
    fn a_state_that_forbids_says_what_to_do_about_it() {
        let said = |state, archived, command| {
            let status = Status::from(app::Error::StateForbids { state, archived, command });
            assert_eq!(status.code(), Code::FailedPrecondition);
            let info = status.get_details_error_info().expect("every status has a reason");
            assert_eq!(
                (info.metadata["command"].as_str(), info.metadata["state"].as_str()),
                (command, state.as_str())
            );
            status.message().to_owned()
        };

        assert_eq!(
            said(State::Waiting, true, "SendMessage"),
            "SendMessage is not possible while the chat is archived: bring it back with UnarchiveChat first"
        );
        assert_eq!(
            said(State::Suspended, false, "ClearContext"),
            "ClearContext is not possible while the chat is suspended: wait until its turn has ended, or stop it \
             with InterruptChat"
        );
        for (state, archived, command, advice) in [
            (State::Error, true, "ArchiveChat", "archived already"),
            (State::Waiting, true, "UpdateChat", "cannot be pinned"),
            (State::Running, false, "ArchiveChat", "InterruptChat"),
            (State::Waiting, false, "UnarchiveChat", "only an archived chat"),
            (State::Waiting, false, "CompactChat", "no answer since its last boundary"),
            (State::Error, false, "ClearContext", "messages wait in its queue"),
            (State::Running, false, "ConfigureChat", "update_mask"),
            (State::Running, false, "PromoteQueuedMessage", "queue is empty"),
            (State::Waiting, false, "SubmitToolResults", "action_required"),
        ] {
            let said = said(state, archived, command);
            assert!(said.contains(advice), "{said}");
        }
    }

    #[test]
    fn a_request_of_which_everything_is_wrong_is_told_of_as_much_as_trailers_carry() {
        let violations = (0..64)
            .flat_map(|tool| ["name", "description", "input_schema_json"].map(|field| (tool, field)))
            .map(|(tool, field)| app::FieldViolation {
                field: format!("client_tools[{tool}].{field}"),
                description: "it has 1 to 64 characters, of a to z, A to Z, 0 to 9, _ and -".to_owned(),
            });

        let status = Status::from(app::Error::FieldInvalid(violations.collect()));

        let told = status.get_details_bad_request().expect("it names fields").field_violations;
        assert_eq!((told.len(), told[0].field.as_str()), (VIOLATIONS_MAX, "client_tools[0].name"));
        // In base64 it is a third longer.
        assert!(status.details().len() * 4 / 3 < 8 * 1024, "{}", status.details().len());
    }
}
