//! How chats come to be: from nothing, or from another chat.

use crate::{
    Body, Chat, ChatId, Context, CreateChat, Decision, Execution, ForkChat, MessageId, OrganizationId,
    Settings, UserId, Versions, Visibility, draft::Draft,
};

/// Version that the first write of a chat makes.
const FIRST_VERSION: i64 = 1;

/// Decides the first write of a new chat: snapshot 1, history 1, runnable or leased.
#[must_use]
pub fn create(create: CreateChat, context: Context) -> Decision {
    let settings = Settings {
        model: create.model,
        effort: create.effort,
        workspace: create.workspace,
        client_tools: Vec::new(),
        client_tools_version: FIRST_VERSION,
        action_timeout: create.action_timeout,
    };
    let unborn = unborn(create.id, create.organization, create.owner, settings);
    let mut draft = Draft::new(&unborn, context);
    if let Some(prompt) = create.deployment_prompt {
        draft.insert(Visibility::Model, Body::System(prompt));
    }
    if let Some(prompt) = create.system_prompt {
        draft.chat.system_prompt = Some(draft.insert(Visibility::Model, Body::System(prompt)));
    }
    if !create.client_tools.is_empty() {
        draft.define_client_tools(create.client_tools);
    }
    draft.insert_user(create.message);
    draft.run();
    draft.finish_client(None)
}

/// Decides the first write of a copy: snapshot 1, history 1, waiting. The source stays
/// as it is.
///
/// The rows, and the definitions of the client's tools, are the store's to copy; the
/// change has only what is new, the results of calls that have none among the copied
/// rows. Their bytes are the only ones that `history_bytes` counts here.
#[must_use]
pub fn fork(source: &Chat, fork: ForkChat, context: Context) -> Decision {
    let ForkChat { id, organization, owner, target: _, covers_through, unanswered, answered } = fork;
    let settings = Settings { client_tools_version: FIRST_VERSION, ..source.settings.clone() };
    let unborn = Chat {
        // Above the ids of all rows, so above those of all copies.
        next_message_id: source.next_message_id,
        system_prompt: source.system_prompt,
        answered,
        covers_through,
        ..unborn(id, organization, owner, settings)
    };
    let mut draft = Draft::new(&unborn, context);
    draft.touch_history();
    draft.close_copied_calls(unanswered);
    draft.finish_client(None)
}

/// What a first write is decided from: a chat that nobody has seen.
fn unborn(id: ChatId, organization: OrganizationId, owner: UserId, settings: Settings) -> Chat {
    Chat {
        id,
        organization,
        owner,
        settings,
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
        covers_through: None,
        compact_requested: false,
        last_turn_summary: String::new(),
    }
}
