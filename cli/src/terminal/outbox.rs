//! What was asked for at the keyboard, on its way to the control plane: in order, one at a time.

use std::collections::VecDeque;

use chatplane_proto::chat::v1::{
    BusyBehavior, Chat, ClearContextRequest, CompactChatRequest, CreateChatRequest, CreateChatResponse,
    Effort, ForkChatRequest, ForkChatResponse, Part, SendMessageRequest, SendMessageResponse,
};
use futures::future::BoxFuture;

use crate::client::{ClientError, connection::new_request_id, requests::Caller, text};

/// Messages that may wait here: nobody types more before the control plane is back, and one that is away for
/// good shall not be fed for ever.
const ITEMS_MAX: usize = 50;

/// What a new chat is made of, and who answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) workspace_id: String,
    pub(crate) model: String,
    pub(crate) effort: Effort,
}

/// Something to do.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// To the chat, or to a new one where there is none.
    Message {
        text: String,
        /// Files that go with it.
        attached: Vec<Part>,
        busy: BusyBehavior,
    },
    Fork {
        message_id: i64,
    },
    Compact,
    Clear,
}

/// What the control plane said to it.
pub(super) enum Reply {
    Created(Box<CreateChatResponse>),
    Sent(Box<SendMessageResponse>),
    Forked(Box<ForkChatResponse>),
    /// The chat's events will tell what comes of it.
    Accepted(Box<Chat>),
    /// The chat could not be made, which has been told.
    NothingToDo,
}

impl Reply {
    /// The chat that was asked for something, as it was right after that.
    pub(super) fn chat(&self) -> Option<&Chat> {
        match self {
            Self::Created(response) => response.chat.as_ref(),
            Self::Sent(response) => response.chat.as_ref(),
            Self::Accepted(chat) => Some(chat),
            Self::Forked(_) | Self::NothingToDo => None,
        }
    }
}

/// An item that is done, or was refused.
pub(super) struct Done {
    pub(super) item: Item,
    pub(super) result: Result<Reply, ClientError>,
}

/// The items that are not done.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Item>,
    in_flight: Option<(Item, BoxFuture<'static, Result<Reply, ClientError>>)>,
}

impl Outbox {
    /// Takes an item, unless there are too many.
    pub(super) fn push(&mut self, item: Item) -> Result<(), Item> {
        if self.waiting.len() >= ITEMS_MAX {
            return Err(item);
        }
        self.waiting.push_back(item);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// Whether what is under way begins a turn, or changes the chat as one does. A copy leaves it as it is.
    pub(super) fn may_begin_turn(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|(item, _)| !matches!(item, Item::Fork { .. }))
    }

    /// Forgets what has not been begun.
    pub(super) fn drop_waiting(&mut self) -> usize {
        std::mem::take(&mut self.waiting).len()
    }

    /// The texts of the messages that are not there yet.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let in_flight = self.in_flight.iter().map(|(item, _)| item);
        in_flight.chain(&self.waiting).filter_map(|item| match item {
            Item::Message { text, .. } => Some(text.as_str()),
            Item::Fork { .. } | Item::Compact | Item::Clear => None,
        })
    }

    /// Begins the next item, if none is under way. The chat is known when the item before is done.
    pub(super) fn begin_next(&mut self, caller: &Caller, chat_id: Option<&str>, settings: &Settings) {
        if self.in_flight.is_none()
            && let Some(item) = self.waiting.pop_front()
        {
            let call = call(caller.clone(), item.clone(), chat_id.map(str::to_owned), settings.clone());
            self.in_flight = Some((item, Box::pin(call)));
        }
    }

    /// The item under way, when it is done. Dropping the wait loses nothing.
    pub(super) async fn done(&mut self) -> Done {
        let Some((_, call)) = &mut self.in_flight else {
            return std::future::pending().await;
        };
        let result = call.await;
        let (item, _) = self.in_flight.take().expect("it was there before the wait");
        Done { item, result }
    }
}

/// Every call has a request id for all its tries.
async fn call(
    caller: Caller,
    item: Item,
    chat_id: Option<String>,
    settings: Settings,
) -> Result<Reply, ClientError> {
    let request_id = new_request_id();
    let Settings { workspace_id, model, effort } = settings;
    let effort = effort.into();
    match (item, chat_id) {
        (Item::Message { text, attached, .. }, None) => {
            let parts = [text::parts(text), attached].concat();
            let request =
                CreateChatRequest { request_id, parts, workspace_id, model, effort, ..Default::default() };
            caller.create_chat(&request).await.map(|response| Reply::Created(Box::new(response)))
        }
        (Item::Message { text, attached, busy }, Some(chat_id)) => {
            let (parts, busy_behavior) = ([text::parts(text), attached].concat(), busy.into());
            let request = SendMessageRequest { chat_id, request_id, parts, model, effort, busy_behavior };
            caller.send_message(&request).await.map(|response| Reply::Sent(Box::new(response)))
        }
        (Item::Fork { message_id }, Some(chat_id)) => {
            let request = ForkChatRequest { chat_id, request_id, message_id };
            caller.fork_chat(&request).await.map(|response| Reply::Forked(Box::new(response)))
        }
        (Item::Compact, Some(chat_id)) => {
            let response = caller.compact_chat(&CompactChatRequest { chat_id, request_id }).await?;
            Ok(Reply::Accepted(Box::new(response.chat.unwrap_or_default())))
        }
        (Item::Clear, Some(chat_id)) => {
            let response = caller.clear_context(&ClearContextRequest { chat_id, request_id }).await?;
            Ok(Reply::Accepted(Box::new(response.chat.unwrap_or_default())))
        }
        (Item::Fork { .. } | Item::Compact | Item::Clear, None) => Ok(Reply::NothingToDo),
    }
}
