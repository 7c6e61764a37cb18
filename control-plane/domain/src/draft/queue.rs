//! Moves of the queue.

use std::mem;

use super::Draft;
use crate::{Inserted, QueueContent, Queued, QueuedMessageId, UserMessage, UserPart, content_bytes, queue};

impl Draft<'_> {
    pub(crate) fn queue_push(&mut self, id: QueuedMessageId, message: UserMessage, steering: bool) -> Queued {
        let content_bytes = message.content_bytes();
        let queued = Queued {
            id,
            position: 0,
            steering,
            created_by: message.created_by,
            model: message.model,
            fallback_model: None,
            effort: message.effort,
            content_bytes: i64::try_from(content_bytes).expect("content is bounded far below 2^63"),
        };
        self.change.queue_content = Some(QueueContent { id, parts: message.parts });
        queue::push(&mut self.chat.queue, queued)
    }

    pub(crate) fn queue_move(&mut self, from: usize, to: usize) {
        queue::move_to(&mut self.chat.queue, from, to);
    }

    pub(crate) fn queue_edit(&mut self, index: usize, parts: Vec<UserPart>) {
        let bytes = content_bytes(&parts);
        let queued = &mut self.chat.queue[index];
        queued.content_bytes = i64::try_from(bytes).expect("content is bounded far below 2^63");
        self.change.queue_content = Some(QueueContent { id: queued.id, parts });
    }

    pub(crate) fn queue_delete(&mut self, index: usize) {
        let queued = self.chat.queue.remove(index);
        self.change.queue_deleted.push(queued.id);
    }

    pub(crate) fn queue_clear(&mut self) {
        let cleared = mem::take(&mut self.chat.queue);
        self.change.queue_deleted.extend(cleared.into_iter().map(|queued| queued.id));
    }

    /// What enters wants an answer: a summary that was asked for is forgotten.
    fn enter(&mut self, index: usize) {
        let makes_summary = mem::take(&mut self.chat.compact_requested);
        let queued = self.chat.queue.remove(index);
        // A turn that was to make a summary and nothing else is over with it.
        let steering = queued.steering && !makes_summary;
        let model = queued.fallback_model.as_ref().or(queued.model.as_ref());
        self.use_settings_of(model, queued.effort);
        let message = self.next_id();
        self.chat.history_bytes += queued.content_bytes;
        let fallback_model = queued.fallback_model;
        self.change.inserted.push(Inserted::Queued { queued: queued.id, message, fallback_model, steering });
        self.entered.push(message);
    }

    /// Exactly one message, the head, enters the history. Answers whether there was one.
    pub(crate) fn enter_head(&mut self) -> bool {
        let Some(head) = self.chat.queue.first_mut() else {
            return false;
        };
        // What was to extend a turn begins one when that is over.
        head.steering = false;
        self.enter(0);
        true
    }

    /// All steering messages enter the history, in order.
    pub(crate) fn enter_steering(&mut self) -> bool {
        let mut any = false;
        while let Some(index) = self.chat.queue.iter().position(|queued| queued.steering) {
            self.enter(index);
            any = true;
        }
        any
    }

    pub(super) fn make_steering_ordinary(&mut self) {
        for queued in &mut self.chat.queue {
            queued.steering = false;
        }
    }
}
