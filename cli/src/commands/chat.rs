//! `chatplane chat`: a chat in the terminal, with a control plane that runs elsewhere.

use std::future::pending;

use chatplane_proto::chat::v1::Part;
use tokio::select;

use super::{CommandError, credentials, report};
use crate::{
    arguments::client::{AnyChat, Attached, Chat},
    client::{ClientError, connection::FileClient, files, notes::Notes, words::Advice},
    exit::{Exit, say},
    signals::Signals,
    terminal::{Beginning, Leaving, Settings, converse},
};

/// Chats until the person leaves.
pub(crate) async fn chat(chat: Chat, signals: &Signals) -> Exit {
    report("chat", run(chat, signals)).await
}

async fn run(chat: Chat, signals: &Signals) -> Result<Exit, CommandError> {
    tell_of_workspace(&chat.chat);
    let (client, files) = credentials::clients(&chat.connection)?;
    let beginning = Beginning {
        client,
        attached: attach(&files, &chat.attached, signals).await?,
        keyboard: None,
        settings: settings(&chat.chat),
        chat_id: chat.chat.chat,
        advice: Advice::Operator,
        leaving: Leaving::LetsTurnRun,
        format: chat.output.format(),
    };
    Box::pin(converse(beginning, signals, pending())).await
}

/// Uploads what goes with a message, unless a signal comes first.
pub(super) async fn attach(
    client: &FileClient,
    attached: &Attached,
    signals: &Signals,
) -> Result<Vec<Part>, ClientError> {
    let shutdown = signals.shutdown();
    select! {
        parts = files::attach(client, &Notes::StandardError, &attached.files) => parts,
        () = shutdown.cancelled() => Err(ClientError::Interrupted),
    }
}

/// A chat has its workspace from its beginning. The variable may be set for other calls, so this is no error.
pub(super) fn tell_of_workspace(chat: &AnyChat) {
    if chat.chat.is_some() && chat.workspace.is_some() {
        say("--workspace (CHATPLANE_CHAT_WORKSPACE) is for new chats: this one keeps its own.");
    }
}

/// What was asked for beside the chat.
pub(super) fn settings(chat: &AnyChat) -> Settings {
    Settings {
        workspace_id: chat.workspace.clone().unwrap_or_default(),
        model: chat.model.clone().unwrap_or_default(),
        effort: chat.effort.map(Into::into).unwrap_or_default(),
    }
}
