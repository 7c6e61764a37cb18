//! The one function that changes a chat.
//!
//! `decide` reads a chat and a command and answers with the next chat, the rows that
//! go with it and what to do after commit. It is pure: the store reads, decides, and
//! writes everything in one statement that compares `snapshot_version`; a lost race
//! is read and decided again. What may happen in which state is the table in
//! `transitions.txt`, which a test holds against this code.

mod client;
mod context;
mod control;
mod creation;
mod holder;
mod queue;
mod settings;
mod summary;

pub use context::{CHAT_SUMMARIZED, CONTEXT_CLEARED};
pub use control::INTERRUPTION_MAX;
pub use creation::{create, fork};

use crate::{Chat, Command, Context, Decision, Outcome, Rejection};

/// Decides what a command does to a chat.
///
/// # Errors
///
/// The reason why the command is refused; nothing is written then.
pub fn decide(chat: &Chat, command: Command, context: Context) -> Result<Decision, Rejection> {
    match command {
        Command::SendMessage(send) => client::send_message(chat, send, context),
        Command::EditMessage(edit) => client::edit_message(chat, edit, context),
        Command::EditQueuedMessage(edit) => queue::edit_queued_message(chat, edit, context),
        Command::DeleteQueuedMessage(id) => queue::delete_queued_message(chat, id, context),
        Command::MoveQueuedMessage { id, index } => queue::move_queued_message(chat, id, index, context),
        Command::PromoteQueuedMessage(id) => queue::promote_queued_message(chat, id, context),
        Command::InterruptChat => client::interrupt_chat(chat, context),
        Command::SubmitToolResults(results) => client::submit_tool_results(chat, results, context),
        Command::ConfigureChat(settings) => settings::configure_chat(chat, settings, context),
        Command::CompactChat(ends) => context::compact_chat(chat, ends, context),
        Command::ClearContext(ends) => context::clear_context(chat, ends, context),
        Command::ArchiveChat => settings::archive_chat(chat, context),
        Command::UnarchiveChat => settings::unarchive_chat(chat, context),
        Command::Lease(session) => control::lease(chat, session, context),
        Command::Holder(command) => holder::decide(chat, command, context),
        Command::ExpireLease(expire) => control::expire_lease(chat, expire, context),
        Command::ExpireCalls => control::expire_calls(chat, context),
        Command::FailRunnable(error) => control::fail_runnable(chat, error, context),
        Command::DeleteChat => control::delete_chat(chat, context),
    }
}

fn forbid(chat: &Chat, command: &'static str) -> Rejection {
    Rejection::StateForbids { state: chat.state(), archived: chat.archived(), command }
}

/// A decision that changes nothing: no version moves.
fn unchanged(chat: &Chat, outcome: Outcome) -> Decision {
    Decision { chat: chat.clone(), change: None, effects: Vec::new(), outcome }
}

fn invalid(field: &'static str, description: &str) -> Rejection {
    Rejection::FieldInvalid { field, description: description.to_owned() }
}

fn client_outcome() -> Outcome {
    Outcome::Client { entered: Vec::new(), queued: None }
}
