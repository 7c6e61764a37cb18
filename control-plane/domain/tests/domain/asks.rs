//! What clients ask of the chat in the world.

use std::time::Duration;

use chatplane_domain::{
    CallKind, Command, ConfigureChat, EditMessage, EditQueuedMessage, MessageId, QueuedMessageId,
    SendMessage, UserMessage, UserPart,
};

use crate::{
    actions::{Ask, Prompt},
    fixtures::{client_tool, queued_id, submitted, user_message},
    world::World,
};

impl World {
    pub(crate) fn ask(&mut self, ask: &Ask) -> Command {
        match *ask {
            Ask::Send { busy, model } => {
                let number = self.next_sent();
                let model = model.then(|| format!("model {number}"));
                Command::SendMessage(SendMessage {
                    id: queued_id(number),
                    message: UserMessage { model, ..user_message(&format!("message {number}")) },
                    busy,
                })
            }
            Ask::Edit { row } => {
                let target = MessageId(row.into());
                Command::EditMessage(EditMessage {
                    target,
                    target_role: self.database.role(target),
                    boundary_below: self.database.boundary_below(target),
                    answered_below: self.database.answered_below(target),
                    replacement: user_message("replacement"),
                })
            }
            Ask::EditQueued { nth } => Command::EditQueuedMessage(EditQueuedMessage {
                id: self.queued(nth),
                parts: vec![UserPart::Text(format!("edited {}", self.chat().versions.snapshot))],
            }),
            Ask::DeleteQueued { nth } => Command::DeleteQueuedMessage(self.queued(nth)),
            Ask::MoveQueued { nth, to } => {
                Command::MoveQueuedMessage { id: self.queued(nth), index: to.into() }
            }
            Ask::Promote { nth } => Command::PromoteQueuedMessage(self.queued(nth)),
            Ask::Interrupt => Command::InterruptChat,
            Ask::Submit { count } => {
                let calls = self.open(CallKind::Client, count);
                Command::SubmitToolResults(calls.into_iter().map(submitted).collect())
            }
            Ask::Configure { model, prompt, tools, timeout } => {
                let version = self.chat().versions.snapshot;
                let tool = |number| client_tool(&format!("tool_{number}"));
                Command::ConfigureChat(ConfigureChat {
                    model: model.then(|| format!("model of version {version}")),
                    effort: None,
                    workspace: None,
                    client_tools: tools.map(|count| (0..count).map(tool).collect()),
                    system_prompt: match prompt {
                        Prompt::Stays => None,
                        Prompt::Changes => Some(Some(format!("prompt of version {version}"))),
                        Prompt::Goes => Some(None),
                    },
                    action_timeout: timeout.then(|| Duration::from_secs(30)),
                })
            }
            Ask::Compact => Command::CompactChat(self.database.ends()),
            Ask::Clear => Command::ClearContext(self.database.ends()),
            Ask::Archive => Command::ArchiveChat,
            Ask::Unarchive => Command::UnarchiveChat,
        }
    }

    /// The nth queued message, or an unknown one.
    fn queued(&self, nth: u8) -> QueuedMessageId {
        let queued = self.chat().queue.get(usize::from(nth));
        queued.map_or(queued_id(1_000_000), |queued| queued.id)
    }
}
