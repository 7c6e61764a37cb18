//! The one function that changes a chat.
//!
//! `decide` reads a chat and a command and answers with the next chat, the rows that
//! go with it and what to do after commit. It is pure: the store reads, decides, and
//! writes everything in one statement that compares `snapshot_version`; a lost race
//! is read and decided again. What may happen in which state is the table in
//! `transitions.txt`, which a test holds against this code.

mod client;
mod control;
mod holder;

pub use control::INTERRUPTION_MAX;

use crate::{
    Body, Chat, Command, Context, CreateChat, Decision, Execution, MessageId, Outcome, Rejection, Settings,
    Versions, Visibility, draft::Draft,
};

/// Decides what a command does to a chat.
///
/// # Errors
///
/// The reason why the command is refused; nothing is written then.
pub fn decide(chat: &Chat, command: Command, context: Context) -> Result<Decision, Rejection> {
    match command {
        Command::SendMessage(send) => client::send_message(chat, send, context),
        Command::EditMessage(edit) => client::edit_message(chat, edit, context),
        Command::EditQueuedMessage(edit) => client::edit_queued_message(chat, edit, context),
        Command::DeleteQueuedMessage(id) => client::delete_queued_message(chat, id, context),
        Command::MoveQueuedMessage { id, index } => client::move_queued_message(chat, id, index, context),
        Command::PromoteQueuedMessage(id) => client::promote_queued_message(chat, id, context),
        Command::InterruptChat => client::interrupt_chat(chat, context),
        Command::SubmitToolResults(results) => client::submit_tool_results(chat, results, context),
        Command::ConfigureChat(settings) => client::configure_chat(chat, settings, context),
        Command::ArchiveChat => client::archive_chat(chat, context),
        Command::UnarchiveChat => client::unarchive_chat(chat, context),
        Command::Lease(session) => control::lease(chat, session, context),
        Command::Holder(command) => holder::decide(chat, command, context),
        Command::ExpireLease(expire) => control::expire_lease(chat, expire, context),
        Command::ExpireCalls => control::expire_calls(chat, context),
        Command::FailRunnable(error) => control::fail_runnable(chat, error, context),
    }
}

/// Decides the first write of a new chat: snapshot 1, history 1, runnable or leased.
#[must_use]
pub fn create(create: CreateChat, context: Context) -> Decision {
    let unborn = Chat {
        id: create.id,
        organization: create.organization,
        owner: create.owner,
        settings: Settings {
            model: create.model,
            effort: create.effort,
            workspace: create.workspace,
            client_tools: Vec::new(),
        },
        execution: Execution::Waiting { archived: false },
        versions: Versions::default(),
        queue: Vec::new(),
        open_calls: Vec::new(),
        attempt: 0,
        retry: None,
        last_lease: None,
        next_message_id: MessageId::FIRST,
        system_prompt: None,
        answered: false,
        history_bytes: 0,
    };
    let mut draft = Draft::new(&unborn, context);
    if let Some(prompt) = create.deployment_prompt {
        draft.insert(Visibility::Model, Body::System(prompt));
    }
    if let Some(prompt) = create.system_prompt {
        draft.chat.system_prompt = Some(draft.insert(Visibility::Model, Body::System(prompt)));
    }
    if let Some(notice) = create.workspace_notice {
        draft.insert(Visibility::Model, Body::System(notice));
    }
    draft.insert_user(create.message);
    draft.run();
    draft.finish_client(None)
}

fn forbid(chat: &Chat, command: &'static str) -> Rejection {
    Rejection::StateForbids { state: chat.state(), archived: chat.archived(), command }
}

/// A decision that changes nothing: no version moves.
fn unchanged(chat: &Chat, outcome: Outcome) -> Decision {
    Decision { chat: chat.clone(), change: None, effects: Vec::new(), outcome }
}

fn client_outcome() -> Outcome {
    Outcome::Client { entered: Vec::new(), queued: None }
}
