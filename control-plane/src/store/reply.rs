//! What a client is told of its write: the chat as GetChat would return it right after.

use chatplane_domain::{Body, Change, Chat, Decision, Inserted, MessageId, Outcome, Visibility};
use serde::{Deserialize, Serialize};
use sqlx::PgExecutor;

use super::{Ask, Beside, ChatView, Error, Links, MetadataView, QueuedView, Snapshot, apply, files};

/// What a client's request is answered with, kept for its repeats; but for the chat's files, which
/// would make what is kept of a chat grow with the square of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// The chat right after the write.
    pub chat: ChatView,
    /// Messages that entered the history, as far as users see them.
    pub entered: Vec<MessageId>,
    /// The message, if it was queued.
    pub queued: Option<QueuedView>,
}

impl Reply {
    /// Gives a reply that was kept the files of its chat back: those that were linked then and have
    /// been ever since. Writes that link files set the chat's `update_time` to the same time.
    pub(super) async fn with_files(mut self, executor: impl PgExecutor<'_>) -> Result<Self, Error> {
        self.chat.files = files::linked_by(executor, self.chat.chat_id, self.chat.update_time).await?;
        Ok(self)
    }
}

/// The newest live answer after a write, none of a boundary's.
pub(super) fn last_answer(snapshot: &Snapshot, change: Option<&Change>) -> Option<MessageId> {
    let Some(change) = change else { return snapshot.last_answer };
    let inserted = change.inserted.iter().filter_map(|inserted| match inserted {
        Inserted::New(message) if message.covers_through.is_none() => match message.body {
            Body::Assistant(_) => Some(message.id),
            Body::System(_) | Body::User(_) | Body::Tool(_) => None,
        },
        Inserted::New(_) | Inserted::Queued { .. } => None,
    });
    let stays = match change.delete_from {
        None => snapshot.last_answer,
        Some(_) => snapshot.target.and_then(|target| target.answer_below),
    };
    inserted.max().or(stays)
}

pub(super) fn reply_of(snapshot: &Snapshot, decision: &Decision, ask: &Ask) -> Reply {
    let change = decision.change.as_ref();
    let beside = match change {
        Some(change) => beside_after(snapshot, &decision.chat, change, ask),
        None => snapshot.beside.clone(),
    };
    let chat = ChatView::of(&decision.chat, beside);
    let (entered, queued) = match &decision.outcome {
        Outcome::Client { queued, .. } => (entered(decision), queued.as_ref()),
        Outcome::Written(_) | Outcome::Replayed(_) | Outcome::Applied => (Vec::new(), None),
    };
    let queued = queued.map(|queued| apply::queued_view(queued, change, snapshot));
    Reply { chat, entered, queued }
}

fn beside_after(snapshot: &Snapshot, chat: &Chat, change: &Change, ask: &Ask) -> Beside {
    let mut beside = snapshot.beside.clone();
    beside.update_time = snapshot.now;
    beside.files = Links::of(snapshot, ask, Some(change)).files;
    let last_answer = last_answer(snapshot, Some(change));
    if last_answer != snapshot.last_answer {
        // Nobody has read what is not there; any answer is unread by who has read nothing.
        beside.has_unread = ask.viewer.is_some() && last_answer > beside.read_message_id;
    }
    if chat.archived() {
        beside.pin_order = None;
        beside.archive_time.get_or_insert(snapshot.now);
    } else {
        beside.archive_time = None;
    }
    beside
}

/// A client is told of every row that its command inserted: results in place of those that
/// never came, too. Instructions are for the model alone.
fn entered(decision: &Decision) -> Vec<MessageId> {
    let inserted = decision.change.iter().flat_map(|change| &change.inserted);
    let seen = |inserted: &&Inserted| match inserted {
        Inserted::New(message) => message.visibility != Visibility::Model,
        Inserted::Queued { .. } => true,
    };
    inserted.filter(seen).map(Inserted::message_id).collect()
}

/// The reply of a request that leaves the chat as it is.
pub(super) fn reply_of_none(snapshot: &Snapshot) -> Reply {
    let chat = ChatView::of(&snapshot.chat, snapshot.beside.clone());
    Reply { chat, entered: Vec::new(), queued: None }
}

/// A copy has title and labels of what it was copied from, as versions of its own. Who copies
/// has read it.
pub(super) fn reply_of_copy(snapshot: &Snapshot, decision: &Decision) -> Reply {
    let beside = Beside {
        metadata: MetadataView { metadata_version: 1, ..snapshot.beside.metadata.clone() },
        create_time: snapshot.now,
        update_time: snapshot.now,
        read_message_id: snapshot.fork.as_ref().and_then(|fork| fork.last_answer),
        files: Links::of_copy(snapshot).files,
        ..Beside::default()
    };
    let chat = ChatView::of(&decision.chat, beside);
    Reply { chat, entered: Vec::new(), queued: None }
}
