//! Stops what runs in chats that nobody is left to read, and takes back what waits in them.

use std::collections::VecDeque;

use chatplane_proto::chat::v1::{DeleteQueuedMessageRequest, ListQueuedMessagesRequest};
use futures::future::join_all;

use crate::client::{ClientError, connection::new_request_id, exchange::interrupt, requests::Caller};

/// Chats that are remembered. Each costs a few calls in the moment that leaving may take, and the oldest are
/// the likeliest to be at rest by then.
pub(super) const LEFT_MAX: usize = 16;
/// Pages of a queue that are read. A page holds eleven of the largest messages, so this is enough for a queue
/// that is more than ten times as long as usual.
const QUEUE_PAGES_MAX: usize = 64;

/// The chats that were left in the middle of a turn, the oldest first.
#[derive(Default)]
pub(super) struct LeftChats {
    chat_ids: VecDeque<String>,
    forgotten: usize,
}

impl LeftChats {
    /// Remembers a chat, and forgets the oldest where there are too many.
    pub(super) fn remember(&mut self, chat_id: String) {
        if self.chat_ids.len() == LEFT_MAX {
            self.chat_ids.pop_front();
            self.forgotten += 1;
        }
        self.chat_ids.push_back(chat_id);
    }

    /// Those that are remembered, which are remembered no longer.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.chat_ids).into()
    }

    /// How many were forgotten.
    pub(super) fn forgotten(&self) -> usize {
        self.forgotten
    }
}

/// Stops all of the chats at the same time.
pub(super) async fn stop_all(caller: &Caller, chat_ids: Vec<String>) {
    join_all(chat_ids.into_iter().map(|chat_id| stop(caller, chat_id))).await;
}

/// Takes back what waits, and then stops what runs: the other way round the next message would have its turn.
async fn stop(caller: &Caller, chat_id: String) {
    let taken_back = take_back(caller, &chat_id).await;
    let interrupted = interrupt(caller, chat_id).await;
    if let Err(error) = taken_back {
        tracing::warn!(%error, "not every waiting message could be taken back");
    }
    if let Err(error) = interrupted {
        tracing::warn!(%error, "the running turn could not be interrupted");
    }
}

/// Deletes every message of the queue. What the watch has told of it may be older than what was sent last.
async fn take_back(caller: &Caller, chat_id: &str) -> Result<(), ClientError> {
    let mut page_token = String::new();
    for _ in 0..QUEUE_PAGES_MAX {
        let request = ListQueuedMessagesRequest { chat_id: chat_id.to_owned(), page_size: 0, page_token };
        let page = caller.list_queued_messages(&request).await?;
        for queued in page.queued_messages {
            let request = DeleteQueuedMessageRequest {
                chat_id: chat_id.to_owned(),
                request_id: new_request_id(),
                queued_message_id: queued.queued_message_id,
            };
            match caller.delete_queued_message(&request).await {
                // It has entered the history meanwhile.
                Ok(_) | Err(ClientError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
    tracing::warn!(pages = QUEUE_PAGES_MAX, "the queue is longer than what is taken back");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_chats_are_remembered_and_the_others_counted() {
        let mut left = LeftChats::default();

        (0..LEFT_MAX + 2).for_each(|chat| left.remember(chat.to_string()));

        let remembered: Vec<String> = (2..LEFT_MAX + 2).map(|chat| chat.to_string()).collect();
        assert_eq!((left.take(), left.forgotten()), (remembered, 2));
        assert!(left.take().is_empty());
    }
}
